"""What PayPal's API must show of an event that moves money, and what then counts of the event.

A webhook's signature covers its body's CRC32 alone: whoever holds one can give it another body. So, where
there are API credentials, the event says only that something became of a resource, and PayPal's API says of
which, how much, and for which payment. https://developer.paypal.com/docs/api/payments/v2/
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from urllib.parse import quote

from chalicelib.errors import CONTRADICTED, Distrusted, NotShown
from chalicelib.events import Event, safe_id
from chalicelib.kinds import SUBSCRIPTIONS as SUBSCRIPTIONS_BEGIN
from chalicelib.providers.paypal.events import event as read_event
from chalicelib.providers.paypal.events import livemode
from chalicelib.providers.paypal.objects import (
    AUTHORIZATIONS,
    CAPTURES,
    DISPUTES,
    NAME,
    REFUNDS,
    SUBSCRIPTION_TYPES,
    TOOK_MONEY,
    Resource,
    amount_of,
    disputed_transactions,
    instant,
    moves_money_unnamed,
    named_dispute,
    refunded_payment,
    resource_of,
    says,
    status_of,
    subscription_of,
)
from chalicelib.times import to_iso

# What of an event is beside its resource; its summary is a sentence that PayPal makes of it.
OUTER = ("id", "event_version", "create_time", "resource_type", "resource_version", "event_type")


class Verdict(Enum):
    """What the state that PayPal shows makes of what an event says."""

    COUNTS = "it is so, or what is shown came after it"
    OVERTAKEN = "it was so, and has come to nothing since: that counts"
    LATE = "PayPal's API may be behind its event, or the event forged: asked again, it shows"
    CONTRADICTED = "it cannot have been so"


# Where PayPal shows the resource of an event: by the word in its type, and what it is. That a reversal is
# shown as a refund says the link `self` in PayPal's own events of reversals.
FOLDERS = {
    ("CAPTURE", "capture"): "/v2/payments/captures/",
    ("CAPTURE", "refund"): "/v2/payments/refunds/",
    ("REFUND", "refund"): "/v2/payments/refunds/",
    ("SALE", "capture"): "/v1/payments/sale/",
    ("SALE", "refund"): "/v1/payments/refund/",
    ("AUTHORIZATION", "authorization"): "/v2/payments/authorizations/",
    ("DISPUTE", "dispute"): "/v1/customer/disputes/",
}
SUBSCRIPTIONS, AGREEMENTS = "/v1/billing/subscriptions/", "/v1/payments/billing-agreements/"
KINDS: Mapping[str, Mapping[str, str] | tuple[str, ...]] = {
    "capture": CAPTURES,
    "authorization": AUTHORIZATIONS,
    "refund": REFUNDS,
    "dispute": DISPUTES,
}

DECLINED = ("DECLINED", "DENIED", "FAILED", "VOIDED", "EXPIRED", "CANCELLED")
HELD = ("AUTHORIZED", "CREATED", "PARTIALLY_CAPTURED", "CAPTURED", "COMPLETED")
ENDED = ("FAILED", "CANCELLED")
UNDER_WAY = ("PENDING", "CREATED", "")


def _by_status(**of: tuple[str, ...]) -> Mapping[str, Verdict]:
    return {status: Verdict[verdict] for verdict, statuses in of.items() for status in statuses}


# By what an event says and the status that is shown, v2's or v1's. What is not in it is LATE: a status that
# we do not know decides nothing.
# https://developer.paypal.com/docs/api/payments/v2/#definition-capture_status
# https://developer.paypal.com/docs/api/payments/v2/#definition-refund_status
# https://developer.paypal.com/docs/api/payments/v2/#definition-authorization_status
VERDICTS: Mapping[tuple[str, str], Mapping[str, Verdict]] = {
    ("capture", "captured"): _by_status(COUNTS=TOOK_MONEY, CONTRADICTED=DECLINED),
    ("capture", "processing"): _by_status(COUNTS=(*UNDER_WAY, *TOOK_MONEY), OVERTAKEN=DECLINED),
    ("capture", "failed"): _by_status(COUNTS=DECLINED, CONTRADICTED=TOOK_MONEY),
    ("authorization", "authorized"): _by_status(COUNTS=HELD, OVERTAKEN=DECLINED),
    ("authorization", "processing"): _by_status(COUNTS=(*UNDER_WAY, *HELD), OVERTAKEN=DECLINED),
    ("authorization", "canceled"): _by_status(
        COUNTS=("VOIDED", "EXPIRED"), CONTRADICTED=("CAPTURED", "COMPLETED")
    ),
    ("authorization", "failed"): _by_status(COUNTS=("DENIED", "DECLINED", "FAILED"), CONTRADICTED=HELD),
    ("refund", "succeeded"): _by_status(COUNTS=("COMPLETED",), OVERTAKEN=ENDED),
    ("refund", "reversed"): _by_status(COUNTS=("COMPLETED",), OVERTAKEN=ENDED),
    ("refund", "pending"): _by_status(COUNTS=(*UNDER_WAY, "COMPLETED"), OVERTAKEN=ENDED),
    ("refund", "failed"): _by_status(COUNTS=ENDED, CONTRADICTED=("COMPLETED",)),
}


def needs_asking(event: Event) -> bool:
    """Whether money moves by it, or access. Of what has no id nothing can be asked: it never counts."""
    is_of_money = path_to_confirm(event) is not None or moves_money_unnamed(event)
    return is_of_money or path_to_subscription(event) is not None


def path_to_confirm(event: Event) -> str | None:
    """Where the resource of an event that moves money is in PayPal's API; ``None`` for all other events."""
    kind = _kind(event)
    words = event.type.split(".")
    resource = resource_of(event)
    named = named_dispute(resource) if kind == "dispute" else safe_id(resource.get("id"))
    if kind is None or named is None:
        return None
    # one of PayPal's has letters, digits and hyphens; of any other PayPal is asked too, and shows nothing
    return FOLDERS[words[1], kind] + quote(named, safe="")


