"""Payments, invoices and subscriptions tell one another what became of them, in whatever order."""

import copy
import random
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.errors import HandlerFailed
from chalicelib.folding import folded
from chalicelib.payments import Milestone
from chalicelib.payments import project as project_payment
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.settings import read
from chalicelib.subscriptions import Subscription, Terms, access, project
from chalicelib.times import DAY, plus, to_iso
from ops.stories.paypal_subscriptions import PayPalSubscription
from ops.stories.stripe_subscriptions import StripeSubscription
from tests.fakes import NOW, MemoryInbox, MemoryLedger, as_bytes, consumer, message_of

Json = dict[str, Any]


def recorded(provider: str, events: list[Json]) -> Any:
    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox())
    for each in events:
        to.record(message_of(as_bytes(each), provider), NOW + 60_000)
    for subject in ledger.kept:
        assert (
            folded(ledger, PROVIDERS, subject, ledger.record(subject).facts) == ledger.record(subject).facts
        ), subject
    return ledger


def facts(ledger: Any) -> dict[str, Any]:
    """Of all that is shown: a plan keeps who waited for it."""
    return {name: each.facts for name, each in ledger.kept.items() if not name.startswith("paypal:P-")}


def in_any_order(provider: str, events: list[Json], times: int = 60) -> Any:
    """The ledger; the same in each of so many orders, with some told twice."""
    first = recorded(provider, events)
    for seed in range(times):
        rng = random.Random(seed)
        order = [*events, *rng.sample(events, 3)]
        rng.shuffle(order)
        assert facts(recorded(provider, order)) == facts(first)
    return first


def shown(ledger: Any, it: Any, terms: Terms | None = None) -> Subscription:
    return project(it.subject, ledger.subscription(it.subject).facts, terms or Terms())


def stripe(days: int = 40) -> tuple[StripeSubscription, list[Json]]:
    it = StripeSubscription(random.Random(3), NOW, 1900, "EUR", None)
    events = [it.created("active", days), *it.paid("subscription_create")]
    return it, [*events, it.renewed(), *it.paid("subscription_cycle")]


def refunded(it: StripeSubscription, amount: int) -> list[Json]:
    it.now += 60
    about = {**it._charged(it.amount), "amount_refunded": amount, "refunded": amount == it.amount}
    refund = {
        "id": f"re_{it.now}",
        "object": "refund",
        "amount": amount,
        "charge": about["id"],
        "payment_intent": about["payment_intent"],
        "currency": "eur",
        "created": it.now,
        "status": "succeeded",
    }
    return [
        it._event("refund.created", refund),
        it._event("charge.refunded", about, {"amount_refunded": 0}),
    ]


def test_each_names_the_other() -> None:
    """The last payment of the subscription, and the subscription of each payment."""
    it, events = stripe()
    ledger = in_any_order("stripe", events)
    found = shown(ledger, it)
    paid = [subject for subject in ledger.kept if subject.startswith("stripe:pi_")]
    assert found.last_payment is not None
    assert found.last_payment["payment"] in paid
    for subject in paid:
        related = project_payment(subject, ledger.payment(subject).facts).related
        assert related["subscription"] == [it.id]
        assert len(related["invoice"]) == 1


@pytest.mark.parametrize("ends", ["lost", "refunded"])
def test_a_refund_in_full_of_the_last_payment_shows(ends: str) -> None:
    """And ends access where the stage says so: then what it paid for is not paid."""
    it, events = stripe()
    ledger = in_any_order("stripe", [*events, *refunded(it, 1900)])
    found = shown(ledger, it)
    assert found.last_payment is not None
    assert found.last_payment["reversed"] == "refunded"
    [reversed_] = [each for each in found.milestones if each.type == "subscription.payment_reversed"]
    assert (reversed_.amount, reversed_.id.endswith("/refunded")) == (1900, True)
    terms = Terms(reversed_ends=frozenset({ends}))
    granted = access(shown(ledger, it, terms), NOW, terms)
    assert (granted.access, granted.reason) == ((False, "reversed") if ends == "refunded" else (True, "paid"))
    if ends == "refunded":
        paid_before = shown(ledger, it, terms).paid_through
        assert paid_before is not None
        assert paid_before < NOW < (found.paid_through or 0)


