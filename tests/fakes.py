"""Small stand-ins that are passed in, and the deliveries that tests send."""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from chalicelib.certificates import Key
from chalicelib.entries import PAYMENT, Outbox, ParkedEvent, StoredEvent, StoredPayment, Write
from chalicelib.errors import TAMPERED, Distrusted, DuplicateEvent, VersionMoved
from chalicelib.events import Delivery, Event
from chalicelib.inbox import Message
from chalicelib.ledger import DIED
from chalicelib.payments import Facts, Milestone, change, join, project
from chalicelib.providers.protocol import Trust
from chalicelib.telemetry import Telemetry, stdout
from ops.local.paypal import Issued, authority, leaf
from ops.sender import PayPalSigner, StripeSigner

NOW = 1_795_500_000_000  # milliseconds; 2026-11-24
SIGNER = "messageverificationcerts.paypal.com"
CERT_URL = "https://api.paypal.com/v1/notifications/certs/CERT-test"
WEBHOOK_ID = "8PT597110X687430L"


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


class MemoryLedger:
    """The ledger in a dict; passes the same tests as the table.

    ``fails`` says which event ids cannot be saved, and with what.
    """

    def __init__(self, fails: Mapping[str, Callable[[], Exception]] | None = None) -> None:
        self.kept: dict[str, tuple[Facts, Outbox]] = {}
        self.since: dict[str, int] = {}
        self.bodies: dict[str, bytes] = {}
        self.ids: dict[str, str] = {}
        self.stored: dict[tuple[str, str], tuple[StoredEvent, Outbox]] = {}
        self.notes: dict[tuple[str, str], ParkedEvent] = {}
        self.fails = dict(fails or {})

    def payment(self, subject: str) -> StoredPayment:
        facts, outbox = self.kept.get(subject, ({}, Outbox(subject, PAYMENT, 0)))
        return StoredPayment(facts, outbox.version, outbox, self.since.get(subject))

    def payments(self, subjects: Iterable[str]) -> dict[str, StoredPayment]:
        return {subject: self.payment(subject) for subject in subjects}

    def save(self, write: Write) -> None:
        event = write.event
        if event.id in self.fails:
            raise self.fails[event.id]()
        if write.transmission:
            self.hold(write.transmission, write.body, write.event.received_at)
        if event.key in self.ids:
            raise DuplicateEvent(event.key)
        own = Outbox(event.subject, f"event:{event.id}", 1)
        if write.facts is None:
            own = write.outbox
        elif self.payment(event.subject).version != write.outbox.version - 1:
            raise VersionMoved(event.subject)
        times = event.created_at, event.received_at
        stored = StoredEvent(event.subject, event.id, event.type, *times, write.body, event.completed)
        self.stored[event.subject, event.id] = stored, _kept(own)
        self.ids[event.key] = event.subject
        if write.facts is not None:
            self._keep_payment(event.subject, write.facts, write)

    def hold(self, transmission: str, body: bytes, received_at: int) -> None:
        if self.bodies.setdefault(transmission, body) != body:
            raise Distrusted(TAMPERED)

    def _keep_payment(self, subject: str, facts: Facts, write: Write) -> None:
        self.kept[subject] = facts, _kept(write.outbox)
        self.since.pop(subject, None)
        if not project(subject, facts).consistent:
            self.since[subject] = write.since

    def save_all(self, writes: Sequence[Write]) -> list[Write]:
        written = []
        for write in writes:
            with suppress(Exception):
                self.save(write)
                written.append(write)
        return written

    def inconsistent(self, until: int) -> Iterator[str]:
        found = sorted((since, subject) for subject, since in self.since.items())
        return (subject for since, subject in found if since <= until)

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
            self.kept[outbox.subject] = self.kept[outbox.subject][0], written
        else:
            key = outbox.subject, outbox.entry.partition(":")[2]
            self.stored[key] = self.stored[key][0], written
        return written

    def event(self, subject: str, event_id: str) -> StoredEvent | None:
        found = self.stored.get((subject, event_id))
        return found[0] if found else None

    def subject_of(self, event_key: str) -> str | None:
        return self.ids.get(event_key)

    def events(self, subject: str) -> Iterator[StoredEvent]:
        for key in sorted(self.stored):
            if key[0] == subject:
                yield self.stored[key][0]

    def note_failure(self, subject: str, event_id: str, reason: str, attempts: int) -> None:
        self.notes[subject, event_id] = ParkedEvent(subject, event_id, reason, attempts, None, "")

    def forget_failure(self, subject: str, event_id: str) -> None:
        self.notes.pop((subject, event_id), None)

    def unpark(self, parked: ParkedEvent) -> None:
        if self.notes.get((parked.subject, parked.event_id)) == parked:
            del self.notes[parked.subject, parked.event_id]

    def park(self, subject: str, event_id: str, message: str, attempts: int, now: int) -> None:
        noted = self.notes.get((subject, event_id))
        reason = noted.reason if noted else DIED
        self.notes[subject, event_id] = ParkedEvent(subject, event_id, reason, attempts, now, message)

    def parked(self) -> Iterator[ParkedEvent]:
        found = [each for each in self.notes.values() if each.parked_at is not None]
        yield from sorted(found, key=lambda each: each.parked_at or 0, reverse=True)


def _kept(outbox: Outbox) -> Outbox:
    """An empty outbox has no lease."""
    return outbox if outbox.tasks else replace(outbox, leased_until=0)


class MemoryInbox:
    """The queue in a dict by receipt; passes the same tests as the queue."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.deleted: list[str] = []

    def send(self, event: Event, body: bytes, transmission: str | None = None, trace: str = "") -> None:
        message = Message(event.provider, event.id, event.subject, event.received_at, body, transmission)
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

    def certificate(self, url: str) -> bytes | None:
        return self.kept.get(url)

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
    provider: str, body: bytes, at: int = NOW, secret: str | None = None, received_at: int = NOW
) -> Delivery:
    """A delivery of ``body`` signed at ``at``, with the provider's current secret or another."""
    signer: Any
    if provider == "stripe":
        signer = StripeSigner(secret or "whsec_new")
    else:
        key = paypal_leaf().key
        signer = PayPalSigner(key, CERT_URL, secret or WEBHOOK_ID, random.Random(1))
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
    passed_over: tuple[str, ...] = ()
    for each in told:
        before, facts = facts, join(facts, each)
        news = change(subject, before, facts, passed_over)
        passed_over = news.passed_over
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
