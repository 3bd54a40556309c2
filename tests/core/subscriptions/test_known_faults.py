"""What others get wrong of subscriptions, by its description: each does not happen here.

Of two updates in one second, and of whole lives, see ``test_lives``; of a cancellation that PayPal never
sends, ``test_telling``; of years for free while payments fail, ``test_paypal``.
"""

import random
from typing import Any

from chalicelib.access import answer, parse
from chalicelib.ledger import Ledger
from chalicelib.subscriptions import Subscription, Terms, access, project
from chalicelib.times import DAY
from ops.stories.paypal_subscriptions import PayPalSubscription
from ops.stories.stripe_subscriptions import StripeSubscription
from tests.fakes import NOW, MemoryInbox, MemoryLedger, as_bytes, consumer, message_of
from tests.little_dynamo import LittleDynamo

Json = dict[str, Any]


def made(days: int = 10) -> StripeSubscription:
    it = StripeSubscription(random.Random(1), NOW, 1900, "EUR", None)
    it.now -= days * 86_400
    return it


def recorded(it: StripeSubscription, events: list[Json]) -> Subscription:
    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox())
    for each in events:
        to.record(message_of(as_bytes(each)), NOW + 60_000)
    return project(it.subject, ledger.subscription(it.subject).facts)


def test_a_late_created_revives_nothing_that_was_deleted() -> None:
    """What is over is over."""
    it = made()
    created = it.created("active", 0)
    it.now += 60
    deleted = it.deleted("cancellation_requested")
    assert recorded(it, [deleted, created]).status == "ended"


def test_an_incomplete_that_comes_after_active_is_not_the_last_word() -> None:
    """Both of one second, as a first payment that succeeds at once: users add a sleep of five seconds."""
    it = made()
    created = it.created("incomplete", 0)
    active = it.updated(status="active")
    for events in ([created, active], [active, created]):
        found = recorded(it, events)
        assert (found.status, found.certain) == ("active", True)


def test_the_periods_end_is_read_where_it_is() -> None:
    """On the items since 2025, on the subscription before."""
    it = made()
    created = it.created("active", 0)
    end = it._items[0]["current_period_end"]
    assert recorded(it, [created]).period_end == end * 1000
    about = created["data"]["object"]
    for item in about["items"]["data"]:
        about |= {name: item.pop(name) for name in ("current_period_start", "current_period_end")}
    assert recorded(it, [created]).period_end == end * 1000


def test_who_is_paused_has_no_access() -> None:
    """A trial that ended without a payment method; a collection that is paused is the stage's to decide."""
    it = made()
    events = [it.created("trialing", 0)]
    it.now += 60
    events.append(it.updated(status="paused"))
    granted = access(recorded(it, events), NOW, Terms())
    assert (granted.access, granted.reason) == (False, "paused")
    other = made()
    paid = [other.created("active", 0), *other.paid("subscription_create")]
    paid.append(other.updated(pause_collection={"behavior": "void"}))
    found = recorded(other, paid)
    assert access(found, NOW, Terms()).access
    assert not access(found, NOW, Terms(paused="none")).access


def test_a_portals_cancellation_ends_access_when_it_says() -> None:
    """It sets ``cancel_at``, and leaves ``cancel_at_period_end`` false."""
    it = made()
    events = [it.created("active", 0), *it.paid("subscription_create")]
    it.now += 60
    events.append(it.updated(cancel_at=it._items[0]["current_period_end"]))
    found = recorded(it, events)
    assert it._about["cancel_at_period_end"] is False
    assert found.cancel_at == found.period_end
    assert "subscription.cancel_scheduled" in [each.type for each in found.milestones]
    assert not access(found, (found.cancel_at or 0) + 1, Terms()).access


def test_a_customer_that_is_deleted_first_changes_nothing() -> None:
    """Of a record whose events come later."""
    it = made()
    events = [it.created("active", 0), *it.paid("subscription_create")]
    about = {"id": it._customer, "object": "customer", "deleted": True}
    gone = it._event("customer.deleted", about)
    assert recorded(it, [gone, *events]) == recorded(it, events)


def test_somebody_who_pays_at_both_providers_has_the_best_of_both() -> None:
    """By the user's own id: one ended at Stripe, one is paid at PayPal."""
    ledger = Ledger(LittleDynamo(), "t")
    to = consumer(ledger, MemoryInbox())
    first = StripeSubscription(random.Random(1), NOW, 1900, "EUR", "sub_00000SAME42")
    second = PayPalSubscription(random.Random(2), NOW, 1900, "EUR", "I-00SAME42")
    for each in (first.created("active", 90), first.deleted("payment_failed")):
        to.record(message_of(as_bytes(each)), NOW + 60_000)
    for each in (second.created(5), second.activated(), second.sale()):
        to.record(message_of(as_bytes(each), "paypal"), NOW + 60_000)
    found = answer(ledger, parse({"reference": "user-same42"}, NOW), Terms())
    assert (found["access"], found["reason"]) == (True, "paid")
    assert found["subscriptions"] == [second.subject, first.subject]
    later = answer(ledger, parse({"reference": "user-same42"}, NOW + 60 * DAY), Terms())
    assert later["access"] is False
