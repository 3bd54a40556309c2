"""Whether a subscription grants access at an instant: by what is paid, and the stage's own terms."""

from dataclasses import dataclass
from typing import Any

from chalicelib.subscriptions.standing import (
    ACTIVE,
    COLLECTION,
    ENDED,
    PAST_DUE,
    PAUSED,
    PENDING,
    TRIALING,
    UNPAID,
)
from chalicelib.subscriptions.subscription import Subscription, iso
from chalicelib.subscriptions.terms import Terms
from chalicelib.times import DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whether there is access at the instant that was asked about; until when without slack, where known."""

    access: bool
    until: int | None
    reason: str


def shown(of: Subscription, at: int, terms: Terms) -> dict[str, Any]:
    """As JSON shows it, with the access at that instant."""
    found = access(of, at, terms)
    granted = {"access": found.access, "access_until": iso(found.until), "access_reason": found.reason}
    return {**of.record(), **granted}


def access(of: Subscription, at: int, terms: Terms) -> Access:
    """What it grants at an instant: never longer than what was paid, and the stage's own terms.

    At PayPal an active one may have an end that nobody knows: it grants until that is asked about.
    """
    if of.last_payment and of.last_payment["reversed"] in terms.reversed_ends:
        return Access(access=False, until=of.paid_through, reason="reversed")
    if of.created_at is not None and at < of.created_at:
        return Access(access=False, until=None, reason=PENDING)
    until, slack, reason = GRANTS[of.status](of, at, terms)
    is_endless = until is None and of.status == ACTIVE and of.provider == "paypal"
    is_granted = is_endless or (until is not None and at < until + slack * DAY)
    return Access(access=is_granted, until=until, reason=reason)


def ends_at(of: Subscription, at: int, terms: Terms) -> int | None:
    """When the access that there is at an instant ends, if nothing more is heard; ``None`` without one."""
    return expires_at(of, at, terms) if access(of, at, terms).access else None


def expires_at(of: Subscription, at: int, terms: Terms) -> int | None:
    """When access ends, or has ended, by what is known at an instant; ``None`` where it has no such end."""
    until, slack, _ = GRANTS[of.status](of, at, terms)
    return None if until is None else until + slack * DAY


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
    if terms.paused == "provider" and of.pause == COLLECTION:
        until, slack, _ = _active(of, at, terms)
        return until, slack, "paused"
    is_paid = terms.paused == "provider" and of.provider == "paypal"
    return of.paid_through if is_paid else None, 0, "paused"


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
