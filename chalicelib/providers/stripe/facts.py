"""What Stripe's events prove of a payment.

Amounts decide, not flags; and what they mean depends on the API version that the event was written in.
"""

from collections.abc import Callable, Iterator, Mapping

from chalicelib.events import Event, items, mapping, required_id
from chalicelib.payments import (
    UNKNOWN,
    Facts,
    claimed_at,
    fact,
    fold,
    outcome_at,
    state_at,
)
from chalicelib.providers.stripe import balance
from chalicelib.providers.stripe.objects import (
    Object,
    amount,
    currency_of,
    id_of,
    in_minor_units,
    instant,
    is_thin,
    object_of,
    type_of,
    written,
)

# Since this version what a capture in part, or a cancellation, lets go is no refund any more.
# https://docs.stripe.com/changelog/basil/2025-03-31/remove-refund-from-partial-capture-and-payment-cancellation-flow
BASIL = "2025-03-31"

# What an event type says of a payment that has no money yet. `charge.succeeded` is an authorization
# where nothing is captured; with money captured the state no longer shows.
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

# https://docs.stripe.com/api/disputes/object#dispute_object-status; `None` is open
OUTCOME_OF = {
    "needs_response": None,
    "under_review": None,
    "won": "won",
    "lost": "lost",
    "charge_refunded": "closed",
    "prevented": "closed",
    "warning_needs_response": None,
    "warning_under_review": None,
    "warning_closed": "closed",
}


def facts(event: Event) -> Facts:
    """What an event proves of its payment: a snapshot, or a thin one that was completed."""
    about = object_of(event.payload)
    read = OBJECTS.get(str(about.get("object")))
    if read is None or not _is_of_a_payment(about):
        return {}
    return fold([common(event), _state(event, about), *read(event, about)])


def _is_of_a_payment(about: Object) -> bool:
    """A session may be of a subscription, a refund of a customer's cash balance, a fee of nothing."""
    if about["object"] == "balance_transaction":
        return mapping(about.get("source")).get("object") in balance.PAYMENTS
    if about["object"] == "refund" and id_of(about.get("charge")):
        return True
    return (
        about["object"] not in ("checkout.session", "refund")
        or id_of(about.get("payment_intent")) is not None
    )


def _releases_by_refund(event: Event) -> bool:
    """Whether what is let go is part of what the event's charge calls refunded. Thin events are newer."""
    return not is_thin(event.payload) and (event.api_version or "")[: len(BASIL)] < BASIL


def common(event: Event) -> Facts:
    """What every event about a payment proves of it."""
    return fact(
        "payment",
        created_at=event.created_at,
        updated_at=event.created_at,
        livemode=event.livemode,
        account=[event.of_account] if event.of_account else None,
    )


def _state(event: Event, about: Object) -> Facts:
    state = "canceled" if _is_released(about) else STATE_OF.get(type_of(event))
    if state is None or (state == "authorized" and not _is_authorization(about)):
        return {}
    stated = fact("payment", state=state_at(event.created_at, state))
    if state in ("failed", "canceled", "authorized"):
        stated["payment"][f"{state}_at"] = event.created_at
    return stated


def _is_released(about: Object) -> bool:
    """A charge that was held, and let go whole: by a refund, which moves no money.

    https://docs.stripe.com/payments/place-a-hold-on-a-payment-method
    """
    is_held = about["object"] == "charge" and about.get("status") == "succeeded" and not _has_captured(about)
    return is_held and bool(about.get("amount_refunded"))


def _is_authorization(about: Object) -> bool:
    if about["object"] == "payment_intent":
        return bool(about.get("amount_capturable"))
    return not _has_captured(about)


def _has_captured(charge: Object) -> bool:
    return bool(charge.get("amount_captured") or charge.get("captured"))


# ── by object ───────────────────────────────────────────────────────────────────────────────────────


def _of_payment_intent(event: Event, intent: Object) -> Iterator[Facts]:
    currency = currency_of(intent)
    asked = amount(intent, "amount", currency)
    received = amount(intent, "amount_received", currency) or 0
    capturable = amount(intent, "amount_capturable", currency) or 0
    charge = id_of(intent.get("latest_charge"))
    yield fact(
        "payment",
        priced=_priced(event, asked, currency, is_paid=received > 0),
        authorized=received + capturable or None,
        captured=[[received, event.created_at]] if received else None,
        created_at=instant(intent.get("created"), event.created_at),
        customer=_at(event, id_of(intent.get("customer"))),
        labels=_labels(event, intent),
        related=_related(charge=charge),
    )
    if charge and asked and 0 < received < asked and intent.get("status") == "succeeded":
        yield _release(event, charge, asked - received)
    for each in items(mapping(intent.get("charges")).get("data")):
        yield from _of_charge(event, each)


