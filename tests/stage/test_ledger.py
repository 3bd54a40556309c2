"""The ledger: one transaction for an event and its payment. The table and the fake pass the same tests."""

import random
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.entries import Outbox, Write
from chalicelib.errors import AwsError, Distrusted, DuplicateEvent, VersionMoved
from chalicelib.inbox import Message
from chalicelib.kinds import PAYMENT
from chalicelib.ledger import Ledger
from chalicelib.payments import Facts, fact, join
from chalicelib.reactions import Task
from chalicelib.transmissions import MOST_COPIES, MOST_QUESTIONS
from ops.stage import Stage
from tests.fakes import NOW, MemoryLedger, an_event, record_of, write_of
from tests.little_dynamo import LittleDynamo

BODY = b'{"id": "evt_1"}'
FACTS: Facts = fact("payment", captured=[[5, NOW]], created_at=NOW, priced=[1, NOW, 5, "EUR"])
EVENT = an_event(type="charge.succeeded", livemode=False, api_version="v")
TASK = Task(id="stripe:pi_1/payment.succeeded", type="payment.succeeded", at="2026-11-24T00:00:00Z", amount=5)


def outbox(version: int, *tasks: Task, entry: str = PAYMENT, leased_until: int = 0) -> Outbox:
    return Outbox("stripe:pi_1", entry, version, tasks=tasks, leased_until=leased_until)


@pytest.fixture
def table(stage: Stage) -> Ledger:
    return stage.ledger()


@pytest.fixture(params=["table", "little", "memory"])
def ledger(request: pytest.FixtureRequest) -> Any:
    if request.param == "little":
        return Ledger(LittleDynamo(), "little")
    return MemoryLedger() if request.param == "memory" else request.getfixturevalue("table")


def test_an_event_and_its_payment_are_written_together(ledger: Ledger) -> None:
    """And read back as they were."""
    ledger.save(write_of(EVENT, BODY, outbox(1, leased_until=9), FACTS))
    stored = ledger.payment("stripe:pi_1")
    assert (stored.facts, stored.version, stored.outbox) == (FACTS, 1, outbox(1))
    [event] = ledger.events("stripe:pi_1")
    assert (event.id, event.type, event.body, event.created_at) == ("evt_1", "charge.succeeded", BODY, NOW)
    assert ledger.event("stripe:pi_1", "evt_1") == event
    assert ledger.event("stripe:pi_1", "evt_9") is None


def test_nothing_is_known_of_a_new_subject(ledger: Ledger) -> None:
    """Version 0 is what is not stored yet."""
    stored = ledger.payment("stripe:pi_1")
    assert (stored.facts, stored.version, stored.outbox) == ({}, 0, outbox(0))
    assert list(ledger.events("stripe:pi_1")) == []


def test_a_duplicate_changes_nothing(ledger: Ledger) -> None:
    """Neither the event nor the payment, whatever version the writer believes in."""
    ledger.save(write_of(EVENT, BODY, outbox(1), FACTS))
    for version in (1, 2, 7):
        with pytest.raises(DuplicateEvent):
            ledger.save(write_of(EVENT, b"other", outbox(version), {}))
    with pytest.raises(DuplicateEvent):
        ledger.save(write_of(EVENT, b"other", outbox(1)))
    assert ledger.payment("stripe:pi_1").facts == FACTS
    assert [event.body for event in ledger.events("stripe:pi_1")] == [BODY]


@pytest.mark.parametrize("version", [1, 3])
def test_a_moved_version_writes_neither(ledger: Ledger, version: int) -> None:
    """Somebody else wrote the payment since it was read: the event is not recorded either."""
    ledger.save(write_of(EVENT, BODY, outbox(1), FACTS))
    with pytest.raises(VersionMoved):
        ledger.save(write_of(replace(EVENT, id="evt_2"), BODY, outbox(version), {}))
    assert [event.id for event in ledger.events("stripe:pi_1")] == ["evt_1"]
    assert ledger.payment("stripe:pi_1").version == 1


