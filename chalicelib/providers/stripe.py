"""Stripe: signatures, subjects and facts.

Sources: https://docs.stripe.com/webhooks#verify-manually, https://docs.stripe.com/api/events/types
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from chalicelib import money
from chalicelib.errors import InvalidSignature
from chalicelib.events import Delivery, Event, items, mapping, parse, required_id, safe_id
from chalicelib.payments import STATES, Facts, fact, fold, outcome_at
from chalicelib.providers.protocol import Proof, Trust, fingerprint
from chalicelib.times import from_iso, from_seconds

NAME = "stripe"
API_PATH = re.compile(r"/v[12](/[a-z_]+)+/[A-Za-z0-9_]{1,100}")
TOLERANCE = 300_000  # milliseconds, into the past and into the future

# ── verify ──────────────────────────────────────────────────────────────────────────────────────────


def verify(delivery: Delivery, trust: Trust) -> Proof:
    """Return if any ``v1`` signature is that of any current secret, at most 300 s from now."""
    secrets = trust.required("stripe_webhook_secrets")
    timestamp, signatures = _parse_header(delivery.headers.get("stripe-signature", ""))
    if abs(int(timestamp) * 1000 - delivery.received_at) > TOLERANCE:
        raise InvalidSignature("the timestamp is too far from now", reason="timestamp")
    signed = timestamp.encode() + b"." + delivery.body
    for secret in secrets:
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()
        for signature in signatures:
            if hmac.compare_digest(expected, signature):
                return Proof(fingerprint(secret))
    raise InvalidSignature("no signature matches", reason="signature")


def _parse_header(header: str) -> tuple[str, list[bytes]]:
    """Timestamp and ``v1`` signatures of ``t=…,v1=…[,v1=…]``."""
    if not header:
        raise InvalidSignature("no Stripe-Signature header", reason="missing")
    pairs = [item.partition("=") for item in header.split(",")]
    timestamps = [value for name, _, value in pairs if name == "t"]
    signatures = [value.encode("utf-8", "replace") for name, _, value in pairs if name == "v1"]
    well_formed = all(equals for _, equals, _ in pairs) and len(timestamps) == 1
    if not well_formed or not signatures or not _is_timestamp(timestamps[0]):
        raise InvalidSignature("malformed Stripe-Signature header", reason="malformed")
    return timestamps[0], signatures


def _is_timestamp(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12


# ── event and subject ───────────────────────────────────────────────────────────────────────────────

# The fields that name the payment an object belongs to, best first. All else is its own subject.
PAYMENT_OF = {
    "payment_intent": ("id",),
    "charge": ("payment_intent", "id"),
    "refund": ("payment_intent", "charge", "id"),
    "dispute": ("payment_intent", "charge", "id"),
    "checkout.session": ("payment_intent", "id"),
}


def event(body: bytes, received_at: int) -> Event:
    """A snapshot event, or a thin one (``v2.core.event``), which names its ``related_object``."""
    payload = parse(body)
    event_id = required_id(payload.get("id"))
    account = safe_id(payload.get("account") or payload.get("context"))
    object_id = subject(payload) or event_id
    type_ = payload.get("type")
    return Event(
        provider=NAME,
        id=event_id,
        type=safe_id(type_) or "unknown",
        subject=f"{NAME}:{account}:{object_id}" if account else f"{NAME}:{object_id}",
        created_at=_created(payload.get("created"), received_at),
        received_at=received_at,
        livemode=payload["livemode"] if isinstance(payload.get("livemode"), bool) else None,
        account=account,
        api_version=safe_id(payload.get("api_version")),
        payload=payload,
        about=payload.get("related_object") or payload.get("data"),  # a thin event's data is fetched anew
        customer=_customer(_object(payload)),
    )


def _customer(about: Mapping[str, Any]) -> str | None:
    return _id(about.get("id" if about.get("object") == "customer" else "customer"))


def subject(payload: Mapping[str, Any]) -> str | None:
    """The id of the payment, or of the object, that the event is about; ``None`` if it cannot be told."""
    about = _object(payload) or mapping(payload.get("related_object"))
    fields = PAYMENT_OF.get(str(about.get("object", "")), ("id",))
    return next(filter(None, (_id(about.get(field)) for field in fields)), None)


def _object(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(mapping(payload.get("data")).get("object"))


def _id(value: object) -> str | None:
    """An id, or the id of the object that was expanded in its place."""
    return safe_id(value["id"] if isinstance(value, dict) and "id" in value else value)


def _created(value: object, otherwise: int) -> int:
    """Snapshot events give whole seconds, thin events ISO 8601."""
    try:
        if isinstance(value, str):
            return from_iso(value)
        if isinstance(value, int):
            return from_seconds(value)
    except (ValueError, OverflowError):
        pass
    return otherwise


def path_to_fetch(event: Event) -> str | None:
    """Where the object of a thin event is in Stripe's API; ``None`` for an event that has its data."""
    is_thin = event.provider == NAME and event.payload.get("object") == "v2.core.event"
    if not is_thin or "data" in event.payload:
        return None
    url = mapping(event.payload.get("related_object")).get("url")
    return url if isinstance(url, str) and API_PATH.fullmatch(url) else None


