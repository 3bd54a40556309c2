"""The AWS emulator: moto's server, adapted in two places.

    python -m ops.local.emulator PORT

Chalice's Swagger 2 is put into the words of OpenAPI 3 that moto reads. And for each write of a transaction
moto copies the whole table, to put it back if the transaction is canceled: here the copy shares the items,
which a transaction of puts, as Daybook's are, replaces and does not change.
"""

import copy
import io
import json
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from moto.core.config import default_user_config
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ApiImports:
    """What API Gateway takes and moto does not: a document of Swagger 2, without a description."""

    def __init__(self, app: Wsgi) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        is_import = environ["REQUEST_METHOD"] in ("POST", "PUT") and environ["PATH_INFO"].startswith(
            "/restapis"
        )
        if is_import:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = _as_openapi(environ["wsgi.input"].read(length))
            environ = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return self._app(environ, start_response)


def _as_openapi(body: bytes) -> bytes:
    document = json.loads(body or b"{}")
    if "swagger" not in document:
        return body
    del document["swagger"]
    info = {"description": document["info"]["title"], **document["info"]}
    return json.dumps({**document, "openapi": "3.0.1", "info": info}).encode()


def _sharing_items(table: Table, memo: dict[int, Any]) -> Table:
    """A copy of a table that a transaction of puts can be undone with."""
    made = copy.copy(table)
    made.items = defaultdict(dict, {key: dict(entries) for key, entries in table.items.items()})
    return made


def main(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    setattr(Table, "__deepcopy__", _sharing_items)  # noqa: B010 - moto does not know of it
    os.environ["MOTO_PORT"] = str(port)  # moto makes the addresses of its queues from it
    default_user_config["lambda"]["use_docker"] = False
    server = make_server(
        "127.0.0.1", port, ApiImports(DomainDispatcherApplication(create_backend_app)), threaded=True
    )
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
