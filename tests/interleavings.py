"""Every interleaving of consumers: the real code, stopped at each call of AWS and each handler.

Two consumers work at once on batches that have a payment, or an event, in common: more than SQS lets happen,
whose FIFO queue gives a group to one at a time. Wherever one stands it can be killed. What is then left on
the queue is delivered again, after the leases have ended, to one that is alone, until nothing is left.

Not among what is explored: time that passes while they work (a lease that ends, a deadline), conflicts of
DynamoDB's own, a kill of the redelivery. What time does is in ``tests/core/test_outbox.py``, what DynamoDB
does in ``make oracle``.

The search is depth first. A state that was seen before is not gone into again: what the table holds, what
each consumer has been answered so far (which is all that it acts on), and what handlers were notified of.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from chalicelib.aws import Caller
from chalicelib.errors import AwsError
from chalicelib.events import Event
from chalicelib.folding import folded
from chalicelib.inbox import Message
from chalicelib.kinds import PAYMENT
from chalicelib.ledger import Ledger
from chalicelib.payments import Milestone, Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.recording import Consumer
from tests.fakes import NOW, consumer, sqs_record
from tests.little_dynamo import LittleDynamo

MINUTE = 60_000
LATER = NOW + 10 * MINUTE
DELIVERIES = 5  # of one message, after which it would be a dead letter
Choice = tuple[str, int]  # to let a consumer go on, or to kill it; and which
State = int


@dataclass(frozen=True, slots=True)
class History:
    """What two consumers are given at once; which milestone's handler fails the first time, if any; whether
    a handler is notified of the events themselves too.

    ``right`` is what must be recorded in the end: captured and refunded by subject.
    """

    batches: tuple[Sequence[Message], Sequence[Message]]
    right: dict[str, tuple[int, int]]
    fails: str = ""
    kills: int = 1
    is_raw: bool = False


@dataclass(eq=False, slots=True)
class Running:
    """One consumer at work. ``told``: what it was answered so far; ``unmarked``: of what its handlers were
    notified since it last wrote."""

    name: str
    work: greenlet = field(default_factory=greenlet)
    told: list[int] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)
    is_killed: bool = False

    @property
    def is_over(self) -> bool:
        return self.work.dead or self.is_killed


class World:
    """One run of a history, up to a choice at a time. ``checks``, ``at``: see ``explore``."""

    def __init__(self, history: History, checks: bool, at: Sequence[int]) -> None:
        self._history = history
        self._table = LittleDynamo(checks)
        self._scheduler = getcurrent()
        self.kills = history.kills
        self.together = 0  # events, in the largest transaction
        self.heard: list[str] = []
        self.unmarked: list[str] = []  # what a kill may have notified twice
        self._failed: list[str] = []
        self._queue = {
            f"{n}.{place}": message
            for n, batch in enumerate(history.batches)
            for place, message in enumerate(batch)
        }
        self.running = [
            self._started(n, [name for name in self._queue if name.startswith(f"{n}.")], at[n])
            for n in range(len(history.batches))
        ]

    def _started(self, n: int, names: Sequence[str], now: int, attempts: int = 1) -> Running:
        me = Running(str(n))
        me.work = greenlet(lambda: self._work(me, names, now, attempts))
        return me

    def _work(self, me: Running, names: Sequence[str], now: int, attempts: int) -> None:
        records = [
            sqs_record(self._queue[name].encode(), group=self._queue[name].subject, receives=attempts)
            | {"messageId": name}
            for name in names
        ]
        again = self._consumer(me, now).process(records, now + MINUTE)
        self._stop(me, "the batch ended")
        for name in set(names) - set(again):
            del self._queue[name]

    # ── what is stopped ─────────────────────────────────────────────────────────────────────────

    def _consumer(self, me: Running, now: int) -> Consumer:
        ledger = Ledger(self._caller(me), "t")
        made = consumer(ledger, None, handlers=self._handlers(me))
        return Consumer(
            providers=made.providers,
            ledger=ledger,
            inbox=made.inbox,
            telemetry=made.telemetry,
            handlers=made.handlers,
            clock=lambda: now,
            partial_batches=True,
        )

    def _caller(self, me: Running) -> Caller:
        def call(service: str, operation: str, /, **request: Any) -> dict[str, Any]:
            self._stop(me, operation)
            answer: Any = None
            try:
                answer = self._table(service, operation, **request)
            except AwsError as error:
                answer = [error.code, error.reasons]
                raise
            finally:
                me.told.append(hash(repr((operation, answer))))
            if operation in ("UpdateItem", "TransactWriteItems"):
                me.unmarked.clear()
            if operation == "TransactWriteItems":
                self.together = max(self.together, _events_in(request["TransactItems"]))
            return answer  # type: ignore[no-any-return]

        return call

    def _handlers(self, me: Running) -> Handlers:
        handlers = Handlers()

        @handlers.on("payment.*")
        def listen(payment: Payment, milestone: Milestone) -> None:
            self._stop(me, f"handler of {milestone.type}")
            if milestone.type == self._history.fails and milestone.id not in self._failed:
                self._failed.append(milestone.id)
                me.told.append(hash(("fails", milestone.id)))
                raise ConnectionError
            self._hear(me, milestone.id)

        def listen_raw(event: Event) -> None:
            self._stop(me, _raw(event.id))
            self._hear(me, _raw(event.id))

        if self._history.is_raw:
            handlers.on("stripe.*")(listen_raw)
        return handlers

    def _hear(self, me: Running, name: str) -> None:
        self.heard.append(name)
        me.unmarked.append(name)
        self._stop(me, f"{name} ended")

    def _stop(self, me: Running, where: str) -> None:
        """Wait until the scheduler lets it go on."""
        me.told.append(hash(where))
        self._scheduler.switch()

    # ── what the scheduler does ─────────────────────────────────────────────────────────────────

    def choices(self) -> list[Choice]:
        alive = [n for n, each in enumerate(self.running) if not each.is_over]
        return [("go", n) for n in alive] + ([("kill", n) for n in alive] if self.kills else [])

    def do(self, choice: Choice) -> None:
        what, n = choice
        if what == "go":
            self.running[n].work.switch()
        else:
            self._kill(self.running[n])

    def _kill(self, each: Running) -> None:
        self.kills -= 1
        self.unmarked += each.unmarked
        each.is_killed = True
        each.work.throw(GreenletExit)

    def state(self) -> State:
        """As a number: all that what comes next depends on, and all that is asserted in the end."""
        consumers = tuple((tuple(each.told), each.is_killed, each.is_over) for each in self.running)
        heard = tuple(sorted(self.heard)), tuple(sorted(self.unmarked)), tuple(self._failed)
        table = frozenset(self._table.items.items())
        return hash((table, consumers, heard, self.kills, frozenset(self._queue)))

    def outcome(self) -> State:
        """The same once nobody is at work any more: how it came to that is of no account."""
        heard = tuple(sorted(self.heard)), tuple(sorted(self.unmarked)), tuple(self._failed)
        return hash((frozenset(self._table.items.items()), heard, frozenset(self._queue)))

    def finish(self) -> None:
        """Deliver what is left until nothing is: to one consumer, at a time when all leases have ended."""
        for attempts in range(2, DELIVERIES + 1):
            if not self._queue:
                return
            now = LATER + attempts * 10 * MINUTE
            last = self._started(9, sorted(self._queue), now, attempts)
            while not last.is_over:
                last.work.switch()
        assert not self._queue, "something would be a dead letter"

    def check(self) -> None:
        """The promises: recorded once, right, notified once but for the named gap."""
        ledger = Ledger(self._table, "t")
        events = {each.event_id for batch in self._history.batches for each in batch}
        homes = [key for key, item in self._table.items.items() if '"body"' in item]
        assert sorted(entry for _, entry in homes) == sorted(f"event:{each}" for each in events)
        raw = Counter(each for each in self.heard if each in map(_raw, events))
        assert set(raw) == set(map(_raw, events if self._history.is_raw else ()))
        self._check_times(raw)
        for subject, right in self._history.right.items():
            stored = ledger.payment(subject)
            assert stored.facts == folded(ledger, PROVIDERS, subject, {})
            assert not ledger.outbox(subject, PAYMENT).tasks
            payment = project(subject, stored.facts)
            assert (payment.captured, payment.refunded) == right
            expected = {each.id for each in payment.milestones}
            heard = Counter(each for each in self.heard if each.startswith(f"{subject}/"))
            assert set(heard) == expected
            self._check_times(heard)

    def _check_times(self, heard: Mapping[str, int]) -> None:
        """Once; once more for each kill between a handler's end and its mark."""
        for name, times in heard.items():
            assert times <= 1 + self.unmarked.count(name), f"{name} {times} times"

    def end(self) -> None:
        """Let go of whoever is still at work."""
        for each in self.running:
            if not each.work.dead:
                each.work.throw(GreenletExit)


