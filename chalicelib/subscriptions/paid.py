"""How far a subscription is paid: by the lines of its paid invoices.

An item is paid through the largest end of its lines, each cut to the start of a later credit of that item:
what is given back is not paid any more. https://docs.stripe.com/billing/subscriptions/prorations
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from chalicelib.joining import Facts, things


class Line(NamedTuple):
    """A line of a paid invoice, for a time of one item, billed ``at``. Instants in milliseconds."""

    invoice: str
    at: int
    item: str
    start: int
    end: int
    amount: int
    price: str

    @property
    def is_credit(self) -> bool:
        return self.amount < 0


def lines(facts: Facts) -> list[Line]:
    """All of them."""
    return [Line(id_.partition(" ")[0], *fields["line"]) for id_, fields in things(facts, "line")]


def paid_through(item: str, billed: Sequence[Line], trial_ends_at: int | None) -> int | None:
    """Until when an item is paid; ``None`` if nothing is known. A trial's line of nothing pays nothing."""
    own = [each for each in billed if each.item == item]
    credits_ = [each for each in own if each.is_credit]
    paid = [each for each in own if not each.is_credit and not _is_of_trial(each, trial_ends_at)]
    return max((_cut(each, credits_) for each in paid), default=None)


def _is_of_trial(line: Line, trial_ends_at: int | None) -> bool:
    return line.amount == 0 and trial_ends_at is not None and line.start < trial_ends_at


def _cut(line: Line, credits_: Iterable[Line]) -> int:
    """The end of a line, or where a later credit of its time begins."""
    later = (each for each in credits_ if line.start <= each.start < line.end and _is_later(each, line))
    return min((each.start for each in later), default=line.end)


def _is_later(credit: Line, line: Line) -> bool:
    """Of one second, the credit of that price is, by another invoice."""
    is_of_second = credit.at == line.at and credit.invoice != line.invoice and credit.price == line.price
    return credit.at > line.at or is_of_second
