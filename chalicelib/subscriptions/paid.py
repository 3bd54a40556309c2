"""What was paid for a subscription, and until when: by its invoices and their lines, or its sales.

An item is paid through the largest end of its lines, each cut to the start of a later credit of that item:
what is given back is not paid any more. https://docs.stripe.com/billing/subscriptions/prorations
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from chalicelib.joining import Facts, Fields, things
from chalicelib.subscriptions.terms import REVERSED, Terms

CYCLE = "subscription_cycle"  # https://docs.stripe.com/api/invoices/object#invoice_object-billing_reason


class Bill(NamedTuple):
    """What was paid at once, ``at`` in milliseconds: an invoice at Stripe, a sale at PayPal.

    ``reversed`` is what has become of the payment since: one of ``terms.REVERSED``, or ``None``.
    """

    at: int
    id: str
    payments: tuple[str, ...]
    amount: int
    currency: str
    is_out_of_band: bool
    is_period: bool
    reversed: str | None

    @property
    def payment(self) -> str | None:
        """The one that is shown of several, each of a part."""
        return self.payments[-1] if self.payments else None

    @property
    def is_money(self) -> bool:
        """Whether more than nothing was paid, here or by other ways."""
        return self.is_out_of_band or self.amount > 0


def bills(facts: Facts) -> list[Bill]:
    """All that were paid, in the order of time."""
    paid = [
        (id_, fields)
        for kind in ("invoice", "sale")
        for id_, fields in things(facts, kind)
        if "paid" in fields
    ]
    return sorted(_bill(id_, fields, facts) for id_, fields in paid)


def _bill(id_: str, fields: Fields, facts: Facts) -> Bill:
    amount, currency = fields["paid"]
    own = (fields["payment"],) if "payment" in fields else ()
    payments = tuple(sorted({*own, *fields.get("payments", ())}))
    became = {facts.get(f"payment {each}", {}).get("reversed") for each in payments}
    return Bill(
        at=fields["paid_at"],
        id=id_,
        payments=payments,
        amount=amount,
        currency=currency,
        is_out_of_band=bool(fields.get("is_out_of_band")),
        is_period=fields.get("billed_for") == CYCLE,
        reversed=next((each for each in reversed(REVERSED) if each in became), None),
    )


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


def lines(facts: Facts, terms: Terms, over_at: int | None = None) -> list[Line]:
    """All but what was paid by payments that were reversed so that they end access, or came after the end.

    What was given back after the end is given back all the same.
    """
    all_ = [Line(id_.partition(" ")[0], *fields["line"]) for id_, fields in things(facts, "line")]
    undone = {each.id for each in bills(facts) if each.reversed in terms.reversed_ends}
    late = {each.id for each in bills(facts) if over_at is not None and each.at > over_at}
    kept = [each for each in all_ if each.invoice not in undone]
    return [each for each in kept if each.is_credit or each.invoice not in late]


def paid_through(item: str, billed: Sequence[Line], trial_ends_at: int | None) -> int | None:
    """Until when an item is paid; ``None`` if nothing is known. A trial's line of nothing pays nothing."""
    own = [each for each in billed if each.item == item]
    paid = [each for each in own if not each.is_credit and not _is_of_trial(each, trial_ends_at)]
    return max((_cut(each, own) for each in paid), default=None)


def _is_of_trial(line: Line, trial_ends_at: int | None) -> bool:
    return line.amount == 0 and trial_ends_at is not None and line.start < trial_ends_at


def _cut(line: Line, own: Iterable[Line]) -> int:
    """The end of a line, or where a later credit of its time begins."""
    during = [each for each in own if line.start <= each.start < line.end]
    later = [each.start for each in during if each.is_credit and each.at > line.at]
    of_second = [each.start for each in during if each.is_credit and _is_undone(line, each, own)]
    return min([*later, *of_second], default=line.end)


def _is_undone(line: Line, credit: Line, own: Iterable[Line]) -> bool:
    """Of one second, by another invoice: where of a price as much was credited as charged, then or before.

    Which came first cannot be told; the last that was charged stands unless there is a credit for it too.
    """
    if credit.at != line.at or credit.invoice == line.invoice or credit.price != line.price:
        return False
    of_price = [each for each in own if each.price == line.price]
    together = [each for each in of_price if each.at == line.at and line.start <= each.start < line.end]
    credits_ = sum(each.is_credit for each in together)
    was_before = any(each.start <= credit.start < each.end for each in of_price if each.at < line.at)
    return credits_ >= len(together) - credits_ + was_before
