"""Thousands of small histories in memory: calls that fail before or after they are done, kills, redelivery.

What `test_torture.py` does on the emulator, at a thousandth of the cost and by a clock that only the history
moves, so that a history that goes wrong is found by its seed and can be told again.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chalicelib.errors import AwsError, BatchFailed
from chalicelib.inbox import Message
from chalicelib.payments import Milestone, Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from ops.redrive import Redrive
from tests.conftest import TORTURE
from tests.expected import wanted_of
from tests.fakes import NOW, Clock, MemoryInbox, MemoryLedger, as_bytes, consumer, sqs_record
from tests.simulators import Simulator, lived

HISTORIES = 20_000 if TORTURE else 300
FAILS = 0.06  # of all calls, before and after they are carried out alike
KILLS = 0.01
CALL = 30  # milliseconds
VISIBLE_AFTER = 6_000
TIME = 1_000
TRIES = 5


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Queued:
    record: dict[str, Any]
    visible_at: int = 0
    received: int = 0


class Queue:
    """A FIFO queue: in a group one message after the other, hidden while it is worked on; five tries."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.messages: list[Queued] = []
        self.dead: list[Queued] = []
        self.number = 0

    def put(self, text: str, group: str, once: str = "", trace: str = "") -> None:
        self.number += 1
        self.messages.append(Queued(sqs_record(text, group, receipt=str(self.number))))

    def receive(self) -> list[Queued]:
        locked: set[str] = set()
        batch: list[Queued] = []
        for each in list(self.messages):
            group = each.record["attributes"]["MessageGroupId"]
            if each.visible_at > self.clock.now or group in locked:
                locked.add(group)
                continue
            if each.received == TRIES:
                self.messages.remove(each)
                self.dead.append(each)
                continue
            if len(batch) < 10:
                each.received += 1
                each.visible_at = self.clock.now + VISIBLE_AFTER
                each.record["attributes"]["ApproximateReceiveCount"] = str(each.received)
                batch.append(each)
        return batch

    def delete(self, receipts: list[str]) -> None:
        self.messages = [each for each in self.messages if each.record["receiptHandle"] not in receipts]


class Faulty:
    """A ledger that fails a part of its calls, by a seed: before, or after it has carried them out."""

    def __init__(self, inner: Any, rng: random.Random, clock: Clock) -> None:
        self._inner, self._rng, self._clock = inner, rng, clock
        self.fails = True

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):  # what is kept beside the records fails with them
            part = Faulty(found, self._rng, self._clock)
            part.fails = self.fails
            return part
        method: Callable[..., Any] = found

        def call(*arguments: Any, **named: Any) -> Any:
            self._clock.now += CALL
            chance = self._rng.random() if self.fails else 1.0
            if chance < KILLS:
                raise Killed
            if chance < FAILS / 2:
                raise AwsError("dynamodb", name, "InternalServerError", passing=True)
            result = method(*arguments, **named)
            if self.fails and self._rng.random() < KILLS:
                raise Killed
            if chance < FAILS:
                raise AwsError("dynamodb", name, "InternalServerError", passing=True)
            return result

        return call


class History:
    """Some payments, their events in no order and some twice, and a consumer that fails and is killed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock(NOW)
        self.queue = Queue(self.clock)
        self.table: Any = MemoryLedger()
        self.ledger: Any = Faulty(self.table, self.rng, self.clock)
        self.heard: Counter[str] = Counter()
        self.kills = 0
        self.models = [self._model() for _ in range(self.rng.randrange(1, 4))]
        handlers = Handlers()

        @handlers.on("payment.*")
        def listen(payment: Payment, milestone: Milestone) -> None:
            self.heard[milestone.id] += 1
            if self.ledger.fails and self.rng.random() < KILLS:
                raise Killed

        for kind in ("dispute.*", "inquiry.*", "refund.*"):
            handlers.on(kind)(self._also(kind))

        inbox: Any = self.queue
        base = consumer(self.ledger, MemoryInbox())
        self.to = replace(base, inbox=inbox, handlers=handlers, clock=self.clock)

    def _also(self, kind: str) -> Callable[[Payment, Milestone], None]:
        def listen(payment: Payment, milestone: Milestone) -> None:
            self.heard[milestone.id] += 1

        listen.__name__ = kind
        return listen

    def _model(self) -> Simulator:
        return lived("stripe" if self.rng.random() < 0.6 else "paypal", self.rng, 3)

    def run(self) -> None:
        events = [(model, event) for model in self.models for event in model.events]
        deliveries = events + self.rng.choices(events, k=len(events) // 3)
        self.rng.shuffle(deliveries)
        for model, event in deliveries:
            self._send(model, event)
            if self.rng.random() < 0.3:
                self.poll()
        self._drain()
        self.ledger.fails = False
        while True:
            self._drain()
            self.to.park([each.record for each in self.queue.dead], self.clock.now)
            self.queue.dead.clear()
            waiting = list(self.table.parking.parked())
            if not waiting:
                return
            redrive: Any = Redrive(self.table, self.to.inbox, self.clock)
            for each in waiting:
                redrive.send(each)

    def _send(self, model: Simulator, event: dict[str, Any]) -> None:
        provider = model.subject.partition(":")[0]
        body = as_bytes(event)
        made = PROVIDERS[provider].event(body, self.clock.now)
        message = Message(
            provider=provider, event_id=made.id, subject=made.subject, received_at=self.clock.now, body=body
        )
        self.queue.put(message.encode(), made.subject)

    def poll(self) -> None:
        batch = self.queue.receive()
        if not batch:
            self.clock.now += 500
            return
        try:
            self.to.process([each.record for each in batch], self.clock.now + TIME)
        except BatchFailed:
            return
        except Killed:
            self.kills += 1
            self.clock.now += 2 * TIME
            return
        except AwsError:  # what succeeded could not be taken off
            return
        self.queue.delete([each.record["receiptHandle"] for each in batch])

    def _drain(self) -> None:
        while self.queue.messages:
            self.poll()

    def check(self) -> None:
        for model in self.models:
            recorded = sorted(each.id for each in self.table.events(model.subject))
            assert recorded == sorted(each["id"] for each in model.events)
            shown = project(model.subject, self.table.payment(model.subject).facts)
            right = (model.status, model.captured, model.given_back, model.disputed)
            assert (shown.status, shown.captured, shown.refunded, shown.disputed) == right
            names = [
                name.removeprefix(f"{model.subject}/")
                for name in self.heard
                if name.startswith(f"{model.subject}/")
            ]
            got = Counter(name.partition("/")[0] for name in names)
            wanted = wanted_of(model)
            assert not wanted - got, names
            assert not got - model.may_be_notified, names
            assert self.table.payment(model.subject).outbox.tasks == ()


@pytest.mark.parametrize("chunk", range(20))
def test_every_history_ends_right(chunk: int) -> None:
    """Each event once, each payment right, each milestone heard, nothing left to be told."""
    kills = 0
    for n in range(HISTORIES // 20):
        history = History(chunk * 1_000_000 + n)
        history.run()
        history.check()
        kills += history.kills
    assert kills > 0
