"""The ledger and the queue in dicts: for tests that need no stage, Daybook's own and a user's.

They pass the same tests as the table and the queue (``tests/stage/test_ledger.py``, ``test_inbox.py``).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from chalicelib.entries import (
    INCONSISTENT,
    WAITING,
    Outbox,
    RecordWrite,
    StoredEvent,
    StoredPayment,
    Write,
    not_stored,
    payment_items,
    unsharded,
)
from chalicelib.errors import TAMPERED, UNCONFIRMED, Distrusted, DuplicateEvent, VersionMoved
from chalicelib.events import Event
from chalicelib.inbox import Message
from chalicelib.kinds import PAYMENT, PAYOUT, SUBSCRIPTION, kind_of
from chalicelib.made_of import Part
from chalicelib.parking import DIED, ParkedEvent
from chalicelib.transmissions import MOST_COPIES, MOST_QUESTIONS


class MemoryParking:
    """What is set aside, in a dict."""

    def __init__(self) -> None:
        self.notes: dict[tuple[str, str], ParkedEvent] = {}

    def note_failure(self, subject: str, event_id: str, reason: str, attempts: int, now: int) -> None:
        self.notes[subject, event_id] = _note(subject, event_id, reason, attempts)

    def forget_failure(self, subject: str, event_id: str) -> None:
        self.notes.pop((subject, event_id), None)

    def unpark(self, parked: ParkedEvent) -> None:
        if self.notes.get((parked.subject, parked.event_id)) == parked:
            del self.notes[parked.subject, parked.event_id]

    def park(self, subject: str, event_id: str, message: str, attempts: int, now: int) -> None:
        noted = self.notes.get((subject, event_id))
        reason = noted.reason if noted else DIED
        self.notes[subject, event_id] = _note(subject, event_id, reason, attempts, now, message)

    def parked(self) -> Iterator[ParkedEvent]:
        found = [each for each in self.notes.values() if each.parked_at is not None]
        yield from sorted(found, key=lambda each: each.parked_at or 0, reverse=True)

    def parked_event(self, subject: str, event_id: str) -> ParkedEvent | None:
        return self.notes.get((subject, event_id))


class MemoryCheckpoints:
    """How far something has come, in a dict."""

    def __init__(self) -> None:
        self.noted: dict[str, dict[str, Any]] = {}

    def checkpoint(self, name: str) -> dict[str, Any]:
        return dict(self.noted.get(name, {}))

    def note_checkpoint(self, name: str, noted: dict[str, Any]) -> None:
        self.noted[name] = noted

    def note_first(self, name: str, noted: dict[str, Any]) -> dict[str, Any]:
        return self.noted.setdefault(name, noted)


class MemoryMadeOf:
    """What payouts are made of, in a dict."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, Part]] = {}

    def put(self, payout: str, parts: Iterable[Part]) -> None:
        self.parts.setdefault(payout, {}).update({each.id: each for each in parts})

    def of(self, payout: str) -> Iterator[Part]:
        return (each for _, each in sorted(self.parts.get(payout, {}).items()))

    def payouts(self, payment: str) -> list[str]:
        found = self.parts.items()
        return sorted(name for name, parts in found if payment in {each.payment for each in parts.values()})


