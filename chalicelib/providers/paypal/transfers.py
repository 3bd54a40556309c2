"""PayPal's transfers to the bank, which no webhook tells of: by its Transaction Search.

https://developer.paypal.com/docs/api/transaction-search/v1/
"""

import json
from collections.abc import Iterator

from chalicelib import payouts
from chalicelib.events import OWN, Event, mapping, safe_id
from chalicelib.payments import BalanceEntry, Facts, balance_entry
from chalicelib.providers.paypal import transactions
from chalicelib.providers.paypal.objects import Resource, amount_of
from chalicelib.providers.paypal.transactions import Get
from chalicelib.providers.protocol import Page
from chalicelib.times import from_iso

TRANSFER = f"{OWN}transfer"  # the type of our own events, of what is listed there
BEGINNING = "transfer-"  # of a transfer's subject: its id alone looks like a capture's
# To the bank: asked for, and by itself. https://developer.paypal.com/docs/transaction-search/transaction-event-codes/
CODES = ("T0400", "T0401", "T0402", "T0403")
STATUS_OF = {"P": "in_transit", "S": "paid", "D": "failed", "V": "failed"}
PAGE = 500


def page(get: Get, since: int, until: int, cursor: str | None) -> Page:
    """Transfers of that time, as bodies of events of our own making: one for each status that each is in."""
    listed = transactions.listed(get, since, until, cursor, PAGE, CODES)
    return Page([body for each in listed.found for body in _bodies(each)], listed.next)


def _bodies(about: Resource) -> Iterator[bytes]:
    """None of one without an id."""
    id_, status = safe_id(about.get("transaction_id")), str(about.get("transaction_status"))
    if id_ is not None:
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
        account=[event.via] if event.via else None,
    )
    id_ = event.subject.rpartition(BEGINNING)[2]
    kinds = {"fee": fee} if fee else {}
    sent = BalanceEntry(currency, -gross, fee, -gross - fee, None, kinds, id_)
    if about.get("transaction_status") != "D":
        return {**known, **balance_entry(id_, at, sent)}
    # denied: what was pending comes back whole
    back = BalanceEntry(currency, gross, -fee, gross + fee, None, dict.fromkeys(kinds, -fee), id_)
    return {**known, **balance_entry(id_, at, sent), **balance_entry(f"{id_} denied", at, back)}
