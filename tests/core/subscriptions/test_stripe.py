"""What Stripe's events prove of a subscription, where they are odd, old, or broken."""

import copy
import random
from collections import Counter
from typing import Any

import pytest

from chalicelib.payments import Labels
from chalicelib.providers import PROVIDERS
from chalicelib.providers.stripe import subscriptions
from chalicelib.subscriptions import Facts, Subscription, Terms, access, change, fold, join, project
from chalicelib.subscriptions import shown as shown_at
from chalicelib.times import DAY, to_iso
from ops.stories import SUBSCRIPTIONS, tell
from ops.stories.stripe_subscriptions import StripeSubscription
from tests.fakes import NOW, as_bytes

Json = dict[str, Any]


def story(name: str, seed: int = 1) -> tuple[str, list[Json]]:
    """What tells of the subscription itself: without its payments."""
    subject, events = tell("stripe", random.Random(seed), NOW, 1900, "EUR", story=name)
    return subject, [each for each in events if each["type"].startswith(("customer.", "invoice."))]


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


def invoice(events: list[Json], n: int = 0) -> Json:
    """A copy of a story's n-th paid invoice's event."""
    made: Json = copy.deepcopy([each for each in events if each["type"] == "invoice.paid"][n])
    return made


def test_usage_pays_for_no_time_to_come() -> None:
    """Since 2025-03-31 an invoice's line does not say that it is one: the subscription's item does."""
    subject, events = story("upgrade")
    created = copy.deepcopy(own(events)[0])
    [item] = created["data"]["object"]["items"]["data"]
    item["price"]["recurring"]["usage_type"] = "metered"
    found = shown(subject, [created, invoice(events)])
    assert (found.paid_through, found.items[0]["paid_through"], found.items[0]["amount"]) == (
        None,
        None,
        None,
    )
    assert "is_metered" not in found.items[0]


def test_a_trial_that_is_cut_short_paid_nothing() -> None:
    """Its line of nothing was for longer than it lasted."""
    subject, events = story("trial-converts")
    trial, free = own(events)[0], invoice(events)
    short = trial["created"] + 5 * 86_400
    found = shown(subject, [trial, free, updated(trial, 5 * 86_400, status="past_due", trial_end=short)])
    assert (found.status, found.paid_through) == ("past_due", None)
    assert not access(found, (short + 86_400) * 1000, Terms()).access


def test_a_paused_service_gives_nothing_though_its_collection_is_paused_too() -> None:
    """As after a trial without a way to pay."""
    subject, events = story("pause")
    found = shown(subject, [*events, updated(own(events)[-1], 60, status="paused")])
    assert (found.status, found.pause) == ("paused", "service")
    assert not access(found, NOW + DAY, Terms()).access


def test_an_invoices_copy_of_the_metadata_is_as_old_as_the_invoice() -> None:
    """Paid after the reference was changed, it does not bring the old one back."""
    subject, events = story("upgrade")
    created = own(events)[0]
    moved = updated(created, 5 * 86_400, metadata={"user_id": "user-new"})
    late = {**invoice(events), "created": created["created"] + 6 * 86_400}
    facts = fold(proved(each, subject) for each in (created, moved, late))
    assert project(subject, Labels().kept(facts, "subscription")).reference == "user-new"


def test_who_is_known_by_an_invoice_alone_is_found_by_the_customer() -> None:
    """Whoever is to be forgotten must be."""
    subject, events = story("upgrade")
    assert shown(subject, [invoice(events)]).customer == own(events)[0]["data"]["object"]["customer"]


@pytest.mark.parametrize("amount_paid", [0, 1900])
def test_what_is_paid_by_other_ways_is_paid(amount_paid: int) -> None:
    """It activates, and is the last payment, whether Stripe counts it as paid or not."""
    subject, events = story("upgrade")
    paid = invoice(events)
    paid["data"]["object"] |= {"paid_out_of_band": True, "amount_paid": amount_paid, "amount_due": 1900}
    found = shown(subject, [own(events)[0], paid])
    assert found.last_payment is not None
    assert (found.last_payment["amount"], found.last_payment["method"]) == (1900, "out_of_band")
    assert "subscription.activated" in [each.type for each in found.milestones]


