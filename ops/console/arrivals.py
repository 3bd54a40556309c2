"""What the logs say of one payment: when its events arrived, how often, and how its handlers ended."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from ops.stage import Stage

PAGES = 5  # of a log that are looked through
BEFORE = 3_600_000  # milliseconds before the payment began
AFTER = 90 * 86_400_000
MOST = 500  # lines


@dataclass(frozen=True, slots=True)
class Logged:
    """``deliveries``: instants (ms) by event id. ``runs``: of handlers. ``complete``: all was read."""

    deliveries: dict[str, list[int]]
    runs: list[dict[str, Any]]
    complete: bool


def logged(stage: Stage, subject: str, since: int) -> Logged:
    """From the logs of the app and of the consumer, as far as they are kept."""
    deliveries: dict[str, list[int]] = {}
    runs: list[dict[str, Any]] = []
    complete = True
    for group in (stage.names.log_group(), stage.names.log_group("process")):
        lines, whole = _lines(stage, group, subject, since)
        complete = complete and whole
        for line in lines:
            fields = line["fields"]
            if fields.get("message") == "accepted" and fields.get("subject") == subject:
                deliveries.setdefault(str(fields["event_id"]), []).append(line["at"])
            elif fields.get("message") in ("handled", "handler failed"):
                runs.append({"at": line["at"], **fields})
    return Logged(deliveries, sorted(runs, key=lambda each: each["at"]), complete)


def _lines(stage: Stage, group: str, subject: str, since: int) -> tuple[list[dict[str, Any]], bool]:
    """Lines of a group that name the subject; and whether that were all."""
    client = stage.client("logs")
    request: dict[str, Any] = {
        "logGroupName": group,
        "startTime": max(0, since - BEFORE),
        "endTime": since + AFTER,
        "filterPattern": f'"{subject}"',
    }
    found: list[dict[str, Any]] = []
    for _ in range(PAGES):
        try:
            answer: Mapping[str, Any] = client.filter_log_events(**request)
        except ClientError:  # no such group, or none of ours to read
            return found, False
        found += list(_parsed(answer["events"]))
        if "nextToken" not in answer:
            return found, True
        if len(found) >= MOST:
            break
        request["nextToken"] = answer["nextToken"]
    return found, False


def _parsed(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in events:
        try:
            fields = json.loads(each["message"])
        except ValueError:
            continue
        if isinstance(fields, dict):
            yield {"at": each["timestamp"], "fields": fields}
