"""What PayPal's events prove of a subscription, where they are odd, old, or say less than they seem to."""

import random
from typing import Any

import pytest

from chalicelib.errors import InvalidPayload
from chalicelib.payments import Labels
from chalicelib.providers import PROVIDERS
from chalicelib.subscriptions import Facts, Subscription, Terms, access, fold, join, project, shown
from chalicelib.times import DAY, HOUR, plus, to_iso
from ops.stories import SUBSCRIPTIONS, tell
from ops.stories.paypal_subscriptions import PayPalSubscription
from tests.core.subscriptions.test_stripe import changed
from tests.fakes import NOW, as_bytes

Json = dict[str, Any]
MONTHLY: Json = {
    "product_id": "PROD-1",
    "billing_cycles": [
        {"tenure_type": "TRIAL", "frequency": {"interval_unit": "WEEK", "interval_count": 2}},
        {
            "tenure_type": "REGULAR",
            "frequency": {"interval_unit": "MONTH", "interval_count": 1},
            "pricing_scheme": {"fixed_price": {"value": "19.00", "currency_code": "EUR"}},
        },
    ],
}


def subscription(seed: int = 1) -> PayPalSubscription:
    return PayPalSubscription(random.Random(seed), NOW, 1900, "EUR", None)


def facts(it: PayPalSubscription, events: list[Json]) -> Facts:
    provider = PROVIDERS["paypal"]
    told = (provider.facts(provider.event(as_bytes(each), NOW)).get(it.subject, {}) for each in events)
    return fold(Labels().kept(each, "subscription") for each in told)


def seen(it: PayPalSubscription, events: list[Json]) -> Subscription:
    shuffled = random.Random(5).sample(events, len(events))
    assert facts(it, events) == facts(it, shuffled)
    return project(it.subject, facts(it, events))


def begun(it: PayPalSubscription, days: int = 40) -> list[Json]:
    return [it.created(days), it.activated(), it.sale()]


def types(found: Subscription) -> list[str]:
    return [each.type.partition(".")[2] for each in found.milestones]


def test_a_later_sale_without_a_plan_leaves_its_end_open() -> None:
    """It grants, until that is asked about, and is not certain."""
    it = subscription()
    events = begun(it)
    it.now += 30 * DAY
    found = seen(it, [*events, it.sale()])
    assert (found.status, found.paid_through, found.certain) == ("active", None, False)
    granted = access(found, NOW + 99 * DAY, Terms())
    assert (granted.access, granted.until, granted.reason) == (True, None, "paid")


@pytest.mark.parametrize("unit", ["MONTH", "DAY", "WEEK", "YEAR"])
def test_with_the_plan_a_sale_pays_for_one_interval(unit: str) -> None:
    """As the body says that was asked for with it."""
    it = subscription()
    events = begun(it)
    frequency = {"interval_unit": unit, "interval_count": 1}
    regular = {**MONTHLY["billing_cycles"][1], "frequency": frequency}
    events.append(it.stated("UPDATED", plan={**MONTHLY, "billing_cycles": [regular]}))
    it.now += 31 * DAY
    found = seen(it, [*events, it.sale()])
    assert found.paid_through == plus(it.now, f"1 {unit.lower()}")
    [item] = found.items
    assert (item["amount"], item["currency"], item["product"]) == (1900, "EUR", "PROD-1")
    assert item["interval"] == f"1 {unit.lower()}"
    assert found.certain


def test_a_month_ends_with_the_month() -> None:
    """From the 31st to the 28th."""
    from_ = 1_769_817_600_000  # 2026-01-31
    assert to_iso(plus(from_, "1 month")) == "2026-02-28T00:00:00Z"
    assert to_iso(plus(from_, "1 year")) == "2027-01-31T00:00:00Z"
    with pytest.raises(ValueError, match="not an interval"):
        plus(from_, "1 fortnight")


def test_tiers_have_no_amount() -> None:
    """Nor has an interval that nobody knows one."""
    it = subscription()
    frequency, pricing = {"interval_unit": "EPOCH"}, {"tiers": [1]}
    tiered = {"tenure_type": "REGULAR", "frequency": frequency, "pricing_scheme": pricing}
    events = [*begun(it), it.stated("UPDATED", plan={"billing_cycles": [tiered]})]
    [item] = seen(it, events).items
    assert (item["amount"], item["interval"]) == (None, None)