def test_an_outbox_is_written_with_its_payment_and_then_alone(ledger: Ledger) -> None:
    """Each write moves the version; an empty one has no lease."""
    ledger.save(write_of(EVENT, BODY, outbox(1, TASK, leased_until=9), FACTS))
    assert ledger.outbox("stripe:pi_1", PAYMENT) == outbox(1, TASK, leased_until=9)
    struck = replace(TASK, done=("fulfil",))
    ledger.write_outbox(outbox(1, struck, leased_until=9))
    with pytest.raises(VersionMoved):
        ledger.write_outbox(outbox(1, TASK))
    assert ledger.outbox("stripe:pi_1", PAYMENT) == outbox(2, struck, leased_until=9)
    ledger.write_outbox(outbox(2, leased_until=9))
    assert ledger.payment("stripe:pi_1").outbox == outbox(3)
    assert ledger.payment("stripe:pi_1").facts == FACTS
    superseded = replace(outbox(3), superseded=("payment.failed", "dispute.opened/dp_1"))
    assert ledger.write_outbox(superseded) == ledger.outbox("stripe:pi_1", PAYMENT)
    assert ledger.write_outbox(outbox(4)) == ledger.outbox("stripe:pi_1", PAYMENT) == outbox(5)
    assert ledger.outbox("stripe:pi_1", "event:evt_1").tasks == ()


def test_an_event_without_a_payment_has_an_outbox_of_its_own(ledger: Ledger) -> None:
    """Kept with the event."""
    entry = "event:evt_1"
    ledger.save(write_of(EVENT, BODY, outbox(1, TASK, entry=entry, leased_until=9)))
    assert ledger.outbox("stripe:pi_1", entry) == outbox(1, TASK, entry=entry, leased_until=9)
    ledger.write_outbox(outbox(1, entry=entry))
    assert ledger.outbox("stripe:pi_1", entry) == outbox(2, entry=entry)
    assert ledger.payment("stripe:pi_1").version == 0


def test_what_is_parked_stays_visible(ledger: Ledger) -> None:
    """With reason, attempts and time; a note of a failure alone is not parked yet."""
    ledger.parking.note_failure("stripe:pi_1", "evt_1", "ValueError", 2, NOW)
    assert list(ledger.parking.parked()) == []
    ledger.parking.park("stripe:pi_1", "evt_1", "the message", 5, NOW)
    ledger.parking.park("stripe:pi_2", "evt_2", "the message", 5, NOW + 1)
    died, failed = ledger.parking.parked()
    assert (failed.subject, failed.event_id, failed.message) == ("stripe:pi_1", "evt_1", "the message")
    assert (failed.reason, failed.attempts, failed.parked_at) == ("ValueError", 5, NOW)
    assert died.reason == "the consumer stopped or ran out of time"
    ledger.parking.forget_failure("stripe:pi_1", "evt_1")
    assert [each.event_id for each in ledger.parking.parked()] == ["evt_2"]


# ── only the table ──────────────────────────────────────────────────────────────────────────────────


def test_the_table_holds_what_the_design_says(table: Ledger, stage: Stage) -> None:
    """The event, the payment, the day in the calendar, and when the stage began."""
    table.save(write_of(EVENT, BODY, outbox(1), FACTS))
    items = stage.client("dynamodb").scan(TableName=stage.names.table)["Items"]
    entries = sorted(item["entry"]["S"] for item in items)
    assert entries == ["2026-11-24", "event:evt_1", "id", "payment", "stage"]


def test_an_event_is_found_by_its_id_alone(table: Ledger) -> None:
    """Through the index; and a connected account's payment by its own id."""
    connected = replace(EVENT, id="evt_2", subject="stripe:acct_1:pi_1", account="acct_1")
    table.save(write_of(EVENT, BODY, outbox(1), FACTS))
    facts = join(FACTS, fact("payment", account=["acct_1"]))
    table.save(write_of(connected, BODY, Outbox("stripe:acct_1:pi_1", PAYMENT, 1), facts))
    assert table.subject_of("stripe:evt_1") == "stripe:pi_1"
    assert table.referred("stripe:pi_1") == ["stripe:acct_1:pi_1"]
    assert (table.subject_of("stripe:evt_9"), table.referred("stripe:evt_9")) == (None, [])


