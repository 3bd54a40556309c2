"""What is kept of a subscription does not grow with its age, and is the same in whatever order it came."""

import json
import random
from functools import reduce
from typing import Any

import pytest

from chalicelib.entries import not_stored, payment_items
from chalicelib.providers import PROVIDERS
from chalicelib.subscriptions import CYCLE, TERMS, Facts, fold, join, project
from chalicelib.times import DAY
from ops.stories.paypal_subscriptions import PayPalSubscription
from ops.stories.stripe_subscriptions import StripeSubscription
from tests.fakes import NOW, as_bytes

Json = dict[str, Any]


def of_stripe(periods: int) -> tuple[str, list[Facts]]:
    it = StripeSubscription(random.Random(1), NOW, 1900, "EUR", None)
    events = [it.created("active", 30 * periods), *it.paid("subscription_create")]
    for n in range(periods):
        events += [it.renewed(), *it.paid(CYCLE)]
        if n % 5 == 2:
            events += [it.updated(status="past_due"), it.updated(status="active")]
    return it.subject, proved("stripe", it.subject, events)


def of_paypal(periods: int) -> tuple[str, list[Facts]]:
    it = PayPalSubscription(random.Random(1), NOW, 1900, "EUR", None)
    events = [it.created(30 * periods), it.activated(), it.sale()]
    for n in range(periods):
        it.now += 30 * DAY
        if n % 5 == 2:
            events.append(it.payment_failed())
            it.now += DAY
        events.append(it.sale())
        it._billing |= {"outstanding_balance": it._money(0), "failed_payments_count": 0}
        it.now += 1000
        events.append(it.stated("UPDATED"))
    return it.subject, proved("paypal", it.subject, events)


LIVES = {"stripe": of_stripe, "paypal": of_paypal}


def proved(provider: str, subject: str, events: list[Json]) -> list[Facts]:
    made = PROVIDERS[provider]
    found = (made.facts(made.event(as_bytes(each), NOW)).get(subject, {}) for each in events)
    return [each for each in found if each]


@pytest.mark.parametrize("provider", LIVES)
def test_what_is_kept_is_the_same_in_any_order(provider: str) -> None:
    """One by one, in groups, some twice."""
    _, told = LIVES[provider](60)
    whole = fold(told)
    for seed in range(12):
        rng = random.Random(seed)
        shuffled = [*told, *rng.sample(told, 20)]
        rng.shuffle(shuffled)
        cut = rng.randrange(len(shuffled))
        assert join(fold(shuffled[:cut]), fold(shuffled[cut:])) == whole
        nothing: Facts = {}
        assert reduce(join, shuffled, nothing) == whole


@pytest.mark.parametrize("provider", LIVES)
def test_the_thousandth_event_costs_what_an_early_one_does(provider: str) -> None:
    """By the size of what is written, which DynamoDB bills."""
    sizes = {}
    for periods in (150, 330):
        subject, told = LIVES[provider](periods)
        record = not_stored(subject).with_facts(fold(told), NOW, TERMS)
        sizes[periods] = len(json.dumps(payment_items(record), default=str))
    assert sizes[330] < 1.05 * sizes[150]
    assert sizes[330] < 16_000


def test_what_was_paid_long_ago_for_a_time_to_come_still_counts() -> None:
    """A year in advance, with an invoice for usage every week since."""
    it = StripeSubscription(random.Random(1), NOW, 1900, "EUR", None)
    events = [it.created("active", 300), *it.paid("subscription_create")]
    for event in events:
        for line in event["data"]["object"].get("lines", {}).get("data", ()):
            line["period"]["end"] = line["period"]["start"] + 365 * 86_400
    until = it.now + 365 * 86_400
    item = it._item
    it._item = "si_usage"
    for _ in range(40):
        it.now += 7 * 86_400
        it._about["items"]["data"][0] |= {"current_period_start": it.now}
        events += it.paid("subscription_cycle", 500)
    it._item = item
    facts = fold(proved("stripe", it.subject, events))
    assert project(it.subject, facts).paid_through == until * 1000
    assert [each.type for each in project(it.subject, facts).milestones].count("subscription.activated") == 1
