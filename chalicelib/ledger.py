"""The table: what is kept under which key, and the one transaction that records an event.

    subject (partition)   entry (sort)        holds
    stripe:pi_…           payment             facts, the payment computed from them, version, outbox
    stripe:pi_…           event:evt_…         one event, with its body as it came (zlib)
    stripe:pi_…           parked:evt_…        why an event is not recorded, and its body
    calendar              2026-11-24          a day on which a payment was created
    certificate           https://…           a signing certificate
    transmission:…        transmission        the digest of the one body that it stands for; expires

Three sparse indexes: ``by-reference`` (provider event ids), ``by-day`` (payments by day and time; and all
that is parked, under the day ``parked``), ``by-inconsistency`` (payments that are not consistent, by when
they became so).
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any

from chalicelib.aws import Caller
from chalicelib.errors import AwsError, DaybookError, Distrusted, DuplicateEvent, VersionMoved
from chalicelib.events import Event
from chalicelib.payments import Facts, project
from chalicelib.reactions import Task
from chalicelib.times import from_iso, sortable, to_iso

BY_REFERENCE = "by-reference"
BY_DAY = "by-day"
BY_INCONSISTENCY = "by-inconsistency"
PAYMENT = "payment"
CALENDAR = "calendar"
CERTIFICATE = "certificate"
PARKED = "parked"

# why an event is parked for which no failure was noted
DIED = "the consumer stopped or ran out of time"

OUTBOX = ("version", "outbox", "leased_until")
NOT_THERE_YET = "attribute_not_exists(entry)"
VERSION_NOT_MOVED = "version = :version"
NOT_PARKED_ANEW = "parked_at = :parked_at"
SAME_BODY = "attribute_not_exists(entry) OR digest = :digest"
# Seconds: longer than a transmission's time is accepted and a message can wait on the queues.
TRANSMISSION_KEPT = 40 * 24 * 3600


@dataclass(frozen=True, slots=True)
class StoredPayment:
    """A payment's facts and the version they were read at; version 0 is not stored yet.

    ``inconsistent_since`` is when it was first written so, in milliseconds; ``None`` while it is consistent.
    """

    facts: Facts
    version: int
    outbox: "Outbox"
    inconsistent_since: int | None = None


@dataclass(frozen=True, slots=True)
class Outbox:
    """What handlers are still to hear, at the version it was read at. ``leased_until`` in milliseconds."""

    subject: str
    entry: str
    version: int
    tasks: tuple[Task, ...] = ()
    leased_until: int = 0


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event entry. Instants in milliseconds; ``body`` as the provider sent it."""

    subject: str
    id: str
    type: str
    created_at: int
    received_at: int
    body: bytes
    completed: bytes | None = None

    @property
    def content(self) -> bytes:
        """What the event's facts are read from."""
        return self.completed or self.body

    def to_dict(self) -> dict[str, str]:
        return {
            "id": self.id,
            "type": self.type,
            "created_at": to_iso(self.created_at),
            "received_at": to_iso(self.received_at),
        }


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """A message that was set aside. ``parked_at`` is ``None`` while it is still being tried."""

    subject: str
    event_id: str
    reason: str
    attempts: int
    parked_at: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Write:
    """An event to be recorded, and the payment that it makes: ``facts``, ``None`` where it proves nothing.

    ``outbox.version`` is one above that of the payment that ``facts`` were joined to. ``since`` is when the
    payment became inconsistent, if it is. ``transmission`` is an id that may stand for this body only.
    """

    event: Event
    body: bytes
    outbox: Outbox
    facts: Facts | None = None
    since: int = 0
    transmission: str | None = None


