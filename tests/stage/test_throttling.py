"""A table that is asked for too much: the batch waits together, and asks for little more."""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from chalicelib.aws import Aws, Keys
from chalicelib.errors import BatchFailed
from chalicelib.inbox import Inbox, Message
from chalicelib.ledger import Ledger
from chalicelib.payments import Milestone, Payment
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from ops.stage import REGION, Stage
from ops.stories import tell
from tests.fakes import NOW, Clock, as_bytes, consumer, sqs_record
from tests.proxy import Call, Proxy

MINUTE = 60_000  # milliseconds: what an invocation of the consumer has


class Throttling:
    """Throttles the table's next ``times`` calls; those of ``operation`` alone, if it is given."""

    def __init__(self, times: int, operation: str = "") -> None:
        self.left, self._operation = times, operation

    def __call__(self, call: Call) -> str | None:
        if call.service != "dynamodb" or not call.operation.startswith(self._operation) or self.left <= 0:
            return None
        self.left -= 1
        return "throttled"


class Run(NamedTuple):
    """What one invocation with ten payments' events did: its calls, its handlers, its time in seconds."""

    calls: Counter[str]
    notified: list[str]
    seconds: float
    lines: list[str]


@pytest.fixture
def run(stage: Stage) -> Callable[[Throttling], Run]:
    """A batch of ten through the real consumer, with time that passes where it waits."""

    def made(fault: Throttling) -> Run:
        clock = Clock()
        lines: list[str] = []
        notified: list[str] = []

        def pause(seconds: float) -> None:
            clock.now += round(seconds * 1000)

        def heard(payment: Payment, milestone: Milestone) -> None:
            notified.append(payment.id)

        handlers = Handlers()
        handlers.on("payment.succeeded")(heard)
        with Proxy(str(stage.endpoint), fault) as proxy:
            aws = Aws(REGION, lambda: Keys("k", "s", None), proxy.address, pause, random.Random(1).uniform)
            base = consumer(Ledger(aws, stage.names.table), Inbox(aws, stage.names.queue), lines, handlers)
            each = replace(base, clock=clock, patient=aws.patient)
            with suppress(BatchFailed):
                each.process(batch(), NOW + MINUTE)
            aws.close()
            calls = Counter(call.operation for call in proxy.calls if call.service == "dynamodb")
        return Run(calls, notified, (clock.now - NOW) / 1000, lines)

    return made


def batch() -> list[dict[str, Any]]:
    records = []
    for n in range(10):
        _, [event] = tell("stripe", random.Random(n), NOW, 500, "EUR", type_="payment_intent.succeeded")
        body = as_bytes(event)
        message = Message.of(PROVIDERS["stripe"].event(body, NOW), body)
        records.append(sqs_record(message.encode(), group=message.subject) | {"messageId": f"m{n}"})
    return records


def recorded(stage: Stage) -> int:
    items = stage.client("dynamodb").scan(TableName=stage.names.table)["Items"]
    return sum(item["entry"]["S"] == "payment" for item in items)


def test_a_batch_waits_until_the_table_takes_it(run: Callable[[Throttling], Run], stage: Stage) -> None:
    """Ten calls are refused; then all ten payments are recorded, in the one transaction that waited."""
    done = run(Throttling(10, "TransactWriteItems"))
    assert recorded(stage) == len(set(done.notified)) == len(done.notified) == 10
    assert done.calls["TransactWriteItems"] == 11
    assert 10 < done.seconds < 55


@pytest.mark.parametrize("operation", ["", "TransactWriteItems"])
def test_a_table_that_throttles_on_is_left_alone(
    run: Callable[[Throttling], Run], stage: Stage, operation: str
) -> None:
    """In 55 seconds as few calls as would be a second, with each record tried for itself."""
    done = run(Throttling(10_000, operation))
    assert recorded(stage) == 0
    assert sum(done.calls.values()) <= 20
    assert 54.9 < done.seconds <= 60
    assert [line for line in done.lines if '"failed": 10' in line]


def test_who_is_notified_is_not_again_where_noting_it_is_throttled(
    run: Callable[[Throttling], Run], stage: Stage
) -> None:
    """A handler that has ended well is marked so, however long that takes."""
    done = run(Throttling(8, "UpdateItem"))
    assert len(done.notified) == len(set(done.notified)) == 10
    assert done.calls["UpdateItem"] == 1 + 10 + 8  # the calendar, each mark, and what was throttled
    items = stage.client("dynamodb").scan(TableName=stage.names.table)["Items"]
    assert not [item for item in items if "outbox" in item]


def test_the_app_is_patient(daybook: Any) -> None:
    """With the caller that its ledger uses."""
    assert daybook._consumer().patient.__self__ is daybook._aws()
