"""The queue's messages: what goes in comes out, and what does not fit is refused."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import PayloadTooLarge
from chalicelib.inbox import Message, queue_id


@given(st.binary(max_size=200), st.text(max_size=20))
def test_a_message_comes_out_as_it_went_in(body: bytes, subject: str) -> None:
    """Byte for byte."""
    message = Message("stripe", "evt_1", subject, 1, body)
    assert Message.decode(message.encode()) == message


@pytest.mark.parametrize("text", ["", "x", "{}", "[]", "null", '{"body": "!"}', '{"body": "eJw="}'])
def test_what_is_no_message_is_a_value_error(text: str) -> None:
    """Whatever else lands on the queue."""
    with pytest.raises(ValueError, match=r"."):
        Message.decode(text)


def test_a_large_body_travels_compressed() -> None:
    """1 MiB of JSON fits; what does not compress below DynamoDB's limit does not."""
    assert len(Message("stripe", "evt_1", "s", 1, b'{"a": 1},' * 110_000).encode()) < 20_000
    with pytest.raises(PayloadTooLarge):
        Message("stripe", "evt_1", "s", 1, random.Random(1).randbytes(400_000)).encode()


@given(st.text(max_size=300))
def test_any_text_makes_a_queue_id(text: str) -> None:
    """At most 128 printable ASCII characters, and different for different texts."""
    made = queue_id(text.encode(errors="replace").decode())
    assert 0 < len(made) <= 128
    assert made.isascii()
    assert made.isprintable()
    assert made != queue_id(text.encode(errors="replace").decode() + "x")
