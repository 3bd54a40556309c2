"""The AWS emulator: moto's server, adapted in a few places.

    python -m ops.local.emulator PORT

Chalice's Swagger 2 is put into the words of OpenAPI 3 that moto reads. For each write of a transaction
moto copies the whole table, to put it back if the transaction is canceled: here the copy shares the items,
which a transaction of puts, as Daybook's are, replaces and does not change. CloudWatch's percentiles, which
moto does not know, are worked out; DynamoDB's operations are carried out one after the other; events for a
bus that is gone are dropped. Pages in a browser are refused, and so is what botocore's models do not know.
And it is made quicker: connections are kept, what never changes is looked up once (which service a host
stands for, which methods a class has, how a name is spelt), keys are compared plainly, the time is asked for
plainly, an item's strings and numbers are answered as they are kept, a metric is read from its own values
only.
"""

import copy
import io
import json
import os
import re
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache, partial
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from botocore.model import OperationModel
from botocore.session import get_session
from botocore.validate import ParamValidator
from moto.cloudwatch.models import CloudWatchBackend, Statistics
from moto.core import responses, utils
from moto.core.config import default_user_config
from moto.core.serialize import BaseJSONSerializer
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.events.models import EventsBackend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sqs import models as sqs
from werkzeug.serving import WSGIRequestHandler, make_server

from chalicelib.aws import SERVICES

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


LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|.*\.localhost)(:\d+)?")


