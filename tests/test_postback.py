"""Asking PayPal: what is sent, what counts as yes, and what an outage means."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from chalicelib.errors import InvalidSignature, NotConfigured, Unavailable
from chalicelib.postback import PayPalPostback
from chalicelib.providers import paypal
from chalicelib.providers.protocol import Trust
from tests.fakes import WEBHOOK_ID, Clock, OneCertificate, paypal_leaf, signed

BODY = b'{"id": "WH-1",  "amount": 1.10}'


class PayPalApi:
    """OAuth and verify-webhook-signature; ``known`` is the webhook id for which it says SUCCESS."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.status = 200
        self.known = WEBHOOK_ID
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
def api() -> Iterator[PayPalApi]:
    made = PayPalApi()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def trusted(api: PayPalApi, *ids: str, client: tuple[str, ...] = ("id", "secret")) -> Trust:
    postback = PayPalPostback(api.url, client, Clock())
    return Trust({"paypal_webhook_ids": ids}, OneCertificate(paypal_leaf()), postback)


def test_paypal_decides(api: PayPalApi) -> None:
    """Any of our webhook ids may be the one; the body goes to PayPal byte for byte; one token serves."""
    paypal.verify(signed("paypal", BODY), trusted(api, "other", WEBHOOK_ID))
    assert [path.rpartition("/")[2] for path, _ in api.asked] == [
        "token",
        "verify-webhook-signature",
        "verify-webhook-signature",
    ]
    assert BODY in api.asked[-1][1]


def test_paypals_no_is_a_refusal(api: PayPalApi) -> None:
    """Even where our own check would have passed."""
    api.known = "somebody else's"
    with pytest.raises(InvalidSignature):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID))


def test_an_outage_is_no_verdict(api: PayPalApi) -> None:
    """PayPal is to send it again."""
    api.status = 500
    with pytest.raises(Unavailable):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID))
    with pytest.raises(NotConfigured):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID, client=()))
