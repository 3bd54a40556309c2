"""The providers' balances, asked for off the request path: fees and net, payouts and what is in them."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib import adjustments, payouts
from chalicelib.errors import Unavailable
from chalicelib.payments import Facts, fold, project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.paypal.transfers import TRANSFER
from chalicelib.providers.stripe.client import StripeApi
from chalicelib.times import DAY, to_iso
from ops.verify import drift
from tests.banks import PayPalBank, StripeBank
from tests.conftest import vectors
from tests.fake_apis import FakePayPal, FakeStripe
from tests.fakes import NOW, Clock, as_bytes, facts_of_event
from tests.settling import WEEK, Shop
from tests.simulators import START, StripeSimulator

Json = dict[str, Any]


@pytest.fixture
def bank() -> StripeBank:
    return StripeBank()


@pytest.fixture
def stripe(bank: StripeBank) -> Iterator[FakeStripe]:
    with FakeStripe([], bank) as api:
        yield api


@pytest.fixture
def shop(stripe: FakeStripe) -> Shop:
    made = Shop()
    made.apis["stripe"] = StripeApi("rk_1", stripe.address, made.clock)
    return made


def paid(seed: int = 1, *changes: tuple[str, tuple[Any, ...]]) -> StripeSimulator:
    simulator = StripeSimulator(seed)
    simulator.succeed()
    for name, arguments in changes:
        getattr(simulator, name)(*arguments)
    return simulator


# ── fees ────────────────────────────────────────────────────────────────────────────────────────────


def test_stripes_fees_are_asked_for_and_complete_the_record(bank: StripeBank, shop: Shop) -> None:
    """Of a charge and a refund; once, however often the hour comes."""
    simulator = paid(1, ("refund", (400, "succeeded")))
    shop.know(simulator.events)
    assert shop.settled(simulator.subject) is None
    bank.add(simulator)
    assert len(shop.hour()) == 2
    assert shop.settled(simulator.subject) == {
        "currency": "EUR",
        "gross": 4600,
        "fee": 175,
        "net": 4425,
        "exchange_rate": None,
        "complete": True,
    }
    assert shop.hour() == shop.hour() == []


def test_what_the_balance_shows_late_is_asked_for_again(bank: StripeBank, shop: Shop) -> None:
    """``complete`` is false as long as a refund's entry is missing."""
    simulator = paid(1, ("refund", (400, "succeeded")))
    shop.know(simulator.events)
    bank.add(simulator)
    late = bank.transactions.pop()
    shop.hour()
    assert shop.settled(simulator.subject)["complete"] is False
    bank.transactions.append({**late, "created": shop.clock.now // 1000})
    shop.hour()
    assert shop.settled(simulator.subject)["complete"] is True


def test_the_order_of_entries_and_events_does_not_matter(bank: StripeBank) -> None:
    """And what is stored is the fold of what is recorded."""
    simulator = paid(3, ("dispute", ("won", "eur")), ("refund", (400, "succeeded")))
    bank.add(simulator)
    with FakeStripe([], bank) as api:
        shown = StripeApi("rk_1", api.address, Clock()).balance(0, NOW * 2, None)
    bodies = [as_bytes(each) for each in simulator.events] + shown.bodies
    made = PROVIDERS["stripe"]
    told = [facts_of_event(made.event(body, NOW)) for body in bodies]
    assert {made.event(body, NOW).subject for body in bodies} == {simulator.subject}
    whole = fold(told)
    for seed in range(20):
        assert fold(random.Random(seed).sample(told * 2, len(told) * 2)) == whole
    settled = project(simulator.subject, whole).settled
    assert settled is not None
    assert (settled.gross, settled.fee, settled.complete) == (4600, 175, True)


def test_a_refund_that_only_a_total_showed_has_its_name_by_the_balance(bank: StripeBank, shop: Shop) -> None:
    """Else nothing would ever be complete where an endpoint sends ``charge.refunded`` alone."""
    simulator = paid(1, ("refund", (400, "succeeded")))
    shop.know([each for each in simulator.events if not each["type"].startswith("refund")])
    bank.add(simulator)
    shop.hour()
    payment = project(simulator.subject, shop.ledger.payment(simulator.subject).facts)
    assert (payment.refunded, shop.settled(simulator.subject)["complete"]) == (400, True)
    assert payment.related["refund"] == [*simulator.refunds]


def test_a_payment_of_intents_alone_is_complete_too(bank: StripeBank, shop: Shop) -> None:
    """Its charge is known by the balance."""
    simulator = paid()
    shop.know([each for each in simulator.events if each["type"].startswith("payment_intent")])
    bank.add(simulator)
    shop.hour()
    assert shop.settled(simulator.subject)["complete"] is True


def test_a_fee_of_stripes_own_is_an_adjustment(bank: StripeBank, shop: Shop) -> None:
    """It is of no payment; it is found by its day."""
    bank.charge_fee("txn_radar", START + 60, 200)
    assert shop.hour() == ["balance_txn_txn_radar_0"]
    [day] = shop.ledger.days("2000-01-01", "2100-01-01", "adjustment")
    name = f"adjustment {day}"
    [(_, subject)], _ = shop.ledger.records_of_day(name, 1, day, day + "~", 10, {})
    assert subject == "stripe:txn_txn_radar_0"
    [line] = adjustments.movements(subject, shop.ledger.record(subject).facts)
    assert (line.kind, line.amount, line.currency, line.at) == ("fee", -200, "EUR", (START + 60) * 1000)


def test_a_key_that_may_not_read_the_balance_stops_nothing(stripe: FakeStripe, shop: Shop) -> None:
    """Nor does an outage: it is said, and the next hour asks again."""
    refused = {"error": {"type": "invalid_request_error", "message": "restricted"}}
    stripe.faults = [(403, {}, refused)]
    assert shop.hour() == []
    assert any("the balance may not be read" in line for line in shop.lines)
    stripe.faults = [(500, {}, refused)] * 20
    assert shop.hour() == []
    assert any("the balance was not read" in line for line in shop.lines)


# ── payouts ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_payout_is_what_it_is_made_of(bank: StripeBank, shop: Shop) -> None:
    """Charges, a refund, a fee of Stripe's own: they add up to it, and each names its payment."""
    one, two = paid(1, ("refund", (400, "succeeded"))), paid(2)
    for simulator in (one, two):
        shop.know(simulator.events)
        bank.add(simulator)
    bank.charge_fee("txn_radar", START + 60, 200)
    id_ = bank.pay_out(START + WEEK)
    assert id_ == "po_1"
    shop.know(bank.events)
    before = shop.payout("stripe:po_1")
    assert (before.status, before.transactions, before.consistent) == ("paid", None, True)
    shop.hour()
    found = shop.payout("stripe:po_1")
    assert found.transactions is not None
    figures = {name: found.transactions[name] for name in ("count", "gross", "fee", "net")}
    assert figures == {"count": 4, "gross": 9400, "fee": 350, "net": 9050}
    assert (found.amount, found.consistent, found.trace_id) == (9050, True, "TRACE1")
    assert found.arrival_date == to_iso((START + WEEK + 172_800) * 1000)[:10]
    parts = [*shop.ledger.made_of.of("stripe:po_1")]
    assert {each.payment for each in parts} == {one.subject, two.subject, None}
    assert sum(each.net for each in parts) == found.amount
    assert shop.ledger.made_of.payouts(one.subject) == ["stripe:po_1"]
    assert shop.told == [("payout.paid", 9050)]
    assert drift(shop.ledger, "stripe:po_1") is None
    assert shop.hour() == []


def test_a_payout_that_does_not_add_up_is_not_consistent(bank: StripeBank, shop: Shop) -> None:
    """It is asked about again, a day later; and is right once the list is."""
    simulator = paid()
    bank.add(simulator)
    bank.pay_out(START + WEEK)
    shop.know(bank.events)
    [charge] = [each for each in bank.transactions if each["type"] == "charge"]
    charge["net"] -= 1
    shop.hour()
    assert shop.payout("stripe:po_1").consistent is False
    assert [*shop.ledger.inconsistent(shop.clock.now)] == ["stripe:po_1"]
    charge["net"] += 1
    for _ in range(25):
        shop.hour()
    assert shop.payout("stripe:po_1").consistent is True
    assert [*shop.ledger.inconsistent(shop.clock.now)] == []


def test_it_waits_until_stripe_can_say_what_a_payout_is_made_of(bank: StripeBank, shop: Shop) -> None:
    """And asks again each hour until then; of one sent by hand it never can."""
    bank.add(paid())
    bank.pay_out(START + WEEK)
    bank.payouts["po_1"]["reconciliation_status"] = "in_progress"
    shop.know(bank.events)
    shop.hour()
    assert shop.payout("stripe:po_1").transactions is None
    bank.payouts["po_1"]["reconciliation_status"] = "completed"
    shop.hour()
    assert shop.payout("stripe:po_1").transactions is not None
    [path] = vectors("stripe", "events", "payout.paid.json")
    by_hand = json.loads(path.read_text())
    by_hand["data"]["object"]["id"] = "po_hand"
    shop.know([by_hand])
    assert [*shop.ledger.due(shop.clock.now)] == []


def test_a_payout_that_comes_back_was_not_paid_after_all(bank: StripeBank, shop: Shop) -> None:
    """Told so: paid, then failed; learnt the other way round, that it failed alone."""
    bank.add(paid())
    bank.pay_out(START + WEEK, fails=True)
    shop.know(bank.events)
    shop.hour()
    found = shop.payout("stripe:po_1")
    assert (found.status, found.failure) == ("failed", "account_closed")
    assert [type_ for type_, _ in shop.told] == ["payout.paid", "payout.failed"]
    moved = payouts.movements("stripe:po_1", shop.ledger.record("stripe:po_1").facts)
    assert [(each.amount, each.entry and each.entry.net) for each in moved] == [(-4825, -4825), (4825, 4825)]
    other = Shop()
    other.know(bank.events[::-1])
    assert [type_ for type_, _ in other.told] == ["payout.failed"]
    assert other.payout("stripe:po_1").status == "failed"


def test_events_of_older_versions_make_the_payout_too(bank: StripeBank, shop: Shop) -> None:
    """They were recorded before payouts were records: with the next one all are counted."""
    bank.add(paid())
    bank.pay_out(START + WEEK)
    created, paid_, reconciled = bank.events
    shop.know([created])
    item = shop.ledger._table._aws.items  # type: ignore[attr-defined]
    item.pop(("stripe:po_1", "payout"))
    shop.know([paid_, reconciled])
    assert shop.payout("stripe:po_1").created_at == to_iso(created["created"] * 1000)
    assert drift(shop.ledger, "stripe:po_1") is None


def test_the_order_of_a_payouts_events_does_not_matter(bank: StripeBank) -> None:
    """Nor of what an adjustment is made of, nor how often each comes."""
    bank.add(paid())
    bank.charge_fee("fee", START + 60, 200)
    bank.pay_out(START + WEEK, fails=True)
    made = PROVIDERS["stripe"]
    told = [facts_of_event(made.event(as_bytes(each), NOW)) for each in bank.events]
    whole = payouts.fold(told)
    for seed in range(20):
        assert payouts.fold(random.Random(seed).sample(told * 2, len(told) * 2)) == whole
    with FakeStripe([], bank) as api:
        bodies = StripeApi("rk_1", api.address, Clock()).balance(0, NOW * 2, None).bodies
    [fee] = [each for each in bodies if b"txn_fee" in each]
    proved = facts_of_event(made.event(fee, NOW))
    assert adjustments.fold([proved, proved]) == proved


def test_a_real_payout_of_stripes() -> None:
    """As the Stripe CLI sends it: paid, by hand."""
    [path] = vectors("stripe", "events", "payout.paid.json")
    event = PROVIDERS["stripe"].event(path.read_bytes(), NOW)
    found = payouts.project(event.subject, facts_of_event(event))
    assert (found.status, found.amount, found.currency, found.automatic) == ("paid", 1100, "USD", False)
    assert (found.arrival_date, found.method, found.trace_id) == ("2022-03-28", "standard", None)
    assert [each["type"] for each in found.record()["milestones"]] == ["payout.paid"]


def test_an_outage_holds_up_its_own_payouts_only(bank: StripeBank, stripe: FakeStripe, shop: Shop) -> None:
    """What is due is looked at in the next hour."""
    bank.add(paid())
    bank.pay_out(START + WEEK)
    shop.know(bank.events)
    stripe.objects["/v1/payouts/po_1"] = {"error": {}}
    stripe.objects["/v1/balance_transactions"] = {"no": "data"}
    shop.hour()
    assert shop.payout("stripe:po_1").transactions is None
    stripe.objects.clear()
    shop.hour()
    assert shop.payout("stripe:po_1").transactions is not None


# ── PayPal ──────────────────────────────────────────────────────────────────────────────────────────


def test_paypals_transfers_are_payouts() -> None:
    """Over pages, codes and windows of 31 days; what is pending is told once it is paid."""
    bank = PayPalBank()
    for number in range(5):
        bank.withdraw(f"TRANSFER00000000{number}", START + number * 86_400, 10_000 + number)
    bank.withdraw("SWEEP000000000001", START, 777, code="T0401")
    bank.withdraw("PENDING0000000001", START + 13 * 86_400, 500, status="P")
    with FakePayPal([], size=2, bank=bank) as api:
        shop = Shop(paypal=PayPalApi(api.address, ("id", "secret"), Clock()))
        assert len(shop.hour()) == 7
        assert shop.hour() == []
        pending = bank.transfers[-1]["transaction_info"]
        pending |= {"transaction_status": "S", "transaction_updated_date": to_iso(shop.clock.now)}
        assert shop.hour() == ["transfer-PENDING0000000001-S"]
    found = shop.payout("paypal:transfer-TRANSFER000000000")
    assert (found.amount, found.currency, found.status) == (10_000, "EUR", "paid")
    assert found.trace_id == "BANKTRANSF"
    assert [*shop.ledger.due(shop.clock.now)] == []
    assert len(shop.told) == 7
    assert drift(shop.ledger, "paypal:transfer-PENDING0000000001") is None


def test_three_years_of_transfers_are_read_by_months() -> None:
    """None is asked for twice, and none is left out."""
    bank = PayPalBank()
    for number in range(30):
        bank.withdraw(f"OLD{number:014}", START - number * 30 * 86_400, 100)
    with FakePayPal([], bank=bank) as api:
        asked = PayPalApi(api.address, ("id", "secret"), Clock())
        bodies, cursor = [], None
        while True:
            page = asked.balance(START * 1000 - 1000 * DAY, START * 1000 + DAY, cursor)
            bodies += page.bodies
            if page.next is None:
                break
            cursor = page.next
    assert len(bodies) == 30


def test_a_transfer_that_was_denied_moved_nothing() -> None:
    """And one whose fee is known has it in its entry."""
    bank = PayPalBank()
    bank.withdraw("DENIED00000000001", START, 500, status="D")
    bank.withdraw("FEE00000000000001", START, 500)
    bank.transfers[1]["transaction_info"]["fee_amount"] = {"currency_code": "EUR", "value": "-0.25"}
    with FakePayPal([], bank=bank) as api:
        shop = Shop(paypal=PayPalApi(api.address, ("id", "secret"), Clock()))
        shop.hour()
    denied, with_fee = (
        payouts.movements(name, shop.ledger.record(name).facts)
        for name in ("paypal:transfer-DENIED00000000001", "paypal:transfer-FEE00000000000001")
    )
    assert sum(each.amount for each in denied) == 0
    [line] = with_fee
    assert line.entry is not None
    assert (line.amount, line.entry.gross, line.entry.fee, line.entry.net) == (-500, -500, 25, -525)


def test_nobody_can_send_a_transfer_from_outside() -> None:
    """Its type is one that no provider sends."""
    body = {"id": "WH-1", "event_type": TRANSFER, "resource": {"id": "transfer-1"}}
    event = PROVIDERS["paypal"].event(as_bytes(body), NOW)
    assert event.type.startswith("daybook.")
    facts: Facts = {}
    with pytest.raises(ValueError, match="no amount"):
        facts = dict(PROVIDERS["paypal"].facts(event))
    assert not facts


def test_what_paypal_lists_wrongly_is_no_transfer() -> None:
    """No list is an outage, to be asked again; one without an id cannot be told from others."""
    bank = PayPalBank()
    bank.withdraw("", START, 100)
    with FakePayPal([], bank=bank) as api:
        asked = PayPalApi(api.address, ("id", "secret"), Clock())
        assert asked.balance(START * 1000 - DAY, START * 1000 + DAY, None).bodies == []
        api.objects["/v1/reporting/transactions"] = {"name": "odd"}
        with pytest.raises(Unavailable):
            asked.balance(START * 1000 - DAY, START * 1000 + DAY, None)
