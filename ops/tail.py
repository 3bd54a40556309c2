"""Events as they are recorded, read from the consumer's log."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from ops.stage import Stage

EVERY = 1.0  # seconds
LATE = 15_000  # milliseconds by which CloudWatch may show a line late
RECORDED = '"recorded"'  # CloudWatch's own filter: lines with this word


def tail(
    stage: Stage, clock: Callable[[], int], pause: Callable[[float], object]
) -> Iterator[dict[str, Any]]:
    """Without end: each recorded event's line, once, from now on."""
    began = clock()
    seen: set[str] = set()
    while True:
        for line in _lines(stage, max(began, clock() - LATE)):
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