def test_a_payment_is_found_by_its_reference(table: Ledger) -> None:
    """Several can be of one; a connected account's has its bare id beside it."""
    for number in (1, 2):
        subject = f"stripe:acct_1:pi_{number}"
        facts = join(FACTS, fact("payment", reference=[0, NOW, "1001"], account=["acct_1"]))
        event = replace(EVENT, id=f"evt_{number}", subject=subject)
        table.save(write_of(event, BODY, Outbox(subject, PAYMENT, 1), facts))
    assert sorted(table.referred("1001")) == ["stripe:acct_1:pi_1", "stripe:acct_1:pi_2"]
    assert table.referred("stripe:pi_2") == ["stripe:acct_1:pi_2"]


def test_a_handler_that_waits_is_found_by_when_it_began(ledger: Ledger) -> None:
    """Until its payment has what it needs; one that is inconsistent is found as that."""
    task = Task(id="stripe:pi_1/payment.succeeded", type="payment.succeeded", needs="reference")
    waiting = Outbox("stripe:pi_1", PAYMENT, 1, tasks=(task,))
    write = write_of(EVENT, BODY, waiting, FACTS)
    [record] = write.records
    ledger.save(replace(write, records=(replace(record, waiting_since=NOW),)))
    assert (list(ledger.waiting(NOW)), list(ledger.waiting(NOW - 1))) == (["stripe:pi_1"], [])
    assert list(ledger.inconsistent(NOW)) == []
    stored = ledger.payment("stripe:pi_1")
    assert (stored.waiting_since, stored.inconsistent_since) == (NOW, None)
    facts = join(stored.facts, fact("payment", reference=[0, NOW, "1001"]))
    ledger.save_payment(stored.with_facts(facts, NOW + 5))
    assert list(ledger.waiting(NOW + 9)) == []


def test_an_event_id_is_recorded_under_one_subject(ledger: Ledger) -> None:
    """Whatever it is taken to be about the next time."""
    ledger.save(write_of(EVENT, BODY, outbox(1), FACTS))
    other = replace(EVENT, subject="stripe:pi_2")
    with pytest.raises(DuplicateEvent):
        ledger.save(write_of(other, BODY, Outbox("stripe:pi_2", PAYMENT, 1), FACTS))
    assert ledger.subject_of("stripe:evt_1") == "stripe:pi_1"
    assert ledger.payment("stripe:pi_2").version == 0


def test_a_transmission_is_held_to_one_body(ledger: Ledger) -> None:
    """Also by itself, where its event is recorded already."""
    ledger.transmissions.hold("T1", BODY, NOW)
    ledger.transmissions.hold("T1", BODY, NOW + 1)
    with pytest.raises(Distrusted):
        ledger.transmissions.hold("T1", b"another", NOW)


def test_what_comes_by_a_transmission_is_counted(ledger: Ledger) -> None:
    """The copies of it that are set aside, and the questions that it cost in vain."""
    names = ledger.transmissions
    names.check("T1", BODY)
    assert [names.may_keep("T1", NOW) for _ in range(MOST_COPIES + 2)] == [True] * MOST_COPIES + [False] * 2
    for _ in range(MOST_QUESTIONS):
        names.check("T1", BODY)
        names.asked_in_vain("T1", NOW)
    with pytest.raises(Distrusted, match="unconfirmed"):
        names.check("T1", BODY)
    names.hold("T1", BODY, NOW)
    names.check("T1", BODY)  # it is known: nothing more is to be asked
    with pytest.raises(Distrusted, match="tampered"):
        names.check("T1", b"another")


def test_certificates_are_kept(table: Ledger) -> None:
    """By URL."""
    assert table.certificates.certificates() == {}
    table.certificates.keep_certificate("https://api.paypal.com/x", b"pem")
    assert table.certificates.certificates() == {"https://api.paypal.com/x": b"pem"}


