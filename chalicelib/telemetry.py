"""What the outside hears of Daybook: one JSON line an outcome, metrics in Embedded Metric Format, traces.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

NAMESPACE = "Daybook"
SAMPLED = "Sampled=1"
UNTRACED: AbstractContextManager[None] = nullcontext()
# Every metric is counted for the whole stage; some also by one more dimension.
METRICS = {
    "accepted": "provider",
    "duplicate": None,
    "failed": None,
    "handler_failed": None,
    "handler_late": None,
    "ignored": None,
    "inconsistent": None,
    "not_understood": "provider",
    "parked": None,
    "recorded": "provider",
    "refused": "reason",
}


class Telemetry:
    """Lines to ``write``. Fields are ids, types, counts, durations: never a payload, a header, a name.

    Without ``metrics`` only the log is written: for a person at a terminal. ``trace`` returns the current
    X-Ray trace header, empty where nothing is traced.
    """

    def __init__(
        self,
        stage: str,
        clock: Callable[[], int],
        write: Callable[[str], Any],
        metrics: bool = True,
        trace: Callable[[], str] = str,
    ) -> None:
        self.trace = trace
        self._stage = stage
        self._clock = clock
        self._write = write
        self._metrics = metrics

    def log(self, message: str, level: str = "INFO", **fields: object) -> None:
        self._write(json.dumps({"level": level, "message": message, **fields}))

    def count(self, metric: str, value: int = 1, /, **fields: object) -> None:
        """``value`` more of one of ``METRICS``. ``fields`` are detail, but for the metric's own dimension."""
        dimension = METRICS[metric]
        if not self._metrics:
            return
        definition = {
            "Namespace": NAMESPACE,
            "Dimensions": [["stage"], ["stage", dimension]] if dimension else [["stage"]],
            "Metrics": [{"Name": metric, "Unit": "Count"}],
        }
        line = {
            "_aws": {"Timestamp": self._clock(), "CloudWatchMetrics": [definition]},
            "stage": self._stage,
            **fields,
            metric: value,
        }
        self._write(json.dumps(line))

    def span(self, name: str, **annotations: str) -> AbstractContextManager[Any]:
        """Time what happens inside as an X-Ray subsegment; costs nothing where the trace is not sampled."""
        if SAMPLED not in self.trace():
            return UNTRACED
        return _subsegment(name, annotations)


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
        raise
    finally:
        xray_recorder.end_subsegment()


def stdout(line: str) -> None:
    """A line to standard output, where Lambda takes its logs from."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
