"""Forgetting a customer: the bodies of all about them, and what people wrote; not that it happened."""

from collections.abc import Iterator
from dataclasses import dataclass

from chalicelib.errors import DaybookError, VersionMoved
from chalicelib.kinds import PAYMENT, SUBSCRIPTION
from chalicelib.ledger import Ledger
from chalicelib.parking import ParkedEvent
from ops.redrive import event_of

TRIES = 4
RECORDS = (PAYMENT, SUBSCRIPTION)
LABELS = ("reference", "metadata")


@dataclass(frozen=True, slots=True)
class Traces:
    """What the ledger holds of a customer: events (subject, id) with a body, and events that are parked."""

    payments: tuple[str, ...]
    events: tuple[tuple[str, str], ...]
    parked: tuple[tuple[str, str], ...]


def traces(ledger: Ledger, customer: str) -> Traces:
    """Of ``provider:id``: its payments' events, and other events about it."""
    keys = list(ledger.of_customer(customer))
    payments = {subject for subject, entry in keys if entry in RECORDS}
    others = [(subject, entry.partition(":")[2]) for subject, entry in keys if entry not in RECORDS]
    events = [*_events(ledger, payments), *((s, e) for s, e in others if _has_body(ledger, s, e))]
    subjects = payments | {subject for subject, _ in others}
    parked = [
        (p.subject, p.event_id)
        for p in ledger.parking.parked()
        if p.subject in subjects or _about(p) == customer
    ]
    return Traces(tuple(sorted(payments)), tuple(dict.fromkeys(events)), tuple(parked))


def forget_labels(ledger: Ledger, subject: str, now: int) -> None:
    """Remove a record's reference and metadata. Raises ``VersionMoved`` where others keep on writing it."""
    for attempt in range(TRIES):
        stored = ledger.record(subject)
        thing = stored.outbox.entry
        fields = {k: v for k, v in stored.facts.get(thing, {}).items() if k not in LABELS}
        if not stored.version or fields == stored.facts.get(thing, {}):
            return
        record = stored.with_facts({**stored.facts, thing: fields}, now)
        try:
            ledger.save_payment(record.with_tasks((), stored.outbox.leased_until))
        except VersionMoved:
            if attempt == TRIES - 1:
                raise
        else:
            return


def _about(parked: ParkedEvent) -> str | None:
    """The customer that a parked event names, where it can be read."""
    try:
        event = event_of(parked)
    except (DaybookError, KeyError, ValueError):
        return None
    return f"{event.provider}:{event.customer}"


def _events(ledger: Ledger, subjects: set[str]) -> Iterator[tuple[str, str]]:
    for subject in sorted(subjects):
        for event in ledger.events(subject):
            if event.content is not None:
                yield event.subject, event.id


def _has_body(ledger: Ledger, subject: str, event_id: str) -> bool:
    event = ledger.event(subject, event_id)
    return event is not None and event.content is not None
