"""What PayPal's API has of a time, as events of our own making: for what no webhook told.

Transaction Search lists what moved; each payment, refund and reversal in it is then asked about by its id, as
it is where a webhook is confirmed, and so are the subscriptions that they are of. What an application may not
see, or what is older than those APIs, is as the listing has it. A payment is dated by its own creation.
https://developer.paypal.com/docs/api/transaction-search/v1/
"""

import hashlib
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
    instant,
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
LISTED = "transaction_details"
LISTED_DISPUTES = "/v1/customer/disputes"
ORDERS = "/v2/checkout/orders/"
DISPUTES_BACK = 180 * DAY - HOUR  # as far as disputes are listed
# A payment that was received for something. Not what is paid out, given away or taken back by others.
# https://developer.paypal.com/docs/transaction-search/transaction-event-codes/
PAYMENTS = tuple(f"T00{number:02}" for number in (0, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 18, 19))
REFUND, REVERSAL, CHARGEBACK = "T1107", "T1106", "T1201"
# Of money that a reversal or chargeback had taken, and that came back: the seller has won.
CAME_BACK = (REVERSAL, CHARGEBACK, "T1202", "T1205", "T1208")
# transaction_status. Of one that was given back since, whole (V) or in part (F), that is a transaction of its
# own.
STATUS_OF = {"S": "COMPLETED", "V": "COMPLETED", "F": "COMPLETED", "P": "PENDING", "D": "DECLINED"}
# What came to be so by its last change: of a payment that was refunded since, that was the refund.
LAST_CHANGE = ("COMPLETED", "PENDING", "DECLINED")
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
        return Page([body for each in listed.found for body in self._bodies(each, until)], listed.next)

    def expected(self, kind: str, since: int, until: int) -> Expected:
        """Of disputes only that there may be some: PayPal does not count them.

        What was answered already is not asked again where one of its questions fails.
        """
        if kind == DISPUTES:
            return Expected(0, False, 1, max(since, self._clock() - DISPUTES_BACK))
        begins = max(since, (self._clock() - transactions.BACK + DAY) // DAY * DAY)
        total, cursor = 0, None
        while True:
            window = transactions.listed(self._remembered, begins, until, cursor, 1, is_paged=False)
            total, cursor = total + window.total, window.next
            if cursor is None:
                self._kept.clear()
                return Expected(total, True, total + -(-total // PAGE), begins)

    def _bodies(self, about: Resource, until: int) -> Iterator[bytes]:
        """Of one transaction: what it is, and the subscription that it is of, once.

        What came to be so after ``until`` is left to its webhooks: handlers are to be notified of it.
        """
        id_, code = safe_id(about.get("transaction_id")), str(about.get("transaction_event_code"))
        amount = str(mapping(about.get("transaction_amount")).get("value") or "")
        is_out = amount.startswith("-")
        if id_ is None or not amount:
            return
        if code in PAYMENTS and not is_out:
            yield from self._payment(id_, about, until)
        elif code in (REFUND, REVERSAL, CHARGEBACK) and is_out:
            yield from self._refund(id_, "REFUNDED" if code == REFUND else "REVERSED", about)
        elif code in CAME_BACK and not is_out:
            yield from self._returned(id_, about)

    def _payment(self, id_: str, about: Resource, until: int) -> Iterator[bytes]:
        shown = self._shown(id_, "capture") or Shown("CAPTURE", _as_capture(id_, about))
        agreed = {"billing_agreement_id": _reference(about, "SUB")} if _reference(about, "SUB") else {}
        resource = {**agreed, **shown.resource}
        type_ = SAYS.get(status_of(resource))
        if type_ and not (status_of(resource) in LAST_CHANGE and _changed(resource) >= until):
            yield self._event(id_, type_.replace("CAPTURE", shown.word), resource)
        subscription = subscription_of(resource)
        if subscription and subscription.startswith(SUBSCRIPTIONS_BEGIN[NAME]):
            yield from self._subscription(subscription, until)

    def _refund(self, id_: str, came: str, about: Resource) -> Iterator[bytes]:
        """Of what nothing says what it is of, nothing can be said."""
        shown = self._shown(id_, "refund") or Shown("CAPTURE", _as_refund(id_, about))
        payment = refunded_payment(shown.resource) or self._refunded(about)
        if payment:
            resource = {**shown.resource, "capture_id": payment}
            yield self._event(id_, f"PAYMENT.{shown.word}.{came}", resource)

    def _refunded(self, about: Resource) -> str | None:
        """The payment that a transaction refers to, by its id or by its order's."""
        order = _reference(about, "ODR")
        if order is None:
            return _reference(about, "TXN")
        units = items(self._at(ORDERS + quote(order, safe="")).get("purchase_units"))
        captures = [one for unit in units for one in items(mapping(unit.get("payments")).get("captures"))]
        return safe_id(captures[0].get("id")) if len(captures) == 1 else None

    def _returned(self, id_: str, about: Resource) -> Iterator[bytes]:
        """As a case that was won, from half a year before: what was taken for it is not lost.

        Cases themselves are not listed for longer. What it refers to is the payment, or what was taken.
        """
        named = _reference(about, "TXN")
        if named is None:
            return
        taken = self._shown(named, "refund")
        payment = refunded_payment(taken.resource) if taken else named
        if payment is None or not (taken or self._shown(named, "capture")):
            return
        at = instant(about.get("transaction_initiation_date"), 0)
        case = {
            "dispute_id": f"returned-{id_}",
            "create_time": to_iso(max(0, at - DISPUTES_BACK)),
            "update_time": to_iso(at),
            "status": "RESOLVED",
            "dispute_amount": about.get("transaction_amount"),
            "disputed_transactions": [{"seller_transaction_id": payment}],
            "dispute_outcome": {"outcome_code": "RESOLVED_SELLER_FAVOUR"},
        }
        yield self._event(id_, "CUSTOMER.DISPUTE.RESOLVED", case, to_iso(at))

    def _subscription(self, id_: str, until: int) -> Iterator[bytes]:
        """As it is now, once; of one that is older than PayPal's subscriptions there is nothing."""
        if id_ in self._told:
            return
        shown = self._at(f"{SUBSCRIPTIONS}{quote(id_, safe='')}?fields=plan")
        self._telling.append(id_)
        if shown and instant(shown.get("status_update_time"), 0) < until:
            now = to_iso(self._clock())
            # it may have changed since it was listed before: that is another event
            of = f"{id_}-{hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]}"
            yield self._event(of, "BILLING.SUBSCRIPTION.UPDATED", shown, now)

    def _shown(self, id_: str, kind: str) -> Shown | None:
        for word in ("CAPTURE", "SALE"):
            resource = self._at(FOLDERS[word, kind] + quote(id_, safe=""))
            if resource and resource.get("id") == id_:
                return Shown(word, resource)
        return None

    def _at(self, path: str) -> Resource:
        """What is there; nothing where this application may not see it."""
        try:
            return self._remembered(path)
        except (NotAllowed, NotUnderstood):
            return {}

    def _remembered(self, path: str) -> Resource:
        """An error, or an answer that is no object, is not: it is asked for again."""
        if path not in self._kept:
            answer = self._get(path)
            if not {"id", "dispute_id"} & answer.keys() and not isinstance(answer.get(LISTED), list):
                return answer
            self._kept[path] = answer
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


def _reference(about: Resource, kind: str) -> str | None:
    """What a transaction refers to, if that is of this kind."""
    named = safe_id(about.get("paypal_reference_id"))
    return named if about.get("paypal_reference_id_type", "TXN") == kind else None


def _changed(resource: Resource) -> int:
    """When it last changed; of what is not said, long ago."""
    return instant(resource.get("update_time"), 0)


def _fee(about: Resource) -> object:
    """None is listed where there was none."""
    return about.get("fee_amount") or {**mapping(about.get("transaction_amount")), "value": "0"}


def _as_listed(id_: str, about: Resource) -> dict[str, object]:
    return {
        "id": id_,
        "amount": about.get("transaction_amount"),
        "status": STATUS_OF.get(str(about.get("transaction_status")), ""),
        "create_time": about.get("transaction_initiation_date"),
        "update_time": about.get("transaction_updated_date"),
    }
