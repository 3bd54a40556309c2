"""Running handlers again: those that are left of a payment or event, or all of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from chalicelib.entries import PAYMENT
from chalicelib.errors import BodyRemoved, HandlersBusy, NotFound
from chalicelib.payments import books, change, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Task
from chalicelib.recording import Consumer


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to be replayed: all of a subject, or one event of it."""

    subject: str
    event_id: str | None = None


def choose(to: Consumer, id_: str) -> Chosen:
    """A subject (``provider:id``), or an event by its id, with or without its provider.

    Raises ``NotFound``.
    """
    if next(to.ledger.events(id_), None):
        return Chosen(id_)
    names = [id_] if id_.partition(":")[0] in PROVIDERS else [f"{name}:{id_}" for name in PROVIDERS]
    for name in names:
        subject = to.ledger.subject_of(name)
        if subject:
            return Chosen(subject, name.partition(":")[2])
    raise NotFound(f"no payment and no event {id_}")


def replay(to: Consumer, chosen: Chosen, again: bool, deadline: int) -> int:
    """How many handlers ran. Raises ``HandlersBusy``, ``HandlerFailed``.

    What no handler here handles is left to what is deployed: this may be an older checkout.
    """
    if again:
        _requeue(to, chosen)
    entries = [PAYMENT, *(f"event:{each}" for each in _events(to, chosen))]
    runner = replace(to.runner, keeps_unknown=True)
    ran = sum(runner.resume(chosen.subject, entry, deadline) for entry in entries)
    for entry in entries[1:]:  # recorded, and now handled: no longer set aside
        to.ledger.parking.forget_failure(chosen.subject, entry.partition(":")[2])
    return ran


def unknown(to: Consumer, chosen: Chosen) -> list[str]:
    """The types of what still waits with a payment and that no handler here handles."""
    waits = to.ledger.outbox(chosen.subject, PAYMENT).tasks
    return sorted({task.type for task in waits if not to.handlers.of(task.type)})


def names(to: Consumer, chosen: Chosen) -> Iterator[str]:
    """What would run again: each handler with what it handles."""
    for task in _tasks(to, chosen):
        for handler in to.handlers.of(task.type):
            yield f"{handler.name} ({task.type})"


def _events(to: Consumer, chosen: Chosen) -> list[str]:
    if chosen.event_id:
        return [chosen.event_id]
    return [event.id for event in to.ledger.events(chosen.subject)]


def _tasks(to: Consumer, chosen: Chosen) -> tuple[Task, ...]:
    """All that handlers are notified of: milestones and raw events; of one event, what it alone proves."""
    raw: list[Task] = []
    for event_id in _events(to, chosen):
        try:
            event = to.stored_event(chosen.subject, event_id)
        except BodyRemoved:
            if chosen.event_id:
                raise
            continue  # its payment's milestones follow from facts
        raw += to.handlers.event_tasks(event)
        if chosen.event_id:
            facts = to.providers[event.provider].facts(event).get(chosen.subject, {})
            news = change(chosen.subject, books({}), books(facts)).milestones
            return (*to.handlers.milestone_tasks(news), *raw)
    stored = to.ledger.payment(chosen.subject)
    reached = project(chosen.subject, stored.facts).milestones if stored.facts else ()
    superseded = {f"{chosen.subject}/{name}" for name in stored.outbox.superseded}
    notified = [milestone for milestone in reached if milestone.id not in superseded]
    return (*to.handlers.milestone_tasks(notified), *raw)


def _requeue(to: Consumer, chosen: Chosen) -> None:
    """Put it all into an outbox again: the payment's, or where there is none the event's own."""
    tasks = _tasks(to, chosen)
    entry = PAYMENT if to.ledger.payment(chosen.subject).version else f"event:{_events(to, chosen)[0]}"
    outbox = to.ledger.outbox(chosen.subject, entry)
    if outbox.leased_until > to.clock():
        raise HandlersBusy(chosen.subject)
    if tasks:
        kept = tuple(each for each in outbox.tasks if each.id not in {task.id for task in tasks})
        to.ledger.write_outbox(replace(outbox, tasks=(*kept, *tasks)))
