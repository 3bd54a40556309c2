"""What a payment did to the provider's own balance: gross, what the provider kept, and what reached it.

A movement is one entry of the balance, as the provider states it: money out is below zero, and so is a fee
that is given back. Who says what: docs/accounting.md.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from chalicelib.payments.books import Books
from chalicelib.payments.facts import Facts, fact, things


class Movement(NamedTuple):
    """One entry, in minor units of the balance's currency; ``net`` is ``gross - fee``.

    ``of`` is the provider's id of the capture, charge, refund or dispute; ``kinds`` the fees by the
    provider's names; ``rate`` what the payment's currency was exchanged at, as text.
    """

    currency: str
    gross: int
    fee: int
    net: int
    rate: str | None
    kinds: dict[str, int]
    of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The sum of what is known; ``complete``: of all that moved."""

    currency: str | None
    gross: int
    fee: int
    net: int
    exchange_rate: str | None
    complete: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def movement(id_: str, at: int, moved: Movement) -> Facts:
    """The fact of one entry, as of an instant."""
    kinds = [list(each) for each in sorted(moved.kinds.items())]
    amounts = [moved.currency, moved.gross, moved.fee, moved.net, moved.rate or ""]
    return fact(f"movement {id_}", entry=[at, *amounts, kinds, moved.of])


def movements(facts: Facts) -> Iterator[Movement]:
    """All that are known."""
    for _, fields in things(facts, "movement"):
        _, currency, gross, fee, net, rate, kinds, of = fields["entry"]
        yield Movement(currency, gross, fee, net, rate or None, dict(kinds), of)


def settled(subject: str, of: Books) -> Settled | None:
    """``None`` while nothing is known. In two currencies nothing adds up: it is not complete."""
    found = list(movements(of.facts))
    if not found:
        return None
    currencies = sorted({each.currency for each in found})
    counted = [each for each in found if each.currency == currencies[0]]
    rates = {each.rate for each in counted if each.rate and each.gross > 0}
    missing = set(_moved(subject, of)) - {each.of for each in found}
    return Settled(
        currency=currencies[0],
        gross=sum(each.gross for each in counted),
        fee=sum(each.fee for each in counted),
        net=sum(each.net for each in counted),
        exchange_rate=min(rates) if len(rates) == 1 else None,
        complete=len(currencies) == 1 and not missing,
    )


def _moved(subject: str, of: Books) -> Iterator[str]:
    """The ids of all that has to have an entry. A payment of one capture is that capture."""
    charges = [id_ for id_, fields in things(of.facts, "charge") if fields.get("captured")]
    if charges or of.sums.captured:
        yield from charges or [subject.rpartition(":")[2]]
    standing = [each for each in of.refunds if each.stands]
    yield from (each.id for each in standing)
    reversed_by = {each.dispute for each in standing}
    yield from (each.id for each in of.disputes if each.held and each.id not in reversed_by)