def test_active_while_its_payments_fail_is_past_due() -> None:
    """Whatever its status says, for three years: a site gave its services away by it."""
    it = subscription()
    events = begun(it)
    it.now += 30 * DAY
    began = it.now
    for count in (1, 2, 3):
        events.append(it.payment_failed(count))
        it.now += 5 * DAY
    found = seen(it, events)
    assert (found.status, found.provider_status, found.failed_attempts) == ("past_due", "ACTIVE", 3)
    assert found.past_due_since == began
    assert types(found) == ["started", "activated", "payment_failed", "past_due", *["payment_failed"] * 2]
    assert access(found, began + 6 * DAY, Terms()).reason == "grace"
    assert not access(found, began + 3 * 365 * DAY, Terms()).access
    events.append(it.stated("SUSPENDED", status="SUSPENDED"))
    assert seen(it, events).status == "unpaid"
    it._billing |= {"outstanding_balance": it._money(0), "failed_payments_count": 0}
    it._billing.pop("last_failed_payment")
    it.now += DAY
    events.append(it.stated("RE-ACTIVATED", status="ACTIVE"))
    forgiven = seen(it, events)
    assert forgiven.status == "active"
    assert types(forgiven).count("recovered") == 1


def test_a_second_spell_is_another() -> None:
    """Each is notified once: past due, and recovered."""
    it = subscription()
    events = begun(it, 100)
    for _ in range(2):
        it.now += 30 * DAY
        events.append(it.payment_failed())
        it.now += DAY
        events.append(it.sale())
        it._billing |= {"outstanding_balance": it._money(0), "failed_payments_count": 0}
    found = seen(it, events)
    assert found.status == "active"
    assert types(found).count("past_due") == types(found).count("recovered") == 2
    it.now += 30 * DAY
    events.append(it.payment_failed())
    assert seen(it, events).past_due_since == it.now


def test_paused_and_resumed() -> None:
    """It grants what is paid while it is suspended."""
    it = subscription()
    events = begun(it, 20)
    it.now += 5 * DAY
    events.append(it.stated("SUSPENDED", status="SUSPENDED"))
    found = seen(it, events)
    assert (found.status, found.pause) == ("paused", "service")
    assert access(found, NOW, Terms()).access
    assert not access(found, NOW, Terms(paused="none")).access
    it.now += 5 * DAY
    events.append(it.stated("ACTIVATED", status="ACTIVE"))
    found = seen(it, events)
    assert (found.status, found.pause) == ("active", None)
    assert types(found) == ["started", "activated", "paused", "resumed"]


def test_what_expired_can_begin_again_and_what_is_cancelled_cannot() -> None:
    """Also where an older body comes late."""
    it = subscription()
    events = begun(it)
    it.now += 10 * DAY
    events.append(it.stated("EXPIRED", status="EXPIRED"))
    found = seen(it, events)
    assert (found.status, found.ended_reason, found.ended_at) == ("ended", "completed", it.now)
    it.now += DAY
    events.append(it.stated("ACTIVATED", status="ACTIVE"))
    assert seen(it, events).status == "active"
    it.now += DAY
    events.append(it.cancelled())
    it._billing["next_billing_time"] = to_iso(it.now + 20 * DAY)
    it.now += HOUR
    events.append(it.stated("UPDATED", status="ACTIVE"))
    found = seen(it, events)
    assert (found.status, found.ended_reason, found.certain) == ("ended", "requested", True)
    assert types(found).count("ended") == 2  # each time


def test_cancelled_while_payments_failed_ends_for_that() -> None:
    """No more access then."""
    it = subscription()
    events = begun(it)
    it.now += 30 * DAY
    events += [it.payment_failed(), it.cancelled()]
    found = seen(it, events)
    assert (found.status, found.ended_reason) == ("ended", "payment_failed")
    assert not access(found, it.now, Terms()).access


def test_a_trial_grants_until_its_end() -> None:
    """And a trial whose end nobody says is not certain. Nothing is sent when it ends."""
    it = subscription()
    events = [it.created(3), it.activated(trial_days=7)]
    found = seen(it, events)
    assert (found.status, found.trial_ends_at, found.certain) == ("trialing", it.now + 7 * DAY, True)
    assert access(found, it.now + 8 * DAY, Terms()).reason == "trial"
    it._billing["next_billing_time"] = to_iso(it.now - HOUR)
    silent = seen(it, [it.stated("UPDATED", status="ACTIVE")])
    assert (silent.status, silent.trial_ends_at, silent.certain) == ("trialing", None, False)


