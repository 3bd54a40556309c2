"""Milestones of a subscription: changes that matter, each reached once.

What comes and goes (past due, paused, a cancellation that is taken back) is told by the event that changed
it, which says what was before: each such event is one, whatever came before or after it. PayPal's do not:
there a spell of failing payments is told from others by the payment that was the last before it.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple

from chalicelib.joining import Facts, Fields, things
from chalicelib.payments import Milestone
from chalicelib.subscriptions.paid import Bill, bills
from chalicelib.subscriptions.spells import spells
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
    "subscription.payment_reversed",
    "subscription.ended",
    "access.granted",
    "access.revoked",
)


class Reached(NamedTuple):
    """A milestone that the facts prove, ``at`` in milliseconds; ``key`` tells it from others of its type."""

    at: int
    type: str
    key: str = ""
    amount: int | None = None
    object: str | None = None
    detail: Mapping[str, Any] | None = None

    def milestone(self, subject: str) -> Milestone:
        name = f"{self.type}/{self.key}" if self.key else self.type
        return Milestone(
            id=f"{subject}/{name}",
            type=self.type,
            at=to_iso(self.at),
            amount=self.amount,
            object=self.object,
            detail=self.detail,
        )


def reached(facts: Facts) -> list[Reached]:
    """All that were, in the provider's time."""
    own = facts.get("subscription", {})
    found = [*_of_life(own), *_of_bills(facts), *_of_changes(facts), *_of_spells(facts), *_of_bodies(own)]
    return sorted(found, key=lambda each: (each.at, MILESTONES.index(each.type), each.key))


def _of_changes(facts: Facts) -> Iterator[Reached]:
    for event_id, fields in things(facts, "change"):
        for type_ in fields["types"]:
            detail = json.loads(fields.get("sold", "null")) if type_ == "changed" else None
            yield Reached(fields["changed_at"], f"subscription.{type_}", event_id, detail=detail)


def _of_life(own: Fields) -> Iterator[Reached]:
    started_at = own.get("left_pending_at")
    if started_at is None and "was_pending" not in own:
        started_at = own.get("over_at")  # all that was heard is its end
    if started_at is not None:
        yield Reached(started_at, "subscription.started")
        yield from _ends(own)
    for ends_at, at in own.get("trial_endings", ()):
        yield Reached(at, "subscription.trial_ending", to_iso(ends_at))


def _ends(own: Fields) -> Iterator[Reached]:
    """The first time, and each time that it had begun again before."""
    over = sorted({*own.get("end", ())[:1], *own.get("expired_at", ())})
    for n, at in enumerate(over):
        if n == 0:
            yield Reached(at, "subscription.ended")
        elif any(over[n - 1] < each < at for each in own.get("resumed_at", ())):
            yield Reached(at, "subscription.ended", to_iso(at))


def _of_bills(facts: Facts) -> Iterator[Reached]:
    """The first that money was paid for activates; each further paid period renews, one for nothing too."""
    own = facts.get("subscription", {})
    over_at = own["end"][0] if "end" in own else None
    paid = [each for each in bills(facts) if over_at is None or each.at <= over_at]
    first = own.get("first_paid")
    if first is not None and (over_at is None or first[0] <= over_at):
        at, id_, amount = first
        by = next((each.payment for each in paid if each.id == id_), None)
        yield Reached(at, "subscription.activated", "", amount, id_, {"payment": by})
    for each in paid:
        if each.is_period and (first is None or each.id != first[1]):
            yield Reached(
                each.at, "subscription.renewed", each.id, each.amount, each.id, {"payment": each.payment}
            )
    yield from _of_reversals(paid, facts)
    for id_, fields in things(facts, "invoice"):
        for attempt, at in fields.get("failed", ()):
            yield Reached(at, "subscription.payment_failed", f"{id_}/{attempt}", None, id_)


def _of_reversals(paid: list[Bill], facts: Facts) -> Iterator[Reached]:
    """What became of a payment while it was the last one."""
    money = [each for each in paid if each.is_money]
    for each, following in zip_longest(money, money[1:]):
        for payment in each.payments:
            for what, at in facts.get(f"payment {payment}", {}).get("reversals", {}).items():
                if following is None or at < following.at:
                    key = f"{payment}/{what}"
                    detail = {"payment": payment, "reversed": what}
                    yield Reached(at, "subscription.payment_reversed", key, each.amount, each.id, detail)


def _of_spells(facts: Facts) -> Iterator[Reached]:
    """Of payments that fail, since the last one that did not: until one is made, or they are forgiven."""
    well_at = facts.get("subscription", {}).get("well_at", -1)
    found = spells(facts)
    for n, spell in enumerate(found):
        for attempt, at in spell.failed:
            yield Reached(at, "subscription.payment_failed", f"{spell.id}/{attempt}")
        if spell.owed_at is not None:
            yield Reached(spell.owed_at, "subscription.past_due", spell.id)
        over = [each.at for each in bills(facts) if each.at >= spell.began_at][:1]
        over += [each.began_at for each in found[n + 1 : n + 2]]  # it was forgiven before it began again
        over += [well_at] if well_at > spell.began_at else []
        over_at = min(over, default=None)
        if over_at is not None:
            yield Reached(over_at, "subscription.recovered", spell.id)


def _sold(name: str) -> dict[str, Any]:
    price, _, quantity = name.rpartition("/")
    return {"price": price, "quantity": int(quantity)}


def _of_bodies(own: Fields) -> Iterator[Reached]:
    """What its bodies show one after the other: each way of selling it, and each time that it was stopped."""
    sold = sorted((at, name) for name, at in own.get("sold", {}).items())
    for (_, was), (at, name) in pairwise(sold):
        detail = {"before": [_sold(was)], "after": [_sold(name)]}
        yield Reached(at, "subscription.changed", name, detail=detail)
    for at in own.get("paused_at", ()):
        yield Reached(at, "subscription.paused", to_iso(at))
        resumed_at = min((each for each in own.get("resumed_at", ()) if each > at), default=None)
        if resumed_at is not None:
            yield Reached(resumed_at, "subscription.resumed", to_iso(at))
