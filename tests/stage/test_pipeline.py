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

from chalicelib.payments import Milestone, Payment, project
from chalicelib.reactions import Handlers
from ops.local.cloudwatch import metrics
from ops.local.event_source import EventSource
from ops.stage import Stage
from ops.stories import tell
from tests.conftest import ROOT
from tests.fakes import as_bytes
from tests.pipeline import START, Sent, backlog, check, deliver


def test_shuffled_triplicates_make_exactly_the_right_payments(daybook: Any, stage: Stage) -> None:
    """100 payments, every event three times, in random order, through the real queue and table."""
    sent = Sent(stories=20, single=80, seed=1)
    assert len(sent.expected) == 100
    assert len(sent.deliveries) >= 500
    source = EventSource(stage.client("sqs"), daybook.SETTINGS.names.queue, daybook.process)
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
    source = EventSource(stage.client("sqs"), daybook.SETTINGS.names.queue, daybook.process)
    while backlog(stage, daybook):
        source.poll(1)
    check(stage, sent)


def recorded(stage: Stage) -> int:
    """How many events are in the table."""
    pages = stage.client("dynamodb").get_paginator("scan").paginate(TableName=stage.names.table)
    return sum(item["entry"]["S"].startswith("event:") for page in pages for item in page["Items"])


def test_poison_is_tried_five_times_and_parked(daybook: Any, stage: Stage) -> None:
    """What cannot be recorded ends in the ledger with its reason; nothing waits for it for ever."""
    sqs = stage.client("sqs")
    url = sqs.get_queue_url(QueueName=daybook.SETTINGS.names.queue)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})
    sqs.send_message(QueueUrl=url, MessageBody="poison", MessageGroupId="g", MessageDeduplicationId="d")
    source = EventSource(sqs, daybook.SETTINGS.names.queue, daybook.process)
    dead = EventSource(sqs, daybook.SETTINGS.names.dead_queue, daybook.park)
    tries = 0
    while source.poll(0):
        tries += 1
    assert tries == 5
    assert dead.poll(0) == 1
    [parked] = stage.ledger().parking.parked()
    assert (parked.subject, parked.reason, parked.message) == ("queue:g", "ValueError", "poison")
    assert parked.attempts >= 5
    assert dead.poll(0) == 0


def test_a_body_near_the_limit_is_recorded_whole(daybook: Any, stage: Stage) -> None:
    """What is accepted fits everywhere on its way: the queue, the function's event, the table's item."""
    noise = random.Random(1).randbytes(320_000).hex()
    event = {"id": "evt_1", "type": "x.y", "data": {"object": {"noise": noise}}}
    deliver(daybook, [event])
    source = EventSource(stage.client("sqs"), daybook.SETTINGS.names.queue, daybook.process)
    assert source.poll(0) == 1
    [stored] = stage.ledger().events("stripe:evt_1")
    assert stored.body == as_bytes(event)


def test_a_failure_that_is_returned_comes_again_alone(daybook: Any, stage: Stage) -> None:
    """Where the mapping reports failures: the others of its batch are off the queue, by the mapping."""
    sqs = stage.client("sqs")
    url = sqs.get_queue_url(QueueName=daybook.SETTINGS.names.queue)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})
    handlers = Handlers()
    seen: list[str] = []

    @handlers.on("payment.succeeded")
    def ship(payment: Payment, milestone: Milestone) -> None:
        seen.append(payment.id)
        if payment.id == bad and seen.count(bad) < 3:
            raise RuntimeError("no stock")

    to = replace(daybook._consumer(), handlers=handlers, partial_batches=True)

    def function(event: Any, context: Any) -> dict[str, Any]:
        again = to.process(event["Records"], time.time_ns() // 1_000_000 + 60_000)
        return {"batchItemFailures": [{"itemIdentifier": each} for each in again]}

    source = EventSource(sqs, daybook.SETTINGS.names.queue, function, reports=True)
    told = [
        tell("stripe", random.Random(n), START, 5000, "EUR", type_="payment_intent.succeeded")
        for n in range(4)
    ]
    bad = told[1][0]
    for _, events in told:
        deliver(daybook, events)
    while source.poll(0):
        pass
    assert sorted(seen) == sorted([*(subject for subject, _ in told), bad, bad])
    assert not any(stage.ledger().outbox(subject, "payment").tasks for subject, _ in told)


class Stop:
    """Told to stop after so many waits, which take no time."""

    def __init__(self, times: int) -> None:
        self.waits: list[float] = []
        self._times = times

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) > self._times


def test_a_function_that_raises_is_given_batches_less_often(stage: Stage) -> None:
    """As Lambda does; the pauses shrink again once it returns."""
    sqs = stage.client("sqs")
    queue = f"payment-events-{stage.name}.fifo"
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})
    calls: list[Any] = []

    def function(event: Any, context: Any) -> None:
        calls.append(event)
        once = str(len(calls))
        sqs.send_message(QueueUrl=url, MessageBody="x", MessageGroupId="h", MessageDeduplicationId=once)
        if len(calls) < 4:
            raise RuntimeError("it does not work")

    sqs.send_message(QueueUrl=url, MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d")
    stop: Any = Stop(7)
    EventSource(sqs, queue, function).run(stop)
    assert stop.waits == [0, 1.0, 2.0, 4.0, 2.0, 1.0, 0, 0]


def test_what_lambda_would_count_is_counted() -> None:
    """Runs and failures of a function, by its name."""
    lines = {"invoked: watch\n": "Invocations", "function failed: watch: KeyError: 'x'\n": "Errors"}
    for line, metric in lines.items():
        [(namespace, datum)] = metrics(line, "local")
        assert (namespace, datum["MetricName"], datum["Value"]) == ("AWS/Lambda", metric, 1)
        assert datum["Dimensions"] == [{"Name": "FunctionName", "Value": "daybook-local-watch"}]


def test_a_handler_that_keeps_failing_is_parked_and_replayed(daybook: Any, stage: Stage) -> None:
    """Five tries by the real queue, then parked with its reason; the payment stands; a replay runs it."""
    sqs = stage.client("sqs")
    url = sqs.get_queue_url(QueueName=daybook.SETTINGS.names.queue)["QueueUrl"]
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
        sqs, daybook.SETTINGS.names.queue, lambda event, _: to.process(event["Records"], deadline)
    )
    subject, events = tell("stripe", random.Random(1), START, 5000, "EUR", type_="payment_intent.succeeded")
    deliver(daybook, events)
    tries = 0
    while source.poll(0):
        tries += 1
    assert tries == 5
    assert EventSource(sqs, daybook.SETTINGS.names.dead_queue, daybook.park).poll(0) == 1
    [parked] = stage.ledger().parking.parked()
    assert (parked.subject, parked.reason) == (subject, "ship: RuntimeError")
    assert project(subject, stage.ledger().payment(subject).facts).status == "succeeded"
    broken.clear()
    assert to.runner.resume(subject, "payment", deadline) == 1
    assert heard == [f"{subject}/payment.succeeded"]
