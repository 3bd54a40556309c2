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
    """Of one provider's balance in one currency, in minor units; what went is below zero.

    ``closing`` is ``opening`` and all between. ``not_settled`` is of how many lines the balance's own amount
    is not known: those are in with the payment's, and without a fee.
    """

    month: str
    provider: str
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
    """Every month from a balance's first line to the last line of any, in the order of time."""
    found = sorted(sums)
    last = max((each.month for each in found), default="")
    made: list[Month] = []
    for provider, currency in sorted({(each.provider, each.currency or "") for each in found}):
        own = [each for each in found if (each.provider, each.currency or "") == (provider, currency)]
        opening, month = 0, own[0].month
        while month <= last:
            empty = Month(month=month, provider=provider, currency=currency, opening=opening)
            made.append(_with(empty, [each for each in own if each.month == month]))
            opening, month = made[-1].closing, _after(month)
    return sorted(made, key=lambda each: (each.month, each.provider, each.currency))


def _with(month: Month, sums: Iterable[Sum]) -> Month:
    for each in sums:
        column = COLUMN_OF.get(each.kind, "other")
        added = {column: getattr(month, column) + each.gross}
        added["fees"] = added.get("fees", month.fees) - each.fee
        lines, not_settled = month.lines + each.lines, month.not_settled + each.not_settled
        month = replace(month, **added, lines=lines, not_settled=not_settled)
    return month


def _after(month: str) -> str:
    year, number = divmod(int(month[:4]) * 12 + int(month[5:]), 12)
    return f"{year:04}-{number + 1:02}"
