"""Whole lives of subscriptions at each provider, at random: what is sent of them, and what holds in the end.

Many of Stripe's changes come in the second of the one before, as an upgrade, its invoice and its payment do.
What holds is the provider's own object as it was changed, not what anybody made of its events.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from chalicelib.times import DAY
from ops.stories.made import Json
from ops.stories.paypal_subscriptions import PLAN, PayPalSubscription
from ops.stories.stripe_subscriptions import StripeSubscription

TIES = 0.4  # of changes
CYCLE = "subscription_cycle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """``truth`` has fields of the record as they must be; ``shown`` is the object as its API has it."""

    subject: str
    events: list[Json]
    truth: dict[str, Any]
    shown: Json


# ── Stripe ──────────────────────────────────────────────────────────────────────────────────────────


def stripe(rng: random.Random, start: int, changes: int) -> Life:
    """A life with so many changes at most. ``start`` in milliseconds."""
    it = StripeSubscription(rng, start, 1900, "EUR", None)
    status = rng.choice(["active", "active", "trialing", "incomplete"])
    events = [it.created(status, 0)]
    if status == "active":
        events += it.paid("subscription_create")
    for _ in range(changes):
        if rng.random() > TIES:
            it.now += rng.choice([1, 60, 3600, 5 * 86_400])
        possible = [each for each in CHANGES if each[0](it._about)]
        _, change = rng.choice(possible)
        events += change(it, rng)
        if it._about["status"] == "canceled":
            break
    about = it._about
    item = about["items"]["data"][0]
    return Life(
        subject=it.subject,
        events=events,
        truth={
            "provider_status": about["status"],
            "cancel_at": about["cancel_at"] if about["status"] != "canceled" else None,
            "is_paused": about["pause_collection"] is not None and about["status"] != "canceled",
            "sold": [item["price"]["id"], item["quantity"]],
            "period_end": item["current_period_end"],
        },
        shown=about,
    )


def _is(*statuses: str) -> Callable[[Json], bool]:
    return lambda about: about["status"] in statuses


def _renew(it: StripeSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.renewed()
    yield from it.paid(CYCLE)


def _begin(it: StripeSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.updated(status="active")
    yield from it.paid("subscription_create")


def _fail(it: StripeSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.updated(status="past_due")
    yield it.invoice("invoice.payment_failed", CYCLE)


def _recover(it: StripeSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.updated(status="active")
    yield from it.paid(CYCLE, attempts=2)


def _pause(it: StripeSubscription, rng: random.Random) -> Iterator[Json]:
    is_paused = it._about["pause_collection"] is not None
    yield it.updated(pause_collection=None if is_paused else {"behavior": "void", "resumes_at": None})


def _cancel(it: StripeSubscription, rng: random.Random) -> Iterator[Json]:
    is_set = it._about["cancel_at"] is not None
    yield it.updated(cancel_at=None if is_set else it.now + 20 * 86_400)


def _sell(it: StripeSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.priced(rng.choice(["basic", "pro", "team"]), rng.choice([1900, 4900, 9900]))


def _count(it: StripeSubscription, rng: random.Random) -> Iterator[Json]:
    item = it._about["items"]["data"][0]
    yield it.updated(items={"object": "list", "data": [{**item, "quantity": rng.randrange(1, 4)}]})


def _note(it: StripeSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.updated(default_payment_method=f"pm_{rng.randrange(5)}")


def _end(it: StripeSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.deleted("cancellation_requested")


Change = tuple[Callable[[Json], bool], Callable[[StripeSubscription, random.Random], Iterator[Json]]]
CHANGES: list[Change] = [
    (_is("active"), _renew),
    (_is("incomplete", "trialing"), _begin),
    (_is("active"), _fail),
    (_is("past_due", "unpaid"), _recover),
    (_is("past_due"), lambda it, rng: iter([it.updated(status="unpaid")])),
    (_is("active", "past_due"), _pause),
    (_is("active", "trialing"), _cancel),
    (_is("active"), _sell),
    (_is("active", "trialing"), _count),
    (lambda about: True, _note),
    (_is("past_due", "unpaid"), _end),
]


# ── PayPal ──────────────────────────────────────────────────────────────────────────────────────────


def paypal(rng: random.Random, start: int, changes: int) -> Life:
    """A life with so many changes at most."""
    it = PayPalSubscription(rng, start, 1900, "EUR", None)
    events = [it.created(0)]
    it.now += rng.choice([0, 1000, 60_000])
    trial = rng.choice([0, 0, 14])
    events.append(it.activated(trial))
    status = "trialing" if trial else "active"
    if not trial:
        events.append(it.sale())
    for _ in range(changes):
        if status == "ended":
            break
        it.now += rng.choice([1000, 60_000, DAY, 30 * DAY])
        change, status = rng.choice(WHAT[status])
        events += change(it, rng)
    truth = {"status": status, "sold": [it._about["plan_id"], 1]}
    return Life(subject=it.subject, events=events, truth=truth, shown=it.shown())


def _forgive(it: PayPalSubscription) -> None:
    it._billing |= {"outstanding_balance": it._money(0), "failed_payments_count": 0}
    it._billing.pop("last_failed_payment", None)


def _pay(it: PayPalSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.sale()
    _forgive(it)
    if rng.random() < 0.5:
        it.now += 1000
        yield it.stated("UPDATED")


def _not_paid(it: PayPalSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.payment_failed(it._billing["failed_payments_count"] + 1)


def _suspend(it: PayPalSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.stated("SUSPENDED", status="SUSPENDED")


def _resume(it: PayPalSubscription, rng: random.Random) -> Iterator[Json]:
    _forgive(it)
    yield it.stated(rng.choice(["ACTIVATED", "RE-ACTIVATED"]), status="ACTIVE")


def _plan(it: PayPalSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.stated("UPDATED", plan_id=PLAN[:-1] + rng.choice("123"))


def _over(it: PayPalSubscription, rng: random.Random) -> Iterator[Json]:
    yield it.cancelled()


Step = tuple[Callable[[PayPalSubscription, random.Random], Iterator[Json]], str]
WHAT: dict[str, list[Step]] = {  # what may come next, and the status after it
    "trialing": [(_pay, "active"), (_over, "ended")],
    "active": [
        (_pay, "active"),
        (_pay, "active"),
        (_not_paid, "past_due"),
        (_suspend, "paused"),
        (_plan, "active"),
        (_over, "ended"),
    ],
    "past_due": [(_pay, "active"), (_not_paid, "past_due"), (_suspend, "unpaid"), (_over, "ended")],
    "paused": [(_resume, "active"), (_over, "ended")],
    "unpaid": [(_resume, "active"), (_over, "ended")],
}