class Ledger:
    """One stage's table."""

    def __init__(self, aws: Caller, table: str) -> None:
        self._aws = aws
        self._table = table
        self._days: set[str] = set()

    # ── record ──────────────────────────────────────────────────────────────────────────────────

    def payment(self, subject: str) -> StoredPayment:
        """The payment as last written."""
        item = self._get(subject, PAYMENT)
        return _stored_payment(item) if item else StoredPayment({}, 0, Outbox(subject, PAYMENT, 0))

    def payments(self, subjects: Iterable[str]) -> dict[str, StoredPayment]:
        """The payments of up to 100 subjects as last written, in one read. Some may be left out."""
        keys = [_key(subject, PAYMENT) for subject in subjects]
        wanted = {self._table: {"Keys": keys, "ConsistentRead": True}}
        answer = self._aws("dynamodb", "BatchGetItem", RequestItems=wanted)
        skipped = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", ())
        asked = {key["subject"]["S"] for key in keys} - {key["subject"]["S"] for key in skipped}
        found = {item["subject"]["S"]: _stored_payment(item) for item in answer["Responses"][self._table]}
        nothing = {subject: StoredPayment({}, 0, Outbox(subject, PAYMENT, 0)) for subject in asked}
        return {**nothing, **found}

    def save(self, write: Write) -> None:
        """Record an event and the payment that it makes with its outbox, or nothing.

        Raises ``Distrusted`` if its transmission stands for another body, ``DuplicateEvent`` if the event is
        recorded already, ``VersionMoved`` if the payment was written since it was read.
        """
        puts = self._puts(write)
        if len(puts) == 1:
            with _unless_it_holds(DuplicateEvent(write.event.key)):
                self._aws("dynamodb", "PutItem", **puts[0])
            return
        [refused] = self._transact([write]) or [None]
        if refused:
            raise refused

    def save_all(self, writes: Sequence[Write]) -> list[Write]:
        """Record the events of several subjects together; those that were. At most 33, in 4 MB.

        Where one cannot be recorded, the others are tried once more without it.
        """
        refused = self._transact(writes)
        left = [write for write, why in zip(writes, refused, strict=False) if why is None]
        if not refused:
            return list(writes)
        return left if left and not self._transact(left) else []

    def _transact(self, writes: Sequence[Write]) -> list[DaybookError | None]:
        """Write all or nothing: an empty list, or for each write why it must not be written."""
        puts = [self._puts(write) for write in writes]
        items = [{"Put": put} for group in puts for put in group]
        try:
            self._aws(
                "dynamodb", "TransactWriteItems", TransactItems=items, ClientRequestToken=_token(writes)
            )
        except AwsError as error:
            codes = iter([reason.get("Code", "") for reason in error.reasons])
            of_each = [list(islice(codes, len(group))) for group in puts]
            refused = [_refusal(write, of) for write, of in zip(writes, of_each, strict=True)]
            if not any(refused):
                raise
            return refused
        return []

    def _puts(self, write: Write) -> list[dict[str, Any]]:
        """The writes of one event: its entry, its transmission and its payment where there are such."""
        event = _event_item(write.event, write.body)
        if write.facts is None:
            event |= _outbox_attributes(write.outbox)
        puts: list[dict[str, Any]] = [
            {"TableName": self._table, "Item": event, "ConditionExpression": NOT_THERE_YET}
        ]
        if write.transmission:
            puts.append({"TableName": self._table, **_held_to_one_body(write)})
        if write.facts is not None:
            item = _payment_item(write.event.subject, write.facts, write.since)
            self._mark_day(item["day"]["S"])
            item |= _outbox_attributes(write.outbox)
            puts.append(
                {"TableName": self._table, "Item": item, **_version_not_moved(write.outbox.version - 1)}
            )
        return puts

    def save_payment(
        self, subject: str, facts: Facts, stored: StoredPayment, tasks: tuple[Task, ...], now: int
    ) -> None:
        """Write a payment anew from its events, with more for handlers to hear. Raises ``VersionMoved``."""
        since = stored.inconsistent_since or now
        outbox = replace(stored.outbox, version=stored.version + 1, tasks=(*stored.outbox.tasks, *tasks))
        item = {**_payment_item(subject, facts, since), **_outbox_attributes(outbox)}
        self._mark_day(item["day"]["S"])
        with _unless_it_holds(VersionMoved(subject)):
            self._call("PutItem", Item=item, **_version_not_moved(stored.version))

    def outbox(self, subject: str, entry: str) -> Outbox:
        """What handlers are still to hear of a payment, or of an event without one."""
        item = self._get(subject, entry)
        return _outbox(item) if item else Outbox(subject, entry, 0)

    def write_outbox(self, outbox: Outbox) -> Outbox:
        """The outbox as it is once written. Raises ``VersionMoved`` if it changed since it was read."""
        written = replace(outbox, version=outbox.version + 1)
        attributes = _outbox_attributes(written)
        sets = ", ".join(f"#{name} = :{name}" for name in attributes)
        gone = [f"#{name}" for name in OUTBOX if name not in attributes]
        with _unless_it_holds(VersionMoved(outbox.subject)):
            self._call(
                "UpdateItem",
                Key=_key(outbox.subject, outbox.entry),
                UpdateExpression=f"SET {sets}" + (f" REMOVE {', '.join(gone)}" if gone else ""),
                ConditionExpression="#version = :was",
                ExpressionAttributeNames={f"#{name}": name for name in OUTBOX},
                ExpressionAttributeValues={
                    **{f":{name}": value for name, value in attributes.items()},
                    ":was": {"N": str(outbox.version)},
                },
            )
        return written

    def _mark_day(self, day: str) -> None:
        """Put the day into the calendar, once a process, before the first payment of that day is written."""
        if day not in self._days:
            self._put({"subject": _s(CALENDAR), "entry": _s(day)})
            self._days.add(day)

    # ── read ────────────────────────────────────────────────────────────────────────────────────

    def events(self, subject: str) -> Iterator[StoredEvent]:
        """All events of a subject, in the order of their keys."""
        for item in self._query(
            KeyConditionExpression="subject = :subject AND begins_with(entry, :event)",
            ExpressionAttributeValues={":subject": _s(subject), ":event": _s("event:")},
            ConsistentRead=True,
        ):
            yield _stored_event(item)

    def subjects(self) -> Iterator[str]:
        """Every subject that has an event, once. Reads the whole table, page by page."""
        items = self._pages("Scan", ProjectionExpression="subject, entry")
        keys = ((item["subject"]["S"], item["entry"]["S"]) for item in items)
        events = (subject for subject, entry in keys if entry.startswith("event:"))
        for subject, _ in groupby(events):  # a scan returns a partition's items one after the other
            yield subject

    def event(self, subject: str, event_id: str) -> StoredEvent | None:
        item = self._get(subject, f"event:{event_id}")
        return _stored_event(item) if item else None

    def referred(self, reference: str) -> list[tuple[str, str]]:
        """The keys (subject, entry) that ``provider:id`` is known by: an event's, a connected payment's."""
        found = self._query(
            IndexName=BY_REFERENCE,
            KeyConditionExpression="#reference = :reference",
            ExpressionAttributeNames={"#reference": "reference"},
            ExpressionAttributeValues={":reference": _s(reference)},
        )
        return [(item["subject"]["S"], item["entry"]["S"]) for item in found]

    def days(self, since: str, until: str) -> list[str]:
        """The days with payments from ``since`` to ``until`` (``YYYY-MM-DD``), newest first."""
        found = self._query(
            KeyConditionExpression="subject = :calendar AND entry BETWEEN :since AND :until",
            ExpressionAttributeValues={
                ":calendar": _s(CALENDAR),
                ":since": _s(since),
                ":until": _s(until),
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
            ":day": _s(day),
            ":since": _s(since),
            ":until": _s(until),
            **{f":{name}": _s(value) for name, value in wanted.items()},
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
            ExpressionAttributeValues={":yes": _s("yes"), ":until": {"N": str(until)}},
        )
        for item in found:
            yield item["subject"]["S"]

    # ── parked ──────────────────────────────────────────────────────────────────────────────────

    def note_failure(self, subject: str, event_id: str, reason: str, attempts: int) -> None:
        """Keep why an event could not be recorded yet."""
        self._update(
            subject,
            f"{PARKED}:{event_id}",
            "SET reason = :reason, attempts = :attempts",
            {":reason": _s(reason), ":attempts": {"N": str(attempts)}},
        )

    def forget_failure(self, subject: str, event_id: str) -> None:
        """The event is recorded after all."""
        self._call("DeleteItem", Key=_key(subject, f"{PARKED}:{event_id}"))

    def unpark(self, parked: ParkedEvent) -> None:
        """It was sent again; unless it was parked anew meanwhile."""
        with suppress(VersionMoved), _unless_it_holds(VersionMoved(parked.subject)):
            self._call(
                "DeleteItem",
                Key=_key(parked.subject, f"{PARKED}:{parked.event_id}"),
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
                ":died": _s(DIED),
                ":attempts": {"N": str(attempts)},
                ":now": {"N": str(now)},
                ":message": {"B": zlib.compress(message.encode(), 6)},  # as text it may be too large
                ":parked": _s(PARKED),
                ":listed": _s(f"{sortable(now)}#{subject}#{event_id}"),
            },
            {"#day": "day"},
        )

    def parked(self) -> Iterator[ParkedEvent]:
        """All that is set aside, the newest first."""
        found = self._query(
            IndexName=BY_DAY,
            KeyConditionExpression="#day = :parked",
            ExpressionAttributeNames={"#day": "day"},
            ExpressionAttributeValues={":parked": _s(PARKED)},
            ScanIndexForward=False,
        )
        for key in found:
            parked = self.parked_event(key["subject"]["S"], key["entry"]["S"].partition(":")[2])
            if parked:
                yield parked

    def parked_event(self, subject: str, event_id: str) -> ParkedEvent | None:
        item = self._get(subject, f"{PARKED}:{event_id}")
        if item is None:
            return None
        parked_at = item.get("parked_at")
        return ParkedEvent(
            subject=subject,
            event_id=event_id,
            reason=item["reason"]["S"],
            attempts=int(item["attempts"]["N"]),
            parked_at=int(parked_at["N"]) if parked_at else None,
            message=_unpacked(item["message"]).decode() if "message" in item else "",
        )

    # ── certificates ────────────────────────────────────────────────────────────────────────────

    def certificate(self, url: str) -> bytes | None:
        item = self._get(CERTIFICATE, url)
        return base64.b64decode(item["pem"]["B"]) if item else None

    def keep_certificate(self, url: str, pem: bytes) -> None:
        self._put({"subject": _s(CERTIFICATE), "entry": _s(url), "pem": {"B": pem}})

    # ── the table itself ────────────────────────────────────────────────────────────────────────

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self._aws("dynamodb", operation, TableName=self._table, **request)

    def _get(self, subject: str, entry: str) -> dict[str, Any] | None:
        return self._call("GetItem", Key=_key(subject, entry), ConsistentRead=True).get("Item")

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
            Key=_key(subject, entry),
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