def test_an_inconsistent_payment_is_found_by_when_it_became_so(ledger: Ledger) -> None:
    """More given back than captured; and no longer once that is explained."""
    refund = fact("refund re_1", amount=[NOW, 9], succeeded_at=NOW, currency=[NOW, "EUR"])
    ledger.save(write_of(EVENT, BODY, outbox(1), refund))
    assert ledger.payment("stripe:pi_1").inconsistent_since == NOW
    assert list(ledger.inconsistent(NOW - 1)) == []
    assert list(ledger.inconsistent(NOW)) == ["stripe:pi_1"]
    captured = fact("payment", captured=[[9, NOW]], priced=[1, NOW, 9, "EUR"])
    ledger.save(write_of(replace(EVENT, id="evt_2"), BODY, outbox(2), join(refund, captured)))
    assert ledger.payment("stripe:pi_1").inconsistent_since is None
    assert list(ledger.inconsistent(NOW)) == []


def test_the_largest_message_can_be_parked(ledger: Ledger) -> None:
    """What is accepted can be set aside: a queue's text of half a megabyte fits into an item."""
    text = Message(
        provider="stripe",
        event_id="evt_1",
        subject="s",
        received_at=1,
        body=random.Random(1).randbytes(370_000),
    ).encode()
    assert len(text) > 409_600
    ledger.parking.park("stripe:pi_1", "evt_1", text, 5, NOW)
    [parked] = ledger.parking.parked()
    assert parked.message == text


def test_what_was_parked_anew_meanwhile_stays_parked(ledger: Ledger) -> None:
    """Taking one off that was sent again must not take off the one that failed again."""
    ledger.parking.park("stripe:pi_1", "evt_1", "text", 5, NOW)
    [before] = ledger.parking.parked()
    ledger.parking.park("stripe:pi_1", "evt_1", "text", 1, NOW + 1)
    ledger.parking.unpark(before)
    [again] = ledger.parking.parked()
    ledger.parking.unpark(again)
    assert list(ledger.parking.parked()) == []


def test_several_payments_are_read_at_once(ledger: Ledger) -> None:
    """Those that there are, and that there is nothing yet of the others."""
    ledger.save(write_of(EVENT, BODY, outbox(1, TASK, leased_until=9), FACTS))
    found = ledger.payments(["stripe:pi_1", "stripe:pi_2"])
    assert found == {
        "stripe:pi_1": ledger.payment("stripe:pi_1"),
        "stripe:pi_2": ledger.payment("stripe:pi_2"),
    }


