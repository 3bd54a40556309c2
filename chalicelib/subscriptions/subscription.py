"""The subscription as it is shown, from its facts."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from chalicelib.joining import Facts, reported
from chalicelib.payments import Milestone
from chalicelib.subscriptions import from_bodies, from_edges
from chalicelib.subscriptions.milestones import reached
from chalicelib.subscriptions.paid import bills
from chalicelib.subscriptions.standing import Standing
from chalicelib.subscriptions.terms import TERMS, Terms
from chalicelib.times import to_iso

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


@dataclass(frozen=True, kw_only=True)
class Subscription(Standing):
    """One subscription. Instants in milliseconds; ``record`` shows them as ISO 8601."""

    id: str
    provider: str
    livemode: bool | None
    account: str | None
    test_clock: str | None
    customer: str | None
    reference: str | None
    metadata: dict[str, str]
    last_payment: dict[str, Any] | None
    created_at: int | None
    updated_at: int | None
    milestones: tuple[Milestone, ...]

    def record(self) -> dict[str, Any]:
        """As JSON shows it, without what depends on the instant."""
        shown = asdict(self)
        for name in INSTANTS:
            shown[name] = iso(shown[name])
        shown["items"] = [{**each, **{name: iso(each[name]) for name in OF_ITEM}} for each in shown["items"]]
        if self.last_payment:
            shown["last_payment"] = {**self.last_payment, "at": iso(self.last_payment["at"])}
        return {**shown, "milestones": [each.to_dict() for each in self.milestones]}


def iso(instant: int | None) -> str | None:
    return None if instant is None else to_iso(instant)


def project(subject: str, facts: Facts, terms: Terms = TERMS) -> Subscription:
    """The subscription that follows from these facts. By ``terms`` some of what was paid does not count."""
    own = facts.get("subscription", {})
    provider = subject.partition(":")[0]
    standing = STANDINGS[provider](facts, terms)
    return Subscription(
        id=subject,
        provider=provider,
        livemode=own.get("livemode"),
        account=next(iter(own.get("account", ())), None),
        test_clock=own.get("test_clock"),
        customer=reported(own, "customer"),
        reference=own["reference"][2] if "reference" in own else None,
        metadata={name: value for name, (_, value) in own.get("metadata", {}).items()},
        last_payment=_last_payment(facts),
        created_at=own.get("created_at"),
        updated_at=own.get("updated_at"),
        milestones=tuple(_with_reason(each.milestone(subject), standing) for each in reached(facts)),
        **vars(standing),
    )


def _with_reason(milestone: Milestone, standing: Standing) -> Milestone:
    if milestone.type != "subscription.ended":
        return milestone
    return replace(milestone, detail={"reason": standing.ended_reason})


STANDINGS = {"stripe": from_edges.standing, "paypal": from_bodies.standing}


def _last_payment(facts: Facts) -> dict[str, Any] | None:
    paid = [each for each in bills(facts) if each.is_money]
    if not paid:
        return None
    latest = paid[-1]
    return {
        "payment": latest.payment,
        "method": "out_of_band" if latest.is_out_of_band else None,
        "amount": latest.amount,
        "currency": latest.currency,
        "at": latest.at,
        "reversed": latest.reversed,
    }
