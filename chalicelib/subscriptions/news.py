"""What new facts make of a subscription: which milestones are news."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chalicelib.joining import Facts
from chalicelib.payments import Milestone
from chalicelib.subscriptions.milestones import reached
from chalicelib.subscriptions.paid import bills
from chalicelib.subscriptions.subscription import Subscription, project
from chalicelib.subscriptions.terms import TERMS, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From one state of the record to another, as a payment's is."""

    facts: Facts
    after: Subscription
    milestones: tuple[Milestone, ...]
    superseded: tuple[str, ...] = ()
    moved: Mapping[str, int] = field(default_factory=dict)
    currency: str | None = None
    is_paid_after_end: bool = False


def change(
    subject: str, before: Facts, after: Facts, superseded: Iterable[str] = (), terms: Terms = TERMS
) -> Change:
    """From the facts ``before`` to those ``after``."""
    known = {each.milestone(subject).id for each in reached(before)}
    shown = project(subject, after, terms)
    news = tuple(each for each in shown.milestones if each.id not in known)
    paid_before, paid_after = bills(before), bills(after)
    is_new = len(paid_after) > len(paid_before) or paid_after[-1:] != paid_before[-1:]
    paid_at = shown.last_payment["at"] if shown.last_payment else 0
    return Change(
        facts=after,
        after=shown,
        milestones=news,
        superseded=tuple(superseded),
        is_paid_after_end=is_new and shown.ended_at is not None and paid_at > shown.ended_at,
    )
