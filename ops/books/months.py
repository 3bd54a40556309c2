"""A month of each balance: what it began with, what came and went, and what it ended with."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from chalicelib.payments.movements import CAPTURE, DISPUTE, REFUND, REVERSAL
from ops.books.store import Sum

COLUMN_OF = {
    CAPTURE: "captured",
    REFUND: "refunded",
    REVERSAL: "refunded",
    DISPUTE: "disputed",
    "payout": "paid_out",
    "fee": "fees",
}
COLUMNS = ("captured", "refunded", "disputed", "fees", "other", "paid_out")
KINDS_OF = {
    column: tuple(kind for kind, each in COLUMN_OF.items() if each == column) or (column,)
    for column in COLUMNS
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """Of one balance: a provider's, of one account and mode, in one currency; in minor units.

    What went is below zero; ``account`` is a connected one, or "". ``closing`` is ``opening`` and all
    between. ``not_settled`` is of how many lines the balance's own amount
    is not known: those are in with the payment's, and without a fee.
    """

    month: str
    provider: str
    account: str
    is_test: bool
    currency: str
    opening: int
    captured: int = 0
    refunded: int = 0
    disputed: int = 0
    fees: int = 0
    other: int = 0
    paid_out: int = 0
    lines: int = 0
    not_settled: int = 0

    @property
    def closing(self) -> int:
        moved: int = sum(getattr(self, name) for name in COLUMNS)
        return self.opening + moved


def months(sums: Iterable[Sum]) -> list[Month]:
    """Each balance in each month in which anything moved, from its first one on, in the order of time."""
    found = sorted(sums)
    names = sorted({each.month for each in found})
    made: list[Month] = []
    balances = sorted({_balance(each) for each in found})
    for balance in balances:
        own = [each for each in found if _balance(each) == balance]
        provider, account, is_test, currency = balance
        opening = 0
        for month in (each for each in names if each >= own[0].month):
            empty = Month(
                month=month,
                provider=provider,
                account=account,
                is_test=bool(is_test),
                currency=currency,
                opening=opening,
            )
            made.append(_with(empty, [each for each in own if each.month == month]))
            opening = made[-1].closing
    return sorted(
        made, key=lambda each: (each.month, each.is_test, each.provider, each.account, each.currency)
    )


def _order(month: Month) -> tuple[str, bool, str, str, str]:
    return month.month, month.is_test, month.provider, month.account, month.currency


def _balance(sum_: Sum) -> tuple[str, str, int, str]:
    return sum_.provider, sum_.account, sum_.is_test, sum_.currency


def _with(month: Month, sums: Iterable[Sum]) -> Month:
    for each in sums:
        column = COLUMN_OF.get(each.kind, "other")
        added = {column: getattr(month, column) + each.gross}
        added["fees"] = added.get("fees", month.fees) - each.fee
        lines, not_settled = month.lines + each.lines, month.not_settled + each.not_settled
        month = replace(month, **added, lines=lines, not_settled=not_settled)
    return month
