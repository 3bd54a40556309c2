"""Entries of the provider's own balance, as the provider states them: what the payment did to it.

Money out is below zero, and so is a fee that is given back. Who says what: docs/accounting.md.
"""

from collections.abc import Iterator
from typing import NamedTuple

from chalicelib.payments.facts import Facts, fact, things


class BalanceEntry(NamedTuple):
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
    id: str = ""


def balance_entry(id_: str, at: int, entry: BalanceEntry) -> Facts:
    """The fact of one entry, as of an instant."""
    kinds = [list(each) for each in sorted(entry.kinds.items())]
    amounts = [entry.currency, entry.gross, entry.fee, entry.net, entry.rate or ""]
    return fact(f"movement {id_}", entry=[at, *amounts, kinds, entry.of])


def balance_entries(facts: Facts) -> Iterator[tuple[int, BalanceEntry]]:
    """All that are known, each with its instant, in the order of their ids."""
    for id_, fields in things(facts, "movement"):
        at, currency, gross, fee, net, rate, kinds, of = fields["entry"]
        yield at, BalanceEntry(currency, gross, fee, net, rate or None, dict(kinds), of, id_)
