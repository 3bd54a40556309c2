"""What PayPal's events prove of a subscription: its bodies, of version 1 or 2, and the sales that are of it.

https://developer.paypal.com/docs/api/subscriptions/v1/#subscriptions_get
https://developer.paypal.com/docs/api/payments.billing-agreements/v1/
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.events import Event, items, mapping, safe_id
from chalicelib.kinds import SUBSCRIPTIONS
from chalicelib.payments.labels import labels
from chalicelib.providers.paypal.objects import (
    CAPTURES,
    NAME,
    SUBSCRIPTION_TYPES,
    Resource,
    amount_of,
    instant,
    resource_of,
    says,
    subscription_of,
)
from chalicelib.subscriptions import CYCLE, STATUSES_OF, Facts, fact, fails, fold
from chalicelib.times import HOUR, to_iso

CANCELLED, EXPIRED = "CANCELLED", "EXPIRED"
PLAN_TYPES = "BILLING.PLAN."
BEGUN = ("ACTIVE", "SUSPENDED", EXPIRED)
UNPAID = ("APPROVAL_PENDING", "APPROVED", "PENDING")  # nothing has begun
NEVER = -1
SHORTEST = 24 * HOUR  # a billing that is no further off than this is the one that was just made


def facts(event: Event) -> Mapping[str, Facts]:
    """What it proves, by the subject of the subscription that it proves it of."""
    resource = resource_of(event)
    if event.type.startswith(PLAN_TYPES):
        return _of_plan(event, resource)
    if event.type.startswith(SUBSCRIPTION_TYPES):
        subscription = safe_id(resource.get("id"))
        proved = list(_of_body(event, as_v2(resource)))
    elif event.type in CAPTURES:
        subscription = subscription_of(resource)
        shown = as_v2(mapping(event.payload.get("subscription")))  # as it was asked about
        proved = [*_of_sale(event, resource), *(_of_body(event, shown) if shown else ())]
    else:
        return {}
    if not subscription or not subscription.startswith(SUBSCRIPTIONS[NAME]):
        return {}  # such as an agreement for single payments
    return {f"{NAME}:{subscription}": fold([_common(event), *proved])}


def _of_plan(event: Event, plan: Resource) -> Mapping[str, Facts]:
    """What it sells, by its own subject: https://developer.paypal.com/docs/api/subscriptions/v1/#plans_get"""
    plan_id = safe_id(plan.get("id"))
    offer = _offer({"billing_cycles": _v1_cycles(plan, ""), **plan})
    if not plan_id or not plan_id.startswith("P-") or offer["interval"] is None:
        return {}
    at = instant(plan.get("update_time"), event.created_at)
    return {f"{NAME}:{plan_id}": fact("plan", offer=[at, _text(offer)])}


def _common(event: Event) -> Facts:
    account = [event.via] if event.via else None
    return fact("subscription", updated_at=event.created_at, livemode=event.livemode, account=account)


# ── its body ────────────────────────────────────────────────────────────────────────────────────────


