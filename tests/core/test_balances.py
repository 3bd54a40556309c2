"""The providers' balances, asked for off the request path: fees and net, payouts and what is in them."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chalicelib import adjustments, contents, listing, payouts
from chalicelib.bus import EventBus
from chalicelib.contents import Contents
from chalicelib.credentials import FixedCredentials
from chalicelib.errors import InvalidPayload, Unavailable
from chalicelib.payments import Facts, books, fold, movements, project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.paypal.transfers import TRANSFER
from chalicelib.providers.stripe.client import StripeApi
from chalicelib.reactions import Handlers
from chalicelib.several import asked
from chalicelib.times import DAY, HOUR, to_iso
from ops import replay
from ops.verify import drift
from tests.banks import PayPalBank, StripeBank
from tests.conftest import vectors
from tests.fake_apis import FakePayPal, FakeStripe
from tests.fakes import (
    NOW,
    WEBHOOK_ID,
    Clock,
    MemoryInbox,
    as_bytes,
    facts_of_event,
    receiver,
    signed,
    telemetry,
)
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
    assert [*shop.ledger.unlisted(0, shop.clock.now)] == []


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
    assert [*shop.ledger.unlisted(0, shop.clock.now)] == []
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
    """Nor did its fee; and one whose fee is known has it in its entry."""
    bank = PayPalBank()
    bank.withdraw("DENIED00000000001", START, 500, status="D")
    bank.transfers[0]["transaction_info"]["fee_amount"] = {"currency_code": "EUR", "value": "-0.25"}
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
    assert sum(each.entry.net for each in denied if each.entry) == 0
    assert {each.object for each in denied} == {"DENIED00000000001"}
    [line] = with_fee
    assert line.entry is not None
    assert (line.amount, line.entry.gross, line.entry.fee, line.entry.net) == (-500, -500, 25, -525)


@pytest.mark.parametrize(
    ("id_", "type_"), [("WH-1", TRANSFER), ("transfer-W1-S", "PAYMENT.CAPTURE.COMPLETED"), ("clock-1", "x")]
)
def test_nothing_of_our_own_comes_through_the_door(id_: str, type_: str) -> None:
    """Neither a type of ours, nor an id by which a real one would be taken for a duplicate."""
    body = as_bytes({"id": id_, "event_type": type_, "resource": {"id": "transfer-1"}})
    inbox = MemoryInbox()
    door = receiver(inbox, FixedCredentials({"paypal_webhook_ids": (WEBHOOK_ID,)}))
    with pytest.raises(InvalidPayload, match="no provider sends"):
        door.receive("paypal", signed("paypal", body))
    assert inbox.messages == {}


def test_a_transfer_without_an_amount_proves_nothing() -> None:
    """It is recorded, and said to be not understood."""
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
        api.faults = [(400, {}, {"name": "INVALID_REQUEST"})]  # a code that this account cannot have
        refused = asked.balance(START * 1000 - DAY, START * 1000 + DAY, None)
        assert (refused.bodies, refused.next is not None) == ([], True)
        api.objects["/v1/reporting/transactions"] = {"name": "odd"}
        with pytest.raises(Unavailable):
            asked.balance(START * 1000 - DAY, START * 1000 + DAY, None)


# ── what the books must not do ──────────────────────────────────────────────────────────────────────


def entry(of: Json, amount: int, at: int = START, kind: str = "charge", **more: Any) -> Json:
    """A balance transaction as it is asked for, with its source."""
    id_ = f"txn_{of['id']}{amount}"
    about: Json = {"id": id_, "object": "balance_transaction", "amount": amount, "fee": 0, "net": amount}
    about |= {
        "currency": "eur",
        "created": at,
        "source": of,
        "type": kind,
        "reporting_category": kind,
        **more,
    }
    told = {"id": f"balance_{id_}", "object": "event", "type": "x", "created": at, "livemode": False}
    return {**told, "data": {"object": about}}


def told(*events: Json) -> Facts:
    made = PROVIDERS["stripe"]
    return fold(facts_of_event(made.event(as_bytes(each), NOW)) for each in events)


def test_a_payout_that_only_the_balance_shows_is_dated_and_has_its_amount(
    bank: StripeBank, shop: Shop
) -> None:
    """As one from before Daybook is: with its parts, and nobody is notified as of today."""
    bank.add(paid())
    bank.pay_out(START + WEEK)
    shop.hour()
    shop.hour()
    found = shop.payout("stripe:po_1")
    assert (found.amount, found.currency, found.status, found.consistent) == (4825, "EUR", "paid", True)
    assert found.created_at == to_iso((START + WEEK) * 1000)
    assert [each.at for each in found.milestones] == [to_iso((START + WEEK + 172_800) * 1000)]
    [line] = payouts.movements("stripe:po_1", shop.ledger.record("stripe:po_1").facts)
    assert (line.at, line.amount) == ((START + WEEK) * 1000, -4825)


def test_what_a_capture_let_go_is_no_refund_in_the_balance_either() -> None:
    """Before API version 2025-03-31: https://docs.stripe.com/reports/reporting-categories"""
    simulator = StripeSimulator(1)
    simulator.authorize()
    simulator.capture(3000, True)
    charge = {"id": simulator.charge_id, "object": "charge", "payment_intent": simulator.intent_id}
    release: Json = {"id": "re_1", "object": "refund", "charge": simulator.charge_id, "amount": 2000}
    release |= {"payment_intent": simulator.intent_id, "currency": "eur", "status": "succeeded"}
    entries = [entry(charge, 5000), entry(release, -2000, kind="partial_capture_reversal")]
    facts = told(*simulator.events, *entries)
    payment = project(simulator.subject, facts)
    assert (payment.captured, payment.refunded, payment.net) == (3000, 0, 3000)
    found = movements(simulator.subject, books(facts))
    assert {each.kind for each in found} == {"capture"}
    assert sum(each.entry.gross for each in found if each.entry) == 3000


