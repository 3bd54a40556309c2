"""Stripe's two kinds of event, and the payment that each is about.

https://docs.stripe.com/api/events, https://docs.stripe.com/event-destinations#thin-events
"""

import json
import re
from dataclasses import replace

from chalicelib.events import CLOCK, Event, mapping, parse, required_id, safe_id
from chalicelib.providers.stripe.objects import NAME, Object, id_of, instant, is_thin, object_of

API_PATH = re.compile(r"/v[12](/[a-z_]+)+/[A-Za-z0-9_]{1,100}")

# The fields that name the payment an object belongs to, best first. All else is its own subject.
PAYMENT_OF = {
    "payment_intent": ("id",),
    "charge": ("payment_intent", "id"),
    "refund": ("payment_intent", "charge", "id"),
    "dispute": ("payment_intent", "charge", "id"),
    "checkout.session": ("payment_intent", "id"),
}
SOURCES = ("charge", "refund", "dispute", "payout")  # what a balance transaction is about, if it is one


def event(body: bytes, received_at: int) -> Event:
    """A snapshot event, or a thin one (``v2.core.event``), which names its ``related_object``."""
    payload = parse(body)
    event_id = required_id(payload.get("id"))
    account = safe_id(payload.get("account") or payload.get("context"))
    object_id = subject(payload) or event_id
    type_ = payload.get("type")
    created_at = instant(payload.get("created"), received_at)
    return Event(
        provider=NAME,
        id=event_id,
        type=safe_id(type_) or "unknown",
        subject=f"{NAME}:{account}:{object_id}" if account else f"{NAME}:{object_id}",
        created_at=created_at,
        received_at=received_at,
        as_of=_as_of(payload, created_at, received_at),
        livemode=payload["livemode"] if isinstance(payload.get("livemode"), bool) else None,
        account=account,
        api_version=safe_id(payload.get("api_version")),
        payload=payload,
        about=payload.get("related_object") or payload.get("data"),  # a thin event's data is fetched anew
        about_version=safe_id(payload.get("api_version")),
        customer=_customer(object_of(payload)),
    )


def _as_of(payload: Object, created_at: int, received_at: int) -> int:
    """A snapshot is as of its event; what was fetched for a thin event as of then, which is later."""
    if not is_thin(payload) or "data" not in payload:
        return created_at
    fetched_at = payload.get("fetched_at")
    return max(created_at, fetched_at if isinstance(fetched_at, int) else received_at)


def _customer(about: Object) -> str | None:
    return id_of(about.get("id" if about.get("object") == "customer" else "customer"))


def subject(payload: Object) -> str | None:
    """The id of the payment, or of the object, that the event is about; ``None`` if it cannot be told."""
    about = object_of(payload) or mapping(payload.get("related_object"))
    source = mapping(about.get("source"))
    if about.get("object") == "balance_transaction" and source.get("object") in SOURCES:
        about = source
    fields = PAYMENT_OF.get(str(about.get("object", "")), ("id",))
    return next(filter(None, (id_of(about.get(field)) for field in fields)), None)


def clock(subject: str, now: int) -> bytes:
    """An event of our own making: that time has passed for that subject."""
    _, *account, object_id = subject.split(":")
    about = {"id": object_id, "object": CLOCK}
    own = {"id": f"clock_{object_id}_{now}", "object": "event", "type": CLOCK, "created": now // 1000}
    named = {"account": account[0]} if account else {}
    return json.dumps({**own, **named, "data": {"object": about}}).encode()


def path_to_fetch(event: Event) -> str | None:
    """Where the object of a thin event is in Stripe's API; ``None`` for an event that has its data."""
    if event.provider != NAME or not is_thin(event.payload) or "data" in event.payload:
        return None
    url = mapping(event.payload.get("related_object")).get("url")
    return url if isinstance(url, str) and API_PATH.fullmatch(url) else None


def completed(thin: Event, about: Object, fetched_at: int) -> Event:
    """A thin event with the object that was fetched for it: about the payment that the object belongs to."""
    body = json.dumps({**thin.payload, "data": {"object": about}, "fetched_at": fetched_at}).encode()
    return replace(event(body, thin.received_at), completed=body)
