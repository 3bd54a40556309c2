"""What is set aside: events that cannot be recorded, with the reason; and why an event failed so far."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from chalicelib.errors import VersionMoved
from chalicelib.table import (
    Item,
    Table,
    key,
    number,
    packed,
    projected,
    raise_if_condition_fails,
    string,
    unpacked,
)
from chalicelib.times import sortable

PARKED = "parked"
BY_DAY = "by-day"
# why an event is parked for which no failure was noted
DIED = "the consumer stopped or ran out of time"
NOT_PARKED_ANEW = "parked_at = :parked_at"
NOTED = 30 * 24 * 3600  # seconds; the queues keep a message for 14 days each
SHOWN = ("subject", "entry", "reason", "attempts", "parked_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedEvent:
    """A message that was set aside. ``parked_at`` is ``None`` while it is still being tried."""

    subject: str
    event_id: str
    reason: str
    attempts: int
    parked_at: int | None
    message: str


class Parking:
    """All that one stage has set aside."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def note_failure(self, subject: str, event_id: str, reason: str, attempts: int, now: int) -> None:
        """Keep why an event could not be recorded yet, for as long as it can be on the queues."""
        self._table.update(
            subject,
            f"{PARKED}:{event_id}",
            "SET reason = :reason, attempts = :attempts, expires_at = :expires",
            {
                ":reason": string(reason),
                ":attempts": number(attempts),
                ":expires": number(now // 1000 + NOTED),
            },
        )

    def forget_failure(self, subject: str, event_id: str) -> None:
        """The event is recorded after all."""
        self._table.delete(subject, f"{PARKED}:{event_id}")

    def unpark(self, parked: ParkedEvent) -> None:
        """It was sent again; unless it was parked anew meanwhile."""
        with suppress(VersionMoved), raise_if_condition_fails(VersionMoved(parked.subject)):
            self._table.call(
                "DeleteItem",
                Key=key(parked.subject, f"{PARKED}:{parked.event_id}"),
                ConditionExpression=NOT_PARKED_ANEW,
                ExpressionAttributeValues={":parked_at": number(parked.parked_at or 0)},
            )

    def park(self, subject: str, event_id: str, message: str, attempts: int, now: int) -> None:
        """Set a message aside, with the reason that was noted; it stays until it is redriven."""
        self._table.update(
            subject,
            f"{PARKED}:{event_id}",
            "SET reason = if_not_exists(reason, :died), attempts = :attempts, parked_at = :now,"
            " message = :message, #day = :parked, listed = :listed REMOVE expires_at",
            {
                ":died": string(DIED),
                ":attempts": number(attempts),
                ":now": number(now),
                ":message": packed(message.encode()),  # as text it may be too large
                ":parked": string(PARKED),
                ":listed": string(f"{sortable(now)}#{subject}#{event_id}"),
            },
            {"#day": "day"},
        )

    def parked(self) -> Iterator[ParkedEvent]:
        """All that is set aside, the newest first."""
        found = self._table.query(
            IndexName=BY_DAY,
            KeyConditionExpression="#day = :parked",
            ExpressionAttributeNames={"#day": "day"},
            ExpressionAttributeValues={":parked": string(PARKED)},
            ScanIndexForward=False,
        )
        for item in found:
            parked = self.parked_event(item["subject"]["S"], item["entry"]["S"].partition(":")[2])
            if parked:
                yield parked

    def parked_page(self, limit: int, below: str | None = None) -> tuple[list[ParkedEvent], str | None]:
        """Some of what is set aside, newest first, without its messages; and the place to go on below."""
        place = "AND #listed < :below" if below else ""
        answer = self._table.call(
            "Query",
            IndexName=BY_DAY,
            KeyConditionExpression=f"#day = :parked {place}".strip(),
            ExpressionAttributeNames={"#day": "day", **({"#listed": "listed"} if below else {})},
            ExpressionAttributeValues={
                ":parked": string(PARKED),
                **({":below": string(below)} if below else {}),
            },
            ScanIndexForward=False,
            Limit=limit,
        )
        found = self._table.each(
            [key(each["subject"]["S"], each["entry"]["S"]) for each in answer["Items"]],
            **projected(*SHOWN, "listed"),
        )
        parked = [each for each in found if "listed" in each]  # not what is being tried again just now
        items = sorted(parked, key=lambda each: each["listed"]["S"], reverse=True)
        last = answer["Items"][-1]["listed"]["S"] if "LastEvaluatedKey" in answer else None
        return [parked_event(each) for each in items], last

    def parked_event(self, subject: str, event_id: str) -> ParkedEvent | None:
        found = self._table.each(
            [key(subject, f"{PARKED}:{event_id}")], ConsistentRead=True, **projected(*SHOWN, "message")
        )
        return next((parked_event(item) for item in found if "reason" in item), None)


def parked_event(item: Item) -> ParkedEvent:
    parked_at = item.get("parked_at")
    return ParkedEvent(
        subject=item["subject"]["S"],
        event_id=item["entry"]["S"].partition(":")[2],
        reason=item["reason"]["S"],
        attempts=int(item["attempts"]["N"]),
        parked_at=int(parked_at["N"]) if parked_at else None,
        message=unpacked(item["message"]).decode() if "message" in item else "",
    )