def test_a_part_that_is_refunded_reverses_nothing() -> None:
    """The rest is paid."""
    it, events = stripe()
    found = shown(in_any_order("stripe", [*events, *refunded(it, 900)]), it)
    assert found.last_payment is not None
    assert found.last_payment["reversed"] is None
    assert "subscription.payment_reversed" not in [each.type for each in found.milestones]


def test_a_dispute_that_was_won_reverses_nothing_in_the_end() -> None:
    """It was disputed, which is notified, and holds no more."""
    it, events = stripe()
    it.now += 86_400
    opened = it.disputed("created", "needs_response")
    assert shown(in_any_order("stripe", [*events, opened]), it).last_payment == {
        **(shown(recorded("stripe", events), it).last_payment or {}),
        "reversed": "disputed",
    }
    it.now += 86_400
    won = it.disputed("closed", "won")
    found = shown(in_any_order("stripe", [*events, opened, won]), it)
    assert found.last_payment is not None
    assert found.last_payment["reversed"] is None
    keys = [each.id.rpartition("/")[2] for each in found.milestones if "reversed" in each.type]
    assert keys == ["disputed"]


def test_what_became_of_an_earlier_payment_is_no_news_of_the_subscription() -> None:
    """Only of its last: another was paid since."""
    it = StripeSubscription(random.Random(3), NOW, 1900, "EUR", None)
    first = [it.created("active", 40), *it.paid("subscription_create")]
    charge, intent = it._charge, it._intent
    events = [*first, it.renewed(), *it.paid("subscription_cycle")]
    it._charge, it._intent = charge, intent
    found = shown(in_any_order("stripe", [*events, *refunded(it, 1900)]), it)
    assert found.last_payment is not None
    assert found.last_payment["reversed"] is None
    assert "subscription.payment_reversed" not in [each.type for each in found.milestones]


def test_before_2025_a_charge_names_its_invoice() -> None:
    """And an invoice its payment: no invoice payment is sent."""
    it, events = stripe()
    old = []
    for each in events:
        about = each["data"]["object"]
        if about["object"] == "invoice_payment":
            intent, invoice = about["payment"]["payment_intent"], about["invoice"]
            for other in events:
                of = other["data"]["object"]
                if of["object"] == "charge" and of["payment_intent"] == intent:
                    of["invoice"] = invoice
                if of["object"] == "invoice" and of["id"] == invoice:
                    of["payment_intent"] = intent
        else:
            old.append(each)
    ledger = in_any_order("stripe", [*old, *refunded(it, 1900)])
    last = shown(ledger, it).last_payment
    assert last is not None
    assert last["reversed"] == "refunded"
    assert project_payment(last["payment"], ledger.payment(last["payment"]).facts).related["subscription"]


def test_of_a_connected_account_all_are_its_own() -> None:
    """By the account in each subject."""
    it, events = stripe()
    ledger = in_any_order("stripe", [{**each, "account": "acct_1"} for each in events], times=10)
    last = project(f"stripe:acct_1:{it.id}", ledger.record(f"stripe:acct_1:{it.id}").facts).last_payment
    assert last is not None
    assert last["payment"].startswith("stripe:acct_1:pi_")


