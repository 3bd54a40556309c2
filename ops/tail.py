"""Events as they are recorded, or milestones as handlers are notified of them: from the consumer's log."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from chalicelib.reactions import KINDS
from ops.stage import Stage

EVERY = 1.0  # seconds
# A record, and what of it was reached; a raw event is no milestone.
MILESTONE = re.compile(rf"(.+?)/((?:{'|'.join(map(re.escape, KINDS))})[a-z_.]+)(?:/.*)?")
LATE = 15_000  # milliseconds by which CloudWatch may show a line late
RECORDED, HANDLED = "recorded", "handled"  # what a line says


def tail(
    stage: Stage,
    clock: Callable[[], int],
    pause: Callable[[float], object],
    since: int | None = None,
    message: str = RECORDED,
) -> Iterator[dict[str, Any]]:
    """Without end: each line with that message, once, from now on, or from that instant in milliseconds."""
    began = reads_from = clock() if since is None else since
    seen: set[str] = set()
    while True:
        lines = _lines(stage, reads_from, message)
        reads_from = max(began, clock() - LATE)
        for line in lines:
            if line["eventId"] not in seen:
                seen.add(line["eventId"])
                yield _fields(line)
        pause(EVERY)


def milestones(lines: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of lines that say what handlers have handled: each milestone once, with its record and its type."""
    seen: set[str] = set()
    for line in lines:
        named = MILESTONE.fullmatch(line["task"])
        if named and line["task"] not in seen:
            seen.add(line["task"])
            yield {"at": line["at"], "id": line["task"], "subject": named[1], "type": named[2]}


def _lines(stage: Stage, since: int, message: str) -> Iterator[dict[str, Any]]:
    pages = stage.client("logs").get_paginator("filter_log_events")
    group = stage.names.log_group("process")
    for page in pages.paginate(logGroupName=group, startTime=since, filterPattern=f'"{message}"'):
        yield from (each for each in page["events"] if f'"message": "{message}"' in each["message"])


def _fields(line: dict[str, Any]) -> dict[str, Any]:
    """What the line says, without what is there for CloudWatch's metrics alone."""
    fields: dict[str, Any] = json.loads(line["message"])
    fields.pop("_aws", None)
    return {"at": line["timestamp"], **fields}
