"""The two sentences of the program.

receive: prove a delivery genuine, name its event, and put it on the queue before saying 200.
process: record each queued event with the payment that it makes, once, and run what handlers are left.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple

from chalicelib.credentials import Credentials, Secrets
from chalicelib.entries import PAYMENT, Outbox, StoredEvent, StoredPayment, Write
from chalicelib.errors import (
    TAMPERED,
    AwsError,
    BatchFailed,
    BodyRemoved,
    Distrusted,
    DuplicateEvent,
    HandlerFailed,
    HandlersBusy,
    InvalidSignature,
    NotFound,
    PayloadTooLarge,
    Unavailable,
    VersionMoved,
)
from chalicelib.events import Delivery, Event
from chalicelib.inbox import Inbox, Message
from chalicelib.ledger import Ledger
from chalicelib.outbox import Runner, run, run_left
from chalicelib.payments import Change, Facts, join
from chalicelib.providers.protocol import Proof, Provider, Trust
from chalicelib.reactions import Handlers
from chalicelib.telemetry import Telemetry

Known = Mapping[str, StoredPayment]  # by subject
Told = tuple[Event, Facts]
Understood = dict[tuple[str, str], Told]  # by subject and event id
Together = dict[tuple[str, str], Write]  # by subject and event id

RESERVE = 5_000  # milliseconds of a batch's time, left for taking off the queue what is done
LARGEST = 1024 * 1024  # bytes of a body, before it is compressed
TRIES = 4  # when another consumer wrote the payment first; after that the queue tries again


# ── receive ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Receiver:
    """All that ``receive`` needs. ``trust`` makes what a delivery is verified with from the secrets."""

    providers: Mapping[str, Provider]
    credentials: Credentials
    trust: Callable[[Secrets], Trust]
    inbox: Inbox
    telemetry: Telemetry
    livemode: bool | None


def receive(provider_name: str, delivery: Delivery, to: Receiver) -> dict[str, str]:
    """What to answer with 200. Raises ``Refused``, whose status and code say why it is not accepted."""
    provider = to.providers.get(provider_name)
    if provider is None:
        raise NotFound("no such provider")
    if len(delivery.body) > LARGEST:
        raise PayloadTooLarge("the body is over 1 MiB")
    with to.telemetry.span("verify", provider=provider.NAME):
        proof = _verify(provider, delivery, to)
    event = provider.event(delivery.body, delivery.received_at)
    status = "ignored" if event.is_of_other_mode(to.livemode) else "accepted"
    if status == "accepted":
        with to.telemetry.span("enqueue", provider=event.provider, type=event.type, subject=event.subject):
            to.inbox.send(event, delivery.body, proof.transmission, to.telemetry.trace())
    to.telemetry.log(
        status,
        metrics={"received": 1, status: 1, "verified": 1},
        provider=event.provider,
        event_id=event.id,
        subject=event.subject,
        secret=proof.secret,
        ms=to.telemetry.clock() - delivery.received_at,
    )
    return {"status": status, "event_id": event.id}


def _verify(provider: Provider, delivery: Delivery, to: Receiver) -> Proof:
    """Verify; where that fails, with the credentials read anew: a secret may just have been rolled."""
    try:
        return provider.verify(delivery, to.trust(to.credentials.current()))
    except InvalidSignature:
        if not to.credentials.reread():
            raise
        return provider.verify(delivery, to.trust(to.credentials.current()))


# ── process ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Consumer:
    """All that ``process`` needs. ``complete`` fetches what a thin event leaves out."""

    providers: Mapping[str, Provider]
    ledger: Ledger
    inbox: Inbox
    telemetry: Telemetry
    handlers: Handlers
    clock: Callable[[], int]
    complete: Callable[[Event], Event] = lambda event: event

    def event(self, message: Message) -> Event:
        event = self.providers[message.provider].event(message.body, message.received_at)
        return self.complete(event)

    def stored_event(self, subject: str, event_id: str) -> Event:
        """A recorded event, as handlers hear it."""
        stored = self.ledger.event(subject, event_id)
        if stored is None:
            raise NotFound("no such event")
        return self._parsed(stored)

    def recorded(self, event: Event) -> tuple[str, Event | None]:
        """The subject that an event of this id is recorded under, and the event, if its body is kept.

        It may be another subject: what an event is about may be understood otherwise than it was.
        """
        stored = self.ledger.event(event.subject, event.id)
        subject = event.subject if stored else self.ledger.subject_of(event.key) or event.subject
        stored = stored or self.ledger.event(subject, event.id)
        return subject, self._parsed(stored) if stored and stored.content else None

    def _parsed(self, stored: StoredEvent) -> Event:
        if stored.content is None:
            raise BodyRemoved("the event's body was removed")
        provider = self.providers[stored.subject.partition(":")[0]]
        return provider.event(stored.content, stored.received_at)

    @property
    def runner(self) -> Runner:
        return Runner(self.ledger, self.handlers, self.telemetry, self.clock, self.stored_event)


class Outcome(Enum):
    """What became of a record."""

    DONE = "done"
    NOT_HEARD = "recorded, but its handlers have not heard of it"
    NOT_RECORDED = "not recorded"


class Record(NamedTuple):
    """An SQS record with the message that it holds; ``None`` where it cannot be read."""

    sqs: Mapping[str, Any]
    message: Message | None

    @property
    def group(self) -> str:
        return str(self.sqs["attributes"]["MessageGroupId"])

    @property
    def attempts(self) -> int:
        return int(self.sqs["attributes"]["ApproximateReceiveCount"])

    @property
    def address(self) -> tuple[str, str]:
        """Subject and event id; of one that cannot be read, its queue's names for them."""
        if self.message is None:
            return f"queue:{self.group.removeprefix('queue:')}", str(self.sqs["messageId"])
        return self.message.subject, self.message.event_id


