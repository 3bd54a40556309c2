"""What the table holds, and under which key: its entries, to and from DynamoDB's items.

    subject (partition)   entry (sort)        holds
    stripe:pi_…           payment             facts, the payment computed from them, version, outbox
    stripe:pi_…           event:evt_…         one event, with its body as it came (zlib)
    id:stripe:evt_…       id                  the one subject that an event id is recorded under
    stripe:pi_…           parked:evt_…        why an event is not recorded, and its body
    calendar              2026-11-24          a day on which a payment was created
    certificate           https://…           a signing certificate
    transmission:…        transmission        the digest of the one body that it stands for; expires

Four sparse indexes: ``by-reference`` (connected accounts' payments by their bare id), ``by-day`` (payments by
day and time; all that is parked, under the day ``parked``; bodies that expire, under the day they came on),
``by-inconsistency`` (payments that are not consistent, by when they became so), ``by-customer`` (payments and
other objects of a customer, by time).
"""

import base64
import json
import zlib
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.events import Event
from chalicelib.payments import Change, Facts, change, project
from chalicelib.reactions import Task
from chalicelib.times import from_iso, sortable, to_iso

PAYMENT = "payment"
OUTBOX = ("version", "outbox", "leased_until", "passed_over")


@dataclass(frozen=True, slots=True)
class StoredPayment:
    """A payment's facts and the version they were read at; version 0 is not stored yet.

    ``inconsistent_since`` is when it was first written so, in milliseconds; ``None`` while it is consistent.
    """

    facts: Facts
    version: int
    outbox: "Outbox"
    inconsistent_since: int | None = None

    def change_to(self, facts: Facts) -> Change:
        """What those facts, in place of its own, make of it."""
        return change(self.outbox.subject, self.facts, facts, self.outbox.passed_over)

    def outbox_after(self, told: Change, tasks: tuple[Task, ...]) -> "Outbox":
        """Its outbox once that change is written, with those tasks more."""
        return replace(
            self.outbox,
            version=self.version + 1,
            tasks=(*self.outbox.tasks, *tasks),
            passed_over=told.passed_over,
        )


@dataclass(frozen=True, slots=True)
class Outbox:
    """What handlers are still to hear, at the version it was read at. ``leased_until`` in milliseconds.

    ``passed_over`` names the milestones that they did not hear, being overtaken (see ``payments.Change``).
    """

    subject: str
    entry: str
    version: int
    tasks: tuple[Task, ...] = ()
    leased_until: int = 0
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event entry. Instants in milliseconds; ``body`` as the provider sent it, ``None`` once removed."""

    subject: str
    id: str
    type: str
    created_at: int
    received_at: int
    body: bytes | None
    completed: bytes | None = None

    @property
    def content(self) -> bytes | None:
        """What the event's facts are read from, as long as it is kept."""
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
    ``change`` is what becomes of the payment.
    """

    event: Event
    body: bytes
    outbox: Outbox
    facts: Facts | None = None
    since: int = 0
    transmission: str | None = None
    change: Change | None = None


def string(text: str) -> Any:
    return {"S": text}


def key(subject: str, entry: str) -> Any:
    return {"subject": string(subject), "entry": string(entry)}


def listed(event: Event) -> Any:
    return string(f"{sortable(event.created_at)}#{event.subject}#{event.id}")


def bodies_of(day: str) -> Any:
    """In place of a payment's day: the events whose bodies came on that day, and expire."""
    return string(f"bodies {day}")


def id_item(event: Event) -> dict[str, Any]:
    return {"subject": string(f"id:{event.key}"), "entry": string("id"), "of": string(event.subject)}


