"""The subscription as it is shown, and what it grants: from its facts, and the instant asked about."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from chalicelib.joining import Facts, Fields, reported, things
from chalicelib.payments import Milestone
from chalicelib.subscriptions.milestones import is_money, reached
from chalicelib.subscriptions.order import last
from chalicelib.subscriptions.paid import Line, lines, paid_through
from chalicelib.times import DAY, to_iso

PENDING, TRIALING, ACTIVE, PAST_DUE, UNPAID, PAUSED, ENDED = STATUSES = (
    "pending",
    "trialing",
    "active",
    "past_due",
    "unpaid",
    "paused",
    "ended",
)
INSTANTS = (
    "started_at",
    "trial_ends_at",
    "paid_through",
    "cancel_at",
    "ended_at",
    "paused_until",
    "past_due_since",
    "next_attempt_at",
    "created_at",
    "updated_at",
)
OF_ITEM = ("period_start", "period_end", "paid_through")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a stage grants beyond what is paid. Days."""

    slack: int = 3
    grace: int = 7
    paused: str = "provider"
    ended_keeps_paid: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whether there is access at the instant that was asked about; until when without slack, where known."""

    access: bool
    until: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One subscription. Instants in milliseconds; ``to_dict`` shows them as ISO 8601."""

    id: str
    provider: str
    status: str
    provider_status: str | None
    livemode: bool | None
    account: str | None
    test_clock: str | None
    customer: str | None
    reference: str | None
    metadata: dict[str, str]
    items: tuple[dict[str, Any], ...]
    started_at: int | None
    trial_ends_at: int | None
    paid_through: int | None
    cancel_at: int | None
    ended_at: int | None
    ended_reason: str | None
    provider_reason: str | None
    pause: str | None
    paused_until: int | None
    pending: Any
    past_due_since: int | None
    failed_attempts: int
    next_attempt_at: int | None
    last_payment: dict[str, Any] | None
    certain: bool
    created_at: int | None
    updated_at: int | None
    milestones: tuple[Milestone, ...]

    @property
    def period_end(self) -> int | None:
        """The running period's end, as the provider states it: the earliest item's."""
        return min((each["period_end"] for each in self.items if each["period_end"]), default=None)

    @property
    def is_free(self) -> bool:
        return bool(self.items) and all(each["amount"] == 0 for each in self.items)

    def to_dict(self, at: int, terms: Terms) -> dict[str, Any]:
        """As JSON shows it, with the access at that instant."""
        found = access(self, at, terms)
        granted = {"access": found.access, "access_until": _iso(found.until), "access_reason": found.reason}
        return {**self.record(), **granted}

    def record(self) -> dict[str, Any]:
        """As JSON shows it, without what depends on the instant."""
        shown = asdict(self)
        for name in INSTANTS:
            shown[name] = _iso(shown[name])
        shown["items"] = [{**each, **{name: _iso(each[name]) for name in OF_ITEM}} for each in shown["items"]]
        if self.last_payment:
            shown["last_payment"] = {**self.last_payment, "at": _iso(self.last_payment["at"])}
        return {**shown, "milestones": [each.to_dict() for each in self.milestones]}


def _iso(instant: int | None) -> str | None:
    return None if instant is None else to_iso(instant)


# ── from the facts ──────────────────────────────────────────────────────────────────────────────────


def project(subject: str, facts: Facts) -> Subscription:
    """The subscription that follows from these facts."""
    own = facts.get("subscription", {})
    state, is_certain = _state(own)
    status = _status(state, own)
    trial_ends_at = state.get("trial_end")
    items = _items(state, lines(facts), trial_ends_at)
    paid = [each["paid_through"] for each in items]
    attempts = _attempts(facts)
    found = Subscription(
        id=subject,
        provider=subject.partition(":")[0],
        status=status,
        provider_status=state.get("status"),
        livemode=own.get("livemode"),
        account=next(iter(own.get("account", ())), None),
        test_clock=own.get("test_clock"),
        customer=reported(own, "customer"),
        reference=own["reference"][2] if "reference" in own else None,
        metadata={name: value for name, (_, value) in own.get("metadata", {}).items()},
        items=items,
        started_at=state.get("start"),
        trial_ends_at=trial_ends_at,
        paid_through=min(filter(None, paid), default=None),
        cancel_at=state.get("cancel_at"),
        ended_at=None,
        ended_reason=None,
        provider_reason=state.get("reason"),
        pause=_pause(state, status),
        paused_until=state.get("resumes_at"),
        pending=state.get("pending"),
        past_due_since=_past_due_since(own) if status == PAST_DUE else None,
        failed_attempts=attempts[0] if status in (PAST_DUE, UNPAID) else 0,
        next_attempt_at=attempts[1] if status in (PAST_DUE, UNPAID) else None,
        last_payment=_last_payment(facts),
        certain=is_certain and status in STATUSES and _is_known(state, items),
        created_at=own.get("created_at"),
        updated_at=own.get("updated_at"),
        milestones=tuple(each.milestone(subject) for each in reached(facts)),
    )
    return _ended(found, state, own) if status == ENDED else found


