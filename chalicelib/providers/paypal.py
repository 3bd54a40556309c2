"""PayPal: signatures, subjects and facts.

Sources: https://developer.paypal.com/api/rest/webhooks/rest/, .../webhooks/event-names/,
https://developer.paypal.com/docs/api/customer-disputes/v1/
"""

import binascii
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from chalicelib.errors import InvalidSignature
from chalicelib.events import Delivery, Event, items, mapping, parse, required_id, safe_id
from chalicelib.money import minor_units
from chalicelib.payments import STATES, Facts, fact, fold, outcome_at
from chalicelib.providers.protocol import Proof, Trust, fingerprint
from chalicelib.times import from_iso

NAME = "paypal"
# Milliseconds. PayPal tries for three days; whether a retry carries a new time it does not say.
OLDEST = 73 * 3600 * 1000
FUTURE = 300_000

HEADERS = (
    "paypal-transmission-id",
    "paypal-transmission-time",
    "paypal-transmission-sig",
    "paypal-cert-url",
    "paypal-auth-algo",
)

# ── verify ──────────────────────────────────────────────────────────────────────────────────────────


def verify(delivery: Delivery, trust: Trust) -> Proof:
    """The webhook id and the transmission's id, if PayPal signed this body for one of our webhook ids.

    What is signed is the body's CRC32, which another body can be given too: so a transmission's id must be
    held to one body. Offline with the certificate that the delivery names, or by asking PayPal where
    ``trust`` has a postback.
    """
    webhook_ids = trust.required("paypal_webhook_ids")
    sent = {name: delivery.headers.get(name, "") for name in HEADERS}
    _check_headers(sent, delivery.received_at)
    if trust.postback is not None:
        for each in webhook_ids:
            if trust.postback.confirms(sent, delivery.body, each):
                return Proof(fingerprint(each), sent["paypal-transmission-id"])
        raise InvalidSignature("PayPal does not know this transmission", reason="postback")
    signature = _signature(sent["paypal-transmission-sig"])
    key = trust.certificates.key(sent["paypal-cert-url"])
    for each in webhook_ids:
        if key.signed(signature, _signed_text(sent, each, delivery.body)):
            return Proof(fingerprint(each), sent["paypal-transmission-id"])
    raise InvalidSignature("no signature matches", reason="signature")


def _check_headers(sent: Mapping[str, str], now: int) -> None:
    missing = [name for name, value in sent.items() if not value]
    if missing:
        raise InvalidSignature(f"no {missing[0]} header", reason="missing")
    well_formed = all(value.isascii() and value.isprintable() for value in sent.values())
    if not well_formed or not safe_id(sent["paypal-transmission-id"]):
        raise InvalidSignature("malformed header", reason="malformed")
    if sent["paypal-auth-algo"] != "SHA256withRSA":
        raise InvalidSignature("unknown signature algorithm", reason="algorithm")
    try:
        age = now - from_iso(sent["paypal-transmission-time"])
    except (ValueError, OverflowError):
        raise InvalidSignature("malformed paypal-transmission-time", reason="malformed") from None
    if not -FUTURE <= age <= OLDEST:
        raise InvalidSignature("the transmission time is too far from now", reason="timestamp")