def event_item(write: Write) -> dict[str, Any]:
    event = write.event
    item = {
        "subject": string(event.subject),
        "entry": string(f"event:{event.id}"),
        "type": string(event.type),
        "created_at": {"N": str(event.created_at)},
        "received_at": {"N": str(event.received_at)},
        "body": packed(write.body),
    }
    if write.facts is None:
        item |= outbox_attributes(write.outbox)
        item |= _of_customer(event.provider, event.customer)
    if write.facts is None and event.customer:
        item["listed"] = listed(event)
    if event.livemode is not None:
        item["livemode"] = {"BOOL": event.livemode}
    if event.account:
        item["account"] = string(event.account)
    if event.completed:
        item["completed"] = packed(event.completed)
    if event.api_version:
        item["api_version"] = string(event.api_version)
    return item


def _of_customer(provider: str, customer: str | None) -> dict[str, Any]:
    return {"customer": string(f"{provider}:{customer}")} if customer else {}


def payment_item(subject: str, facts: Facts, since: int) -> dict[str, Any]:
    payment = project(subject, facts)
    item = {
        "subject": string(subject),
        "entry": string(PAYMENT),
        "facts": string(json.dumps(facts, sort_keys=True)),
        "view": string(json.dumps(payment.to_dict())),
        "provider": string(payment.provider),
        "status": string(payment.status),
        "day": string(payment.created_at[:10]),
        "listed": string(f"{sortable(from_iso(payment.created_at))}#{payment.id}"),
    }
    if payment.account:  # so that it is found without naming the account
        item["reference"] = string(f"{payment.provider}:{subject.rpartition(':')[2]}")
    item |= _of_customer(payment.provider, payment.customer)
    if not payment.consistent:
        item |= {"inconsistent": string("yes"), "inconsistent_since": {"N": str(since)}}
    return item


def outbox_attributes(outbox: Outbox) -> dict[str, Any]:
    """An empty outbox is no attribute, and has no lease; nor is what is empty of the rest."""
    attributes = {"version": {"N": str(outbox.version)}}
    if outbox.passed_over:
        attributes["passed_over"] = string(json.dumps(outbox.passed_over))
    if outbox.tasks:
        attributes["outbox"] = string(json.dumps([task.to_dict() for task in outbox.tasks]))
        attributes["leased_until"] = {"N": str(outbox.leased_until)}
    return attributes


def stored_outbox(item: dict[str, Any]) -> Outbox:
    tasks = json.loads(item["outbox"]["S"]) if "outbox" in item else []
    return Outbox(
        subject=item["subject"]["S"],
        entry=item["entry"]["S"],
        version=int(item["version"]["N"]) if "version" in item else 0,
        tasks=tuple(Task.from_dict(task) for task in tasks),
        leased_until=int(item["leased_until"]["N"]) if "leased_until" in item else 0,
        passed_over=tuple(json.loads(item["passed_over"]["S"])) if "passed_over" in item else (),
    )


def stored_payment(item: dict[str, Any]) -> StoredPayment:
    outbox = stored_outbox(item)
    since = int(item["inconsistent_since"]["N"]) if "inconsistent_since" in item else None
    return StoredPayment(json.loads(item["facts"]["S"]), outbox.version, outbox, since)


def stored_event(item: dict[str, Any]) -> StoredEvent:
    return StoredEvent(
        subject=item["subject"]["S"],
        id=item["entry"]["S"].partition(":")[2],
        type=item["type"]["S"],
        created_at=int(item["created_at"]["N"]),
        received_at=int(item["received_at"]["N"]),
        body=unpacked(item["body"]) if "body" in item else None,
        completed=unpacked(item["completed"]) if "completed" in item else None,
    )


def parked_event(item: dict[str, Any]) -> ParkedEvent:
    parked_at = item.get("parked_at")
    return ParkedEvent(
        subject=item["subject"]["S"],
        event_id=item["entry"]["S"].partition(":")[2],
        reason=item["reason"]["S"],
        attempts=int(item["attempts"]["N"]),
        parked_at=int(parked_at["N"]) if parked_at else None,
        message=unpacked(item["message"]).decode() if "message" in item else "",
    )


def packed(content: bytes) -> Any:
    return {"B": zlib.compress(content, 6)}


def unpacked(attribute: dict[str, str]) -> bytes:
    return zlib.decompress(base64.b64decode(attribute["B"]))
