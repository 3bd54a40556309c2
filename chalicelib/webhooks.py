"""The two sentences of the program.

receive: prove a delivery genuine, name its event, and put it on the queue before saying 200.
process: record each queued event with the payment that it makes, once, and run what handlers are left.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from chalicelib.credentials import Credentials, Secrets
from chalicelib.errors import (
    AwsError,
    BatchFailed,
    DuplicateEvent,
    HandlerFailed,
    HandlersBusy,
    InvalidSignature,
    NotFound,
    PayloadTooLarge,
    VersionMoved,
)
from chalicelib.events import Delivery, Event
from chalicelib.inbox import Inbox, Message
from chalicelib.ledger import PAYMENT, Ledger, Outbox, StoredPayment
from chalicelib.outbox import Runner, run, run_left
from chalicelib.payments import Facts, join, news
from chalicelib.providers.protocol import Provider, Trust
from chalicelib.reactions import Handlers
from chalicelib.telemetry import Telemetry

Known = dict[str, StoredPayment]

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
    _verify(provider, delivery, to)
    event = provider.event(delivery.body, delivery.received_at)
    if _is_of_other_mode(event, to.livemode):
        return {"status": "ignored", "event_id": event.id}
    to.inbox.send(event, delivery.body)
    return {"status": "accepted", "event_id": event.id}


def _verify(provider: Provider, delivery: Delivery, to: Receiver) -> None:
    """Verify; where that fails, with the credentials read anew: a secret may just have been rolled."""
    try:
        provider.verify(delivery, to.trust(to.credentials.current()))
    except InvalidSignature:
        if not to.credentials.reread():
            raise
        provider.verify(delivery, to.trust(to.credentials.current()))


def _is_of_other_mode(event: Event, livemode: bool | None) -> bool:
    return None not in (livemode, event.livemode) and event.livemode != livemode


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
        provider = self.providers[subject.partition(":")[0]]
        return provider.event(stored.content, stored.received_at)

    @property
    def runner(self) -> Runner:
        return Runner(self.ledger, self.handlers, self.telemetry, self.clock, self.stored_event)


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
            return f"queue:{self.group}", str(self.sqs["messageId"])
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
    Lambda deliver the whole batch again. After a failure the rest of that subject waits for it.
    """
    batch = [_read(each) for each in records]
    known = _known(batch, to)
    done: list[str] = []
    failed: set[str] = set()
    for record in batch:
        if record.group not in failed and _process_record(record, known, to, deadline):
            done.append(record.sqs["receiptHandle"])
        else:
            failed.add(record.group)
    if failed:
        to.inbox.delete(done)
        raise BatchFailed(f"{len(failed)} subject(s) to be delivered again")


def _known(batch: list[Record], to: Consumer) -> Known:
    """The payments of a batch as they are now, in one read. What is not among them is read when needed."""
    subjects = {record.message.subject for record in batch if record.message}
    try:
        return to.ledger.payments(subjects) if len(subjects) > 1 else {}
    except AwsError:
        return {}


def _process_record(record: Record, known: Known, to: Consumer, deadline: int) -> bool:
    """Whether the record is done with. Whatever goes wrong with one must not stop the others."""
    try:
        if record.message is None:
            raise ValueError("not a message of this queue")
        record_event(record.message, to, deadline, known)
        if record.attempts > 1:
            to.ledger.forget_failure(*record.address)
    except Exception as error:
        reason = str(error) if isinstance(error, HandlerFailed) else type(error).__name__
        _note_failure(record, reason, to)
        return False
    return True


def record_event(message: Message, to: Consumer, deadline: int, known: Known | None = None) -> None:
    """Write one event down, and the payment that it makes; then run what handlers are left.

    ``known`` holds payments as they were just read; each is used once, since it changes here.

    A duplicate changes nothing, but handlers that an earlier delivery left are run for it.
    Raises ``HandlerFailed``, ``HandlersBusy``, ``VersionMoved``.
    """
    event = to.event(message)
    facts = _facts(to.providers[message.provider], event, to.telemetry)
    try:
        before = (known or {}).pop(event.subject, None)
        outbox = _save(event, message.body, facts, before, to, deadline)
        _tell("recorded", event, to.telemetry)
        run(outbox, to.runner)
    except DuplicateEvent:
        _tell("duplicate", event, to.telemetry)
        run_left(*place(event, facts), deadline, to.runner)


def _tell(outcome: str, event: Event, telemetry: Telemetry) -> None:
    telemetry.count(outcome, provider=event.provider)
    telemetry.log(outcome, event_id=event.id, subject=event.subject, type=event.type)


def _save(
    event: Event, body: bytes, facts: Facts, before: StoredPayment | None, to: Consumer, deadline: int
) -> Outbox:
    """The outbox as written, with its lease. Raises ``HandlersBusy`` once recorded, if another has it."""
    if not facts:
        outbox = Outbox(*place(event, facts), 1, to.handlers.tasks(event, ()), deadline)
        to.ledger.save_event(event, body, outbox)
        return outbox
    for _ in range(TRIES):
        payment, before = before or to.ledger.payment(event.subject), None
        after = join(payment.facts, facts)
        busy = payment.outbox.leased_until > to.clock()
        milestones = news(event.subject, payment.facts, after)
        outbox = replace(
            payment.outbox,
            version=payment.version + 1,
            tasks=payment.outbox.tasks + to.handlers.tasks(event, milestones),
            leased_until=payment.outbox.leased_until if busy else deadline,
        )
        try:
            to.ledger.save(event, body, after, outbox, payment.inconsistent_since or to.clock())
        except VersionMoved:
            continue
        if busy:
            raise HandlersBusy(event.subject)
        return outbox
    raise VersionMoved(event.subject)


def place(event: Event, facts: Facts) -> tuple[str, str]:
    """Where an event's tasks are kept: with its payment, or for want of one with the event itself."""
    return event.subject, PAYMENT if facts else f"event:{event.id}"


def _facts(provider: Provider, event: Event, telemetry: Telemetry) -> Facts:
    """What the event proves. One that cannot be understood is recorded all the same, with no facts."""
    try:
        return provider.facts(event)
    except Exception as error:
        telemetry.count("not_understood", provider=event.provider)
        telemetry.log(
            "not understood",
            "ERROR",
            event_id=event.id,
            type=event.type,
            error=type(error).__name__,
        )
        return {}


def _note_failure(record: Record, reason: str, to: Consumer) -> None:
    attempts = record.attempts
    to.telemetry.count("failed", reason=reason)
    to.telemetry.log("failed", "ERROR", message_id=record.sqs["messageId"], error=reason, attempts=attempts)
    try:
        to.ledger.note_failure(*record.address, reason, attempts)
    except Exception as error:  # the note is a courtesy: the queue keeps the message either way
        to.telemetry.log("failure not noted", "ERROR", error=type(error).__name__)


# ── park ────────────────────────────────────────────────────────────────────────────────────────────


def park(records: Iterable[Mapping[str, Any]], to: Consumer, now: int) -> None:
    """Write dead-lettered records into the ledger, where they stay visible and can be replayed."""
    for record in map(_read, records):
        subject, event_id = record.address
        to.ledger.park(subject, event_id, record.sqs["body"], record.attempts, now)
        to.telemetry.count("parked")
        to.telemetry.log("parked", "ERROR", event_id=event_id, subject=subject)
