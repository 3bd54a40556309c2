"""The table: one transaction for an event and its payment, against the emulator."""

from dataclasses import replace

import pytest

from chalicelib.errors import DuplicateEvent, VersionMoved
from chalicelib.events import Event
from chalicelib.ledger import Ledger
from chalicelib.payments import Facts, fact
from ops.stage import Stage
from tests.fakes import NOW

BODY = b'{"id": "evt_1"}'
FACTS: Facts = fact("payment", captured=5, captured_at=NOW, created_at=NOW, currency=["EUR"])
EVENT = Event("stripe", "evt_1", "charge.succeeded", "stripe:pi_1", NOW, NOW, False, None, "v", {})


@pytest.fixture
def ledger(stage: Stage) -> Ledger:
    return stage.ledger()


def entries(stage: Stage) -> list[str]:
    items = stage.client("dynamodb").scan(TableName=stage.table)["Items"]
    return sorted(item["entry"]["S"] for item in items)


def test_an_event_and_its_payment_are_written_together(ledger: Ledger, stage: Stage) -> None:
    """And read back as they were."""
    ledger.save(EVENT, BODY, FACTS, 0)
    stored = ledger.payment("stripe:pi_1")
    assert (stored.facts, stored.version) == (FACTS, 1)
    [event] = ledger.events("stripe:pi_1")
    assert (event.id, event.type, event.body, event.created_at) == ("evt_1", "charge.succeeded", BODY, NOW)
    assert entries(stage) == ["2026-11-24", "event:evt_1", "payment"]


def test_a_duplicate_changes_nothing(ledger: Ledger, stage: Stage) -> None:
    """Neither the event nor the payment, whatever version the writer believes in."""
    ledger.save(EVENT, BODY, FACTS, 0)
    for version in (0, 1, 7):
        with pytest.raises(DuplicateEvent):
            ledger.save(EVENT, b"other", {}, version)
    with pytest.raises(DuplicateEvent):
        ledger.save_event(EVENT, b"other")
    assert ledger.payment("stripe:pi_1").facts == FACTS
    assert [event.body for event in ledger.events("stripe:pi_1")] == [BODY]


@pytest.mark.parametrize("version", [0, 2])
def test_a_moved_version_writes_neither(ledger: Ledger, version: int) -> None:
    """Somebody else wrote the payment since it was read: the event is not recorded either."""
    ledger.save(EVENT, BODY, FACTS, 0)
    with pytest.raises(VersionMoved):
        ledger.save(replace(EVENT, id="evt_2"), BODY, {}, version)
    assert [event.id for event in ledger.events("stripe:pi_1")] == ["evt_1"]
    assert ledger.payment("stripe:pi_1").version == 1


def test_an_event_is_found_by_its_id_alone(ledger: Ledger) -> None:
    """Through the index; and a connected account's payment by its own id."""
    connected = replace(EVENT, id="evt_2", subject="stripe:acct_1:pi_1", account="acct_1")
    ledger.save(EVENT, BODY, FACTS, 0)
    ledger.save(connected, BODY, FACTS, 0)
    assert ledger.referred("stripe:evt_1") == [("stripe:pi_1", "event:evt_1")]
    assert ledger.referred("stripe:pi_1") == [("stripe:acct_1:pi_1", "payment")]
    assert ledger.referred("stripe:evt_9") == []


def test_what_is_parked_stays_visible(ledger: Ledger) -> None:
    """With reason, attempts and time; a note of a failure alone is not parked yet."""
    ledger.note_failure("stripe:pi_1", "evt_1", "ValueError", 2)
    assert list(ledger.parked()) == []
    ledger.park("stripe:pi_1", "evt_1", "the message", 5, NOW)
    ledger.park("stripe:pi_2", "evt_2", "the message", 5, NOW + 1)
    died, failed = ledger.parked()
    assert (failed.subject, failed.event_id, failed.message) == ("stripe:pi_1", "evt_1", "the message")
    assert (failed.reason, failed.attempts, failed.parked_at) == ("ValueError", 5, NOW)
    assert died.reason == "the consumer stopped or ran out of time"
    ledger.forget_failure("stripe:pi_1", "evt_1")
    assert [each.event_id for each in ledger.parked()] == ["evt_2"]


def test_certificates_are_kept(ledger: Ledger) -> None:
    """By URL."""
    assert ledger.certificate("https://api.paypal.com/x") is None
    ledger.keep_certificate("https://api.paypal.com/x", b"pem")
    assert ledger.certificate("https://api.paypal.com/x") == b"pem"
