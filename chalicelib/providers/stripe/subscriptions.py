"""What Stripe's events prove of a subscription.

Its own events show all of it, in whole seconds, and an ``updated`` what it was before. What is paid is in its
invoices' lines, since 2025-03-31 with periods by item.
https://docs.stripe.com/api/subscriptions/object, https://docs.stripe.com/api/invoices/object
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chalicelib import payments
from chalicelib.events import Event, items, mapping, safe_id
from chalicelib.providers.stripe.facts import common
from chalicelib.providers.stripe.objects import (
    Object,
    currency_of,
    id_of,
    in_minor_units,
    instant,
    is_thin,
    object_of,
    type_of,
    written,
)
from chalicelib.subscriptions import CREATED, SEEN, STATUS_OF, UPDATED, Facts, fact, fold
from chalicelib.times import to_iso

KINDS = {"customer.subscription.created": CREATED, "customer.subscription.updated": UPDATED}
OVER = ("canceled", "incomplete_expired")  # for good
PENDING = ("incomplete", "incomplete_expired")  # nothing was ever begun
OWN_TYPES = "customer.subscription."
FAILED, TRIAL_ENDS = "invoice.payment_failed", "customer.subscription.trial_will_end"


def facts(event: Event) -> Mapping[str, Facts]:
    """What it proves, by the subject of the subscription that it proves it of."""
    about = object_of(event.payload)
    read = OBJECTS.get(str(about.get("object")))
    subscription = subscription_of(about) if read else None
    named = _named_status(event)
    if read is None or subscription is None:
        return {event.subject: fold([_common(event), named])} if named else {}
    proved = fold([_common(event), named, *read(event, about)])
    return {subject_of(event, subscription): proved}


def _named_status(event: Event) -> Facts:
    """The status that a thin event's type is, to the millisecond; all else of it is left to be fetched.

    https://docs.stripe.com/changelog/endive/2026-10-28/semantic-thin-events-subscriptions-invoicing-financial-connections
    """
    status = type_of(event).removeprefix(OWN_TYPES)
    if not is_thin(event.payload) or status not in STATUS_OF:
        return {}
    at = event.created_at
    return fact(
        "subscription",
        named=[at, status],
        known=[at, status],
        left_pending_at=None if status in PENDING else at,
        **_spell(status, at),
    )


def links(event: Event) -> Iterator[tuple[str, Facts]]:
    """What it proves of which payment was for which subscription, by invoice, by subject.

    Before 2025-03-31 an invoice names its payment, and charges and payment intents their invoice; since then
    an invoice payment names both: https://docs.stripe.com/api/invoice-payment/object
    """
    about = object_of(event.payload)
    kind, id_ = about.get("object"), id_of(about.get("id"))
    subscription = subscription_of(about)
    if kind == "invoice" and id_ and subscription:
        named = id_of(about.get("payment_intent")) if about.get("status") == "paid" else None
        intent = subject_of(event, named) if named else None
        paid_by = [intent] if intent else None
        yield (
            subject_of(event, id_),
            fact("invoice", subscription=subject_of(event, subscription), payments=paid_by),
        )
        if intent:
            yield intent, _payment_of(event, id_)
    invoice, payment = _paid(event, about)
    is_paid = kind == "invoice_payment" and about.get("status", "paid") == "paid"
    how = mapping(about.get("payment")).get("type") if is_paid else None
    if invoice and how == "payment_record":
        yield subject_of(event, invoice), fact("invoice", is_out_of_band=1)
    if invoice and payment:
        yield subject_of(event, invoice), fact("invoice", payments=[payment])
        yield payment, _payment_of(event, invoice)


def _payment_of(event: Event, invoice: str) -> Facts:
    """That there is one, and what it is for; what was paid its own events say."""
    return payments.join(common(event), fact("payment", related=[f"invoice {invoice}"]))


def _paid(event: Event, about: Object) -> tuple[str | None, str | None]:
    """The invoice, and the subject of the payment that was for it."""
    invoice, kind = id_of(about.get("invoice")), about.get("object")
    if kind == "invoice_payment" and about.get("status", "paid") == "paid":
        of = mapping(about.get("payment"))
        named = id_of(of.get("payment_intent")) or id_of(of.get("charge"))
        return invoice, subject_of(event, named) if named else None
    return (invoice, event.subject) if kind in ("charge", "payment_intent") else (None, None)


def subject_of(event: Event, object_id: str) -> str:
    """The subject of another object of the event's account."""
    account = f"{event.account}:" if event.account else ""
    return f"{event.provider}:{account}{object_id}"


