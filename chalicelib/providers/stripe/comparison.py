"""Whether Stripe itself shows a payment as it is recorded."""

from collections.abc import Callable, Iterator
from typing import Any

from chalicelib.errors import NotFound
from chalicelib.events import Event, items, mapping
from chalicelib.payments import Facts, Payment, fold, project
from chalicelib.providers.protocol import Difference
from chalicelib.providers.stripe.facts import facts
from chalicelib.providers.stripe.objects import NAME, THIN, Object, id_of

COMPARED = ("status", "currency", "captured", "refunded", "disputed", "net", "customer")


def differences(ours: Payment, get: Callable[..., Any]) -> list[Difference] | None:
    """Asks for the intent, its charge, its refunds and disputes, and reads them as their events are read."""
    *_, intent_id = ours.id.split(":")
    if not intent_id.startswith("pi_"):
        return None
    options = {"stripe_account": ours.account} if ours.account else {}
    intent = mapping(get(f"/v1/payment_intents/{intent_id}", expand=["latest_charge"], **options))
    theirs = project(ours.id, fold(_facts(intent, lambda path: _listed(get, path, intent_id, options))))
    pairs = [(name, getattr(ours, name), getattr(theirs, name)) for name in COMPARED]
    return [Difference(*each) for each in pairs if each[2] not in (each[1], None)]


def _facts(intent: Object, listed: Callable[[str], list[Object]]) -> Iterator[Facts]:
    charge = mapping(intent.get("latest_charge"))
    status = "payment_intent." + STATUS.get(str(intent.get("status")), "created")
    yield _read(status, {**intent, "latest_charge": id_of(intent.get("latest_charge"))})
    if charge:
        yield _read("charge.refunded", charge)
    for refund in listed("/v1/refunds"):
        yield _read("refund.updated", refund)
    for dispute in listed("/v1/disputes"):
        yield _read("charge.dispute.updated", dispute)


# The event that says of an intent what its status says.
# https://docs.stripe.com/payments/paymentintents/lifecycle
STATUS = {
    "processing": "processing",
    "requires_action": "requires_action",
    "requires_capture": "amount_capturable_updated",
    "succeeded": "succeeded",
    "canceled": "canceled",
}


def _listed(get: Callable[..., Any], path: str, intent_id: str, options: dict[str, str]) -> list[Object]:
    try:
        return items(mapping(get(path, payment_intent=intent_id, limit=100, **options)).get("data"))
    except NotFound:
        return []


def _read(type_: str, about: Object) -> Facts:
    """As of now: what an API shows is in the shape of the newest version, as a thin event's object is."""
    payload = {"object": THIN, "data": {"object": dict(about)}}
    event = Event(
        provider=NAME,
        id="evt_asked",
        type=type_,
        subject="",
        created_at=0,
        received_at=0,
        as_of=0,
        livemode=None,
        account=None,
        api_version=None,
        payload=payload,
    )
    return facts(event)
