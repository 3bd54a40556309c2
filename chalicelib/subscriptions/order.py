"""Which state of a subscription is its last, where Stripe gives whole seconds and several are of one second.

A report is ``[instant, kind, event id, before, after]``: an ``updated`` is an edge from the state before it
to the state after it, both as text. However they are put in a row, the state with one edge more in than out
is the last; where there is none, the edges are a circle, which ends where it began.
https://docs.stripe.com/webhooks#event-ordering
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

Report = list[Any]
CREATED, UPDATED, SEEN = "created", "updated", "seen"  # `seen` repeats a state, and changes none
KEPT = 3  # seconds: the last, and those that say what was before it


class Last(NamedTuple):
    """The last state, as text; ``None`` where nothing was reported. Whether it is known to be the last."""

    state: str | None
    is_certain: bool


def latest(a: Sequence[Report], b: Sequence[Report]) -> list[Report]:
    """The reports of the latest seconds of both. Commutative, associative, idempotent."""
    reports = [each for each, _ in groupby(sorted([*a, *b]))]
    seconds = sorted({each[0] for each in reports})[-KEPT:]
    return [each for each in reports if each[0] in seconds]


def last(reports: Iterable[Report]) -> Last:
    """Second by second. It is certain where the last second's end is."""
    found = Last(None, True)
    for _, of_second in groupby(sorted(reports), key=lambda each: each[0]):
        found = _within([*of_second], found.state)
    return found


def _within(reports: Sequence[Report], before: str | None) -> Last:
    """The last state of a second, that began with the state ``before`` where that is known."""
    created = {after for _, kind, _, _, after in reports if kind == CREATED}
    edges = [(was, is_now) for _, kind, _, was, is_now in reports if kind == UPDATED]
    start = max(created) if created else before
    if edges:
        return _end(edges, start)
    states = created or {after for *_, after in reports}
    return Last(max(states), len(states) == 1)


def _end(edges: Sequence[tuple[str, str]], start: str | None) -> Last:
    balance = Counter(is_now for _, is_now in edges)
    balance.subtract(was for was, _ in edges)
    ends = [state for state, more in balance.items() if more > 0]
    starts = [state for state, more in balance.items() if more < 0]
    is_whole = _is_connected(edges)
    if not ends:
        if len(balance) == 1:  # what is tracked did not change
            return Last(max(balance), True)
        return Last(start, is_whole) if start in balance else Last(max(balance), False)
    is_one_way = is_whole and len(ends) == len(starts) == 1 and balance[ends[0]] == 1
    return Last(max(ends), is_one_way and (len(edges) == 1 or starts[0] == start))


def _is_connected(edges: Sequence[tuple[str, str]]) -> bool:
    """Whether one walk can take them all: what is missing between two parts may be the last."""
    reached = {*edges[0]}
    left = list(edges[1:])
    while near := [each for each in left if reached & {*each}]:
        reached.update(*near)
        left = [each for each in left if each not in near]
    return not left
