"""Nothing personal and nothing secret in what is written for others to read: marked values, and a search."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chalicelib.errors import BatchFailed, Refused
from chalicelib.inbox import Message
from chalicelib.payments import Milestone, Payment
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.telemetry import Telemetry
from ops.stories import tell
from tests.conftest import ROOT, marks_in
from tests.fakes import (
    NOW,
    Clock,
    MemoryInbox,
    MemoryLedger,
    Rolling,
    as_bytes,
    consumer,
    receiver,
    signed,
    sqs_record,
)

MARKS = {
    "name": "MARKED-NAME",
    "email": "marked@example.com",
    "address": {"line1": "MARKED-STREET 1"},
    "card": {"last4": "MARKED-4242"},
}


def marked(seed: int, type_: str) -> bytes:
    """An event whose object is full of what nobody should read elsewhere."""
    _, [event] = tell("stripe", random.Random(seed), NOW, 5000, "EUR", type_=type_)
    event["data"]["object"] |= {"billing_details": MARKS, "description": "MARKED-TEXT", "metadata": MARKS}
    return as_bytes(event)


def test_what_is_written_holds_no_mark(capsys: pytest.CaptureFixture[str]) -> None:
    """Accepted, refused, recorded, not understood, failed, parked; whatever is raised, and by whom."""
    lines: list[str] = []
    said: list[str] = []
    inbox, ledger = MemoryInbox(), MemoryLedger()
    to = receiver(inbox, Rolling("whsec_MARKED", "whsec_MARKED"))
    for body, secret in (
        (marked(1, "charge.succeeded"), "whsec_MARKED"),
        (b"MARKED-BODY", "whsec_MARKED"),
        (b"{}", "x"),
    ):
        try:
            said.append(json.dumps(to.receive("stripe", signed("stripe", body, secret=secret))))
        except Refused as refused:
            said += [str(refused), refused.reason]
    handlers = Handlers()

    @handlers.on("payment.succeeded")
    def ship(payment: Payment, milestone: Milestone) -> None:
        raise RuntimeError("MARKED-EXCEPTION of marked@example.com")

    at = consumer(ledger, inbox, lines, handlers)
    broken = json.loads(marked(2, "charge.succeeded"))
    broken["data"]["object"]["amount"] = "MARKED-AMOUNT"
    bodies = [marked(3, "payment_intent.succeeded"), as_bytes(broken)]
    records: list[Any] = []
    for body in bodies:
        event = PROVIDERS["stripe"].event(body, NOW)
        records.append(
            sqs_record(
                Message(
                    provider="stripe", event_id=event.id, subject=event.subject, received_at=NOW, body=body
                ).encode(),
                event.subject,
            )
        )
    with pytest.raises(BatchFailed) as failed:
        at.process([*records, sqs_record("MARKED-GARBAGE", "g")], NOW)
    at.park([sqs_record("MARKED-GARBAGE", "g")], NOW)
    reasons = [note.reason for note in ledger.parking.notes.values()]
    out = capsys.readouterr()
    text = "\n".join([*lines, *said, *reasons, str(failed.value), out.out, out.err]).lower()
    assert "marked" not in text
    assert "whsec" not in text
    assert {"recorded", "not understood", "failed", "parked"} <= {
        json.loads(line).get("message") for line in lines
    }
    assert "ship: RuntimeError" in reasons


WRITES = """
import sys
from tests.conftest import pytest_runtest_makereport as pytest_runtest_makereport

def test_is_silent():
    pass

def test_writes():
    sys.stdout.write("for Jenny Rosen")

def test_writes_an_error():
    sys.stderr.write('{"signature": "t=1,v1=abc"}')
"""


def test_a_test_that_writes_a_mark_out_fails(tmp_path: Path) -> None:
    """All tests' output is searched: what they send is about Jenny Rosen, and signed."""
    (tmp_path / "conftest.py").write_text(WRITES.partition("def ")[0])
    (tmp_path / "test_it.py").write_text(WRITES)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1].startswith("2 failed, 1 passed in ")
    assert marks_in(json.dumps(tell("stripe", random.Random(1), NOW, 5000, "EUR", type_="charge.succeeded")))


def test_a_traced_failure_has_no_text() -> None:
    """The span is marked as failed; what was raised may hold what nobody should read."""
    from aws_xray_sdk.core import xray_recorder

    sent: list[Any] = []

    class Emitter:
        def send_entity(self, entity: Any) -> None:
            sent.append(entity)

    xray_recorder.emitter._socket.close()  # the one to the daemon, which is not here
    xray_recorder.configure(emitter=Emitter(), sampling=False, context_missing="IGNORE_ERROR")
    telemetry = Telemetry("t", Clock(), lambda line: None, trace=lambda: "Root=1-1-1;Parent=1;Sampled=1")
    xray_recorder.begin_segment("test")
    with pytest.raises(RuntimeError), telemetry.span("handler", handler="ship"):
        raise RuntimeError("MARKED-EXCEPTION")
    xray_recorder.end_segment()
    [segment] = sent
    shown = json.dumps(segment.to_dict(), default=str)
    assert "MARKED" not in shown
    assert segment.subsegments[0].fault
    assert segment.subsegments[0].annotations == {"handler": "ship", "outcome": "failed"}