def subscription_of(about: Object) -> str | None:
    """The id of the subscription that an object is, or belongs to."""
    if about.get("object") == "subscription":
        return id_of(about.get("id"))
    details = mapping(mapping(about.get("parent")).get("subscription_details"))
    return id_of(details.get("subscription")) or id_of(about.get("subscription"))


def _common(event: Event) -> Facts:
    return fact(
        "subscription",
        updated_at=event.created_at,
        livemode=event.livemode,
        account=[event.of_account] if event.of_account else None,
    )


# ── the subscription itself ─────────────────────────────────────────────────────────────────────────


def _of_subscription(event: Event, about: Object) -> Iterator[Facts]:
    after, at = _state(about), event.as_of
    text = _text(after)
    clock = id_of(about.get("test_clock"))
    yield fact(
        "subscription",
        created_at=instant(about.get("created"), event.created_at),
        customer=_customer(event, about),
        labels=written(at, about.get("metadata")),
        test_clock=clock,
        known=[at, after["status"]] if after["status"] in STATUS_OF else None,
        left_pending_at=None if after["status"] in (*PENDING, "canceled") else at,
        over_at=at if after["status"] == "canceled" else None,
        was_pending=1 if _was_pending(event, after) else None,
        trial_endings=[[after.get("trial_end", 0), at]] if type_of(event) == TRIAL_ENDS else None,
        **_spell(after["status"], at),
    )
    if type_of(event) == "customer.subscription.deleted" or after["status"] in OVER:
        was = _previous(event).get("status")  # why it ended may be said by nothing else
        yield fact("subscription", end=[at, _text({**after, "was": was}) if was else text])
        return
    kind = KINDS.get(type_of(event), SEEN)
    before = _state(_put_back(about, _previous(event))) if kind == UPDATED else {}
    second = at // 1000 * 1000  # as its own events have it: what was fetched in one is no later
    yield fact("subscription", reports=[[second, kind, event.id, _text(before) if before else "", text]])
    types = sorted(type_ for type_, holds in CHANGES.items() if before and holds(before, after))
    if types:
        sold = _text({"before": _bare(before), "after": _bare(after)}) if "changed" in types else None
        yield fact(f"change {event.id}", changed_at=at, types=types, sold=sold)


def _was_pending(event: Event, state: Mapping[str, Any]) -> bool:
    """Whether nothing had begun, now or before what changed."""
    return state["status"] in PENDING or _previous(event).get("status") in PENDING


def _spell(status: str, at: int) -> dict[str, Any]:
    if status == "past_due":
        return {"past_due_at": [at]}
    return {} if status in ("unpaid", *OVER) else {"well_at": at}


def _previous(event: Event) -> Object:
    return mapping(mapping(event.payload.get("data")).get("previous_attributes"))


def _put_back(about: Object, previous: Object) -> Object:
    """The object as it was: objects within it are changed by field, lists as a whole."""
    was = dict(about)
    for name, value in previous.items():
        is_inner = isinstance(value, dict) and isinstance(about.get(name), dict)
        was[name] = _put_back(about[name], value) if is_inner else value
    return was


def _text(state: Mapping[str, Any]) -> str:
    return json.dumps(state, sort_keys=True)


def _state(about: Object) -> dict[str, Any]:
    """What is tracked of it. Instants in milliseconds; what is not there is left out."""
    pause = mapping(about.get("pause_collection"))
    own = [_item(each, about) for each in items(mapping(about.get("items")).get("data"))]
    found = {
        "status": str(about.get("status")),
        "items": own,
        "start": _at(about.get("start_date")),
        "trial_end": _at(about.get("trial_end")),
        "cancel_at": _cancel_at(about, own),
        "ended_at": _at(about.get("ended_at")),
        "reason": mapping(about.get("cancellation_details")).get("reason"),
        "is_collection_paused": bool(pause) or None,
        "resumes_at": _at(pause.get("resumes_at")),
        "pending": _pending_update(mapping(about.get("pending_update"))),
    }
    return {name: value for name, value in found.items() if value is not None}


