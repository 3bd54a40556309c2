"""Which handlers hear what: the registry behind ``@on``, and the tasks that an outbox holds for them.

A task is what one payment's (or event's) outbox holds for its handlers. It is written in the same
transaction as the event that caused it. The guarantee is at least once; exactly once where nothing
crashes between a handler's end and its striking off.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.events import Event
from chalicelib.payments import MILESTONES, Milestone, Payment
from chalicelib.providers import PROVIDERS

MilestoneHandler = Callable[[Payment, Milestone], Any]
EventHandler = Callable[[Event], Any]
RAW = tuple(f"{name}." for name in PROVIDERS)


@dataclass(frozen=True, slots=True)
class Task:
    """Something that handlers are to hear: a milestone, or a raw event (``event_id``).

    ``done`` names the handlers that heard it already.
    """

    id: str
    type: str
    at: str = ""
    amount: int | None = None
    object: str | None = None
    event_id: str | None = None
    done: tuple[str, ...] = ()

    @property
    def milestone(self) -> Milestone:
        return Milestone(self.id, self.type, self.at, self.amount, self.object)

    def struck_off(self, heard: "Iterable[Handler]") -> "Task":
        return replace(self, done=(*self.done, *(handler.name for handler in heard)))

    def to_dict(self) -> dict[str, Any]:
        """Without what is empty; ``from_dict`` reads it back."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in shown.items() if value not in (None, "", ())}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Task":
        return cls(**{**fields, "done": tuple(fields.get("done", ()))})


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and the patterns of types that it hears: a type, or its beginning and ``*``."""

    name: str
    patterns: tuple[str, ...]
    function: Callable[..., Any]

    def hears(self, type_: str) -> bool:
        return any(_matches(pattern, type_) for pattern in self.patterns)


class Handlers:
    """All handlers, in the order in which they were registered. Their names are unique."""

    def __init__(self, handlers: Iterable[Handler] = ()) -> None:
        self._handlers = list(handlers)

    def __add__(self, others: Iterable[Handler]) -> "Handlers":
        return Handlers([*self._handlers, *others])

    def on(self, pattern: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated function. Raises ``ValueError`` for a type that is never told."""
        _check(pattern)

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            handler = Handler(function.__name__, (pattern,), function)
            if handler.name in (each.name for each in self._handlers):
                raise ValueError(f"there is a handler {handler.name} already")
            self._handlers.append(handler)
            return function

        return register

    def hearing(self, type_: str) -> list[Handler]:
        return [handler for handler in self._handlers if handler.hears(type_)]

    def left(self, task: Task) -> list[Handler]:
        """Those that have not heard it yet."""
        return [handler for handler in self.hearing(task.type) if handler.name not in task.done]

    def tasks(self, event: Event, milestones: Iterable[Milestone]) -> tuple[Task, ...]:
        """What an event gives handlers to hear: the milestones it brought, and the event itself."""
        raw = f"{event.provider}.{event.type}"
        told = Task(f"{event.subject}/{raw}/{event.id}", raw, event_id=event.id)
        heard = (told,) if self.hearing(raw) else ()
        return (*self.milestone_tasks(milestones), *heard)

    def milestone_tasks(self, milestones: Iterable[Milestone]) -> tuple[Task, ...]:
        """The milestones that any handler hears."""
        return tuple(Task(m.id, m.type, m.at, m.amount, m.object) for m in milestones if self.hearing(m.type))


def _matches(pattern: str, type_: str) -> bool:
    if pattern.endswith("*"):
        return type_.startswith(pattern[:-1])
    return type_ == pattern


def _check(pattern: str) -> None:
    if pattern.startswith(RAW):
        return
    one_kind = pattern.startswith(("payment.", "refund.", "dispute."))
    if not one_kind or not any(_matches(pattern, type_) for type_ in MILESTONES):
        known = ", ".join((*MILESTONES, *(f"{raw}…" for raw in RAW)))
        raise ValueError(f"nothing is ever told as {pattern}: use one of {known}")


registered = Handlers()
on = registered.on
