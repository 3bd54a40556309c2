"""A process killed at each gap between two side effects, and started again: nothing lost or doubled."""

import json
import random
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from chalicelib.payments import fold, project
from chalicelib.providers import PROVIDERS
from ops.stage import Stage
from ops.stories import tell
from tests.crash import attempt
from tests.fakes import as_bytes, facts_of_event
from tests.packaged import batch, paypal_request, stripe_request
from tests.pipeline import START, backlog, deliver

QUEUE = "payment-events-dev.fifo"
HANDLER = ["dynamodb GetItem", "handler begins", "handler ended", "dynamodb UpdateItem"]


def consume(stage_environ: dict[str, str], n: int, heard: Path) -> "subprocess.CompletedProcess[str]":
    return attempt("consume", stage_environ, n, heard)


def send(daybook: Any, seed: int) -> list[str]:
    """The subjects of two new payments, an event of each on the queue."""
    found = [
        tell("stripe", random.Random(f"{seed} {n}"), START, 5000, "EUR", type_="payment_intent.succeeded")
        for n in range(2)
    ]
    deliver(daybook, [event for _, events in found for event in events])
    return [subject for subject, _ in found]


@pytest.fixture
def impatient(daybook: Any, stage: Stage) -> None:
    """A queue that gives a message out again at once."""
    sqs = stage.client("sqs")
    url = sqs.get_queue_url(QueueName=daybook.SETTINGS.names.queue)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})


def test_a_consumer_killed_at_any_gap_loses_and_doubles_nothing(
    daybook: Any, stage: Stage, stage_environ: dict[str, str], impatient: None, tmp_path: Path
) -> None:
    """A handler hears twice only where the kill fell between its end and its striking off."""
    send(daybook, 0)
    counted = consume(stage_environ, 0, tmp_path / "counted")
    found = re.search(r"gaps: (.+)", counted.stderr)
    assert found, counted.stderr
    gaps = found[1].split(", ")
    calls = [gap.removeprefix("dynamodb ") for gap in gaps[:4]]
    assert calls == ["BatchGetItem", "GetItem", "UpdateItem", "TransactWriteItems"]
    assert gaps.count("handler ended") == 2
    twice: set[int] = set()
    for n in range(1, len(gaps) + 1):
        heard = tmp_path / f"heard-{n}"
        subjects = send(daybook, n)
        assert consume(stage_environ, n, heard).returncode == -signal.SIGKILL
        deadline = time.monotonic() + 30
        while backlog(stage, daybook):
            assert time.monotonic() < deadline
            assert consume(stage_environ, 0, heard).returncode == 0
        check(stage, subjects)
        times = Counter(heard.read_text().split())
        assert set(times) == {f"{subject}/payment.succeeded" for subject in subjects}, n
        twice |= {n} if sum(times.values()) > 2 else set()
    ends = {n for n, gap in enumerate(gaps, 1) if gap == "handler ended"}
    assert twice == ends | {n + 1 for n in ends}


RECEIVER = {
    "stripe": ["secretsmanager GetSecretValue", "sqs GetQueueUrl", "sqs SendMessage", "request answered"],
    "paypal": [
        "secretsmanager GetSecretValue",
        "dynamodb Query",
        "sqs GetQueueUrl",
        "sqs SendMessage",
        "request answered",
    ],
}


def waiting(dev: Stage) -> int:
    sqs = dev.client("sqs")
    names: Any = ["ApproximateNumberOfMessages"]
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return int(answer["Attributes"][names[0]])


PAYPAL_EVENT = {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {"id": "2GG"}}


@pytest.mark.parametrize("provider", RECEIVER)
def test_a_receiver_killed_at_any_gap_loses_nothing_once_it_is_sent_again(
    provider: str, dev: Stage, aws: dict[str, str], tmp_path: Path
) -> None:
    """As the provider does that heard no 200; what was queued before the kill is not queued twice."""
    environ = {**aws, "DAYBOOK_STAGE": "dev"}
    for n, gap in enumerate(RECEIVER[provider], 1):
        body = as_bytes({**PAYPAL_EVENT, "id": f"{provider}-{n}"})
        sent = stripe_request(body) if provider == "stripe" else paypal_request(body, dev)
        (tmp_path / "request").write_text(json.dumps(sent))
        assert attempt("receive", environ, n, tmp_path / "request").returncode == -signal.SIGKILL, gap
        assert waiting(dev) == (gap == "request answered")
        again = attempt("receive", environ, 0, tmp_path / "request")
        assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "status: 200")
        assert re.search(r"gaps: (.+)", again.stderr)[1].split(", ") == RECEIVER[provider]  # type: ignore[index]
        on_queue = [json.loads(each["body"])["event_id"] for each in batch(dev, QUEUE)["Records"]]
        assert on_queue == [f"{provider}-{n}"]


def check(stage: Stage, subjects: list[str]) -> None:
    """Each payment is captured once, of one event, with nothing left for handlers."""
    ledger = stage.ledger()
    for subject in subjects:
        stored = ledger.payment(subject)
        [event] = ledger.events(subject)
        facts = facts_of_event(PROVIDERS["stripe"].event(event.body or b"", event.received_at))
        assert stored.facts == fold([facts])
        assert project(subject, stored.facts).captured == 5000
        assert not stored.outbox.tasks
