"""What else providers are asked: whether they show a payment as we have it, and how our endpoints are."""

import random
from typing import Any

import pytest

from chalicelib.errors import NotFound
from chalicelib.payments import Facts, fold, project
from chalicelib.providers import PROVIDERS, paypal
from chalicelib.providers.paypal import comparison as paypals
from chalicelib.providers.paypal import endpoints as paypals_endpoints
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.paypal.confirmation import names_payment
from chalicelib.providers.protocol import Connection, Notice, PostbackProvider, api_of, needs_asking
from chalicelib.providers.stripe import comparison as stripes
from chalicelib.providers.stripe import endpoints as stripes_endpoints
from chalicelib.providers.stripe.client import StripeApi
from ops.stories import tell
from tests.core.providers import acme
from tests.fakes import NOW, Clock, an_event, as_bytes, facts_of_event

ADDRESSES = {"stripe": "http://127.0.0.1:1", "paypal": "http://127.0.0.1:1", "acme": ""}


def connection(**secrets: tuple[str, ...]) -> Connection:
    return Connection(secrets, ADDRESSES, Clock())


def test_an_api_is_there_where_its_credentials_are() -> None:
    """Half of PayPal's is an outage, not a reason not to ask; a provider need not have any."""
    stripe = PROVIDERS["stripe"]
    assert api_of(stripe, connection()) is None
    assert isinstance(api_of(stripe, connection(stripe_api_key=("rk_1",))), StripeApi)
    assert api_of(paypal, connection()) is None
    assert isinstance(api_of(paypal, connection(paypal_client_id=("id",))), PayPalApi)
    assert isinstance(paypal.postback(connection()), PayPalApi)
    assert isinstance(paypal, PostbackProvider)
    assert api_of(acme, connection()) is None
    assert not needs_asking(acme, an_event(provider="acme"))


def test_which_events_are_asked_about() -> None:
    """At Stripe a thin one, for its object; at PayPal whatever moves money."""
    related = {"id": "re_1", "type": "refund", "url": "/v1/refunds/re_1"}
    thin = {"id": "evt_1", "object": "v2.core.event", "type": "v1.refund.created", "related_object": related}
    snapshot = {"id": "evt_1", "object": "event", "data": {"object": {}}}
    paid = {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {"id": "2GG"}}
    order = {"id": "WH-2", "event_type": "CHECKOUT.ORDER.APPROVED", "resource": {"id": "ORD"}}
    bodies = {"stripe": (thin, snapshot), "paypal": (paid, order)}
    for name, pair in bodies.items():
        provider = PROVIDERS[name]
        events = [provider.event(as_bytes(each), NOW) for each in pair]
        assert [needs_asking(provider, each) for each in events] == [True, False]


# ── the payment as the provider shows it ────────────────────────────────────────────────────────────


def told(story: str) -> tuple[Any, dict[str, dict[str, Any]]]:
    """A payment of Stripe's as recorded, and its objects as they were shown last."""
    subject, events = tell("stripe", random.Random(1), NOW, 5000, "EUR", story=story)
    read = [PROVIDERS["stripe"].event(as_bytes(each), NOW) for each in events]
    last = {each["data"]["object"]["object"]: each["data"]["object"] for each in events}
    return project(subject, fold(facts_of_event(each) for each in read)), last


def test_the_whole_record_is_held_against_stripes() -> None:
    """Status, currency, sums and customer, with refunds and disputes; a difference is named."""
    ours, shown = told("dispute-lost")

    def get(path: str, **parameters: Any) -> Any:
        if path == "/v1/disputes":
            return {"data": [shown["dispute"]]}
        if path == "/v1/refunds":
            raise NotFound("none")
        return {**shown["payment_intent"], "latest_charge": shown["charge"]}

    assert stripes.differences(ours, get) == []
    refunded, objects = told("partial-refunds")

    def get_refunded(path: str, **parameters: Any) -> Any:
        listed = {"/v1/refunds": [objects["refund"]], "/v1/disputes": []}
        return (
            {"data": listed[path]}
            if path in listed
            else {**objects["payment_intent"], "latest_charge": objects["charge"]}
        )

    assert stripes.differences(refunded, get_refunded) == []
    shown["dispute"] = {**shown["dispute"], "status": "won"}
    names = [each.name for each in stripes.differences(ours, get) or ()]
    assert names == ["status", "disputed", "net"]


