"""Sending to targets what waits for them, in order for each record, until it is taken.

    consumer    adds a milestone to what waits of its record for a target, and wakes ``deliver``
    deliver     sends the first, strikes it off, sends the next …
                   × killed between the two: the first is sent once more
    not taken   tried again after growing pauses; parked after the last one; a person redrives it

A target that fails holds up what waits of the same record for itself, and nothing else: each record and
target is an entry of its own, and who takes long is left alone for as long, while others are served.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import Any

from chalicelib.errors import AwsError, BodyRemoved, NewerRules, NotTaken, Unavailable, VersionMoved
from chalicelib.ledger import Ledger
from chalicelib.reactions import Task
from chalicelib.senders import Sender
from chalicelib.targets import Target
from chalicelib.telemetry import Telemetry
from chalicelib.times import HOUR
from chalicelib.undelivered import Undelivered
from chalicelib.wakeups import Wakeup, Wakeups

# Milliseconds between one attempt and the next: a day and seven hours in all, as the scheme's example begins.
# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#deliverability-and-reliability
PAUSES = (5_000, 300_000, HOUR // 2, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR)
JITTER = 0.1  # of a pause, by which it may be longer
OVERDUE = sum(PAUSES) * (1 + JITTER)  # after which nobody is waited for any more
RESERVE = 20_000  # milliseconds before the deadline in which nothing is begun: an answer may take 15 s
SOON = HOUR  # what is due later is woken by the hourly look
UNTIL_FREE = 60_000  # milliseconds until what somebody else seems to work on is looked at again
MOST_ASKED = HOUR  # for which a target can ask to be left alone
SLOW = 1_000  # milliseconds: who answers sooner holds nobody up
REST, LONGEST_REST = 30_000, 600_000  # milliseconds that who does not answer is left alone, ever longer


@dataclass(slots=True)
class Rests:
    """Until when this process leaves a target alone: for as long as it took to answer, so that others have as
    much of the time; and where it did not answer at all, each time for longer."""

    clock: Callable[[], int]
    until: dict[str, int] = field(default_factory=dict)
    silences: dict[str, int] = field(default_factory=dict)

    def of(self, target: str) -> int:
        """Milliseconds that are left of it."""
        return max(0, self.until.get(target, 0) - self.clock())

    def answered(self, target: str, took: int) -> None:
        self.silences.pop(target, None)
        if took >= SLOW:
            self.until[target] = self.clock() + took

    def silent(self, target: str, took: int) -> None:
        if took >= SLOW:
            count = self.silences[target] = self.silences.get(target, 0) + 1
            self.until[target] = self.clock() + min(REST * 2 ** (count - 1), LONGEST_REST)


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
    rests: Rests
    clock: Callable[[], int]
    uniform: Callable[[float, float], float]

    def process(self, records: Iterable[Mapping[str, Any]], deadline: int) -> None:
        """Send what the records of the queue say that it waits.

        Raises ``AwsError``, ``Unavailable``: then the ledger or the queue cannot be reached, and all of them
        come again. What is wrong with one of them holds up no other.
        """
        until = deadline - min(RESERVE, (deadline - self.clock()) // 2)
        for record in records:
            try:
                self.deliver(Wakeup.decode(record["body"]), until, deadline)
            except (AwsError, Unavailable):
                raise
            except Exception as error:
                fields = {"message_id": record["messageId"], "error": type(error).__name__}
                self.telemetry.log("cannot be delivered", "ERROR", {"target_failed": 1}, **fields)

    def deliver(self, wakeup: Wakeup, until: int, deadline: int) -> None:
        """Send what waits there, in order, until something is not taken. Nothing is begun after ``until``."""
        now = self.clock()
        rest = self.rests.of(wakeup.target)
        is_overdue = wakeup.since is not None and now - wakeup.since > OVERDUE
        if rest and not is_overdue:
            if wakeup.due_at is not None:  # else somebody looks again in an hour
                self.wakeups.send(wakeup, rest * (1 + self.uniform(0, JITTER)))
            return
        found = self.ledger.undelivered.read(wakeup.waiter)
        if not found.tasks or found.parked_at is not None or wakeup.due_at not in (None, found.due_at):
            return
        if found.due_at > now:
            self._wake(found, now)
        elif now > until:
            self.wakeups.send(found.wakeup)
        elif found.leased_until <= now:  # else by one that sends what comes meanwhile too
            self._lease(found, until, deadline, is_given_up=rest > 0)

    def _lease(self, found: Undelivered, until: int, deadline: int, is_given_up: bool) -> None:
        now = self.clock()
        try:
            leased = self.ledger.undelivered.write(found, replace(found, leased_until=deadline), now)
        except VersionMoved:
            self.wakeups.send(found.wakeup, UNTIL_FREE)
            return
        if is_given_up:
            self._park(leased, leased.attempts, leased.reason or "it does not answer")
        else:
            self._send_all(leased, until)

    def _send_all(self, found: Undelivered, until: int) -> None:
        shelf = self.ledger.undelivered
        while found.tasks:
            task = found.tasks[0]
            if self.clock() > until:
                self._release(found, self.clock())
                return
            try:
                self._send(found, task)
            except NotTaken as error:
                self._try_later(found, error)
                return
            now = self.clock()
            found = shelf.change(found, partial(_taken, task=task, now=now), now)

    def _send(self, of: Undelivered, task: Task) -> None:
        """Raises ``NotTaken``."""
        about = {"target": of.target, "task": task.id}
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
        except AwsError:
            raise
        except Exception as error:
            raise NotTaken(f"could not be read: {type(error).__name__}") from error
        began = self.clock()
        try:
            with self.telemetry.span("target", target=target.name):
                self._call(target, of.subject, task, notified)
        except NotTaken as error:
            took = self.clock() - began
            (self.rests.silent if error.is_silent else self.rests.answered)(target.name, took)
            raise
        took = self.clock() - began
        self.rests.answered(target.name, took)
        self.telemetry.log("delivered", metrics={"delivered": 1}, **about, ms=took)

    def _call(self, target: Target, subject: str, task: Task, notified: tuple[Any, ...]) -> None:
        """Whatever is raised, it is this record's and this target's affair."""
        try:
            self.senders[target.kind](target, subject, task, notified)
        except NotTaken:
            raise
        except Exception as error:
            raise NotTaken(f"could not be sent: {type(error).__name__}") from error

    def _try_later(self, found: Undelivered, why: NotTaken) -> None:
        now = self.clock()
        attempts, reason = found.attempts + 1, str(why)
        about = {"target": found.target, "task": found.tasks[0].id, "attempts": attempts, "reason": reason}
        self.telemetry.log("not delivered", "WARNING", {"target_failed": 1}, **about)
        if attempts > len(PAUSES):
            self._park(found, attempts, reason)
            return
        pause = PAUSES[attempts - 1] * (1 + self.uniform(0, JITTER))
        asked = min(1000 * (why.retry_after or 0), MOST_ASKED)
        self._release(found, now, attempts=attempts, reason=reason, due_at=now + ceil(max(pause, asked)))

    def _park(self, found: Undelivered, attempts: int, reason: str) -> None:
        now = self.clock()
        self._release(found, now, attempts=attempts, reason=reason, parked_at=now)
        about = {"target": found.target, "subject": found.subject, "attempts": attempts, "reason": reason}
        self.telemetry.log("parked", "ERROR", {"parked": 1}, **about)

    def _release(self, found: Undelivered, now: int, **noted: Any) -> None:
        """End the lease, with what is noted; and see that somebody wakes for it."""
        written = self.ledger.undelivered.change(
            found, lambda each: replace(each, leased_until=0, **noted), now
        )
        if written.parked_at is None:
            self._wake(written, now)

    def _wake(self, found: Undelivered, now: int) -> None:
        if found.due_at - now <= SOON:
            self.wakeups.send(found.wakeup, found.due_at - now)


def _taken(found: Undelivered, task: Task, now: int) -> Undelivered:
    return found.without(task, now)