def test_a_credit_of_the_same_second_by_another_invoice_cuts() -> None:
    """A year, changed to months at once: the year was given back, the month's line was not."""
    subject, events = story("upgrade")
    year = invoice(events)
    [line] = year["data"]["object"]["lines"]["data"]
    start = line["period"]["start"]
    line["period"]["end"] = start + 365 * 86_400
    credit = {**copy.deepcopy(line), "id": "il_credit", "amount": -1900}
    month = {**copy.deepcopy(line), "id": "il_month", "period": {"start": start, "end": start + 30 * 86_400}}
    month["pricing"]["price_details"]["price"] = "price_month"
    changed_ = copy.deepcopy(year)
    changed_["data"]["object"] |= {"id": "in_changed", "lines": {"data": [credit, month]}}
    found = shown(subject, [own(events)[0], year, changed_])
    assert found.paid_through == (start + 30 * 86_400) * 1000


def test_what_is_fetched_within_a_second_is_no_later_than_its_events() -> None:
    """The event of that second, which came after it in truth, counts."""
    subject, events = story("upgrade")
    last = own(events)[-1]
    about = {**last["data"]["object"], "status": "past_due"}
    thin = {
        "object": "v2.core.event",
        "id": "evt_thin",
        "type": "v1.customer.subscription.updated",
        "created": "2026-11-24T00:00:00.000Z",
        "data": {"object": about},
        "fetched_at": last["created"] * 1000 + 300,
        "related_object": {"id": about["id"], "type": "subscription", "url": "/v1/subscriptions/x"},
    }
    assert shown(subject, [*events, thin]).status == "active"


def test_unpaid_and_gone_without_a_word_is_for_the_payment() -> None:
    """Also where it was never heard to be past due."""
    subject, events = story("renewal-fails-then-recovers")
    begun = own(events)[0]
    unpaid = updated(begun, 60, status="unpaid")
    gone = updated(unpaid, 60, status="canceled")
    assert shown(subject, [begun, unpaid, gone]).ended_reason == "payment_failed"


def test_a_trial_that_is_made_longer_ends_twice_soon() -> None:
    """Each end is announced."""
    subject, events = story("trial-converts")
    [soon] = [each for each in events if each["type"].endswith("trial_will_end")]
    about = {**soon["data"]["object"], "trial_end": soon["data"]["object"]["trial_end"] + 86_400}
    again = {**soon, "id": "evt_again", "created": soon["created"] + 86_400, "data": {"object": about}}
    found = Counter(each.type for each in shown(subject, [*events, again, again]).milestones)
    assert found["subscription.trial_ending"] == 2


def test_a_voided_invoice_is_tried_no_more() -> None:
    """What failed of it is not counted any longer."""
    subject, events = story("renewal-fails-then-recovers")
    until_then = events[:5]
    assert shown(subject, until_then).failed_attempts == 1
    [failed] = [each for each in events if each["type"] == "invoice.payment_failed"]
    about = {**failed["data"]["object"], "status": "void"}
    void = {**failed, "id": "evt_void", "type": "invoice.voided", "data": {"object": about}}
    assert shown(subject, [*until_then, void]).failed_attempts == 0


def test_there_is_no_access_before_it_began() -> None:
    subject, events = story("upgrade")
    found = shown(subject, events)
    assert found.started_at is not None
    before, after = (access(found, found.started_at + days * DAY, Terms()).access for days in (-1, 1))
    assert (before, after) == (False, True)


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
            assert shown_at(found, NOW, Terms())["id"] == subject
            assert access(found, NOW, Terms()).reason
            understood += 1
    assert understood > 100


