"""What an import takes: ``python -m bench.history [OBJECTS]``; its memory is the same however many there are.

Stripe's and PayPal's APIs are played by another process, which makes their objects up as they are asked for,
and throttles, fails, breaks off and lies every so often. The import is stopped in its midst and goes on. Each
object must be put on the queue once, or twice around the stop; the ledger knows of none.
"""

import json
import multiprocessing
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chalicelib.providers import PROVIDERS
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.protocol import HistoryApi
from chalicelib.providers.stripe.client import StripeApi
from chalicelib.reconcile import Reconciler
from chalicelib.telemetry import Telemetry
from chalicelib.times import DAY, from_iso, to_iso
from ops import importing

BEGINS = from_iso("2024-01-01T00:00:00Z")
ENDS = BEGINS + 2 * 365 * DAY
REFUSALS: dict[int, tuple[int, Any]] = {  # one in so many answers
    61: (429, {"error": {"type": "api_error"}}),
    71: (500, {"error": {"type": "api_error"}}),
    83: (200, {"data": "none", "transaction_details": "none"}),
    97: (0, None),  # the connection ends
}
BREAK_AT = 0.4  # of the objects
Json = dict[str, Any]


class Stopped(Exception):
    """As if the process had been killed."""


class Made:
    """So many charges at Stripe and captures at PayPal, spread evenly over two years."""

    def __init__(self, objects: int) -> None:
        self.objects = objects
        self.step = (ENDS - BEGINS) // objects

    def at(self, number: int) -> int:
        return BEGINS + number * self.step

    def charge(self, number: int) -> Json:
        return {
            "id": f"ch_{number:09}",
            "object": "charge",
            "created": self.at(number) // 1000,
            "amount": 1000,
            "amount_captured": 1000,
            "captured": True,
            "currency": "eur",
            "payment_intent": f"pi_{number:09}",
            "status": "succeeded",
            "description": "x" * 1000,
        }

    def charges(self, query: dict[str, str]) -> Json:
        """Newest first."""
        last = int(query["starting_after"][3:]) if "starting_after" in query else self.objects
        numbers = range(last - 1, max(-1, last - 1 - int(query["limit"])), -1)
        return {"object": "list", "data": [self.charge(n) for n in numbers], "has_more": numbers[-1] > 0}

    def transactions(self, query: dict[str, str]) -> Json:
        since, until = from_iso(query["start_date"]), from_iso(query["end_date"])
        first = max(0, -(-(since - BEGINS) // self.step))
        last = min(self.objects - 1, (until - BEGINS) // self.step)
        total, size = max(0, last - first + 1), int(query["page_size"])
        if total > 10_000:
            return {"name": "RESULTSET_TOO_LARGE"}
        start = first + (int(query["page"]) - 1) * size
        found = [self._transaction(n) for n in range(start, min(start + size, last + 1))]
        return {"transaction_details": found, "total_items": total, "total_pages": -(-total // size)}

    def _transaction(self, number: int) -> Json:
        info = {
            "transaction_id": f"{number:017}",
            "transaction_event_code": "T0006",
            "transaction_status": "S",
            "transaction_initiation_date": to_iso(self.at(number)),
            "transaction_amount": {"currency_code": "EUR", "value": "10.00"},
        }
        return {"transaction_info": info}

    def capture(self, id_: str) -> Json:
        amount = {"currency_code": "EUR", "value": "10.00"}
        made = to_iso(self.at(int(id_)))
        return {"id": id_, "status": "COMPLETED", "amount": amount, "create_time": made, "note": "x" * 1000}

    def answer(self, path: str, query: dict[str, str]) -> Json:
        if path == "/v1/charges":
            return self.charges(query)
        if path == "/v1/oauth2/token":
            return {"access_token": "token", "expires_in": 3600}
        if path == "/v1/reporting/transactions":
            return self.transactions(query)
        if path.startswith("/v2/payments/captures/"):
            return self.capture(path.rpartition("/")[2])
        return {"object": "list", "data": [], "has_more": False, "items": []}


def serve(objects: int, told: Any) -> None:
    """Until it is killed; ``told`` is put the port."""
    made, asked = Made(objects), count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts, number = urlsplit(self.path), next(asked)
            refusal = next((each for each in REFUSALS if number % each == 0), None)
            if refusal and REFUSALS[refusal][0] == 0:
                self.close_connection = True
                return
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, body = REFUSALS[refusal] if refusal else (200, made.answer(parts.path, query))
            content = json.dumps(body).encode()
            self.send_response(400 if body.get("name") else status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.put(server.server_address[1])
    server.serve_forever(0.01)


class Nothing:
    """A ledger that knows no event, and keeps where listings have come to."""

    def __init__(self) -> None:
        self.checkpoints = self
        self.noted: dict[str, Any] = {}

    def recorded(self, events: Any) -> Json:
        return {}

    def checkpoint(self, name: str) -> Json:
        found: Json = self.noted.get(name, {})
        return found

    def note_checkpoint(self, name: str, noted: Json) -> None:
        self.noted[name] = noted


class Marks:
    """A queue that keeps nothing but how often each object was put on it."""

    def __init__(self, objects: int) -> None:
        self.times = bytearray(objects)

    def put(self, text: str, group: str, once: str, trace: str = "") -> None:
        self.times[int(json.loads(text)["event_id"].rpartition("_")[2])] += 1


def imported(provider: str, api: HistoryApi, objects: int) -> str:
    """What it took, in words. Raises ``AssertionError`` where an object is missing."""
    ledger, marks, done = Nothing(), Marks(objects), count()
    fakes: Any = {"ledger": ledger, "inbox": marks}
    to = Reconciler(
        providers=PROVIDERS,
        telemetry=Telemetry("bench", lambda: ENDS, lambda line: None),
        clock=lambda: ENDS + DAY,
        pause=lambda seconds: None,
        until=ENDS,
        **fakes,
    )
    is_stopped = False

    def step(kind: str, summary: Any) -> None:
        nonlocal is_stopped
        next(done)
        if not is_stopped and sum(map(bool, marks.times)) > objects * BREAK_AT:
            is_stopped = True
            raise Stopped

    began = time.perf_counter()
    try:
        importing.run(to, provider, api, BEGINS, False, step)
    except Stopped:
        importing.run(to, provider, api, BEGINS, False, step)
    seconds = time.perf_counter() - began
    times = Counter(marks.times)
    assert is_stopped, "it was not stopped"
    assert times[0] == 0, f"{times[0]} objects are missing"
    return (
        f"{provider}: {objects} objects, {times[1]} put on the queue once, {objects - times[1]} more often,"
        f" {next(done)} pages, {seconds:.0f} s, {_peak()} MB of memory at most"
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(objects: int, say: Callable[[str], object]) -> None:
    told: Any = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(objects, told), daemon=True)
    process.start()
    try:
        base = f"http://127.0.0.1:{told.get()}"
        apis: dict[str, HistoryApi] = {
            "stripe": StripeApi("rk_test_1", base, lambda: ENDS + DAY),
            "paypal": PayPalApi(base, ("id", "secret"), lambda: ENDS + DAY),
        }
        for provider, api in apis.items():
            say(imported(provider, api, objects) + "\n")
    finally:
        process.kill()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, sys.stdout.write)
