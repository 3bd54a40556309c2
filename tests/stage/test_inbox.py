"""The queue's messages: what goes in comes out, and what does not fit is refused."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import PayloadTooLarge
from chalicelib.events import Event
from chalicelib.inbox import SMALL, Inbox, Message, queue_id
from ops.stage import Stage
from tests.fakes import MemoryInbox, an_event


@given(st.binary(max_size=200), st.text(max_size=20))
def test_a_message_comes_out_as_it_went_in(body: bytes, subject: str) -> None:
    """Byte for byte."""
    message = Message(provider="stripe", event_id="evt_1", subject=subject, received_at=1, body=body)
    assert Message.decode(message.encode()) == message


@pytest.mark.parametrize("text", ["", "x", "{}", "[]", "null", '{"body": "!"}', '{"body": "eJw="}'])
def test_what_is_no_message_is_a_value_error(text: str) -> None:
    """Whatever else lands on the queue."""
    with pytest.raises(ValueError, match=r"."):
        Message.decode(text)


@pytest.mark.parametrize("encoding", ["plain", "zlib", "gzip", None, []])
def test_a_message_of_an_encoding_that_is_not_its_own_is_a_value_error(encoding: Any) -> None:
    """Also a body that is not what its encoding says."""
    message = json.loads(
        Message(provider="stripe", event_id="evt_1", subject="s", received_at=1, body=b"{}").encode()
    )
    with pytest.raises(ValueError, match="not a message"):
        Message.decode(json.dumps({**message, "encoding": encoding, "body": "!"}))


def test_a_small_body_travels_as_it_is() -> None:
    """One SQS request's worth; a larger one is compressed."""
    for size, encoding in ((SMALL, "plain"), (SMALL + 1, "zlib")):
        text = Message(
            provider="stripe", event_id="evt_1", subject="s", received_at=1, body=b"{" * size
        ).encode()
        assert json.loads(text)["encoding"] == encoding
        assert len(text) < 64 * 1024


def test_a_large_body_travels_compressed() -> None:
    """1 MiB of JSON fits; what does not compress below DynamoDB's limit does not."""
    assert (
        len(
            Message(
                provider="stripe", event_id="evt_1", subject="s", received_at=1, body=b'{"a": 1},' * 110_000
            ).encode()
        )
        < 20_000
    )
    with pytest.raises(PayloadTooLarge):
        Message(
            provider="stripe",
            event_id="evt_1",
            subject="s",
            received_at=1,
            body=random.Random(1).randbytes(400_000),
        ).encode()


@given(st.text(max_size=300))
def test_any_text_makes_a_queue_id(text: str) -> None:
    """At most 128 printable ASCII characters, and different for different texts."""
    made = queue_id(text.encode(errors="replace").decode())
    assert 0 < len(made) <= 128
    assert made.isascii()
    assert made.isprintable()
    assert made != queue_id(text.encode(errors="replace").decode() + "x")


# ── the queue and the fake ──────────────────────────────────────────────────────────────────────────

BODY = b'{"id": "evt_1"}'


def event(event_id: str, subject: str) -> Event:
    return an_event(event_id, subject)


class Received:
    """What is on the queue, or in the fake: receipts and messages."""

    def __init__(self, inbox: Any, stage: Stage | None) -> None:
        self.inbox, self._stage = inbox, stage

    def __call__(self) -> dict[str, Message]:
        if self._stage is None:
            return dict(self.inbox.messages)
        sqs, url = self._stage.client("sqs"), self.inbox.url()
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        found = answer.get("Messages", [])
        return {each["ReceiptHandle"]: Message.decode(each["Body"]) for each in found}


@pytest.fixture(params=["queue", "memory"])
def received(request: pytest.FixtureRequest) -> Received:
    if request.param == "memory":
        return Received(MemoryInbox(), None)
    stage: Stage = request.getfixturevalue("stage")
    return Received(Inbox(stage.aws(), f"payment-events-{stage.name}.fifo"), stage)


def test_what_is_sent_is_received_and_gone_once_deleted(received: Received) -> None:
    """Each message under a receipt; any subject makes a group; deleting nothing is nothing."""
    received.inbox.send(event("evt_1", "stripe:pi_1"), BODY)
    received.inbox.send(event("evt_2", "stripe:" + "ü" * 200), BODY)
    found = received()
    assert sorted(message.event_id for message in found.values()) == ["evt_1", "evt_2"]
    assert {message.body for message in found.values()} == {BODY}
    received.inbox.delete([])
    received.inbox.delete(list(found))
    assert received() == {}


def test_what_is_too_large_is_not_sent(received: Received) -> None:
    """Refused before the queue is asked."""
    with pytest.raises(PayloadTooLarge):
        received.inbox.send(event("evt_1", "stripe:pi_1"), random.Random(1).randbytes(400_000))
    assert received() == {}