def thin(type_: str, subject: str, at: int) -> Json:
    """An event whose object was not fetched."""
    id_ = subject.partition(":")[2]
    related = {"id": id_, "type": "subscription", "url": f"/v1/subscriptions/{id_}"}
    return {
        "id": f"evt_{type_}_{at}",
        "object": "v2.core.event",
        "type": f"v1.customer.subscription.{type_}",
        "created": to_iso(at),
        "related_object": related,
    }


def test_a_thin_events_type_may_be_a_status() -> None:
    """Then it holds from its millisecond on; what no type says is left to be fetched."""
    subject, events = story("upgrade")
    later = events[-1]["created"] * 1000 + 3_600_123
    found = shown(subject, [*events, thin("past_due", subject, later)])
    assert (found.status, found.past_due_since, found.certain) == ("past_due", later, True)
    assert [each["price"] for each in found.items] == ["price_pro"]
    found = shown(subject, [*events, thin("past_due", subject, later), thin("active", subject, later + 5)])
    assert found.status == "active"
    assert proved(thin("item_added", subject, later), subject) == {}
    same = events[-1]["created"] * 1000 + 500
    found = shown(subject, [*events, thin("past_due", subject, same)])
    assert (found.status, found.certain) == ("past_due", False)
    early = shown(subject, [*events, thin("unpaid", subject, same - 86_400_000)])
    assert (early.status, early.certain) == ("active", True)
    alone = shown(subject, [thin("incomplete_expired", subject, later)])
    assert (alone.status, alone.ended_at, alone.certain) == ("ended", later, False)


def test_a_change_that_is_announced_is_shown() -> None:
    """By a schedule, until it begins; by an update that waits for its payment; and no more once it is off."""
    subject, events = story("upgrade")
    last = own(events)[-1]
    at = last["created"]
    ends = at + 20 * 86_400
    phases = [
        {"start_date": at, "end_date": ends, "items": [{"price": "price_pro", "quantity": 1}]},
        {"start_date": ends, "end_date": None, "items": [{"price": "price_team", "quantity": 5}]},
    ]
    schedule = {
        "id": "sub_sched_1",
        "object": "subscription_schedule",
        "status": "active",
        "subscription": subject.partition(":")[2],
        "current_phase": {"start_date": at, "end_date": ends},
        "phases": phases,
    }

    def told(seconds: int, **changes: Any) -> Json:
        about = {"object": {**schedule, **changes}}
        type_ = "subscription_schedule.updated"
        return {**last, "id": f"evt_{seconds}", "type": type_, "created": at + seconds, "data": about}

    announced = {"what": "schedule", "at": to_iso(ends * 1000), "until": None}
    sold = [{"price": "price_team", "quantity": 5}]
    assert shown(subject, [*events, told(5)]).pending == {**announced, "items": sold}
    assert shown(subject, [*events, told(5), told(9, status="released")]).pending is None
    assert shown(subject, [*events, told(5, phases=phases[:1])]).pending is None
    assert shown(subject, [*events, told(5), updated(last, 21 * 86_400)]).pending is None
    waits = {"expires_at": ends, "subscription_items": [{"price": {"id": "price_team"}, "quantity": 2}]}
    found = shown(subject, [*events, updated(last, 60, pending_update=waits)])
    assert found.pending == {
        "what": "update",
        "at": None,
        "until": to_iso(ends * 1000),
        "items": [{"price": "price_team", "quantity": 2}],
    }


