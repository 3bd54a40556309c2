"""How a subscription stands at PayPal: by the latest body that shows it, its status' own time, and its sales.

A body says how often a payment failed and what is owed while its status stays ACTIVE. No event tells of the
end of a trial, nor always of what became of a payment: a sale that came later says so.
https://developer.paypal.com/docs/api/subscriptions/v1/#subscriptions_get
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chalicelib.joining import Facts, Fields
from chalicelib.subscriptions.paid import Bill, bills
from chalicelib.subscriptions.spells import spells
from chalicelib.subscriptions.standing import (
    ACTIVE,
    ENDED,
    PAST_DUE,
    PAUSED,
    PENDING,
    SERVICE,
    TRIALING,
    UNPAID,
    Standing,
)
from chalicelib.subscriptions.terms import Terms
from chalicelib.times import HOUR, plus

State = Mapping[str, Any]
CANCELLED, EXPIRED = "CANCELLED", "EXPIRED"  # the first is for good
STATUSES_OF = {  # what it is while nothing fails, and while something does
    "APPROVAL_PENDING": (PENDING, PENDING),
    "APPROVED": (PENDING, PENDING),
    "PENDING": (PENDING, PENDING),  # version 1's
    "ACTIVE": (ACTIVE, PAST_DUE),
    "SUSPENDED": (PAUSED, UNPAID),
    CANCELLED: (ENDED, ENDED),
    EXPIRED: (ENDED, ENDED),
}
SAME = HOUR  # a sale and the payment that a body names, no further apart than this, are one


def standing(facts: Facts, terms: Terms) -> Standing:
    """What holds by these facts."""
    own = facts.get("subscription", {})
    state = json.loads(own.get("body", ("{}",))[-1])
    _, at, heard_at, told = own.get("billing", (0, -1, -1, "{}"))
    billing = json.loads(told)
    _, offered = facts.get(f"plan {state.get('plan')}", {}).get("offer", (-1, "{}"))
    offer = json.loads(offered)
    over_at = own["end"][0] if "end" in own else None
    heard = [each for each in bills(facts) if over_at is None or each.at <= over_at]
    sales = [each for each in heard if each.reversed not in terms.reversed_ends]
    undone = [each for each in bills(facts) if each.reversed in terms.reversed_ends]
    sold_at = max((each.at for each in sales), default=-1)
    is_failing = _is_failing(billing, heard_at, sold_at)
    word = _word(own)
    status = STATUSES_OF.get(word if word in STATUSES_OF else _known(own), (PENDING, PENDING))[is_failing]
    if status == ACTIVE and _is_on_trial(billing) and sold_at <= at:
        status = TRIALING
    paid_through = _paid_through(own, offer.get("interval"), sales, undone)
    items = _items({**billing, **offer, **state}, at, sold_at, is_failing, paid_through) if state else ()
    owes = status in (PAST_DUE, UNPAID)
    found = Standing(
        status=status,
        provider_status=word,
        items=items,
        started_at=state.get("start"),
        trial_ends_at=own["trial"][1] if "trial" in own else None,
        paid_through=paid_through,
        pause=SERVICE if status == PAUSED else None,
        past_due_since=_past_due_since(facts, sold_at) if status == PAST_DUE else None,
        failed_attempts=billing.get("failed", 0) if owes else 0,
        next_attempt_at=billing.get("next_attempt") if owes else None,
    )
    is_certain = word in STATUSES_OF and _is_known(found, was_paid=sold_at > -1 or "paid_at" in billing)
    if status == ENDED:
        return replace(found, certain=is_certain, **_ended(own, is_failing))
    return replace(found, certain=is_certain)


def _word(own: Fields) -> str | None:
    """PayPal's own: what is cancelled is so for good, all else is dated by the status' own time."""
    if "end" in own:
        return CANCELLED
    return own["status_said"][-1] if "status_said" in own else None


def _known(own: Fields) -> str:
    """The last word that is one: where nobody knows the latest, the status stays what it was."""
    return str(own["known"][-1]) if "known" in own else ""


def fails(state: State | None) -> bool:
    """Whether a payment failed, or something is owed, as far as a body says."""
    if not state:
        return False
    failed_last = state.get("failed_at", -1) > state.get("paid_at", -1)
    return bool(state.get("failed", 0) > 0 or state.get("owes", 0) > 0 or failed_last)


def _is_failing(billing: State, heard_at: int, sold_at: int) -> bool:
    """By the last that a body said, unless a sale has been completed since that it does not know of."""
    is_known = sold_at <= billing.get("paid_at", -1)
    return fails(billing) and (is_known or sold_at < billing.get("failed_at", heard_at))


def _is_on_trial(state: State) -> bool:
    """Without a trial none may be completed either, in the body that names the first payment."""
    is_unpaid = not state.get("regular_done", 1) and (state.get("has_trial") or "paid_at" not in state)
    return bool(state.get("trial_left", 0) > 0 or is_unpaid)


def _paid_through(own: Fields, interval: str | None, sales: list[Bill], undone: list[Bill]) -> int | None:
    """What a body says of the next billing, or a later sale and the plan's interval."""
    until: int | None
    _, until, paid_at = own.get("billed_until", (-1, None, -1))
    later = [each.at for each in sales if each.at > paid_at + SAME]
    if not later:
        is_undone = any(abs(each.at - paid_at) <= SAME for each in undone)
        return None if is_undone else until
    return plus(max(later), interval) if interval else None


def _items(
    state: State, at: int, sold_at: int, is_failing: bool, paid_through: int | None
) -> tuple[dict[str, Any], ...]:
    is_later = sold_at > max(at, state.get("paid_at", -1) + SAME)
    end = None if is_failing else paid_through if is_later else state.get("next_billing")
    return (
        {
            "id": None,
            "price": state.get("plan"),
            "product": state.get("product"),
            "quantity": state.get("quantity"),
            "amount": state.get("amount"),
            "currency": state.get("currency"),
            "interval": state.get("interval"),
            "period_start": max(sold_at, state.get("paid_at", -1), state.get("start", -1)),
            "period_end": end,
            "paid_through": paid_through,
        },
    )


def _is_known(found: Standing, was_paid: bool) -> bool:
    """Whether the end of what it grants by is known."""
    if found.status == TRIALING:
        return found.trial_ends_at is not None
    if found.status == ACTIVE:
        return found.period_end is not None
    return found.status not in (PAUSED, ENDED) or found.paid_through is not None or not was_paid


def _past_due_since(facts: Facts, sold_at: int) -> int | None:
    """When the first attempt of this spell failed."""
    owed = [each.owed_at for each in spells(facts) if each.owed_at is not None]
    return max((at for at in owed if at > sold_at), default=max(owed, default=None))


def _ended(own: Fields, is_failing: bool) -> dict[str, Any]:
    """PayPal gives no reason that is a word: it was the payments' where they were failing at the end."""
    if "end" not in own:
        return {"ended_at": own["status_said"][0], "ended_reason": "completed"}
    return {"ended_at": own["end"][0], "ended_reason": "payment_failed" if is_failing else "requested"}
