"""What Stripe's events prove of a subscription, where they are odd, old, or broken."""

import random
from typing import Any

import pytest

from chalicelib.payments import Labels
from chalicelib.providers import PROVIDERS
from chalicelib.providers.stripe import subscriptions
from chalicelib.subscriptions import Facts, Subscription, Terms, access, fold, join, project
from chalicelib.times import DAY
from ops.stories import SUBSCRIPTIONS, tell
from tests.fakes import NOW, as_bytes

Json = dict[str, Any]


def story(name: str, seed: int = 1) -> tuple[str, list[Json]]:
    return tell("stripe", random.Random(seed), NOW, 1900, "EUR", story=name)


def proved(event: Json, subject: str) -> Facts:
    made = PROVIDERS["stripe"].event(as_bytes(event), NOW)
    return subscriptions.facts(made).get(subject, {})


def shown(subject: str, events: list[Json]) -> Subscription:
    return project(subject, fold(proved(each, subject) for each in events))


def updated(like: Json, seconds: int, **changes: Any) -> Json:
    """A later update of what that event shows."""
    about = like["data"]["object"]
    previous = {name: about.get(name) for name in changes}
    data = {"object": {**about, **changes}, "previous_attributes": previous}
    at = like["created"] + seconds
    return {**like, "id": f"evt_{at}", "type": "customer.subscription.updated", "created": at, "data": data}


def own(events: list[Json]) -> list[Json]:
    return [each for each in events if each["type"].startswith("customer.subscription.")]


def test_a_status_that_nobody_knows_changes_nothing() -> None:
    """It is shown as the provider's, the status stays, and nothing is certain."""
    subject, events = story("trial-converts")
    last = own(events)[-1]
    found = shown(subject, [*events, updated(last, 60, status="hibernating")])
    assert (found.status, found.provider_status, found.certain) == ("active", "hibernating", False)
    assert access(found, NOW, Terms()).until == found.paid_through


def test_without_periods_access_ends_with_what_was_paid() -> None:
    """As where a field moved: it is not certain, and grants no longer than that."""
    subject, events = story("upgrade")
    last = own(events)[-1]
    item = {
        k: v for k, v in last["data"]["object"]["items"]["data"][0].items() if not k.startswith("current_")
    }
    found = shown(subject, [*events, updated(last, 60, items={"data": [item]})])
    assert found.certain is False
    assert access(found, NOW, Terms()).until == found.paid_through is not None


def test_before_basil_the_periods_are_the_subscriptions() -> None:
    """And the invoice names its subscription and payment itself."""
    subject, events = story("upgrade")
    for each in own(events):
        about = each["data"]["object"]
        for item in about["items"]["data"]:
            about |= {name: item.pop(name) for name in ("current_period_start", "current_period_end")}
    for each in events:
        if each["type"] == "invoice.paid":
            about = each["data"]["object"]
            about |= {"subscription": subject.partition(":")[2], "payment_intent": "pi_1"}
            del about["parent"]
            for line in about["lines"]["data"]:
                line |= line.pop("parent")["subscription_item_details"]
    found = shown(subject, events)
    assert (found.status, found.certain) == ("active", True)
    assert found.last_payment is not None
    assert found.last_payment["payment"] == "stripe:pi_1"
    assert found.paid_through == found.items[0]["period_end"]


@pytest.mark.parametrize(
    ("status", "days", "has_access", "reason"),
    [
        ("past_due", 1, True, "grace"),
        ("past_due", 8, False, "grace"),
        ("unpaid", 1, False, "unpaid"),
        ("paused", 1, False, "paused"),
        ("incomplete", 1, False, "pending"),
    ],
)
def test_what_is_not_paid_gives_access_as_the_stage_says(
    status: str, days: int, has_access: bool, reason: str
) -> None:
    """After a renewal that failed: what was paid is over, the grace begins."""
    subject, events = story("renewal-fails-then-recovers")
    until_then = events[:3]
    found = shown(subject, [*until_then, updated(until_then[-1], 0, status=status)])
    assert found.paid_through is not None
    granted = access(found, found.paid_through + days * DAY, Terms())
    assert (granted.access, granted.reason) == (has_access, reason)


@pytest.mark.parametrize(
    ("terms", "has_access"),
    [(Terms(), True), (Terms(paused="paid"), True), (Terms(paused="none"), False)],
)
def test_a_paused_collection_gives_what_the_stage_says(terms: Terms, has_access: bool) -> None:
    subject, events = story("pause")
    assert access(shown(subject, events), NOW, terms).access == has_access


