"""Captures: the money that came in, from the running totals of the payment and of its charges."""

from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib.payments.facts import Facts, Fields, reported, things


@dataclass(frozen=True, slots=True)
class Capture:
    """Money that came in at once. ``total`` is what was captured of the payment with it, in minor units."""

    at: int
    amount: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Captures:
    """All of them, the first one first. ``currency`` is that of the payment, ``None`` if none is known.

    ``by_charge`` is what each known charge captured; ``authorized`` what was held or captured at most.
    """

    currency: str | None
    each: tuple[Capture, ...]
    by_charge: dict[str, int]
    authorized: int
    authorized_by_charge: dict[str, int]

    @property
    def total(self) -> int:
        return self.each[-1].total if self.each else 0

    def limit(self, charge: str) -> int:
        """How much of a charge can be refunded: what it captured, or what the others did not.

        A payment's own total can say more than the charges do whose events came.
        """
        others = sum(amount for other, amount in self.by_charge.items() if other != charge)
        return max(self.by_charge.get(charge, 0), self.total - others)

    def not_captured(self, charge: str) -> int:
        """How much of what was held of a charge was not captured: letting that go is no refund."""
        if charge in self.authorized_by_charge:
            return max(0, self.authorized_by_charge[charge] - self.by_charge.get(charge, 0))
        return self.authorized - self.total  # of a charge whose events did not come, the payment says it


def captures(facts: Facts) -> Captures:
    """Every capture that the facts prove. A payment's total and its charges' are of the same money."""
    payment, charges = facts.get("payment", {}), dict(things(facts, "charge"))
    currency = _currency(facts, payment, charges)
    own = charges if currency is None else {n: f for n, f in charges.items() if _is_in(f, currency)}
    seen = sorted(
        [(at, "", total) for total, at in payment.get("captured", ())]
        + [(at, name, total) for name, f in own.items() for total, at in f.get("captured", ())]
    )
    held = {name: int(f.get("authorized", 0)) for name, f in own.items()}
    found = tuple(_steps(seen))
    total = found[-1].total if found else 0
    return Captures(
        currency=currency,
        each=found,
        by_charge={name: f["captured"][-1][0] for name, f in own.items() if f.get("captured")},
        authorized=max([int(payment.get("authorized", 0)), total, *held.values()]),
        authorized_by_charge=held,
    )


def _steps(seen: Iterable[tuple[int, str, int]]) -> Iterable[Capture]:
    """A capture at each instant at which the total grew."""
    totals: dict[str, int] = {}  # by charge; "" is the payment's own
    known = 0
    by_instant: dict[int, list[tuple[str, int]]] = {}
    for at, name, total in seen:
        by_instant.setdefault(at, []).append((name, total))
    for at, reports in by_instant.items():
        for name, total in reports:
            totals[name] = max(total, totals.get(name, 0))
        of_charges = sum(total for name, total in totals.items() if name)
        total = max(totals.get("", 0), of_charges)
        if total > known:
            yield Capture(at, total - known, total)
            known = total


def _currency(facts: Facts, payment: Fields, charges: dict[str, Fields]) -> str | None:
    """The payment's: what was captured decides, then what was asked for last, then what went out."""
    paid = [f for f in charges.values() if f.get("captured")]
    priced = payment.get("priced")
    if priced and (priced[0] or not paid):
        return str(priced[3])
    outgoing = [f for thing, f in facts.items() if thing.startswith(("refund ", "dispute "))]
    reports = [
        f["currency"] for some in (paid, [*charges.values()], outgoing) for f in some if "currency" in f
    ]
    return str(reports[0][1]) if reports else None


def _is_in(fields: Fields, currency: str) -> bool:
    return (reported(fields, "currency") or currency) == currency