def _raw(event_id: str) -> str:
    return f"handler of {event_id}"


def _events_in(writes: Iterable[Mapping[str, Any]]) -> int:
    return sum(each["Put"]["Item"]["entry"]["S"].startswith("event:") for each in writes)


@dataclass(slots=True)
class Explored:
    """How many states there were, schedules through them (those that lead to the same states counted
    apart), and different endings; how many events the largest transaction wrote."""

    states: int
    schedules: int
    endings: int
    together: int


def explore(history: History, checks: bool = True, at: Sequence[int] = (NOW, NOW)) -> Explored:
    """Every schedule of the history, each ended and checked.

    To see that a fault would be found: without ``checks`` the table's conditions always hold; ``at`` is the
    time that each consumer believes it is.
    """
    after: dict[State, list[State]] = {}
    ended: set[State] = set()
    waiting: list[tuple[Choice, ...]] = [()]
    together = 0
    while waiting:
        path = waiting.pop()
        world = World(history, checks, at)
        for choice in path[:-1]:
            world.do(choice)
        before = world.state() if path else None
        if path:
            world.do(path[-1])
        for _ in count():
            state = world.state()
            if before is not None:
                after[before].append(state)
            if state in after:
                break
            after[state] = []
            choices = world.choices()
            if not choices:
                _end(world, ended, path)
                break
            waiting += [(*path, each) for each in choices[1:]]
            path = (*path, choices[0])
            before = state
            world.do(choices[0])
        world.end()
        together = max(together, world.together)
    return Explored(len(after), _schedules(after), len(ended), together)


def _end(world: World, ended: set[State], path: Sequence[Choice]) -> None:
    outcome = world.outcome()
    if outcome in ended:
        return
    ended.add(outcome)
    try:
        world.finish()
        world.check()
    except Exception as error:
        raise AssertionError(f"after {path}") from error


def _schedules(after: dict[State, list[State]]) -> int:
    """The paths from the first state to an end."""
    paths: dict[State, int] = {}
    for state in _ends_first(after):
        paths[state] = sum(paths[each] for each in after[state]) if after[state] else 1
    return paths[next(iter(after))]


def _ends_first(after: dict[State, list[State]]) -> Iterator[State]:
    """Each state after all that come after it."""
    done: set[State] = set()
    stack = [next(iter(after))]
    while stack:
        state = stack[-1]
        left = [each for each in after[state] if each not in done]
        if left:
            stack += left
            continue
        stack.pop()
        if state not in done:
            done.add(state)
            yield state
