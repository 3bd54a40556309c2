"""What PayPal's API has of a time, as events of our own making: for what no webhook told.

Transaction Search lists what moved; each payment, refund and reversal in it is then asked about by its id, as
it is where a webhook is confirmed, and so are the subscriptions that they are of. What an application may not
see, or what is older than those APIs, is as the listing has it. A payment is dated by its own creation.
https://developer.paypal.com/docs/api/transaction-search/v1/
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from chalicelib.errors import NotAllowed, NotUnderstood, Unavailable
from chalicelib.events import IMPORTED, items, mapping, safe_id
from chalicelib.kinds import SUBSCRIPTIONS as SUBSCRIPTIONS_BEGIN
from chalicelib.providers.paypal import transactions
from chalicelib.providers.paypal.comparison import SAYS
from chalicelib.providers.paypal.confirmation import FOLDERS, SUBSCRIPTIONS
from chalicelib.providers.paypal.objects import (
    NAME,
    Resource,
    named_dispute,
    refunded_payment,
    status_of,
    subscription_of,
)
from chalicelib.providers.paypal.transactions import Get
from chalicelib.providers.protocol import Expected, Page
from chalicelib.times import DAY, HOUR, to_iso

TRANSACTIONS, DISPUTES = KINDS = ("transactions", "disputes")
PAGE = 20  # each of them is asked about
LISTED_DISPUTES = "/v1/customer/disputes"
DISPUTES_BACK = 180 * DAY - HOUR  # as far as disputes are listed
# A payment that was received for something. Not what is paid out, given away or taken back by others.
# https://developer.paypal.com/docs/transaction-search/transaction-event-codes/
PAYMENTS = tuple(f"T00{number:02}" for number in (0, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 18, 19))
REFUND, REVERSAL, CHARGEBACK = "T1107", "T1106", "T1201"
# transaction_status. Of one that was given back since (V) that is a transaction of its own.
STATUS_OF = {"S": "COMPLETED", "V": "COMPLETED", "P": "PENDING", "D": "DECLINED"}
REMEMBERED = 1000  # subscriptions that were asked about


class Shown(NamedTuple):
    """A resource, and the word in its events' types: ``CAPTURE``, or ``SALE`` of version 1."""

    word: str
    resource: Resource