def _pending_update(update: Object) -> dict[str, Any] | None:
    """A change that waits for its payment: https://docs.stripe.com/billing/subscriptions/pending-updates"""
    if not update:
        return None
    sold = [_announced(each) for each in items(update.get("subscription_items"))]
    expires = _at(update.get("expires_at"))
    return {"what": "update", "at": None, "until": to_iso(expires) if expires else None, "items": sold}


def _announced(item: Object) -> dict[str, Any]:
    return {"price": id_of(item.get("price")) or id_of(item.get("plan")), "quantity": item.get("quantity")}


def _of_schedule(event: Event, schedule: Object) -> Iterator[Facts]:
    """The phase that comes after the running one, while the schedule is in force.

    https://docs.stripe.com/api/subscription_schedules/object
    """
    ends = _at(mapping(schedule.get("current_phase")).get("end_date"))
    phases = items(schedule.get("phases"))
    following = next((p for p in phases if ends is not None and _at(p.get("start_date")) == ends), None)
    announced = ""
    if following is not None and ends is not None and schedule.get("status") == "active":
        sold = [_announced(each) for each in items(following.get("items"))]
        announced = _text({"what": "schedule", "at": to_iso(ends), "until": None, "items": sold})
    said = [event.as_of, ends or 0, announced]
    yield fact("subscription", schedule=said, customer=_customer(event, schedule))


def _at(value: object) -> int | None:
    return instant(value, -1) if isinstance(value, int) and not isinstance(value, bool) else None


def _cancel_at(about: Object, own: list[dict[str, Any]]) -> int | None:
    """Also where only the period's end is said: then it is that one."""
    stated = _at(about.get("cancel_at"))
    if stated is not None or not about.get("cancel_at_period_end"):
        return stated
    return min((each["period_end"] for each in own if each["period_end"]), default=None)


def _item(item: Object, about: Object) -> dict[str, Any]:
    """Before 2025-03-31 the periods are the subscription's, and the price may be a plan alone."""
    price = mapping(item.get("price")) or mapping(item.get("plan"))
    recurring = mapping(price.get("recurring")) or price
    unit = price.get("unit_amount", price.get("amount"))
    currency = currency_of(price if price.get("currency") else about)
    is_metered = recurring.get("usage_type") == "metered"
    is_flat = price.get("billing_scheme", "per_unit") == "per_unit" and not is_metered
    return {
        "id": id_of(item.get("id")),
        "price": id_of(price.get("id")),
        "product": id_of(price.get("product")),
        "quantity": item.get("quantity") if isinstance(item.get("quantity"), int) else None,
        "amount": in_minor_units(unit, currency) if isinstance(unit, int) and is_flat else None,
        "currency": currency,
        "interval": f"{recurring.get('interval_count', 1)} {recurring.get('interval')}",
        "period_start": _at(item.get("current_period_start", about.get("current_period_start"))),
        "period_end": _at(item.get("current_period_end", about.get("current_period_end"))),
        **({"is_metered": True} if is_metered else {}),
    }


def _customer(event: Event, about: Object) -> list[Any] | None:
    """Without it, nobody who is to be forgotten would be found by it."""
    customer = id_of(about.get("customer"))
    return [event.as_of, customer] if customer else None


# ── what names it ───────────────────────────────────────────────────────────────────────────────────


def _of_session(event: Event, session: Object) -> Iterator[Facts]:
    own = session.get("client_reference_id")
    named = written(event.as_of, session.get("metadata"), client_reference_id=own)
    yield fact("subscription", labels=named, customer=_customer(event, session))


def _of_invoice(event: Event, invoice: Object) -> Iterator[Facts]:
    """Its copy of the metadata is as of when it was finalized, whenever it is paid."""
    details = mapping(mapping(invoice.get("parent")).get("subscription_details")) or mapping(
        invoice.get("subscription_details")
    )
    finalized_at = _at(mapping(invoice.get("status_transitions")).get("finalized_at"))
    copied_at = finalized_at or _at(invoice.get("created")) or event.created_at
    named = written(copied_at, details.get("metadata"))
    yield fact("subscription", labels=named, customer=_customer(event, invoice))
    thing = f"invoice {id_of(invoice.get('id'))}"
    yield fact(thing, created=_at(invoice.get("created")) or event.created_at)
    if type_of(event) == FAILED:
        count, next_at = invoice.get("attempt_count"), _at(invoice.get("next_payment_attempt"))
        attempt = count if isinstance(count, int) else 0
        yield fact(
            thing,
            attempts=[event.created_at, attempt, next_at or 0],
            failed=[[attempt, event.created_at]],
        )
    if invoice.get("status") in ("void", "uncollectible"):
        yield fact(thing, closed=1)
    if invoice.get("status") == "paid":
        yield from _of_paid_invoice(event, invoice, thing)


