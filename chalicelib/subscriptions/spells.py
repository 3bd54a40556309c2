"""Spells of failing payments at PayPal: each begins with a first attempt, until a sale, or forgiven."""

from collections.abc import Sequence
from typing import NamedTuple

from chalicelib.joining import Facts, things
from chalicelib.times import to_iso


class Spell(NamedTuple):
    """``owed_at`` is when it was first failing while ACTIVE; ``failed`` has each attempt with its instant."""

    began_at: int
    id: str
    owed_at: int | None
    failed: list[tuple[int, int]]


Attempt = list[int]  # instant, number (0 if it is not said), 1 if ACTIVE, 1 if the instant is its own


def spells(facts: Facts) -> list[Spell]:
    """All of them, in the order of time."""
    found: list[Spell] = []
    for id_, fields in things(facts, "spell"):
        for n, attempts in enumerate(_parts(fields["tried"])):
            began_at = attempts[0][0]
            found.append(_spell(id_ if n == 0 else f"{id_}/{to_iso(began_at)}", attempts))
    return sorted(found)


def _parts(tried: Sequence[Attempt]) -> list[list[Attempt]]:
    """Where the provider counts from the start again, with no payment between, it had forgiven them."""
    parts: list[list[Attempt]] = []
    for each in sorted(tried):
        own = [attempt for attempt in parts[-1] if attempt[3]] if parts else []
        is_anew = bool(own) and each[3] == 1 and each[0] > own[-1][0] and 0 < each[1] <= own[-1][1]
        if is_anew or not parts:
            parts.append([])
        parts[-1].append(each)
    return parts


def _spell(id_: str, attempts: Sequence[Attempt]) -> Spell:
    first: dict[int, int] = {}
    for at, number, *_ in attempts:
        first[number] = min(at, first.get(number, at))
    owed = [at for at, _, is_active, _ in attempts if is_active]
    failed = [(number, at) for number, at in sorted(first.items()) if number]
    return Spell(attempts[0][0], id_, min(owed, default=None), failed)