def _of_body(event: Event, shown: Resource) -> Iterator[Facts]:
    """What holds of it now, and, where the body says so, how its payments go."""
    state, billing = _state(shown), _billing(shown)
    at, said_at = _dated(event, shown), instant(event.payload.get("create_time"), NEVER)
    word = str(shown.get("status"))
    heard_at = at if said_at == NEVER else said_at
    status_at = instant(shown.get("status_update_time"), heard_at)
    is_failing = fails(billing)
    is_well = billing is not None and not is_failing
    has_begun = int(word not in UNPAID)  # of one second, it is what came of it
    yield fact(
        "subscription",
        created_at=instant(shown.get("create_time"), event.created_at),
        customer=[at, event.customer] if event.customer else None,
        labels=labels(at, custom_id=shown.get("custom_id")),
        body=[at, has_begun, said_at, _text(state)],
        status_said=[status_at, has_begun, at, said_at, word],
        known=[status_at, has_begun, word] if word in STATUSES_OF else None,
        left_pending_at=status_at if word in BEGUN or (billing or {}).get("paid_at") else None,
        over_at=status_at if word == CANCELLED else None,
        was_pending=None if has_begun else 1,
        billing=[int(word != CANCELLED), at, heard_at, _text(billing)] if billing else None,
        billed_until=_billed_until(billing, at) if billing and not is_failing else None,
        trial=_trial(billing, at) if billing else None,
        well_at=heard_at if word == "ACTIVE" and is_well else None,
        sold={f"{state['plan']}/{state.get('quantity', 1)}": at} if "plan" in state else None,
        end=[status_at, word] if word == CANCELLED else None,
        expired_at=[status_at] if word == EXPIRED else None,
        paused_at=[status_at] if word == "SUSPENDED" and is_well else None,
        resumed_at=[status_at] if word == "ACTIVE" and _says_when(event, shown) else None,
    )
    offer = _offer(mapping(shown.get("plan")))
    if offer["interval"] is not None:
        yield fact(f"plan {state.get('plan')}", offer=[at, _text(offer)])
    if billing and is_failing and word in ("ACTIVE", "SUSPENDED"):
        yield _spell(billing, word, heard_at)


def _says_when(event: Event, shown: Resource) -> bool:
    """Whether the instant is the status' own: else one body after the other would be its beginning."""
    return "status_update_time" in shown or event.type.endswith("ACTIVATED")


def _dated(event: Event, shown: Resource) -> int:
    """The latest instant that the body says: its update may be older than its payments."""
    billing = mapping(shown.get("billing_info"))
    said = (
        shown.get("update_time"),
        mapping(billing.get("last_payment")).get("time"),
        mapping(billing.get("last_failed_payment")).get("time"),
    )
    latest = max(instant(each, NEVER) for each in said)
    return event.created_at if latest == NEVER else latest


def _spell(state: Mapping[str, Any], word: str, at: int) -> Facts:
    """Of payments that fail, by the last one that did not; first heard of ``at``."""
    since = to_iso(state["paid_at"]) if "paid_at" in state else "first"
    is_own = "failed_at" in state
    tried = [state.get("failed_at", at), state.get("failed", 0), int(word == "ACTIVE"), int(is_own)]
    return fact(f"spell {since}", tried=[tried])


def _billed_until(state: Mapping[str, Any], at: int) -> list[int] | None:
    """``[instant, next billing, last payment]``, where one was made: a trial is not paid."""
    until, paid_at = state.get("next_billing"), state.get("paid_at")
    if until is None or paid_at is None or until <= paid_at + SHORTEST:
        return None
    return [at, until, paid_at]


def _trial(state: Mapping[str, Any], at: int) -> list[int] | None:
    until = state.get("next_billing")
    is_on_trial = state.get("has_trial") and (state.get("trial_left") or not state.get("regular_done", 1))
    return [at, until] if is_on_trial and until is not None and until > at else None


