"""Noting what targets are to be sent: a handler for each, that is done when it is noted."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from chalicelib.ledger import Ledger
from chalicelib.reactions import Handler, Task
from chalicelib.targets import Target
from chalicelib.wakeups import Waiter, Wakeups


@dataclass(frozen=True, slots=True, kw_only=True)
class Noting:
    """Notes what a target is to be sent, and wakes who sends it. ``clock`` in milliseconds."""

    ledger: Ledger
    wakeups: Wakeups
    clock: Callable[[], int]

    def handlers(self, targets: Iterable[Target]) -> list[Handler]:
        """One for each target: done when it is noted."""
        return [
            Handler(each.handler_name, each.patterns, self._noting(each), each.needs, goes_first=True)
            for each in targets
        ]

    def _noting(self, target: Target) -> Callable[..., None]:
        def note(*notified: Any) -> None:
            subject, task = _task(*notified)
            waiter = Waiter(subject, target.name)
            now = self.clock()
            waits = self.ledger.undelivered.add(waiter, task, now)
            is_first = waits.tasks[:1] == (task,)
            if is_first or waits.since == now:  # else somebody was woken, or is to be
                self.wakeups.send(waits.wakeup, waits.due_at - now)

        return note


def _task(*notified: Any) -> tuple[str, Task]:
    """What a handler was called with, as the task that it was; and of which record."""
    if len(notified) == 1:
        return notified[0].subject, Task.of_event(notified[0])
    about, milestone = notified
    return about.id, Task.of_milestone(milestone)
