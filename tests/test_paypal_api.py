"""Asking PayPal: what is sent, what counts as yes, what an outage means, and what contradicts an event."""

import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from chalicelib.errors import Distrusted, InvalidSignature, NotConfigured, Unavailable
from chalicelib.events import Event
from chalicelib.paypal_api import PayPalApi
from chalicelib.providers import paypal
from chalicelib.providers.protocol import Trust
from ops.stories import tell
from tests.fakes import NOW, WEBHOOK_ID, Clock, OneCertificate, as_bytes, paypal_leaf, signed

BODY = b'{"id": "WH-1",  "amount": 1.10}'


class FakeApi:
    """OAuth and verify-webhook-signature; ``known`` is the webhook id for which it says SUCCESS."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.status = 200
        self.known = WEBHOOK_ID
        self.resources: dict[str, Any] = {}
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.asked.append((self.path, body))
                content = json.dumps(api.answer(self.path, body)).encode()
                self.send_response(api.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                api.asked.append((self.path, b""))
                found = api.resources.get(self.path)
                content = json.dumps(found or {"name": "RESOURCE_NOT_FOUND"}).encode()
                self.send_response(api.status if found else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/v1/oauth2/token":
            return {"access_token": "token", "expires_in": 3600}
        success = json.loads(body)["webhook_id"] == self.known
        return {"verification_status": "SUCCESS" if success else "FAILURE"}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    made = FakeApi()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def trusted(api: FakeApi, *ids: str, client: tuple[str, ...] = ("id", "secret")) -> Trust:
    postback = PayPalApi(api.url, client, Clock())
    return Trust({"paypal_webhook_ids": ids}, OneCertificate(paypal_leaf()), postback)


def test_paypal_decides(api: FakeApi) -> None:
    """Any of our webhook ids may be the one; the body goes to PayPal byte for byte; one token serves."""
    paypal.verify(signed("paypal", BODY), trusted(api, "other", WEBHOOK_ID))
    assert [path.rpartition("/")[2] for path, _ in api.asked] == [
        "token",
        "verify-webhook-signature",
        "verify-webhook-signature",
    ]
    assert BODY in api.asked[-1][1]


def test_paypals_no_is_a_refusal(api: FakeApi) -> None:
    """Even where our own check would have passed."""
    api.known = "somebody else's"
    with pytest.raises(InvalidSignature):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID))


def test_an_outage_is_no_verdict(api: FakeApi) -> None:
    """PayPal is to send it again."""
    api.status = 500
    with pytest.raises(Unavailable):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID))
    with pytest.raises(NotConfigured):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID, client=()))


# ── confirming money ────────────────────────────────────────────────────────────────────────────────

PATHS = {
    "PAYMENT.CAPTURE.COMPLETED": "/v2/payments/captures/",
    "PAYMENT.CAPTURE.REFUNDED": "/v2/payments/refunds/",
    "PAYMENT.REFUND.FAILED": "/v2/payments/refunds/",
    "PAYMENT.SALE.COMPLETED": "/v1/payments/sale/",
    "PAYMENT.SALE.REFUNDED": "/v1/payments/refund/",
    "PAYMENT.AUTHORIZATION.CREATED": "/v2/payments/authorizations/",
}


def made(type_: str) -> tuple[Event, dict[str, Any]]:
    """An event of that type, and its resource as PayPal would show it."""
    _, [sent] = tell("paypal", random.Random(1), NOW, 5000, "EUR", type_=type_)
    return paypal.event(as_bytes(sent), NOW), sent["resource"]


@pytest.mark.parametrize("type_", PATHS)
def test_money_is_confirmed_at_paypals_own_address(api: FakeApi, type_: str) -> None:
    """By the resource's id, whatever links the event has."""
    event, resource = made(type_)
    path = PATHS[type_] + resource["id"]
    api.resources[path] = resource
    PayPalApi(api.url, ("id", "secret"), Clock()).confirm(event)
    assert [asked for asked, _ in api.asked] == ["/v1/oauth2/token", path]


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"value": "5000.00", "currency_code": "EUR"}},
        {"amount": {"value": "50.00", "currency_code": "USD"}},
        {"amount": None},
        {"id": "ANOTHER"},
        {"status": "PENDING"},
        {"status": "DECLINED"},
    ],
)
def test_what_paypal_shows_otherwise_contradicts(api: FakeApi, change: dict[str, Any]) -> None:
    """Another amount, currency, resource or state."""
    event, resource = made("PAYMENT.CAPTURE.COMPLETED")
    api.resources[PATHS[event.type] + resource["id"]] = {**resource, **change}
    with pytest.raises(Distrusted) as refused:
        PayPalApi(api.url, ("id", "secret"), Clock()).confirm(event)
    assert refused.value.reason == "contradicted"


def test_an_outage_contradicts_nothing(api: FakeApi) -> None:
    """The event waits until PayPal can be asked."""
    event, resource = made("PAYMENT.CAPTURE.COMPLETED")
    api.resources[PATHS[event.type] + resource["id"]] = resource
    paypals = PayPalApi(api.url, ("id", "secret"), Clock())
    api.status = 503
    with pytest.raises(Unavailable):
        paypals.confirm(event)
    api.status = 200
    paypals.confirm(event)


def test_a_token_that_is_revoked_is_replaced(api: FakeApi) -> None:
    """By the next try, not when its time is up."""
    event, resource = made("PAYMENT.CAPTURE.COMPLETED")
    path = PATHS[event.type] + resource["id"]
    paypals = PayPalApi(api.url, ("id", "secret"), Clock())
    with pytest.raises(Unavailable):
        paypals.confirm(event)  # not shown yet
    api.resources[path] = resource
    api.status = 401
    with pytest.raises(Unavailable):
        paypals.confirm(event)
    api.status = 200
    paypals.confirm(event)
    assert [asked for asked, _ in api.asked].count("/v1/oauth2/token") == 2


@pytest.mark.parametrize(
    "type_",
    [
        "PAYMENT.CAPTURE.REVERSED",
        "CHECKOUT.ORDER.APPROVED",
        "CUSTOMER.DISPUTE.CREATED",
        "BILLING.PLAN.CREATED",
    ],
)
def test_what_moves_no_money_is_not_asked_about(api: FakeApi, type_: str) -> None:
    """One question less."""
    event, _ = made(type_)
    PayPalApi(api.url, ("id", "secret"), Clock()).confirm(event)
    assert api.asked == []
