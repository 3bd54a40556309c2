"""PayPal's transfers to the bank, which no webhook tells of: by its Transaction Search.

https://developer.paypal.com/docs/api/transaction-search/v1/
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from chalicelib import payouts
from chalicelib.errors import NotUnderstood, Unavailable
from chalicelib.events import OWN, Event, items, mapping, safe_id
from chalicelib.payments import BalanceEntry, Facts, balance_entry
from chalicelib.providers.paypal.objects import amount_of
from chalicelib.providers.protocol import Page
from chalicelib.times import DAY, from_iso, to_iso

TRANSFER = f"{OWN}transfer"  # the type of our own events, of what is listed there
BEGINNING = "transfer-"  # of a transfer's subject: its id alone looks like a capture's
SEARCH = "/v1/reporting/transactions"
# To the bank: asked for, and by itself. https://developer.paypal.com/docs/transaction-search/transaction-event-codes/
CODES = ("T0400", "T0401", "T0402", "T0403")
STATUS_OF = {"P": "in_transit", "S": "paid", "D": "failed", "V": "failed"}
WINDOW = 31 * DAY  # at most in one question
PAGE = 500


class Place(NamedTuple):
    """Where a listing goes on: up to which instant, with which code, on which page."""

    until: int
    code: int = 0
    page: int = 1


def page(get: Callable[[str], Mapping[str, Any]], since: int, until: int, cursor: str | None) -> Page:
    """Transfers of that time, as bodies of events of our own making: one for each status that each is in."""
    place = Place(*json.loads(cursor)) if cursor else Place(until)
    first = max(since, place.until - WINDOW + 1000)
    asked = {
        "start_date": to_iso(first // 1000 * 1000),
        "end_date": to_iso(place.until // 1000 * 1000),
        "transaction_type": CODES[place.code],
        "fields": "transaction_info",
        "page_size": PAGE,
        "page": place.page,
    }
    try:
        answer = get(f"{SEARCH}?{urlencode(asked)}")
    except NotUnderstood:  # a code that this account cannot have
        answer = {"transaction_details": []}
    if not isinstance(answer.get("transaction_details"), list):
        raise Unavailable("PayPal lists no transactions", reason="paypal_api")
    bodies = list(_bodies(items(answer["transaction_details"])))
    following = _next(place, int(answer.get("total_pages") or 0), first, since)
    return Page(bodies, json.dumps(following) if following else None)


def _next(place: Place, pages: int, first: int, since: int) -> Place | None:
    if place.page < pages:
        return place._replace(page=place.page + 1)
    if place.code + 1 < len(CODES):
        return Place(place.until, place.code + 1)
    return Place(first) if first > since else None


def _bodies(listed: list[Mapping[str, Any]]) -> Iterator[bytes]:
    for each in listed:
        about = mapping(each.get("transaction_info"))
        id_, status = safe_id(about.get("transaction_id")), str(about.get("transaction_status"))
        if id_ is None:
            continue
        at = about.get("transaction_updated_date") or about.get("transaction_initiation_date")
        own = {"id": f"{BEGINNING}{id_}-{status}", "event_type": TRANSFER, "create_time": at}
        yield json.dumps({**own, "resource": {**about, "id": f"{BEGINNING}{id_}"}}).encode()


def facts(event: Event) -> Facts:
    """What one proves. Raises ``ValueError``."""
    about = mapping(event.payload.get("resource"))
    at = event.created_at
    gross, currency = amount_of(about.get("transaction_amount"))
    fee = amount_of(about["fee_amount"])[0] if about.get("fee_amount") else 0
    trace = safe_id(about.get("bank_reference_id"))
    began = about.get("transaction_initiation_date")
    status = STATUS_OF.get(str(about.get("transaction_status")), "in_transit")
    known = payouts.stated(
        at,
        status,
        amount=[at, gross, currency],
        trace_id=[at, trace] if trace else None,
        created_at=from_iso(began) if isinstance(began, str) else at,
    )
    id_ = event.subject.rpartition(BEGINNING)[2]
    kinds = {"fee": fee} if fee else {}
    sent = BalanceEntry(currency, -gross, fee, -gross - fee, None, kinds, id_)
    if about.get("transaction_status") != "D":
        return {**known, **balance_entry(id_, at, sent)}
    # denied: what was pending comes back whole
    back = BalanceEntry(currency, gross, -fee, gross + fee, None, dict.fromkeys(kinds, -fee), id_)
    return {**known, **balance_entry(id_, at, sent), **balance_entry(f"{id_} denied", at, back)}
