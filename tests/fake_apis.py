"""Stripe's and PayPal's APIs on loopback: they page, ask for keys, refuse, fail and lie as told."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from chalicelib.times import from_iso, to_iso
from tests.banks import PayPalBank, StripeBank

HOUR = 3_600_000
LATEST = "9999-01-01T00:00:00Z"
BROKEN = 0  # in place of a status: the connection ends without an answer
Answer = tuple[int, dict[str, str], Any]


class Request(NamedTuple):
    """What was asked: the path with its query, the headers, the body."""

    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}


def event_listed(event_id: str, created_at: int, **about: Any) -> dict[str, Any]:
    """A snapshot event as Stripe lists it."""
    intent = {"object": "payment_intent", "id": f"pi_{event_id}", "currency": "eur", "amount_received": 500}
    return {
        "id": event_id,
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": created_at // 1000,
        "livemode": False,
        "data": {"object": {**intent, **about}},
    }


def paypal_listed(event_id: str, created_at: int) -> dict[str, Any]:
    """An event as PayPal lists it."""
    return {
        "id": event_id,
        "create_time": to_iso(created_at),
        "event_type": "PAYMENT.CAPTURE.COMPLETED",
        "resource": {"id": f"CAP{event_id}", "amount": {"value": "5.00", "currency_code": "EUR"}},
    }


class FakeApi:
    """A server whose ``faults`` are answered first, one a request; then ``objects``, by their paths."""

    def __init__(self) -> None:
        self.faults: list[Answer] = []
        self.requests: list[Request] = []
        self.objects: dict[str, Any] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def asked(self) -> list[str]:
        return [request.target for request in self.requests]

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    def serve(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.faults and "oauth2" not in request.path:
            return self.faults.pop(0)
        if request.path in self.objects:
            return 200, {}, self.objects[request.path]
        return self.answer(request)


class FakeStripe(FakeApi):
    """Lists ``events``, the newest first, by hundreds or what is asked for; and a balance, if it has one."""

    def __init__(self, events: list[dict[str, Any]], bank: StripeBank | None = None) -> None:
        super().__init__()
        self.events = events
        self.bank = bank or StripeBank()
        self.history: dict[str, list[dict[str, Any]]] = {}  # objects, by what they are called in a path

    def answer(self, request: Request) -> Answer:
        listed = {"/v1/events": self.events, "/v1/balance_transactions": self.bank.transactions}
        listed |= {f"/v1/{name}": objects for name, objects in self.history.items()}
        payout = request.path.removeprefix("/v1/payouts/")
        if request.path not in listed and payout not in self.bank.payouts:
            return 404, {}, {"error": {"type": "invalid_request_error", "message": "No such object"}}
        if not request.headers.get("Authorization", "").startswith("Bearer rk_"):
            return 401, {}, {"error": {"type": "authentication_error", "message": "no key"}}
        if payout in self.bank.payouts:
            return 200, {}, self.bank.payouts[payout]
        query = request.query
        since, until = int(query.get("created[gte]", 0)), int(query.get("created[lte]", 10**10))
        found = sorted(listed[request.path], key=lambda e: (e["created"], e["id"]), reverse=True)
        found = [each for each in found if since <= each["created"] <= until]
        if "payout" in query:
            found = [each for each in found if self.bank.paid_out.get(each["id"]) == query["payout"]]
        if request.path == "/v1/balance_transactions" and query.get("expand[0]") != "data.source":
            found = [{**each, "source": (each["source"] or {}).get("id")} for each in found]
        if "starting_after" in query:
            ids = [each["id"] for each in found]
            found = found[ids.index(query["starting_after"]) + 1 :]
        limit = int(query.get("limit", 10))
        return 200, {}, {"object": "list", "data": found[:limit], "has_more": len(found) > limit}


class FakePayPal(FakeApi):
    """Lists ``events`` in pages of ``size``, whatever is asked for; its links name another host.

    ``webhook_id`` is the one whose signatures it confirms.
    """

    def __init__(
        self,
        events: list[dict[str, Any]],
        size: int = 3,
        webhook_id: str = "",
        bank: PayPalBank | None = None,
    ) -> None:
        super().__init__()
        self.bank = bank or PayPalBank()
        self.events = events
        self.size = size
        self.most = 10_000  # transactions of one question
        self.transactions: list[dict[str, Any]] = []  # beside transfers
        self.disputes: list[dict[str, Any]] = []
        self.webhook_id = webhook_id

    def answer(self, request: Request) -> Answer:
        path, query = request.path, request.query
        if path == "/v1/oauth2/token":
            return 200, {}, {"access_token": "token", "expires_in": 3600}
        if request.headers.get("Authorization") != "Bearer token":
            return 401, {}, {}
        if path == "/v1/notifications/verify-webhook-signature":
            success = json.loads(request.body)["webhook_id"] == self.webhook_id
            return 200, {}, {"verification_status": "SUCCESS" if success else "FAILURE"}
        if path == "/v1/reporting/transactions":
            return self._transactions(query)
        if path == "/v1/customer/disputes":
            return self._disputes(query)
        if path != "/v1/notifications/webhooks-events":
            return 404, {}, {"name": "RESOURCE_NOT_FOUND"}
        start = int(query.get("index", 0))
        since, until = from_iso(query["start_time"]), from_iso(query["end_time"])
        found = [each for each in self.events if since <= from_iso(each["create_time"]) <= until]
        links = []
        if len(found) > start + self.size:
            times = f"start_time={query['start_time']}&end_time={query['end_time']}"
            href = f"https://api.paypal.com{path}?{times}&index={start + self.size}"
            links = [{"rel": "next", "href": href}]
        return 200, {}, {"events": found[start : start + self.size], "links": links}

    def _disputes(self, query: dict[str, str]) -> Answer:
        after, before = query.get("update_time_after", to_iso(0)), query.get("update_time_before", LATEST)
        since, until = from_iso(after), from_iso(before)
        found = [each for each in self.disputes if since <= from_iso(each["update_time"]) <= until]
        start = int(query.get("next_page_token", 0))
        times = f"update_time_after={after}&update_time_before={before}"
        href = f"https://api.paypal.com/v1/customer/disputes?{times}&next_page_token={start + self.size}"
        links = [{"rel": "next", "href": href}] if len(found) > start + self.size else []
        return 200, {}, {"items": found[start : start + self.size], "links": links}

    def _transactions(self, query: dict[str, str]) -> Answer:
        since, until = from_iso(query["start_date"]), from_iso(query["end_date"])
        if until - since > 31 * 24 * HOUR:
            return 400, {}, {"name": "INVALID_REQUEST", "message": "the range is over 31 days"}
        found = [
            each
            for each in [*self.bank.transfers, *self.transactions]
            if query.get("transaction_type") in (None, each["transaction_info"]["transaction_event_code"])
            and since <= from_iso(each["transaction_info"]["transaction_initiation_date"]) <= until
        ]
        if len(found) > self.most:
            return 400, {}, {"name": "RESULTSET_TOO_LARGE", "message": "over the maximum limit"}
        pages = -(-len(found) // self.size)
        start = (int(query["page"]) - 1) * self.size
        listed = found[start : start + self.size]
        counts = {"page": int(query["page"]), "total_pages": pages, "total_items": len(found)}
        return 200, {}, {"transaction_details": listed, **counts}


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept
        disable_nagle_algorithm = True  # else each answer takes 40 ms

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, answer = api.serve(Request(self.path, dict(self.headers), body))
            if status == BROKEN:
                self.close_connection = True
                return
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = serve  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
