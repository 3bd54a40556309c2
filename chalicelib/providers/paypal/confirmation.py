"""What PayPal's API must show of an event that moves money, and what it may show only late.

A webhook's signature covers its body's CRC32 alone, so that money is confirmed with PayPal where there are
API credentials. https://developer.paypal.com/docs/api/payments/v2/
"""

from urllib.parse import quote

from chalicelib.events import Event, safe_id
from chalicelib.providers.paypal.objects import (
    AUTHORIZATIONS,
    CAPTURES,
    REFUNDS,
    TOOK_MONEY,
    Resource,
    amount_of,
    refunded_payment,
    resource_of,
    status_of,
)

# Where PayPal shows the resource of an event that moves money: by the word in its type, and what it is.
RESOURCES = {
    ("CAPTURE", "capture"): "/v2/payments/captures/",
    ("CAPTURE", "refund"): "/v2/payments/refunds/",
    ("REFUND", "refund"): "/v2/payments/refunds/",
    ("SALE", "sale"): "/v1/payments/sale/",
    ("SALE", "refund"): "/v1/payments/refund/",
    ("AUTHORIZATION", "authorization"): "/v2/payments/authorizations/",
}

# What the API shows rules an event out by what the event says; or may only be behind it, or have gone on
# since (a capture is PENDING again while a buyer complains): asked again later, it shows. All else agrees.
RULED_OUT = {
    "captured": ("DECLINED", "DENIED", "FAILED", "VOIDED"),
    "failed": TOOK_MONEY,
}
MAY_BE_LATE = {
    "captured": ("PENDING", "CREATED", "AUTHORIZED", ""),
    "canceled": ("CREATED", "AUTHORIZED", "CAPTURED", "COMPLETED"),
}


def path_to_confirm(event: Event) -> str | None:
    """Where the resource of an event that moves money is in PayPal's API; ``None`` for all other events.

    What a reversal's id leads to PayPal does not document, so that a missing one would prove nothing.
    """
    words = event.type.split(".")
    if len(words) != 3 or words[0] != "PAYMENT" or REFUNDS.get(event.type) == "reversed":
        return None
    resource_id = safe_id(resource_of(event).get("id"))
    is_refund = event.type in REFUNDS
    folder = RESOURCES.get((words[1], "refund" if is_refund else words[1].lower()))
    # one of PayPal's has letters, digits and hyphens; of any other PayPal is asked too, and shows nothing
    return folder + quote(resource_id, safe="") if folder and resource_id else None


def contradicts(event: Event, shown: Resource) -> bool:
    """Whether what PayPal shows is another resource, amount or payment, or in a state that it cannot have."""
    said = resource_of(event)
    try:
        is_same_amount = amount_of(said.get("amount")) == amount_of(shown.get("amount"))
    except ValueError:
        is_same_amount = False
    payment = refunded_payment(shown) if event.type in REFUNDS else None
    is_elsewhere = payment is not None and refunded_payment(said) not in (None, payment)
    is_ruled_out = status_of(shown) in RULED_OUT.get(_said(event), ())
    return said.get("id") != shown.get("id") or not is_same_amount or is_elsewhere or is_ruled_out


def may_be_late(event: Event, shown: Resource) -> bool:
    """Whether PayPal's API may be behind its event, or the event forged: asked again, it shows."""
    return status_of(shown) in MAY_BE_LATE.get(_said(event), ())


def names_payment(event: Event, shown: Resource) -> str | None:
    """The payment of a refund that does not name it itself, as PayPal shows it."""
    if event.type not in REFUNDS or refunded_payment(resource_of(event)):
        return None
    return refunded_payment(shown)


def _said(event: Event) -> str:
    return {**CAPTURES, **REFUNDS, **AUTHORIZATIONS}.get(event.type, "")