def _state(shown: Resource) -> dict[str, Any]:
    """What is kept of a body. Instants in milliseconds; only what is there.

    A plan without its interval is a price of this one's own.
    """
    offer = _offer(mapping(shown.get("plan")))
    own = {"amount": offer["amount"], "currency": offer["currency"]} if offer["interval"] is None else {}
    found = {
        **own,
        "plan": safe_id(shown.get("plan_id")),
        "quantity": _whole(shown.get("quantity")) or 1,
        "start": _at(shown.get("start_time")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _billing(shown: Resource) -> dict[str, Any] | None:
    """How its payments go, where a body says so. Instants in milliseconds, amounts in minor units."""
    billing = mapping(shown.get("billing_info"))
    if not billing:
        return None
    paid, failed = mapping(billing.get("last_payment")), mapping(billing.get("last_failed_payment"))
    cycles = {str(each.get("tenure_type")): each for each in items(billing.get("cycle_executions"))}
    trial, regular = cycles.get("TRIAL", {}), cycles.get("REGULAR", {})
    found = {
        "failed": _whole(billing.get("failed_payments_count")),
        "owes": _money(billing.get("outstanding_balance")),
        "paid_at": _at(paid.get("time")),
        "failed_at": _at(failed.get("time")),
        "next_attempt": _at(failed.get("next_payment_retry_time") or failed.get("next_payment_retry_date")),
        "next_billing": _at(billing.get("next_billing_time")),
        "has_trial": True if trial else None,
        "trial_left": _whole(trial.get("cycles_remaining")),
        "regular_done": _whole(regular.get("cycles_completed")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _offer(plan: Resource) -> dict[str, Any]:
    """What a plan says of its regular cycle."""
    regular = next((each for each in items(plan.get("billing_cycles")) if _is_regular(each)), {})
    frequency, pricing = mapping(regular.get("frequency")), mapping(regular.get("pricing_scheme"))
    unit, count = str(frequency.get("interval_unit") or "").lower(), _whole(frequency.get("interval_count"))
    price = mapping(pricing.get("fixed_price"))
    return {
        "product": safe_id(plan.get("product_id")),
        "interval": f"{count or 1} {unit}" if unit in ("day", "week", "month", "year") else None,
        "amount": None if pricing.get("tiers") else _money(price),
        "currency": safe_id(price.get("currency_code")),
    }


def _is_regular(cycle: Resource) -> bool:
    return cycle.get("tenure_type") == "REGULAR"


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _at(value: object) -> int | None:
    at = instant(value, NEVER)
    return None if at == NEVER else at


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | str) and str(value).isdecimal() else None


def _money(value: object) -> int | None:
    try:
        return amount_of(value)[0]
    except ValueError:
        return None


def as_v2(shown: Resource) -> Resource:
    """A billing agreement of version 1 in the shape of a subscription."""
    details = mapping(shown.get("agreement_details"))
    if not details and "state" not in shown:
        return shown
    plan = mapping(shown.get("plan"))
    currency = str(plan.get("curr_code") or "")
    return {
        "id": shown.get("id"),
        "status": str(shown.get("state")).upper(),
        "plan_id": plan.get("id"),
        "start_time": shown.get("start_date"),
        "billing_info": {
            "outstanding_balance": _v1_money(details.get("outstanding_balance"), currency),
            "failed_payments_count": details.get("failed_payment_count"),
            "last_payment": {"time": details.get("last_payment_date")},
            "next_billing_time": details.get("next_billing_date"),
        },
        "plan": {"billing_cycles": _v1_cycles(plan, currency)},
    }


def _v1_money(value: object, currency: str) -> Resource:
    given = mapping(value)
    return {"value": given.get("value"), "currency_code": given.get("currency") or currency}


def _v1_cycles(plan: Resource, currency: str) -> list[Resource]:
    return [_v1_cycle(each, currency) for each in items(plan.get("payment_definitions"))]


def _v1_cycle(definition: Resource, currency: str) -> Resource:
    return {
        "tenure_type": definition.get("type"),
        "frequency": {
            "interval_unit": definition.get("frequency"),
            "interval_count": definition.get("frequency_interval"),
        },
        "pricing_scheme": {"fixed_price": _v1_money(definition.get("amount"), currency)},
    }


# ── its sales ───────────────────────────────────────────────────────────────────────────────────────


def _of_sale(event: Event, sale: Resource) -> Iterator[Facts]:
    """One sale is told by several events: its own id counts, and its own time."""
    yield fact(
        "subscription",
        labels=labels(event.created_at, custom_id=sale.get("custom_id") or sale.get("custom")),
        customer=[event.created_at, event.customer] if event.customer else None,
    )
    sale_id = safe_id(sale.get("id"))
    if says(event.type, sale) == "captured" and sale_id:
        paid_at = instant(sale.get("create_time"), event.created_at)
        amount, currency = amount_of(sale.get("amount"))
        if amount > 0:
            yield fact("subscription", first_paid=[paid_at, sale_id, amount])
        yield fact(
            f"sale {sale_id}",
            paid=[amount, currency],
            paid_at=paid_at,
            billed_for=CYCLE,
            payment=f"{NAME}:{sale_id}",
        )
