"""An adjustment: money that the provider's balance shows and that is of no payment and no payout.

The provider's own fees, reserves, top-ups: https://docs.stripe.com/reports/reporting-categories
"""

from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib import invoices
from chalicelib.joining import Facts, Rules, fold_by, join_by, largest, union
from chalicelib.payments import Movement, balance_entries

FEE, OTHER = "fee", "other"
# payments/balance.py; 0 or 1; ids
RULES: Rules = {"entry": largest, "is_fee": largest, "livemode": largest, "account": union}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(invoices.Change):
    """As an invoice's: nobody is notified of any. ``at`` is when it was."""

    at: int


def join(a: Facts, b: Facts) -> Facts:
    return join_by(RULES, a, b)


def fold(all_facts: Iterable[Facts]) -> Facts:
    return fold_by(RULES, all_facts)


def change(subject: str, before: Facts, after: Facts, superseded: Iterable[str] = ()) -> Change:
    """From the facts ``before`` to those ``after``."""
    return Change(facts=after, at=max((at for at, _ in balance_entries(after)), default=0))


def movements(subject: str, facts: Facts) -> list[Movement]:
    """The one line that it is."""
    kind = FEE if facts.get("adjustment", {}).get("is_fee") else OTHER
    return [
        Movement(
            id=f"{subject}/{kind}",
            kind=kind,
            object=entry.of,
            at=at,
            amount=entry.gross,
            currency=entry.currency,
            entry=entry,
        )
        for at, entry in balance_entries(facts)
    ]
