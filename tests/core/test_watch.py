"""The hourly look at payments that stay inconsistent."""

import json
from typing import Any

import pytest

from chalicelib.bus import EventBus
from chalicelib.errors import AwsError
from chalicelib.reactions import Handlers
from chalicelib.watch import LONG, watch, watch_bus
from tests.fakes import NOW, MemoryInbox, MemoryLedger, as_bytes, consumer, message_of, sqs_record, telemetry


def refund(event_id: str) -> dict[str, Any]:
    about = {
        "object": "refund",
        "id": f"re_{event_id}",
        "payment_intent": "pi_1",
        "amount": 5,
        "currency": "eur",
    }
    return sqs_record(message_of(as_bytes({"id": event_id, "data": {"object": about}})).encode())


def test_only_what_stays_inconsistent_for_an_hour_is_counted() -> None:
    """From the first event that made it so, whatever comes after; a metric of none is told too."""
    ledger: Any = MemoryLedger()
    consumer(ledger, MemoryInbox()).process([refund("evt_1")], NOW)
    lines: list[str] = []
    told = telemetry(lines)
    watch(ledger, told, NOW + LONG - 1)
    assert json.loads(lines[0])["inconsistent"] == 0
    lines.clear()
    later = consumer(ledger, MemoryInbox())
    later.process([refund("evt_2")], NOW + LONG - 1)
    watch(ledger, told, NOW + LONG)
    assert [json.loads(line).get("inconsistent") for line in lines] == [1, None, None]
    assert json.loads(lines[1])["subject"] == "stripe:pi_1"


def test_a_bus_that_is_gone_is_counted() -> None:
    """As nothing that is sent to it fails; what else is in the way is no such finding."""

    def answering(code: str | None) -> Any:
        def aws(service: str, operation: str, /, **request: Any) -> dict[str, Any]:
            assert (service, operation, request) == ("events", "DescribeEventBus", {"Name": "mine"})
            if code:
                raise AwsError(service, operation, code, passing=False)
            return {"Name": "mine"}

        return aws

    for code, counted in ((None, 0), ("ResourceNotFoundException", 1)):
        lines: list[str] = []
        watch_bus(EventBus(answering(code), "mine"), telemetry(lines))
        assert json.loads(lines[0])["bus_gone"] == counted
        assert len(lines) == 1 + counted
    with pytest.raises(AwsError, match="AccessDenied"):
        watch_bus(EventBus(answering("AccessDeniedException"), "mine"), telemetry([]))


def test_a_handler_that_waits_for_an_hour_is_counted() -> None:
    """Until the reference comes, and from when it began, whatever comes in between."""
    ledger: Any = MemoryLedger()
    handlers = Handlers()
    handlers.on("payment.succeeded", needs="reference")(lambda payment, milestone: None)
    to = consumer(ledger, MemoryInbox(), handlers=handlers)

    def paid(event_id: str, **about: Any) -> dict[str, Any]:
        intent = {"object": "payment_intent", "id": "pi_1", "amount_received": 5, "currency": "eur", **about}
        return sqs_record(message_of(as_bytes({"id": event_id, "data": {"object": intent}})).encode())

    def counted(now: int) -> list[int]:
        lines: list[str] = []
        watch(ledger, telemetry(lines), now)
        return [found["waiting"] for found in map(json.loads, lines) if "waiting" in found]

    to.process([paid("evt_1")], NOW)
    to.process([paid("evt_2", amount=5)], NOW)
    assert (counted(NOW + LONG - 1), counted(NOW + LONG)) == ([0], [1])
    to.process([paid("evt_3", metadata={"order_id": "1001"})], NOW)
    assert counted(NOW + LONG) == [0]