class MemoryTransmissions:
    """What came by each transmission, in dicts."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.questions: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()

    def hold(self, name: str, body: bytes, received_at: int) -> None:
        if self.bodies.setdefault(name, body) != body:
            raise Distrusted(TAMPERED)

    def check(self, name: str, body: bytes) -> bool:
        if self.bodies.get(name, body) != body:
            raise Distrusted(TAMPERED)
        if name not in self.bodies and self.questions[name] >= MOST_QUESTIONS:
            raise Distrusted(UNCONFIRMED)
        return self.questions[name] > 0

    def asked_in_vain(self, name: str, now: int) -> None:
        self.questions[name] += 1

    def may_keep(self, name: str, now: int) -> bool:
        self.kept[name] += 1
        return self.kept[name] <= MOST_COPIES


def _note(
    subject: str, event_id: str, reason: str, attempts: int, at: int | None = None, message: str = ""
) -> ParkedEvent:
    return ParkedEvent(
        subject=subject, event_id=event_id, reason=reason, attempts=attempts, parked_at=at, message=message
    )


class MemoryLedger:
    """The ledger in a dict; passes the same tests as the table.

    ``fails`` says which event ids cannot be saved, and with what.
    """

    def __init__(self, fails: Mapping[str, Callable[[], Exception]] | None = None) -> None:
        self.kept: dict[str, StoredPayment] = {}
        self.ids: dict[str, str] = {}
        self.said: dict[str, str | None] = {}
        self.stored: dict[tuple[str, str], tuple[StoredEvent, Outbox]] = {}
        self.pointers: dict[tuple[str, str], str] = {}  # to an event's home
        self.looks: dict[str, int | None] = {}
        self.parking = MemoryParking()
        self.transmissions = MemoryTransmissions()
        self.checkpoints = MemoryCheckpoints()
        self.made_of = MemoryMadeOf()
        self.fails = dict(fails or {})

    def payment(self, subject: str) -> StoredPayment:
        return self._of(PAYMENT, subject)

    def subscription(self, subject: str) -> StoredPayment:
        return self._of(SUBSCRIPTION, subject)

    def _of(self, entry: str, subject: str) -> StoredPayment:
        found = self.record(subject)
        is_one = found.outbox.entry == entry
        return found if is_one else replace(not_stored(subject), outbox=Outbox(subject, entry, 0))

    def record(self, subject: str) -> StoredPayment:
        return self.kept.get(subject) or not_stored(subject)

    def payments(self, subjects: Iterable[str]) -> dict[str, StoredPayment]:
        return {subject: self.record(subject) for subject in subjects}

    def save(self, write: Write) -> None:
        event = write.event
        if event.id in self.fails:
            raise self.fails[event.id]()
        if write.transmission:
            self.transmissions.hold(write.transmission, write.body, write.event.received_at)
        if event.key in self.ids:
            raise DuplicateEvent(event.key)
        for record in write.records:
            if self.record(record.subject).version != record.outbox.version - 1:
                raise VersionMoved(record.subject)
        stored = StoredEvent(
            subject=event.subject,
            id=event.id,
            type=event.type,
            created_at=event.created_at,
            received_at=event.received_at,
            body=write.body,
            completed=event.completed,
        )
        own = write.own or Outbox(event.subject, f"event:{event.id}", 1)
        self.stored[event.subject, event.id] = stored, _kept(own)
        self.ids[event.key] = event.subject
        self.said[event.key] = write.said
        for record in write.records:
            self.save_payment(record)
            if record.subject != event.subject:
                self.pointers[record.subject, event.id] = event.subject

    def save_payment(self, record: RecordWrite) -> None:
        items = payment_items(record)  # what the table would keep of it says the rest
        since = items[0].get("inconsistent_since", {"N": "0"})["N"]
        what = unsharded(items[0].get("inconsistent", {"S": ""}))
        self.kept[record.subject] = StoredPayment(
            facts=record.change.facts,
            outbox=_kept(record.outbox),
            inconsistent_since=int(since) if what == INCONSISTENT else None,
            waiting_since=int(since) if what == WAITING else None,
            told=record.told,
            look_at=record.look_at,
        )
        self.looks[record.subject] = record.look_at

    def save_all(self, writes: Sequence[Write]) -> list[Write]:
        written = []
        for write in writes:
            with suppress(Exception):
                self.save(write)
                written.append(write)
        return written

    def inconsistent(self, until: int) -> Iterator[str]:
        return self._since("inconsistent_since", until)

    def waiting(self, until: int) -> Iterator[str]:
        return self._since("waiting_since", until)

    def due(self, until: int) -> Iterator[str]:
        return (subject for _, subject in self._looked_at(SUBSCRIPTION, 0, until))

    def unlisted(self, since: int, until: int) -> Iterator[tuple[int, str]]:
        return self._looked_at(PAYOUT, since, until)

    def _looked_at(self, entry: str, since: int, until: int) -> Iterator[tuple[int, str]]:
        found = [(at, each) for each, at in self.looks.items() if at is not None and since <= at <= until]
        return (each for each in sorted(found) if kind_of(each[1]).entry == entry)

    def _since(self, name: str, until: int) -> Iterator[str]:
        found = [(getattr(each, name), subject) for subject, each in self.kept.items()]
        return (subject for since, subject in sorted(each for each in found if each[0]) if since <= until)

    def outbox(self, subject: str, entry: str) -> Outbox:
        if entry == kind_of(subject).entry:
            return self._of(entry, subject).outbox
        found = self.stored.get((subject, entry.partition(":")[2]))
        return found[1] if found else Outbox(subject, entry, 0)

    def write_outbox(self, outbox: Outbox) -> Outbox:
        if self.outbox(outbox.subject, outbox.entry).version != outbox.version:
            raise VersionMoved(outbox.subject)
        written = replace(_kept(outbox), version=outbox.version + 1)
        if outbox.entry == kind_of(outbox.subject).entry:
            self.kept[outbox.subject] = replace(self.kept[outbox.subject], outbox=written)
        else:
            key = outbox.subject, outbox.entry.partition(":")[2]
            self.stored[key] = self.stored[key][0], written
        return written

    def event(self, subject: str, event_id: str) -> StoredEvent | None:
        home = self.pointers.get((subject, event_id), subject)
        found = self.stored.get((home, event_id))
        return found[0] if found else None

    def subject_of(self, event_key: str) -> str | None:
        return self.ids.get(event_key)

    def days(self, since: str, until: str) -> list[str]:
        return ["2026-11-24"] if self.kept else []

    def recorded(self, event_keys: Iterable[str]) -> dict[str, str | None]:
        return {key: self.said.get(key) for key in event_keys if key in self.ids}

    def events(self, subject: str) -> Iterator[StoredEvent]:
        homes = {**{key: key[0] for key in self.stored}, **self.pointers}
        for key in sorted(homes):
            if key[0] == subject:
                yield self.stored[homes[key], key[1]][0]


def _kept(outbox: Outbox) -> Outbox:
    """An empty outbox has no lease."""
    return outbox if outbox.tasks else replace(outbox, leased_until=0)


class MemoryInbox:
    """The queue in a dict by receipt; passes the same tests as the queue."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.deleted: list[str] = []

    def send(self, event: Event, body: bytes, transmission: str | None = None, trace: str = "") -> None:
        message = Message.of(event, body, transmission)
        message.encode()  # refuses what is too large, as the queue does
        self.messages[event.id] = message

    def delete(self, receipts: list[str]) -> None:
        self.deleted += receipts
        for receipt in receipts:
            self.messages.pop(receipt, None)
