"""Running handlers from an outbox, so that each change is notified once.

    record        ┌ transaction: event + payment + its outbox, under a lease ┐
    run           │ handler ends ─× mark as handled ─ next handler ─ … ─ outbox empty, lease gone
                           a crash at × is the one place where a handler is notified of something twice

While a lease is live nobody else runs handlers of that payment; it ends by itself with the process's time.
A handler has four fifths of the time that is left: what hangs fails by itself, and the others have theirs.
"""

import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from chalicelib import payouts, subscriptions
from chalicelib.entries import Outbox
from chalicelib.errors import BodyRemoved, HandlerFailed, HandlersBusy, VersionMoved
from chalicelib.events import Event
from chalicelib.explaining import PLACES, Explanation
from chalicelib.kinds import PAYMENT, PAYOUT, kind_of
from chalicelib.ledger import Ledger
from chalicelib.payments import Payment, project
from chalicelib.payouts import Payout
from chalicelib.reactions import NEEDS, Handler, Handlers, Task
from chalicelib.subscriptions import TERMS, Subscription, Terms
from chalicelib.telemetry import Telemetry

TRIES = 4  # to mark as handled while others write the same payment
SHARE = 0.8  # of the time that is left that one handler may use, so that the batch's others have theirs
LEAST = 0.5  # seconds that it has in any case: nothing is won by ending one that would have been quick


class OutOfTime(BaseException):
    """Ends a handler that needs too long; no ``except Exception`` of its own can hold it up."""


def one_after_another(runs: Iterable[Callable[[], int]]) -> int:
    """Runs of several outboxes, none of which keeps another from running; how many handlers ran.

    Raises the first ``HandlerFailed`` or ``HandlersBusy``, at the end.
    """
    count = 0
    first: HandlerFailed | HandlersBusy | None = None
    for run in runs:
        try:
            count += run()
        except (HandlerFailed, HandlersBusy) as error:
            first = first or error
    if first:
        raise first
    return count