def _of_charge(event: Event, charge: Object) -> Iterator[Facts]:
    currency = currency_of(charge)
    charge_id = required_id(charge.get("id"))
    held = amount(charge, "amount", currency) or 0
    captured = _captured(charge, held, currency)
    yield fact(
        f"charge {charge_id}",
        amount=_at(event, held),
        authorized=held if charge.get("status") == "succeeded" else None,
        captured=[[captured, event.created_at]] if captured else None,
        currency=_at(event, currency),
    )
    yield fact(
        "payment",
        created_at=instant(charge.get("created"), event.created_at),
        customer=_at(event, id_of(charge.get("customer"))),
        labels=_labels(event, charge),
        related=_related(charge=charge_id),
    )
    if not captured:
        return  # what is "refunded" of an uncaptured charge is an authorization let go
    released = held - captured if charge.get("captured") and _releases_by_refund(event) else 0
    if released > 0:
        yield _release(event, charge_id, released)
    yield _refund_total(event, charge, charge_id, max(0, released))
    for refund in items(mapping(charge.get("refunds")).get("data")):
        yield from _of_refund(event, {"charge": charge_id, **refund})


def _captured(charge: Object, held: int, currency: str) -> int:
    """Of a multicapture ``captured`` is true at its last one only; of a bank debit while it is under way.

    https://docs.stripe.com/payments/multicapture
    """
    if charge.get("status") in ("pending", "failed"):
        return 0
    captured = amount(charge, "amount_captured", currency)
    if captured is None:  # API versions before 2020 do not say how much
        return held if charge.get("captured") else 0
    return captured


def _release(event: Event, charge: str, released: int) -> Facts:
    """What a capture let go, where Stripe makes a refund of it."""
    if not _releases_by_refund(event):
        return {}
    return fact(f"charge {charge}", released=[event.created_at, released], released_at=event.created_at)


def _refund_total(event: Event, charge: Object, charge_id: str, released: int) -> Facts:
    """``amount_refunded`` is a running total; the total before it stands in ``previous_attributes``.

    Before ``BASIL`` what was never captured is part of both.
    """
    currency = currency_of(charge)
    previous = mapping(mapping(event.payload.get("data")).get("previous_attributes"))
    total, before = (amount(each, "amount_refunded", currency) for each in (charge, previous))
    if total is None or (before is None and type_of(event) != "charge.refunded"):
        return {}
    total, before = max(0, total - released), None if before is None else max(0, before - released)
    if total == (before or 0):
        return {}
    report = [event.as_of, total, UNKNOWN if before is None else before]
    return fact(f"charge {charge_id}", refund_totals=[report], can_be_release=1)


def _of_refund(event: Event, refund: Object) -> Iterator[Facts]:
    currency = currency_of(refund)
    refund_id = required_id(refund.get("id"))
    charge = id_of(refund.get("charge"))
    status = refund.get("status") or "succeeded"  # API versions before 2015 have none
    made = instant(refund.get("created"), 0)
    failed_at = event.created_at if type_of(event) == "refund.failed" else event.as_of  # at the latest
    yield fact(
        f"refund {refund_id}",
        amount=_at(event, amount(refund, "amount", currency)),
        currency=_at(event, currency),
        charge=charge,
        can_be_release=1,
        expired=1 if refund.get("reason") == "expired_uncaptured_charge" else None,
        created_at=min(event.created_at, made) if made else None,
        pending_at=event.created_at if status == "pending" else None,
        succeeded_at=event.created_at if status == "succeeded" else None,
        failed_at=failed_at if status in ("failed", "canceled") else None,
    )
    yield fact("payment", related=_related(charge=charge, refund=refund_id))


