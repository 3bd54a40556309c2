"""Facts of a subscription, and how two reports of one thing become one; as for payments.

A thing is ``subscription``, ``invoice in_1``, ``line in_1 il_1``, ``sale 1AB``, ``plan P-1``; or
``change evt_1``: what an event changed, by what it says was before; or ``spell 2026-…``: of payments that
fail, since the last that did not. ``payment stripe:pi_1`` is what that payment tells: linking.py.
"""

from collections.abc import Iterable

from chalicelib.joining import (
    Facts,
    Fields,
    Rules,
    Value,
    earliest,
    earliest_of_each,
    fact,
    first_of_each,
    fold_by,
    join_by,
    largest,
    of_each,
    things,
    union,
)
from chalicelib.subscriptions.bounded import KEPT, bounded
from chalicelib.subscriptions.order import latest


def sold(a: Value, b: Value) -> Value:
    return max(a, b) if isinstance(a, str) else earliest_of_each(a, b)


def first_of(a: list[Value], b: list[Value]) -> list[Value]:
    """The first of both, of so many."""
    return union(a, b)[:KEPT]


def latest_of(a: list[int], b: list[int]) -> list[int]:
    """The latest instants of both."""
    return union(a, b)[-KEPT:]


RULES: Rules = {
    # what was said of it, of the latest seconds: order.py
    "reports": latest,
    "end": largest,  # [instant, state as text]: what is over is over for good
    # [instant, value, …]: the later one holds
    "customer": largest,
    "named": largest,  # [instant, the status that a thin event's type is]
    "schedule": largest,  # [instant, the next phase's, what it brings as text or nothing]
    "attempts": largest,  # [instant, attempts that failed, the next one's instant or 0]
    "known": largest,  # [instant, the provider's word for a status that is one]
    "offer": largest,  # [instant, product, interval, amount and currency as text]
    "billing": largest,  # [0 if it is of the end, instant, the event's, how payments go as text]
    "body": largest,  # [instant, has begun, the event's, state as text]: from_bodies.py
    "status_said": largest,  # [its instant, has begun, the body's, the event's, the provider's word]
    "billed_until": largest,  # [instant, next billing, last payment's instant]
    "trial": largest,  # [instant, the trial's end]
    "reference": largest,
    "metadata": of_each,
    "labels": of_each,
    "sold": sold,  # of a change its text, of a subscription by its name the first instant
    # instants
    "created_at": earliest,
    "updated_at": largest,
    "past_due_at": union,  # of this spell: bounded.py
    "well_at": largest,  # when its status was last another than past_due
    "created": earliest,
    "paid_at": earliest,
    "changed_at": earliest,
    "left_pending_at": earliest,
    "over_at": earliest,
    "was_pending": largest,
    "first_paid": earliest,  # [instant, invoice or sale, amount]
    "expired_at": union,
    "paused_at": latest_of,
    "resumed_at": latest_of,
    "trial_endings": first_of_each,  # [the trial's end, instant] of each
    "failed": first_of_each,  # [attempt, instant] of each
    "tried": first_of,  # [instant, attempt, 1 if it is ACTIVE, 1 if the instant is the attempt's own]
    # what never changes
    "account": union,
    "types": union,  # of milestones
    "livemode": largest,
    "test_clock": largest,
    "paid": largest,  # [amount, currency]
    "payment": largest,
    "payments": union,
    "reversed": largest,  # a word of terms.REVERSED
    "reversals": earliest_of_each,
    "billed_for": largest,
    "is_out_of_band": largest,
    "closed": largest,
    "line": largest,  # [item, start, end, amount, price]
}

__all__ = ["RULES", "Facts", "Fields", "fact", "fold", "join", "things"]


def join(a: Facts, b: Facts) -> Facts:
    """Both sets of facts as one. Commutative, associative, idempotent."""
    return bounded(join_by(RULES, a, b))


def fold(all_facts: Iterable[Facts]) -> Facts:
    """The facts of a whole subscription, from the facts of each of its events in any order."""
    return bounded(fold_by(RULES, all_facts))
