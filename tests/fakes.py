"""Small stand-ins that are passed in, and the deliveries that tests send."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from chalicelib.certificates import Key
from chalicelib.entries import (
    INCONSISTENT,
    PAYMENT,
    WAITING,
    Outbox,
    RecordWrite,
    StoredEvent,
    StoredPayment,
    Write,
    not_stored,
    payment_items,
)
from chalicelib.errors import TAMPERED, UNCONFIRMED, Distrusted, DuplicateEvent, VersionMoved
from chalicelib.events import Delivery, Event
from chalicelib.folding import LABELS
from chalicelib.inbox import Message
from chalicelib.parking import DIED, ParkedEvent
from chalicelib.payments import Facts, Milestone, books, change, fold, join, project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import Trust
from chalicelib.reactions import Handlers
from chalicelib.recording import Consumer
from chalicelib.telemetry import Telemetry, stdout
from chalicelib.transmissions import MOST_COPIES, MOST_QUESTIONS
from chalicelib.webhooks import Receiver
from ops.local.paypal import Issued, authority, leaf
from ops.sender import PayPalSigner, StripeSigner

NOW = 1_795_500_000_000  # milliseconds; 2026-11-24
SIGNER = "messageverificationcerts.paypal.com"
CERT_URL = "https://api.paypal.com/v1/notifications/certs/CERT-test"
WEBHOOK_ID = "8PT597110X687430L"
# of the form that Stripe's have: a deployed stage takes no other
DEV_SECRET = "whsec_DevDevDev0123456789abcdefghijklmno"


class Clock:
    """Time that stands still until it is told to move. Milliseconds."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def telemetry(
    lines: list[str] | None = None, clock: Callable[[], int] | None = None, **more: Any
) -> Telemetry:
    """Telemetry whose lines are kept, and written out: what tests write out is searched for marks."""

    def write(line: str) -> None:
        if lines is not None:
            lines.append(line)
        stdout(line)

    return Telemetry("test", clock or Clock(), write, **more)


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
        self.parking = MemoryParking()
        self.transmissions = MemoryTransmissions()
        self.checkpoints = MemoryCheckpoints()
        self.fails = dict(fails or {})

    def payment(self, subject: str) -> StoredPayment:
        return self.kept.get(subject) or not_stored(subject)

    def payments(self, subjects: Iterable[str]) -> dict[str, StoredPayment]:
        return {subject: self.payment(subject) for subject in subjects}

    def save(self, write: Write) -> None:
        event = write.event
        if event.id in self.fails:
            raise self.fails[event.id]()
        if write.transmission:
            self.transmissions.hold(write.transmission, write.body, write.event.received_at)
        if event.key in self.ids:
            raise DuplicateEvent(event.key)
        for record in write.records:
            if self.payment(record.subject).version != record.outbox.version - 1:
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
        what = items[0].get("inconsistent", {}).get("S")
        self.kept[record.subject] = StoredPayment(
            facts=record.books.facts,
            outbox=_kept(record.outbox),
            inconsistent_since=int(since) if what == INCONSISTENT else None,
            waiting_since=int(since) if what == WAITING else None,
        )

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

    def _since(self, name: str, until: int) -> Iterator[str]:
        found = [(getattr(each, name), subject) for subject, each in self.kept.items()]
        return (subject for since, subject in sorted(each for each in found if each[0]) if since <= until)

    def outbox(self, subject: str, entry: str) -> Outbox:
        if entry == PAYMENT:
            return self.payment(subject).outbox
        found = self.stored.get((subject, entry.partition(":")[2]))
        return found[1] if found else Outbox(subject, entry, 0)

    def write_outbox(self, outbox: Outbox) -> Outbox:
        if self.outbox(outbox.subject, outbox.entry).version != outbox.version:
            raise VersionMoved(outbox.subject)
        written = replace(_kept(outbox), version=outbox.version + 1)
        if outbox.entry == PAYMENT:
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