def test_a_lost_dispute_of_a_sale_ends_access() -> None:
    """PayPal's dispute names the sale alone."""
    it = PayPalSubscription(random.Random(3), NOW, 1900, "EUR", None)
    events = [it.created(10), it.activated(), it.sale()]
    it.now += DAY
    events.append(it.disputed())
    it.now += DAY
    found = shown(in_any_order("paypal", events), it)
    assert access(found, NOW, Terms()).access
    events.append(it.disputed("RESOLVED", "RESOLVED_BUYER_FAVOUR"))
    lost = shown(in_any_order("paypal", events), it)
    assert (lost.status, lost.paid_through) == ("active", None)
    assert access(lost, NOW, Terms()).reason == "reversed"
    assert [each.type for each in lost.milestones].count("subscription.payment_reversed") == 2


def test_an_invoice_of_no_subscription_tells_nobody() -> None:
    """Its payment is a payment like any other."""
    _, events = stripe()
    alone = [each for each in events if each["data"]["object"]["object"] in ("charge", "invoice_payment")]
    ledger = in_any_order("stripe", alone, times=5)
    for subject in (each for each in ledger.kept if each.startswith("stripe:pi_")):
        assert "subscription" not in project_payment(subject, ledger.payment(subject).facts).related


def test_which_reversals_end_access_is_the_stages_setting() -> None:
    """Some of three words, or none; another is refused by name."""
    assert read({}).terms.reversed_ends == {"lost"}
    assert read({"DAYBOOK_REVERSED_ENDS_ACCESS": "lost, refunded"}).terms.reversed_ends == {
        "lost",
        "refunded",
    }
    assert read({"DAYBOOK_REVERSED_ENDS_ACCESS": ""}).terms.reversed_ends == set()
    with pytest.raises(ValueError, match="must list some of: refunded, disputed, lost"):
        read({"DAYBOOK_REVERSED_ENDS_ACCESS": "won"})


def test_a_refund_that_fails_in_the_end_reverses_nothing() -> None:
    """The money is back with the seller."""
    it, events = stripe()
    made, charged = refunded(it, 1900)
    failed = copy.deepcopy(made)
    failed |= {"id": "evt_failed", "type": "refund.failed", "created": it.now + 60}
    failed["data"]["object"]["status"] = "failed"
    again = copy.deepcopy(charged)
    again |= {"id": "evt_again", "created": it.now + 60}
    again["data"] = {"object": {**charged["data"]["object"], "amount_refunded": 0, "refunded": False}}
    found = shown(in_any_order("stripe", [*events, made, failed]), it)
    assert found.last_payment is not None
    assert found.last_payment["reversed"] is None


def test_before_2025_an_invoice_alone_names_its_payment() -> None:
    """Where no charge is sent: a dispute finds the subscription all the same."""
    it, events = stripe()
    old = [each for each in events if each["data"]["object"]["object"] in ("subscription", "invoice")]
    for each in old:
        if each["data"]["object"]["object"] == "invoice":
            each["data"]["object"]["payment_intent"] = f"pi_{each['data']['object']['id']}"
    it._intent = old[-1]["data"]["object"]["payment_intent"]
    it.now += 60
    lost = [it.disputed("created", "needs_response"), it.disputed("closed", "lost")]
    found = shown(in_any_order("stripe", [*old, *lost]), it)
    assert access(found, NOW, Terms()).reason == "reversed"


def test_what_was_paid_elsewhere_is_out_of_band() -> None:
    """Since 2025 an invoice payment says so, which names no payment of Stripe's."""
    it, events = stripe()
    for each in events:
        if each["data"]["object"]["object"] == "invoice_payment":
            each["data"]["object"]["payment"] = {"type": "payment_record", "payment_record": "pr_1"}
    events = [each for each in events if each["data"]["object"]["object"] != "charge"]
    last = shown(in_any_order("stripe", events, times=20), it).last_payment
    assert last is not None
    assert (last["method"], last["payment"]) == ("out_of_band", None)


