"""From the HTTP route to the table with nothing faked in between, and with a consumer that is killed."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from chalice.test import Client

from chalicelib.outbox import run_left
from chalicelib.payments import Milestone, Payment, fold, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.webhooks import process
from ops.local.event_source import EventSource
from ops.sender import StripeSigner
from ops.stage import Stage
from ops.stories import STORIES, tell
from tests.conftest import ROOT
from tests.fakes import as_bytes

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
        assert fold(provider.facts(event) for event in events) == ledger.payment(subject).facts
        entries += [event.id for event in events]
    items = stage.client("dynamodb").get_paginator("scan").paginate(TableName=stage.table)
    for item in (item for page in items for item in page["Items"]):
        if item["entry"]["S"] == "payment":
            found[item["subject"]["S"]] = item["view"]["S"]
    assert set(found) == set(sent.expected)
    assert sorted(entries) == sorted(event["id"] for event in sent.events)
    for subject, right in sent.expected.items():
        payment = stage.ledger().payment(subject)
        shown = project(subject, payment.facts)
        assert (shown.status, shown.captured, shown.refunded, shown.disputed) == right


def test_shuffled_triplicates_make_exactly_the_right_payments(daybook: Any, stage: Stage) -> None:
    """100 payments, every event three times, in random order, through the real queue and table."""
    sent = Sent(stories=20, single=80, seed=1)
    assert len(sent.expected) == 100
    assert len(sent.deliveries) >= 500
    source = EventSource(stage.client("sqs"), daybook.SETTINGS.queue, daybook.process)
    deliver(daybook, sent.deliveries)
    while source.poll(0):
        pass
    check(stage, sent)


@pytest.mark.parametrize("kills", [4])
def test_a_killed_consumer_loses_and_doubles_nothing(
    daybook: Any, stage: Stage, stage_environ: dict[str, str], kills: int
) -> None:
    """SIGKILL in the middle, whatever it was doing; the next one goes on where it stopped."""
    sent = Sent(stories=10, single=10, seed=2)
    deliver(daybook, sent.deliveries)
    rng = random.Random(3)
    command = [sys.executable, "-m", "ops.local.event_source"]
    for _ in range(kills):
        consumer = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **stage_environ}, stdout=subprocess.DEVNULL
        )
        before = recorded(stage)
        while recorded(stage) < before + 5:
            assert consumer.poll() is None
            if recorded(stage) == len(sent.events):
                break
        time.sleep(rng.random() / 20)
        consumer.send_signal(signal.SIGKILL)
        consumer.wait()
    source = EventSource(stage.client("sqs"), daybook.SETTINGS.queue, daybook.process)
    while backlog(stage, daybook):
        source.poll(1)
    check(stage, sent)


def recorded(stage: Stage) -> int:
    """How many events are in the table."""
    pages = stage.client("dynamodb").get_paginator("scan").paginate(TableName=stage.table)
    return sum(item["entry"]["S"].startswith("event:") for page in pages for item in page["Items"])


def backlog(stage: Stage, daybook: Any) -> int:
    """How many messages are on the queue, waiting or given out.

    The two are counted one after the other: what turns visible in between is seen by a second look only.
    """
    sqs = stage.client("sqs")
    url = sqs.get_queue_url(QueueName=daybook.SETTINGS.queue)["QueueUrl"]
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def look() -> int:
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    return look() or look()


def test_poison_is_tried_five_times_and_parked(daybook: Any, stage: Stage) -> None:
    """What cannot be recorded ends in the ledger with its reason; nothing waits for it for ever."""
    sqs = stage.client("sqs")
    url = sqs.get_queue_url(QueueName=daybook.SETTINGS.queue)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})
    sqs.send_message(QueueUrl=url, MessageBody="poison", MessageGroupId="g", MessageDeduplicationId="d")
    source = EventSource(sqs, daybook.SETTINGS.queue, daybook.process)
    dead = EventSource(sqs, daybook.SETTINGS.dead_queue, daybook.park)
    tries = 0
    while source.poll(0):
        tries += 1
    assert tries == 5
    assert dead.poll(0) == 1
    [parked] = stage.ledger().parked()
    assert (parked.subject, parked.reason, parked.message) == ("queue:g", "ValueError", "poison")
    assert parked.attempts >= 5
    assert dead.poll(0) == 0


def test_a_body_near_the_limit_is_recorded_whole(daybook: Any, stage: Stage) -> None:
    """What is accepted fits everywhere on its way: the queue, the function's event, the table's item."""
    noise = random.Random(1).randbytes(320_000).hex()
    event = {"id": "evt_1", "type": "x.y", "data": {"object": {"noise": noise}}}
    deliver(daybook, [event])
    source = EventSource(stage.client("sqs"), daybook.SETTINGS.queue, daybook.process)
    assert source.poll(0) == 1
    [stored] = stage.ledger().events("stripe:evt_1")
    assert stored.body == as_bytes(event)


def test_a_handler_that_keeps_failing_is_parked_and_replayed(daybook: Any, stage: Stage) -> None:
    """Five tries by the real queue, then parked with its reason; the payment stands; a replay runs it."""
    sqs = stage.client("sqs")
    url = sqs.get_queue_url(QueueName=daybook.SETTINGS.queue)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})
    broken = [True]
    heard: list[str] = []
    handlers = Handlers()

    @handlers.on("payment.succeeded")
    def ship(payment: Payment, milestone: Milestone) -> None:
        if broken:
            raise RuntimeError("no stock")
        heard.append(milestone.id)

    to = replace(daybook._consumer(), handlers=handlers)
    deadline = time.time_ns() // 1_000_000 + 60_000
    source = EventSource(
        sqs, daybook.SETTINGS.queue, lambda event, _: process(event["Records"], to, deadline)
    )
    subject, events = tell("stripe", random.Random(1), START, 5000, "EUR", type_="payment_intent.succeeded")
    deliver(daybook, events)
    tries = 0
    while source.poll(0):
        tries += 1
    assert tries == 5
    assert EventSource(sqs, daybook.SETTINGS.dead_queue, daybook.park).poll(0) == 1
    [parked] = stage.ledger().parked()
    assert (parked.subject, parked.reason) == (subject, "ship: RuntimeError")
    assert project(subject, stage.ledger().payment(subject).facts).status == "succeeded"
    broken.clear()
    assert run_left(subject, "payment", deadline, to.runner) == 1
    assert heard == [f"{subject}/payment.succeeded"]