def test_a_payment_that_a_batch_read_skips_is_left_out() -> None:
    """DynamoDB may answer with less than was asked for; that is not the same as nothing there."""
    key = {"subject": {"S": "stripe:pi_1"}, "entry": {"S": PAYMENT}}

    def busy(service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        assert request["RequestItems"]["t"]["ConsistentRead"]
        return {"Responses": {"t": []}, "UnprocessedKeys": {"t": {"Keys": [key]}}}

    assert list(Ledger(busy, "t").payments(["stripe:pi_1", "stripe:pi_2"])) == ["stripe:pi_2"]


def test_a_batch_read_that_skips_some_asks_for_them_again() -> None:
    """Where all must be known: what is not found would be fetched from the provider again."""
    asked: list[int] = []

    def busy(service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        first, *others = request["RequestItems"]["t"]["Keys"]
        asked.append(1 + len(others))
        left = {"t": {"Keys": others}} if others else {}
        return {"Responses": {"t": [first]}, "UnprocessedKeys": left}

    found = Ledger(busy, "t").recorded(["stripe:evt_1", "stripe:evt_2"])
    assert found == {"stripe:evt_1": None, "stripe:evt_2": None}
    assert asked == [2, 1]


def test_events_of_several_subjects_are_recorded_together(ledger: Ledger) -> None:
    """A duplicate and a payment that moved are left out; the others are recorded all the same."""

    def write(subject: str, version: int, event_id: str = "") -> Write:
        event = replace(EVENT, subject=subject, id=event_id or f"evt_of_{subject}")
        return write_of(event, BODY, Outbox(subject, PAYMENT, version), FACTS)

    ledger.save(write("stripe:pi_1", 1))
    ledger.save(write("stripe:pi_2", 1))
    alone = replace(EVENT, subject="stripe:cus_1", id="evt_of_nobody")
    writes = [
        write("stripe:pi_1", 2),  # a duplicate
        write("stripe:pi_2", 1, "evt_2"),  # read before another wrote it
        write("stripe:pi_3", 1),
        write_of(alone, BODY, Outbox("stripe:cus_1", "event:evt_of_nobody", 1)),
    ]
    written = ledger.save_all(writes)
    assert [each.event.subject for each in written] == ["stripe:pi_3", "stripe:cus_1"]
    assert [ledger.payment(f"stripe:pi_{n}").version for n in (1, 2, 3)] == [1, 1, 1]
    assert ledger.event("stripe:cus_1", "evt_of_nobody")
    assert ledger.event("stripe:pi_2", "evt_2") is None
    assert ledger.save_all(writes) == []
    assert ledger.save_all([write("stripe:pi_4", 1), write("stripe:pi_5", 1)])


# ── about several records ───────────────────────────────────────────────────────────────────────────


def both(event_id: str, version: int, second: int) -> Write:
    """An event that proves something of two payments, read at these versions."""
    event = replace(EVENT, id=event_id)
    outboxes = (outbox(version), Outbox("stripe:pi_2", PAYMENT, second))
    return Write(event=event, body=BODY, records=tuple(record_of(FACTS, each) for each in outboxes))


def test_an_event_about_two_payments_is_found_under_both(ledger: Ledger) -> None:
    """Kept once, at home; the other points to it."""
    ledger.save(both("evt_1", 1, 1))
    assert ledger.event("stripe:pi_2", "evt_1") == ledger.event("stripe:pi_1", "evt_1")
    [event] = ledger.events("stripe:pi_2")
    assert (event.subject, event.body) == ("stripe:pi_1", BODY)
    assert [ledger.payment(f"stripe:pi_{n}").facts for n in (1, 2)] == [FACTS, FACTS]
    assert ledger.subject_of("stripe:evt_1") == "stripe:pi_1"


@pytest.mark.parametrize(("version", "second"), [(2, 1), (1, 2)])
def test_if_either_payment_moved_nothing_is_written(ledger: Ledger, version: int, second: int) -> None:
    """Not the event, nor the other payment."""
    ledger.save(both("evt_1", 1, 1))
    with pytest.raises(VersionMoved):
        ledger.save(both("evt_2", version, second))
    assert [len(list(ledger.events(f"stripe:pi_{n}"))) for n in (1, 2)] == [1, 1]
    assert [ledger.payment(f"stripe:pi_{n}").version for n in (1, 2)] == [1, 1]
    ledger.save(both("evt_2", 2, 2))
    with pytest.raises(DuplicateEvent):
        ledger.save(both("evt_2", 3, 3))


def test_a_pointer_to_nothing_is_an_error(table: Ledger, stage: Stage) -> None:
    """What is recorded is never taken for not being there."""
    table.save(both("evt_1", 1, 1))
    key = {"subject": {"S": "stripe:pi_1"}, "entry": {"S": "event:evt_1"}}
    stage.client("dynamodb").delete_item(TableName=stage.names.table, Key=key)
    with pytest.raises(AwsError):
        table.event("stripe:pi_2", "evt_1")


def test_a_payment_is_found_by_what_it_is_known_by(table: Ledger) -> None:
    """The ids of its charge, refund or order, which one event of it brought; not by the payment's own."""
    write = write_of(EVENT, BODY, outbox(1), FACTS)
    table.save(replace(write, names=("ch_1", "re_1")))
    assert (table.named_by("stripe:ch_1"), table.named_by("stripe:re_1")) == ("stripe:pi_1", "stripe:pi_1")
    assert (table.named_by("stripe:ch_2"), table.named_by("stripe:pi_1")) == (None, None)
    assert table.referred("stripe:ch_1") == []