def _s(text: str) -> Any:
    return {"S": text}


def _key(subject: str, entry: str) -> Any:
    return {"subject": _s(subject), "entry": _s(entry)}


def _event_item(event: Event, body: bytes) -> dict[str, Any]:
    item = {
        "subject": _s(event.subject),
        "entry": _s(f"event:{event.id}"),
        "reference": _s(event.key),
        "type": _s(event.type),
        "created_at": {"N": str(event.created_at)},
        "received_at": {"N": str(event.received_at)},
        "body": {"B": zlib.compress(body, 6)},
    }
    if event.livemode is not None:
        item["livemode"] = {"BOOL": event.livemode}
    if event.account:
        item["account"] = _s(event.account)
    if event.completed:
        item["completed"] = {"B": zlib.compress(event.completed, 6)}
    if event.api_version:
        item["api_version"] = _s(event.api_version)
    return item


def _version_not_moved(version: int) -> Any:
    """The condition under which a payment that was read at ``version`` may be written."""
    if not version:
        return {"ConditionExpression": NOT_THERE_YET}
    return {
        "ConditionExpression": VERSION_NOT_MOVED,
        "ExpressionAttributeValues": {":version": {"N": str(version)}},
    }


def _payment_item(subject: str, facts: Facts, since: int) -> dict[str, Any]:
    payment = project(subject, facts)
    item = {
        "subject": _s(subject),
        "entry": _s(PAYMENT),
        "facts": _s(json.dumps(facts, sort_keys=True)),
        "view": _s(json.dumps(payment.to_dict())),
        "provider": _s(payment.provider),
        "status": _s(payment.status),
        "day": _s(payment.created_at[:10]),
        "listed": _s(f"{sortable(from_iso(payment.created_at))}#{payment.id}"),
    }
    if payment.account:  # so that it is found without naming the account
        item["reference"] = _s(f"{payment.provider}:{subject.rpartition(':')[2]}")
    if not payment.consistent:
        item |= {"inconsistent": _s("yes"), "inconsistent_since": {"N": str(since)}}
    return item


