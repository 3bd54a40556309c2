"""The lines of the books, from the ledger's records: what each column is, docs/accounting.md says.

Amounts are integers in minor units here; what a file makes of them, its format says.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from chalicelib import adjustments, listing, payouts
from chalicelib.entries import StoredPayment
from chalicelib.kinds import ADJUSTMENT, PAYMENT, PAYOUT
from chalicelib.ledger import Ledger
from chalicelib.payments import Facts, Movement, Payment, balance_entries, books, named, shown
from chalicelib.payments import movements as of_payment
from chalicelib.times import EPOCH, from_iso, to_iso

Line = dict[str, Any]

MOVEMENT = (
    "at",
    "local",
    "provider",
    "account",
    "kind",
    "id",
    "object",
    "payment",
    "reference",
    "customer",
    "payout",
    "currency",
    "amount",
    "settlement_currency",
    "gross",
    "fee",
    "net",
    "exchange_rate",
    "livemode",
)
OF_PAYMENT = (
    "at",
    "local",
    "provider",
    "account",
    "id",
    "status",
    "reference",
    "customer",
    "currency",
    "captured",
    "refunded",
    "disputed",
    "amount",
    "settlement_currency",
    "gross",
    "fee",
    "net",
    "exchange_rate",
    "complete",
    "consistent",
    "livemode",
)
OF_PAYOUT = (
    "at",
    "local",
    "provider",
    "account",
    "id",
    "status",
    "arrival_date",
    "trace_id",
    "currency",
    "amount",
    "movements",
    "settlement_currency",
    "gross",
    "fee",
    "net",
    "consistent",
    "livemode",
)
COLUMNS = {"movement": MOVEMENT, "payment": OF_PAYMENT, "payout": OF_PAYOUT}
# Which currency each amount is in: all are in minor units of it.
AMOUNTS = {
    **dict.fromkeys(("amount", "captured", "refunded", "disputed"), "currency"),
    **dict.fromkeys(("gross", "fee", "net"), "settlement_currency"),
}
FIRST, LAST = "0001-01-01", "9999-12-31~"  # before and after every instant
Step = Callable[[int, int], object]  # of days that are read: how many, of how many


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone that lines are dated in beside UTC."""

    of: tzinfo = UTC

    @classmethod
    def named(cls, name: str) -> "Zone":
        """``Europe/Berlin``. Raises ``ValueError`` that says what is wrong."""
        try:
            return cls(ZoneInfo(name))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{name} is no time zone, as Europe/Berlin is") from None

    def local(self, at: int) -> str:
        """``2026-11-24T11:00:00+01:00``; the year 10000 does not begin earlier in the east."""
        moment = EPOCH + timedelta(milliseconds=at)
        with suppress(OverflowError):
            moment = moment.astimezone(self.of)
        return moment.isoformat(timespec="seconds")

    def instant(self, text: str) -> int:
        """Milliseconds of an ISO 8601 date or time; without a zone it is in this. Raises ``ValueError``."""
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self.of)
        return from_iso(moment.isoformat())


def lines(
    ledger: Ledger, by: str, zone: Zone, unread: list[str], step: Step = lambda done, of: None
) -> Iterator[Line]:
    """Every line, one of ``COLUMNS`` each, in no order; ``step`` is told of each day that is read.

    What a newer version of Daybook wrote is left out, and named in ``unread``.
    """
    wanted = {"movement": (PAYMENT, PAYOUT, ADJUSTMENT), "payment": (PAYMENT,), "payout": (PAYOUT,)}[by]
    days = {entry: ledger.days(FIRST, LAST, entry) for entry in wanted}
    total, done = sum(map(len, days.values())), 0
    for entry in wanted:
        for day, shards in days[entry].items():
            for subject, stored in listing.every(ledger, entry, {day: shards}, unread):
                yield from MAKE[by](subject, stored, zone)
            done += 1
            step(done, total)


def parts(ledger: Ledger, unread: list[str]) -> Iterator[tuple[str, str]]:
    """By the id of each balance transaction that a payout is made of, the payout."""
    for subject, stored in listing.every(ledger, PAYOUT, ledger.days(FIRST, LAST, PAYOUT), unread):
        if payouts.project(subject, stored.facts).transactions is not None:
            for part in ledger.made_of.of(subject):
                yield f"{subject.rpartition(':')[0]}:{part.id}", subject


def _movements(subject: str, stored: StoredPayment, zone: Zone) -> Iterator[Line]:
    entry = stored.outbox.entry
    if entry == PAYMENT:
        of = books(stored.facts)
        about = {**named(of.payment), "payment": subject}
        for each in of_payment(subject, of):
            yield _movement(each, zone, about)
        return
    found = payouts if entry == PAYOUT else adjustments
    about = stored.facts.get(entry, {})
    own: Line = {"account": min(about.get("account", ()), default=None), "livemode": about.get("livemode")}
    if entry == PAYOUT:
        own["payout"] = subject
    for each in found.movements(subject, stored.facts):
        yield _movement(each, zone, own)


def _movement(of: Movement, zone: Zone, about: Mapping[str, Any]) -> Line:
    line: Line = dict.fromkeys(MOVEMENT)
    provider = of.id.partition(":")[0]
    line |= {name: getattr(of, name) for name in ("kind", "id", "object", "currency", "amount")}
    line |= {"at": to_iso(of.at), "local": zone.local(of.at), "provider": provider, **about}
    if of.entry:
        line |= {name: getattr(of.entry, name) for name in ("gross", "fee", "net")}
        line |= {"settlement_currency": of.entry.currency, "exchange_rate": of.entry.rate}
        line["entry"] = f"{of.id.partition('/')[0].rpartition(':')[0]}:{of.entry.id}"
    return line


def _payments(subject: str, stored: StoredPayment, zone: Zone) -> Iterator[Line]:
    payment = shown(subject, books(stored.facts))
    if not (payment.captured or payment.refunded or payment.disputed):
        return
    line: Line = {name: getattr(payment, name) for name in OF_PAYMENT if hasattr(payment, name)}
    at = payment.created_at
    line |= {
        "at": at,
        "local": zone.local(from_iso(at)),
        "amount": payment.net,
        **_settled(payment, stored.facts),
    }
    yield {name: line[name] for name in OF_PAYMENT}


def _settled(payment: Payment, facts: Facts) -> Line:
    """Two currencies add up to nothing: then there are no sums."""
    of = payment.settled
    empty: Line = dict.fromkeys(("settlement_currency", "gross", "fee", "net", "exchange_rate"))
    if of is None:
        return {**empty, "complete": False}
    if not of.complete and len({each.currency for _, each in balance_entries(facts)}) > 1:
        return {**empty, "complete": False}
    return {**of.to_dict(), "settlement_currency": of.currency, "currency": payment.currency}


def _payouts(subject: str, stored: StoredPayment, zone: Zone) -> Iterator[Line]:
    payout = payouts.project(subject, stored.facts)
    made_of = payout.transactions or {}
    line: Line = {name: getattr(payout, name) for name in OF_PAYOUT if hasattr(payout, name)}
    at = payout.created_at
    line |= {"at": at, "local": zone.local(from_iso(at)), "movements": made_of.get("count")}
    line |= {"settlement_currency": payout.currency if made_of else None}
    line |= {name: made_of.get(name) for name in ("gross", "fee", "net")}
    yield {name: line[name] for name in OF_PAYOUT}


MAKE: Mapping[str, Callable[[str, StoredPayment, Zone], Iterator[Line]]] = {
    "movement": _movements,
    "payment": _payments,
    "payout": _payouts,
}