def _state(own: Fields) -> tuple[Mapping[str, Any], bool]:
    """What holds: the end for good, else what was said last."""
    if "end" in own:
        return json.loads(own["end"][1]), True
    found = last(own.get("reports", ()))
    return (json.loads(found.state), found.is_certain) if found.state else ({}, False)


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


def _status(state: Mapping[str, Any], own: Fields) -> str:
    """One that nobody knows changes nothing: it stays what it was."""
    known = STATUS_OF.get(reported(own, "known") or "", PENDING)
    status = STATUS_OF.get(str(state.get("status")), known)
    return PAUSED if status == ACTIVE and state.get("is_collection_paused") else status


def _pause(state: Mapping[str, Any], status: str) -> str | None:
    if state.get("status") == "paused":
        return "service"
    return "collection" if state.get("is_collection_paused") else None


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
    told = own.get("past_due_at", [])
    return min((at for at in told if at > own.get("well_at", -1)), default=max(told, default=None))


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


def _last_payment(facts: Facts) -> dict[str, Any] | None:
    paid = [fields for _, fields in things(facts, "invoice") if is_money(fields)]
    if not paid:
        return None
    latest = max(paid, key=lambda fields: (fields["paid_at"], str(fields.get("payment", ""))))
    amount, currency = latest["paid"]
    return {
        "payment": latest.get("payment"),
        "method": "out_of_band" if latest.get("is_out_of_band") else None,
        "amount": amount,
        "currency": currency,
        "at": latest["paid_at"],
        "reversed": None,
    }


def _ended(found: Subscription, state: Mapping[str, Any], own: Fields) -> Subscription:
    return replace(
        found,
        ended_at=state.get("ended_at") or own["end"][0],
        ended_reason=_ended_reason(state, own),
        cancel_at=None,
        paused_until=None,
        pause=None,
        past_due_since=None,
        failed_attempts=0,
        next_attempt_at=None,
    )


# https://docs.stripe.com/api/subscriptions/object#subscription_object-cancellation_details-reason
REASON_OF = {
    "cancellation_requested": "requested",
    "payment_failed": "payment_failed",
    "payment_disputed": "disputed",
}


def _ended_reason(state: Mapping[str, Any], own: Fields) -> str:
    if state.get("status") == "incomplete_expired":
        return "never_paid"
    reason = state.get("reason")
    if reason is not None:
        return REASON_OF.get(reason, "other")
    before = last(own.get("reports", ())).state
    was = json.loads(before)["status"] if before else None
    return "payment_failed" if was in ("past_due", "unpaid") else "requested"


# ── access ──────────────────────────────────────────────────────────────────────────────────────────


def access(of: Subscription, at: int, terms: Terms) -> Access:
    """What it grants at an instant: never longer than what was paid, and the stage's own terms."""
    if of.started_at is not None and at < of.started_at:
        return Access(access=False, until=None, reason=PENDING)
    until, slack, reason = GRANTS[of.status](of, at, terms)
    return Access(access=until is not None and at < until + slack * DAY, until=until, reason=reason)


Grant = tuple[int | None, int, str]


def _trialing(of: Subscription, at: int, terms: Terms) -> Grant:
    return of.trial_ends_at, terms.slack, "trial"


def _active(of: Subscription, at: int, terms: Terms) -> Grant:
    reason = "free" if of.is_free else "paid"
    if of.cancel_at is not None:
        return of.cancel_at, 0, reason
    return max(filter(None, (of.paid_through, of.period_end)), default=None), terms.slack, reason


def _past_due(of: Subscription, at: int, terms: Terms) -> Grant:
    paid = of.paid_through or 0
    was_paid = of.last_payment is not None and of.past_due_since is not None
    grace = (of.past_due_since or 0) + terms.grace * DAY if was_paid else 0
    return max(paid, grace) or None, 0, "paid" if at < paid else "grace"


def _paused(of: Subscription, at: int, terms: Terms) -> Grant:
    if terms.paused == "paid":
        return of.paid_through, 0, "paused"
    if terms.paused == "provider" and of.pause == "collection":
        until, slack, _ = _active(of, at, terms)
        return until, slack, "paused"
    return None, 0, "paused"


def _over(of: Subscription, at: int, terms: Terms) -> Grant:
    keeps = terms.ended_keeps_paid and of.ended_reason in ("requested", "completed", "other")
    return of.paid_through if keeps else None, 0, "ended"


GRANTS = {
    PENDING: lambda of, at, terms: (None, 0, PENDING),
    TRIALING: _trialing,
    ACTIVE: _active,
    PAST_DUE: _past_due,
    UNPAID: lambda of, at, terms: (None, 0, UNPAID),
    PAUSED: _paused,
    ENDED: _over,
}
