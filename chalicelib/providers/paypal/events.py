"""PayPal's one event shape, and the payment that an event is about.

https://developer.paypal.com/api/rest/webhooks/event-names/
"""

import json

from chalicelib.events import CLOCK, Event, items, mapping, parse, required_id, safe_id
from chalicelib.providers.paypal.objects import (
    DISPUTES,
    NAME,
    REFUNDS,
    Resource,
    disputed_transactions,
    instant,
    named_dispute,
    refunded_payment,
)
from chalicelib.times import to_iso


def event(body: bytes, received_at: int) -> Event:
    """Of its v1 and v2 resources alike."""
    payload = parse(body)
    event_id = required_id(payload.get("id"))
    type_ = safe_id(payload.get("event_type")) or "unknown"
    resource = mapping(payload.get("resource"))
    created_at = instant(payload.get("create_time"), received_at)
    return Event(
        provider=NAME,
        id=event_id,
        type=type_,
        subject=f"{NAME}:{subject(type_, resource) or event_id}",
        created_at=created_at,
        received_at=received_at,
        as_of=created_at,
        livemode=livemode(payload),
        account=None,
        api_version=safe_id(payload.get("resource_version")),
        payload=payload,
        about=payload.get("resource"),
        customer=_payer(resource),
        object_id=safe_id(resource.get("id")) or named_dispute(resource),
    )


def clock(subject: str, now: int) -> bytes:
    """An event of our own making: that time has passed for that subject."""
    object_id = subject.rpartition(":")[2]
    own = {"id": f"clock-{object_id}-{now}", "event_type": CLOCK, "create_time": to_iso(now)}
    return json.dumps({**own, "resource": {"id": object_id}}).encode()


def _payer(resource: Resource) -> str | None:
    """Who pays for an order, a v1 payment or a subscription; captures do not say it."""
    payer = mapping(resource.get("payer") or resource.get("subscriber"))
    return safe_id(payer.get("payer_id") or mapping(payer.get("payer_info")).get("payer_id"))


def subject(type_: str, resource: Resource) -> str | None:
    """The capture or sale that a refund, reversal or dispute names; for all else the resource itself.

    Each type reads its own fields only; ``None`` where they hold no id that is safe.
    """
    if type_ in REFUNDS:
        return refunded_payment(resource) or safe_id(resource.get("id"))
    if type_ in DISPUTES:
        return next(iter(disputed_transactions(resource)), None) or named_dispute(resource)
    return safe_id(resource.get("id"))


def livemode(shown: Resource) -> bool | None:
    """Neither events nor resources say which mode they are of, but their links lead to that mode's host."""
    for link in items(shown.get("links")):
        host = str(link.get("href")).removeprefix("https://").partition("/")[0]
        if host in ("api.paypal.com", "api-m.paypal.com"):
            return True
        if host in ("api.sandbox.paypal.com", "api-m.sandbox.paypal.com"):
            return False
    return None
