"""What AWS makes of a function's output, for one machine: log groups, embedded metrics, and AWS's own.

Lines of the app and the consumer go to the emulator's CloudWatch, so that what reads a deployed stage's logs,
metrics and alarms reads stage local's too.
"""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import names as naming
from ops.local.event_source import FAILED, INVOKED
from ops.stage import Stage

EVERY = 0.3  # seconds between two deliveries
STOPPED = 3.0  # seconds within which it has stopped, or is left
QUEUES_EVERY = 5.0  # seconds between two looks at the queues
LARGEST = 500  # lines or metrics in one call
Datum = tuple[str, dict[str, Any]]  # namespace and metric


class Agent:
    """Takes a part's lines and delivers them, in a thread of its own. ``say`` prints what people see."""

    def __init__(self, stage: Stage, say: Callable[[str], object]) -> None:
        self._stage = stage
        self._say = say
        self._lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self._stopped = threading.Event()
        self._streams: set[str] = set()
        self._waiting_since: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(STOPPED)

    def take(self, group: str, line: str) -> None:
        """A line that the function of that log group wrote."""
        if line.startswith(INVOKED):
            pass
        elif '"_aws"' not in line or ('"message"' in line and '"level": "DEBUG"' not in line):
            self._say(shown(line))
        self._lines.put((group, line.rstrip("\n")))

    def _run(self) -> None:
        looked = 0.0
        while not self._stopped.wait(EVERY):
            with suppress(BotoCoreError, ClientError):  # the emulator has ended, or is not there yet
                self._deliver(list(self._taken()))
                if time.monotonic() - looked > QUEUES_EVERY:
                    looked = time.monotonic()
                    self._put(list(self._queues()))

    def _taken(self) -> Iterator[tuple[str, str]]:
        while not self._lines.empty():
            yield self._lines.get()

    def _deliver(self, taken: list[tuple[str, str]]) -> None:
        data = [datum for _, line in taken for datum in metrics(line, self._stage.name)]
        self._put(data)
        for group in dict(taken):
            lines = [line for its, line in taken if its == group and line.startswith("{")]
            for n in range(0, len(lines), LARGEST):
                self._log(group, lines[n : n + LARGEST])

    def _put(self, data: list[Datum]) -> None:
        client = self._stage.client("cloudwatch")
        for namespace in {each for each, _ in data}:
            own = [datum for each, datum in data if each == namespace]
            for n in range(0, len(own), LARGEST):
                client.put_metric_data(Namespace=namespace, MetricData=own[n : n + LARGEST])

    def _log(self, group: str, lines: list[str]) -> None:
        client = self._stage.client("logs")
        if group not in self._streams:
            with suppress(client.exceptions.ResourceAlreadyExistsException):
                client.create_log_stream(logGroupName=group, logStreamName="local")
            self._streams.add(group)
        now = time.time_ns() // 1_000_000
        events = [{"timestamp": now, "message": line} for line in lines]
        client.put_log_events(logGroupName=group, logStreamName="local", logEvents=events)

    def _queues(self) -> Iterator[Datum]:
        """What SQS tells CloudWatch of its queues."""
        client = self._stage.client("sqs")
        for name in self._stage.names.queues:
            url = client.get_queue_url(QueueName=name)["QueueUrl"]
            found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            visible = int(found["ApproximateNumberOfMessages"])
            hidden = int(found["ApproximateNumberOfMessagesNotVisible"])
            now = time.monotonic()
            since = self._waiting_since.setdefault(name, now) if visible + hidden else now
            self._waiting_since[name] = since
            if not visible + hidden:
                del self._waiting_since[name]
            queue_name = [{"Name": "QueueName", "Value": name}]
            yield "AWS/SQS", _datum("ApproximateNumberOfMessagesVisible", visible, queue_name)
            yield "AWS/SQS", _datum("ApproximateAgeOfOldestMessage", now - since, queue_name)


def _datum(name: str, value: float, dimensions: list[dict[str, str]], unit: str = "None") -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"MetricName": name, "Value": value, "Dimensions": dimensions, "Unit": unit, "Timestamp": now}


def shown(line: str) -> str:
    """A line as a person sees it: without what is there for CloudWatch alone."""
    if not line.startswith('{"_aws"'):
        return line
    fields = json.loads(line)
    embedded = fields.pop("_aws")
    for directive in embedded["CloudWatchMetrics"]:
        for metric in directive["Metrics"]:
            fields.pop(metric["Name"], None)
    fields.pop("stage", None)
    return json.dumps(fields) + "\n"


def metrics(line: str, stage: str) -> Iterator[Datum]:
    """The metrics in a line, and those that AWS itself would count of it."""
    yield from _of_lambda(line, stage)
    if not line.startswith("{"):
        return
    try:
        fields: Mapping[str, Any] = json.loads(line)
    except ValueError:
        return
    if fields.get("message") == "refused" and fields.get("code") == "Unavailable":
        api = [{"Name": "ApiName", "Value": "daybook"}, {"Name": "Stage", "Value": stage}]
        yield "AWS/ApiGateway", _datum("5XXError", 1, api, "Count")
    for directive in fields.get("_aws", {}).get("CloudWatchMetrics", ()):
        for names in directive["Dimensions"]:
            dimensions = [{"Name": name, "Value": str(fields[name])} for name in names]
            for metric in directive["Metrics"]:
                value = fields[metric["Name"]]
                yield directive["Namespace"], _datum(metric["Name"], value, dimensions, metric["Unit"])


def _of_lambda(line: str, stage: str) -> Iterator[Datum]:
    """What Lambda counts of the function that the line names."""
    for metric, begin in (("Errors", FAILED), ("Invocations", INVOKED)):
        if line.startswith(begin):
            name = line.removeprefix(begin).partition(":")[0].strip()
            function = [{"Name": "FunctionName", "Value": naming.names(stage, {}).function(name)}]
            yield "AWS/Lambda", _datum(metric, 1, function, "Count")