def complete(thin: Event, about: Mapping[str, Any]) -> Event:
    """A thin event with the object that was fetched for it: about the payment that the object belongs to."""
    body = json.dumps({**thin.payload, "data": {"object": about}}).encode()
    return replace(event(body, thin.received_at), completed=body)


# ── facts ───────────────────────────────────────────────────────────────────────────────────────────

# What an event type says of a payment that has no money yet. `charge.succeeded` is an authorization
# where the charge is not captured; with money captured the state no longer shows.
STATE_OF = {
    "payment_intent.created": "created",
    "payment_intent.processing": "processing",
    "payment_intent.partially_funded": "processing",
    "payment_intent.requires_action": "requires_action",
    "payment_intent.amount_capturable_updated": "authorized",
    "payment_intent.payment_failed": "failed",
    "payment_intent.canceled": "canceled",
    "charge.pending": "processing",
    "charge.succeeded": "authorized",
    "charge.failed": "failed",
    "charge.expired": "canceled",
    "checkout.session.async_payment_failed": "failed",
}

# https://docs.stripe.com/api/disputes/object#dispute_object-status; any other status is open
OUTCOME_OF = {
    "won": "won",
    "lost": "lost",
    "warning_closed": "closed",
    "charge_refunded": "closed",
    "prevented": "closed",
}

# Where Stripe's unit is not ISO 4217's: the factor from one to the other.
# https://docs.stripe.com/currencies#special-cases and #zero-decimal
UNIT = {"ISK": (1, 100), "UGX": (1, 100), "MGA": (100, 1)}


def facts(event: Event) -> Facts:
    """What a snapshot event proves of its payment."""
    about = _object(event.payload)
    read = OBJECTS.get(str(about.get("object")))
    if read is None or not _is_of_a_payment(about):
        return {}
    return fold([_common(event), _state(event, about), *read(event, about)])


def _is_of_a_payment(about: Mapping[str, Any]) -> bool:
    """A session may be of a subscription, a refund of a customer's cash balance."""
    if about["object"] == "refund" and _id(about.get("charge")):
        return True
    return about["object"] not in ("checkout.session", "refund") or _payment_intent(about) is not None


def _type(event: Event) -> str:
    """The type of the snapshot event: a completed thin event tells the same under ``v1.…``."""
    return event.type.removeprefix("v1.")


def _payment_intent(about: Mapping[str, Any]) -> str | None:
    return _id(about.get("payment_intent"))


def _common(event: Event) -> Facts:
    return fact(
        "payment",
        created_at=event.created_at,
        updated_at=event.created_at,
        livemode=event.livemode,
        account=[event.account] if event.account else None,
    )


def _state(event: Event, about: Mapping[str, Any]) -> Facts:
    state = STATE_OF.get(_type(event))
    if state is None or (state == "authorized" and not _is_authorization(about)):
        return {}
    stated = fact("payment", state=[event.created_at, STATES.index(state)])
    if state in ("failed", "canceled", "authorized"):
        stated["payment"][f"{state}_at"] = event.created_at
    return stated