def _of_dispute(event: Event, dispute: Object) -> Iterator[Facts]:
    currency = currency_of(dispute)
    charge = id_of(dispute.get("charge"))
    dispute_id = required_id(dispute.get("id") or charge)
    status = str(dispute.get("status"))
    outcome = OUTCOME_OF.get(status)
    is_inquiry = status.startswith("warning_")
    at = event.created_at
    yield fact(
        f"dispute {dispute_id}",
        claimed=claimed_at(event.as_of, outcome, amount(dispute, "amount", currency)),
        currency=_at(event, currency),
        created_at=min(at, instant(dispute.get("created"), at)),
        inquired_at=min(at, instant(dispute.get("created"), at)) if is_inquiry else None,
        disputed_at=None if is_inquiry else at,
        outcome=outcome_at(event.as_of, outcome) if status in OUTCOME_OF else None,
        won_at=at if outcome == "won" else None,
        lost_at=at if outcome == "lost" else None,
        closed_at=at if outcome == "closed" else None,
        withdrawn_at=at if type_of(event) == "charge.dispute.funds_withdrawn" else None,
        reinstated_at=at if type_of(event) == "charge.dispute.funds_reinstated" else None,
        moved=_moved(event, dispute, currency),
    )
    yield fact("payment", related=_related(charge=charge, dispute=dispute_id))
    for each in items(dispute.get("balance_transactions")):
        yield balance.entry(event, each, dispute_id)


def _moved(event: Event, dispute: Object, currency: str) -> list[int] | None:
    """What left the balance for it and what came back, in the balance's currency: the list only grows.

    What comes back can be less: https://docs.stripe.com/disputes/how-disputes-work
    """
    moves = [each for each in items(dispute.get("balance_transactions")) if type(each.get("amount")) is int]
    if not moves:
        return None
    is_same = all(str(each.get("currency")).upper() == currency for each in moves)
    amounts = [in_minor_units(abs(each["amount"]), currency if is_same else "") for each in moves]
    signed = list(zip(moves, amounts, strict=True))
    taken = sum(size for each, size in signed if each["amount"] < 0)
    returned = sum(size for each, size in signed if each["amount"] > 0)
    return [len(moves), event.as_of, taken, returned, int(is_same)]


def _of_checkout_session(event: Event, session: Object) -> Iterator[Facts]:
    """One that is completed and unpaid is under way, or authorized, which other events say.

    https://docs.stripe.com/api/checkout/sessions/object#checkout_session_object-payment_status
    """
    currency = currency_of(session)
    total = amount(session, "amount_total", currency)
    is_paid = session.get("payment_status") == "paid" and bool(total)
    is_submitted = (
        type_of(event) == "checkout.session.completed" and session.get("payment_status") == "unpaid"
    )
    yield fact(
        "payment",
        priced=_priced(event, total, currency, is_paid),
        captured=[[total, event.created_at]] if is_paid else None,
        submitted_at=event.created_at if is_submitted else None,
        customer=_at(event, id_of(session.get("customer"))),
        labels=_labels(event, session, client_reference_id=session.get("client_reference_id")),
        related=_related(checkout_session=session.get("id")),
    )


def _of_balance_transaction(event: Event, transaction: Object) -> Iterator[Facts]:
    """A refund that only a running total showed has its name by it."""
    yield balance.of_payment(event, transaction)
    source = mapping(transaction.get("source"))
    if source["object"] == "refund" and not balance.is_release(transaction):
        yield from _of_refund(event, source)


OBJECTS: Mapping[str, Callable[[Event, Object], Iterator[Facts]]] = {
    "payment_intent": _of_payment_intent,
    "charge": _of_charge,
    "refund": _of_refund,
    "dispute": _of_dispute,
    "checkout.session": _of_checkout_session,
    "balance_transaction": _of_balance_transaction,
}


def _priced(event: Event, asked: int | None, currency: str, is_paid: bool) -> list[int | str] | None:
    return None if asked is None else [int(is_paid), event.as_of, asked, currency]


def _at(event: Event, value: int | str | None) -> list[int | str] | None:
    return None if value is None else [event.as_of, value]


def _labels(event: Event, about: Object, **more: object) -> dict[str, list[int | str]] | None:
    """https://docs.stripe.com/metadata; https://docs.stripe.com/api/checkout/sessions/object"""
    return written(event.as_of, about.get("metadata"), **more)


def _related(**objects: object) -> list[str]:
    return [f"{kind} {object_id}" for kind, value in objects.items() if (object_id := id_of(value))]