@pytest.mark.parametrize(
    ("reason", "ended_reason", "keeps"),
    [
        ("cancellation_requested", "requested", True),
        ("payment_failed", "payment_failed", False),
        ("payment_disputed", "disputed", False),
        ("something_new", "other", True),
        (None, "requested", True),
    ],
)
def test_what_ended_keeps_what_was_paid_or_not(reason: str | None, ended_reason: str, keeps: bool) -> None:
    """By why it ended, and by the stage's terms; whatever comes late, it does not begin again."""
    subject, events = story("upgrade")
    about = own(events)[-1]["data"]["object"]
    ended = {
        **about,
        "status": "canceled",
        "ended_at": NOW // 1000,
        "cancellation_details": {"reason": reason},
    }
    deleted = {
        **events[-1],
        "id": "evt_end",
        "type": "customer.subscription.deleted",
        "data": {"object": ended},
    }
    later = updated(own(events)[-1], 9999, metadata={"late": "yes"})
    for order in ([*events, deleted, later], [later, deleted, *events]):
        found = shown(subject, order)
        assert (found.status, found.ended_reason, found.provider_reason) == ("ended", ended_reason, reason)
        assert access(found, NOW + DAY, Terms()).access == keeps
        assert not access(found, NOW + DAY, Terms(ended_keeps_paid=False)).access


def test_its_session_says_whose_it_is() -> None:
    """Before the subscription itself is heard of, and where its own metadata says nothing."""
    session = {
        "object": "checkout.session",
        "id": "cs_1",
        "subscription": "sub_1",
        "client_reference_id": "user-7",
    }
    event = {"id": "evt_cs", "type": "checkout.session.completed", "created": 1, "data": {"object": session}}
    assert (
        Labels().kept(proved(event, "stripe:sub_1"), "subscription")["subscription"]["reference"][2]
        == "user-7"
    )
    connected = proved({**event, "account": "acct_1"}, "stripe:acct_1:sub_1")
    assert project("stripe:acct_1:sub_1", connected).account == "acct_1"


def test_usage_and_what_is_sold_once_pay_for_no_time() -> None:
    """Neither a metered line nor one of no item."""
    subject, events = story("upgrade")
    paid = [each for each in events if each["type"] == "invoice.paid"]
    [line] = paid[0]["data"]["object"]["lines"]["data"]
    for other in ({**line, "price": {"recurring": {"usage_type": "metered"}}}, {**line, "parent": {}}):
        about = {**paid[0]["data"]["object"], "lines": {"data": [other]}}
        facts = proved({**paid[0], "data": {"object": about}}, subject)
        assert not [thing for thing in facts if thing.startswith("line ")]


def test_an_unpaid_start_that_expires_was_never_begun() -> None:
    """Nor is it ended for anybody."""
    subject, events = story("upgrade")
    begun = {**own(events)[0]["data"]["object"], "status": "incomplete"}
    made = {**own(events)[0], "data": {"object": begun}}
    found = shown(subject, [made, updated(made, 60, status="incomplete_expired")])
    assert (found.status, found.ended_reason, found.milestones) == ("ended", "never_paid", ())


ODD: tuple[Any, ...] = (None, "", 0, -1, True, 1.5, 10**30, "x" * 600, [], {}, [None], {"a": None}, "\ud800")


def changed(value: Any, rng: random.Random) -> Any:
    """A body with something odd somewhere in it."""
    if rng.random() < 0.03:
        return rng.choice(ODD)
    if isinstance(value, dict):
        return {name: changed(each, rng) for name, each in value.items() if rng.random() > 0.01}
    return [changed(each, rng) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(8))
def test_no_body_is_too_odd(seed: int) -> None:
    """It proves something or nothing; what it proves joins, is shown, and answers for access."""
    rng = random.Random(seed)
    understood = 0
    for n in range(150):
        subject, events = story(SUBSCRIPTIONS[n % len(SUBSCRIPTIONS)], seed=n)
        told: list[Facts] = []
        for each in events:
            odd = {**each, "data": changed(each["data"], rng)}
            try:
                told.append(proved(odd, subject))
            except (ValueError, TypeError, AttributeError, KeyError):
                continue  # recorded, and not understood
        facts = fold(told)
        assert facts == fold(reversed(told)) == join(facts, facts)
        if facts.get("subscription"):
            found = project(subject, facts)
            assert found.to_dict(NOW, Terms())["id"] == subject
            assert access(found, NOW, Terms()).reason
            understood += 1
    assert understood > 100