def _signature(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InvalidSignature("malformed paypal-transmission-sig", reason="malformed") from None


def _signed_text(sent: Mapping[str, str], webhook_id: str, body: bytes) -> bytes:
    parts = (
        sent["paypal-transmission-id"],
        sent["paypal-transmission-time"],
        webhook_id,
        str(zlib.crc32(body)),
    )
    return "|".join(parts).encode()


# ── event and subject ───────────────────────────────────────────────────────────────────────────────


def event(body: bytes, received_at: int) -> Event:
    """PayPal's one event shape, for its v1 and v2 resources alike."""
    payload = parse(body)
    event_id = required_id(payload.get("id"))
    type_ = safe_id(payload.get("event_type")) or "unknown"
    resource = mapping(payload.get("resource"))
    return Event(
        provider=NAME,
        id=event_id,
        type=type_,
        subject=f"{NAME}:{subject(type_, resource) or event_id}",
        created_at=_instant(payload.get("create_time"), received_at),
        received_at=received_at,
        livemode=_livemode(payload),
        account=None,
        api_version=safe_id(payload.get("resource_version")),
        payload=payload,
        about=payload.get("resource"),
        customer=_payer(resource),
    )


def _payer(resource: Mapping[str, Any]) -> str | None:
    """Who pays for an order, a v1 payment or a subscription; captures do not say it."""
    payer = mapping(resource.get("payer") or resource.get("subscriber"))
    return safe_id(payer.get("payer_id") or mapping(payer.get("payer_info")).get("payer_id"))


def subject(type_: str, resource: Mapping[str, Any]) -> str | None:
    """The capture or sale that a refund, reversal or dispute names; for all else the resource itself."""
    if type_ in REFUNDS:
        return _refunded_payment(resource) or safe_id(resource.get("id"))
    if type_ in DISPUTES:
        return _disputed_payment(resource) or safe_id(resource.get("dispute_id"))
    return safe_id(resource.get("id")) or safe_id(resource.get("dispute_id"))


def _refunded_payment(refund: Mapping[str, Any]) -> str | None:
    named = refund.get("capture_id") or refund.get("sale_id")
    return safe_id(named) or _linked(refund, "captures", "capture", "sale")


def _disputed_payment(dispute: Mapping[str, Any]) -> str | None:
    transactions = items(dispute.get("disputed_transactions"))
    return next(filter(None, (safe_id(t.get("seller_transaction_id")) for t in transactions)), None)


def _linked(resource: Mapping[str, Any], *kinds: str) -> str | None:
    """The id at the end of the first link to one of those kinds, other than to the resource itself."""
    for link in items(resource.get("links")):
        found = re.search(r"/([a-z]+)/([A-Z0-9-]+)$", str(link.get("href")))
        if found and found[1] in kinds and link.get("rel") != "self":
            return safe_id(found[2])
    return None


def _livemode(payload: Mapping[str, Any]) -> bool | None:
    """An event does not say which mode it is of, but its own links lead to that mode's host."""
    for link in items(payload.get("links")):
        host = str(link.get("href")).removeprefix("https://").partition("/")[0]
        if host in ("api.paypal.com", "api-m.paypal.com"):
            return True
        if host in ("api.sandbox.paypal.com", "api-m.sandbox.paypal.com"):
            return False
    return None


def _instant(value: object, otherwise: int) -> int:
    try:
        return from_iso(str(value))
    except (ValueError, OverflowError):
        return otherwise


# ── confirm ─────────────────────────────────────────────────────────────────────────────────────────

# Where PayPal shows the resource of an event that moves money: by the word in its type, and what it is.
RESOURCES = {
    ("CAPTURE", "capture"): "/v2/payments/captures/",
    ("CAPTURE", "refund"): "/v2/payments/refunds/",
    ("REFUND", "refund"): "/v2/payments/refunds/",
    ("SALE", "sale"): "/v1/payments/sale/",
    ("SALE", "refund"): "/v1/payments/refund/",
    ("AUTHORIZATION", "authorization"): "/v2/payments/authorizations/",
}
TOOK_MONEY = ("COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED", "REVERSED")
LIVES = ("CREATED", "AUTHORIZED", "CAPTURED", "COMPLETED")  # an authorization that was not voided, or not yet


def path_to_confirm(event: Event) -> str | None:
    """Where the resource of an event that moves money is in PayPal's API; ``None`` for all other events.

    What a reversal's id leads to PayPal does not document, so that a missing one would prove nothing.
    """
    words = event.type.split(".")
    if len(words) != 3 or words[0] != "PAYMENT" or REFUNDS.get(event.type) == "reversed":
        return None
    resource_id = safe_id(mapping(event.payload.get("resource")).get("id"))
    is_refund = event.type in REFUNDS
    folder = RESOURCES.get((words[1], "refund" if is_refund else words[1].lower()))
    # one of PayPal's has letters, digits and hyphens; of any other PayPal is asked too, and shows nothing
    return folder + quote(resource_id, safe="") if folder and resource_id else None


def contradicts(event: Event, shown: Mapping[str, Any]) -> bool:
    """Whether what PayPal shows is another resource, amount or payment, or in a state that it cannot have."""
    told = mapping(event.payload.get("resource"))
    try:
        same_amount = _amount(told.get("amount")) == _amount(shown.get("amount"))
    except ValueError:
        same_amount = False
    payment = _refunded_payment(shown) if event.type in REFUNDS else None
    elsewhere = payment is not None and f"{NAME}:{payment}" != event.subject
    return (
        told.get("id") != shown.get("id")
        or not same_amount
        or elsewhere
        or _is_ruled_out(event, _status(shown))
    )


def _is_ruled_out(event: Event, status: str) -> bool:
    """Whether the status that PayPal shows rules out what the event says of its resource."""
    said = {**CAPTURES, **REFUNDS}.get(event.type)
    return status not in TOOK_MONEY if said == "captured" else said == "failed" and status in TOOK_MONEY


def is_not_shown_yet(event: Event, shown: Mapping[str, Any]) -> bool:
    """Whether PayPal's API may be behind its event, or the event forged: asked again, it tells."""
    return AUTHORIZATIONS.get(event.type) == "canceled" and _status(shown) in LIVES


def _status(shown: Mapping[str, Any]) -> str:
    """Of a v2 resource, or a v1 one."""
    return str(shown.get("status") or shown.get("state")).upper()


# ── facts ───────────────────────────────────────────────────────────────────────────────────────────

Resource = Mapping[str, Any]

# A capture or sale: what its event says of it.
CAPTURES = {
    "PAYMENT.CAPTURE.COMPLETED": "captured",
    "PAYMENT.CAPTURE.PENDING": "processing",
    "PAYMENT.CAPTURE.DENIED": "failed",
    "PAYMENT.CAPTURE.DECLINED": "failed",
    "PAYMENT.SALE.COMPLETED": "captured",
    "PAYMENT.SALE.PENDING": "processing",
    "PAYMENT.SALE.DENIED": "failed",
}

AUTHORIZATIONS = {
    "PAYMENT.AUTHORIZATION.CREATED": "authorized",
    "PAYMENT.AUTHORIZATION.VOIDED": "canceled",
}

# A refund of a capture or sale. PayPal taking the money back itself is a reversal.
REFUNDS = {
    "PAYMENT.CAPTURE.REFUNDED": "succeeded",
    "PAYMENT.CAPTURE.REVERSED": "reversed",
    "PAYMENT.SALE.REFUNDED": "succeeded",
    "PAYMENT.SALE.REVERSED": "reversed",
    "PAYMENT.REFUND.PENDING": "pending",
    "PAYMENT.REFUND.FAILED": "failed",
}

DISPUTES = (
    "CUSTOMER.DISPUTE.CREATED",
    "CUSTOMER.DISPUTE.UPDATED",
    "CUSTOMER.DISPUTE.RESOLVED",
    "RISK.DISPUTE.CREATED",
)

# dispute_outcome.outcome_code: who keeps the money
OUTCOME_OF = {
    "RESOLVED_BUYER_FAVOUR": "lost",
    "ACCEPTED": "lost",
    "RESOLVED_SELLER_FAVOUR": "won",
    "RESOLVED_WITH_PAYOUT": "won",
    "CANCELED_BY_BUYER": "won",
    "DENIED": "won",
    "NONE": "closed",
}


def facts(event: Event) -> Facts:
    """What an event proves of its capture, sale or authorization. Orders and all else move no money."""
    resource = mapping(event.payload.get("resource"))
    for types, read in READERS:
        if event.type in types:
            return fold([_common(event), *read(event, resource)])
    return {}


def _common(event: Event) -> Facts:
    return fact(
        "payment",
        created_at=event.created_at,
        updated_at=event.created_at,
        livemode=event.livemode,
    )


def _of_capture(event: Event, capture: Resource) -> Iterator[Facts]:
    amount, currency = _amount(capture.get("amount"))
    says = CAPTURES[event.type]
    at = event.created_at
    captured = says == "captured"
    yield fact(
        "payment",
        amount=[at, amount],
        authorized=amount if captured else None,
        captured=amount if captured else None,
        captured_at=at if captured else None,
        failed_at=at if says == "failed" else None,
        state=None if captured else [at, STATES.index(says)],
        currency=[currency],
        related=_related(capture),
    )


def _of_authorization(event: Event, authorization: Resource) -> Iterator[Facts]:
    amount, currency = _amount(authorization.get("amount"))
    says = AUTHORIZATIONS[event.type]
    at = event.created_at
    yield fact(
        "payment",
        amount=[at, amount],
        authorized=amount,
        authorized_at=at if says == "authorized" else None,
        canceled_at=at if says == "canceled" else None,
        state=[at, STATES.index(says)],
        currency=[currency],
        related=_related(authorization),
    )


def _of_refund(event: Event, refund: Resource) -> Iterator[Facts]:
    amount, currency = _amount(refund.get("amount"))
    refund_id = required_id(refund.get("id"))
    says = REFUNDS[event.type]
    at = event.created_at
    yield fact(
        f"refund {refund_id}",
        amount=[at, amount],
        currency=[currency],
        succeeded_at=at if says in ("succeeded", "reversed") else None,
        failed_at=at if says == "failed" else None,
        reversal=1 if says == "reversed" else None,
    )
    yield fact("payment", related=[f"refund {refund_id}"])


def _of_dispute(event: Event, dispute: Resource) -> Iterator[Facts]:
    dispute_id = required_id(dispute.get("dispute_id") or dispute.get("id"))
    resolution = mapping(dispute.get("dispute_outcome"))
    resolved = dispute.get("status") == "RESOLVED" or event.type == "CUSTOMER.DISPUTE.RESOLVED"
    outcome = OUTCOME_OF.get(str(resolution.get("outcome_code")), "closed") if resolved else None
    lost = resolution.get("amount_refunded") if outcome == "lost" else None
    amount, currency = _amount(lost or dispute.get("dispute_amount"))
    at = event.created_at
    yield fact(
        f"dispute {dispute_id}",
        amount=[at, amount],
        currency=[currency],
        opened_at=min(at, _instant(dispute.get("create_time"), at)),
        outcome=outcome_at(at, outcome),
        settled_by_refund=[at, True],
        won_at=at if outcome == "won" else None,
        lost_at=at if outcome == "lost" else None,
    )
    yield fact("payment", related=[f"dispute {dispute_id}"])


READERS: tuple[tuple[Any, Callable[[Event, Resource], Iterator[Facts]]], ...] = (
    (CAPTURES, _of_capture),
    (AUTHORIZATIONS, _of_authorization),
    (REFUNDS, _of_refund),
    (DISPUTES, _of_dispute),
)


def _amount(value: object) -> tuple[int, str]:
    """Minor units and currency of v2's ``{value, currency_code}`` or v1's ``{total, currency}``.

    Refunds come as ``"-0.01"`` or ``"0.01"``: the event's type says which way the money goes.
    """
    given = mapping(value)
    currency = given.get("currency_code") or given.get("currency")
    decimal = given.get("value") or given.get("total")
    if not isinstance(currency, str) or not isinstance(decimal, str):
        raise ValueError("no amount")
    return abs(minor_units(decimal, currency)), currency


def _related(resource: Resource) -> list[str]:
    ids = mapping(mapping(resource.get("supplementary_data")).get("related_ids"))
    named = {
        "order": ids.get("order_id") or _linked(resource, "orders"),
        "authorization": ids.get("authorization_id") or _linked(resource, "authorizations"),
        "payment": resource.get("parent_payment"),
        "subscription": resource.get("billing_agreement_id"),
    }
    return [f"{kind} {object_id}" for kind, value in named.items() if (object_id := safe_id(value))]
