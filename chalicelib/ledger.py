"""The table's operations, and the one transaction that records an event. What it holds: ``entries.py``."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import groupby
from typing import Any

from chalicelib import entries
from chalicelib.aws import Caller
from chalicelib.entries import PAYMENT, Outbox, ParkedEvent, StoredEvent, StoredPayment, Write, key, string
from chalicelib.errors import TAMPERED, AwsError, DaybookError, Distrusted, DuplicateEvent, VersionMoved
from chalicelib.payments import Facts
from chalicelib.times import sortable

BY_REFERENCE = "by-reference"
BY_DAY = "by-day"
BY_INCONSISTENCY = "by-inconsistency"
BY_CUSTOMER = "by-customer"
CALENDAR = "calendar"
CERTIFICATE = "certificate"
PARKED = "parked"
CHECKPOINT = "checkpoint"

# why an event is parked for which no failure was noted
DIED = "the consumer stopped or ran out of time"

NOT_THERE_YET = "attribute_not_exists(entry)"
VERSION_NOT_MOVED = "version = :version"
NOT_PARKED_ANEW = "parked_at = :parked_at"
SAME_BODY = "attribute_not_exists(entry) OR digest = :digest"
STILL_THERE = "attribute_exists(entry)"
# Seconds: longer than a transmission's time is accepted and a message can wait on the queues.
TRANSMISSION_KEPT = 40 * 24 * 3600


class Ledger:
    """One stage's table. ``bodies_expire``: events' bodies are marked with the day they came on."""

    def __init__(self, aws: Caller, table: str, bodies_expire: bool = False) -> None:
        self._aws = aws
        self._table = table
        self._bodies_expire = bodies_expire
        self._days: set[str] = set()

    # ── record ──────────────────────────────────────────────────────────────────────────────────

    def payment(self, subject: str) -> StoredPayment:
        """The payment as last written."""
        item = self._get(subject, PAYMENT)
        return entries.stored_payment(item) if item else StoredPayment({}, 0, Outbox(subject, PAYMENT, 0))

    def payments(self, subjects: Iterable[str]) -> dict[str, StoredPayment]:
        """The payments of up to 100 subjects as last written, in one read. Some may be left out."""
        keys = [key(subject, PAYMENT) for subject in subjects]
        wanted = {self._table: {"Keys": keys, "ConsistentRead": True}}
        answer = self._aws("dynamodb", "BatchGetItem", RequestItems=wanted)
        skipped = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", ())
        asked = {each["subject"]["S"] for each in keys} - {each["subject"]["S"] for each in skipped}
        found = {
            item["subject"]["S"]: entries.stored_payment(item) for item in answer["Responses"][self._table]
        }
        nothing = {subject: StoredPayment({}, 0, Outbox(subject, PAYMENT, 0)) for subject in asked}
        return {**nothing, **found}

    def save(self, write: Write) -> None:
        """Record an event and the payment that it makes with its outbox, or nothing.

        Raises ``Distrusted`` if its transmission stands for another body, ``DuplicateEvent`` if an event of
        its id is recorded already, ``VersionMoved`` if the payment was written since it was read.
        """
        [refused] = self._transact([write]) or [None]
        if refused:
            raise refused

    def save_all(self, writes: Sequence[Write]) -> list[Write]:
        """Record the events of several subjects together; those that were. At most 25, in 4 MB.

        Where one cannot be recorded, the others are tried once more without it.
        """
        refused = self._transact(writes)
        left = [write for write, why in zip(writes, refused, strict=False) if why is None]
        if not refused:
            return list(writes)
        return left if left and not self._transact(left) else []

    def hold(self, transmission: str, body: bytes, received_at: int) -> None:
        """Let a transmission stand for that body. Raises ``Distrusted`` if it stands for another."""
        with _unless_it_holds(Distrusted(TAMPERED)):
            self._call("PutItem", **_held_to_one_body(transmission, body, received_at))

    def _transact(self, writes: Sequence[Write]) -> list[DaybookError | None]:
        """Write all or nothing: an empty list, or for each write why it must not be written."""
        puts = [self._puts(write) for write in writes]
        items = [{"Put": put} for group in puts for put in group.values()]
        try:
            self._aws(
                "dynamodb", "TransactWriteItems", TransactItems=items, ClientRequestToken=_token(writes)
            )
        except AwsError as error:
            codes = iter([reason.get("Code", "") for reason in error.reasons])
            of_each = [dict(zip(group, codes, strict=False)) for group in puts]
            refused = [_refusal(write, of) for write, of in zip(writes, of_each, strict=True)]
            if not any(refused):
                raise
            return refused
        return []

    def _puts(self, write: Write) -> dict[str, dict[str, Any]]:
        """The writes of one event: its entry and its id; its transmission and its payment, if there are."""
        event = entries.event_item(write)
        if self._bodies_expire:
            came_on = sortable(write.event.received_at)[:10]
            event |= {"day": entries.bodies_of(came_on), "listed": entries.listed(write.event)}
        puts: dict[str, dict[str, Any]] = {
            "event": {"Item": event, "ConditionExpression": NOT_THERE_YET},
            "id": {"Item": entries.id_item(write.event), "ConditionExpression": NOT_THERE_YET},
        }
        if write.transmission:
            puts["transmission"] = _held_to_one_body(write.transmission, write.body, write.event.received_at)
        if write.facts is not None:
            item = entries.payment_item(write.event.subject, write.facts, write.since)
            self._mark_day(item["day"]["S"])
            item |= entries.outbox_attributes(write.outbox)
            puts["payment"] = {"Item": item, **_version_not_moved(write.outbox.version - 1)}
        return {name: {"TableName": self._table, **put} for name, put in puts.items()}

    def save_payment(self, facts: Facts, outbox: Outbox, since: int) -> None:
        """Write a payment anew from its events, with what handlers are to hear then.

        ``outbox.version`` and ``since`` are as in ``Write``. Raises ``VersionMoved``.
        """
        item = {**entries.payment_item(outbox.subject, facts, since), **entries.outbox_attributes(outbox)}
        self._mark_day(item["day"]["S"])
        with _unless_it_holds(VersionMoved(outbox.subject)):
            self._call("PutItem", Item=item, **_version_not_moved(outbox.version - 1))

    def outbox(self, subject: str, entry: str) -> Outbox:
        """What handlers are still to hear of a payment, or of an event without one."""
        item = self._get(subject, entry)
        return entries.stored_outbox(item) if item else Outbox(subject, entry, 0)

    def write_outbox(self, outbox: Outbox) -> Outbox:
        """The outbox as it is once written. Raises ``VersionMoved`` if it changed since it was read."""
        written = replace(outbox, version=outbox.version + 1)
        attributes = entries.outbox_attributes(written)
        sets = ", ".join(f"#{name} = :{name}" for name in attributes)
        gone = [f"#{name}" for name in entries.OUTBOX if name not in attributes]
        with _unless_it_holds(VersionMoved(outbox.subject)):
            self._call(
                "UpdateItem",
                Key=key(outbox.subject, outbox.entry),
                UpdateExpression=f"SET {sets}" + (f" REMOVE {', '.join(gone)}" if gone else ""),
                ConditionExpression="#version = :was",
                ExpressionAttributeNames={f"#{name}": name for name in entries.OUTBOX},
                ExpressionAttributeValues={
                    **{f":{name}": value for name, value in attributes.items()},
                    ":was": {"N": str(outbox.version)},
                },
            )
        return written

    def _mark_day(self, day: str) -> None:
        """Put the day into the calendar, once a process, before the first payment of that day is written."""
        if day not in self._days:
            self._put({"subject": string(CALENDAR), "entry": string(day)})
            self._days.add(day)

    # ── read ────────────────────────────────────────────────────────────────────────────────────

    def events(self, subject: str) -> Iterator[StoredEvent]:
        """All events of a subject, in the order of their keys."""
        for item in self._query(
            KeyConditionExpression="subject = :subject AND begins_with(entry, :event)",
            ExpressionAttributeValues={":subject": string(subject), ":event": string("event:")},
            ConsistentRead=True,
        ):
            yield entries.stored_event(item)

    def subjects(self) -> Iterator[str]:
        """Every subject that has an event, once. Reads the whole table, page by page."""
        items = self._pages("Scan", ProjectionExpression="subject, entry")
        keys = ((item["subject"]["S"], item["entry"]["S"]) for item in items)
        events = (subject for subject, entry in keys if entry.startswith("event:"))
        for subject, _ in groupby(events):  # a scan returns a partition's items one after the other
            yield subject

    def event(self, subject: str, event_id: str) -> StoredEvent | None:
        item = self._get(subject, f"event:{event_id}")
        return entries.stored_event(item) if item else None

    def subject_of(self, event_key: str) -> str | None:
        """The subject that the event ``provider:id`` is recorded under, if it is."""
        item = self._get(f"id:{event_key}", "id")
        return str(item["of"]["S"]) if item else None

    def recorded(self, event_keys: Iterable[str]) -> set[str]:
        """Those of up to 100 ``provider:id`` that are recorded."""
        found = self._each(Keys=[key(f"id:{name}", "id") for name in event_keys])
        return {item["subject"]["S"].removeprefix("id:") for item in found}

    def referred(self, reference: str) -> list[str]:
        """The subjects of connected accounts' payments whose bare id is in ``provider:id``."""
        found = self._query(
            IndexName=BY_REFERENCE,
            KeyConditionExpression="#reference = :reference",
            ExpressionAttributeNames={"#reference": "reference"},
            ExpressionAttributeValues={":reference": string(reference)},
        )
        return [item["subject"]["S"] for item in found]

    def of_customer(self, customer: str) -> Iterator[tuple[str, str]]:
        """The keys (subject, entry) of a customer's payments and other events, the newest first.

        ``customer`` is ``provider:id``. An event of a payment is not among them: its payment is.
        """
        found = self._query(
            IndexName=BY_CUSTOMER,
            KeyConditionExpression="customer = :customer",
            ExpressionAttributeValues={":customer": string(customer)},
            ScanIndexForward=False,
        )
        for item in found:
            yield item["subject"]["S"], item["entry"]["S"]

    def days(self, since: str, until: str) -> list[str]:
        """The days with payments from ``since`` to ``until`` (``YYYY-MM-DD``), newest first."""
        found = self._query(
            KeyConditionExpression="subject = :calendar AND entry BETWEEN :since AND :until",
            ExpressionAttributeValues={
                ":calendar": string(CALENDAR),
                ":since": string(since),
                ":until": string(until),
            },
            ScanIndexForward=False,
            ConsistentRead=True,
        )
        return [item["entry"]["S"] for item in found]

    def payments_of_day(
        self, day: str, since: str, until: str, limit: int, wanted: dict[str, str]
    ) -> tuple[list[tuple[str, dict[str, Any]]], str | None]:
        """One page of a day's payments, newest first: each with its place, and the place to go on below.

        A place sorts as the payment's time does. ``since`` and ``until`` are places, both inclusive.
        ``wanted`` names the attributes (``status``, ``provider``) that must be equal.
        """
        names = {f"#{name}": name for name in ("day", "listed", *wanted)}
        values = {
            ":day": string(day),
            ":since": string(since),
            ":until": string(until),
            **{f":{name}": string(value) for name, value in wanted.items()},
        }
        request: Any = {
            "IndexName": BY_DAY,
            "KeyConditionExpression": "#day = :day AND #listed BETWEEN :since AND :until",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": False,
            "Limit": limit,
        }
        if wanted:
            request["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in wanted)
        answer = self._call("Query", **request)
        page = [(item["listed"]["S"], json.loads(item["view"]["S"])) for item in answer["Items"]]
        last = answer.get("LastEvaluatedKey")
        return page, last["listed"]["S"] if last else None

    def inconsistent(self, until: int) -> Iterator[str]:
        """The subjects of payments that have not been consistent since ``until`` or longer, oldest first."""
        found = self._query(
            IndexName=BY_INCONSISTENCY,
            KeyConditionExpression="inconsistent = :yes AND inconsistent_since <= :until",
            ExpressionAttributeValues={":yes": string("yes"), ":until": {"N": str(until)}},
        )
        for item in found:
            yield item["subject"]["S"]

    # ── bodies ──────────────────────────────────────────────────────────────────────────────────

    def remove_body(self, subject: str, event_id: str) -> None:
        """Remove an event's body, and nothing else of it: it stays recorded. Can be done again."""
        with suppress(VersionMoved), _unless_it_holds(VersionMoved(subject)):
            self._call(
                "UpdateItem",
                Key=key(subject, f"event:{event_id}"),
                UpdateExpression="REMOVE body, completed, #day",
                ConditionExpression=STILL_THERE,
                ExpressionAttributeNames={"#day": "day"},
            )

    def bodies_of_day(self, day: str) -> Iterator[tuple[str, str]]:
        """The events (subject, id) whose bodies came on that day and are to expire."""
        found = self._query(
            IndexName=BY_DAY,
            KeyConditionExpression="#day = :day",
            ExpressionAttributeNames={"#day": "day"},
            ExpressionAttributeValues={":day": entries.bodies_of(day)},
        )
        for item in found:
            yield item["subject"]["S"], item["entry"]["S"].partition(":")[2]

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────

    def checkpoint(self, name: str) -> dict[str, Any]:
        """What was noted last under that name; empty if nothing was."""
        item = self._get(CHECKPOINT, name)
        noted: dict[str, Any] = json.loads(item["noted"]["S"]) if item else {}
        return noted

    def note_checkpoint(self, name: str, noted: dict[str, Any]) -> None:
        self._put({"subject": string(CHECKPOINT), "entry": string(name), "noted": string(json.dumps(noted))})

    # ── parked ──────────────────────────────────────────────────────────────────────────────────

    def note_failure(self, subject: str, event_id: str, reason: str, attempts: int) -> None:
        """Keep why an event could not be recorded yet."""
        self._update(
            subject,
            f"{PARKED}:{event_id}",
            "SET reason = :reason, attempts = :attempts",
            {":reason": string(reason), ":attempts": {"N": str(attempts)}},
        )

    def forget_failure(self, subject: str, event_id: str) -> None:
        """The event is recorded after all."""
        self._call("DeleteItem", Key=key(subject, f"{PARKED}:{event_id}"))

    def unpark(self, parked: ParkedEvent) -> None:
        """It was sent again; unless it was parked anew meanwhile."""
        with suppress(VersionMoved), _unless_it_holds(VersionMoved(parked.subject)):
            self._call(
                "DeleteItem",
                Key=key(parked.subject, f"{PARKED}:{parked.event_id}"),
                ConditionExpression=NOT_PARKED_ANEW,
                ExpressionAttributeValues={":parked_at": {"N": str(parked.parked_at)}},
            )

    def park(self, subject: str, event_id: str, message: str, attempts: int, now: int) -> None:
        """Set a message aside, with the reason that was noted; it stays until it is redriven."""
        self._update(
            subject,
            f"{PARKED}:{event_id}",
            "SET reason = if_not_exists(reason, :died), attempts = :attempts, parked_at = :now,"
            " message = :message, #day = :parked, listed = :listed",
            {
                ":died": string(DIED),
                ":attempts": {"N": str(attempts)},
                ":now": {"N": str(now)},
                ":message": entries.packed(message.encode()),  # as text it may be too large
                ":parked": string(PARKED),
                ":listed": string(f"{sortable(now)}#{subject}#{event_id}"),
            },
            {"#day": "day"},
        )

    def parked(self) -> Iterator[ParkedEvent]:
        """All that is set aside, the newest first."""
        found = self._query(
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
        answer = self._call(
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
        keys = [key(each["subject"]["S"], each["entry"]["S"]) for each in answer["Items"]]
        if not keys:
            return [], None
        found = self._each(
            Keys=keys,
            ProjectionExpression="subject, entry, #reason, attempts, parked_at, listed",
            ExpressionAttributeNames={"#reason": "reason"},
        )
        parked = [each for each in found if "listed" in each]  # not what is being tried again just now
        items = sorted(parked, key=lambda each: each["listed"]["S"], reverse=True)
        last = answer["Items"][-1]["listed"]["S"] if "LastEvaluatedKey" in answer else None
        return [entries.parked_event(each) for each in items], last

    def parked_event(self, subject: str, event_id: str) -> ParkedEvent | None:
        item = self._get(subject, f"{PARKED}:{event_id}")
        return entries.parked_event(item) if item else None

    # ── certificates ────────────────────────────────────────────────────────────────────────────

    def certificate(self, url: str) -> bytes | None:
        item = self._get(CERTIFICATE, url)
        return base64.b64decode(item["pem"]["B"]) if item else None

    def keep_certificate(self, url: str, pem: bytes) -> None:
        self._put({"subject": string(CERTIFICATE), "entry": string(url), "pem": {"B": pem}})

    # ── the table itself ────────────────────────────────────────────────────────────────────────

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self._aws("dynamodb", operation, TableName=self._table, **request)

    def _get(self, subject: str, entry: str) -> dict[str, Any] | None:
        return self._call("GetItem", Key=key(subject, entry), ConsistentRead=True).get("Item")

    def _each(self, **wanted: Any) -> Iterator[dict[str, Any]]:
        """The items of up to 100 keys that are there, in no order, asked for until all were looked for."""
        left: Any = {self._table: wanted}
        while left:
            answer = self._aws("dynamodb", "BatchGetItem", RequestItems=left)
            yield from answer["Responses"].get(self._table, ())
            left = answer.get("UnprocessedKeys")

    def _put(self, item: Any) -> None:
        self._call("PutItem", Item=item)

    def _update(
        self,
        subject: str,
        entry: str,
        expression: str,
        values: Any,
        names: dict[str, str] | None = None,
    ) -> None:
        extra: Any = {"ExpressionAttributeNames": names} if names else {}
        self._call(
            "UpdateItem",
            Key=key(subject, entry),
            UpdateExpression=expression,
            ExpressionAttributeValues=values,
            **extra,
        )

    def _query(self, **query: Any) -> Iterator[dict[str, Any]]:
        return self._pages("Query", **query)

    def _pages(self, operation: str, **request: Any) -> Iterator[dict[str, Any]]:
        start: Any = {}
        while True:
            answer = self._call(operation, **request, **start)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


def _version_not_moved(version: int) -> Any:
    """The condition under which a payment that was read at ``version`` may be written."""
    if not version:
        return {"ConditionExpression": NOT_THERE_YET}
    return {
        "ConditionExpression": VERSION_NOT_MOVED,
        "ExpressionAttributeValues": {":version": {"N": str(version)}},
    }


@contextmanager
def _unless_it_holds(otherwise: Exception) -> Iterator[None]:
    """Raise ``otherwise`` where the condition of the one write inside does not hold."""
    try:
        yield
    except AwsError as error:
        if error.code == "ConditionalCheckFailedException":
            raise otherwise from None
        raise


def _token(writes: Sequence[Write]) -> str:
    """The same for each attempt at one transaction: one whose answer was lost is not carried out again."""
    digest = hashlib.sha256()
    for w in writes:
        digest.update(f"{w.event.key} {w.event.subject} {w.outbox.version} {w.outbox.leased_until} ".encode())
        digest.update(hashlib.sha256(w.body).digest())
    return digest.hexdigest()[:36]


def _held_to_one_body(transmission: str, body: bytes, received_at: int) -> dict[str, Any]:
    """A transmission's entry, and that it may be written again for the same body only."""
    digest = string(hashlib.sha256(body).hexdigest())
    expires = received_at // 1000 + TRANSMISSION_KEPT
    return {
        "Item": {
            "subject": string(f"transmission:{transmission}"),
            "entry": string("transmission"),
            "digest": digest,
            "expires_at": {"N": str(expires)},
        },
        "ConditionExpression": SAME_BODY,
        "ExpressionAttributeValues": {":digest": digest},
    }


def _refusal(write: Write, codes: dict[str, str]) -> DaybookError | None:
    """What a canceled transaction says of one write, by what was to be put."""
    refused = {name for name, code in codes.items() if code == "ConditionalCheckFailed"}
    if "transmission" in refused:
        return Distrusted(TAMPERED)
    if refused & {"event", "id"}:
        return DuplicateEvent(write.event.key)
    if refused or "TransactionConflict" in codes.values():
        return VersionMoved(write.event.subject)
    return None
