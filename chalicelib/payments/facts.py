"""Facts: what events prove, kept by thing, and how two reports of one thing become one.

A *thing* is ``payment``, or one of its parts: ``charge ch_1``, ``refund re_1``, ``dispute dp_1``. Each of its
fields has one rule in ``RULES``, of those in ``joining.py``. What follows from the facts: ``books.py``.
"""

from collections.abc import Iterable

from chalicelib.joining import (
    Facts,
    Fields,
    Rules,
    earliest,
    fact,
    first_of_each,
    fold_by,
    join_by,
    largest,
    of_each,
    reported,
    things,
    union,
)

__all__ = [
    "OPEN",
    "OUTCOMES",
    "RULES",
    "RULES_VERSION",
    "STATES",
    "UNKNOWN",
    "Facts",
    "Fields",
    "claimed_at",
    "fact",
    "fold",
    "join",
    "outcome_at",
    "reported",
    "state_at",
    "things",
]

# Goes up whenever the same events would give other facts, or the same facts another payment.
RULES_VERSION = 4

# What the provider says of a payment that has no money yet. Where two are of the same instant, the one
# further on in this list holds.
STATES = ("created", "processing", "requires_action", "failed", "authorized", "canceled")
# How a dispute ended, in an order that breaks ties; `closed` is one that nobody won.
OUTCOMES = ("closed", "won", "lost")
OPEN = -1  # in place of one: a dispute that ended can be opened again
UNKNOWN = -1  # in place of an amount


RULES: Rules = {
    # [instant, value, …]: may go back and forth at the provider, the later report holds, whole
    "state": largest,  # [instant, place in STATES]
    "amount": largest,  # [instant, amount]
    "currency": largest,  # [instant, ISO 4217 code]
    "customer": largest,  # [instant, the provider's id]
    "outcome": largest,  # [instant, place in OUTCOMES or OPEN]
    "claimed": largest,  # [instant, place in OUTCOMES or OPEN, amount]: of one instant by the same report
    "lost": largest,  # [instant, amount]
    "moved": largest,  # [how many moves, instant, taken, given back, whether in the dispute's currency]
    "released": largest,  # [instant, amount]
    "reference": largest,  # [minus its place in what is the reference, instant, value]
    "entry": largest,  # [instant, currency, gross, fee, net, rate, fees by kind, what it is of]
    "priced": largest,  # [1 if it was paid so, instant, amount, currency]
    # by name [instant, value]: what people wrote; `labels` is what of it may be kept or not
    "metadata": of_each,
    "labels": of_each,
    # totals that only grow
    "authorized": largest,
    # [total, instant] of each
    "captured": first_of_each,
    # the first instant that proves it
    "created_at": earliest,
    "authorized_at": earliest,
    "canceled_at": earliest,
    "failed_at": earliest,
    "released_at": earliest,
    "succeeded_at": earliest,
    "inquired_at": earliest,
    "disputed_at": earliest,
    "won_at": earliest,
    "lost_at": earliest,
    "closed_at": earliest,
    # the last instant at which it was said
    "updated_at": largest,
    "pending_at": largest,
    "submitted_at": largest,
    "withdrawn_at": largest,
    "reinstated_at": largest,
    # sets: ids; [instant, total, total before or UNKNOWN] of refunds
    "account": union,
    "related": union,
    "refund_totals": union,
    # what never changes, and flags: 0 or 1
    "charge": largest,
    "livemode": largest,
    "reversal": largest,
    "can_be_release": largest,
    "taken_by_reversal": largest,
    "is_whole_case": largest,
    "expired": largest,
}


def join(a: Facts, b: Facts) -> Facts:
    """Both sets of facts as one. Commutative, associative, idempotent."""
    return join_by(RULES, a, b)


def fold(all_facts: Iterable[Facts]) -> Facts:
    """The facts of a whole payment, from the facts of each of its events in any order."""
    return fold_by(RULES, all_facts)


def state_at(instant: int, state: str) -> list[int]:
    """The fact that the payment was in that state, one of ``STATES``, as of an instant."""
    return [instant, STATES.index(state)]


def outcome_at(instant: int, outcome: str | None) -> list[int]:
    """The fact that a dispute has that outcome, one of ``OUTCOMES``, or is open, as of an instant."""
    return [instant, OUTCOMES.index(outcome) if outcome else OPEN]


def claimed_at(instant: int, outcome: str | None, amount: int | None) -> list[int] | None:
    """The fact that a dispute is over that amount, as a report says it that says the outcome too."""
    return None if amount is None else [*outcome_at(instant, outcome), amount]