def _is_authorization(about: Mapping[str, Any]) -> bool:
    if about["object"] == "payment_intent":
        return bool(about.get("amount_capturable"))
    return about.get("captured") is False


def _of_payment_intent(event: Event, intent: Mapping[str, Any]) -> Iterator[Facts]:
    currency = _currency(intent)
    received = _amount(intent, "amount_received", currency) or 0
    capturable = _amount(intent, "amount_capturable", currency) or 0
    charges = items(mapping(intent.get("charges")).get("data"))
    yield fact(
        "payment",
        amount=_at(event, _amount(intent, "amount", currency)),
        authorized=received + capturable or None,
        captured=received or None,
        captured_at=event.created_at if received else None,
        created_at=_created(intent.get("created"), event.created_at),
        currency=[currency],
        customer=_at(event, _id(intent.get("customer"))),
        related=_related(charge=intent.get("latest_charge")),
    )
    for charge in charges:
        yield from _of_charge(event, charge)


def _of_charge(event: Event, charge: Mapping[str, Any]) -> Iterator[Facts]:
    currency = _currency(charge)
    charge_id = required_id(charge.get("id"))
    amount = _amount(charge, "amount", currency)
    captured = _captured(charge, amount, currency)
    yield fact(
        f"charge {charge_id}",
        amount=_at(event, amount),
        authorized=amount if charge.get("status") == "succeeded" else None,
        captured=captured or None,
        currency=[currency],
    )
    yield fact(
        "payment",
        captured_at=event.created_at if captured else None,
        created_at=_created(charge.get("created"), event.created_at),
        customer=_at(event, _id(charge.get("customer"))),
        related=_related(charge=charge_id),
    )
    if not captured:
        return  # what is "refunded" of an uncaptured charge is an authorization let go
    released = max(0, (amount or 0) - captured)
    if _type(event) == "charge.refunded":
        yield _refund_total(event, charge, charge_id, released)
    for refund in _refunds(charge, released):
        yield from _of_refund(event, {"charge": charge_id, **refund})


def _captured(charge: Mapping[str, Any], amount: int | None, currency: str) -> int:
    """``captured`` alone is also said of a bank debit that is still under way, or failed."""
    if not charge.get("captured") or charge.get("status") in ("pending", "failed"):
        return 0
    captured = _amount(charge, "amount_captured", currency)
    return (amount or 0) if captured is None else captured


def _refunds(charge: Mapping[str, Any], released: int) -> list[Mapping[str, Any]]:
    """The refunds inside a charge, the newest first, without the one that let go what was not captured.

    Stripe lists that one too: https://github.com/woocommerce/woocommerce-gateway-stripe/pull/861
    """
    listed = mapping(charge.get("refunds"))
    refunds = items(listed.get("data"))
    currency = _currency(charge)
    release = [n for n, each in enumerate(refunds) if _amount(each, "amount", currency) == released]
    if release and not listed.get("has_more"):
        del refunds[release[-1]]
    return refunds


def _refund_total(event: Event, charge: Mapping[str, Any], charge_id: str, released: int) -> Facts:
    """``amount_refunded`` is a running total; the total before it stands in ``previous_attributes``.

    What was never captured and let go is part of both, and is told in the same way.
    """
    currency = _currency(charge)
    previous = mapping(mapping(event.payload.get("data")).get("previous_attributes"))
    total, before = (_amount(each, "amount_refunded", currency) for each in (charge, previous))
    if total is not None and (before, total) == (0, released):
        return {}
    if total is not None and total >= released and (before is None or before >= released):
        total -= released
        before = None if before is None else before - released
    if not total:
        return {}
    step = total - before if before is not None and before < total else None
    at = event.created_at
    seen = {"sightings": [at]} if step else {"seen_at": at, "last_seen_at": at}
    named = f"total {charge_id} {total} {step or '?'}"
    return fact(named, charge=[charge_id], total=total, step=step, **seen)


