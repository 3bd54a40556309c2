"""Asking PayPal: what is sent, what counts as yes, what an outage means, and what contradicts an event."""

import random
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib.errors import Distrusted, InvalidSignature, NotConfigured, Unavailable
from chalicelib.events import Event
from chalicelib.providers import paypal
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.protocol import Trust
from ops.stories import tell
from tests.fake_apis import BROKEN, FakePayPal
from tests.fakes import NOW, WEBHOOK_ID, Clock, OneCertificate, as_bytes, paypal_leaf, signed

BODY = b'{"id": "WH-1",  "amount": 1.10}'


@pytest.fixture
def api() -> Iterator[FakePayPal]:
    with FakePayPal([], webhook_id=WEBHOOK_ID) as made:
        yield made


def trusted(api: FakePayPal, *ids: str, client: tuple[str, ...] = ("id", "secret")) -> Trust:
    postback = PayPalApi(api.address, client, Clock())
    return Trust({"paypal_webhook_ids": ids}, OneCertificate(paypal_leaf()), postback)


def test_paypal_decides(api: FakePayPal) -> None:
    """Any of our webhook ids may be the one; the body goes to PayPal byte for byte; one token serves."""
    paypal.verify(signed("paypal", BODY), trusted(api, "other", WEBHOOK_ID))
    assert [path.rpartition("/")[2] for path in api.asked] == [
        "token",
        "verify-webhook-signature",
        "verify-webhook-signature",
    ]
    assert BODY in api.requests[-1].body


def test_paypals_no_is_a_refusal(api: FakePayPal) -> None:
    """Even where our own check would have passed."""
    api.webhook_id = "somebody else's"
    with pytest.raises(InvalidSignature):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID))


def test_an_outage_is_no_verdict(api: FakePayPal) -> None:
    """PayPal is to send it again."""
    api.faults = [(500, {}, {})]
    with pytest.raises(Unavailable):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID))
    with pytest.raises(NotConfigured):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID, client=()))


def test_a_connection_that_broke_is_made_anew(api: FakePayPal) -> None:
    """As a kept one does that PayPal closed meanwhile; twice is an outage."""
    api.objects["/x"] = {"name": "it"}
    asked = PayPalApi(api.address, ("id", "secret"), Clock())
    api.faults = [(BROKEN, {}, {})]
    assert asked.get("/x") == {"name": "it"}
    api.faults = [(BROKEN, {}, {})] * 2
    with pytest.raises(Unavailable):
        asked.get("/x")


# ── confirming money ────────────────────────────────────────────────────────────────────────────────

PATHS = {
    "PAYMENT.CAPTURE.COMPLETED": "/v2/payments/captures/",
    "PAYMENT.CAPTURE.REFUNDED": "/v2/payments/refunds/",
    "PAYMENT.REFUND.FAILED": "/v2/payments/refunds/",
    "PAYMENT.SALE.COMPLETED": "/v1/payments/sale/",
    "PAYMENT.SALE.REFUNDED": "/v1/payments/refund/",
    "PAYMENT.AUTHORIZATION.CREATED": "/v2/payments/authorizations/",
    "PAYMENT.CAPTURE.DENIED": "/v2/payments/captures/",
    "PAYMENT.AUTHORIZATION.VOIDED": "/v2/payments/authorizations/",
}


def made(type_: str) -> tuple[Event, dict[str, Any]]:
    """An event of that type, and its resource as PayPal would show it."""
    _, [sent] = tell("paypal", random.Random(1), NOW, 5000, "EUR", type_=type_)
    return paypal.event(as_bytes(sent), NOW), sent["resource"]


@pytest.mark.parametrize("type_", PATHS)
def test_money_is_confirmed_at_paypals_own_address(api: FakePayPal, type_: str) -> None:
    """By the resource's id, whatever links the event has."""
    event, resource = made(type_)
    path = PATHS[type_] + resource["id"]
    api.objects[path] = resource
    PayPalApi(api.address, ("id", "secret"), Clock()).complete(event)
    assert api.asked == ["/v1/oauth2/token", path]


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"value": "5000.00", "currency_code": "EUR"}},
        {"amount": {"value": "50.00", "currency_code": "USD"}},
        {"amount": None},
        {"id": "ANOTHER"},
        {"status": "DECLINED"},
    ],
)
def test_what_paypal_shows_otherwise_contradicts(api: FakePayPal, change: dict[str, Any]) -> None:
    """Another amount, currency, resource or state."""
    event, resource = made("PAYMENT.CAPTURE.COMPLETED")
    api.objects[PATHS[event.type] + resource["id"]] = {**resource, **change}
    with pytest.raises(Distrusted) as refused:
        PayPalApi(api.address, ("id", "secret"), Clock()).complete(event)
    assert refused.value.reason == "contradicted"


