"""Fees and net, as the providers state them: real values come out, in any order, to the cent."""

import random
from typing import Any

import pytest

from chalicelib.payments import Facts, fold, project
from chalicelib.providers import PROVIDERS
from tests.conftest import load, vectors
from tests.fakes import NOW, as_bytes

Json = dict[str, Any]
EMPTY: Facts = {}


def settled(provider: str, subject: str, *events: Json) -> Any:
    made = PROVIDERS[provider]
    told = [made.facts(made.event(as_bytes(each), NOW)).get(subject, EMPTY) for each in events]
    shuffled = random.Random(1).sample(told * 2, len(told) * 2)
    assert fold(told) == fold(shuffled)
    return project(subject, fold(told)).to_dict()["settled"]


def money(value: str, currency: str = "USD") -> Json:
    return {"currency_code": currency, "value": value}


def capture(breakdown: Json, amount: Json) -> Json:
    resource = {
        "id": "CAP1",
        "status": "COMPLETED",
        "amount": amount,
        "seller_receivable_breakdown": breakdown,
    }
    return {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": resource}


def refund(breakdown: Json, amount: Json, id_: str = "REF1") -> Json:
    resource = {"id": id_, "status": "COMPLETED", "capture_id": "CAP1", "amount": amount}
    resource["seller_payable_breakdown"] = breakdown
    return {"id": f"WH-{id_}", "event_type": "PAYMENT.CAPTURE.REFUNDED", "resource": resource}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("capture_completed", (3000, 354, 2646, True)),  # fee 1.54, and 2.00 for the platform
        ("capture_refunded", (-99, -2, -97, False)),  # its total says that there was another
        ("capture_reversed", (-251, 0, -251, True)),
    ],
)
def test_what_real_events_of_paypal_say(name: str, expected: tuple[int, int, int, bool]) -> None:
    """Of a capture with a platform's fee, of a refund with a fee given back, of a reversal."""
    [path] = vectors("paypal", "transmissions", f"paypal2-payment_{name}_v2.json")
    event = PROVIDERS["paypal"].event(load(path)["body_utf8"].encode(), NOW)
    [(subject, facts)] = PROVIDERS["paypal"].facts(event).items()
    found = project(subject, facts).settled
    assert found is not None
    assert (found.gross, found.fee, found.net, found.complete) == expected
    assert (found.currency, found.exchange_rate) == ("USD", None)


def test_what_a_real_dispute_of_stripe_says() -> None:
    """Its amount, and its own fee; what the charge itself cost is not known."""
    [path] = vectors("stripe", "events", "charge.dispute.funds_withdrawn.json")
    event = PROVIDERS["stripe"].event(path.read_bytes(), NOW)
    [(subject, facts)] = PROVIDERS["stripe"].facts(event).items()
    found = project(subject, facts).settled
    assert found is not None
    assert (found.gross, found.fee, found.net) == (-25000, 1500, -26500)


def test_a_capture_and_its_refunds_add_up() -> None:
    """And it is not complete while one of them is not known."""
    fees = {"gross_amount": money("50.00"), "paypal_fee": money("1.75"), "net_amount": money("48.25")}
    back = {"gross_amount": money("12.00"), "paypal_fee": money("0.20"), "net_amount": money("11.80")}
    paid, returned = capture(fees, money("50.00")), refund(back, money("12.00"))
    whole = settled("paypal", "paypal:CAP1", paid, returned)
    assert whole == {
        "currency": "USD",
        "gross": 3800,
        "fee": 155,
        "net": 3645,
        "exchange_rate": None,
        "complete": True,
    }
    assert settled("paypal", "paypal:CAP1", paid, refund({}, money("12.00")))["complete"] is False
    assert settled("paypal", "paypal:CAP1", capture({}, money("50.00"))) is None


@pytest.mark.parametrize(
    ("more", "fee"), [({}, 160), ({"paypal_fee_in_receivable_currency": money("1.61", "EUR")}, 161)]
)
def test_an_exchange_is_settled_in_the_balances_currency(more: Json, fee: int) -> None:
    """What reached the balance is said; the fee is exchanged, unless that is said too."""
    fees = {
        "gross_amount": money("50.00"),
        "paypal_fee": money("1.75"),
        "net_amount": money("48.25"),
        "receivable_amount": money("44.15", "EUR"),
        "exchange_rate": {"source_currency": "USD", "target_currency": "EUR", "value": "0.915"},
        **more,
    }
    found = settled("paypal", "paypal:CAP1", capture(fees, money("50.00")))
    assert (found["currency"], found["net"], found["fee"]) == ("EUR", 4415, fee)
    assert (found["gross"], found["exchange_rate"], found["complete"]) == (4415 + fee, "0.915", True)
    other = {"gross_amount": money("12.00"), "net_amount": money("12.00")}
    two = settled("paypal", "paypal:CAP1", capture(fees, money("50.00")), refund(other, money("12.00")))
    assert two["complete"] is False  # two currencies add up to nothing


