"""Disputes: who claims the money, who has it meanwhile, and how it ended. Inquiries, which only ask.

1. A dispute that is open or lost counts as far as it took money; one that is won counts nothing.
2. What the provider shows as moved is what it took: Stripe's balance transactions, PayPal's reversals.
3. An inquiry takes nothing. No outcome, or one that is not known, changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from chalicelib.payments.captures import Captures
from chalicelib.payments.facts import OPEN, OUTCOMES, Facts, Fields, reported, things
from chalicelib.payments.refunds import Refund

# Milliseconds before a dispute was opened in which money that is taken back can be its own already.
EARLY = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A dispute, in minor units: ``amount`` is what is claimed, ``held`` what it took and did not give back.

    ``opened_at`` is ``None`` while it is only an inquiry. ``outcome`` is one of ``OUTCOMES``, ``None`` while
    it is open; ``ended_at`` when it came to that. ``lost`` is what the provider says was lost with it.
    ``is_taken_by_reversal``: the provider takes its money by reversals, each an object of its own.
    ``is_whole_case``: the amounts are those of all payments in its case; this one's part is not said.
    """

    id: str
    amount: int
    inquired_at: int | None
    opened_at: int | None
    closed_at: int | None
    won_at: int | None
    lost_at: int | None
    outcome: str | None
    ended_at: int | None
    lost: int | None
    held: int
    is_foreign: bool
    is_taken_by_reversal: bool
    is_whole_case: bool

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None and self.outcome is None

    @property
    def is_lost(self) -> bool:
        """Lost, and its money is not back; a refund that settled it is not its money."""
        is_gone = self.held > 0 or self.is_foreign or self.is_taken_by_reversal
        return self.outcome == "lost" and is_gone

    @property
    def takes(self) -> bool:
        """Whether it is one that takes money, and has not given it back."""
        return self.opened_at is not None and self.outcome in (None, "lost")

    @property
    def began(self) -> int:
        return self.opened_at or 0

    def claims(self, reversal: Refund, captured: int) -> bool:
        """Whether a reversal can be of its money: since shortly before it began, until it was not lost.

        An earlier one can be while it takes money, if there was not ``captured`` enough for both: what is
        disputed is never more than the transaction. https://developer.paypal.com/docs/disputes/faq
        """
        if self.outcome == "won" and reversal.dated > (self.ended_at or 0):
            return False
        is_too_much = self.takes and reversal.amount + self.amount > captured > 0
        return reversal.dated >= self.began - EARLY or is_too_much


def disputes(facts: Facts, captured: Captures) -> list[Dispute]:
    """Every dispute and inquiry, by id, as far as it can be told without the refunds."""
    found = (_dispute(dispute_id, f, captured.currency) for dispute_id, f in things(facts, "dispute"))
    return [_within(each, captured.total) for each in found]


def _dispute(dispute_id: str, f: Fields, currency: str | None) -> Dispute:
    ended_at, rank = f.get("outcome", (0, OPEN))
    outcome = None if rank == OPEN else OUTCOMES[rank]
    opened_at = f.get("disputed_at")
    if opened_at is not None and "inquired_at" not in f:
        opened_at = min(opened_at, f.get("created_at", opened_at))
    is_foreign = (reported(f, "currency") or currency) != currency
    dispute = Dispute(
        id=dispute_id,
        amount=_claimed(f),
        inquired_at=f.get("inquired_at"),
        opened_at=opened_at,
        closed_at=f.get("closed_at"),
        won_at=f.get("won_at"),
        lost_at=f.get("lost_at"),
        outcome=outcome,
        ended_at=None if outcome is None else ended_at,
        lost=reported(f, "lost"),
        held=0,
        is_foreign=is_foreign,
        is_taken_by_reversal=bool(f.get("taken_by_reversal")),
        is_whole_case=bool(f.get("is_whole_case")),
    )
    return replace(dispute, held=_held(f)) if dispute.takes and not is_foreign else dispute


def _claimed(f: Fields) -> int:
    *_, amount = f.get("claimed", (0,))
    return int(amount)


def _held(f: Fields) -> int:
    """What it took and did not give back, by what moved where that is known.

    The moves can be in the balance's currency: then they say which part of the amount came back.
    """
    amount = _claimed(f)
    moved_at, taken, returned, is_same_currency = f.get("moved", (0, -1, 0, 0, 0))[1:]
    came_back_at = f.get("reinstated_at", -1)
    if came_back_at > moved_at and came_back_at >= max(f.get("withdrawn_at", 0), f.get("lost_at", 0)):
        return 0
    if not taken:
        return amount
    left: int = max(0, taken - returned)
    return left if is_same_currency else round(amount * left / taken)


def _within(dispute: Dispute, captured: int) -> Dispute:
    """Of a case over several payments, whose parts are not said: at most what was captured of this one."""
    if not dispute.is_whole_case or not captured:
        return dispute
    amount, lost = min(dispute.amount, captured), dispute.lost
    return replace(
        dispute, amount=amount, lost=lost and min(lost, captured), held=min(dispute.held, captured)
    )


def dispute_of(reversal: Refund, found: Collection[Dispute], captured: int) -> str | None:
    """The dispute whose money a reversal took: of several that can be, the one opened last before it.

    One that was closed without a decision gave way to the next of the same transaction, its money too.
    https://developer.paypal.com/docs/disputes/faq
    """
    if not reversal.is_reversal:
        return None
    can_be = [each for each in found if each.claims(reversal, captured)]
    begun = [each for each in can_be if each.began <= reversal.dated] or can_be
    last = max(begun, key=lambda each: (each.began, each.id), default=None)
    if last and last.outcome == "closed":
        next_ones = [each for each in found if each.outcome != "closed" and each.began > last.began]
        last = min(next_ones, key=lambda each: (each.began, each.id), default=None)
    return last.id if last else None


def settled(found: Iterable[Dispute], all_refunds: Collection[Refund]) -> tuple[Dispute, ...]:
    """The disputes whose money is taken by reversals, with what was taken of it.

    Where no reversal shows that, a refund made since the dispute began may be how it was settled: one as
    large as what was lost is; a smaller one is besides, as far as both are within what was claimed.
    """
    taken: dict[str, int] = {}
    for each in all_refunds:
        if each.dispute is not None and each.stands:
            taken[each.dispute] = taken.get(each.dispute, 0) + each.amount
    plain = [each for each in all_refunds if each.counts and not each.is_reversal]
    return tuple(_settled(each, taken, plain) for each in found)


def _settled(dispute: Dispute, taken: Mapping[str, int], plain: Iterable[Refund]) -> Dispute:
    if not dispute.is_taken_by_reversal or not dispute.takes:
        return dispute
    if dispute.id in taken:
        return replace(dispute, held=taken[dispute.id])
    if dispute.is_foreign:
        return dispute
    refunded = sum(each.amount for each in plain if each.dated >= dispute.began)
    lost = dispute.amount if dispute.lost is None else dispute.lost
    if refunded >= lost:
        return replace(dispute, held=0)
    return replace(dispute, held=max(0, min(lost, dispute.amount - refunded)))
