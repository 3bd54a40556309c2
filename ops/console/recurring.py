"""What subscriptions come to: how many there are of a kind, and what they bring in a month, by currency.

Recurring revenue is what active and past due subscriptions are to pay in a month: of each item its amount
times its quantity, by the months of its interval (a day is 12/365 of a month, a week 12/52). Not those on
trial, paused or ended; nor usage and tiers, whose amount is not known before; before tax and discounts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from chalicelib import access, listing
from chalicelib.ledger import Ledger
from chalicelib.subscriptions import Terms
from chalicelib.times import from_iso, sortable

LOOKS = 5  # pages of a hundred that the figures may cost
MONTHS = {"day": Fraction(12, 365), "week": Fraction(12, 52), "month": Fraction(1), "year": Fraction(12)}
PAYING = ("active", "past_due")


@dataclass(frozen=True, slots=True)
class Recurring:
    """Of the ``looked`` newest subscriptions; ``is_whole``: there are no others. Money in minor units."""

    active: int
    past_due: int
    ended: int
    revenue: dict[str, int]
    looked: int
    is_whole: bool


def recurring(ledger: Ledger, now: int, terms: Terms) -> Recurring:
    """The figures now; what ended, since this month began (UTC)."""
    found: list[dict[str, Any]] = []
    parameters = {"limit": "100"}
    for _ in range(LOOKS):
        page = access.subscriptions(ledger, listing.parse(parameters), now, terms)
        found += page["subscriptions"]
        if not page["cursor"]:
            break
        parameters["cursor"] = page["cursor"]
    counts = Counter(each["status"] for each in found)
    began = from_iso(f"{sortable(now)[:7]}-01")
    return Recurring(
        active=counts["active"],
        past_due=counts["past_due"],
        ended=sum(bool(each["ended_at"]) and from_iso(each["ended_at"]) >= began for each in found),
        revenue={currency: round(sum_) for currency, sum_ in revenue(found).items()},
        looked=len(found),
        is_whole=not page["cursor"],
    )


def revenue(found: Iterable[Mapping[str, Any]]) -> dict[str, Fraction]:
    """A month's, by currency, in its minor unit."""
    sums: dict[str, Fraction] = {}
    for each in found:
        if each["status"] in PAYING:
            for currency, monthly in _monthly(each["items"]):
                sums[currency] = sums.get(currency, Fraction(0)) + monthly
    return dict(sorted(sums.items()))


def _monthly(items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Fraction]]:
    for item in items:
        count, _, unit = (item["interval"] or "").partition(" ")
        if item["amount"] is not None and item["currency"] and unit in MONTHS and count.isdecimal():
            months = int(count) * MONTHS[unit]
            yield item["currency"], item["amount"] * (item["quantity"] or 1) / months
