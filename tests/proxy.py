"""A way to AWS that writes down every call, and can fail at each of them as a network and AWS do."""

import http.client
import json
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

FAULTS = (
    "throttled",  # refused: try later
    "error",  # refused with a 500
    "expired",  # refused: the access key has expired
    "reset before",  # the connection breaks, the request was not carried out
    "reset after",  # the request was carried out, its answer is lost
    "truncated",  # it was carried out, half of its answer arrives
    "error after",  # it was carried out, a 500 is the answer
    "slow",  # the answer comes late
)
SLOW = 0.3  # seconds
REFUSALS = {
    "throttled": (400, "ThrottlingException"),
    "error": (500, "InternalServerError"),
    "expired": (400, "ExpiredTokenException"),
}
# headers that this end of the connection sets itself
OWN = ("content-length", "connection", "transfer-encoding", "date", "server")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the service by its signing name, its operation, and its request where that is JSON."""

    service: str
    operation: str
    request: dict[str, Any]


def _call(method: str, path: str, headers: Any, body: bytes) -> Call:
    scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", headers.get("Authorization", ""))
    service = scope[1] if scope else "unsigned"
    target = headers.get("X-Amz-Target")
    if target:
        return Call(service, target.rpartition(".")[2], json.loads(body or b"{}"))
    action = parse_qs(body.decode(errors="replace")).get("Action")
    return Call(service, action[0] if action else f"{method} {urlsplit(path).path}", {})


class Proxy:
    """Hands every request on to ``upstream``; ``fault`` says how a call is to fail, ``None`` for not.

    What is none of ``FAULTS`` is an error of AWS's with that code.
    """

    def __init__(self, upstream: str, fault: Callable[[Call], str | None] = lambda call: None) -> None:
        self.upstream = urlsplit(upstream)
        self.fault = fault
        self.calls: list[Call] = []
        self.faults: list[tuple[Call, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (Handler,), {"proxy": proxy})


class Handler(BaseHTTPRequestHandler):
    """One connection of a proxy."""

    proxy: Proxy
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and content in one packet: two would wait for each other's acknowledgement

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = _call(self.command, self.path, self.headers, body)
        self.proxy.calls.append(call)
        fault = self.proxy.fault(call)
        if fault is None:
            self.send(*self.forward(body))
            return
        self.proxy.faults.append((call, fault))
        self.fail(fault, body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = serve  # noqa: N815 - http.server's names

    def setup(self) -> None:
        super().setup()
        upstream = self.proxy.upstream
        self.upstream = http.client.HTTPConnection(str(upstream.hostname), upstream.port)

    def finish(self) -> None:
        self.upstream.close()
        super().finish()

    def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        self.upstream.request(self.command, self.path, body, dict(self.headers))
        answer = self.upstream.getresponse()
        return answer.status, answer.getheaders(), answer.read()

    def fail(self, fault: str, body: bytes) -> None:
        if fault in REFUSALS or fault not in FAULTS:
            self.refuse(*REFUSALS.get(fault, (400, fault)))
            return
        if fault == "reset before":
            self.reset()
            return
        time.sleep(SLOW if fault == "slow" else 0)
        status, headers, content = self.forward(body)
        if fault == "slow":
            self.send(status, headers, content)
        elif fault == "error after":
            self.refuse(500, "InternalServerError")
        else:
            if fault == "truncated":
                self.send(status, headers, content[: len(content) // 2], len(content) + 1)
            self.reset()

    def refuse(self, status: int, code: str) -> None:
        content = json.dumps({"__type": code, "message": "made up"}).encode()
        self.send(status, [("Content-Type", "application/json")], content)

    def send(
        self, status: int, headers: list[tuple[str, str]], content: bytes, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def reset(self) -> None:
        """Close the connection with RST, as a network does that breaks."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # at once: a plain close waits for the files made of it
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True
