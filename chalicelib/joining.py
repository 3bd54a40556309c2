"""Facts of any record: what events prove, by thing, and how two reports of one become one.

Each field of a thing has one rule. Every rule is commutative, associative and idempotent, so that joining is
too: the order and the number of deliveries cannot matter.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, reduce
from itertools import groupby
from typing import Any

Value = Any  # of JSON; the rule of the field's name says of which shape
Fields = dict[str, Value]
Facts = dict[str, Fields]
Rules = Mapping[str, Callable[[Value, Value], Value]]


def largest(a: Value, b: Value) -> Value:
    """Of two amounts or instants the larger; of two reports ``[instant, …]`` the later one.

    Of two reports of one instant, the one whose next value is greater: never the one that arrived last.
    """
    return max(a, b)


def earliest(a: Value, b: Value) -> Value:
    return min(a, b)


def union(a: list[Value], b: list[Value]) -> list[Value]:
    return [each for each, _ in groupby(sorted([*a, *b]))]


def first_of_each(a: list[Value], b: list[Value]) -> list[Value]:
    """Of pairs ``[total, instant]``: each total with the first instant at which it was seen."""
    first: dict[int, int] = {}
    for total, instant in (*a, *b):
        first[total] = min(instant, first.get(total, instant))
    return [[total, first[total]] for total in sorted(first)]


def of_each(a: Value, b: Value) -> Value:
    """By name the later report ``[instant, value]``."""
    return {name: max(each[name] for each in (a, b) if name in each) for name in sorted({**a, **b})}


def earliest_of_each(a: Value, b: Value) -> Value:
    """By name the first instant."""
    return {name: min(each[name] for each in (a, b) if name in each) for name in sorted({**a, **b})}


def fact(thing: str, **fields: Value) -> Facts:
    """One thing with the fields that are known (those that are ``None`` are not)."""
    return {thing: {name: value for name, value in fields.items() if value is not None}}


def join_by(rules: Rules, a: Facts, b: Facts) -> Facts:
    """Both sets of facts as one. Commutative, associative, idempotent."""
    return {thing: _join_fields(rules, a.get(thing, {}), b.get(thing, {})) for thing in {**a, **b}}


def _join_fields(rules: Rules, a: Fields, b: Fields) -> Fields:
    joined = {**a, **b}
    for name in a.keys() & b.keys():
        joined[name] = rules[name](a[name], b[name])
    return joined


def fold_by(rules: Rules, all_facts: Iterable[Facts]) -> Facts:
    """The facts of a whole record, from the facts of each of its events in any order.

    By pairs, as a tournament is played: each is copied as often as there are rounds, not as there are events.
    """
    join = partial(join_by, rules)
    left = list(all_facts)
    while len(left) > 1:
        left = [reduce(join, left[n : n + 2]) for n in range(0, len(left), 2)]
    return join({}, *left) if left else {}


def things(facts: Facts, kind: str) -> Iterator[tuple[str, Fields]]:
    """All things of a kind, by their ids, in the order of those."""
    prefix = kind + " "
    for thing in sorted(facts):
        if thing.startswith(prefix):
            yield thing.removeprefix(prefix), facts[thing]


def reported(fields: Fields, name: str) -> Value:
    """The value of a field that is a report ``[instant, value, …]``; ``None`` if there is no report."""
    report = fields.get(name)
    return None if report is None else report[1]
