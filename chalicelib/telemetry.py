"""What the outside hears of Daybook: one JSON line an outcome, and metrics in Embedded Metric Format.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import sys
from collections.abc import Callable
from typing import Any

NAMESPACE = "Daybook"


class Telemetry:
    """Lines to ``write``. Fields are ids, types, counts, durations: never a payload, a header, a name.

    Without ``metrics`` only the log is written: for a person at a terminal.
    """

    def __init__(
        self, stage: str, clock: Callable[[], int], write: Callable[[str], Any], metrics: bool = True
    ) -> None:
        self._stage = stage
        self._clock = clock
        self._write = write
        self._metrics = metrics

    def log(self, message: str, level: str = "INFO", **fields: object) -> None:
        self._write(json.dumps({"level": level, "message": message, **fields}))

    def count(self, metric: str, **fields: object) -> None:
        """One more of ``metric``. ``provider`` and ``reason`` are its dimensions, all else is detail."""
        if not self._metrics:
            return
        dimensions = ["stage", *(name for name in ("provider", "reason") if name in fields)]
        definition = {
            "Namespace": NAMESPACE,
            "Dimensions": [dimensions],
            "Metrics": [{"Name": metric, "Unit": "Count"}],
        }
        line = {
            "_aws": {"Timestamp": self._clock(), "CloudWatchMetrics": [definition]},
            "stage": self._stage,
            **fields,
            metric: 1,
        }
        self._write(json.dumps(line))


def stdout(line: str) -> None:
    """A line to standard output, where Lambda takes its logs from."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
