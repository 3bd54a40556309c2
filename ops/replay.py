"""Running handlers again: those that are left of a payment or event, or all of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from chalicelib import access, listing, payouts, subscriptions
from chalicelib.entries import Outbox, StoredEvent, StoredPayment
from chalicelib.errors import BodyRemoved, HandlersBusy, NotFound, Refused
from chalicelib.events import OWN, Event
from chalicelib.joining import Facts
from chalicelib.kinds import PAYMENT, PAYOUT, kind_of
from chalicelib.linking import heard_by, told_by
from chalicelib.outbox import one_after_another
from chalicelib.payments import Milestone, project
from chalicelib.reactions import Task
from chalicelib.recording import Consumer
from chalicelib.times import from_iso, to_iso


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
    for name in listing.named(id_):
        subject = to.ledger.subject_of(name)
        if subject:
            return Chosen(subject, name.partition(":")[2])
    raise NotFound(f"no payment and no event {id_}")


def replay(to: Consumer, chosen: Chosen, again: bool, deadline: int) -> int:
    """How many handlers ran. Raises ``HandlersBusy``, ``HandlerFailed``.

    What no handler here handles is left to what is deployed: this may be an older checkout.
    """
    events = _events(to, chosen)
    if again:
        _requeue(to, chosen, events)
    entries = [(subject, kind_of(subject).entry) for subject in _subjects(to, chosen, events)]
    entries += [(chosen.subject, f"event:{event.id}") for event in events]
    runner = replace(to.runner, keeps_unknown=True)
    ran = one_after_another(partial(runner.resume, *entry, deadline) for entry in entries)
    for event in events:  # recorded, and now handled: no longer set aside
        to.ledger.parking.forget_failure(chosen.subject, event.id)
    return ran


def unknown(to: Consumer, chosen: Chosen) -> list[str]:
    """The types of what still waits with a payment and that no handler here handles."""
    subjects = _subjects(to, chosen, _events(to, chosen))
    waits = [task for each in subjects for task in to.ledger.outbox(each, kind_of(each).entry).tasks]
    return sorted({task.type for task in waits if not to.handlers.of(task.type)})


def names(to: Consumer, chosen: Chosen) -> Iterator[str]:
    """What would run again: each handler with what it handles."""
    for tasks in _tasks(to, chosen, _events(to, chosen)).values():
        for task in tasks:
            for handler in to.handlers.of(task.type):
                yield f"{handler.name} ({task.type})"


def _events(to: Consumer, chosen: Chosen) -> list[StoredEvent]:
    if chosen.event_id is None:
        return list(to.ledger.events(chosen.subject))
    stored = to.ledger.event(chosen.subject, chosen.event_id)
    if stored is None:
        raise NotFound("no such event")
    return [stored]


def _subjects(to: Consumer, chosen: Chosen, events: list[StoredEvent]) -> list[str]:
    """What the events are recorded with: their own subject, and others where one is about several."""
    kept = (each for each in events if each.content is not None)
    proved = [subject for each in kept for subject in to.facts(to.parsed(each))]
    return told_by([chosen.subject, *proved], lambda each: to.ledger.record(each).facts)


def _tasks(to: Consumer, chosen: Chosen, events: list[StoredEvent]) -> Mapping[str, tuple[Task, ...]]:
    """All that handlers are notified of, by subject: milestones, raw events; of one event, what it proves."""
    raw: list[Task] = []
    for each in events:
        try:
            event = to.parsed(each)
        except BodyRemoved:
            if chosen.event_id:
                raise
            continue  # its payment's milestones follow from facts
        raw += to.handlers.event_tasks(event) if not event.type.startswith(OWN) else ()
        if chosen.event_id:
            proved = dict(_of_event(to, chosen.subject, event))
            return {**proved, chosen.subject: (*proved[chosen.subject], *raw)}
    stored = to.ledger.record(chosen.subject)
    all_of_it = reached(chosen.subject, stored) if stored.facts else ()
    superseded = {f"{chosen.subject}/{name}" for name in stored.outbox.superseded}
    notified = [milestone for milestone in all_of_it if milestone.id not in superseded]
    return {chosen.subject: (*to.handlers.milestone_tasks(notified), *raw)}


def reached(subject: str, stored: StoredPayment) -> tuple[Milestone, ...]:
    """All that it has reached; of a subscription also the last times that access began or ended."""
    if stored.outbox.entry == PAYMENT:
        return project(subject, stored.facts).milestones
    if stored.outbox.entry == PAYOUT:
        return payouts.project(subject, stored.facts).milestones
    if not kind_of(subject).is_shown:
        return ()
    return (*subscriptions.project(subject, stored.facts).milestones, *stored.told.milestones(subject))


def _of_event(to: Consumer, own: str, event: Event) -> Iterator[tuple[str, tuple[Task, ...]]]:
    """The milestones that one event alone proves, of its own subject and of all others."""
    for subject, facts in {own: {}, **to.facts(event)}.items():
        kind = kind_of(subject)
        before, after = ({}, facts) if kind.entry == PAYMENT else _with_and_without(to, subject, event)
        reached = kind.change(subject, before, after, (), to.terms).milestones
        yield subject, tuple(to.handlers.milestone_tasks(reached))


def _with_and_without(to: Consumer, subject: str, event: Event) -> tuple[Facts, Facts]:
    """What all others prove of a subscription, and what is stored: an invoice alone may be any of its."""
    stored = to.ledger.record(subject).facts
    others = [each for each in to.ledger.events(subject) if each.id != event.id]
    if any(each.content is None for each in others):
        return stored, stored  # nobody knows any more what this one alone has proved
    proved = [to.facts(to.parsed(each)).get(subject, {}) for each in others]
    alone = dict(kind_of(subject).fold(proved))
    return heard_by(subject, alone, lambda by: to.ledger.record(by).facts), stored


def _requeue(to: Consumer, chosen: Chosen, events: list[StoredEvent]) -> None:
    """Put it all into outboxes again: the payments', or where there is none the event's own."""
    queued = []
    for subject, tasks in _tasks(to, chosen, events).items():
        stored = to.ledger.record(subject)
        entry = stored.outbox.entry if stored.version else f"event:{events[0].id}"
        outbox = _idle(to, subject, entry)
        tasks = tuple(replace(each, replay=True) for each in tasks)
        kept = tuple(each for each in outbox.tasks if each.id not in {task.id for task in tasks})
        if tasks:
            queued.append(replace(outbox, tasks=(*kept, *tasks)))
    for outbox in queued:
        to.ledger.write_outbox(outbox)


def _idle(to: Consumer, subject: str, entry: str) -> Outbox:
    """An outbox that nobody runs just now. Raises ``HandlersBusy``."""
    outbox = to.ledger.outbox(subject, entry)
    if outbox.leased_until > to.clock():
        raise HandlersBusy(subject)
    return outbox


# ── of a time ───────────────────────────────────────────────────────────────────────────────────────

Found = tuple[str, Task, list[str]]  # a payment's subject, what is reached, and the handlers of it


UNREAD = "not read, a newer version of Daybook wrote it: deploy that version again, then replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Milestones by the provider's time, both ends included; of one type, for one handler, of one record, or
    of all; with ``type`` raw events of that type instead, such as ``stripe.charge.refunded``.

    They are notified on purpose: those from before the stage began to listen too, and those that were before.
    """

    since: int
    until: int
    milestone: str | None = None
    handler: str | None = None
    type: str | None = None
    subject: str | None = None

    def found(self, to: Consumer) -> Iterator[Found]:
        """All of them. Reads the listings by day, and each record that something happened to since."""
        for subject in self._subjects(to):
            for task in self._events_of(to, subject) if self.type else self._milestones_of(to, subject):
                names = [each.name for each in to.handlers.of(task.type)]
                chosen = [name for name in names if self.handler in (None, name)]
                if chosen:
                    done = tuple(set(names) - set(chosen))
                    yield subject, replace(task, done=done, replay=True), chosen

    def _milestones_of(self, to: Consumer, subject: str) -> tuple[Task, ...]:
        stored = to.ledger.record(subject)
        passed_over = {f"{subject}/{name}" for name in stored.outbox.superseded}
        wanted = [
            each for each in reached(subject, stored) if each.id not in passed_over and self._is_of(each)
        ]
        return to.handlers.milestone_tasks(wanted)

    def _events_of(self, to: Consumer, subject: str) -> Iterator[Task]:
        """Those whose body is kept."""
        for each in to.ledger.events(subject):
            is_then = self.since <= each.created_at <= self.until
            named = f"{subject.partition(':')[0]}.{each.type}"
            if is_then and named == self.type and each.content is not None and each.subject == subject:
                yield from to.handlers.event_tasks(to.parsed(each))

    def _is_of(self, milestone: Milestone) -> bool:
        is_then = self.since <= from_iso(milestone.at) <= self.until
        return is_then and self.milestone in (None, milestone.type)

    def _subjects(self, to: Consumer) -> Iterator[str]:
        if self.subject is not None:
            yield self.subject
            return
        for listed in (listing.PAYMENTS, access.listed(to.clock(), to.terms), listing.PAYOUTS):
            cursor: str | None = ""
            while cursor is not None:
                below = {"cursor": cursor} if cursor else {}
                given = {"limit": "100", "until": to_iso(self.until), **below}
                page = listing.page(to.ledger, listing.parse(given), listed)
                if "unread" in page:
                    raise Refused(f"{', '.join(page['unread'])}: {UNREAD}")
                for view in page[listed.name]:
                    if self._happened_since(view):
                        yield view["id"]
                cursor = page["cursor"]

    def _happened_since(self, view: Mapping[str, Any]) -> bool:
        """Also where only the clock has moved since it was last heard of."""
        latest = [view["updated_at"] or "", *(each["at"] for each in view["milestones"][-1:])]
        return any(at and from_iso(at) >= self.since for at in latest)


def by_subject(found: Iterable[Found]) -> list[tuple[str, list[Task]]]:
    """What was found, payment by payment."""
    tasks: dict[str, list[Task]] = {}
    for subject, task, _ in found:
        tasks.setdefault(subject, []).append(task)
    return list(tasks.items())


def notify(to: Consumer, subject: str, tasks: Iterable[Task], deadline: int) -> int:
    """Put these into the record's outbox and run it. Raises ``HandlersBusy``, ``HandlerFailed``."""
    entry = kind_of(subject).entry
    outbox = _idle(to, subject, entry)
    all_tasks = {each.id: each for each in outbox.tasks}
    for each in tasks:  # what waits for others goes on waiting for them
        waits = all_tasks.get(each.id)
        done = tuple(name for name in each.done if name in waits.done) if waits else each.done
        all_tasks[each.id] = replace(each, done=done)
    to.ledger.write_outbox(replace(outbox, tasks=tuple(all_tasks.values())))
    return replace(to.runner, keeps_unknown=True).resume(subject, entry, deadline)