def path_to_subscription(event: Event) -> str | None:
    """Where the subscription is that an event is about, or a sale is of, with its plan; ``None`` for others.

    https://developer.paypal.com/docs/api/subscriptions/v1/#subscriptions_get
    """
    resource = resource_of(event)
    if event.type.startswith(SUBSCRIPTION_TYPES):
        named, is_old = safe_id(resource.get("id")), "agreement_details" in resource
    else:
        named, is_old = subscription_of(resource) if event.type in CAPTURES else None, False
    if named is None or not named.startswith(SUBSCRIPTIONS_BEGIN[NAME]):
        return None
    quoted = quote(named, safe="")
    return AGREEMENTS + quoted if is_old else f"{SUBSCRIPTIONS}{quoted}?fields=plan"


def with_subscription(event: Event, shown: Resource, asked_at: str = "") -> Event:
    """The event with the subscription as PayPal shows it now: it counts in place of the event's own.

    A signature covers little of a body, and what a body says of a subscription decides who has access.
    Raises ``Distrusted`` where PayPal shows another.
    """
    if event.type.startswith(SUBSCRIPTION_TYPES):
        if shown.get("id") != resource_of(event).get("id"):
            raise Distrusted(CONTRADICTED)
        if event.type.endswith(".CANCELLED") and status_of(shown) != "CANCELLED":
            raise NotShown("PayPal does not show it cancelled yet", reason="not_shown")
        return _borne_out(event, shown, asked_at, is_overtaken=False)
    return _read(event, {**event.payload, "subscription": shown})


def _kind(event: Event) -> str | None:
    return next((kind for kind, types in KINDS.items() if event.type in types), None)


def confirmed(event: Event, shown: Resource, asked_at: str = "") -> Event:
    """The event as far as PayPal's API, which shows its resource so at that address, bears it out.

    Raises ``Distrusted`` where it contradicts the event, ``NotShown`` where it may only be late.
    """
    verdict = judged(event, shown)
    if verdict is Verdict.CONTRADICTED:
        raise Distrusted(CONTRADICTED)
    if verdict is Verdict.LATE:
        raise NotShown("PayPal does not show it so yet", reason="not_shown")
    return _borne_out(event, shown, asked_at, is_overtaken=verdict is Verdict.OVERTAKEN)


