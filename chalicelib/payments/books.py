"""A payment's books: all that follows from its facts, worked out once for each change."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from chalicelib.payments.captures import Captures, captures
from chalicelib.payments.disputes import Dispute, dispute_of, disputes, settled
from chalicelib.payments.facts import STATES, Facts, Fields, reported, things
from chalicelib.payments.refunds import Refund, bounded, refunds

OVERRIDDEN = ("created", "failed")  # by a session that was completed since, whose payment is under way


class Sums(NamedTuple):
    """In minor units of the payment's currency."""

    captured: int
    refunded: int
    disputed: int


# What a payment can be, in the order in which the first that holds is it.
STATUSES = ("disputed", "charged_back", "refunded", "partially_refunded", "succeeded", *reversed(STATES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the facts prove of a payment's money. ``state`` is what it is in while there is none."""

    facts: Facts
    captures: Captures
    refunds: tuple[Refund, ...]
    disputes: tuple[Dispute, ...]
    sums: Sums
    state: str
    is_consistent: bool

    @property
    def payment(self) -> Fields:
        return self.facts.get("payment", {})

    @property
    def currency(self) -> str | None:
        return self.captures.currency

    @property
    def status(self) -> str:
        """The first that holds."""
        captured, refunded, _ = self.sums
        if any(dispute.is_open for dispute in self.disputes):
            return "disputed"
        if any(dispute.is_lost for dispute in self.disputes):
            return "charged_back"
        if refunded >= captured > 0:
            return "refunded"
        if refunded > 0:
            return "partially_refunded"
        return "succeeded" if captured > 0 else self.state

    @property
    def amount(self) -> int:
        """What was asked for: last, or when it was paid."""
        _, _, amount, currency = self.payment.get("priced", (0, 0, 0, None))
        if currency is not None and currency == self.currency:
            return int(amount)
        charges = [f for _, f in things(self.facts, "charge") if reported(f, "currency") == self.currency]
        return max([self.captures.authorized, *(reported(f, "amount") or 0 for f in charges)])


def books(facts: Facts) -> Books:
    """The books of a payment with these facts."""
    captured = captures(facts)
    claimed = disputes(facts, captured)
    found = [
        replace(each, dispute=dispute_of(each, claimed, captured.total))
        for each in refunds(facts, captured.currency)
    ]
    refunded = bounded(found, captured)
    disputed = settled(claimed, refunded)
    sums = Sums(
        captured.total,
        sum(each.amount for each in refunded if each.counts),
        sum(each.held for each in disputed),
    )
    state = _state(facts.get("payment", {}))
    return Books(
        facts=facts,
        captures=captured,
        refunds=refunded,
        disputes=disputed,
        sums=sums,
        state=state,
        is_consistent=(
            len(_currencies(facts, captured.currency)) <= 1
            and _is_within_captured(sums, disputed)
            and (_is_released(refunded, captured) or state == "canceled")
        ),
    )


def _state(payment: Fields) -> str:
    """What was said last. A session that is completed and unpaid says only that something is under way."""
    at, place = payment.get("state", (0, 0))
    is_submitted = payment.get("submitted_at", -1) >= at
    return "processing" if is_submitted and STATES[place] in OVERRIDDEN else STATES[place]


def _currencies(facts: Facts, currency: str | None) -> set[str]:
    """Of all money that moved: what was only asked for can have been in another."""
    moved = [f for thing, f in facts.items() if thing.startswith(("refund ", "dispute "))]
    moved += [f for _, f in things(facts, "charge") if f.get("captured")]
    codes = {reported(f, "currency") for f in moved} | {currency}
    return {code for code in codes if code is not None}


def _is_within_captured(sums: Sums, found: Iterable[Dispute]) -> bool:
    """A network may take more for a dispute than was charged, and what had been refunded before as well.

    https://docs.stripe.com/disputes/how-disputes-work#disputed-amount
    """
    within = sum(each.held for each in found if each.is_taken_by_reversal)
    return sums.refunded + within <= sums.captured and (sums.captured > 0 or not sums.disputed)


def _is_released(found: Iterable[Refund], captured: Captures) -> bool:
    """Whether all that waits for a capture can be what was held and let go."""
    waiting: dict[str, int] = {}
    for each in found:
        if each.waits and each.failed_at is None and not each.is_undone:
            waiting[each.charge] = waiting.get(each.charge, 0) + each.amount
    return all(amount <= captured.not_captured(charge) for charge, amount in waiting.items())
