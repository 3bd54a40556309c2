"""API Gateway in front of the app, for what speaks HTTP: its routes, and the event made of a request.

Chalice's local server is made for a person's requests: it breaks the connection at odd ones.
"""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, quote

from werkzeug.serving import WSGIRequestHandler, make_server

Sign = Callable[[str, bytes], Mapping[str, str]]


class Gateway:
    """A WSGI app. ``sign`` gives the headers that a provider would have added to that path and body."""

    def __init__(self, app: Any, sign: Sign) -> None:
        self._app = app
        self._sign = sign
        self._routes = [
            (re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)), path, methods)
            for path, methods in app.routes.items()
        ]
        self.answers: list[int] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        for pattern, resource, methods in self._routes:
            found = pattern.fullmatch(path)
            if found and environ["REQUEST_METHOD"] in methods:
                answer = self._app(self._event(environ, resource, found.groupdict(), body), None)
                self.answers.append(answer["statusCode"])
                headers = {"Content-Type": "application/json", **answer["headers"]}  # its default too
                start_response(
                    f"{answer['statusCode']} -", [(name, str(value)) for name, value in headers.items()]
                )
                return [answer["body"].encode()]
        start_response("403 -", [("Content-Type", "application/json")])
        return [json.dumps({"message": "Missing Authentication Token"}).encode()]

    def _event(
        self, environ: dict[str, Any], resource: str, parameters: dict[str, str], body: bytes
    ) -> dict[str, Any]:
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").title(): value
            for name, value in environ.items()
            if name.startswith("HTTP_") or name == "CONTENT_TYPE"
        }
        return {
            "resource": resource,
            "path": environ["PATH_INFO"],
            "httpMethod": environ["REQUEST_METHOD"],
            "requestContext": {"resourcePath": resource, "httpMethod": environ["REQUEST_METHOD"]},
            # as they came, which AWS does not decode
            "pathParameters": {name: quote(value, safe="") for name, value in parameters.items()},
            "multiValueQueryStringParameters": query or None,
            "stageVariables": None,
            "headers": {**headers, **self._sign(environ["PATH_INFO"], body)},
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(gateway: Gateway) -> Iterator[str]:
    """Its address on loopback."""
    server = make_server("127.0.0.1", 0, gateway, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