def shown_of(ledger: Ledger, subject: str, terms: Terms) -> Payment | Subscription | Payout:
    """A record as it is now, as handlers are called with it. Raises ``NewerRules``."""
    facts, entry = ledger.record(subject).facts, kind_of(subject).entry
    if entry == PAYMENT:
        return project(subject, facts)
    if entry == PAYOUT:
        return payouts.project(subject, facts)
    return subscriptions.project(subject, facts, terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Runs handlers. ``event`` reads a recorded event back; ``clock`` in milliseconds.

    ``keeps_unknown``: what no handler handles stays, instead of being removed as that of one that is gone.
    """

    ledger: Ledger
    handlers: Handlers
    telemetry: Telemetry
    clock: Callable[[], int]
    event: Callable[[str, str], Event]
    keeps_unknown: bool = False
    explain: Explanation = PLACES
    terms: Terms = TERMS

    def resume(self, subject: str, entry: str, deadline: int) -> int:
        """Run what is left in that outbox; how many handlers ran. ``deadline`` in milliseconds.

        Raises ``HandlersBusy`` while somebody else does, ``HandlerFailed``.
        """
        return self.resume_read(self.ledger.outbox(subject, entry), deadline)

    def resume_read(self, outbox: Outbox, deadline: int) -> int:
        """The same of an outbox that was just read."""
        if not self._next(outbox, self._needs(outbox)):
            return 0
        if outbox.leased_until > self.clock():
            raise HandlersBusy(outbox.subject)
        return self.run(self.ledger.write_outbox(replace(outbox, leased_until=deadline)))

    def run(self, outbox: Outbox) -> int:
        """Run all handlers of an outbox under our lease. Raises ``HandlerFailed``, the lease given back.

        Those that need what the payment does not have yet are left: what brings it runs them.
        """
        count = 0
        missing = self._needs(outbox)
        while found := self._next(outbox, missing):
            task, ready = found
            if ready:
                self._call(ready[0], task, outbox)
                count += 1
            outbox = self._mark_as_handled(outbox, task, ready[:1])
        if outbox.tasks:
            self._give_back(outbox)
        return count

    def _next(self, outbox: Outbox, missing: Collection[str]) -> tuple[Task, list[Handler]] | None:
        """The first task that can go on, with the handlers that can be notified of it; none if it is done."""
        left = [(task, self.handlers.unhandled(task)) for task in outbox.tasks]
        for task, unhandled in left:
            first = [each for each in unhandled if each.goes_first and each.needs not in missing]
            if first:
                return task, first
        for task, unhandled in left:
            if self.keeps_unknown and not self.handlers.of(task.type):
                continue
            ready = [each for each in unhandled if each.needs not in missing]
            if ready or not unhandled:
                return task, ready
        return None

    def _needs(self, outbox: Outbox) -> Collection[str]:
        """What handlers of it need and the record does not have."""
        if not any(task.needs for task in outbox.tasks):
            return ()
        shown = shown_of(self.ledger, outbox.subject, self.terms)
        return [name for name in NEEDS if getattr(shown, name) is None]

    def _call(self, handler: Handler, task: Task, outbox: Outbox) -> None:
        began = self.clock()
        log = self.telemetry.log
        try:
            arguments = self.read(task, outbox.subject)
        except BodyRemoved:  # nobody can be notified of it any more; but of what comes after it
            gone = {"handler_failed": 1}
            log("the event's body was removed", "ERROR", gone, handler=handler.name, task=task.id)
            return
        try:
            span = self.telemetry.span("handler", handler=handler.name, type=task.type)
            with span, self._ended_in_time(handler, task, outbox):
                handler.function(*arguments)
        except (Exception, OutOfTime) as error:
            fields = {"handler": handler.name, "task": task.id, **self.explain.of(error)}
            log("handler failed", "ERROR", {"handler_failed": 1}, **fields)
            why = f"{handler.name}: {self.explain.short(error)}"
            self._give_back(outbox, lambda each: each.failed_by(why) if each.id == task.id else each)
            raise HandlerFailed(f"{handler.name}: {type(error).__name__}") from error
        log("handled", handler=handler.name, task=task.id, ms=self.clock() - began)

    def read(self, task: Task, subject: str) -> tuple[Any, ...]:
        """What handlers of it are called with. Reading it is no handler's time. Raises ``BodyRemoved``."""
        if task.event_id is not None:
            return (replace(self.event(subject, task.event_id), is_replay=task.replay),)
        return shown_of(self.ledger, subject, self.terms), task.milestone

    @contextmanager
    def _ended_in_time(self, handler: Handler, task: Task, outbox: Outbox) -> Iterator[None]:
        """Report a handler that uses more than its share of the time inside, and end it where that can be.

        A process that Lambda ends takes its whole batch with it. Python can interrupt its main thread only,
        which is where Lambda runs a function; in another thread the handler is reported and goes on.
        """

        def report() -> None:
            late = {"handler_late": 1}
            self.telemetry.log("handler is out of time", "ERROR", late, handler=handler.name, task=task.id)

        seconds = max(LEAST, SHARE * (outbox.leased_until - self.clock()) / 1000)
        with _alarm(seconds, report) if _is_main_thread() else _timer(seconds, report):
            yield

    def _mark_as_handled(self, outbox: Outbox, task: Task, done: list[Handler]) -> Outbox:
        """The outbox where those handlers have handled the task, and without it once all have."""

        def mark(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
            marked = (each.handled_by(done) if each.id == task.id else each for each in tasks)
            return tuple(each for each in marked if each.id != task.id or self.handlers.unhandled(each))

        return self._changed(outbox, mark)

    def _changed(self, outbox: Outbox, change: Callable[[tuple[Task, ...]], tuple[Task, ...]]) -> Outbox:
        """Write a change; if the payment was written meanwhile, make the same change to what is there now."""
        for _ in range(TRIES):
            try:
                return self.ledger.write_outbox(replace(outbox, tasks=change(outbox.tasks)))
            except VersionMoved:
                fresh = self.ledger.outbox(outbox.subject, outbox.entry)
                outbox = replace(fresh, leased_until=outbox.leased_until)
        raise VersionMoved(outbox.subject)

    def _give_back(self, outbox: Outbox, note: Callable[[Task], Task] = lambda task: task) -> None:
        self._changed(replace(outbox, leased_until=0), lambda tasks: tuple(map(note, tasks)))


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _alarm(seconds: float, report: Callable[[], None]) -> Iterator[None]:
    def ring(*_: object) -> None:
        report()
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _timer(seconds: float, report: Callable[[], None]) -> Iterator[None]:
    timer = threading.Timer(seconds, report)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