class History:
    """Of the account that ``get`` asks at ``address``."""

    def __init__(self, get: Get, address: str, clock: Callable[[], int]) -> None:
        self._get, self._address, self._clock = get, address, clock
        self._kept: dict[str, Resource] = {}  # of the page that is being read, by path
        self._telling: list[str] = []  # its subscriptions
        self._told: deque[str] = deque(maxlen=REMEMBERED)  # of the pages before

    def page(self, kind: str, since: int, until: int, cursor: str | None) -> Page:
        """What was shown already is not asked again where a page fails in its midst.

        Raises ``Throttled``, ``Unavailable``.
        """
        self._telling = []
        found = self._page(kind, since, until, cursor)
        self._told.extend(dict.fromkeys(self._telling))
        self._kept.clear()
        return found

    def _page(self, kind: str, since: int, until: int, cursor: str | None) -> Page:
        if kind == DISPUTES:
            return self._disputes(since, until, cursor)
        begins = max(since, self._clock() - transactions.BACK + DAY)
        listed = transactions.listed(self._get, begins, until, cursor, PAGE)
        return Page([body for each in listed.found for body in self._bodies(each)], listed.next)

    def expected(self, kind: str, since: int, until: int) -> Expected:
        """Of disputes only that there may be some: PayPal does not count them."""
        if kind == DISPUTES:
            return Expected(0, False, 1, max(since, self._clock() - DISPUTES_BACK))
        begins = max(since, self._clock() - transactions.BACK + DAY)
        total, cursor = 0, None
        while True:
            window = transactions.listed(self._get, begins, until, cursor, 1, is_paged=False)
            total, cursor = total + window.total, window.next
            if cursor is None:
                return Expected(total, True, total + -(-total // PAGE), begins)

    def _bodies(self, about: Resource) -> Iterator[bytes]:
        """Of one transaction: what it is, and the subscription that it is of, once."""
        id_, code = safe_id(about.get("transaction_id")), str(about.get("transaction_event_code"))
        amount = str(mapping(about.get("transaction_amount")).get("value") or "")
        is_out = amount.startswith("-")
        if id_ is None or not amount:
            return
        if code in PAYMENTS and not is_out:
            yield from self._payment(id_, about)
        elif code in (REFUND, REVERSAL, CHARGEBACK) and is_out:
            shown = self._shown(id_, "refund") or Shown("CAPTURE", _as_refund(id_, about))
            resource = shown.resource
            if refunded_payment(resource) is None:
                resource = {**resource, "capture_id": about.get("paypal_reference_id")}
            came = "REFUNDED" if code == REFUND else "REVERSED"
            yield self._event(id_, f"PAYMENT.{shown.word}.{came}", resource)

    def _payment(self, id_: str, about: Resource) -> Iterator[bytes]:
        shown = self._shown(id_, "capture") or Shown("CAPTURE", _as_capture(id_, about))
        type_ = SAYS.get(status_of(shown.resource))
        if type_:
            yield self._event(id_, type_.replace("CAPTURE", shown.word), shown.resource)
        subscription = subscription_of(shown.resource)
        if subscription and subscription.startswith(SUBSCRIPTIONS_BEGIN[NAME]):
            yield from self._subscription(subscription)

    def _subscription(self, id_: str) -> Iterator[bytes]:
        """As it is now, once; of one that is older than PayPal's subscriptions there is nothing."""
        if id_ in self._told:
            return
        shown = self._at(f"{SUBSCRIPTIONS}{quote(id_, safe='')}?fields=plan")
        self._telling.append(id_)
        if shown:
            now = to_iso(self._clock())
            yield self._event(id_, "BILLING.SUBSCRIPTION.UPDATED", shown, now)

    def _shown(self, id_: str, kind: str) -> Shown | None:
        for word in ("CAPTURE", "SALE"):
            resource = self._at(FOLDERS[word, kind] + quote(id_, safe=""))
            if resource and resource.get("id") == id_:
                return Shown(word, resource)
        return None

    def _at(self, path: str) -> Resource:
        """What is there; nothing where this application may not see it."""
        if path not in self._kept:
            try:
                self._kept[path] = self._get(path)
            except (NotAllowed, NotUnderstood):
                self._kept[path] = {}
        return self._kept[path]

    def _disputes(self, since: int, until: int, cursor: str | None) -> Page:
        """Those that last changed in that time. None where this application may not read them."""
        now = self._clock()
        begins = max(since, now - DISPUTES_BACK)
        if begins >= until:
            return Page([], None)
        asked = {"page_size": PAGE, "update_time_after": to_iso(begins), "update_time_before": to_iso(until)}
        try:
            answer = self._get(cursor or f"{LISTED_DISPUTES}?{urlencode(asked)}")
        except NotAllowed:
            return Page([], None)
        if not isinstance(answer.get("items", []), list):
            raise Unavailable("PayPal lists no disputes", reason="paypal_api")
        links = [str(link.get("href")) for link in items(answer.get("links")) if link.get("rel") == "next"]
        following = urlsplit(links[0]) if links else None
        if following and following.path != LISTED_DISPUTES:
            raise Unavailable("PayPal's listing leads elsewhere", reason="paypal_api")
        bodies = [body for each in items(answer.get("items")) for body in self._dispute(each)]
        return Page(bodies, f"{LISTED_DISPUTES}?{following.query}" if following else None)

    def _dispute(self, summary: Resource) -> Iterator[bytes]:
        id_ = named_dispute(summary)
        shown = self._at(FOLDERS["DISPUTE", "dispute"] + quote(id_, safe="")) if id_ else {}
        if id_ and named_dispute(shown) == id_:
            came = "RESOLVED" if status_of(shown) == "RESOLVED" else "UPDATED"
            yield self._event(id_, f"CUSTOMER.DISPUTE.{came}", shown, shown.get("update_time"))

    def _event(self, id_: str, type_: str, resource: Resource, at: object = None) -> bytes:
        """Whenever it is listed, the same one; PayPal says which mode it is of by where it was asked."""
        own = {"id": f"{IMPORTED}{id_}", "event_type": type_, "resource_version": "2.0"}
        dated = {"create_time": at or resource.get("create_time")}
        return json.dumps({**own, **dated, "resource": resource, "links": [{"href": self._address}]}).encode()


def _as_capture(id_: str, about: Resource) -> Resource:
    """A payment that PayPal's other APIs do not show, in the shape of a capture."""
    kind, reference = about.get("paypal_reference_id_type"), about.get("paypal_reference_id")
    made = {
        **_as_listed(id_, about),
        "custom_id": about.get("custom_field"),
        "invoice_id": about.get("invoice_id"),
        "billing_agreement_id": reference if kind == "SUB" else None,
        "supplementary_data": {"related_ids": {"order_id": reference}} if kind == "ODR" else None,
        "transaction_fee": _fee(about),
    }
    return {name: value for name, value in made.items() if value is not None}


def _as_refund(id_: str, about: Resource) -> Resource:
    """A refund or reversal, alike."""
    return {**_as_listed(id_, about), "refund_from_transaction_fee": _fee(about)}


def _fee(about: Resource) -> object:
    """None is listed where there was none."""
    return about.get("fee_amount") or {**mapping(about.get("transaction_amount")), "value": "0"}


def _as_listed(id_: str, about: Resource) -> dict[str, object]:
    return {
        "id": id_,
        "amount": about.get("transaction_amount"),
        "status": STATUS_OF.get(str(about.get("transaction_status")), ""),
        "create_time": about.get("transaction_initiation_date"),
    }
