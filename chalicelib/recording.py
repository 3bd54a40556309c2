"""The program's second sentence: record each queued event with the payments that it makes, once, and notify.

understand    what the event proves, by subject; asked of the provider where the event alone does not say
join          with the facts that are stored
write         event, payments and their outboxes, in one transaction
run           the handlers that are left in those outboxes
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from chalicelib import subscriptions
from chalicelib.aside import Aside, digest
from chalicelib.beginning import ALWAYS
from chalicelib.entries import Outbox, RecordWrite, StoredEvent, StoredPayment, Write
from chalicelib.errors import (
    TAMPERED,
    UNCONFIRMED,
    AwsError,
    BatchFailed,
    BodyRemoved,
    Distrusted,
    DuplicateEvent,
    HandlerFailed,
    HandlersBusy,
    NewerRules,
    NotFound,
    Unavailable,
    VersionMoved,
)
from chalicelib.events import IMPORTED, OWN, Event
from chalicelib.explaining import PLACES, Explanation
from chalicelib.folding import LABELS, folded
from chalicelib.inbox import Address, Inbox, Message, QueuedRecord, SqsRecord
from chalicelib.kinds import kind_of
from chalicelib.ledger import Ledger
from chalicelib.linking import Linked, is_alone, told_by
from chalicelib.outbox import Runner, one_after_another
from chalicelib.payments import Facts, Labels, Milestone
from chalicelib.providers.protocol import Provider
from chalicelib.reactions import Handlers, Task
from chalicelib.subscriptions import TERMS, Terms
from chalicelib.telemetry import Telemetry
from chalicelib.times import from_iso

RESERVE = 5_000  # milliseconds of a batch's time, left for deleting from the queue what is done
LAST = 500  # milliseconds before the deadline in which nothing waits any more
# What of a payment a person may have the id of, and ask for it by.
ASKED_FOR = ("refund", "dispute", "charge", "order", "checkout_session", "invoice", "authorization")
TRIES = 4  # when another consumer wrote the payment first; after that the queue tries again


class Understood(NamedTuple):
    """An event, and what it proves by the subject of the payment that it proves it of."""

    event: Event
    facts: Mapping[str, Facts]


class Outcome(Enum):
    """What became of a record."""

    DONE = "done"
    NOT_HANDLED = "recorded, but its handlers have not ended well"
    NOT_RECORDED = "not recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """Records what is on the queue. ``complete`` asks the provider for what an event leaves out; ``labels``
    says what is kept of what people wrote, ``terms`` what a subscription grants. ``began`` is the instant
    from which on handlers are notified. ``patient`` has what is throttled inside it wait while there are
    seconds left.

    ``clock`` and every ``deadline`` in milliseconds; a deadline is when this process may be ended.
    """

    providers: Mapping[str, Provider]
    ledger: Ledger
    inbox: Inbox
    telemetry: Telemetry
    handlers: Handlers
    clock: Callable[[], int]
    complete: Callable[[Event, Message], Event] = lambda event, message: event
    labels: Labels = LABELS
    terms: Terms = TERMS
    began: Callable[[], int] = lambda: ALWAYS
    explain: Explanation = PLACES
    partial_batches: bool = False
    patient: Callable[[Callable[[], float]], AbstractContextManager[object]] = nullcontext

    # ── a batch ─────────────────────────────────────────────────────────────────────────────────

    def process(self, records: Iterable[SqsRecord], deadline: int) -> list[str]:
        """Record a batch of SQS records, those of one subject in their order, and run their handlers.

        The ids of the messages that are to be delivered again, with ``partial_batches``: without it Lambda
        would take what is returned for success, and this raises ``BatchFailed`` when any failed, after
        deleting those that succeeded from the queue. A raise makes Lambda deliver the whole batch again, and
        fewer batches at once from then on. After one that could not be recorded the rest of that
        subject waits for it once; where only its handlers failed, the rest is recorded: the outbox keeps the
        handlers' order. What is not begun when the time is nearly up waits too: a process that is ended
        deletes nothing.
        """
        return Batch([QueuedRecord.read(each) for each in records], self, deadline).process()

    def park(self, records: Iterable[SqsRecord], now: int) -> None:
        """Write dead-lettered records into the ledger, where they stay visible and can be redriven.

        Raises ``BatchFailed`` when any could not be written, after trying them all.
        """
        failed = 0
        for record in map(QueuedRecord.read, records):
            try:
                self.aside.dead_lettered(record, now)
            except AwsError as error:
                subject, event_id = record.address
                about: dict[str, Any] = {"event_id": event_id, "subject": subject}
                self.telemetry.log("not parked", "ERROR", **about, error=error.code)
                failed += 1
        if failed:  # those that are parked are parked again, as what they are
            raise BatchFailed(f"{failed} to be parked again")

    @property
    def aside(self) -> Aside:
        return Aside(ledger=self.ledger, telemetry=self.telemetry)

    # ── one event ───────────────────────────────────────────────────────────────────────────────

    def record(self, message: Message, deadline: int, known: Understood | None = None) -> None:
        """Write one event down, and the payments that it makes; then run what handlers are left.

        ``known`` is what is understood of it already. A duplicate changes nothing, but handlers that an
        earlier delivery left are run for it.
        Raises ``Distrusted``, ``HandlerFailed``, ``HandlersBusy``, ``VersionMoved``.
        """
        understood = known or self.understand(message)
        try:
            saved = self._save(understood, message, deadline)
        except DuplicateEvent:
            saved = None
        if saved:
            self.finish(*saved)
        else:
            self._resume(understood, message, deadline)

    def understand(self, message: Message) -> Understood:
        """Raises ``Distrusted``, ``Unavailable`` where the provider was asked.

        What was distrusted before, and is borne out now, has an id of its own where another content has
        taken its event's.
        """
        read = self.providers[message.provider].event(message.body, message.received_at)
        sent = replace(read, via=message.via)
        event = replace(self.complete(sent, message), via=message.via)
        if message.is_distrusted:
            if not event.is_confirmed:
                raise Distrusted(UNCONFIRMED)
            _, recorded = self.recorded(sent)
            if recorded and not (sent.said() == recorded.said() and sent.is_same_as(recorded)):
                event = replace(event, id=f"{event.id} {digest(message.body)}")  # no provider's has a space
        return Understood(event, self.facts(event))

    def finish(self, write: Write, busy: Collection[str] = ()) -> None:
        """Say what was written, and run the handlers of it, but of ``busy`` subjects: another one runs those.

        Raises ``HandlerFailed``, ``HandlersBusy``, once the others' have run.
        """
        event = write.event
        now = self.clock()
        lags = {"lag": now - event.created_at, "queued": now - event.received_at}
        self._log_event("recorded", event, {"recorded": 1, **lags})
        for record in write.records:
            self._log_change(record)
        one_after_another(
            partial(self.runner.run, outbox) for outbox in write.outboxes if outbox.subject not in busy
        )
        if busy:
            raise HandlersBusy(min(busy))

    def facts(self, event: Event) -> Mapping[str, Facts]:
        """What the event proves. One that cannot be understood is recorded all the same, with no facts."""
        try:
            proved = self.providers[event.provider].facts(event)
            return {
                subject: self.labels.kept(each, kind_of(subject).entry) for subject, each in proved.items()
            }
        except Exception as error:
            fields = {"provider": event.provider, "event_id": event.id, "type": event.type}
            reason = type(error).__name__
            self.telemetry.log("not understood", "ERROR", {"not_understood": 1}, **fields, error=reason)
            return {}

    def _save(self, understood: Understood, message: Message, deadline: int) -> tuple[Write, set[str]]:
        """What was written, with its leases; and the subjects that another one has the lease of."""
        for _ in range(TRIES):
            records = self._records(understood)
            busy = {each.outbox.subject for each, _ in records if self.is_busy(each)}
            write = self.prepared(understood, message, records, deadline, busy)
            try:
                self.ledger.save(write)
            except VersionMoved:
                continue
            return write, busy
        raise VersionMoved(understood.event.subject)

    def prepared(
        self,
        understood: Understood,
        message: Message,
        of: Iterable[tuple[StoredPayment, Facts]],
        deadline: int,
        busy: Collection[str] = (),
    ) -> Write:
        """An event with the payments as they will be, and what handlers are to be notified of.

        ``of``: each as it is stored, with the facts that it will have. A payment that is ``busy``, its
        handlers run by another one now, keeps that one's lease.
        """
        event, facts = understood
        is_quiet = event.id.startswith(IMPORTED)
        is_of_record = event.subject in facts and kind_of(event.subject).is_shown
        records = []
        names: tuple[str, ...] = ()
        for payment, joined in of:
            subject = payment.outbox.subject
            if subject == event.subject:
                names = newly_named(payment.facts, joined)
            record = payment.with_facts(joined, self.clock(), self.terms)
            tasks = () if is_quiet else self.handlers.milestone_tasks(self._heard(record.news))
            own_tasks = self._event_tasks(event) if is_of_record and subject == event.subject else ()
            until = payment.outbox.leased_until if subject in busy else deadline
            records.append(record.with_tasks((*tasks, *own_tasks), until))
        own = None
        if not is_of_record:
            own = Outbox(
                event.subject,
                f"event:{event.id}",
                1,
                tasks=self._event_tasks(event),
                leased_until=deadline,
            )
        transmission = None if message.is_distrusted else message.transmission
        return Write(
            event=event,
            body=message.body,
            records=tuple(records),
            own=own,
            transmission=transmission,
            said=event.said(message.subject) if message.transmission else None,
            names=names,
        )

    def _heard(self, milestones: Iterable[Milestone]) -> Iterator[Milestone]:
        """Those that are not from before the stage began to listen."""
        return (each for each in milestones if from_iso(each.at) >= self.began())

    def _event_tasks(self, event: Event) -> tuple[Task, ...]:
        is_ours = event.type.startswith(OWN) or event.id.startswith(IMPORTED)
        is_heard = event.created_at >= self.began() and not is_ours
        return self.handlers.event_tasks(event) if is_heard else ()

    def _records(self, understood: Understood) -> list[tuple[StoredPayment, Facts]]:
        """The records that the event makes, as they are stored, and the facts that they will have.

        Also those that those tell of it, which it says nothing of itself.
        """
        stored: dict[str, StoredPayment] = {}

        def read(subject: str) -> Facts:
            found = stored[subject] = stored.get(subject) or self._current(subject)
            return found.facts

        linked = Linked(read)
        for subject, proved in understood.facts.items():
            linked.add(subject, proved)
        changed = linked.spread()
        found = [(stored[each], facts) for each, facts in changed.items() if _is_written(stored[each], facts)]
        others = sorted(each for each in linked.asked - changed.keys() if stored[each].version)
        return [*found, *((stored[each], stored[each].facts) for each in others)]

    def _current(self, subject: str) -> StoredPayment:
        """The record as today's rules have it: one that others made is folded anew from its events.

        So is a subscription that is not stored yet: before it was a record its events were kept alone.
        """
        stored = self.ledger.record(subject)
        if not stored.is_to_be_folded:
            return stored
        facts = folded(self.ledger, self.providers, subject, stored.facts, self.labels)
        if stored.version:
            self.telemetry.log("folded by today's rules", subject=subject, rules=stored.rules)
        return replace(stored.noting(facts), facts=facts)

    def _resume(self, understood: Understood, message: Message, deadline: int) -> None:
        """A duplicate: run what an earlier delivery of it left."""
        event, facts = understood
        subject = self._recorded_subject(event)
        if (
            message.transmission and not message.is_distrusted
        ):  # one more that carried it: it too may stand for this body only
            self.ledger.transmissions.hold(message.transmission, message.body, message.received_at)
        self._log_event("duplicate", event, {"duplicate": 1})
        stored: dict[str, StoredPayment] = {}

        def read(of: str) -> Facts:
            stored[of] = self.ledger.record(of)
            return stored[of].facts

        told = told_by([subject, *facts] if facts else [], read)
        # the event's own is from when it was not understood
        own = partial(self.runner.resume, subject, f"event:{event.id}", deadline)
        left = [partial(self.runner.resume_read, stored[each].outbox, deadline) for each in told]
        one_after_another([own, *left])

    def _recorded_subject(self, event: Event) -> str:
        """The subject it is recorded under. Raises ``Distrusted`` where what has this id is another event."""
        subject, recorded = self.recorded(event)
        if recorded and not event.is_same_as(recorded):
            raise Distrusted(TAMPERED)
        return subject

    def is_busy(self, payment: StoredPayment) -> bool:
        """Whether somebody else runs its handlers now."""
        return payment.outbox.leased_until > self.clock()

    # ── what is recorded ────────────────────────────────────────────────────────────────────────

    def stored_event(self, subject: str, event_id: str) -> Event:
        """A recorded event, as handlers see it. Raises ``NotFound``, ``BodyRemoved``."""
        stored = self.ledger.event(subject, event_id)
        if stored is None:
            raise NotFound("no such event")
        return self.parsed(stored)

    def recorded(self, event: Event) -> tuple[str, Event | None]:
        """The subject that an event of this id is recorded under, and the event as it came, if that is kept.

        It may be another subject: what an event is about may be understood otherwise than it was.
        """
        stored = self.ledger.event(event.subject, event.id)
        subject = stored.subject if stored else self.ledger.subject_of(event.key) or event.subject
        stored = stored or self.ledger.event(subject, event.id)
        if stored is None or stored.body is None:
            return subject, None
        read = self.providers[event.provider].event(stored.body, stored.received_at)
        return subject, replace(read, via=stored.via)

    def parsed(self, stored: StoredEvent) -> Event:
        """Raises ``BodyRemoved``."""
        if stored.content is None:
            raise BodyRemoved("the event's body was removed")
        provider = self.providers[stored.subject.partition(":")[0]]
        return replace(provider.event(stored.content, stored.received_at), via=stored.via)

    @property
    def runner(self) -> Runner:
        return Runner(
            ledger=self.ledger,
            handlers=self.handlers,
            telemetry=self.telemetry,
            clock=self.clock,
            event=self.stored_event,
            explain=self.explain,
            terms=self.terms,
        )

    # ── what is said ────────────────────────────────────────────────────────────────────────────

    def _log_event(self, outcome: str, event: Event, metrics: Mapping[str, float]) -> None:
        self.telemetry.log(
            outcome,
            metrics=metrics,
            provider=event.provider,
            event_id=event.id,
            subject=event.subject,
            type=event.type,
            queued_ms=self.clock() - event.received_at,
        )

    def _log_change(self, record: RecordWrite) -> None:
        if isinstance(record.change, subscriptions.Change) and record.change.is_paid_after_end:
            counted = {"paid_after_end": 1}
            self.telemetry.log("paid after it had ended", "WARNING", counted, subject=record.subject)
        for milestone in record.news:
            self.telemetry.count("milestones", type=milestone.type)
        if record.change.moved:
            self.telemetry.log("moved", "DEBUG", record.change.moved, currency=record.change.currency)


def newly_named(before: Facts, after: Facts) -> tuple[str, ...]:
    """The ids of objects that a payment is known by from now on."""
    known = before.get("payment", {}).get("related", ())
    new = [name.split(" ") for name in after.get("payment", {}).get("related", ()) if name not in known]
    return tuple(dict.fromkeys(id_ for kind, id_ in new if kind in ASKED_FOR))


def _is_written(stored: StoredPayment, facts: Facts) -> bool:
    """What users see is written with each event; what nobody sees only where it changes."""
    return kind_of(stored.outbox.subject).is_shown or not stored.version or stored.facts != facts


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one invocation. ``known`` holds what is understood, or distrusted: a provider is asked
    once."""

    records: Sequence[QueuedRecord]
    consumer: Consumer
    deadline: int
    known: dict[Address, Understood | Distrusted] = field(default_factory=dict)

    def process(self) -> list[str]:
        """Raises ``BatchFailed``, as ``Consumer.process`` says."""
        clock = self.consumer.clock
        enough = max(self.deadline - RESERVE, clock() + RESERVE)  # who has little time uses it all
        until = min(enough + 1, self.deadline - LAST)
        with self.consumer.patient(lambda: (until - clock()) / 1000):
            done, failed = self._recorded(enough)
        if failed and not self.consumer.partial_batches:
            self.consumer.inbox.delete([each.sqs["receiptHandle"] for each in done])
            raise BatchFailed(f"{len(failed)} subject(s) to be delivered again")
        return [each.sqs["messageId"] for each in self.records if each not in done]

    def _recorded(self, enough: int) -> tuple[list[QueuedRecord], set[str]]:
        """Those that are recorded, and the groups of those that are not; none is begun after ``enough``."""
        written = self._record_together()
        done: list[QueuedRecord] = []
        failed: set[str] = set()
        stopped: set[str] = set()
        # what is written is first in its subject, and leased: an event about several is not to find it so
        for record in sorted(self.records, key=lambda each: each.address not in written):
            if record.group in stopped and record.attempts == 1:
                failed.add(record.group)  # waits, but not until both have used up their tries
                continue
            if self.consumer.clock() > enough:
                message_id = record.sqs["messageId"]
                self.consumer.telemetry.log("not begun: the time is up", "WARNING", message_id=message_id)
                failed.add(record.group)
                continue
            outcome = self._outcome(record, written.pop(record.address, None))
            if outcome is Outcome.DONE:
                done.append(record)
                continue
            failed.add(record.group)
            if outcome is Outcome.NOT_RECORDED:
                stopped.add(record.group)
        return done, failed

    def _outcome(self, record: QueuedRecord, written: Write | None) -> Outcome:
        """What became of the record. Whatever goes wrong with one must not stop the others.

        ``written`` is what was recorded of it together with others.
        """
        try:
            self._record(record, written)
        except Distrusted as error:
            return self._set_aside(record, error)
        except NewerRules as error:
            return self._keep_for_later(record, error)
        except Exception as error:
            self._note_failure(record, error)
            is_recorded = isinstance(error, HandlerFailed | HandlersBusy)
            return Outcome.NOT_HANDLED if is_recorded else Outcome.NOT_RECORDED
        return Outcome.DONE

    def _record(self, record: QueuedRecord, written: Write | None) -> None:
        known = self.known.pop(record.address, None)
        if isinstance(known, Distrusted):
            raise known
        message = record.message
        if message is None:
            raise ValueError("not a message of this queue")
        about = {"provider": message.provider, "subject": message.subject, "event_id": message.event_id}
        with self.consumer.telemetry.span("record", **about):
            if written:
                self.consumer.finish(written)
            else:
                self.consumer.record(message, self.deadline, known)
        if record.attempts > 1:
            self.consumer.ledger.parking.forget_failure(*record.address)

    def _set_aside(self, record: QueuedRecord, why: Distrusted) -> Outcome:
        """Park at once what must not count: the genuine events of its payment are not to wait for it."""
        try:
            self.consumer.aside.distrusted(record, why.reason, self.consumer.clock())
        except AwsError as error:
            self._note_failure(record, error)
            return Outcome.NOT_RECORDED
        return Outcome.DONE

    def _keep_for_later(self, record: QueuedRecord, why: NewerRules) -> Outcome:
        """Park at once what the newer version is to record: trying it again here would change nothing."""
        self._note_failure(record, why)
        try:
            self.consumer.aside.dead_lettered(record, self.consumer.clock())
        except AwsError as error:
            self._note_failure(record, error)
            return Outcome.NOT_RECORDED
        return Outcome.DONE

    def _note_failure(self, record: QueuedRecord, error: Exception) -> None:
        reason = str(error) if isinstance(error, HandlerFailed) else type(error).__name__
        attempts = record.attempts
        log = self.consumer.telemetry.log
        fields = {"message_id": record.sqs["messageId"], "error": reason, "attempts": attempts}
        log("failed", "ERROR", {"failed": 1}, **fields)
        try:
            now = self.consumer.clock()
            self.consumer.ledger.parking.note_failure(*record.address, reason, attempts, now)
        except Exception as error:  # the note is a courtesy: the queue keeps the message either way
            log("failure not noted", "ERROR", error=type(error).__name__)

    # ── in one transaction ──────────────────────────────────────────────────────────────────────

    def _record_together(self) -> dict[Address, Write]:
        """What of the batch could be recorded in one read and one transaction, by its address.

        Only a subject's first record of a first delivery, whose payment nobody else works on; all else, and
        all that fails here, is recorded one by one, which says why where it cannot be.
        """
        first: dict[str, QueuedRecord] = {}
        for record in self.records:
            first.setdefault(record.group, record)
        messages = [record.message for record in first.values() if record.message and record.attempts == 1]
        if len(messages) < 2:
            return {}
        ledger = self.consumer.ledger
        try:
            payments = ledger.payments({message.subject for message in messages})
            prepared = [self._prepared(each, payments) for each in messages]
            written = ledger.save_all([write for write in prepared if write])
        except Exception as error:  # what it is, is said where it happens again
            if isinstance(error, AwsError) and error.throttled:  # the time is up, and none is begun
                self.consumer.telemetry.log("throttled", "ERROR", {"failed": len(messages)}, error=error.code)
            return {}
        return {(write.event.subject, write.event.id): write for write in written}

    def _prepared(self, message: Message, payments: Mapping[str, StoredPayment]) -> Write | None:
        """The write of one message, if it can be made from what was read."""
        try:
            understood = self.consumer.understand(message)
        except Unavailable:
            raise  # a provider that hangs is not to be waited for by each of them twice
        except Distrusted as error:
            self.known[message.subject, message.event_id] = error
            return None
        except Exception:
            return None  # one by one it fails again, and says so
        self.known[message.subject, message.event_id] = understood
        event, facts = understood
        if event.subject != message.subject or facts.keys() - {event.subject}:
            return None  # about another subject, or about several
        records = []
        for subject, proved in facts.items():
            stored = payments.get(subject)
            if stored is None or not self._is_ready(stored):
                return None
            joined = kind_of(subject).join(stored.facts, proved)
            if not is_alone(subject, stored.facts, joined):
                return None  # it tells others
            records.append((stored, joined))
        return self.consumer.prepared(understood, message, records, self.deadline)

    def _is_ready(self, stored: StoredPayment) -> bool:
        """Whether it can be joined to as it is: it is nobody else's now, and needs no folding."""
        return not (self.consumer.is_busy(stored) or stored.is_to_be_folded)
