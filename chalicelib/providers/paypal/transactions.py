"""Listing PayPal's Transaction Search: a time is asked for in windows, each in pages.

A window of more than ten thousand transactions is refused, and is halved until it is not: to take such an
answer for none would lose a month. https://developer.paypal.com/docs/api/transaction-search/v1/
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from chalicelib.errors import NotUnderstood, Unavailable
from chalicelib.events import items, mapping
from chalicelib.providers.paypal.objects import Resource
from chalicelib.times import DAY, to_iso

SEARCH = "/v1/reporting/transactions"
BACK = 3 * 365 * DAY  # as far as it lists
WINDOW = 31 * DAY  # at most in one question
SECOND = 1000
TOO_MANY = "RESULTSET_TOO_LARGE"  # what PayPal calls it

Get = Callable[[str], Mapping[str, Any]]


class Place(NamedTuple):
    """Where a listing goes on: up to which instant, with which code, on which page, by how long a window; and
    how far back it goes, which must not move while pages are counted."""

    until: int
    since: int
    code: int = 0
    page: int = 1
    window: int = WINDOW


class Listed(NamedTuple):
    """Some transactions' ``transaction_info``, how many the window has in all, and where to go on."""

    found: list[Resource]
    total: int
    next: str | None


def listed(
    get: Get,
    since: int,
    until: int,
    cursor: str | None,
    size: int,
    codes: Sequence[str | None] = (None,),
    is_paged: bool = True,
) -> Listed:
    """``size`` of them at most, of those event codes, or all; without pages the first of each window.

    Raises ``NotAllowed``, ``Throttled``, ``Unavailable``.
    """
    place = Place(*json.loads(cursor)) if cursor else Place(until, since)
    while True:
        first = max(place.since, place.until - place.window + SECOND)
        try:
            answer = get(_path(place, first, size, codes[place.code]))
        except NotUnderstood as error:
            if error.reason == TOO_MANY and place.window > 2 * SECOND:
                place = place._replace(window=place.window // 2, page=1)
                continue
            if error.reason == TOO_MANY or codes[place.code] is None:
                raise
            answer = {"transaction_details": []}  # a code that this account cannot have
        if not isinstance(answer.get("transaction_details"), list):
            raise Unavailable("PayPal lists no transactions", reason="paypal_api")
        found = [mapping(each.get("transaction_info")) for each in items(answer["transaction_details"])]
        pages = int(answer.get("total_pages") or 0) if is_paged else 1
        following = _next(place, pages, first, len(codes))
        total = int(answer.get("total_items") or len(found))
        return Listed(found, total, json.dumps(following) if following else None)


def _path(place: Place, first: int, size: int, code: str | None) -> str:
    asked = {
        "start_date": to_iso(first // SECOND * SECOND),
        "end_date": to_iso(place.until // SECOND * SECOND),
        **({"transaction_type": code} if code else {}),
        "fields": "transaction_info",
        "page_size": size,
        "page": place.page,
    }
    return f"{SEARCH}?{urlencode(asked)}"


def _next(place: Place, pages: int, first: int, codes: int) -> Place | None:
    if place.page < pages:
        return place._replace(page=place.page + 1)
    if place.code + 1 < codes:
        return place._replace(code=place.code + 1, page=1)
    return Place(first, place.since, window=place.window) if first > place.since else None
