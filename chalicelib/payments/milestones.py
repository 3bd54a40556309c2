"""Milestones: changes that matter, each reached once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.payments.books import Books
from chalicelib.payments.disputes import Dispute
from chalicelib.payments.refunds import Refund
from chalicelib.times import to_iso

MILESTONES = (
    "payment.authorized",
    "payment.failed",
    "payment.canceled",
    "payment.succeeded",
    "payment.captured",
    "payment.refunded",
    "refund.failed",
    "inquiry.opened",
    "inquiry.closed",
    "dispute.opened",
    "dispute.won",
    "dispute.lost",
)
REACHED_BY_STATE = ("authorized", "failed", "canceled")  # each is `payment.…`, at the fact `…_at`


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """A change that matters, reached once. ``at`` is the provider's time; ``amount`` is in minor units.

    ``id`` is the same at every run of a handler: use it as an idempotency key.
    ``object`` is the provider's id of the refund or dispute, where it is known. ``detail`` is what there is
    more to say of a subscription's: a payment's has none. ``replay``: a handler is notified of it on
    purpose, once more or from before the stage began.
    """

    id: str
    type: str
    at: str
    amount: int | None = None
    object: str | None = None
    detail: Mapping[str, Any] | None = None
    replay: bool = False

    def to_dict(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in self.__slots__}
        if self.detail is None:
            del shown["detail"]
        if not self.replay:
            del shown["replay"]
        return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A milestone that the facts prove, ``at`` in milliseconds.

    ``key`` tells it apart from others of its type in the payment. One that ``is_superseded`` does not hold
    any more: it is listed, but nobody is notified who was not before.
    """

    type: str
    at: int
    key: str = ""
    amount: int | None = None
    object: str | None = None
    is_superseded: bool = False

    @property
    def name(self) -> str:
        return f"{self.type}/{self.key}" if self.key else self.type

    @property
    def place(self) -> tuple[int, int, str]:
        return self.at, MILESTONES.index(self.type), self.key

    def milestone(self, subject: str) -> Milestone:
        return Milestone(
            id=f"{subject}/{self.name}",
            type=self.type,
            at=to_iso(self.at),
            amount=self.amount,
            object=self.object,
        )


def reached(of: Books) -> list[Reached]:
    """All that the payment has reached, in the provider's time."""
    found = [*_of_payment(of), *_of_captures(of), *_of_refunds(of), *_of_disputes(of)]
    return sorted(found, key=lambda each: each.place)


def _of_payment(of: Books) -> Iterator[Reached]:
    for state in REACHED_BY_STATE:
        at = of.payment.get(f"{state}_at")
        if at is not None:
            is_superseded = of.sums.captured > 0 or of.state != state
            yield Reached(type=f"payment.{state}", at=at, is_superseded=is_superseded)
    for first in of.captures.each[:1]:
        yield Reached(type="payment.succeeded", at=first.at, amount=of.sums.captured)


def _of_captures(of: Books) -> Iterator[Reached]:
    for each in of.captures.each:
        yield Reached(type="payment.captured", at=each.at, key=str(each.total), amount=each.amount)


def _of_refunds(of: Books) -> Iterator[Reached]:
    for each in of.refunds:
        if each.waits or each.is_release or each.is_expired or not each.is_notifiable:
            continue
        if each.succeeded_at is not None:
            yield refunded(each)
        if each.failed_at is not None:
            yield Reached(
                type="refund.failed", at=each.failed_at, key=each.id, amount=each.amount, object=each.id
            )


def refunded(refund: Refund) -> Reached:
    """What a dispute took is notified as lost, if it is."""
    return Reached(
        type="payment.refunded",
        at=refund.succeeded_at or 0,
        key=refund.id,
        amount=refund.amount,
        object=None if refund.is_unnamed else refund.id,
        is_superseded=refund.failed_at is not None or refund.is_undone or refund.dispute is not None,
    )


def _of_disputes(of: Books) -> Iterator[Reached]:
    for dispute in of.disputes:
        yield from _of_dispute(dispute)


def _of_dispute(d: Dispute) -> Iterator[Reached]:
    is_formal, is_over = d.opened_at is not None, d.outcome is not None
    lost = d.held if d.outcome == "lost" and not d.is_foreign else d.amount
    lives: tuple[tuple[str, int | None, int, bool], ...] = (
        ("inquiry.opened", d.inquired_at, d.amount, is_formal or is_over),
        ("inquiry.closed", d.closed_at, d.amount, is_formal or d.outcome != "closed"),
        ("dispute.opened", d.opened_at, d.amount, is_over),
        ("dispute.won", d.won_at, d.amount, d.outcome != "won"),
        ("dispute.lost", d.lost_at, lost, d.outcome != "lost"),
    )
    for type_, at, amount, is_superseded in lives:
        if at is None or (type_ == "inquiry.closed" and d.inquired_at is None):
            continue
        yield Reached(type=type_, at=at, key=d.id, amount=amount, object=d.id, is_superseded=is_superseded)