def _read(sqs: Mapping[str, Any]) -> Record:
    try:
        return Record(sqs, Message.decode(sqs["body"]))
    except ValueError:
        return Record(sqs, None)


def process(records: Iterable[Mapping[str, Any]], to: Consumer, deadline: int) -> None:
    """Record a batch of SQS records, those of one subject in their order, and run their handlers.

    ``deadline`` is when this process may be ended, in milliseconds.

    Raises ``BatchFailed`` when any failed, after taking those that succeeded off the queue: a raise makes
    Lambda deliver the whole batch again. After one that could not be recorded the rest of that subject waits
    for it once; where only its handlers failed, the rest is recorded: the outbox keeps the handlers' order.
    What is not begun when the time is nearly up waits too: a process that is ended takes off nothing.
    """
    began = to.clock()
    enough = max(deadline - RESERVE, began + RESERVE)  # who has little time uses it all
    batch = [_read(each) for each in records]
    understood: Understood = {}
    together = _record_together(batch, understood, to, deadline)
    done: list[str] = []
    failed: set[str] = set()
    stopped: set[str] = set()
    for record in batch:
        if record.group in stopped and record.attempts == 1:
            failed.add(record.group)  # waits, but not until both have used up their tries
            continue
        if to.clock() > enough:
            to.telemetry.log("not begun: the time is up", "WARNING", message_id=record.sqs["messageId"])
            failed.add(record.group)
            continue
        known = understood.pop(record.address, None)
        outcome = _process_record(record, together.pop(record.address, None), known, to, deadline)
        if outcome is Outcome.DONE:
            done.append(record.sqs["receiptHandle"])
            continue
        failed.add(record.group)
        if outcome is Outcome.NOT_RECORDED:
            stopped.add(record.group)
    if failed:
        to.inbox.delete(done)
        raise BatchFailed(f"{len(failed)} subject(s) to be delivered again")


def _process_record(
    record: Record, written: Write | None, known: Told | None, to: Consumer, deadline: int
) -> Outcome:
    """What became of the record. Whatever goes wrong with one must not stop the others.

    ``written`` is what was recorded of it together with others; ``known`` what is understood of it already.
    """
    try:
        if record.message is None:
            raise ValueError("not a message of this queue")
        about = {"provider": record.message.provider, "subject": record.message.subject}
        with to.telemetry.span("record", **about, event_id=record.message.event_id):
            if written:
                _recorded(written, to)
            else:
                record_event(record.message, to, deadline, known)
        if record.attempts > 1:
            to.ledger.forget_failure(*record.address)
    except Distrusted as error:
        return _set_aside(record, error, to)
    except Exception as error:
        _note_failure(record, error, to)
        recorded = isinstance(error, HandlerFailed | HandlersBusy)
        return Outcome.NOT_HEARD if recorded else Outcome.NOT_RECORDED
    return Outcome.DONE


