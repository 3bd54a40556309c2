"""What Stripe shows of a payment now, and whether that is as it is recorded."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from chalicelib.errors import NotFound, Unavailable
from chalicelib.events import Event, items, mapping
from chalicelib.payments import Payment, fold, project
from chalicelib.providers.protocol import Difference
from chalicelib.providers.stripe.events import event
from chalicelib.providers.stripe.facts import facts
from chalicelib.providers.stripe.objects import THIN, Object, id_of
from chalicelib.times import from_seconds, to_iso

Get = Callable[..., Any]
COMPARED = ("status", "currency", "captured", "refunded", "disputed", "net", "customer")

# The event that says of an intent what its status says; other statuses say nothing that is certain.
# https://docs.stripe.com/payments/paymentintents/lifecycle
SAYS = {
    "processing": "payment_intent.processing",
    "requires_action": "payment_intent.requires_action",
    "requires_capture": "payment_intent.amount_capturable_updated",
    "succeeded": "payment_intent.succeeded",
    "canceled": "payment_intent.canceled",
}


def differences(ours: Payment, get: Get, now: int) -> list[Difference] | None:
    """``None`` for what is no intent. Raises ``NotFound``."""
    shown = events(ours, get, now)
    if not shown:
        return None
    proved = fold(facts(each) for each in shown)
    theirs = project(ours.id, proved)
    says_status = theirs.captured > 0 or "state" in proved.get("payment", {})
    compared = [name for name in COMPARED if says_status or name != "status"]
    pairs = [(name, getattr(ours, name), getattr(theirs, name)) for name in compared]
    return [Difference(*each) for each in pairs if each[2] not in (each[1], None)]


def events(ours: Payment, get: Get, now: int) -> list[Event]:
    """The intent, its charge, its refunds and disputes, each as a thin event whose object was fetched now."""
    return [event(json.dumps(each).encode(), now) for each in bodies(ours, get, now)]


def bodies(ours: Payment, get: Get, now: int) -> Iterator[Object]:
    """The same as they are put on the queue; none for what is no intent."""
    _, *account, intent_id = ours.id.split(":")  # a connected account is in it
    if not intent_id.startswith("pi_"):
        return
    options = {"stripe_account": account[0]} if account else {}
    for type_, about in _objects(intent_id, get, options):
        created = about.get("canceled_at") or (None if type_ in SAYS.values() else about.get("created"))
        at = from_seconds(created) if created else now
        yield {**as_fetched(type_, about, account, now, at), "livemode": ours.livemode}


def as_fetched(type_: str, about: Object, account: list[str], now: int, at: int | None = None) -> Object:
    """A thin event of our own making, of an object that was fetched now; ``at`` is when it came to be so."""
    return {
        "id": f"asked_{about['id']}_{now}",
        "object": THIN,
        "type": f"v1.{type_}",
        "created": to_iso(now if at is None else at),
        "livemode": about.get("livemode"),
        "context": account[0] if account else None,
        "related_object": {"id": about["id"], "type": about.get("object")},
        "data": {"object": dict(about)},
        "fetched_at": now,
    }


def _objects(intent_id: str, get: Get, options: dict[str, str]) -> Iterator[tuple[str, Object]]:
    intent = mapping(get(f"/v1/payment_intents/{intent_id}", expand=["latest_charge"], **options))
    if intent.get("id") != intent_id:
        raise Unavailable("Stripe shows something else", reason="stripe_api")
    charge = mapping(intent.get("latest_charge"))
    says = SAYS.get(str(intent.get("status")), "payment_intent.shown")
    yield says, {**intent, "latest_charge": id_of(intent.get("latest_charge"))}
    if charge:
        yield "charge.refunded" if charge.get("amount_refunded") else "charge.shown", charge
    for path, type_ in (("/v1/refunds", "refund.updated"), ("/v1/disputes", "charge.dispute.updated")):
        for each in _listed(get, path, intent_id, options):
            yield type_, each


def _listed(get: Get, path: str, intent_id: str, options: dict[str, str]) -> list[Object]:
    try:
        return items(mapping(get(path, payment_intent=intent_id, limit=100, **options)).get("data"))
    except NotFound:
        return []