def test_a_dispute_that_only_the_balance_shows_is_one() -> None:
    """No capture, and no income."""
    simulator = paid()
    dispute = {"id": "dp_1", "object": "dispute", "charge": simulator.charge_id}
    dispute["payment_intent"] = simulator.intent_id
    facts = told(*simulator.events, entry(dispute, -5000, kind="dispute"))
    found = movements(simulator.subject, books(facts))
    assert [(each.kind, each.amount) for each in found] == [("dispute", 0), ("capture", 5000)]
    assert project(simulator.subject, facts).net == 5000


def test_complete_means_that_each_movement_is_known() -> None:
    """Of two captures of a charge both; of a refund that failed what came back too."""
    simulator = StripeSimulator(1)
    simulator.authorize()
    simulator.capture(2000, False)
    simulator.capture(3000, True)
    charge = {"id": simulator.charge_id, "object": "charge", "payment_intent": simulator.intent_id}
    second = told(*simulator.events, entry(charge, 3000))
    found = {each.amount: each.entry for each in movements(simulator.subject, books(second))}
    assert (found[2000], found[3000] is not None) == (None, True)
    half = project(simulator.subject, second).settled
    assert half is not None
    assert not half.complete
    both = project(simulator.subject, told(*simulator.events, entry(charge, 3000), entry(charge, 2000)))
    assert both.settled is not None
    assert both.settled.complete