def _set_aside(record: Record, why: Distrusted, to: Consumer) -> Outcome:
    """Park at once what must not count: the genuine events of its payment are not to wait for it.

    Each content has a place of its own: evidence must not be replaced by more of it.
    """
    subject, event_id = record.address
    content = hashlib.sha256(record.message.body if record.message else b"").hexdigest()
    event_id = f"{event_id}:{why.reason}:{content[:16]}"
    try:
        to.ledger.note_failure(subject, event_id, why.reason, record.attempts)
        to.ledger.park(subject, event_id, record.sqs["body"], record.attempts, to.clock())
    except AwsError as error:
        _note_failure(record, error, to)
        return Outcome.NOT_RECORDED
    _tell_parked(event_id, subject, to, why.reason)
    return Outcome.DONE


def record_event(message: Message, to: Consumer, deadline: int, known: Told | None = None) -> None:
    """Write one event down, and the payment that it makes; then run what handlers are left.

    ``known`` is the event with its facts, where the message has been understood already.

    A duplicate changes nothing, but handlers that an earlier delivery left are run for it.
    Raises ``Distrusted``, ``HandlerFailed``, ``HandlersBusy``, ``VersionMoved``.
    """
    event, facts = known or _understood(message, to)
    try:
        write = _save(event, message, facts, to, deadline)
    except DuplicateEvent:
        subject = _duplicated(event, to)
        if message.transmission:  # one more that carried it: it too may stand for this body only
            to.ledger.hold(message.transmission, message.body, message.received_at)
        _tell("duplicate", event, to, {"duplicate": 1})
        run_left(subject, f"event:{event.id}", deadline, to.runner)  # from when it was not understood
        if facts:
            run_left(subject, PAYMENT, deadline, to.runner)
        return
    _recorded(write, to)


def _duplicated(event: Event, to: Consumer) -> str:
    """The subject it is recorded under. Raises ``Distrusted`` where what has this id is another event."""
    subject, recorded = to.recorded(event)
    if recorded and not event.is_same_as(recorded):
        raise Distrusted(TAMPERED)
    return subject


def _recorded(write: Write, to: Consumer) -> None:
    event = write.event
    now = to.clock()
    lags = {"lag": now - event.created_at, "queued": now - event.received_at}
    _tell("recorded", event, to, {"recorded": 1, **lags})
    if write.change:
        _tell_change(write.change, to.telemetry)
    run(write.outbox, to.runner)


def _understood(message: Message, to: Consumer) -> Told:
    event = to.event(message)
    return event, _facts(to.providers[message.provider], event, to.telemetry)


def _tell(outcome: str, event: Event, to: Consumer, metrics: Mapping[str, float]) -> None:
    to.telemetry.log(
        outcome,
        metrics=metrics,
        provider=event.provider,
        event_id=event.id,
        subject=event.subject,
        type=event.type,
        queued_ms=to.clock() - event.received_at,
    )


def _tell_change(change: Change, telemetry: Telemetry) -> None:
    for milestone in change.milestones:
        telemetry.count("milestones", type=milestone.type)
    if change.moved:
        telemetry.log("moved", "DEBUG", change.moved, currency=change.currency)


def _save(event: Event, message: Message, facts: Facts, to: Consumer, deadline: int) -> Write:
    """What was written, with its lease. Raises ``HandlersBusy`` once recorded, if another has it."""
    if not facts:
        write = _alone(event, message, to, deadline)
        to.ledger.save(write)
        return write
    for _ in range(TRIES):
        payment = to.ledger.payment(event.subject)
        busy = _is_busy(payment, to)
        until = payment.outbox.leased_until if busy else deadline
        write = _joined(event, message, facts, payment, to, until)
        try:
            to.ledger.save(write)
        except VersionMoved:
            continue
        if busy:
            raise HandlersBusy(event.subject)
        return write
    raise VersionMoved(event.subject)


def _alone(event: Event, message: Message, to: Consumer, deadline: int) -> Write:
    """An event that proves nothing of a payment keeps what handlers are to hear of it itself."""
    outbox = Outbox(*place(event, {}), 1, to.handlers.tasks(event, ()), deadline)
    return Write(event, message.body, outbox, transmission=message.transmission)


def _joined(
    event: Event, message: Message, facts: Facts, payment: StoredPayment, to: Consumer, leased_until: int
) -> Write:
    """An event with the payment as it will be: facts joined, and what is new for handlers to hear."""
    after = join(payment.facts, facts)
    told = payment.change_to(after)
    outbox = payment.outbox_after(told, to.handlers.tasks(event, told.milestones))
    leased = replace(outbox, leased_until=leased_until)
    since = payment.inconsistent_since or to.clock()
    return Write(event, message.body, leased, after, since, message.transmission, told)


