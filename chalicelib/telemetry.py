"""What the outside sees of Daybook: one JSON line an outcome, metrics in Embedded Metric Format, traces.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

NAMESPACE = "Daybook"
SAMPLED = "Sampled=1"
UNTRACED: AbstractContextManager[None] = nullcontext()
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class Metric(NamedTuple):
    """Counted for the whole stage; where ``by`` names a field of the line, by that too."""

    by: str | None = None
    unit: str = "Count"


METRICS = {
    "accepted": Metric(by="provider"),
    "bus_gone": Metric(),  # whether the event bus is not there: what is sent to it is dropped
    "captured": Metric(by="currency", unit="None"),  # minor units by which the sum grew
    "cold_start": Metric(),
    "delivered": Metric(),  # milestones that a target took
    "disputed": Metric(by="currency", unit="None"),
    "duplicate": Metric(),
    "failed": Metric(),
    "handler_failed": Metric(),
    "handler_late": Metric(),
    "ignored": Metric(),
    "inconsistent": Metric(),
    "lag": Metric(unit="Milliseconds"),  # from the provider's `created` to recorded
    "milestones": Metric(by="type"),
    "missing": Metric(by="provider"),  # events that the provider lists and that never came
    "not_kept": Metric(),  # copies of what came by one transmission, beyond those that are set aside
    "not_understood": Metric(by="provider"),
    "paid_after_end": Metric(),  # payments of subscriptions that had ended before
    "parked": Metric(),
    "queued": Metric(unit="Milliseconds"),  # from received to recorded
    "received": Metric(),
    "reconcile_overdue": Metric(),
    "recorded": Metric(by="provider"),
    "recovered": Metric(by="provider"),
    "refunded": Metric(by="currency", unit="None"),
    "refused": Metric(by="reason"),
    "target_failed": Metric(),  # attempts that a target did not take
    "undelivered": Metric(),  # records of which something has waited for a target for an hour
    "waiting": Metric(),  # payments with a handler that has waited for a reference for an hour
    "verified": Metric(by="secret"),  # a secret's fingerprint: which one is in use while one is rolled
}


class Telemetry:
    """Lines to ``write``. Fields are ids, types, counts, durations: never a payload, a header, a name.

    Without ``metrics`` only the log is written: for a person at a terminal. ``trace`` returns the current
    X-Ray trace header, empty where nothing is traced. Lines below ``level`` are left out, unless they count.
    """

    def __init__(
        self,
        stage: str,
        clock: Callable[[], int],
        write: Callable[[str], Any],
        metrics: bool = True,
        trace: Callable[[], str] = str,
        level: str = "INFO",
    ) -> None:
        self.trace = trace
        self.clock = clock
        self._stage = stage
        self._write = write
        self._metrics = metrics
        self._shown = LEVELS[LEVELS.index(level) :]
        self._request_id = ""

    def begin(self, request_id: str) -> None:
        """An invocation begins: its id is in each line from now on. The first one of a process was cold."""
        if not self._request_id:
            self.count("cold_start")
        self._request_id = request_id

    def log(
        self, message: str, level: str = "INFO", metrics: Mapping[str, float] | None = None, **fields: object
    ) -> None:
        """One line, with what is to be counted of ``METRICS``. What is ``None`` is left out."""
        counted = metrics if metrics and self._metrics else {}
        if level not in self._shown and not counted:
            return
        line: dict[str, object] = {"level": level, "message": message, **self._invocation()}
        self._emit({**line, **fields}, counted)

    def count(self, metric: str, value: float = 1, /, **fields: object) -> None:
        """``value`` more of one of ``METRICS``, in a line of its own."""
        if self._metrics:
            self._emit(fields, {metric: value})

    def _emit(self, fields: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        line = {name: value for name, value in fields.items() if value is not None}
        if metrics:
            embedded = {"Timestamp": self.clock(), "CloudWatchMetrics": _directives(metrics, line)}
            line = {"_aws": embedded, "stage": self._stage, **line, **metrics}
        self._write(json.dumps(line))

    def _invocation(self) -> dict[str, str]:
        root = self.trace().partition("Root=")[2].partition(";")[0]
        named = {"request_id": self._request_id, "trace_id": root}
        return {name: value for name, value in named.items() if value}

    def span(self, name: str, **annotations: str) -> AbstractContextManager[Any]:
        """Time what happens inside as an X-Ray subsegment; costs nothing where the trace is not sampled."""
        if SAMPLED not in self.trace():
            return UNTRACED
        return _subsegment(name, annotations)


def _directives(metrics: Mapping[str, float], line: Mapping[str, object]) -> list[dict[str, Any]]:
    """Which fields of the line are metrics, and by what; those by the same together."""
    found: dict[str | None, list[dict[str, str]]] = {}
    for name in metrics:
        by, unit = METRICS[name]
        by = by if by in line else None
        found.setdefault(by, []).append({"Name": name, "Unit": unit})
    return [
        {
            "Namespace": NAMESPACE,
            "Dimensions": [["stage"], ["stage", by]] if by else [["stage"]],
            "Metrics": definitions,
        }
        for by, definitions in found.items()
    ]


@contextmanager
def _subsegment(name: str, annotations: Mapping[str, str]) -> Iterator[None]:
    """A failure is marked as one, without its text: that may hold what nobody should read here.

    The SDK is imported by the first trace that is sampled: it takes as long as a whole cold start.
    """
    from aws_xray_sdk.core import xray_recorder

    subsegment = xray_recorder.begin_subsegment(name)
    for key, value in annotations.items():
        subsegment.put_annotation(key, value)
    try:
        yield
    except Exception:
        subsegment.add_fault_flag()
        subsegment.put_annotation("outcome", "failed")
        raise
    else:
        subsegment.put_annotation("outcome", "done")
    finally:
        xray_recorder.end_subsegment()


def stdout(line: str) -> None:
    """A line to standard output, where Lambda takes its logs from."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
