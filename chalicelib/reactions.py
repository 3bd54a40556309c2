"""Which handlers are notified of what: the registry behind ``@on``, and the tasks that an outbox holds.

A task is written in the same transaction as the event that caused it, and is *handled* when its handler has
ended well. The guarantee is at least once; exactly once where nothing crashes between a handler's end and
its being marked as handled.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chalicelib import payments, payouts, subscriptions
from chalicelib.events import Event
from chalicelib.payments import Milestone, Payment
from chalicelib.payouts import Payout
from chalicelib.providers import PROVIDERS
from chalicelib.subscriptions import Subscription

MILESTONES = (*payments.MILESTONES, *subscriptions.MILESTONES, *payouts.MILESTONES)
MilestoneHandler = (
    Callable[[Payment, Milestone], Any]
    | Callable[[Subscription, Milestone], Any]
    | Callable[[Payout, Milestone], Any]
)
EventHandler = Callable[[Event], Any]
RAW = tuple(f"{name}." for name in PROVIDERS)
NEEDS = ("reference",)
KINDS = tuple(dict.fromkeys(f"{type_.partition('.')[0]}." for type_ in MILESTONES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something that handlers are to be notified of: a milestone, or a raw event (``event_id``).

    ``done`` names the handlers that have handled it; ``needs`` what one of them waits for; ``failed`` why the
    last run failed, ``runs`` how many have; ``replay`` that it is notified again on purpose.
    """

    id: str
    type: str
    at: str = ""
    amount: int | None = None
    object: str | None = None
    detail: Mapping[str, Any] | None = None
    event_id: str | None = None
    needs: str | None = None
    failed: str | None = None
    runs: int = 0
    replay: bool = False
    done: tuple[str, ...] = ()

    @classmethod
    def of_milestone(cls, milestone: Milestone, needs: str | None = None) -> "Task":
        return cls(
            id=milestone.id,
            type=milestone.type,
            at=milestone.at,
            amount=milestone.amount,
            object=milestone.object,
            detail=milestone.detail,
            replay=milestone.replay,
            needs=needs,
        )

    @classmethod
    def of_event(cls, event: Event) -> "Task":
        type_ = f"{event.provider}.{event.type}"
        id_ = f"{event.subject}/{type_}/{event.id}"
        return cls(id=id_, type=type_, event_id=event.id, replay=event.is_replay)

    @property
    def milestone(self) -> Milestone:
        return Milestone(
            id=self.id,
            type=self.type,
            at=self.at,
            amount=self.amount,
            object=self.object,
            detail=self.detail,
            replay=self.replay,
        )

    def handled_by(self, handlers: "Iterable[Handler]") -> "Task":
        return replace(self, done=(*self.done, *(handler.name for handler in handlers)))

    def failed_by(self, why: str) -> "Task":
        return replace(self, failed=why, runs=self.runs + 1)

    def to_dict(self) -> dict[str, Any]:
        """Without what is empty; ``from_dict`` reads it back."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        for name in ("runs", "replay"):
            if not shown[name]:
                del shown[name]
        return {name: value for name, value in shown.items() if value not in (None, "", ())}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Task":
        return cls(**{**fields, "done": tuple(fields.get("done", ()))})


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and the patterns of types that it handles: a type, or its beginning and ``*``.

    ``needs`` is what the payment must have before it is notified. ``goes_first``: of all that waits, before
    any other handler, so that none of those holds it up.
    """

    name: str
    patterns: tuple[str, ...]
    function: Callable[..., Any]
    needs: str | None = None
    goes_first: bool = False

    def handles(self, type_: str) -> bool:
        return any(_matches(pattern, type_) for pattern in self.patterns)


class Handlers:
    """All handlers, in the order in which they were registered. Their names are unique."""

    def __init__(self, handlers: Iterable[Handler] = ()) -> None:
        self._handlers = list(handlers)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers)

    def clear(self, others: Iterable[Handler] = ()) -> None:
        """Have these instead: for a test that must not hear of another's."""
        self._handlers = list(others)

    def __add__(self, others: Iterable[Handler]) -> "Handlers":
        return Handlers([*self._handlers, *others])

    def on(
        self, pattern: str, needs: str | None = None
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated function.

        With ``needs="reference"`` it is notified once the payment has its reference, whichever comes first.
        Raises ``ValueError`` for a type that nobody is notified of, or a need that nothing meets.
        """
        check(pattern, needs)

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            handler = Handler(function.__name__, (pattern,), function, needs)
            if handler.name in (each.name for each in self._handlers):
                raise ValueError(f"there is a handler {handler.name} already")
            self._handlers.append(handler)
            return function

        return register

    def of(self, type_: str) -> list[Handler]:
        """Those that handle the type."""
        return [handler for handler in self._handlers if handler.handles(type_)]

    def unhandled(self, task: Task) -> list[Handler]:
        """Those that have not handled it yet."""
        return [handler for handler in self.of(task.type) if handler.name not in task.done]

    def event_tasks(self, event: Event) -> tuple[Task, ...]:
        """What handlers are to be notified of by the event itself."""
        task = Task.of_event(event)
        return (task,) if self.of(task.type) else ()

    def milestone_tasks(self, milestones: Iterable[Milestone]) -> tuple[Task, ...]:
        """The milestones that any handler handles."""
        return tuple(
            Task.of_milestone(each, next((of.needs for of in self.of(each.type) if of.needs), None))
            for each in milestones
            if self.of(each.type)
        )


def _matches(pattern: str, type_: str) -> bool:
    if pattern.endswith("*"):
        return type_.startswith(pattern[:-1])
    return type_ == pattern


def check(pattern: str, needs: str | None) -> None:
    """Raises ``ValueError`` for a type that nobody is ever notified of, or a need that nothing meets."""
    if needs not in (None, *NEEDS) or (needs and pattern.startswith((*RAW, "payout."))):
        raise ValueError(f"of a payment's or a subscription's one can need: {', '.join(NEEDS)}")
    if pattern.startswith(RAW):
        return
    if not pattern.startswith(KINDS) or not any(_matches(pattern, type_) for type_ in MILESTONES):
        kind = f"{pattern.partition('.')[0]}."
        beside = [type_ for type_ in MILESTONES if type_.startswith(kind)]
        known = beside or [*(f"{each}*" for each in KINDS), *(f"{raw}…" for raw in RAW)]
        raise ValueError(f"nobody is ever notified of {pattern}: use one of {', '.join(known)}")


registered = Handlers()
on = registered.on