def _of_paid_invoice(event: Event, invoice: Object, thing: str) -> Iterator[Facts]:
    currency = currency_of(invoice)
    paid_at = _at(mapping(invoice.get("status_transitions")).get("paid_at")) or event.created_at
    intent = id_of(invoice.get("payment_intent"))
    is_out_of_band = bool(invoice.get("paid_out_of_band"))
    paid = invoice.get("amount_paid") or (invoice.get("amount_due") if is_out_of_band else 0)
    amount = in_minor_units(paid, currency) if isinstance(paid, int) else 0
    if amount > 0 or is_out_of_band:
        yield fact("subscription", first_paid=[paid_at, id_of(invoice.get("id")), amount])
    yield fact(
        thing,
        paid=[amount, currency],
        paid_at=paid_at,
        billed_for=safe_id(invoice.get("billing_reason")),
        payment=subject_of(event, intent) if intent else None,
        is_out_of_band=1 if is_out_of_band else None,
    )
    billed_at = _at(invoice.get("created")) or paid_at
    for line in items(mapping(invoice.get("lines")).get("data")):
        read = _line(line, billed_at)
        if read:
            yield fact(f"{thing.replace('invoice', 'line', 1)} {id_of(line.get('id'))}", line=read)


def _line(line: Object, billed_at: int) -> list[Any] | None:
    """``[billed at, item, start, end, amount, price]`` of a line for a time of an item; usage is none."""
    parent = mapping(mapping(line.get("parent")).get("subscription_item_details"))
    item = id_of(parent.get("subscription_item")) or id_of(line.get("subscription_item"))
    price = mapping(line.get("price")) or mapping(line.get("plan"))
    usage = mapping(price.get("recurring")).get("usage_type") or price.get("usage_type")
    period = mapping(line.get("period"))
    start, end, amount = _at(period.get("start")), _at(period.get("end")), line.get("amount")
    if item is None or start is None or end is None or not isinstance(amount, int) or usage == "metered":
        return None
    named = id_of(mapping(mapping(line.get("pricing")).get("price_details")).get("price")) or id_of(
        price.get("id")
    )
    return [billed_at, item, start, end, amount, named or ""]


State = Mapping[str, Any]


def _is_paused(state: State) -> bool:
    """As it is shown: where its collection alone is paused, other statuses keep theirs."""
    return state["status"] == "paused" or (
        state["status"] == "active" and bool(state.get("is_collection_paused"))
    )


def _is_canceling(state: State) -> bool:
    return state.get("cancel_at") is not None


def _sold(state: State) -> list[Any]:
    """What is paid for, without the time it is paid for."""
    return [[each[name] for name in ("id", "price", "quantity", "amount")] for each in state["items"]]


def _bare(state: State) -> list[dict[str, Any]]:
    return [{name: each[name] for name in ("id", "price", "quantity", "amount")} for each in state["items"]]


OWING = ("past_due", "unpaid")
# What a change is, by what was before and what is after it.
CHANGES: Mapping[str, Callable[[State, State], bool]] = {
    "past_due": lambda was, is_now: was["status"] != "past_due" == is_now["status"],
    "recovered": lambda was, is_now: was["status"] in OWING and is_now["status"] == "active",
    "paused": lambda was, is_now: _is_paused(is_now) and not _is_paused(was),
    "resumed": lambda was, is_now: _is_paused(was) and not _is_paused(is_now),
    "changed": lambda was, is_now: _sold(was) != _sold(is_now),
    "cancel_scheduled": lambda was, is_now: _is_canceling(is_now) and not _is_canceling(was),
    "cancel_unscheduled": lambda was, is_now: _is_canceling(was) and not _is_canceling(is_now),
}

OBJECTS = {
    "subscription": _of_subscription,
    "invoice": _of_invoice,
    "checkout.session": _of_session,
    "subscription_schedule": _of_schedule,
}
