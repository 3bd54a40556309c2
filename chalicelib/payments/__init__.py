"""The payment: facts, how they join, and what follows from them. Pure: no clock, no network, no AWS.

events ─ provider.facts ─→ labels.py ─→ facts.py ─ join ─→ captures.py, refunds.py, disputes.py
                                     └─→ books.py ─→ milestones.py, settled.py ─→ payment.py, news.py
                                                └─→ movements.py
"""

from chalicelib.payments.balance import BalanceEntry, balance_entries, balance_entry
from chalicelib.payments.books import Books, Sums, books
from chalicelib.payments.facts import (
    RULES,
    RULES_VERSION,
    STATES,
    UNKNOWN,
    Facts,
    claimed_at,
    fact,
    fold,
    join,
    outcome_at,
    state_at,
)
from chalicelib.payments.labels import Labels, labels
from chalicelib.payments.milestones import MILESTONES, Milestone
from chalicelib.payments.movements import Movement, beside_balance, movements
from chalicelib.payments.news import Change, change, notes_of_waiting
from chalicelib.payments.payment import Payment, named, project, shown

__all__ = [
    "MILESTONES",
    "RULES",
    "RULES_VERSION",
    "STATES",
    "UNKNOWN",
    "BalanceEntry",
    "Books",
    "Change",
    "Facts",
    "Labels",
    "Milestone",
    "Movement",
    "Payment",
    "Sums",
    "balance_entries",
    "balance_entry",
    "beside_balance",
    "books",
    "change",
    "claimed_at",
    "fact",
    "fold",
    "join",
    "labels",
    "movements",
    "named",
    "notes_of_waiting",
    "outcome_at",
    "project",
    "shown",
    "state_at",
]