def _of_refund(event: Event, refund: Mapping[str, Any]) -> Iterator[Facts]:
    currency = _currency(refund)
    refund_id = required_id(refund.get("id"))
    charge = _id(refund.get("charge"))
    status = refund.get("status") or "succeeded"  # API versions before 2015 have none
    made = _created(refund.get("created"), 0)
    yield fact(
        f"refund {refund_id}",
        amount=_at(event, _amount(refund, "amount", currency)),
        currency=[currency],
        charge=[charge] if charge else None,
        created_at=min(event.created_at, made) if made else None,
        succeeded_at=event.created_at if status == "succeeded" else None,
        failed_at=event.created_at if status in ("failed", "canceled") else None,
    )
    yield fact("payment", related=_related(charge=charge, refund=refund_id))


def _of_dispute(event: Event, dispute: Mapping[str, Any]) -> Iterator[Facts]:
    currency = _currency(dispute)
    charge = _id(dispute.get("charge"))
    dispute_id = required_id(dispute.get("id") or charge)
    status = str(dispute.get("status"))
    outcome = OUTCOME_OF.get(status)
    at = event.created_at
    yield fact(
        f"dispute {dispute_id}",
        amount=_at(event, _amount(dispute, "amount", currency)),
        currency=[currency],
        opened_at=min(at, _created(dispute.get("created"), at)),
        outcome=outcome_at(at, outcome),
        won_at=at if outcome == "won" else None,
        lost_at=at if outcome == "lost" else None,
        withdrawn_at=at if _type(event) == "charge.dispute.funds_withdrawn" else None,
        reinstated_at=at if _type(event) == "charge.dispute.funds_reinstated" else None,
        returned=_at(event, _returned(dispute, currency)),
        settled_by_refund=[at, status.startswith("warning_")],  # an inquiry takes no money, it asks for it
    )
    yield fact("payment", related=_related(charge=charge, dispute=dispute_id))


def _returned(dispute: Mapping[str, Any], currency: str) -> int | None:
    """What came back, where that is told and the account is paid out in the charge's currency.

    It can be less than the amount: https://docs.stripe.com/disputes/how-disputes-work
    """
    moves = items(dispute.get("balance_transactions"))
    if not moves or any(str(move.get("currency")).upper() != currency for move in moves):
        return None
    came_back = sum(move["amount"] for move in moves if _amount_above_0(move))
    return _amount({"returned": came_back}, "returned", currency) or None


def _amount_above_0(move: Mapping[str, Any]) -> bool:
    amount = move.get("amount")
    return isinstance(amount, int) and amount > 0


def _of_checkout_session(event: Event, session: Mapping[str, Any]) -> Iterator[Facts]:
    currency = _currency(session)
    total = _amount(session, "amount_total", currency)
    paid = session.get("payment_status") == "paid" and bool(total)
    unpaid = _type(event) == "checkout.session.completed" and not paid
    # as old as can be: an authorization is "unpaid" too, and may be told before or after
    began = min(event.created_at, _created(session.get("created"), event.created_at))
    yield fact(
        "payment",
        amount=_at(event, total),
        captured=total if paid else None,
        captured_at=event.created_at if paid else None,
        currency=[currency],
        customer=_at(event, _id(session.get("customer"))),
        related=_related(checkout_session=session.get("id")),
        state=[began, STATES.index("processing")] if unpaid else None,
    )


OBJECTS: Mapping[str, Callable[[Event, Mapping[str, Any]], Iterator[Facts]]] = {
    "payment_intent": _of_payment_intent,
    "charge": _of_charge,
    "refund": _of_refund,
    "dispute": _of_dispute,
    "checkout.session": _of_checkout_session,
}


def _at(event: Event, value: int | str | None) -> list[Any] | None:
    return None if value is None else [event.created_at, value]


def _currency(about: Mapping[str, Any]) -> str:
    currency = about.get("currency")
    if not isinstance(currency, str) or len(currency) != 3 or not currency.isascii():
        raise ValueError("no currency")
    return currency.upper()


def _amount(about: Mapping[str, Any], field: str, currency: str) -> int | None:
    """An amount in ISO 4217's minor unit, ``None`` where there is none. Raises ``ValueError``."""
    value = about.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= money.LARGEST:
        raise ValueError(f"{field} is not an amount")
    times, by = UNIT.get(currency, (1, 1))
    return value * times // by


def _related(**objects: object) -> list[str]:
    return [f"{kind} {object_id}" for kind, value in objects.items() if (object_id := _id(value))]