def test_an_intent_without_a_charge_is_compared_by_its_status() -> None:
    """In the connected account's name, where it is one's."""
    ours = project("stripe:acct_1:pi_1", facts_of_event(an_event()) or {})
    asked: list[dict[str, Any]] = []
    shown: dict[str, Any] = {"status": "canceled"}

    def get(path: str, **parameters: Any) -> Any:
        asked.append(parameters)
        return {"object": "payment_intent", "id": "pi_1", "currency": "eur", "amount": 1, **shown}

    found = stripes.differences(ours, get) or []
    assert [(each.name, each.theirs) for each in found] == [("status", "canceled"), ("currency", "EUR")]
    shown.update(latest_charge={"object": "charge", "id": "ch_1", "currency": "eur", "amount": 1})
    assert [each.name for each in stripes.differences(ours, get) or ()] == ["status", "currency"]
    connected = project("stripe:acct_1:pi_1", {"payment": {"account": ["acct_1"]}})
    stripes.differences(connected, get)
    assert asked[-1]["stripe_account"] == "acct_1"
    assert stripes.differences(project("stripe:ch_1", {}), get) is None


@pytest.mark.parametrize(
    ("status", "refunded", "differing"),
    [
        ("COMPLETED", 0, []),
        ("PARTIALLY_REFUNDED", 400, []),
        ("REFUNDED", 5000, []),
        ("REVERSED", 5000, []),
        ("COMPLETED", 400, ["refunded"]),
        ("REFUNDED", 400, ["refunded"]),
        ("PENDING", 0, ["captured"]),
    ],
)
def test_a_capture_is_held_against_paypals(status: str, refunded: int, differing: list[str]) -> None:
    """It shows what was captured, and of refunds nothing, a part or all."""
    refund = {"amount": [1, refunded], "succeeded_at": 1} if refunded else {}
    facts: Facts = {"payment": {"captured": [[5000, 1]], "priced": [1, 1, 5000, "EUR"]}, "refund R": refund}
    ours = project("paypal:CAP1", facts)
    shown = {"id": "CAP1", "status": status, "amount": {"value": "50.00", "currency_code": "EUR"}}
    assert [each.name for each in paypals.differences(ours, shown)] == differing


def test_a_refund_that_names_no_payment_finds_it_in_paypals_answer() -> None:
    """Of v1; one that names it is left as it is, and a sale is no refund."""
    refund = {"id": "R1", "amount": {"total": "4.00", "currency": "EUR"}}
    shown = {**refund, "sale_id": "SALE1"}
    event = an_event(provider="paypal", type="PAYMENT.SALE.REFUNDED", payload={"resource": refund})
    assert names_payment(event, shown) == "SALE1"
    named = an_event(provider="paypal", type="PAYMENT.SALE.REFUNDED", payload={"resource": shown})
    assert names_payment(named, shown) is None
    assert names_payment(an_event(provider="paypal", type="PAYMENT.SALE.COMPLETED"), shown) is None


# ── endpoints ───────────────────────────────────────────────────────────────────────────────────────

OURS = "https://x.example/dev/webhooks/"


def levels(notices: list[Notice]) -> list[str]:
    return ["broken" if each.is_broken else "remedy" if each.remedy else "well" for each in notices]


def test_stripes_endpoints() -> None:
    """None that leads here, one that is disabled, one that sends too little, one that is well."""
    url = OURS + "stripe"
    assert levels(list(stripes_endpoints.notices([{"url": "https://other.example"}]))) == ["broken"]
    endpoints: list[Any] = [
        {"url": url, "status": "disabled", "enabled_events": ["*"]},
        {"url": url, "status": "enabled", "enabled_events": ["charge.refunded"]},
        {"url": url, "status": "enabled", "enabled_events": ["*"]},
    ]
    assert levels(list(stripes_endpoints.notices(endpoints))) == ["broken", "remedy", "well"]


def test_paypals_webhooks() -> None:
    """None that leads here, none that is ours, one that sends too little, one that is well."""
    every, few = [{"name": "*"}], [{"name": "PAYMENT.SALE.COMPLETED"}]
    webhooks: list[Any] = [
        {"url": OURS + "paypal", "id": "A", "event_types": few},
        {"url": OURS + "paypal", "id": "B", "event_types": every},
    ]
    assert levels(list(paypals_endpoints.notices([], ("A",)))) == ["broken"]
    assert levels(list(paypals_endpoints.notices(webhooks, ("C",)))) == ["broken"]
    assert levels(list(paypals_endpoints.notices(webhooks, ("A", "B")))) == ["remedy", "well"]
