"""What the events of all providers are made with."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ops.sender import Signer

Json = dict[str, Any]
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
STEP = 2000  # milliseconds from one event of a story to the next


class UnknownType(ValueError):
    """No event of that type or story of that name can be made."""


class Payment(Protocol):
    """A payment that makes the events that tell of it."""

    @property
    def subject(self) -> str: ...

    def other(self, type_: str) -> Json:
        """An event of a type that Daybook does not read."""


P = TypeVar("P", bound=Payment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker(Generic[P]):
    """How a provider's events are made and signed, and where a person sees a payment.

    ``payment`` takes an rng, the start in milliseconds, the amount in minor units, the currency and an id or
    None; ``known`` are all types that the provider sends, or none where it lists them nowhere in code;
    ``dashboard`` is the address of a payment by its id, live and test.
    """

    payment: Callable[[random.Random, int, int, str, str | None], P]
    stories: Mapping[str, Callable[[P], Iterator[Json]]]
    types: Mapping[str, Callable[[P], Json]]
    signer: Callable[[str | None, Mapping[str, str], random.Random], Signer]
    dashboard: tuple[str, str]
    known: Callable[[], frozenset[str]] = frozenset
