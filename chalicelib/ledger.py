"""The records' operations, and the one transaction that records an event. What it holds: ``entries.py``."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from heapq import merge
from itertools import groupby

from chalicelib import entries, packing
from chalicelib.aws import Caller
from chalicelib.entries import (
    DUE,
    INCONSISTENT,
    NAME,
    UNLISTED,
    WAITING,
    ListedEvent,
    Outbox,
    RecordWrite,
    StoredEvent,
    StoredPayment,
    Write,
    not_stored,
)
from chalicelib.errors import TAMPERED, AwsError, DaybookError, Distrusted, DuplicateEvent, VersionMoved
from chalicelib.kinds import PAYMENT, SUBSCRIPTION, kind_of
from chalicelib.made_of import BY_REFERENCE, MadeOf
from chalicelib.parking import BY_DAY, Parking
from chalicelib.payments import RULES_VERSION
from chalicelib.shelves import CertificateShelf, Checkpoints
from chalicelib.table import (
    Item,
    Request,
    Table,
    key,
    number,
    projected,
    raise_if_condition_fails,
    string,
)
from chalicelib.times import sortable
from chalicelib.transmissions import Transmissions, held_to_one_body
from chalicelib.undelivered import Shelf

BY_INCONSISTENCY = "by-inconsistency"
BY_CUSTOMER = "by-customer"
CALENDAR, BODIES = "calendar", "calendar bodies"
LISTED = ("subject", "entry", "type", "created_at", "received_at", "home", "removed")

NOT_THERE_YET = "attribute_not_exists(entry)"
VERSION_NOT_MOVED = "version = :version"
MOVED = ("ConditionalCheckFailed", "TransactionConflict")
TRIES = 4  # to read a payment whose facts are in parts while others write it
FEWER_SHARDS = "attribute_not_exists(shards) OR shards < :shards"
FILTERED = 25  # entries at least that a query with a filter looks at
STILL_THERE = "attribute_exists(entry)"
IN_TIME = "inconsistent = :what AND inconsistent_since BETWEEN :since AND :until"


class Ledger:
    """One stage's table. ``bodies_expire``: events' bodies are marked with the day they came on.

    ``shards``: the partitions of the listing that a day's payments are spread over; a page asks each of them.
    """

    def __init__(self, aws: Caller, table: str, bodies_expire: bool = False, shards: int = 1) -> None:
        self._table = Table(aws, table)
        self._bodies_expire = bodies_expire
        self._shards = shards
        self._days: set[str] = set()
        self._body_day = ""
        self.parking = Parking(self._table)
        self.checkpoints = Checkpoints(self._table)
        self.made_of = MadeOf(self._table)
        self.certificates = CertificateShelf(self._table)
        self.transmissions = Transmissions(self._table)
        self.undelivered = Shelf(self._table)

    # ── record ──────────────────────────────────────────────────────────────────────────────────

    def payment(self, subject: str) -> StoredPayment:
        """The payment as last written. Raises ``NewerRules``, as do the two below."""
        return self._stored(subject, PAYMENT)

    def subscription(self, subject: str) -> StoredPayment:
        """The subscription as last written."""
        return self._stored(subject, SUBSCRIPTION)

    def record(self, subject: str) -> StoredPayment:
        """Whichever of the kinds it is."""
        return self._stored(subject, kind_of(subject).entry)

    def _stored(self, subject: str, entry: str) -> StoredPayment:
        for _ in range(TRIES):
            item = self._table.get(subject, entry)
            if item is None:
                return replace(not_stored(subject), outbox=Outbox(subject, entry, 0))
            places = packing.keys(item)
            parts = list(self._table.each(places, ConsistentRead=True)) if places else []
            facts = packing.facts(item, parts)
            if facts is not None:  # else it was written in between
                return entries.stored_payment(item, facts)
        raise AwsError(
            "dynamodb", "BatchGetItem", "a payment is written faster than it is read", passing=True
        )

    def payments(self, subjects: Iterable[str]) -> dict[str, StoredPayment]:
        """The records of up to 100 subjects as last written, in one read. Some may be left out.

        So are those that a newer version wrote: read alone, each says so.
        """
        keys = {subject: key(subject, kind_of(subject).entry) for subject in subjects}
        items, skipped = self._table.batch([*keys.values()], ConsistentRead=True)
        found = {item["subject"]["S"]: item for item in items}
        absent = (name for name, each in keys.items() if each not in skipped and name not in found)
        read = ((item, packing.facts(item, ())) for item in items if entries.rules_of(item) <= RULES_VERSION)
        stored = (entries.stored_payment(item, facts) for item, facts in read if facts is not None)
        return {
            **{subject: not_stored(subject) for subject in absent},
            **{each.outbox.subject: each for each in stored},
        }

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

    def _transact(self, writes: Sequence[Write]) -> list[DaybookError | None]:
        """Write all or nothing: an empty list, or for each write why it must not be written."""
        puts = [self._puts(write) for write in writes]
        items = [put for group in puts for put in group.values()]
        try:
            self._table.transact(items)
        except AwsError as error:
            codes = iter([reason.get("Code", "") for reason in error.reasons])
            of_each = [dict(zip(group, codes, strict=False)) for group in puts]
            refused = [_refusal(write, of) for write, of in zip(writes, of_each, strict=True)]
            if not any(refused):
                raise
            return refused
        return []

    def _puts(self, write: Write) -> dict[str, Request]:
        """The writes of one event: its entry and its id; its transmission and its payments, if there are."""
        event = entries.event_item(write)
        if self._bodies_expire:
            came_on = sortable(write.event.received_at)[:10]
            self._mark_body_day(came_on)
            day = entries.sharded(entries.bodies_of(came_on), write.event.subject, self._shards)
            event |= {"day": day, "listed": entries.listed(write.event)}
        puts: dict[str, Request] = {
            "event": {"Item": event, "ConditionExpression": NOT_THERE_YET},
            "id": {"Item": entries.id_item(write), "ConditionExpression": NOT_THERE_YET},
        }
        puts |= {f"name {name}": {"Item": item} for name, item in entries.name_items(write).items()}
        if write.transmission:
            puts["transmission"] = held_to_one_body(write.transmission, write.body, write.event.received_at)
        for record in write.records:
            puts[f"payment {record.subject}"], *parts = self._put(record)
            puts |= {f"part {each['Item']['entry']['S']} {record.subject}": each for each in parts}
            bare = entries.bare_item(record)
            if bare:
                puts[f"bare {record.subject}"] = {"Item": bare}
            if record.subject != write.event.subject:
                pointer = entries.pointer_item(write.event, record.subject)
                puts[f"pointer {record.subject}"] = {
                    "Item": pointer,
                    "ConditionExpression": NOT_THERE_YET,
                }
        return puts

    def _put(self, record: RecordWrite) -> list[Request]:
        payment, *parts = entries.payment_items(record, self._shards)
        if "day" in payment:
            self._mark_day(entries.unsharded(payment["day"]))
        condition = _version_not_moved(record.outbox.version - 1)
        return [{"Item": payment, **condition}, *({"Item": part} for part in parts)]

    def save_payment(self, record: RecordWrite) -> None:
        """Write a payment anew from its events, with its outbox. Raises ``VersionMoved``."""
        puts = self._put(record)
        try:
            self._table.transact(puts)
        except AwsError as error:
            if any(reason.get("Code") in MOVED for reason in error.reasons):
                raise VersionMoved(record.subject) from None
            raise

    def outbox(self, subject: str, entry: str) -> Outbox:
        """What handlers are still to be notified of: by a payment, or by an event without one."""
        item = self._table.get(subject, entry)
        return entries.stored_outbox(item) if item else Outbox(subject, entry, 0)

    def write_outbox(self, outbox: Outbox) -> Outbox:
        """The outbox as it is once written. Raises ``VersionMoved`` if it changed since it was read."""
        written = replace(outbox, version=outbox.version + 1)
        attributes = entries.outbox_attributes(written)
        sets = ", ".join(f"#{name} = :{name}" for name in attributes)
        gone = [f"#{name}" for name in entries.OUTBOX if name not in attributes]
        with raise_if_condition_fails(VersionMoved(outbox.subject)):
            self._table.call(
                "UpdateItem",
                Key=key(outbox.subject, outbox.entry),
                UpdateExpression=f"SET {sets}" + (f" REMOVE {', '.join(gone)}" if gone else ""),
                ConditionExpression="#version = :was",
                ExpressionAttributeNames={f"#{name}": name for name in entries.OUTBOX},
                ExpressionAttributeValues={
                    **{f":{name}": value for name, value in attributes.items()},
                    ":was": number(outbox.version),
                },
            )
        return written

    def _mark_day(self, day: str) -> None:
        """Put the day into its calendar, once a process, before the first record of that day is written."""
        if day not in self._days:
            entry, _, of = day.rpartition(" ")
            self._mark(_calendar_of(entry), of)
            self._days.add(day)

    def _mark_body_day(self, day: str) -> None:
        """The same of bodies that are spread: of the latest day once, of an older one each time.

        It is forgotten when its bodies have expired, and may have more later.
        """
        if self._shards > 1 and day != self._body_day:
            self._mark(BODIES, day)
            self._body_day = max(day, self._body_day)

    def _mark(self, calendar: str, day: str) -> None:
        with suppress(VersionMoved), raise_if_condition_fails(VersionMoved(day)):
            self._table.call(
                "UpdateItem",
                Key=key(calendar, day),
                UpdateExpression="SET shards = :shards",
                ConditionExpression=FEWER_SHARDS,
                ExpressionAttributeValues={":shards": number(self._shards)},
            )

    # ── read ────────────────────────────────────────────────────────────────────────────────────

    def events(self, subject: str) -> Iterator[StoredEvent]:
        """All events about a subject, in the order of their keys; those too whose home is another."""
        for item in self._table.query(**_events_of(subject)):
            yield self._at_home(item)

    def listed_events(self, subject: str) -> list[ListedEvent]:
        """The same without their bodies, in the provider's time."""
        names = projected(*LISTED)
        found = (entries.listed_event(item) for item in self._table.query(**_events_of(subject), **names))
        return sorted(found, key=lambda each: each.place)

    def _at_home(self, item: Item) -> StoredEvent:
        """The event in an entry, or the one that it points to."""
        if "home" not in item:
            return entries.stored_event(item)
        home = self._table.get(item["home"]["S"], item["entry"]["S"])
        if home is None:
            raise AwsError("dynamodb", "GetItem", "the event that an entry points to is gone", passing=False)
        return entries.stored_event(home)

    def subjects(self) -> Iterator[str]:
        """Every subject that has an event, once. Reads the whole table, page by page."""
        items = self._table.pages("Scan", ProjectionExpression="subject, entry")
        keys = ((item["subject"]["S"], item["entry"]["S"]) for item in items)
        events = (subject for subject, entry in keys if entry.startswith("event:"))
        for subject, _ in groupby(events):  # a scan returns a partition's items one after the other
            yield subject

    def event(self, subject: str, event_id: str) -> StoredEvent | None:
        """An event about that subject, if there is one of this id."""
        item = self._table.get(subject, f"event:{event_id}")
        return self._at_home(item) if item else None

    def subject_of(self, event_key: str) -> str | None:
        """The subject that the event ``provider:id`` is recorded under, if it is."""
        item = self._table.get(f"id:{event_key}", "id")
        return str(item["of"]["S"]) if item else None

    def recorded(self, event_keys: Iterable[str]) -> dict[str, str | None]:
        """Those of up to 100 ``provider:id`` that are recorded, and what each is of, where it was noted."""
        found = self._table.each([key(f"id:{name}", "id") for name in event_keys])
        return {item["subject"]["S"].removeprefix("id:"): item.get("said", {}).get("S") for item in found}

    def referred(self, reference: str, entry: str = PAYMENT) -> list[str]:
        """The subjects of one kind's records of that reference; a connected account's by its bare id too."""
        found = self._table.query(
            IndexName=BY_REFERENCE,
            KeyConditionExpression="#reference = :reference",
            ExpressionAttributeNames={"#reference": "reference"},
            ExpressionAttributeValues={":reference": string(reference)},
        )
        bare = self._table.query(
            KeyConditionExpression="subject = :bare",
            ExpressionAttributeValues={":bare": string(f"bare:{reference}")},
        )
        of_kind = [item["subject"]["S"] for item in found if item["entry"]["S"] == entry]
        named = [item["entry"]["S"] for item in bare if kind_of(item["entry"]["S"]).entry == entry]
        return list(dict.fromkeys([*of_kind, *named]))

    def named_by(self, name: str) -> str | None:
        """The subject of the payment that a charge, refund or order (``provider:id``) is of."""
        found = self._table.query(
            IndexName=BY_REFERENCE,
            KeyConditionExpression="#reference = :reference",
            ExpressionAttributeNames={"#reference": "reference"},
            ExpressionAttributeValues={":reference": string(name)},
        )
        named = (item["subject"]["S"] for item in found if item["entry"]["S"].startswith(("event:", NAME)))
        return next(named, None)

    def of_customer(
        self, customer: str, until: str | None = None, entry: str | None = None
    ) -> Iterator[tuple[str, str]]:
        """The keys (subject, entry) of a customer's records and other events, the newest first, lazily.

        ``customer`` is ``provider:id``. An event of a payment is not among them: its payment is. ``until`` is
        a place, inclusive; with ``entry`` only records of that kind are read, with payments other events.
        """
        front = entries.front_of(entry or PAYMENT)
        places = {":front": string(front or "0"), ":until": string(front + (until or "9999~"))}
        found = self._table.query(
            IndexName=BY_CUSTOMER,
            KeyConditionExpression="customer = :customer"
            + (" AND listed BETWEEN :front AND :until" if entry else ""),
            ExpressionAttributeValues={":customer": string(customer), **(places if entry else {})},
            ScanIndexForward=False,
        )
        for item in found:
            yield item["subject"]["S"], item["entry"]["S"]

    def days(self, since: str, until: str, entry: str = PAYMENT) -> dict[str, int]:
        """The days with records from ``since`` to ``until`` (``YYYY-MM-DD``), newest first; their shards."""
        return self._calendar(_calendar_of("" if entry == PAYMENT else entry), since, until)

    def _calendar(self, calendar: str, since: str, until: str) -> dict[str, int]:
        found = self._table.query(
            KeyConditionExpression="subject = :calendar AND entry BETWEEN :since AND :until",
            ExpressionAttributeValues={
                ":calendar": string(calendar),
                ":since": string(since),
                ":until": string(until),
            },
            ScanIndexForward=False,
            ConsistentRead=True,
        )
        return {item["entry"]["S"]: int(item.get("shards", {"N": "1"})["N"]) for item in found}

    def records_of_day(
        self, day: str, shards: int, since: str, until: str, limit: int, wanted: dict[str, str]
    ) -> tuple[list[tuple[str, str]], str | None]:
        """One page of a day's records, newest first: places and subjects, and the place to go on below.

        ``day`` is as ``entries.day_of`` names it. A place sorts as the record's time does. ``since`` and
        ``until`` are places, both inclusive. ``wanted`` names the attributes (``status``, ``provider``) that
        must be equal.
        """
        pages = [
            self._of_partition(partition, since, until, limit, wanted)
            for partition in entries.partitions(day, shards)
        ]
        last = max((last for _, last in pages if last), default=None)
        found = sorted((each for page, _ in pages for each in page), reverse=True)
        return [each for each in found if last is None or each[0] >= last], last

    def _of_partition(
        self, day: str, since: str, until: str, limit: int, wanted: dict[str, str]
    ) -> tuple[list[tuple[str, str]], str | None]:
        names = {f"#{name}": name for name in ("day", "listed", *wanted)}
        front = entries.front_of(day.rpartition(" ")[0] or PAYMENT)
        values = {
            ":day": string(day),
            ":since": string(front + since),
            ":until": string(front + until),
            **{f":{name}": string(value) for name, value in wanted.items()},
        }
        request: Request = {
            "IndexName": BY_DAY,
            "KeyConditionExpression": "#day = :day AND #listed BETWEEN :since AND :until",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": False,
            "Limit": max(limit, FILTERED) if wanted else limit,
        }
        if wanted:
            request["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in wanted)
        answer = self._table.call("Query", **request)
        page = [(item["listed"]["S"].removeprefix(front), item["subject"]["S"]) for item in answer["Items"]]
        last = answer.get("LastEvaluatedKey")
        return page, last["listed"]["S"].removeprefix(front) if last else None

    def inconsistent(self, until: int) -> Iterator[str]:
        """The subjects of payments that have not been consistent since ``until`` or longer, oldest first."""
        return self._not_right(INCONSISTENT, until)

    def waiting(self, until: int) -> Iterator[str]:
        """The same of payments with handlers that have waited for a reference since then."""
        return self._not_right(WAITING, until)

    def due(self, until: int) -> Iterator[str]:
        """The subjects of subscriptions that are to be looked at until then, oldest first."""
        return self._not_right(DUE, until)

    def unlisted(self, since: int, until: int) -> Iterator[tuple[int, str]]:
        """When and which payouts were paid in that time whose parts are not known, oldest first."""
        return self._looked_for(UNLISTED, since, until)

    def _not_right(self, what: str, until: int) -> Iterator[str]:
        return (subject for _, subject in self._looked_for(what, 0, until))

    def _looked_for(self, what: str, since: int, until: int) -> Iterator[tuple[int, str]]:
        if since > until:
            return
        found = (
            self._table.query(
                IndexName=BY_INCONSISTENCY,
                KeyConditionExpression=IN_TIME,
                ExpressionAttributeValues={
                    ":what": string(partition),
                    ":since": number(since),
                    ":until": number(until),
                },
            )
            for partition in entries.partitions(what, entries.SPREAD)
        )
        for item in merge(*found, key=lambda each: int(each["inconsistent_since"]["N"])):
            yield int(item["inconsistent_since"]["N"]), item["subject"]["S"]

    # ── bodies ──────────────────────────────────────────────────────────────────────────────────

    def remove_body(self, subject: str, event_id: str) -> None:
        """Remove an event's body, and nothing else of it: it stays recorded. Can be done again."""
        with suppress(VersionMoved), raise_if_condition_fails(VersionMoved(subject)):
            self._table.call(
                "UpdateItem",
                Key=key(subject, f"event:{event_id}"),
                UpdateExpression="SET removed = :yes REMOVE body, completed, #day",
                ConditionExpression=STILL_THERE,
                ExpressionAttributeNames={"#day": "day"},
                ExpressionAttributeValues={":yes": {"BOOL": True}},
            )

    def body_days(self, until: str) -> dict[str, int]:
        """Up to that day, the days whose bodies are listed in several partitions, with their shards."""
        return self._calendar(BODIES, "0000-00-00", until)

    def forget_body_day(self, day: str) -> None:
        """There are no more bodies of it but in its own partition."""
        self._table.delete(BODIES, day)

    def bodies_in(self, partition: str) -> Iterator[tuple[str, str]]:
        """The events (subject, id) whose bodies are to expire, in one partition of a day's."""
        found = self._table.query(
            IndexName=BY_DAY,
            KeyConditionExpression="#day = :day",
            ExpressionAttributeNames={"#day": "day"},
            ExpressionAttributeValues={":day": string(partition)},
        )
        for item in found:
            yield item["subject"]["S"], item["entry"]["S"].partition(":")[2]


def _calendar_of(entry: str) -> str:
    return f"{CALENDAR} {entry}" if entry else CALENDAR


def _events_of(subject: str) -> Request:
    return {
        "KeyConditionExpression": "subject = :subject AND begins_with(entry, :event)",
        "ExpressionAttributeValues": {":subject": string(subject), ":event": string("event:")},
        "ConsistentRead": True,
    }


def _version_not_moved(version: int) -> Request:
    """The condition under which a payment that was read at ``version`` may be written."""
    if not version:
        return {"ConditionExpression": NOT_THERE_YET}
    return {
        "ConditionExpression": VERSION_NOT_MOVED,
        "ExpressionAttributeValues": {":version": number(version)},
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
