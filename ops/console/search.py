"""Finding payments: by what they are, a page at a time and never by reading the whole table; or by an id."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chalicelib import access, listing, money
from chalicelib.errors import InvalidParameter
from chalicelib.ledger import Ledger
from chalicelib.subscriptions import Terms
from ops.console import figures

ROWS = 25
DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
LOOKS = 5  # pages of a hundred that one page may look through
OWN = ("status", "provider", "since", "until", "cursor")  # what the ledger itself can filter by


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and where the next page begins. ``looked`` payments were read; ``unread`` ones are of a newer
    version's making."""

    rows: list[dict[str, Any]]
    cursor: str | None
    looked: int
    unread: tuple[str, ...] = ()

    @property
    def cut_short(self) -> bool:
        """Whether there may be more, but this page was read for long enough."""
        return self.cursor is not None and len(self.rows) < ROWS


def page(ledger: Ledger, given: Mapping[str, str]) -> Page:
    """Payments that match, newest first. Raises ``InvalidParameter``."""
    matches = _matching(given)
    parameters = filters({name: given[name] for name in OWN if given.get(name)})
    rows: list[dict[str, Any]] = []
    unread: tuple[str, ...] = ()
    looked = 0
    for _ in range(LOOKS):
        found = listing.payments(
            ledger, listing.parse({**parameters, "limit": str(ROWS if not looked else 100)})
        )
        unread = *unread, *found.get("unread", ())
        for each in found["payments"]:
            looked += 1
            if matches(each):
                rows.append(each)
            if len(rows) == ROWS:
                return Page(rows, listing.below(each), looked, unread)
        if not found["cursor"]:
            return Page(rows, None, looked, unread)
        parameters["cursor"] = found["cursor"]
    return Page(rows, parameters["cursor"], looked, unread)


def filters(given: Mapping[str, str]) -> dict[str, str]:
    """What a form asks, for ``listing.parse``: what is empty is not asked, and a day is until its end."""
    asked = {name: value for name, value in given.items() if value}
    if DAY.fullmatch(asked.get("until", "")):
        asked["until"] += "T23:59:59.999Z"
    return asked


def _matching(given: Mapping[str, str]) -> Callable[[Mapping[str, Any]], bool]:
    """What the ledger cannot filter by: currency and amount."""
    currency = given.get("currency", "").upper()
    least, most = (_decimal(given, name) for name in ("least", "most"))

    def matches(payment: Mapping[str, Any]) -> bool:
        if currency and payment["currency"] != currency:
            return False
        if least is None and most is None:
            return True
        amount = _major(payment)
        return (least is None or amount >= least) and (most is None or amount <= most)

    return matches


def _decimal(given: Mapping[str, str], name: str) -> Decimal | None:
    text = given.get(name, "").strip()
    try:
        value = figures.decimal(text) if text else None
    except ValueError:
        raise InvalidParameter(f"the amount {text} is no number") from None
    if value is not None and not value.is_finite():
        raise InvalidParameter(f"the amount {text} is no number")
    return value


def _major(payment: Mapping[str, Any]) -> Decimal:
    """The amount in the currency's own unit: euros, not cents."""
    try:
        exponent = money.exponent(payment["currency"] or "")
    except ValueError:
        exponent = 0
    return Decimal(payment["amount"]).scaleb(-exponent)


def subject_of(ledger: Ledger, id_: str) -> str | None:
    """The subject that a payment's or an event's id leads to, with or without its provider."""
    for name in listing.named(id_):
        if ledger.record(name).version or next(ledger.events(name), None):
            return name
        found = ledger.subject_of(name) or ledger.named_by(name) or next(iter(ledger.referred(name)), None)
        if found:
            return found
    return None


def of_reference(ledger: Ledger, reference: str, most: int = 100) -> list[dict[str, Any]]:
    """The payments of the user's own id, the newest first, a hundred at most."""
    query = listing.parse({"reference": reference, "limit": str(most)})
    found: list[dict[str, Any]] = listing.payments(ledger, query)["payments"]
    return found


def subscriptions_of(ledger: Ledger, id_: str, now: int, terms: Terms) -> list[dict[str, Any]]:
    """The subscriptions of the user's own id, or of a customer; the newest first, a hundred at most."""
    for by in ("reference", "customer"):
        query = listing.parse({by: id_, "limit": "100"})
        found: list[dict[str, Any]] = access.subscriptions(ledger, query, now, terms)["subscriptions"]
        if found:
            return found
    return []


def of_customer(ledger: Ledger, customer: str, most: int = 100) -> list[dict[str, Any]]:
    """The payments of a customer, the newest first, a hundred at most."""
    query = listing.parse({"customer": customer, "limit": str(most)})
    found: list[dict[str, Any]] = listing.payments(ledger, query)["payments"]
    return found
