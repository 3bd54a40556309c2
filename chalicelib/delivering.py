"""Sending to targets what waits for them, in order for each record, until it is taken.

    consumer    adds a milestone to what waits of its record for a target, and wakes ``deliver``
    deliver     sends the first, strikes it off, sends the next …
                   × killed between the two: the first is sent once more
    not taken   tried again after growing pauses; parked after the last one; a person redrives it

A target that fails holds up what waits of the same record for itself, and nothing else: each record and
target is an entry of its own, and who is waited for in vain is left alone for a while.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any

from chalicelib.breaker import REST, CircuitBreaker
from chalicelib.errors import BodyRemoved, NewerRules, NotTaken, Unavailable, VersionMoved
from chalicelib.ledger import Ledger
from chalicelib.reactions import Task
from chalicelib.senders import Sender
from chalicelib.targets import Target
from chalicelib.telemetry import Telemetry
from chalicelib.times import HOUR
from chalicelib.undelivered import Undelivered
from chalicelib.wakeups import LATEST, Waiter, Wakeups

# Milliseconds between one attempt and the next: a day and seven hours in all, as the scheme's example begins.
# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#deliverability-and-reliability
PAUSES = (5_000, 300_000, HOUR // 2, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR)
JITTER = 0.1  # of a pause, by which it may be longer
RESERVE = 20_000  # milliseconds before the deadline in which nothing is begun: an answer may take 15 s
SOON = HOUR  # what is due later is woken by the hourly look
UNTIL_FREE = 60  # seconds until what somebody else seems to work on is looked at again
MOST_ASKED = HOUR  # for which a target can ask to be left alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverer:
    """Sends to one stage's targets. ``read`` returns what a handler of a task would be called with.

    ``clock`` and every ``deadline`` in milliseconds; ``uniform`` is ``random.uniform``.
    """

    targets: Mapping[str, Target]
    senders: Mapping[str, Sender]
    ledger: Ledger
    wakeups: Wakeups
    read: Callable[[Task, str], tuple[Any, ...]]
    telemetry: Telemetry
    breaker: CircuitBreaker
    clock: Callable[[], int]
    uniform: Callable[[float, float], float]

    def process(self, records: Iterable[Mapping[str, Any]], deadline: int) -> None:
        """Send what the records of the queue say that it waits.

        Raises ``AwsError``, ``Unavailable``: then the ledger or the queue cannot be reached, and all of them
        come again.
        """
        for record in records:
            try:
                waiter = Waiter.decode(record["body"])
            except ValueError:
                self.telemetry.log("not a message of this queue", "ERROR", message_id=record["messageId"])
                continue
            self.deliver(waiter, deadline)

    def deliver(self, waiter: Waiter, deadline: int) -> None:
        """Send what waits there, in order, until something is not taken, or time is up."""
        found, now = self.ledger.undelivered.read(waiter), self.clock()
        if not found.tasks or found.parked_at is not None:
            return
        if found.due_at > now:
            self._wake(found, now)
            return
        if now > deadline - RESERVE:
            self.wakeups.send(waiter)
            return
        if found.leased_until > now:  # by one that sends what comes meanwhile too, unless it is killed
            return
        try:
            leased = self.ledger.undelivered.write(found, replace(found, leased_until=deadline), now)
        except VersionMoved:
            self.wakeups.send(waiter, UNTIL_FREE)
            return
        self._send_all(leased, deadline)

    def _send_all(self, found: Undelivered, deadline: int) -> None:
        shelf = self.ledger.undelivered
        while found.tasks:
            task = found.tasks[0]
            if self.clock() > deadline - RESERVE:
                self._release(found, self.clock())
                return
            try:
                self._send(found, task)
            except Unavailable as error:
                self._try_later(found, error)
                return
            now = self.clock()
            found = shelf.change(found, partial(_taken, task=task, now=now), now)

    def _send(self, of: Undelivered, task: Task) -> None:
        """Raises ``NotTaken``; ``Unavailable`` where nothing was tried."""
        began, about = self.clock(), {"target": of.target, "task": task.id}
        target = self.targets.get(of.target)
        if target is None:
            raise NotTaken("no target of this name is configured")
        try:
            notified = self.read(task, of.subject)
        except BodyRemoved:  # nobody can be notified of it any more; but of what comes after it
            self.telemetry.log("the event's body was removed", "ERROR", {"target_failed": 1}, **about)
            return
        except NewerRules:
            raise NotTaken("a newer version of Daybook wrote the record") from None
        with self.breaker.asking(target.name), self.telemetry.span("target", target=target.name):
            self._call(target, of.subject, task, notified)
        self.telemetry.log("delivered", metrics={"delivered": 1}, **about, ms=self.clock() - began)

    def _call(self, target: Target, subject: str, task: Task, notified: tuple[Any, ...]) -> None:
        """Whatever is raised, it is this record's and this target's affair."""
        try:
            self.senders[target.kind](target, subject, task, notified)
        except NotTaken:
            raise
        except Exception as error:
            raise NotTaken(f"could not be sent: {type(error).__name__}") from error

    def _try_later(self, found: Undelivered, why: Unavailable) -> None:
        now = self.clock()
        if not isinstance(why, NotTaken):  # it was not tried: others waited for the target in vain just now
            self._release(found, now, due_at=now + REST)
            return
        attempts, reason = found.attempts + 1, str(why)
        about = {"target": found.target, "task": found.tasks[0].id, "attempts": attempts, "reason": reason}
        self.telemetry.log("not delivered", "WARNING", {"target_failed": 1}, **about)
        if attempts > len(PAUSES):
            self._release(found, now, attempts=attempts, reason=reason, parked_at=now)
            self.telemetry.log("parked", "ERROR", {"parked": 1}, **about)
            return
        pause = PAUSES[attempts - 1] * (1 + self.uniform(0, JITTER))
        asked = min(1000 * (why.retry_after or 0), MOST_ASKED)
        self._release(found, now, attempts=attempts, reason=reason, due_at=now + ceil(max(pause, asked)))

    def _release(self, found: Undelivered, now: int, **noted: Any) -> None:
        """End the lease, with what is noted; and see that somebody wakes for it."""
        written = self.ledger.undelivered.change(
            found, lambda each: replace(each, leased_until=0, **noted), now
        )
        if written.parked_at is None:
            self._wake(written, now)

    def _wake(self, found: Undelivered, now: int) -> None:
        rest = found.due_at - now
        if rest <= SOON:
            self.wakeups.send(found.waiter, min(LATEST, max(0, ceil(rest / 1000))))


def _taken(found: Undelivered, task: Task, now: int) -> Undelivered:
    return found.without(task, now)
