"""What a payment did to the provider's own balance in all: gross, what the provider kept, what reached it."""

from dataclasses import asdict, dataclass
from typing import Any

from chalicelib.payments.balance import balance_entries
from chalicelib.payments.books import Books
from chalicelib.payments.movements import is_settled, movements


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


def settled(subject: str, of: Books) -> Settled | None:
    """``None`` while nothing is known. In two currencies nothing adds up: it is not complete."""
    found = [each for _, each in balance_entries(of.facts)]
    if not found:
        return None
    currencies = sorted({each.currency for each in found})
    counted = [each for each in found if each.currency == currencies[0]]
    rates = {each.rate for each in counted if each.rate and each.gross > 0}
    return Settled(
        currency=currencies[0],
        gross=sum(each.gross for each in counted),
        fee=sum(each.fee for each in counted),
        net=sum(each.net for each in counted),
        exchange_rate=min(rates) if len(rates) == 1 else None,
        complete=len(currencies) == 1 and is_settled(movements(subject, of)),
    )