def test_a_line_is_dated_as_the_balance_has_it_and_keeps_its_id() -> None:
    """A refund that was taken in January and succeeded in February; whatever is learnt first."""
    simulator = paid(1, ("refund", (400, "pending")), ("settle_refund", ("succeeded",)))
    [refund] = simulator.refunds
    of: Json = {"id": refund, "object": "refund", "charge": simulator.charge_id, "status": "succeeded"}
    of |= {"payment_intent": simulator.intent_id, "currency": "eur", "amount": 400}
    taken = entry(of, -400, START + 50, "refund")
    charge = {"id": simulator.charge_id, "object": "charge", "payment_intent": simulator.intent_id}
    events = [*simulator.events, taken, entry(charge, 5000)]
    ids = set()
    for count in range(1, len(events) + 1):
        facts = told(*events[-count:])
        for line in movements(simulator.subject, books(facts)):
            ids.add(line.id)
            if line.entry and line.kind == "refund":
                assert line.at == (START + 50) * 1000
    assert ids == {f"{simulator.subject}/capture", f"{simulator.subject}/refund/{refund}"}


def test_what_is_listed_late_is_still_found(bank: StripeBank, shop: Shop) -> None:
    """Of a charge that is captured asynchronously, hours after it was made."""
    simulator = paid()
    shop.know(simulator.events)
    bank.add(simulator)
    [late] = bank.transactions
    late["created"] = shop.clock.now // 1000
    bank.transactions.clear()
    for _ in range(5):
        shop.hour()
    bank.transactions.append(late)
    shop.hour()
    assert shop.settled(simulator.subject)["complete"] is True


def test_networks_costs_are_fees() -> None:
    """As a fee of Stripe's own is; a reserve is neither."""
    for kind, expected in (("fee", "fee"), ("network_cost", "fee"), ("risk_reserve", "other")):
        event = entry({"id": "x"}, -100, kind=kind, source=None)
        made = PROVIDERS["stripe"].event(as_bytes(event), NOW)
        [line] = adjustments.movements(made.subject, facts_of_event(made))
        assert line.kind == expected


# ── a provider that is slow, odd or does not say it ─────────────────────────────────────────────────


def sold_each_day(bank: StripeBank, count: int) -> None:
    """As many payouts, one a day."""
    for number in range(count):
        bank.add(paid(number + 1))
        for each in bank.transactions:
            each["created"] = min(each["created"], START)
        bank.pay_out(START + (number + 2) * 86_400)


def contents_of(shop: Shop) -> Contents:
    common: Any = {"providers": PROVIDERS, "ledger": shop.ledger, "inbox": shop.queue}
    return Contents(**common, telemetry=telemetry(shop.lines, shop.clock), apis=asked(shop.apis))