def test_a_refund_of_a_v2_capture_reaches_its_subscription() -> None:
    """By its link, where it has no agreement's id."""
    it = PayPalSubscription(random.Random(3), NOW, 1900, "EUR", None)
    events = [it.created(10), it.activated()]
    up = [{"href": f"https://api.paypal.com/v1/billing/subscriptions/{it.id}", "rel": "up"}]
    amount = {"value": "19.00", "currency_code": "EUR"}
    capture = {
        "id": "CAP1",
        "status": "COMPLETED",
        "amount": amount,
        "links": up,
        "create_time": to_iso(it.now),
    }
    refund: Json = {"id": "REF1", "status": "COMPLETED", "amount": amount}
    refund["create_time"] = to_iso(it.now + DAY)
    refund["links"] = [{"href": "https://api.paypal.com/v2/payments/captures/CAP1", "rel": "up"}]
    events.append(it._event("PAYMENT.CAPTURE.COMPLETED", "capture", capture))
    it.now += DAY
    events.append(it._event("PAYMENT.CAPTURE.REFUNDED", "refund", refund))
    last = shown(in_any_order("paypal", events), it).last_payment
    assert last is not None
    assert (last["payment"], last["reversed"]) == ("paypal:CAP1", "refunded")


def test_an_invoice_that_is_paid_late_hears_of_all_that_became_of_its_payment() -> None:
    """It was named before it was paid, and its payment was disputed before that."""
    it, events = stripe()
    it.now += 60
    lost = [it.disputed("created", "needs_response"), it.disputed("closed", "lost")]
    [*_, last_invoice] = [each for each in events if each["type"] == "invoice.paid"]
    about = {**last_invoice["data"]["object"], "status": "open", "amount_paid": 0}
    about["status_transitions"] = {"paid_at": None}
    named = {**last_invoice, "id": "evt_open", "type": "invoice.finalized", "data": {"object": about}}
    found = shown(in_any_order("stripe", [*events, named, *lost], times=150), it)
    assert found.last_payment is not None
    assert found.last_payment["reversed"] == "lost"


def test_what_another_record_was_told_is_told_again_after_a_failure() -> None:
    """The dispute names a payment; the subscription's handler fails, and hears it with the next delivery."""
    it, events = stripe()
    heard: list[str] = []
    handlers = Handlers()

    @handlers.on("subscription.payment_reversed")
    def listen(about: Subscription, milestone: Milestone) -> None:
        heard.append(milestone.id)
        if len(heard) == 1:
            raise ConnectionError

    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox(), handlers=handlers)
    for each in events:
        to.record(message_of(as_bytes(each)), NOW + 60_000)
    it.now += 60
    opened = message_of(as_bytes(it.disputed("created", "needs_response")))
    with pytest.raises(HandlerFailed):
        to.record(opened, NOW + 60_000)
    to.record(opened, NOW + 60_000)
    to.record(opened, NOW + 60_000)
    assert len(heard) == 2
    assert ledger.record(it.subject).outbox.tasks == ()


def test_an_invoice_is_written_where_it_changes_only() -> None:
    """Before 2025 each event of a charge names it."""
    it, events = stripe()
    ledger = recorded("stripe", events)
    about = {**it._charged(1900), "invoice": "in_named"}
    for n in range(3):
        consumer(ledger, MemoryInbox()).record(
            message_of(as_bytes({**it._event("charge.updated", about), "id": f"evt_{n}"})), NOW + 60_000
        )
    assert ledger.record("stripe:in_named").version == 1
    assert ledger.payment(f"stripe:{it._intent}").version > 3


def test_handlers_see_what_the_stages_terms_make_of_it() -> None:
    """A refunded payment does not count, where it ends access."""
    it, events = stripe()
    seen: list[int | None] = []
    handlers = Handlers()

    @handlers.on("access.revoked")
    def listen(about: Subscription, milestone: Milestone) -> None:
        seen.append(about.paid_through)

    terms = Terms(reversed_ends=frozenset({"refunded"}))
    ledger: Any = MemoryLedger()
    to = replace(consumer(ledger, MemoryInbox(), handlers=handlers), terms=terms)
    for each in [*events, *refunded(it, 1900)]:
        to.record(message_of(as_bytes(each)), NOW + 60_000)
    assert seen == [shown(ledger, it, terms).paid_through]
    assert seen != [shown(ledger, it).paid_through]