def test_a_first_payment_that_no_cycle_counts_yet_is_no_trial() -> None:
    """As PayPal's own events show it, of a plan without a trial."""
    it = subscription()
    events = begun(it, 1)
    [cycle] = it._billing["cycle_executions"]
    it._billing["cycle_executions"] = [{**cycle, "cycles_completed": 0}]
    assert seen(it, [*events, it.stated("UPDATED")]).status == "active"


def test_a_status_that_nobody_knows_changes_nothing() -> None:
    """It is shown as PayPal's, and is not certain."""
    it = subscription()
    events = begun(it, 10)
    it.now += DAY
    found = seen(it, [*events, it.stated("UPDATED", status="HIBERNATING")])
    assert (found.status, found.provider_status, found.certain) == ("active", "HIBERNATING", False)


def test_a_billing_within_the_day_is_the_one_just_made() -> None:
    """PayPal has named it so for some; it pays for nothing."""
    it = subscription()
    it.created(5)
    it.activated()
    it._billing["next_billing_time"] = to_iso(it.now + HOUR)
    found = seen(it, [it.stated("ACTIVATED", status="ACTIVE")])
    assert found.paid_through is None


def test_a_reference_is_known_from_a_sale_alone() -> None:
    """Before the subscription itself is heard of: which is pending, and grants nothing."""
    it = subscription()
    it.created(5)
    it.activated()
    found = seen(it, [it.sale()])
    assert (found.reference, found.status, found.items) == (it.reference, "pending", ())
    assert not access(found, NOW, Terms()).access


def test_a_simulators_time_that_is_none_decides_nothing() -> None:
    """It gives a thirteenth month; the body's own time counts."""
    it = subscription()
    events = begun(it, 10)
    odd = [{**each, "create_time": "2018-19-12T22:20:32.000Z"} for each in events]
    assert seen(it, odd).status == "active"


def test_an_agreement_of_version_1() -> None:
    """Its words are others, and what they mean the same."""
    regular = {"type": "REGULAR", "frequency": "Month", "frequency_interval": "2"}
    resource = {
        "id": "I-PE7JWXKGVN0R",
        "state": "Active",
        "start_date": "2026-10-01T00:00:00Z",
        "plan": {
            "curr_code": "USD",
            "payment_definitions": [{**regular, "amount": {"value": "10.00"}}],
        },
        "payer": {"payer_info": {"payer_id": "XLHKRXRA4H7QY"}},
        "agreement_details": {
            "outstanding_balance": {"value": "0.00"},
            "failed_payment_count": "0",
            "last_payment_date": "2026-11-01T10:00:00Z",
            "next_billing_date": "2027-01-01T10:00:00Z",
        },
    }
    event = {
        "id": "WH-1",
        "create_time": "2026-11-01T10:01:00Z",
        "event_type": "BILLING.SUBSCRIPTION.CREATED",
        "resource": resource,
    }
    provider = PROVIDERS["paypal"]
    [(subject, proved)] = provider.facts(provider.event(as_bytes(event), NOW)).items()
    found = project(subject, proved)
    assert (subject, found.status, found.customer) == ("paypal:I-PE7JWXKGVN0R", "active", "XLHKRXRA4H7QY")
    assert to_iso(found.paid_through or 0) == "2027-01-01T10:00:00Z"
    [item] = found.items
    assert (item["price"], item["amount"], item["interval"]) == (None, 1000, "2 month")


def test_whatever_a_body_says_it_is_read_or_refused() -> None:
    """Fields of other types, or gone: no facts, or facts that join as all do."""
    understood = 0
    for n in range(600):
        rng = random.Random(n)
        subject, events = tell("paypal", rng, NOW, 1900, "EUR", story=SUBSCRIPTIONS[n % len(SUBSCRIPTIONS)])
        told = []
        provider = PROVIDERS["paypal"]
        for each in events:
            odd = {**each, "resource": changed(each["resource"], rng)}
            try:
                told.append(provider.facts(provider.event(as_bytes(odd), NOW)).get(subject, {}))
            except (ValueError, TypeError, AttributeError, KeyError, InvalidPayload):
                continue  # recorded, and not understood
        proved = fold(told)
        assert proved == fold(reversed(told)) == join(proved, proved)
        if proved.get("subscription"):
            assert shown(project(subject, proved), NOW, Terms())["id"] == subject
            understood += 1
    assert understood > 100


