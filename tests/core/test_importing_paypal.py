"""PayPal's history: what its Transaction Search lists becomes the records that webhooks would have made."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib import subscriptions
from chalicelib.errors import Throttled, Unavailable
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.times import DAY, HOUR, to_iso
from ops import importing
from ops.stories.paypal_subscriptions import PayPalSubscription
from ops.verify import drift
from tests.fake_apis import BROKEN, FakePayPal
from tests.importing import Importing, PayPalHistory, simulated_at_paypal
from tests.settling import Shop
from tests.simulators import HOME, START

Json = dict[str, Any]
SUMS = ("captured", "refunded", "disputed", "net", "currency", "consistent")
BEGINS = START * 1000 - DAY


@pytest.fixture
def paypal() -> Iterator[FakePayPal]:
    with FakePayPal([], size=20) as api:
        yield api


def of_paypal(paypal: FakePayPal) -> Importing:
    shop = Shop()
    return Importing("paypal", PayPalApi(paypal.address, ("id", "secret"), shop.clock), shop)


def has(paypal: FakePayPal, history: PayPalHistory) -> None:
    paypal.transactions, paypal.disputes = history.transactions, history.disputes
    paypal.objects = {**history.objects}


@pytest.mark.parametrize("is_shown", [True, False], ids=["shown", "only listed"])
def test_history_makes_the_records_that_webhooks_would_have(paypal: FakePayPal, is_shown: bool) -> None:
    """Also of what only the listing has; notified to nobody; once more changes nothing."""
    history, simulators = PayPalHistory(), simulated_at_paypal(80)
    simulators = [each for each in simulators if is_shown or each.currency == HOME]
    for simulator in simulators:
        history.add(simulator, is_shown)
    has(paypal, history)
    it = of_paypal(paypal)
    counts = it.run()
    assert counts["transactions"] == len(history.transactions) > 80
    assert counts["disputes"] == len(history.disputes) > 10
    compared = 0
    for simulator in simulators:
        told = Shop()
        told.know(simulator.events, "paypal")
        by_webhooks = told.payment(simulator.subject)
        imported = it.payment(simulator.subject)
        if by_webhooks.captured:
            compared += 1
            assert {n: getattr(imported, n) for n in SUMS} == {n: getattr(by_webhooks, n) for n in SUMS}
            assert imported.settled == by_webhooks.settled
        assert drift(it.shop.ledger, simulator.subject) is None
    assert compared > 40
    assert it.heard == []
    assert set(it.run().values()) == {0}


def test_real_events_join_with_it_in_any_order(paypal: FakePayPal) -> None:
    """Before, or after: the sums are the same."""
    history, simulators = PayPalHistory(), simulated_at_paypal(30)
    for simulator in simulators:
        history.add(simulator)
    has(paypal, history)
    before, after = of_paypal(paypal), of_paypal(paypal)
    for simulator in simulators:
        before.shop.know(simulator.events, "paypal")
    before.run()
    after.run()
    for simulator in simulators:
        alone = Shop()
        after.shop.know(random.Random(3).sample(simulator.events, len(simulator.events)), "paypal")
        alone.know(simulator.events, "paypal")
        one, other = before.payment(simulator.subject), after.payment(simulator.subject)
        whole = alone.payment(simulator.subject)
        for name in ("status", "captured", "refunded", "disputed", "net"):
            assert getattr(one, name) == getattr(other, name) == getattr(whole, name)


def test_a_subscription_is_asked_about_by_its_payments(paypal: FakePayPal) -> None:
    """Once, however many there are, over a page that fails after it; it is as PayPal shows it now."""
    it = of_paypal(paypal)
    story = PayPalSubscription(random.Random(4), it.shop.clock.now - DAY, 900, "EUR", None)
    story.created(90)
    story.activated()
    sales = []
    for number in range(3):
        id_ = f"SALE{number:013}"
        paid_at = to_iso(it.shop.clock.now - (15 - 5 * number) * DAY)
        sales.append(id_)
        paypal.transactions.append(listed(id_, paid_at, "T0002", reference=(story.id, "SUB")))
    paypal.objects[f"/v1/billing/subscriptions/{story.id}"] = story.shown()
    paypal.size, answer, is_down = 2, paypal.answer, [True]

    def down_once(request: Any) -> Any:
        fails = sales[1] in request.path and is_down and is_down.pop()
        return (500, {}, {}) if fails else answer(request)

    paypal.answer = down_once  # type: ignore[method-assign]
    assert it.run(since=it.shop.clock.now - 100 * DAY)["transactions"] == 4
    asked = [each for each in paypal.asked if "billing" in each]
    assert len(asked) == 1
    assert not is_down
    found = subscriptions.project(story.subject, it.shop.ledger.record(story.subject).facts)
    assert (found.status, found.id) == ("active", story.subject)
    assert it.payment(f"paypal:{sales[0]}").related["subscription"] == [story.id]
    assert it.heard == []


def listed(id_: str, at: str, code: str, value: str = "9.00", **about: Any) -> Json:
    """What Transaction Search has of one; ``reference``: an id and its type."""
    reference = about.pop("reference", None)
    info = {
        "transaction_id": id_,
        "transaction_event_code": code,
        "transaction_status": "S",
        "transaction_initiation_date": at,
        "transaction_amount": {"currency_code": "EUR", "value": value},
        **about,
    }
    if reference:
        info |= {"paypal_reference_id": reference[0], "paypal_reference_id_type": reference[1]}
    return {"transaction_info": info}


def test_what_is_only_listed_has_its_fee_and_its_order(paypal: FakePayPal) -> None:
    """A payment by a button of old, that PayPal's other APIs never knew, or another application's."""
    at = to_iso(START * 1000)
    fee = {"currency_code": "EUR", "value": "-0.50"}
    own: Json = {"custom_field": "order-7", "invoice_id": "INV-7", "fee_amount": fee}
    paypal.transactions = [
        listed("PAID", at, "T0007", **own, reference=("ORDER1", "ODR")),
        listed("BACK", at, "T1107", "-4.00", reference=("PAID", "TXN"), fee_amount={**fee, "value": "0.10"}),
        listed("BANK", at, "T1201", "-1.00", reference=("PAID", "TXN")),
        listed("DENIED", at, "T0006", transaction_status="D"),
        listed("WITHDRAWN", at, "T0400", "-3.00"),
        listed("SENT", at, "T0000", "-3.00"),
        listed("", at, "T0000", "3.00"),
        listed("NONE", at, "T0000"),
    ]
    del paypal.transactions[-1]["transaction_info"]["transaction_amount"]
    paypal.objects["/v2/payments/captures/PAID"] = {"id": "OTHER"}
    it = of_paypal(paypal)
    assert it.run()["transactions"] == 4
    found = it.payment("paypal:PAID")
    assert (found.status, found.captured, found.refunded, found.net) == ("partially_refunded", 900, 500, 400)
    assert (found.reference, found.related["order"]) == ("order-7", ["ORDER1"])
    assert found.settled is not None
    assert (found.settled.gross, found.settled.fee) == (400, 40)
    assert it.payment("paypal:DENIED").status == "failed"


def test_an_application_without_its_features_imports_what_it_may(paypal: FakePayPal) -> None:
    """Not the disputes; a payment that it may not see is as listed. Without Transaction Search: nothing."""
    paypal.transactions = [listed("PAID", to_iso(START * 1000), "T0006")]
    it = of_paypal(paypal)
    may_not: Any = (403, {}, {"name": "NOT_AUTHORIZED"})
    answer = paypal.answer

    def refusing(request: Any) -> Any:
        return may_not if "disputes" in request.path or "captures" in request.path else answer(request)

    paypal.answer = refusing  # type: ignore[method-assign]
    assert it.run() == {"transactions": 1, "disputes": 0}
    assert it.payment("paypal:PAID").captured == 900
    paypal.faults = [may_not]
    with pytest.raises(Unavailable, match="does not let"):
        importing.run(it.reconciler, "paypal", it.api, BEGINS + 1, False, lambda kind, summary: None)


def test_a_month_of_too_many_is_asked_for_in_parts(paypal: FakePayPal) -> None:
    """To take that refusal for none would lose the month; a second of too many is an error."""
    history = PayPalHistory()
    for number in range(300):
        history.add_simple(number, START * 1000 + number * HOUR)
    has(paypal, history)
    paypal.most = 90
    it = of_paypal(paypal)
    it.shop.clock.now = START * 1000 + 20 * DAY
    it.began = it.shop.clock.now - HOUR
    expected = it.api.expected("transactions", BEGINS, it.began)
    assert (expected.objects, expected.is_exact) == (300, True)
    assert it.run()["transactions"] == 300
    paypal.most = 0
    with pytest.raises(Unavailable):
        it.api.expected("transactions", BEGINS, it.began)


def test_a_run_that_is_stopped_goes_on_where_it_was(paypal: FakePayPal) -> None:
    """Through throttling, broken connections and an outage."""
    history = PayPalHistory()
    for number in range(130):
        history.add_simple(number, START * 1000 + number * HOUR)
    has(paypal, history)
    it = of_paypal(paypal)
    it.shop.clock.now = START * 1000 + 20 * DAY
    it.began = it.shop.clock.now - HOUR
    pages = 0

    def fail_later(kind: str, summary: Any) -> None:
        nonlocal pages
        pages += 1
        if pages == 2:
            paypal.faults = [(429, {"Retry-After": "1"}, {}), (BROKEN, {}, {})]
        if pages == 4:
            paypal.faults = [(500, {}, {})] * 400

    with pytest.raises(Unavailable):
        importing.run(it.reconciler, "paypal", it.api, BEGINS, False, fail_later)
    paypal.faults = []
    before = len(it.shop.queue.texts)
    assert before == 80
    counts = it.run()
    assert counts["transactions"] == 50  # what was listed is on the queue already
    assert {it.payment(f"paypal:{number:017}").captured for number in range(130)} == {100}


def test_an_api_that_lies_is_not_believed(paypal: FakePayPal) -> None:
    """No lists where lists are to be, a listing that leads elsewhere, a dispute that is another."""
    it = of_paypal(paypal)
    for odd in ({"items": "none"}, {"items": [], "links": [{"rel": "next", "href": "https://evil.test/x"}]}):
        paypal.objects["/v1/customer/disputes"] = odd
        with pytest.raises(Unavailable):
            it.api.history("disputes", it.began - DAY, it.began, None)
    paypal.objects["/v1/customer/disputes"] = {"items": [{"dispute_id": "PP-D-1"}, {}]}
    paypal.objects["/v1/customer/disputes/PP-D-1"] = {"dispute_id": "PP-D-2"}
    assert it.api.history("disputes", it.began - DAY, it.began, None).bodies == []
    paypal.objects["/v1/reporting/transactions"] = {"transaction_details": "none"}
    with pytest.raises(Unavailable):
        it.api.history("transactions", it.began - DAY, it.began, None)
    paypal.objects.clear()
    paypal.faults = [(429, {"Retry-After": "3"}, {})]
    with pytest.raises(Throttled):
        it.api.history("transactions", it.began - DAY, it.began, None)


def test_it_says_how_far_back_paypal_goes(paypal: FakePayPal) -> None:
    """Three years of transactions, half a year of disputes; what is older is not asked for."""
    it = of_paypal(paypal)
    since = it.began - 5 * 365 * DAY
    expected = it.api.expected("transactions", since, it.began)
    assert since + 729 * DAY < expected.since < since + 733 * DAY
    assert len([each for each in paypal.asked if "reporting" in each]) == 36
    assert it.api.expected("disputes", since, it.began).since > it.began - 181 * DAY
    assert it.api.history("disputes", since, since + DAY, None).bodies == []


def test_what_says_nothing_that_is_known_records_nothing(paypal: FakePayPal) -> None:
    """A status of tomorrow's; a subscription that is older than PayPal's subscriptions. A reversal names its
    payment by itself."""
    at = to_iso(START * 1000)
    paypal.transactions = [
        listed("NEW", at, "T0006", transaction_status="X"),
        listed("SALE", at, "T0002", reference=("I-OLD", "SUB")),
        listed("BACK", at, "T1106", "-9.00"),
    ]
    amount = {"value": "9.00", "currency_code": "EUR"}
    taken: Json = {"id": "BACK", "amount": amount, "status": "COMPLETED", "create_time": at}
    paypal.objects["/v2/payments/refunds/BACK"] = {**taken, "capture_id": "SALE"}
    it = of_paypal(paypal)
    assert it.run()["transactions"] == 2
    assert it.payment("paypal:SALE").net == 0


def test_what_came_to_be_so_after_the_stage_began_is_left_to_its_webhooks(paypal: FakePayPal) -> None:
    """An eCheck that cleared, a subscription that was cancelled: their handlers are to be notified.

    A payment that was only refunded since is imported: its capture is from before.
    """
    it = of_paypal(paypal)
    before, after = to_iso(it.began - DAY), to_iso(it.began + HOUR // 2)
    amount = {"value": "9.00", "currency_code": "EUR"}
    for id_, status in (("CLEARED", "COMPLETED"), ("REFUNDED", "PARTIALLY_REFUNDED"), ("SUB", "COMPLETED")):
        paypal.transactions.append(listed(id_, before, "T0006", reference=("I-SUB1", "SUB")))
        changed = before if id_ == "SUB" else after
        about = {"id": id_, "status": status, "amount": amount, "create_time": before, "update_time": changed}
        paypal.objects[f"/v2/payments/captures/{id_}"] = about
    cancelled = {"id": "I-SUB1", "status": "CANCELLED", "status_update_time": after}
    paypal.objects["/v1/billing/subscriptions/I-SUB1"] = cancelled
    assert it.run(since=it.began - 2 * DAY)["transactions"] == 2
    assert [it.payment(f"paypal:{each}").captured for each in ("CLEARED", "REFUNDED", "SUB")] == [0, 900, 900]
    assert it.payment("paypal:SUB").related["subscription"] == ["I-SUB1"]  # as the listing says


def test_money_that_a_bank_gave_back_is_not_lost(paypal: FakePayPal) -> None:
    """A chargeback that was reversed long before disputes are listed; by the payment's id or by its own."""
    at = START * 1000
    for number, code in enumerate(("T1202", "T1205", "T1208", "T1201", "T1106")):
        paid, taken, back = f"PAID{number}", f"TAKEN{number}", f"BACK{number}"
        named = taken if number % 2 else paid
        paypal.transactions += [
            listed(paid, to_iso(at), "T0006", transaction_status="V"),
            listed(taken, to_iso(at + DAY), "T1201", "-9.00", reference=(paid, "TXN")),
            listed(back, to_iso(at + 2 * DAY), code, reference=(named, "TXN")),
        ]
        amount = {"value": "9.00", "currency_code": "EUR"}
        about = {"id": paid, "status": "COMPLETED", "amount": amount, "create_time": to_iso(at)}
        refund = {"id": taken, "status": "COMPLETED", "amount": amount, "create_time": to_iso(at + DAY)}
        paypal.objects[f"/v2/payments/captures/{paid}"] = about
        paypal.objects[f"/v2/payments/refunds/{taken}"] = {**refund, "capture_id": paid}
    paypal.transactions += [
        listed("FOREIGN", to_iso(at), "T1202", reference=("NOBODY", "TXN")),
        listed("BARE", to_iso(at), "T1202"),
    ]
    it = of_paypal(paypal)
    it.run()
    for number in range(5):
        found = it.payment(f"paypal:PAID{number}")
        assert (found.captured, found.net, found.consistent) == (900, 900, True), number
    assert it.heard == []


