"""What a payment did to the provider's own balance in all: gross, what the provider kept, what reached it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from chalicelib.payments.balance import BalanceEntry, balance_entries
from chalicelib.payments.books import Books
from chalicelib.payments.facts import things


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


def settled(of: Books) -> Settled | None:
    """``None`` while nothing is known. In two currencies nothing adds up: it is not complete."""
    found = [each for _, each in balance_entries(of.facts)]
    if not found:
        return None
    currencies = sorted({each.currency for each in found})
    counted = [each for each in found if each.currency == currencies[0]]
    rates = {each.rate for each in counted if each.rate and each.gross > 0}
    missing = set(_moved(of, found)) - {each.of for each in found}
    return Settled(
        currency=currencies[0],
        gross=sum(each.gross for each in counted),
        fee=sum(each.fee for each in counted),
        net=sum(each.net for each in counted),
        exchange_rate=min(rates) if len(rates) == 1 else None,
        complete=len(currencies) == 1 and not missing,
    )


def _moved(of: Books, found: list[BalanceEntry]) -> Iterator[str]:
    """The ids of all that has to have an entry; "" stands for a capture whose charge is not known."""
    charges = [id_ for id_, fields in things(of.facts, "charge") if fields.get("captured")]
    if of.sums.captured and not charges and not any(each.gross > 0 for each in found):
        yield ""
    yield from charges
    standing = [each for each in of.refunds if each.stands]
    yield from (each.id for each in standing)
    reversed_by = {each.dispute for each in standing}
    yield from (each.id for each in of.disputes if each.held and each.id not in reversed_by)