def _is_busy(payment: StoredPayment, to: Consumer) -> bool:
    return payment.outbox.leased_until > to.clock()


# ── a batch at once ─────────────────────────────────────────────────────────────────────────────────


def _record_together(batch: list[Record], understood: Understood, to: Consumer, deadline: int) -> Together:
    """What of a batch could be recorded in one read and one transaction, by its address.

    Only a subject's first record of a first delivery, whose payment nobody else works on; all else, and
    all that fails here, is recorded one by one, which says why where it cannot be. ``understood`` is filled
    with what was understood on the way: a provider is not to be asked twice.
    """
    first: dict[str, Record] = {}
    for record in batch:
        first.setdefault(record.group, record)
    messages = [record.message for record in first.values() if record.message and record.attempts == 1]
    if len(messages) < 2:
        return {}
    try:
        payments = to.ledger.payments({message.subject for message in messages})
        prepared = [_prepared(each, payments, understood, to, deadline) for each in messages]
        writes = [write for write in prepared if write]
        written = to.ledger.save_all(writes)
    except Exception:
        return {}  # whatever it is, it is told where it happens again
    return {(write.event.subject, write.event.id): write for write in written}


def _prepared(
    message: Message, payments: Known, understood: Understood, to: Consumer, deadline: int
) -> Write | None:
    """The write of one message, if it can be made from what was read."""
    try:
        event, facts = _understood(message, to)
    except Unavailable:
        raise  # a provider that hangs is not to be waited for by each of them twice
    except Exception:
        return None  # one by one it fails again, and is told
    understood[message.subject, message.event_id] = event, facts
    if event.subject != message.subject:
        return None  # a thin event: what it is about was just learnt
    payment = payments.get(event.subject)
    if not facts:
        return _alone(event, message, to, deadline)
    if payment is None or _is_busy(payment, to):
        return None
    return _joined(event, message, facts, payment, to, deadline)


def place(event: Event, facts: Facts) -> tuple[str, str]:
    """Where an event's tasks are kept: with its payment, or for want of one with the event itself."""
    return event.subject, PAYMENT if facts else f"event:{event.id}"


def _facts(provider: Provider, event: Event, telemetry: Telemetry) -> Facts:
    """What the event proves. One that cannot be understood is recorded all the same, with no facts."""
    try:
        return provider.facts(event)
    except Exception as error:
        telemetry.log(
            "not understood",
            "ERROR",
            {"not_understood": 1},
            provider=event.provider,
            event_id=event.id,
            type=event.type,
            error=type(error).__name__,
        )
        return {}


def _note_failure(record: Record, error: Exception, to: Consumer) -> None:
    reason = str(error) if isinstance(error, HandlerFailed) else type(error).__name__
    attempts = record.attempts
    fields = {"message_id": record.sqs["messageId"], "error": reason, "attempts": attempts}
    to.telemetry.log("failed", "ERROR", {"failed": 1}, **fields)
    try:
        to.ledger.note_failure(*record.address, reason, attempts)
    except Exception as error:  # the note is a courtesy: the queue keeps the message either way
        to.telemetry.log("failure not noted", "ERROR", error=type(error).__name__)


def _tell_parked(event_id: str, subject: str, to: Consumer, reason: str | None = None) -> None:
    fields = {"event_id": event_id, "subject": subject, "reason": reason}
    to.telemetry.log("parked", "ERROR", {"parked": 1}, **fields)


# ── park ────────────────────────────────────────────────────────────────────────────────────────────


def park(records: Iterable[Mapping[str, Any]], to: Consumer, now: int) -> None:
    """Write dead-lettered records into the ledger, where they stay visible and can be redriven.

    Raises ``BatchFailed`` when any could not be written, after trying them all.
    """
    failed = 0
    for record in map(_read, records):
        subject, event_id = record.address
        try:
            to.ledger.park(subject, event_id, record.sqs["body"], record.attempts, now)
        except AwsError as error:
            to.telemetry.log("not parked", "ERROR", event_id=event_id, subject=subject, error=error.code)
            failed += 1
            continue
        _tell_parked(event_id, subject, to)
    if failed:  # those that are parked are parked again, as what they are
        raise BatchFailed(f"{failed} to be parked again")
