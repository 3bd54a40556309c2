"""Events as they are recorded, read from the consumer's log."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from ops.stage import Stage

EVERY = 1.0  # seconds
LATE = 15_000  # milliseconds by which CloudWatch may show a line late
RECORDED = '"recorded"'  # CloudWatch's own filter: lines with this word


def tail(
    stage: Stage, clock: Callable[[], int], pause: Callable[[float], object], since: int | None = None
) -> Iterator[dict[str, Any]]:
    """Without end: each recorded event's line, once, from now on, or from that instant in milliseconds."""
    began = reads_from = clock() if since is None else since
    seen: set[str] = set()
    while True:
        lines = _lines(stage, reads_from)
        reads_from = max(began, clock() - LATE)
        for line in lines:
            if line["eventId"] not in seen:
                seen.add(line["eventId"])
                yield _fields(line)
        pause(EVERY)


def _lines(stage: Stage, since: int) -> Iterator[dict[str, Any]]:
    pages = stage.client("logs").get_paginator("filter_log_events")
    group = stage.names.log_group("process")
    for page in pages.paginate(logGroupName=group, startTime=since, filterPattern=RECORDED):
        yield from (each for each in page["events"] if '"message": "recorded"' in each["message"])


def _fields(line: dict[str, Any]) -> dict[str, Any]:
    """What the line says, without what is there for CloudWatch's metrics alone."""
    fields: dict[str, Any] = json.loads(line["message"])
    fields.pop("_aws", None)
    return {"at": line["timestamp"], **fields}
