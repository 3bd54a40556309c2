"""Receiving and processing with fakes: what is retried, what is left, and what one failure may stop."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest

from chalicelib import recording
from chalicelib.errors import (
    BatchFailed,
    InvalidPayload,
    InvalidSignature,
    NotFound,
    PayloadTooLarge,
    VersionMoved,
)
from chalicelib.events import Event
from chalicelib.inbox import Message
from chalicelib.reactions import Handlers
from tests.fakes import (
    NOW,
    MemoryInbox,
    MemoryLedger,
    Rolling,
    as_bytes,
    consumer,
    receiver,
    signed,
    sqs_record,
)

BODY = as_bytes({"id": "evt_1", "livemode": False})


# ── receive ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_body_is_as_deep_at_the_door_as_later() -> None:
    """How deep Python goes depends on who asks: what is taken in can be read by the consumer."""

    def nested(levels: int, text: bytes = b"1") -> bytes:
        return b'{"id": "evt_1", "a": ' + b"[" * (levels - 1) + text + b"]" * (levels - 1) + b"}"

    inbox, credentials = MemoryInbox(), Rolling("whsec_new", "")
    for body in (nested(200), nested(3, b'"' + b"[{" * 5000 + b'\\""'), b'{"id": "evt_1"}' + b" " * 10_000):
        receiver(inbox, credentials).receive("stripe", signed("stripe", body))
    for levels in (201, 990, 100_000):
        with pytest.raises(InvalidPayload):
            receiver(inbox, credentials).receive("stripe", signed("stripe", nested(levels)))


def test_a_rolled_secret_loses_no_event() -> None:
    """A failed signature has the secrets read again before it is refused."""
    inbox, rolling = MemoryInbox(), Rolling("whsec_a", "whsec_b")
    answer = receiver(inbox, rolling).receive("stripe", signed("stripe", BODY, secret="whsec_b"))
    assert answer == {"status": "accepted", "event_id": "evt_1"}
    assert sent(inbox) == ["evt_1"]
    with pytest.raises(InvalidSignature):
        receiver(inbox, rolling).receive("stripe", signed("stripe", BODY, secret="whsec_c"))


@pytest.mark.parametrize(("declared", "status"), [(None, "accepted"), (False, "accepted"), (True, "ignored")])
def test_a_test_event_does_not_touch_a_live_stage(declared: bool | None, status: str) -> None:
    """Answered, so that it is not sent again, and put nowhere."""
    inbox = MemoryInbox()
    answer = receiver(inbox, Rolling("whsec_new", ""), declared).receive("stripe", signed("stripe", BODY))
    assert answer["status"] == status
    assert bool(sent(inbox)) == (status == "accepted")


def test_an_unknown_provider_is_not_found() -> None:
    """There is no route to it."""
    with pytest.raises(NotFound):
        receiver(MemoryInbox(), Rolling("a", "a")).receive("square", signed("stripe", BODY))


def test_a_body_over_1_mib_is_too_large() -> None:
    """Whoever sent it."""
    with pytest.raises(PayloadTooLarge):
        receiver(MemoryInbox(), Rolling("a", "a")).receive("stripe", signed("stripe", b"x" * (2**20 + 1)))


# ── process ─────────────────────────────────────────────────────────────────────────────────────────


def sent(inbox: MemoryInbox) -> list[str]:
    return [message.event_id for message in inbox.messages.values()]


def saved(ledger: MemoryLedger) -> list[str]:
    return sorted(event_id for _, event_id in ledger.stored)


def record(event_id: str, group: str, receives: int = 1) -> dict[str, Any]:
    body = as_bytes({"id": event_id, "type": "x.y"})
    message = Message(provider="stripe", event_id=event_id, subject=group, received_at=NOW, body=body)
    return sqs_record(message.encode(), group, receives, receipt=event_id)


def test_a_good_batch_is_left_to_the_event_source() -> None:
    """It deletes what we return from."""
    ledger, inbox = MemoryLedger(), MemoryInbox()
    consumer(ledger, inbox).process([record("evt_1", "a"), record("evt_2", "b")], NOW)
    assert saved(ledger) == ["evt_1", "evt_2"]
    assert inbox.deleted == []


def test_a_failure_stops_its_subject_and_no_other() -> None:
    """What succeeded is deleted here, what failed and what waits behind it is delivered again."""
    ledger, inbox = MemoryLedger({"evt_2": RuntimeError}), MemoryInbox()
    batch = [record("evt_1", "a"), record("evt_2", "a"), record("evt_3", "a"), record("evt_4", "b")]
    with pytest.raises(BatchFailed):
        consumer(ledger, inbox).process(batch, NOW)
    assert saved(ledger) == ["evt_1", "evt_4"]
    assert inbox.deleted == ["evt_1", "evt_4"]
    [noted] = ledger.parking.notes.values()
    assert (noted.event_id, noted.reason, noted.attempts) == ("evt_2", "RuntimeError", 1)


def test_what_waits_behind_a_failure_is_tried_at_its_next_delivery() -> None:
    """Otherwise both would use up their tries together, and the second be parked untried."""
    ledger, inbox = MemoryLedger({"evt_1": RuntimeError}), MemoryInbox()
    with pytest.raises(BatchFailed):
        consumer(ledger, inbox).process([record("evt_1", "a", 2), record("evt_2", "a", 2)], NOW)
    assert saved(ledger) == ["evt_2"]
    assert inbox.deleted == ["evt_2"]


def test_a_failing_handler_does_not_hold_up_what_comes_behind_it() -> None:
    """The rest of the payment is recorded; the outbox keeps the order in which handlers hear."""
    ledger, inbox, handlers = MemoryLedger(), MemoryInbox(), Handlers()

    @handlers.on("stripe.x.y")
    def fail(event: Any) -> None:
        if event.id == "evt_1":
            raise RuntimeError

    with pytest.raises(BatchFailed):
        consumer(ledger, inbox, handlers=handlers).process([record("evt_1", "a"), record("evt_2", "a")], NOW)
    assert saved(ledger) == ["evt_1", "evt_2"]
    assert inbox.deleted == ["evt_2"]


def test_a_batch_survives_an_event_that_nobody_expected() -> None:
    """A time that cannot be shown: the others are recorded, and this one's failure is noted."""
    ledger, inbox = MemoryLedger(), MemoryInbox()
    resource = {"id": "2GG", "amount": {"value": "1.00", "currency_code": "EUR"}}
    odd = {
        "id": "WH-1",
        "event_type": "PAYMENT.CAPTURE.COMPLETED",
        "create_time": "9999-12-31T23:59:59-12:00",
        "resource": resource,
    }
    message = Message(
        provider="paypal", event_id="WH-1", subject="paypal:2GG", received_at=NOW, body=as_bytes(odd)
    )
    batch = [record("evt_1", "a"), sqs_record(message.encode(), "b"), record("evt_2", "c")]
    with contextlib.suppress(BatchFailed):
        consumer(ledger, inbox).process(batch, NOW)
    assert {"evt_1", "evt_2"} <= set(saved(ledger))