class NoPages:
    """Refuses pages in a browser: moto would let any site's read and change all that is recorded."""

    def __init__(self, app: Wsgi) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if "HTTP_ORIGIN" in environ or not LOOPBACK.fullmatch(environ.get("HTTP_HOST", "")):
            start_response("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        return self._app(environ, start_response)


class OneAtATime:
    """DynamoDB's writes are atomic; moto's threads would write between another's check and its write."""

    def __init__(self, app: Wsgi) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB"):
            return self._app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with self._lock:  # its body is there: nobody waits for a client inside
            return self._app({**environ, "wsgi.input": io.BytesIO(body)}, start_response)


@cache
def _operation(target: str) -> OperationModel | None:
    """The operation that ``X-Amz-Target`` names, where it is of a service that Daybook calls by itself."""
    api, _, operation = target.rpartition(".")
    service = next((name for name, each in SERVICES.items() if each.target == api), None)
    return get_session().get_service_model(service).operation_model(operation) if service else None


class Strict:
    """Refuses what is not as botocore's models have it, which moto may let pass: AWS would not."""

    def __init__(self, app: Wsgi) -> None:
        self._app = app
        self._validator = ParamValidator()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        operation = _operation(environ.get("HTTP_X_AMZ_TARGET", ""))
        if operation is None or operation.input_shape is None:
            return self._app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        report = self._validator.validate(json.loads(body or b"{}"), operation.input_shape)
        if report.has_errors():
            return _refused(report.generate_report(), start_response)
        return self._app({**environ, "wsgi.input": io.BytesIO(body)}, start_response)


def _refused(why: str, start_response: Any) -> Iterable[bytes]:
    content = json.dumps({"__type": "ValidationException", "message": why}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    start_response("400 Bad Request", headers)
    return [content]


def _as_openapi(body: bytes) -> bytes:
    document = json.loads(body or b"{}")
    if "swagger" not in document:
        return body
    del document["swagger"]
    info = {"description": document["info"]["title"], **document["info"]}
    return json.dumps({**document, "openapi": "3.0.1", "info": info}).encode()


def _sharing_items(table: Table, memo: dict[int, Any]) -> Table:
    """A copy of a table that a transaction of puts can be undone with: a put replaces what it changes."""
    made = copy.copy(table)
    made.items = defaultdict(dict, table.items)
    return made


PUT_EVENTS = EventsBackend.put_events
PUT, CAST = Table.put_item, vars(DynamoType)["cast_value"].fget
UNIX_TIME, STRUCTURE = utils.unix_time, BaseJSONSerializer._serialize_type_structure
PLAIN = {"S", "N"}


def _put_aside(table: Table, item_attrs: dict[str, Any], *arguments: Any, **named: Any) -> Any:
    partition = DynamoType(item_attrs[table.hash_key_attr])
    table.items[partition] = dict(table.items[partition])
    return PUT(table, item_attrs, *arguments, **named)


def _cast(value: DynamoType) -> Any:
    """What keys are compared by, many times a call: a string is what it is."""
    return value.value if value.type == "S" else CAST(value)


def _unix_time(dt: datetime | None = None) -> float:
    """What moto asks for several times for each message of a queue, whenever it is looked at."""
    return time.time() if dt is None else UNIX_TIME(dt)


def _structure(serializer: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
    """A string or number of an item needs no making: it is kept as it is answered."""
    if shape.name == "AttributeValue" and value.keys() <= PLAIN:
        serialized[key] = value
    else:
        STRUCTURE(serializer, serialized, value, shape, key)


def _dropping(backend: EventsBackend, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """EventBridge takes what is for a bus that is not there, and drops it; moto refuses."""
    buses = [backend._normalize_event_bus_arn(each.get("EventBusName")) for each in events]
    there = [each for each, bus in zip(events, buses, strict=True) if bus in backend.event_buses]
    answers = iter(PUT_EVENTS(backend, there))
    return [next(answers) if bus in backend.event_buses else {"EventId": str(uuid4())} for bus in buses]


class Dispatcher(DomainDispatcherApplication):
    """Remembers which service a host stands for."""

    def __init__(self) -> None:
        super().__init__(create_backend_app)
        self._hosts: dict[str | None, Any] = {}

    def get_backend_for_host(self, host: str | None) -> Any:
        if host not in self._hosts:
            self._hosts[host] = super().get_backend_for_host(host)
        return self._hosts[host]


class KeepingConnections(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"


def _with_percentiles(statistics: Statistics, stat: str) -> Any:
    """``p99`` of single values; all else as moto has it."""
    if not stat.startswith("p"):
        return STATISTIC(statistics, stat)
    values = sorted(statistics.metric_single_values_list)
    return values[min(len(values) - 1, int(len(values) * float(stat[1:]) / 100))] if values else None


STATISTIC, DATA = Statistics.get_statistics_for_type, CloudWatchBackend.get_metric_data


def each_of_its_own(
    backend: CloudWatchBackend, queries: list[dict[str, Any]], *arguments: Any, **named: Any
) -> list[dict[str, Any]]:
    """Each metric from its own values: moto looks through those of all, for each period of each query."""
    if not all("MetricStat" in query for query in queries):
        return DATA(backend, queries, *arguments, **named)
    values = defaultdict(list)
    for each in backend.get_all_metrics():
        dimensions = sorted((d.name, d.value) for d in each.dimensions)
        values[each.namespace, each.name, *dimensions].append(each)
    found = []
    for query in queries:
        metric = query["MetricStat"]["Metric"]
        dimensions = sorted((d["Name"], d["Value"]) for d in metric.get("Dimensions", []))
        own = values[metric["Namespace"], metric["MetricName"], *dimensions]
        holder: Any = SimpleNamespace(get_all_metrics=partial(list, own))
        found += DATA(holder, [query], *arguments, **named)
    return found


def main(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    setattr(Statistics, "get_statistics_for_type", _with_percentiles)  # noqa: B010 - moto has none
    setattr(CloudWatchBackend, "get_metric_data", each_of_its_own)  # noqa: B010 - as above
    setattr(EventsBackend, "put_events", _dropping)  # noqa: B010 - as above
    setattr(Table, "put_item", _put_aside)  # noqa: B010 - as above
    setattr(DynamoType, "cast_value", property(_cast))  # noqa: B010 - as above
    setattr(Table, "__deepcopy__", _sharing_items)  # noqa: B010 - moto does not know of it
    setattr(BaseJSONSerializer, "_serialize_type_structure", _structure)  # noqa: B010 - as above
    setattr(utils, "unix_time", _unix_time)  # noqa: B010 - as above
    for module, name in ((responses, "method_names_from_class"), (sqs, "camelcase_to_underscores")):
        setattr(module, name, cache(getattr(module, name)))
    os.environ["MOTO_PORT"] = str(port)  # moto makes the addresses of its queues from it
    default_user_config["lambda"]["use_docker"] = False
    server: Any = make_server(
        "127.0.0.1",
        port,
        NoPages(Strict(OneAtATime(ApiImports(Dispatcher())))),
        threaded=True,
        request_handler=KeepingConnections,
    )
    server.daemon_threads = True  # a connection that is kept must not keep the process
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
