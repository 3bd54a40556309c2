"""Milestones of a subscription: changes that matter, each reached once.

What comes and goes (past due, paused, a cancellation that is taken back) is told by the event that changed
it, which says what was before: each such event is one, whatever came before or after it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from chalicelib.joining import Facts, Fields, things
from chalicelib.payments import Milestone
from chalicelib.times import to_iso

MILESTONES = (
    "subscription.started",
    "subscription.activated",
    "subscription.renewed",
    "subscription.trial_ending",
    "subscription.payment_failed",
    "subscription.past_due",
    "subscription.recovered",
    "subscription.paused",
    "subscription.resumed",
    "subscription.changed",
    "subscription.cancel_scheduled",
    "subscription.cancel_unscheduled",
    "subscription.ended",
)
CYCLE = "subscription_cycle"  # https://docs.stripe.com/api/invoices/object#invoice_object-billing_reason


class Reached(NamedTuple):
    """A milestone that the facts prove, ``at`` in milliseconds; ``key`` tells it from others of its type."""

    at: int
    type: str
    key: str = ""
    amount: int | None = None
    object: str | None = None

    def milestone(self, subject: str) -> Milestone:
        name = f"{self.type}/{self.key}" if self.key else self.type
        return Milestone(
            id=f"{subject}/{name}", type=self.type, at=to_iso(self.at), amount=self.amount, object=self.object
        )


def reached(facts: Facts) -> list[Reached]:
    """All that were, in the provider's time."""
    own = facts.get("subscription", {})
    found = [*_of_life(own), *_of_invoices(facts), *_of_changes(facts)]
    return sorted(found, key=lambda each: (each.at, MILESTONES.index(each.type), each.key))


def _of_changes(facts: Facts) -> Iterator[Reached]:
    for event_id, fields in things(facts, "change"):
        for type_ in fields["types"]:
            yield Reached(fields["changed_at"], f"subscription.{type_}", event_id)


def is_money(invoice: Fields) -> bool:
    """Whether more than nothing was paid, here or by other ways."""
    return bool(invoice.get("is_out_of_band")) or invoice.get("paid", [0])[0] > 0


def _of_life(own: Fields) -> Iterator[Reached]:
    started_at = own.get("left_pending_at")
    if started_at is not None:
        yield Reached(started_at, "subscription.started")
        if "end" in own:
            yield Reached(own["end"][0], "subscription.ended")
    for ends_at, at in own.get("trial_endings", ()):
        yield Reached(at, "subscription.trial_ending", to_iso(ends_at))


def _of_invoices(facts: Facts) -> Iterator[Reached]:
    """The first that money was paid for activates; each further paid period renews, one for nothing too."""
    paid = sorted(
        (fields["paid_at"], id_, fields) for id_, fields in things(facts, "invoice") if "paid" in fields
    )
    first = next((id_ for _, id_, fields in paid if is_money(fields)), None)
    for at, id_, fields in paid:
        amount = fields["paid"][0]
        if id_ == first:
            yield Reached(at, "subscription.activated", "", amount, id_)
        elif fields.get("billed_for") == CYCLE:
            yield Reached(at, "subscription.renewed", id_, amount, id_)
    for id_, fields in things(facts, "invoice"):
        for attempt, at in fields.get("failed", ()):
            yield Reached(at, "subscription.payment_failed", f"{id_}/{attempt}", None, id_)