@pytest.mark.parametrize(
    ("type_", "change"),
    [
        ("PAYMENT.CAPTURE.REFUNDED", {"capture_id": "ANOTHER"}),
        ("PAYMENT.SALE.REFUNDED", {"sale_id": "ANOTHER"}),
        ("PAYMENT.REFUND.FAILED", {"status": "COMPLETED"}),
        ("PAYMENT.CAPTURE.DENIED", {"status": "COMPLETED"}),
    ],
)
def test_a_refund_of_another_payment_or_end_contradicts(
    api: FakePayPal, type_: str, change: dict[str, Any]
) -> None:
    """A real refund's id and amount do not make it one of this payment, nor one that failed."""
    event, resource = made(type_)
    api.objects[PATHS[type_] + resource["id"]] = {**resource, **change}
    with pytest.raises(Distrusted):
        PayPalApi(api.address, ("id", "secret"), Clock()).complete(event)


@pytest.mark.parametrize("made_up", ["3C_1", "3C.", "../3C", "3C?x=1"])
def test_an_id_that_is_none_of_paypals_is_asked_about_too(api: FakePayPal, made_up: str) -> None:
    """PayPal shows nothing of it: it never counts unasked."""
    event, _ = made("PAYMENT.CAPTURE.COMPLETED")
    forged = replace(event, payload={**event.payload, "resource": {"id": made_up}})
    with pytest.raises(Unavailable):
        PayPalApi(api.address, ("id", "secret"), Clock()).complete(forged)
    assert api.asked[-1] == "/v2/payments/captures/" + quote(made_up, safe="")


@pytest.mark.parametrize("type_", [*PATHS, "PAYMENT.CAPTURE.REVERSED"])
@pytest.mark.parametrize("id_", [None, "", 7, "a b", "x" * 300])
def test_money_of_nothing_that_has_an_id_never_counts(api: FakePayPal, type_: str, id_: Any) -> None:
    """Nothing could be asked about it; and what else it holds, as a dispute's id, names no payment."""
    event, resource = made(type_)
    body = as_bytes({**event.payload, "resource": {**resource, "id": id_, "dispute_id": "VICTIM"}})
    forged = paypal.event(body, NOW)
    assert "VICTIM" not in forged.subject
    assert paypal.needs_asking(forged)
    with pytest.raises(Distrusted):
        PayPalApi(api.address, ("id", "secret"), Clock()).complete(forged)
    with pytest.raises(ValueError, match="id"):
        paypal.facts(forged)
    assert api.asked == []


@pytest.mark.parametrize(
    ("type_", "status", "counts"),
    [
        ("PAYMENT.AUTHORIZATION.VOIDED", "CREATED", False),
        ("PAYMENT.CAPTURE.COMPLETED", "PENDING", False),  # behind, or a buyer complains since
        ("PAYMENT.AUTHORIZATION.VOIDED", "VOIDED", True),
        ("PAYMENT.CAPTURE.REFUNDED", "FAILED", True),  # it failed since
    ],
)
def test_what_may_only_be_late_is_no_contradiction(
    api: FakePayPal, type_: str, status: str, counts: bool
) -> None:
    """It waits, or counts."""
    event, resource = made(type_)
    api.objects[PATHS[type_] + resource["id"]] = {**resource, "status": status}
    asking = PayPalApi(api.address, ("id", "secret"), Clock())
    with nullcontext() if counts else pytest.raises(Unavailable):
        asking.complete(event)


def test_an_outage_contradicts_nothing(api: FakePayPal) -> None:
    """The event waits until PayPal can be asked."""
    event, resource = made("PAYMENT.CAPTURE.COMPLETED")
    api.objects[PATHS[event.type] + resource["id"]] = resource
    paypals = PayPalApi(api.address, ("id", "secret"), Clock())
    api.faults = [(503, {}, {})]
    with pytest.raises(Unavailable):
        paypals.complete(event)
    paypals.complete(event)


def test_a_token_that_is_revoked_is_replaced(api: FakePayPal) -> None:
    """By the next try, not when its time is up."""
    event, resource = made("PAYMENT.CAPTURE.COMPLETED")
    path = PATHS[event.type] + resource["id"]
    paypals = PayPalApi(api.address, ("id", "secret"), Clock())
    with pytest.raises(Unavailable):
        paypals.complete(event)  # not shown yet
    api.objects[path] = resource
    api.faults = [(401, {}, {})]
    with pytest.raises(Unavailable):
        paypals.complete(event)
    paypals.complete(event)
    assert api.asked.count("/v1/oauth2/token") == 2


@pytest.mark.parametrize(
    "type_",
    [
        "PAYMENT.CAPTURE.REVERSED",
        "CHECKOUT.ORDER.APPROVED",
        "CUSTOMER.DISPUTE.CREATED",
        "BILLING.PLAN.CREATED",
    ],
)
def test_what_moves_no_money_is_not_asked_about(api: FakePayPal, type_: str) -> None:
    """One question less."""
    event, _ = made(type_)
    PayPalApi(api.address, ("id", "secret"), Clock()).complete(event)
    assert api.asked == []