class Shelf:
    """Certificates kept in a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.reads = 0

    def certificates(self) -> dict[str, bytes]:
        self.reads += 1
        return dict(self.kept)

    def keep_certificate(self, url: str, pem: bytes) -> None:
        self.kept[url] = pem


class OneCertificate:
    """Certificates with a single key, whatever the URL."""

    def __init__(self, issued: Issued) -> None:
        self._issued = issued

    def key(self, url: str) -> Key:
        return Key(self._issued.key.public_key())


@cache
def paypal_authority() -> Issued:
    return authority(datetime.fromtimestamp(NOW / 1000, UTC))


@cache
def paypal_leaf() -> Issued:
    return leaf(paypal_authority(), SIGNER, datetime.fromtimestamp(NOW / 1000, UTC))


def trust(**secrets: tuple[str, ...]) -> Trust:
    """What verifies the deliveries below, or with the secrets given instead."""
    usual = {
        "stripe_webhook_secrets": ("whsec_new", "whsec_old"),
        "paypal_webhook_ids": (WEBHOOK_ID,),
    }
    return Trust({**usual, **secrets}, OneCertificate(paypal_leaf()))


def signed(
    provider: str,
    body: bytes,
    at: int = NOW,
    secret: str | None = None,
    received_at: int = NOW,
    number: int = 0,
) -> Delivery:
    """A delivery of ``body`` signed at ``at``, with the provider's current secret or another.

    Of PayPal's each ``number`` is a transmission of its own.
    """
    signer: Any
    if provider == "stripe":
        signer = StripeSigner(secret or "whsec_new")
    else:
        key = paypal_leaf().key
        signer = PayPalSigner(key, CERT_URL, secret or WEBHOOK_ID, random.Random(1 + number))
    headers = {name.lower(): value for name, value in signer.headers(body, at).items()}
    return Delivery(headers, body, received_at)


# what a payment's status says has happened, of which handlers must have heard
SAID_BY_STATUS = {
    "authorized": "payment.authorized",
    "failed": "payment.failed",
    "canceled": "payment.canceled",
    "succeeded": "payment.succeeded",
    "disputed": "dispute.opened",
    "charged_back": "dispute.lost",
}


def heard_of(subject: str, told: Iterable[Facts]) -> tuple[Facts, list[Milestone]]:
    """Facts joined one after the other, and what handlers hear: at each moment, of what the status says."""
    facts: Facts = {}
    heard: list[Milestone] = []
    superseded: tuple[str, ...] = ()
    for each in told:
        before, facts = facts, join(facts, each)
        news = change(subject, books(before), books(facts), superseded)
        superseded = news.superseded
        heard += news.milestones
        said = SAID_BY_STATUS.get(project(subject, facts).status)
        assert said is None or said in {milestone.type for milestone in heard}
    return facts, heard


def as_bytes(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event).encode()


def sqs_record(message: str, group: str = "g", receives: int = 1, receipt: str = "r") -> dict[str, Any]:
    """A record as Lambda's SQS event source hands it over."""
    return {
        "messageId": f"m-{receipt}",
        "receiptHandle": receipt,
        "body": message,
        "attributes": {"MessageGroupId": group, "ApproximateReceiveCount": str(receives)},
    }


def an_event(event_id: str = "evt_1", subject: str = "stripe:pi_1", **fields: Any) -> Event:
    """An event that says nothing, of Stripe's."""
    said: dict[str, Any] = {
        "provider": "stripe",
        "id": event_id,
        "type": "x.y",
        "subject": subject,
        "created_at": NOW,
        "received_at": NOW,
        "as_of": NOW,
        "livemode": None,
        "account": None,
        "api_version": None,
        "payload": {},
    }
    return Event(**{**said, **fields})


def record_of(facts: Facts, outbox: Outbox, since: int = NOW, before: Facts | None = None) -> RecordWrite:
    """A payment as it is written with those facts and that outbox."""
    made = change(outbox.subject, books(before or {}), books(facts))
    return RecordWrite(outbox=outbox, change=made, since=since)


def write_of(event: Event, body: bytes, outbox: Outbox, *facts: Facts, since: int = NOW) -> Write:
    """An event with its payment of those facts, or without one."""
    if not facts:
        return Write(event=event, body=body, own=outbox)
    return Write(event=event, body=body, records=(record_of(fold(facts), outbox, since),))


def facts_of_event(event: Event) -> Facts:
    """What an event proves of its own subject."""
    return LABELS.kept(dict(PROVIDERS[event.provider].facts(event).get(event.subject, {})))


class Rolling:
    """Credentials whose new value is only seen when they are read again."""

    def __init__(self, before: str, after: str) -> None:
        self._secrets, self._after, self.rereads = before, after, 0

    def current(self) -> Any:
        return {"stripe_webhook_secrets": (self._secrets,)}

    def reread(self) -> bool:
        self.rereads += 1
        changed = self._secrets != self._after
        self._secrets = self._after
        return changed


def receiver(inbox: Any, credentials: Any, livemode: bool | None = None) -> Receiver:
    return Receiver(
        providers=PROVIDERS,
        credentials=credentials,
        trust=lambda secrets: trust(**secrets),
        inbox=inbox,
        telemetry=telemetry(),
        livemode=livemode,
    )


def consumer(
    ledger: Any, inbox: Any, lines: list[str] | None = None, handlers: Handlers | None = None
) -> Consumer:
    return Consumer(
        providers=PROVIDERS,
        ledger=ledger,
        inbox=inbox,
        telemetry=telemetry(lines),
        handlers=handlers or Handlers(),
        clock=Clock(),
    )


def message_of(body: bytes) -> Message:
    event = PROVIDERS["stripe"].event(body, NOW)
    return Message(provider="stripe", event_id=event.id, subject=event.subject, received_at=NOW, body=body)
