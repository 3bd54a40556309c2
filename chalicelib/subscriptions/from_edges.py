"""How a subscription stands at Stripe: by its last state, its end for good, and its invoices."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chalicelib.joining import Facts, Fields, reported, things
from chalicelib.subscriptions.order import last
from chalicelib.subscriptions.paid import Line, lines, paid_through
from chalicelib.subscriptions.standing import (
    ACTIVE,
    COLLECTION,
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

STATUS_OF = {  # https://docs.stripe.com/api/subscriptions/object#subscription_object-status
    "incomplete": PENDING,
    "trialing": TRIALING,
    "active": ACTIVE,
    "past_due": PAST_DUE,
    "unpaid": UNPAID,
    "paused": PAUSED,
    "canceled": ENDED,
    "incomplete_expired": ENDED,
}
# https://docs.stripe.com/api/subscriptions/object#subscription_object-cancellation_details-reason
REASON_OF = {
    "cancellation_requested": "requested",
    "payment_failed": "payment_failed",
    "payment_disputed": "disputed",
}


OWING = (PENDING, PAST_DUE, UNPAID)


def standing(facts: Facts, terms: Terms) -> Standing:
    """What holds by these facts."""
    own = facts.get("subscription", {})
    state, is_certain = _state(own)
    status = _status(state, own)
    trial_ends_at = state.get("trial_end")
    over_at = _over_at(state, own) if status == ENDED else None
    items = _items(state, lines(facts, terms, over_at), trial_ends_at)
    paid = [each["paid_through"] for each in items]
    attempts = _attempts(facts)
    found = Standing(
        status=status,
        provider_status=state.get("status"),
        items=items,
        started_at=state.get("start"),
        trial_ends_at=trial_ends_at,
        paid_through=min(filter(None, paid), default=None),
        cancel_at=state.get("cancel_at"),
        provider_reason=state.get("reason"),
        pause=_pause(state),
        paused_until=state.get("resumes_at"),
        pending=state.get("pending") or _scheduled(own),
        past_due_since=_past_due_since(own) if status == PAST_DUE else None,
        failed_attempts=attempts[0] if status in OWING else 0,
        next_attempt_at=attempts[1] if status in OWING else None,
        certain=is_certain and _is_known(state, items),
    )
    return _ended(found, state, own, over_at) if status == ENDED else found


def _state(own: Fields) -> tuple[Mapping[str, Any], bool]:
    """What holds: the end for good, else what was said last; a status by its name is to the millisecond."""
    if "end" in own:
        return json.loads(own["end"][1]), True
    reports = own.get("reports", ())
    found = last(reports)
    state, is_certain = (json.loads(found.state), found.is_certain) if found.state else ({}, False)
    named_at, named = own.get("named", (-1, ""))
    heard_at = max((each[0] for each in reports), default=-1)
    if not named or named_at < heard_at:
        return state, is_certain
    is_of_second = named_at < heard_at + 1000 and state.get("status") != named
    return {**state, "status": named}, is_certain and not is_of_second


def _over_at(state: Mapping[str, Any], own: Fields) -> int:
    """When it ended, by the provider, else by the event that says so."""
    told: list[int] = own["end"] if "end" in own else own["named"]
    return int(state.get("ended_at") or told[0])


def _scheduled(own: Fields) -> dict[str, Any] | None:
    """What a schedule brings that has not begun yet, as far as was heard."""
    _, begins_at, text = own.get("schedule", (0, 0, ""))
    is_to_come = text and begins_at > own.get("updated_at", 0)
    return dict(json.loads(text)) if is_to_come else None


def _status(state: Mapping[str, Any], own: Fields) -> str:
    """One that nobody knows changes nothing: it stays what it was."""
    known = STATUS_OF.get(_known(own), PENDING)
    status = STATUS_OF.get(str(state.get("status")), known)
    return PAUSED if status == ACTIVE and state.get("is_collection_paused") else status


def _known(own: Fields) -> str:
    """The provider's last word that was one."""
    reports = [each for each in own.get("reports", ()) if json.loads(each[-1])["status"] in STATUS_OF]
    heard = last(reports).state
    return str(json.loads(heard)["status"]) if heard else reported(own, "known") or ""


def _pause(state: Mapping[str, Any]) -> str | None:
    if state.get("status") == "paused":
        return SERVICE
    return COLLECTION if state.get("is_collection_paused") else None


def _items(
    state: Mapping[str, Any], billed: list[Line], trial_ends_at: int | None
) -> tuple[dict[str, Any], ...]:
    """Usage is billed afterwards: it pays for no time to come."""
    shown = []
    for each in state.get("items", ()):
        paid = None if each.get("is_metered") else paid_through(each["id"], billed, trial_ends_at)
        item = {name: value for name, value in each.items() if name != "is_metered"}
        shown.append({**item, "paid_through": paid})
    return tuple(shown)


def _is_known(state: Mapping[str, Any], items: tuple[dict[str, Any], ...]) -> bool:
    """Whether its status is one that there is, and each item's period is said."""
    return state.get("status") in STATUS_OF and all(each["period_end"] for each in items)


def _past_due_since(own: Fields) -> int | None:
    """When this spell began: the first time after it was last well, or the same second."""
    return min((at for at in own.get("past_due_at", ()) if at >= own.get("well_at", -1)), default=None)


def _attempts(facts: Facts) -> tuple[int, int | None]:
    """How often the latest invoice that is not paid was tried in vain, and when it is tried next."""
    open_ = [
        fields["attempts"]
        for _, fields in things(facts, "invoice")
        if "attempts" in fields and not {"paid", "closed"} & fields.keys()
    ]
    if not open_:
        return 0, None
    _, count, next_at = max(open_)
    return count, next_at or None


def _ended(found: Standing, state: Mapping[str, Any], own: Fields, over_at: int | None) -> Standing:
    return replace(
        found,
        ended_at=over_at,
        ended_reason=_ended_reason(state, own),
        pending=None,
        cancel_at=None,
        paused_until=None,
        pause=None,
    )


def _ended_reason(state: Mapping[str, Any], own: Fields) -> str:
    if state.get("status") == "incomplete_expired":
        return "never_paid"
    reason = state.get("reason")
    if reason is not None:
        return REASON_OF.get(reason, "other")
    before = last(own.get("reports", ())).state
    was = state.get("was") or (json.loads(before)["status"] if before else None)
    return "payment_failed" if was in ("past_due", "unpaid") else "requested"
