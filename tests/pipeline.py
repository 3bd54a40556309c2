"""Many payments through the app, the queue and the consumer; and what must be recorded of them."""

import random
import time
from typing import Any

from chalice.test import Client

from chalicelib.payments import fold, project
from chalicelib.providers import PROVIDERS
from ops.sender import StripeSigner
from ops.stage import Stage
from ops.stories import STORIES, tell
from tests.fakes import as_bytes, facts_of_event

START = 1_795_400_000_000


RIGHT = {
    # story: status, captured, refunded, disputed
    "checkout": ("succeeded", 5000, 0, 0),
    "partial-refunds": ("partially_refunded", 5000, 1200, 0),
    "failed-then-paid": ("succeeded", 5000, 0, 0),
    "dispute-lost": ("charged_back", 5000, 0, 5000),
    "dispute-won": ("succeeded", 5000, 0, 0),
}


class Sent:
    """Many payments, some with a whole story and some with one event; and what must be recorded of them.

    Not all have a story because the emulator copies all its tables for each transaction.
    """

    def __init__(self, stories: int, single: int, seed: int) -> None:
        rng = random.Random(seed)
        self.expected: dict[str, tuple[str, int, int, int]] = {}
        self.events: list[dict[str, Any]] = []
        for n in range(stories):
            story = STORIES[n % len(STORIES)]
            self._add(RIGHT[story], *tell("stripe", rng, START + n, 5000, "EUR", story=story))
        for n in range(single):
            type_ = "payment_intent.succeeded"
            self._add(RIGHT["checkout"], *tell("stripe", rng, START + n, 5000, "EUR", type_=type_))
        self.deliveries = self.events * 3
        rng.shuffle(self.deliveries)

    def _add(self, right: tuple[str, int, int, int], subject: str, events: list[dict[str, Any]]) -> None:
        self.expected[subject] = right
        self.events += events


def deliver(daybook: Any, deliveries: list[dict[str, Any]]) -> None:
    signer = StripeSigner("whsec_new")
    with Client(daybook.app, stage_name="local") as client:
        for event in deliveries:
            body = as_bytes(event)
            headers = signer.headers(body, time.time_ns() // 1_000_000)
            assert client.http.post("/webhooks/stripe", headers=headers, body=body).status_code == 200


def check(stage: Stage, sent: Sent) -> None:
    """Exactly the right payments, one entry an event, and each payment the fold of its events."""
    ledger = stage.ledger()
    found, entries = {}, []
    provider = PROVIDERS["stripe"]
    for subject in sent.expected:
        stored = list(ledger.events(subject))
        events = [provider.event(each.body or b"", each.received_at) for each in stored]
        assert fold(facts_of_event(event) for event in events) == ledger.payment(subject).facts
        entries += [event.id for event in events]
    items = stage.client("dynamodb").get_paginator("scan").paginate(TableName=stage.names.table)
    for item in (item for page in items for item in page["Items"]):
        if item["entry"]["S"] == "payment":
            found[item["subject"]["S"]] = item["status"]["S"]
    assert set(found) == set(sent.expected)
    assert sorted(entries) == sorted(event["id"] for event in sent.events)
    for subject, right in sent.expected.items():
        payment = stage.ledger().payment(subject)
        shown = project(subject, payment.facts)
        assert (shown.status, shown.captured, shown.refunded, shown.disputed) == right


def backlog(stage: Stage, daybook: Any) -> int:
    """How many messages are on the queue, waiting or given out.

    The two are counted one after the other: what turns visible in between is seen by a second look only.
    """
    sqs = stage.client("sqs")
    url = sqs.get_queue_url(QueueName=daybook.SETTINGS.names.queue)["QueueUrl"]
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def look() -> int:
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    return look() or look()