def test_a_refund_is_of_its_payment_by_whatever_it_refers_to(paypal: FakePayPal) -> None:
    """Its order's only capture; one of an order of several, or of nothing, is not booked on anything else."""
    at = to_iso(START * 1000)
    paypal.transactions = [
        listed("PAID", at, "T0006", transaction_status="F"),
        listed("BACK", at, "T1107", "-4.00", reference=("ORDER1", "ODR")),
        listed("BACK2", at, "T1107", "-4.00", reference=("ORDER2", "ODR")),
        listed("BACK3", at, "T1107", "-4.00"),
    ]
    for order, captures in (("ORDER1", [{"id": "PAID"}]), ("ORDER2", [{"id": "PAID"}, {"id": "X"}])):
        shown = {"purchase_units": [{"payments": {"captures": captures}}]}
        paypal.objects[f"/v2/checkout/orders/{order}"] = shown
    it = of_paypal(paypal)
    assert it.run()["transactions"] == 2
    assert it.payment("paypal:PAID").net == 500
    assert not [each for each in it.shop.ledger.subjects() if "ORDER" in each]


def test_a_subscription_that_changed_between_two_runs_is_another_event(paypal: FakePayPal) -> None:
    """Listed again before it was recorded, it would pass for a forgery."""
    it = of_paypal(paypal)
    paypal.transactions = [listed("SALE", to_iso(it.began - DAY), "T0002", reference=("I-SUB1", "SUB"))]
    texts = []
    for status in ("ACTIVE", "SUSPENDED", "SUSPENDED"):
        paypal.objects["/v1/billing/subscriptions/I-SUB1"] = {"id": "I-SUB1", "status": status}
        api = PayPalApi(paypal.address, ("id", "secret"), it.shop.clock)
        page = api.history("transactions", it.began - 2 * DAY, it.began, None)
        texts.append(page.bodies[-1])
    ids = [json.loads(each)["id"] for each in texts]
    assert ids[0] != ids[1] == ids[2]


def test_the_oldest_window_does_not_move_while_it_is_read(paypal: FakePayPal) -> None:
    """Three years back is later with each page: what is counted in pages would be skipped."""
    it = of_paypal(paypal)
    oldest = it.shop.clock.now - 3 * 365 * DAY + DAY
    for number in range(60):
        paypal.transactions.append(listed(f"T{number:03}", to_iso(oldest + number * HOUR), "T0006"))
    seen, cursor = [], None
    while True:
        page = it.api.history("transactions", 0, oldest + 20 * DAY, cursor)
        seen += [json.loads(each)["id"] for each in page.bodies]
        it.shop.clock.now += 10 * HOUR
        cursor = page.next
        if cursor is None:
            break
    assert len(seen) == 60
