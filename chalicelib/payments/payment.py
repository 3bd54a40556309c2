"""The payment as everybody sees it: the API, the command, handlers and the bus."""

from dataclasses import dataclass
from typing import Any

from chalicelib.payments.books import Books, books
from chalicelib.payments.facts import Facts, Fields, reported
from chalicelib.payments.milestones import Milestone, reached
from chalicelib.payments.settled import Settled, settled
from chalicelib.times import to_iso


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """What Daybook shows of a payment. Amounts are integers in the currency's minor unit.

    ``reference`` is the user's own id of what was bought, or of who bought it; ``metadata`` what the stage
    keeps of what was written into the payment.
    """

    id: str
    provider: str
    status: str
    livemode: bool | None
    account: str | None
    currency: str | None
    amount: int
    authorized: int
    captured: int
    refunded: int
    disputed: int
    net: int
    consistent: bool
    customer: str | None
    reference: str | None
    metadata: dict[str, str]
    settled: Settled | None
    related: dict[str, list[str]]
    created_at: str
    updated_at: str
    milestones: tuple[Milestone, ...]

    def to_dict(self) -> dict[str, Any]:
        """The payment as JSON shows it, without its events."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        settled = self.settled.to_dict() if self.settled else None
        milestones = [milestone.to_dict() for milestone in self.milestones]
        return {**shown, "settled": settled, "milestones": milestones}


def project(subject: str, facts: Facts) -> Payment:
    """The payment that the facts prove. ``subject`` is ``provider:id``."""
    return shown(subject, books(facts))


def shown(subject: str, of: Books) -> Payment:
    """The payment with these books."""
    payment = of.payment
    captured, refunded, disputed = of.sums
    return Payment(
        id=subject,
        provider=subject.partition(":")[0],
        status=of.status,
        **named(payment),
        currency=of.currency,
        amount=of.amount,
        authorized=of.captures.authorized,
        captured=captured,
        refunded=refunded,
        disputed=disputed,
        net=captured - refunded - disputed,
        consistent=of.is_consistent,
        metadata={name: value for name, (_, value) in payment.get("metadata", {}).items()},
        settled=settled(subject, of),
        related=_related(payment),
        created_at=to_iso(payment.get("created_at", 0)),
        updated_at=to_iso(payment.get("updated_at", 0)),
        milestones=tuple(each.milestone(subject) for each in reached(of)),
    )


def named(payment: Fields) -> dict[str, Any]:
    """Whose it is: the mode, the account, the customer and the user's own reference, as far as known."""
    return {
        "livemode": payment.get("livemode"),
        "account": min(payment.get("account", ()), default=None),
        "customer": reported(payment, "customer"),
        "reference": payment.get("reference", (0, 0, None))[2],
    }


def _related(payment: Fields) -> dict[str, list[str]]:
    related: dict[str, list[str]] = {}
    for name in payment.get("related", ()):
        kind, _, object_id = name.partition(" ")
        related.setdefault(kind, []).append(object_id)
    return related