def test_a_provider_is_asked_once_for_each_event_of_a_batch() -> None:
    """Also where the batch could not be recorded together, and each is recorded by itself."""
    asked: list[str] = []

    def complete(event: Event, _: Message) -> Event:
        asked.append(event.id)
        return event

    ledger = MemoryLedger()
    consumer(ledger, MemoryInbox()).process([record("evt_1", "a"), record("evt_2", "b")], NOW)
    to = replace(consumer(ledger, MemoryInbox()), complete=complete)
    to.process([record("evt_1", "a"), record("evt_2", "b"), record("evt_3", "c")], NOW)
    assert asked == ["evt_1", "evt_2", "evt_3"]
    assert saved(ledger) == ["evt_1", "evt_2", "evt_3"]


def test_a_message_that_cannot_be_read_does_not_hold_up_others() -> None:
    """It fails on its own, and is noted under the queue's names for it."""
    ledger, inbox = MemoryLedger(), MemoryInbox()
    batch = [sqs_record("garbage", "a"), record("evt_4", "b")]
    with pytest.raises(BatchFailed):
        consumer(ledger, inbox).process(batch, NOW)
    assert saved(ledger) == ["evt_4"]
    [noted] = ledger.parking.notes.values()
    assert (noted.subject, noted.event_id, noted.reason) == ("queue:a", "m-r", "ValueError")


def test_a_success_after_a_failure_forgets_the_failure() -> None:
    """Nothing stays behind of what went right in the end."""
    ledger = MemoryLedger()
    ledger.parking.note_failure("a", "evt_1", "RuntimeError", 1, NOW)
    consumer(ledger, MemoryInbox()).process([record("evt_1", "a", receives=2), record("evt_2", "a")], NOW)
    assert ledger.parking.notes == {}


def test_a_moved_version_is_tried_again_at_once_a_few_times() -> None:
    """Then it is the queue's turn."""
    tries: list[int] = []

    def moved() -> Exception:
        tries.append(1)
        return VersionMoved("a")

    ledger = MemoryLedger({"evt_1": moved})
    body = as_bytes({"id": "evt_1", "data": {"object": {"object": "charge", "id": "ch", "currency": "eur"}}})
    message = Message(provider="stripe", event_id="evt_1", subject="a", received_at=NOW, body=body)
    with pytest.raises(BatchFailed):
        consumer(ledger, MemoryInbox()).process([sqs_record(message.encode())], NOW)
    assert len(tries) == recording.TRIES


def test_what_is_not_understood_is_recorded_all_the_same() -> None:
    """A failing mapping is told, and costs the event its facts, not its place in the ledger."""
    ledger = MemoryLedger()
    lines: list[str] = []
    body = as_bytes({"id": "evt_1", "data": {"object": {"object": "charge", "amount": "?"}}})
    message = Message(provider="stripe", event_id="evt_1", subject="a", received_at=NOW, body=body)
    consumer(ledger, MemoryInbox(), lines).process([sqs_record(message.encode())], NOW)
    assert saved(ledger) == ["evt_1"]
    assert any("not_understood" in line for line in lines)


def test_dead_letters_are_parked() -> None:
    """Each with how often it was tried; also one that cannot be read."""
    ledger = MemoryLedger()
    consumer(ledger, MemoryInbox()).park([record("evt_1", "a", receives=6), sqs_record("garbage", "b")], NOW)
    parked = sorted((each.subject, each.event_id, each.attempts) for each in ledger.parking.parked())
    assert parked == [("a", "evt_1", 6), ("queue:b", "m-r", 1)]
