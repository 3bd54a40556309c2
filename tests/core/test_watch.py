"""The hourly look at payments that stay inconsistent."""

import json
from typing import Any

from chalicelib.watch import LONG, watch
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
    assert json.loads(lines.pop())["inconsistent"] == 0
    later = consumer(ledger, MemoryInbox())
    later.process([refund("evt_2")], NOW + LONG - 1)
    watch(ledger, told, NOW + LONG)
    assert [json.loads(line).get("inconsistent") for line in lines] == [1, None]
    assert json.loads(lines[1])["subject"] == "stripe:pi_1"
