"""Facts: what events prove, kept by thing, and how two reports of one thing become one.

A *thing* is ``payment``, or one of its parts: ``charge ch_1``, ``refund re_1``, ``dispute dp_1``. Each of its
fields has one rule in ``RULES``. Every rule is commutative, associative and idempotent, so ``join`` is too:
the order and the number of deliveries cannot matter. What follows from the facts: ``books.py``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from itertools import groupby
from typing import Any

Value = Any  # of JSON; the rule of the field's name says of which shape
Fields = dict[str, Value]
Facts = dict[str, Fields]

# Goes up whenever the same events would give other facts, or the same facts another payment.
RULES_VERSION = 3

# What the provider says of a payment that has no money yet. Where two are of the same instant, the one
# further on in this list holds.
STATES = ("created", "processing", "requires_action", "failed", "authorized", "canceled")
# How a dispute ended, in an order that breaks ties; `closed` is one that nobody won.
OUTCOMES = ("closed", "won", "lost")
OPEN = -1  # in place of one: a dispute that ended can be opened again
UNKNOWN = -1  # in place of an amount


def _largest(a: Value, b: Value) -> Value:
    """Of two amounts or instants the larger; of two reports ``[instant, …]`` the later one.

    Of two reports of one instant, the one whose next value is greater: never the one that arrived last.
    """
    return max(a, b)


def _earliest(a: Value, b: Value) -> Value:
    return min(a, b)


def _union(a: list[Value], b: list[Value]) -> list[Value]:
    return [each for each, _ in groupby(sorted([*a, *b]))]


def _first_of_each(a: list[Value], b: list[Value]) -> list[Value]:
    """Of pairs ``[total, instant]``: each total with the first instant at which it was seen."""
    first: dict[int, int] = {}
    for total, instant in (*a, *b):
        first[total] = min(instant, first.get(total, instant))
    return [[total, first[total]] for total in sorted(first)]


def _of_each(a: Value, b: Value) -> Value:
    """By name the later report ``[instant, value]``."""
    return {name: max(each[name] for each in (a, b) if name in each) for name in sorted({**a, **b})}


RULES: Mapping[str, Callable[[Value, Value], Value]] = {
    # [instant, value, …]: may go back and forth at the provider, the later report holds, whole
    "state": _largest,  # [instant, place in STATES]
    "amount": _largest,  # [instant, amount]
    "currency": _largest,  # [instant, ISO 4217 code]
    "customer": _largest,  # [instant, the provider's id]
    "outcome": _largest,  # [instant, place in OUTCOMES or OPEN]
    "claimed": _largest,  # [instant, place in OUTCOMES or OPEN, amount]: of one instant by the same report
    "lost": _largest,  # [instant, amount]
    "moved": _largest,  # [how many moves, instant, taken, given back, whether in the dispute's currency]
    "released": _largest,  # [instant, amount]
    "reference": _largest,  # [minus its place in what is the reference, instant, value]
    "priced": _largest,  # [1 if it was paid so, instant, amount, currency]
    # by name [instant, value]: what people wrote; `labels` is what of it may be kept or not
    "metadata": _of_each,
    "labels": _of_each,
    # totals that only grow
    "authorized": _largest,
    # [total, instant] of each
    "captured": _first_of_each,
    # the first instant that proves it
    "created_at": _earliest,
    "authorized_at": _earliest,
    "canceled_at": _earliest,
    "failed_at": _earliest,
    "released_at": _earliest,
    "succeeded_at": _earliest,
    "inquired_at": _earliest,
    "disputed_at": _earliest,
    "won_at": _earliest,
    "lost_at": _earliest,
    "closed_at": _earliest,
    # the last instant at which it was said
    "updated_at": _largest,
    "pending_at": _largest,
    "submitted_at": _largest,
    "withdrawn_at": _largest,
    "reinstated_at": _largest,
    # sets: ids; [instant, total, total before or UNKNOWN] of refunds
    "account": _union,
    "related": _union,
    "refund_totals": _union,
    # what never changes, and flags: 0 or 1
    "charge": _largest,
    "livemode": _largest,
    "reversal": _largest,
    "can_be_release": _largest,
    "taken_by_reversal": _largest,
    "is_whole_case": _largest,
    "expired": _largest,
}


def fact(thing: str, **fields: Value) -> Facts:
    """One thing with the fields that are known (those that are ``None`` are not)."""
    return {thing: {name: value for name, value in fields.items() if value is not None}}


def join(a: Facts, b: Facts) -> Facts:
    """Both sets of facts as one. Commutative, associative, idempotent."""
    return {thing: _join_fields(a.get(thing, {}), b.get(thing, {})) for thing in {**a, **b}}


def _join_fields(a: Fields, b: Fields) -> Fields:
    joined = {**a, **b}
    for name in a.keys() & b.keys():
        joined[name] = RULES[name](a[name], b[name])
    return joined


def fold(all_facts: Iterable[Facts]) -> Facts:
    """The facts of a whole payment, from the facts of each of its events in any order.

    By pairs, as a tournament is played: each is copied as often as there are rounds, not as there are events.
    """
    left = list(all_facts)
    while len(left) > 1:
        left = [reduce(join, left[n : n + 2]) for n in range(0, len(left), 2)]
    return join({}, *left) if left else {}


def state_at(instant: int, state: str) -> list[int]:
    """The fact that the payment was in that state, one of ``STATES``, as of an instant."""
    return [instant, STATES.index(state)]


def outcome_at(instant: int, outcome: str | None) -> list[int]:
    """The fact that a dispute has that outcome, one of ``OUTCOMES``, or is open, as of an instant."""
    return [instant, OUTCOMES.index(outcome) if outcome else OPEN]


def claimed_at(instant: int, outcome: str | None, amount: int | None) -> list[int] | None:
    """The fact that a dispute is over that amount, as a report says it that says the outcome too."""
    return None if amount is None else [*outcome_at(instant, outcome), amount]


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