def judged(event: Event, shown: Resource) -> Verdict:
    """What PayPal's showing the event's resource so means for the event."""
    kind = _kind(event)
    return _of_dispute(event, shown) if kind == "dispute" else _of_money(event, shown, str(kind))


def _of_money(event: Event, shown: Resource, kind: str) -> Verdict:
    """Another resource, amount or payment is a contradiction; else its state decides.

    What the event's type says is asked first; its own status may say less, and that may be so.
    """
    said = resource_of(event)
    if said.get("id") != shown.get("id") or not _is_same_amount(said, shown):
        return Verdict.CONTRADICTED
    if kind == "refund":
        payment = refunded_payment(shown)
        if payment is None:
            return Verdict.LATE
        if refunded_payment(said) not in (None, payment):
            return Verdict.CONTRADICTED
    status = status_of(shown)
    by_type = VERDICTS[kind, says(event.type, {})].get(status, Verdict.LATE)
    if by_type in (Verdict.COUNTS, Verdict.OVERTAKEN):
        return by_type
    return VERDICTS[kind, says(event.type, said)].get(status, Verdict.LATE)


def _is_same_amount(said: Resource, shown: Resource) -> bool:
    try:
        return amount_of(said.get("amount")) == amount_of(shown.get("amount"))
    except ValueError:
        return False


def _of_dispute(event: Event, shown: Resource) -> Verdict:
    """A dispute's own amount, outcome and captures change while it lasts: what is shown counts of them."""
    said = resource_of(event)
    if named_dispute(said) != named_dispute(shown):
        return Verdict.CONTRADICTED
    captures = disputed_transactions(shown).keys()
    if captures and not disputed_transactions(said).keys() <= captures:
        return Verdict.CONTRADICTED
    is_behind = event.type == "CUSTOMER.DISPUTE.RESOLVED" and status_of(shown) != "RESOLVED"
    return Verdict.COUNTS if captures and not is_behind else Verdict.LATE


def _borne_out(event: Event, shown: Resource, asked_at: str, is_overtaken: bool) -> Event:
    """The event with the resource as shown, which is kept as well where it is another.

    Its time is not before what it tells of, and not after it came.
    """
    is_dispute = event.type in DISPUTES
    told = {name: event.payload[name] for name in OUTER if name in event.payload}
    told |= {"resource": shown, "links": _of_mode(event, shown, asked_at)}
    is_as_said = _is_same(resource_of(event), shown)
    began = instant(shown.get("create_time"), event.created_at)
    changed = instant(shown.get("update_time"), began)
    is_newer = is_overtaken or (is_dispute and not is_as_said)
    at = min(max(event.created_at, changed if is_newer else began), event.received_at)
    time = {} if at == event.created_at else {"create_time": to_iso(at)}
    found = _read(event, {**told, **time})
    is_kept = is_as_said and not time and found.livemode == event.livemode
    return replace(event if is_kept else found, is_confirmed=True)


def _of_mode(event: Event, shown: Resource, asked_at: str) -> object:
    """The links that say which mode it is of: PayPal's, or where it was asked; of a fake's, the event's."""
    found = (shown.get("links"), [{"href": asked_at}], event.payload.get("links"))
    return next((links for links in found if livemode({"links": links}) is not None), None)


def _is_same(said: Resource, shown: Resource) -> bool:
    """In all that a handler may read; links lead to PayPal, which shows what it shows."""
    one, other = ({name: r[name] for name in r if name != "links"} for r in (said, shown))
    return one == other


def _read(event: Event, payload: Mapping[str, object]) -> Event:
    body = json.dumps(payload).encode()
    found = read_event(body, event.received_at)
    return replace(found, completed=body, about=event.about, is_confirmed=event.is_confirmed)
