"""Forgetting a customer: the bodies of all that is about them, but not that it happened."""

from collections.abc import Iterator
from dataclasses import dataclass

from chalicelib.entries import PAYMENT
from chalicelib.errors import DaybookError
from chalicelib.ledger import Ledger
from chalicelib.parking import ParkedEvent
from ops.redrive import event_of


@dataclass(frozen=True, slots=True)
class Traces:
    """What the ledger holds of a customer: events (subject, id) with a body, and events that are parked."""

    payments: int
    events: tuple[tuple[str, str], ...]
    parked: tuple[tuple[str, str], ...]


def traces(ledger: Ledger, customer: str) -> Traces:
    """Of ``provider:id``: its payments' events, and other events about it."""
    keys = list(ledger.of_customer(customer))
    payments = {subject for subject, entry in keys if entry == PAYMENT}
    others = [(subject, entry.partition(":")[2]) for subject, entry in keys if entry != PAYMENT]
    events = [*_events(ledger, payments), *((s, e) for s, e in others if _has_body(ledger, s, e))]
    subjects = payments | {subject for subject, _ in others}
    parked = [
        (p.subject, p.event_id)
        for p in ledger.parking.parked()
        if p.subject in subjects or _about(p) == customer
    ]
    return Traces(len(payments), tuple(dict.fromkeys(events)), tuple(parked))


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