def without(event: Json, *names: str) -> Json:
    """The event with those fields of its billing left out."""
    resource = event["resource"]
    billing = {name: value for name, value in resource["billing_info"].items() if name not in names}
    return {**event, "resource": {**resource, "billing_info": billing}}


def bare(event: Json) -> Json:
    """The event with a body that says nothing of its payments."""
    resource = {name: value for name, value in event["resource"].items() if name != "billing_info"}
    return {**event, "resource": resource}


def test_a_failure_that_has_no_time_of_its_own_has_its_events() -> None:
    """As PayPal's own examples have none: the update time did not move, and the last sale was before."""
    it = subscription()
    events = begun(it)
    it.now += 30 * DAY
    events.append(without(it.payment_failed(), "last_failed_payment"))
    found = seen(it, events)
    assert (found.status, found.failed_attempts, found.past_due_since) == ("past_due", 1, it.now)
    assert [each.at for each in found.milestones if each.type == "subscription.past_due"] == [to_iso(it.now)]


def test_a_body_that_says_nothing_of_payments_changes_nothing_of_them() -> None:
    """Past due stays so, and suspended then is unpaid."""
    it = subscription()
    events = begun(it)
    it.now += 30 * DAY
    events.append(it.payment_failed())
    it.now += DAY
    events.append(bare(it.stated("UPDATED")))
    found = seen(it, events)
    assert found.status == "past_due"
    assert "recovered" not in types(found)
    it.now += DAY
    events.append(bare(it.stated("SUSPENDED", status="SUSPENDED")))
    found = seen(it, events)
    assert found.status == "unpaid"
    assert "paused" not in types(found)
    it.now += DAY
    events.append(bare(it.stated("CANCELLED", status="CANCELLED")))
    assert seen(it, events).ended_reason == "payment_failed"


def test_cancelled_after_past_due_ends_for_that_whatever_its_last_body_says() -> None:
    """PayPal may clear what was owed with it."""
    it = subscription()
    events = begun(it)
    it.now += 30 * DAY
    events.append(it.payment_failed())
    it._billing |= {"outstanding_balance": it._money(0), "failed_payments_count": 0}
    it._billing.pop("last_failed_payment")
    it.now += DAY
    events.append(it.cancelled())
    assert seen(it, events).ended_reason == "payment_failed"


def test_what_was_paid_is_known_from_any_body() -> None:
    """Suspended or cancelled, one may say when it would have been billed next."""
    for what, status in (("SUSPENDED", "paused"), ("CANCELLED", "ended")):
        it = subscription()
        events = begun(it)
        it.now += 30 * DAY
        events.append(it.sale())
        it.now += DAY
        events.append(it.stated(what, status=what))
        found = seen(it, events)
        assert (found.status, found.paid_through, found.certain) == (status, it.now + 29 * DAY, True)


def test_an_end_that_is_not_known_is_not_certain_of_what_is_over_either() -> None:
    """Who renewed and then cancelled has paid for a month; PayPal is asked for how long."""
    it = subscription()
    events = begun(it)
    it.now += 30 * DAY
    events.append(it.sale())
    it.now += DAY
    events.append(it.cancelled())
    found = seen(it, events)
    assert (found.status, found.paid_through, found.certain) == ("ended", None, False)


def test_a_body_that_knows_of_the_sale_and_says_that_it_owes_is_believed() -> None:
    """A part was paid."""
    it = subscription()
    events = begun(it)
    it.now += 30 * DAY
    events.append(it.payment_failed())
    it.now += DAY
    events.append(it.sale())
    it.now += DAY
    events.append(it.stated("UPDATED"))
    assert seen(it, events).status == "past_due"


def test_whoever_comes_late_hears_of_an_end() -> None:
    """Of one that had been paid; not of one that was only ever asked for."""
    it = subscription()
    it.created(40)
    it.activated()
    late = it.cancelled()
    assert types(seen(it, [late])) == ["started", "ended"]
    never = subscription(2)
    asked = never.created(1)
    assert types(seen(never, [asked, never.stated("CANCELLED", status="CANCELLED")])) == []