def test_payouts_that_nobody_can_list_keep_no_others_from_it(
    bank: StripeBank, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of an account that the key may not read come in turn with the others; so do subscriptions."""
    monkeypatch.setattr(contents, "AT_MOST", 2)
    sold_each_day(bank, 4)
    shop.know(bank.events)
    for refused in ("po_1", "po_2"):
        bank.payouts[refused]["reconciliation_status"] = "in_progress"
    for _ in range(3):
        shop.hour()
    known = [shop.payout(f"stripe:po_{n}").transactions is not None for n in (1, 2, 3, 4)]
    assert known == [False, False, True, True]
    assert [*shop.ledger.due(shop.clock.now)] == []


def test_a_list_that_is_not_read_in_one_go_is_read_on(bank: StripeBank, shop: Shop) -> None:
    """The next hour goes on where the time was up, and what is kept twice counts once."""
    for number in range(250):
        bank.charge_fee(f"{number:03}", START, -10)
    bank.pay_out(START + WEEK)
    shop.know(bank.events)
    shop.queue.texts.clear()
    for pages in (1, 2):
        assert contents_of(shop).run(shop.clock.now, iter([True, False]).__next__) == 0
        assert len([*shop.ledger.made_of.of("stripe:po_1")]) == 100 * pages - 1  # and the payout itself
    assert contents_of(shop).run(shop.clock.now) == 1
    assert len([*shop.ledger.made_of.of("stripe:po_1")]) == 250
    shop.hour()
    found = shop.payout("stripe:po_1")
    assert found.transactions is not None
    assert (found.transactions["count"], found.amount, found.consistent) == (250, 2500, True)


def test_a_list_that_does_not_end_is_given_up(bank: StripeBank, stripe: FakeStripe, shop: Shop) -> None:
    """And is said; the next payout is asked about all the same, in the next hour."""
    sold_each_day(bank, 1)
    shop.know(bank.events)
    page = {"object": "list", "has_more": True, "data": [bank.transactions[0]]}
    stripe.objects["/v1/balance_transactions"] = page
    assert contents_of(shop).run(shop.clock.now) == 0
    assert any("not asked" in line for line in shop.lines)
    stripe.objects.clear()


def test_what_is_odd_about_one_payout_keeps_no_other_from_it(bank: StripeBank, shop: Shop) -> None:
    """A part in what is no currency of ISO 4217."""
    sold_each_day(bank, 2)
    shop.know(bank.events)
    [odd] = [
        each for each in bank.transactions if bank.paid_out.get(each["id"]) == "po_1" and each["net"] > 0
    ]
    odd["currency"] = "usdc"
    shop.hour()
    known = [shop.payout(f"stripe:po_{n}").transactions is not None for n in (1, 2)]
    assert known == [False, True]


def test_the_bus_is_told_of_a_payout_by_its_name(bank: StripeBank, shop: Shop) -> None:
    """``{"payout": …, "milestone": …}``."""
    bank.add(paid())
    bank.pay_out(START + WEEK)
    shop.know(bank.events)
    sent: list[Json] = []

    def aws(service: str, operation: str, /, **request: Any) -> Json:
        sent.extend(request["Entries"])
        return {"FailedEntryCount": 0, "Entries": [{}]}

    payout = shop.payout("stripe:po_1")
    bus = EventBus(aws, "daybook")
    bus.publish_milestone(payout, payout.milestones[0])
    bus.publish_milestone(payout, replace(payout.milestones[0], replay=True))
    entry, again = sent
    assert json.loads(again["Detail"])["milestone"]["replay"] is True
    detail = json.loads(entry["Detail"])
    assert (entry["DetailType"], detail["payout"]["amount"]) == ("payout.paid", 4825)
    assert detail["milestone"]["id"] == "stripe:po_1/payout.paid"
    assert "replay" not in detail["milestone"]


def test_a_payout_has_no_reference_to_wait_for() -> None:
    """A handler that would never be notified is refused when it is registered."""
    with pytest.raises(ValueError, match="can need: reference"):
        Handlers().on("payout.paid", needs="reference")


def test_a_payouts_handlers_can_be_run_again(bank: StripeBank, shop: Shop) -> None:
    """By its id, or of a time; a replay is on purpose."""
    bank.add(paid())
    bank.pay_out(START + WEEK)
    shop.know(bank.events)
    assert shop.told == [("payout.paid", 4825)]
    chosen = replay.choose(shop.consumer, "stripe:po_1")
    assert replay.replay(shop.consumer, chosen, True, shop.clock.now + HOUR) == 1
    period = replay.Period(since=START * 1000, until=shop.clock.now)
    [(subject, task, names)] = list(period.found(shop.consumer))
    assert (subject, task.type, names) == ("stripe:po_1", "payout.paid", ["note"])
    assert replay.notify(shop.consumer, subject, [task], shop.clock.now + HOUR) == 1
    assert len(shop.told) == 3


def test_a_page_of_payouts_is_full_though_each_is_of_another_day(bank: StripeBank, shop: Shop) -> None:
    """One a day, as they are."""
    sold_each_day(bank, 25)
    shop.know(bank.events)
    page = listing.page(shop.ledger, listing.parse({"limit": "20"}), listing.PAYOUTS)
    assert [each["id"] for each in page["payouts"]] == [f"stripe:po_{n}" for n in range(25, 5, -1)]
    rest = listing.page(shop.ledger, listing.parse({"cursor": page["cursor"]}), listing.PAYOUTS)
    assert len(rest["payouts"]) == 5