def test_a_payment_after_the_end_changes_the_last_payment_only() -> None:
    """It gives no access, renews nothing, and is counted."""
    subject, events = story("cancel-at-end")
    last = own(events)[-1]
    at = last["created"] + 3600
    ended = {**last["data"]["object"], "status": "canceled", "ended_at": at}
    deleted = {**last, "id": "evt_end", "type": "customer.subscription.deleted", "created": at}
    deleted["data"] = {"object": ended}
    until_then = [*events, deleted]
    paid = copy.deepcopy(invoice(events))
    about = paid["data"]["object"]
    about |= {"id": "in_late", "billing_reason": "subscription_cycle", "amount_paid": 700, "created": at + 60}
    about["status_transitions"]["paid_at"] = at + 60
    for line in about["lines"]["data"]:
        line["id"] = "il_late"
        line["period"] = {"start": at, "end": at + 90 * 86_400}
    late = {**paid, "id": "evt_late", "created": at + 60}
    before = fold(proved(each, subject) for each in until_then)
    after = join(before, proved(late, subject))
    was, is_now = project(subject, before), project(subject, after)
    assert is_now.last_payment is not None
    assert is_now.last_payment["amount"] == 700
    assert (is_now.paid_through, is_now.milestones) == (was.paid_through, was.milestones)
    assert change(subject, before, after).is_paid_after_end
    assert not change(subject, {}, before).is_paid_after_end
    assert not change(subject, after, after).is_paid_after_end


def change_of(paid: Json, number: int, was: int, is_now: int, prices: tuple[str, str]) -> Json:
    """An invoice of one second that credits what was, and charges what is."""
    about = copy.deepcopy(paid["data"]["object"])
    [line] = about["lines"]["data"]
    lines = []
    for n, (amount, price) in enumerate(((-was, prices[0]), (is_now, prices[1]))):
        each = {**copy.deepcopy(line), "id": f"il_{number}_{n}", "amount": amount}
        each["pricing"]["price_details"]["price"] = price
        each["period"] = {"start": about["created"] + 86_400, "end": line["period"]["end"]}
        lines.append(each)
    at = about["created"] + 86_400
    about |= {
        "id": f"in_{number}",
        "created": at,
        "lines": {"data": lines},
        "billing_reason": "subscription_update",
    }
    return {**paid, "id": f"evt_in_{number}", "created": at, "data": {"object": about}}


@pytest.mark.parametrize(
    "prices",
    [
        [("price_basic", "price_basic"), ("price_basic", "price_basic")],
        [("price_basic", "price_pro"), ("price_pro", "price_basic")],
    ],
)
def test_several_changes_of_one_second_leave_the_last_paid(prices: list[tuple[str, str]]) -> None:
    """From one seat to two to three, each invoiced at once; to another price and back."""
    subject, events = story("upgrade")
    paid = invoice(events)
    [line] = paid["data"]["object"]["lines"]["data"]
    changes = [change_of(paid, n, 1900 * n, 1900 * (n + 1), each) for n, each in enumerate(prices, 1)]
    assert shown(subject, [own(events)[0], paid, *changes]).paid_through == line["period"]["end"] * 1000


def test_a_cancelled_one_that_never_began_has_neither_begun_nor_ended() -> None:
    """It is over; an end alone, heard by who came late, is one of what had begun."""
    subject, events = story("upgrade")
    first = own(events)[0]
    begun = {**first, "data": {"object": {**first["data"]["object"], "status": "incomplete"}}}
    ended = {**first["data"]["object"], "status": "canceled", "ended_at": first["created"] + 60}
    gone = {**first, "id": "evt_end", "type": "customer.subscription.deleted", "data": {"object": ended}}
    found = shown(subject, [begun, gone])
    assert (found.status, found.milestones) == ("ended", ())
    late = [each.type for each in shown(subject, [gone]).milestones]
    assert late == ["subscription.started", "subscription.ended"]


def test_a_pause_of_the_collection_is_none_of_what_is_past_due() -> None:
    """Its status stays; it is paused once it is active."""
    subject, events = story("renewal-fails-then-recovers")
    first = own(events)[0]
    due = updated(first, 60, status="past_due")
    stopped = updated(due, 60, pause_collection={"behavior": "void"})
    types = [each.type for each in shown(subject, [first, due, stopped]).milestones]
    assert "subscription.paused" not in types
    again = updated(stopped, 60, status="active")
    types = [each.type for each in shown(subject, [first, due, stopped, again]).milestones]
    assert types.count("subscription.paused") == 1


