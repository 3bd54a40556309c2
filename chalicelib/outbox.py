"""Running handlers from an outbox, so that each change is told once.

    record        ┌ transaction: event + payment + its outbox, under a lease ┐
    run           │ handler ends ─× strike off ─ next handler ─ … ─ outbox empty, lease gone
                           a crash at × is the one place where a handler hears something twice

While a lease is live nobody else runs handlers of that payment; it ends by itself with the process's time.
A handler has four fifths of the time that is left: what hangs fails by itself, and the others have theirs.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from chalicelib.entries import Outbox
from chalicelib.errors import BodyRemoved, HandlerFailed, HandlersBusy, VersionMoved
from chalicelib.events import Event
from chalicelib.ledger import Ledger
from chalicelib.payments import project
from chalicelib.reactions import Handler, Handlers, Task
from chalicelib.telemetry import Telemetry

TRIES = 4  # to strike off while others write the same payment
SHARE = 0.8  # of the time that is left that one handler may take, so that the batch's others have theirs
LEAST = 0.5  # seconds that it has in any case: nothing is won by ending one that would have been quick


class OutOfTime(BaseException):
    """Ends a handler that takes too long; no ``except Exception`` of its own can hold it up."""


@dataclass(frozen=True, slots=True)
class Runner:
    """All that running handlers needs. ``event`` reads a recorded event back; ``clock`` in milliseconds.

    ``keeps_unheard``: what no handler hears stays, instead of being struck off as of one that is gone.
    """

    ledger: Ledger
    handlers: Handlers
    telemetry: Telemetry
    clock: Callable[[], int]
    event: Callable[[str, str], Event]
    keeps_unheard: bool = False

    def next(self, outbox: Outbox) -> Task | None:
        heard = (each for each in outbox.tasks if not self.keeps_unheard or self.handlers.hearing(each.type))
        return next(heard, None)


def run_left(subject: str, entry: str, deadline: int, to: Runner) -> int:
    """Run what is left in that outbox; how many handlers ran. ``deadline`` in milliseconds.

    Raises ``HandlersBusy`` while somebody else does, ``HandlerFailed``.
    """
    outbox = to.ledger.outbox(subject, entry)
    if not to.next(outbox):
        return 0
    if outbox.leased_until > to.clock():
        raise HandlersBusy(subject)
    return run(to.ledger.write_outbox(replace(outbox, leased_until=deadline)), to)


def run(outbox: Outbox, to: Runner) -> int:
    """Run all handlers of an outbox whose lease is ours. Raises ``HandlerFailed``, the lease given back."""
    count = 0
    while task := to.next(outbox):
        left = to.handlers.left(task)
        if left:
            _call(left[0], task, outbox, to)
            count += 1
        outbox = _struck_off(outbox, task, left[:1], to)
    if outbox.tasks:
        _give_back(outbox, to)
    return count


def _call(handler: Handler, task: Task, outbox: Outbox, to: Runner) -> None:
    began = to.clock()
    try:
        span = to.telemetry.span("handler", handler=handler.name, type=task.type)
        with span, _in_time(handler, task, outbox, to):
            if task.event_id is not None:
                handler.function(to.event(outbox.subject, task.event_id))
            else:
                payment = project(outbox.subject, to.ledger.payment(outbox.subject).facts)
                handler.function(payment, task.milestone)
    except BodyRemoved:  # nobody can hear it any more; what comes after it must be heard
        gone = {"handler_failed": 1}
        to.telemetry.log(
            "the body to be heard was removed", "ERROR", gone, handler=handler.name, task=task.id
        )
        return
    except (Exception, OutOfTime) as error:
        reason = type(error).__name__
        failed = {"handler_failed": 1}
        to.telemetry.log("handler failed", "ERROR", failed, handler=handler.name, task=task.id, error=reason)
        _give_back(outbox, to)
        raise HandlerFailed(f"{handler.name}: {type(error).__name__}") from error
    to.telemetry.log("handled", handler=handler.name, task=task.id, ms=to.clock() - began)


@contextmanager
def _in_time(handler: Handler, task: Task, outbox: Outbox, to: Runner) -> Iterator[None]:
    """Report a handler that takes more than its share of the time, and end it where that can be done.

    A process that Lambda ends takes its whole batch with it. Python can interrupt its main thread only,
    which is where Lambda runs a function; in another thread the handler is reported and goes on.
    """

    def report() -> None:
        late = {"handler_late": 1}
        to.telemetry.log("handler is out of time", "ERROR", late, handler=handler.name, task=task.id)

    seconds = max(LEAST, SHARE * (outbox.leased_until - to.clock()) / 1000)
    with _alarm(seconds, report) if _is_main() else _timer(seconds, report):
        yield


def _is_main() -> bool:
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


def _struck_off(outbox: Outbox, task: Task, done: list[Handler], to: Runner) -> Outbox:
    """The outbox with those handlers struck off the task, and without the task once none is left for it."""

    def strike(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        struck = (each.struck_off(done) if each.id == task.id else each for each in tasks)
        return tuple(each for each in struck if each.id != task.id or to.handlers.left(each))

    return _changed(outbox, strike, to)


def _changed(outbox: Outbox, change: Callable[[tuple[Task, ...]], tuple[Task, ...]], to: Runner) -> Outbox:
    """Write a change; if the payment was written meanwhile, make the same change to what is there now."""
    for _ in range(TRIES):
        try:
            return to.ledger.write_outbox(replace(outbox, tasks=change(outbox.tasks)))
        except VersionMoved:
            fresh = to.ledger.outbox(outbox.subject, outbox.entry)
            outbox = replace(fresh, leased_until=outbox.leased_until)
    raise VersionMoved(outbox.subject)


def _give_back(outbox: Outbox, to: Runner) -> None:
    _changed(replace(outbox, leased_until=0), lambda tasks: tasks, to)