def test_a_version_1_status_has_its_events_time() -> None:
    """It says no other."""
    it = subscription()
    details = {"failed_payment_count": "0", "last_payment_date": "2026-11-01T10:00:00Z"}
    told = [
        {
            "id": f"WH-{day}",
            "create_time": f"2026-11-{day:02}T10:00:00Z",
            "event_type": f"BILLING.SUBSCRIPTION.{what}",
            "resource": {"id": it.id, "state": state, "plan": {}, "agreement_details": details},
        }
        for day, what, state in (
            (1, "CREATED", "Active"),
            (5, "SUSPENDED", "Suspended"),
            (7, "RE-ACTIVATED", "Active"),
            (9, "SUSPENDED", "Suspended"),
            (12, "CANCELLED", "Cancelled"),
        )
    ]
    found = seen(it, told)
    assert types(found) == ["started", "paused", "resumed", "paused", "ended"]
    assert to_iso(found.ended_at or 0) == "2026-11-12T10:00:00Z"


def test_an_agreement_for_single_payments_is_no_subscription() -> None:
    """Its sales are payments, and nothing else."""
    it = subscription()
    it.created(5)
    it.activated()
    sale = it.sale()
    sale["resource"]["billing_agreement_id"] = "B-1AB23456CD789012E"
    provider = PROVIDERS["paypal"]
    proved = provider.facts(provider.event(as_bytes(sale), NOW))
    assert list(proved) == [f"paypal:{it.sale_id}"]


def test_what_expired_and_was_cancelled_then_has_ended_once() -> None:
    """It had not begun again in between."""
    it = subscription()
    events = begun(it)
    it.now += DAY
    events.append(it.stated("EXPIRED", status="EXPIRED"))
    it.now += DAY
    events.append(it.cancelled())
    found = seen(it, events)
    [ended] = [each for each in found.milestones if each.type == "subscription.ended"]
    assert ended.detail == {"reason": "requested"}


def test_a_change_has_what_was_and_what_is() -> None:
    """And a renewal its payment."""
    it = subscription()
    events = begun(it)
    it.now += DAY
    events.append(it.stated("UPDATED", quantity="3"))
    it.now += 30 * DAY
    events.append(it.sale())
    details = {each.type.partition(".")[2]: each.detail for each in seen(it, events).milestones}
    price = it._about["plan_id"]
    assert details["changed"] == {
        "before": [{"price": price, "quantity": 1}],
        "after": [{"price": price, "quantity": 3}],
    }
    assert details["renewed"] == {"payment": f"paypal:{it.sale_id}"}


def test_a_plan_without_an_interval_says_nothing() -> None:
    """Nor one whose id is none of a plan's."""
    provider = PROVIDERS["paypal"]
    for id_, cycles in (("P-1", []), ("X-1", MONTHLY["billing_cycles"])):
        resource: Json = {"id": id_, "billing_cycles": cycles}
        event = {"id": "WH-1", "event_type": "BILLING.PLAN.CREATED", "resource": resource}
        assert provider.facts(provider.event(as_bytes(event), NOW)) == {}


def test_forgiven_and_failing_again_is_another_spell() -> None:
    """With no sale between: PayPal counts from one again, and the grace does too."""
    it = subscription()
    events = begun(it, 70)
    it.now += 30 * DAY
    events.append(it.payment_failed())
    it.now += 7 * DAY
    it._billing |= {"outstanding_balance": it._money(0), "failed_payments_count": 0}
    failed = it._billing.pop("last_failed_payment")
    assert failed
    events.append(it.stated("RE-ACTIVATED", status="ACTIVE"))
    it.now += 24 * DAY
    events.append(it.payment_failed())
    it.now += 5 * DAY
    events.append(it.payment_failed(2))
    found = seen(it, events)
    assert (found.status, found.past_due_since) == ("past_due", it.now - 5 * DAY)
    assert types(found).count("past_due") == 2
    assert types(found).count("payment_failed") == 3
    assert types(found).count("recovered") == 1


def test_a_price_of_its_own_does_not_hide_the_plan() -> None:
    """An override has no frequency."""
    it = subscription()
    price = {"pricing_scheme": {"fixed_price": {"value": "9.00", "currency_code": "EUR"}}}
    events = [*begun(it), it.stated("UPDATED", plan=MONTHLY)]
    own = {"billing_cycles": [{"tenure_type": "REGULAR", **price}]}
    it.now += 1000
    events.append(it.stated("UPDATED", plan=own))
    it.now += 30 * DAY
    found = seen(it, [*events, it.sale()])
    [item] = found.items
    assert (item["interval"], item["amount"], found.paid_through) == ("1 month", 900, plus(it.now, "1 month"))