def test_past_due_since_the_second_that_was_well_too() -> None:
    """A renewal moves the period and the status in one second; a later attempt does not begin it anew."""
    subject, events = story("renewal-fails-then-recovers")
    first = own(events)[0]
    moved = updated(first, 60, default_payment_method="pm_2")
    due = updated(moved, 0, status="past_due")
    again = updated(due, 3 * 86_400, default_payment_method="pm_3")
    found = shown(subject, [first, moved, {**due, "id": "evt_due"}, again])
    assert found.past_due_since == due["created"] * 1000


def test_an_unknown_status_after_two_of_one_second_stays_what_it_was() -> None:
    """The last known, by its edges, not by the alphabet."""
    subject, events = story("renewal-fails-then-recovers")
    first = own(events)[0]
    due = updated(first, 60, status="past_due")
    well = {**updated(due, 0, status="active"), "id": "evt_well"}
    odd = updated(well, 60, status="hibernating")
    assert shown(subject, [first, due, well, odd]).status == "active"


def test_a_first_payment_that_fails_is_counted() -> None:
    """While it is incomplete."""
    it = StripeSubscription(random.Random(1), NOW, 1900, "EUR", None)
    told = [it.created("incomplete", 0), it.invoice("invoice.payment_failed", "subscription_create")]
    found = shown(it.subject, told)
    assert (found.status, found.failed_attempts) == ("pending", 1)
    assert found.next_attempt_at is not None


def test_however_often_it_is_updated_while_past_due_grace_does_not_grow() -> None:
    """An app that writes usage into the metadata every six hours."""
    subject, events = story("renewal-fails-then-recovers")
    due = updated(own(events)[0], 60, status="past_due")
    told = [due]
    for n in range(60):
        told.append({**updated(told[-1], 21_600, metadata={"n": str(n)}), "id": f"evt_n{n}"})
    assert shown(subject, [own(events)[0], *told]).past_due_since == due["created"] * 1000


def test_what_was_given_back_after_the_end_is_given_back() -> None:
    """Cancelled now, prorated and invoiced: the credit is settled an hour later."""
    subject, events = story("cancel-at-end")
    last = own(events)[-1]
    at = last["created"] + 60
    ended = {**last["data"]["object"], "status": "canceled", "ended_at": at}
    gone = {**last, "id": "evt_end", "type": "customer.subscription.deleted", "created": at}
    gone["data"] = {"object": ended}
    credit = copy.deepcopy(invoice(events))
    about = credit["data"]["object"]
    about |= {"id": "in_back", "billing_reason": "manual", "amount_paid": 0, "created": at}
    about["status_transitions"]["paid_at"] = at + 3600
    for line in about["lines"]["data"]:
        line |= {"id": "il_back", "amount": -1200}
        line["period"]["start"] = at
    found = shown(subject, [*events, gone, {**credit, "id": "evt_back", "created": at + 3600}])
    assert found.paid_through == at * 1000


def test_why_it_ended_may_be_said_by_its_last_update_alone() -> None:
    """It was past due before, which nothing else was heard of."""
    subject, events = story("renewal-fails-then-recovers")
    first = own(events)[0]
    due = updated(first, 60, status="past_due")
    gone = updated(due, 60, status="canceled")
    assert shown(subject, [first, gone]).ended_reason == "payment_failed"


def test_an_invoice_payment_that_is_open_pays_nothing() -> None:
    """Only one that is paid links a payment."""
    about: Json = {"id": "inpay_1", "object": "invoice_payment", "invoice": "in_1", "status": "open"}
    about["payment"] = {"type": "payment_intent", "payment_intent": "pi_1"}
    event: Json = {"id": "evt_1", "object": "event", "type": "invoice_payment.x", "created": 1}
    event["data"] = {"object": about}
    made = PROVIDERS["stripe"].event(as_bytes(event), NOW)
    assert list(subscriptions.links(made)) == []