def _outbox_attributes(outbox: Outbox) -> dict[str, Any]:
    """An empty outbox is no attribute, and has no lease."""
    version = {"version": {"N": str(outbox.version)}}
    if not outbox.tasks:
        return version
    tasks = json.dumps([task.to_dict() for task in outbox.tasks])
    return {**version, "outbox": _s(tasks), "leased_until": {"N": str(outbox.leased_until)}}


def _outbox(item: dict[str, Any]) -> Outbox:
    tasks = json.loads(item["outbox"]["S"]) if "outbox" in item else []
    return Outbox(
        subject=item["subject"]["S"],
        entry=item["entry"]["S"],
        version=int(item["version"]["N"]) if "version" in item else 0,
        tasks=tuple(Task.from_dict(task) for task in tasks),
        leased_until=int(item["leased_until"]["N"]) if "leased_until" in item else 0,
    )


def _stored_payment(item: dict[str, Any]) -> StoredPayment:
    outbox = _outbox(item)
    since = int(item["inconsistent_since"]["N"]) if "inconsistent_since" in item else None
    return StoredPayment(json.loads(item["facts"]["S"]), outbox.version, outbox, since)


def _stored_event(item: dict[str, Any]) -> StoredEvent:
    return StoredEvent(
        subject=item["subject"]["S"],
        id=item["entry"]["S"].partition(":")[2],
        type=item["type"]["S"],
        created_at=int(item["created_at"]["N"]),
        received_at=int(item["received_at"]["N"]),
        body=_unpacked(item["body"]),
        completed=_unpacked(item["completed"]) if "completed" in item else None,
    )


def _unpacked(attribute: dict[str, str]) -> bytes:
    return zlib.decompress(base64.b64decode(attribute["B"]))


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


def _held_to_one_body(write: Write) -> dict[str, Any]:
    """A transmission's entry, and that it may be written again for the same body only."""
    digest = _s(hashlib.sha256(write.body).hexdigest())
    expires = write.event.received_at // 1000 + TRANSMISSION_KEPT
    return {
        "Item": {
            "subject": _s(f"transmission:{write.transmission}"),
            "entry": _s("transmission"),
            "digest": digest,
            "expires_at": {"N": str(expires)},
        },
        "ConditionExpression": SAME_BODY,
        "ExpressionAttributeValues": {":digest": digest},
    }


def _refusal(write: Write, codes: list[str]) -> DaybookError | None:
    """What a canceled transaction says of one write: of its event, its transmission, its payment, in turn."""
    if write.transmission and codes[1:2] == ["ConditionalCheckFailed"]:
        return Distrusted("tampered")
    if codes[:1] == ["ConditionalCheckFailed"]:
        return DuplicateEvent(write.event.key)
    if {"ConditionalCheckFailed", "TransactionConflict"} & set(codes):
        return VersionMoved(write.event.subject)
    return None
