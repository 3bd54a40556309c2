"""Reading PayPal's resources: https://developer.paypal.com/docs/api/payments/v2/ and .../v1/"""

import re
from collections.abc import Mapping
from typing import Any

from chalicelib.events import Event, items, mapping, safe_id
from chalicelib.money import minor_units
from chalicelib.times import from_iso

NAME = "paypal"
Resource = Mapping[str, Any]  # as JSON has it

# What an event's type says of a capture or sale.
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

# The statuses of a capture whose money has come, whatever became of it since.
# https://developer.paypal.com/docs/api/payments/v2/#definition-capture_status
TOOK_MONEY = ("COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED", "REVERSED")

SUBSCRIPTION_TYPES = "BILLING.SUBSCRIPTION."  # how they begin

# Of a refund of a capture or sale. PayPal taking the money back itself is a reversal.
REFUNDS = {
    "PAYMENT.CAPTURE.REFUNDED": "succeeded",
    "PAYMENT.CAPTURE.REVERSED": "reversed",
    "PAYMENT.SALE.REFUNDED": "succeeded",
    "PAYMENT.SALE.REVERSED": "reversed",
    "PAYMENT.REFUND.PENDING": "pending",
    "PAYMENT.REFUND.FAILED": "failed",
}

# What a resource's own status says, where it is not what the event's type says.
# https://developer.paypal.com/docs/api/payments/v2/#definition-capture_status and following
NOT_YET = ("PENDING", "CREATED_PENDING")
NEVER = ("DECLINED", "DENIED", "FAILED", "CANCELLED", "CANCELED")
LET_GO = ("VOIDED", "EXPIRED")

DISPUTES = (
    "CUSTOMER.DISPUTE.CREATED",
    "CUSTOMER.DISPUTE.UPDATED",
    "CUSTOMER.DISPUTE.RESOLVED",
    "RISK.DISPUTE.CREATED",
)


def instant(value: object, otherwise: int) -> int:
    try:
        return from_iso(str(value))
    except (ValueError, OverflowError):
        return otherwise


def resource_of(event: Event) -> Resource:
    return mapping(event.payload.get("resource"))


def status_of(resource: Resource) -> str:
    """Of a v2 resource, or a v1 one."""
    return str(resource.get("status") or resource.get("state") or "").upper()


def says(type_: str, resource: Resource) -> str:
    """What an event of that type says has become of its capture, authorization or refund, by its own status.

    The status counts where it contradicts the type: COMPLETED of what is still PENDING proves nothing yet.
    """
    said = {**CAPTURES, **AUTHORIZATIONS, **REFUNDS}[type_]
    status = status_of(resource)
    if said in ("failed", "canceled"):
        return said
    if status in NEVER:
        return "failed"
    if type_ in AUTHORIZATIONS and status in LET_GO:
        return "canceled"
    if status in NOT_YET:
        return "pending" if type_ in REFUNDS else "processing"
    return said


def amount_of(value: object) -> tuple[int, str]:
    """Minor units and currency of v2's ``{value, currency_code}`` or v1's ``{total, currency}``.

    Refunds come as ``"-0.01"`` or ``"0.01"``: the event's type says which way the money goes.
    Raises ``ValueError``.
    """
    given = mapping(value)
    currency = given.get("currency_code") or given.get("currency")
    decimal = given.get("value") or given.get("total")
    if not isinstance(currency, str) or not isinstance(decimal, str):
        raise ValueError("no amount")
    return abs(minor_units(decimal, currency)), currency


def refunded_payment(refund: Resource) -> str | None:
    """The capture or sale that a refund or reversal is of."""
    named = refund.get("capture_id") or refund.get("sale_id")
    return safe_id(named) or linked(refund, "captures", "capture", "sale")


def linked(resource: Resource, *kinds: str) -> str | None:
    """The id at the end of the first link to one of those kinds, other than to the resource itself."""
    for link in items(resource.get("links")):
        found = re.search(r"/([a-z]+)/([A-Z0-9-]+)$", str(link.get("href")))
        if found and found[1] in kinds and link.get("rel") != "self":
            return safe_id(found[2])
    return None


def subscription_of(sale: Resource) -> str | None:
    """The subscription that a sale or capture is of."""
    return safe_id(sale.get("billing_agreement_id")) or linked(sale, "subscriptions")


def moves_money_unnamed(event: Event) -> bool:
    """Whether it is of a capture, sale, authorization or refund without an id, of which PayPal sends none."""
    is_of_money = event.type in (*CAPTURES, *AUTHORIZATIONS, *REFUNDS)
    return is_of_money and safe_id(resource_of(event).get("id")) is None


def named_dispute(dispute: Resource) -> str | None:
    """Its id: https://developer.paypal.com/docs/api/customer-disputes/v1/#definition-dispute"""
    return safe_id(dispute.get("dispute_id") or dispute.get("id"))


def disputed_transactions(dispute: Resource) -> dict[str, Resource]:
    """The captures or sales that a case is about, in its order, by their ids."""
    found: dict[str, Resource] = {}
    for each in items(dispute.get("disputed_transactions")):
        payment = safe_id(each.get("seller_transaction_id"))
        if payment:
            found.setdefault(payment, each)
    return found