def test_either_of_two_payments_of_an_invoice_can_be_reversed() -> None:
    """Each paid a part."""
    it, events = stripe()
    [*_, link] = [each for each in events if each["type"] == "invoice_payment.paid"]
    second = copy.deepcopy(link)
    second["id"] = "evt_second"
    second["data"]["object"] |= {"id": "inpay_2"}
    second["data"]["object"]["payment"]["payment_intent"] = "pi_zzzz"
    it.now += 60
    lost = [it.disputed("created", "needs_response"), it.disputed("closed", "lost")]
    found = shown(in_any_order("stripe", [*events, second, *lost]), it)
    assert found.last_payment is not None
    assert found.last_payment["reversed"] == "lost"


def test_what_a_record_was_made_from_may_not_change_meanwhile() -> None:
    """One consumer records that an invoice was paid, another a dispute of its payment at the same time."""
    it, events = stripe()
    paid = [each for each in events if each["type"] == "invoice.paid"][-1]
    about = {**paid["data"]["object"], "status": "open", "amount_paid": 0, "attempt_count": 1}
    about["status_transitions"] = {"paid_at": None}
    failed = {**paid, "id": "evt_failed", "type": "invoice.payment_failed", "data": {"object": about}}
    before = [each for each in events if each is not paid]
    ledger = recorded("stripe", [*before, failed])
    it.now += 60
    dispute = message_of(as_bytes(it.disputed("closed", "lost")))
    to = consumer(ledger, MemoryInbox())
    save, races = ledger.save, [1]

    def racing(write: Any) -> None:
        if write.event.id == paid["id"] and races:
            races.pop()
            to.record(dispute, NOW + 60_000)
        save(write)

    ledger.save = racing
    to.record(message_of(as_bytes(paid)), NOW + 60_000)
    found = shown(ledger, it)
    assert found.last_payment is not None
    assert found.last_payment["reversed"] == "lost"
    for subject in ledger.kept:
        assert (
            folded(ledger, PROVIDERS, subject, ledger.record(subject).facts) == ledger.record(subject).facts
        ), subject


def test_a_plan_says_until_when_a_sale_pays() -> None:
    """Heard of before its subscriptions or after them: they wait for it."""
    it = PayPalSubscription(random.Random(3), NOW, 1900, "EUR", None)
    other = PayPalSubscription(random.Random(4), NOW, 1900, "EUR", None)
    events = []
    for each in (it, other):
        events += [each.created(35), each.activated(), each.sale()]
        each.now += 30 * DAY
        events.append(each.sale())
    frequency = {"interval_unit": "MONTH", "interval_count": 1}
    price = {"fixed_price": {"value": "19.00", "currency_code": "EUR"}}
    cycle = {"tenure_type": "REGULAR", "frequency": frequency, "pricing_scheme": price}
    plan = {"id": it._about["plan_id"], "billing_cycles": [cycle], "update_time": to_iso(it.now - 90 * DAY)}
    events.append(it._event("BILLING.PLAN.CREATED", "plan", plan))
    ledger = in_any_order("paypal", events)
    for each in (it, other):
        found = shown(ledger, each)
        assert (found.certain, found.paid_through) == (True, plus(each.now, "1 month"))
        assert (found.items[0]["amount"], found.items[0]["interval"]) == (1900, "1 month")


def test_a_plan_that_is_never_heard_of_does_not_grow_with_what_is_sold() -> None:
    """So many wait for it; the others are asked about."""
    many = [PayPalSubscription(random.Random(n), NOW, 1900, "EUR", None) for n in range(30)]
    ledger = recorded("paypal", [each.created(1) for each in many])
    waiting = ledger.record(f"paypal:{many[0]._about['plan_id']}").facts["plan"]["waiting"]
    assert len(waiting) == 20