def test_sales_and_their_refunds_of_version_1() -> None:
    """``transaction_fee``, and what of it is given back; with an exchange what was received."""
    v1 = {"total": "19.00", "currency": "EUR"}
    sale = {"id": "SALE1", "state": "completed", "amount": v1}
    sale["transaction_fee"] = {"value": "0.92", "currency": "EUR"}
    event = {"id": "WH-1", "event_type": "PAYMENT.SALE.COMPLETED", "resource": sale}
    found = settled("paypal", "paypal:SALE1", event)
    assert (found["gross"], found["fee"], found["net"], found["complete"]) == (1900, 92, 1808, True)
    back = {"id": "REF1", "sale_id": "SALE1", "state": "completed", "amount": v1}
    back["refund_from_transaction_fee"] = {"value": "0.57", "currency": "EUR"}
    returned = {"id": "WH-2", "event_type": "PAYMENT.SALE.REFUNDED", "resource": back}
    found = settled("paypal", "paypal:SALE1", event, returned)
    assert (found["gross"], found["fee"], found["net"], found["complete"]) == (0, 35, -35, True)
    received = {**sale, "receivable_amount": {"value": "20.00", "currency": "USD"}, "exchange_rate": "1.1"}
    found = settled("paypal", "paypal:SALE1", {**event, "resource": received})
    assert (found["currency"], found["gross"], found["fee"], found["net"]) == ("USD", 2101, 101, 2000)


def test_an_entry_of_stripes_balance_that_is_none_says_nothing() -> None:
    """Without an amount, or an id; and one whose fee has no size has none."""
    entry = {"id": "txn_1", "amount": -500, "fee": 0, "net": -500, "currency": "eur", "exchange_rate": 1.1}
    entries = [{**entry, "amount": None}, {**entry, "id": None}, {**entry, "fee_details": [{"type": "x"}]}]
    dispute = {"id": "dp_1", "object": "dispute", "payment_intent": "pi_1", "charge": "ch_1", "amount": 500}
    dispute |= {"currency": "eur", "status": "needs_response", "balance_transactions": entries}
    event = {"id": "evt_1", "object": "event", "type": "charge.dispute.created", "created": 1}
    event["data"] = {"object": dispute}
    found = settled("stripe", "stripe:pi_1", event)
    assert (found["gross"], found["fee"], found["complete"]) == (-500, 0, True)


@pytest.mark.parametrize(
    ("rate", "fee"),
    [
        ({"source_currency": "JPY", "target_currency": "USD", "value": "0.0067"}, 117),
        ({"source_currency": "USD", "target_currency": "JPY", "value": "149.25"}, 117),
        (None, 117),  # as the amounts have it
    ],
)
def test_an_exchange_between_currencies_of_other_decimals(rate: Json | None, fee: int) -> None:
    """Yen have none; and a rate can be stated the other way round."""
    fees = {
        "gross_amount": money("5000", "JPY"),
        "paypal_fee": money("175", "JPY"),
        "net_amount": money("4825", "JPY"),
        "receivable_amount": money("32.33", "USD"),
    }
    if rate:
        fees["exchange_rate"] = rate
    found = settled("paypal", "paypal:CAP1", capture(fees, money("5000", "JPY")))
    assert (found["currency"], found["net"], found["fee"], found["gross"]) == ("USD", 3233, fee, 3233 + fee)


def test_a_refund_in_another_currency_leaves_the_balance_in_its_own() -> None:
    """https://developer.paypal.com/docs/api/payments/v2/#definition-seller_payable_breakdown"""
    back = {
        "gross_amount": money("10.00"),
        "paypal_fee": money("0.50"),
        "net_amount": money("9.50"),
        "net_amount_in_receivable_currency": money("8.55", "EUR"),
        "net_amount_breakdown": [{"exchange_rate": {"value": "0.9"}}],
    }
    found = settled("paypal", "paypal:CAP1", refund(back, money("10.00")))
    assert (found["currency"], found["gross"], found["fee"], found["net"]) == ("EUR", -900, -45, -855)
