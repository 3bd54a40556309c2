"""Odd, huge and hostile bodies, genuinely signed: an answer of the contract's, in bounded memory and time."""

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.errors import Refused
from chalicelib.events import Delivery
from chalicelib.inbox import Message
from chalicelib.providers import PROVIDERS
from chalicelib.webhooks import LARGEST, Receiver
from tests.conftest import TORTURE
from tests.fakes import NOW, MemoryInbox, MemoryLedger, Rolling, consumer, receiver, signed, sqs_record

MIB = 1024 * 1024
MEMORY = 40 * MIB  # bytes that one body of 1 MiB may cost in all, beside what is there already


def stripe_event(about: str, id: str = '"evt_1"', more: str = "") -> bytes:
    type_ = "payment_intent.succeeded"
    return f'{{"id": {id}, "type": "{type_}", "data": {{"object": {about}}}{more}}}'.encode(
        "utf-8", "replace"
    )


def paypal_event(about: str, id: str = '"WH_1"', more: str = "") -> bytes:
    type_ = "PAYMENT.CAPTURE.COMPLETED"
    return f'{{"id": {id}, "event_type": "{type_}", "resource": {about}{more}}}'.encode("utf-8", "replace")


EVENT: dict[str, Callable[..., bytes]] = {"stripe": stripe_event, "paypal": paypal_event}


def intent(amount: str) -> str:
    return f'{{"object": "payment_intent", "id": "pi_1", "currency": "eur", "amount_received": {amount}}}'


def capture(amount: str) -> str:
    return f'{{"id": "2GG", "amount": {{"currency_code": "EUR", "value": {amount}}}}}'


PAYMENT = {"stripe": intent, "paypal": capture}
AMOUNTS = [
    "1.5",
    "1e3",
    "-1",
    "-0",
    "1e400",
    str(10**38),
    str(10**300),
    "9" * 5000,
    "true",
    "null",
    '""',
    '"１２"',
    '"0x10"',
    '"1_000"',
    '"1e99999"',
    '"Infinity"',
    '"NaN"',
    '"1.005"',
    "[]",
    "{}",
    '"' + "9" * 100_000 + '"',
]
IDS = [
    '""',
    "null",
    "7",
    '"' + "x" * 10_240 + '"',
    '"a b"',
    '"a\\u0000b"',
    '"a\\nb"',
    '"é"',
    '"😀"',
    "{}",
    '"\\ud800"',
]


def bodies(provider: str) -> Iterator[tuple[str, bytes]]:
    """Each with a name, all at most as large as what is accepted at all."""
    event, payment = EVENT[provider], PAYMENT[provider]
    for depth in (100, 100_000):
        yield f"{depth} levels of lists", event("[" * depth + "]" * depth)
        yield f"{depth} levels of objects", event('{"a":' * depth + "1" + "}" * depth)
    yield "1 MiB of digits", event("9" * (MIB - 200))
    yield "1 MiB of digits after a point", event("0." + "9" * (MIB - 200))
    yield "1 MiB of zeros as an exponent", event("1e" + "0" * (MIB - 200))
    yield "1 MiB of one string", event('"' + "x" * (MIB - 200) + '"')
    yield "1 MiB of empty objects", event("[" + "{}," * ((MIB - 200) // 3) + "{}]")
    yield "1 MiB of keys", event("{" + ",".join(f'"{n:x}":0' for n in range(90_000)) + "}")
    yield "1 MiB of escapes", event('"' + "\\u0041" * ((MIB - 200) // 6) + '"')
    yield "1 MiB of nothing", b" " * MIB
    for constant in ("NaN", "Infinity", "-Infinity"):
        yield constant, event(payment(constant))
    for amount in AMOUNTS:
        yield f"amount {amount[:20]}", event(payment(amount))
    for id in IDS:
        yield f"id {id[:20]}", event(payment("1"), id=id)
        yield f"object id {id[:20]}", event(payment("1").replace('"pi_1"', id).replace('"2GG"', id))
    yield "an id twice", event(payment("1"), more=', "id": "evt_2"')
    yield (
        "an amount twice",
        event(payment('1, "amount_received": 2' if provider == "stripe" else '"1", "value": "2"')),
    )
    yield "prototypes", event('{"__proto__": {"id": 1}, "constructor": 1, "__class__": "x"}')
    yield "lone surrogates", event('"\\ud800\\udfff\\ude00"')
    yield "a NUL", event('"\\u0000"')
    yield "a raw NUL", event('"\0"')
    yield "emoji", event(payment("1"), more=', "note": "👩\u200d💻"')
    yield "not UTF-8", event(payment("1")).replace(b"EUR", b"\xff\xfe").replace(b"eur", b"\xff\xfe")
    yield "UTF-16", event(payment("1")).decode().encode("utf-16")
    yield "UTF-32", event(payment("1")).decode().encode("utf-32")
    yield "a byte order mark", b"\xef\xbb\xbf" + event(payment("1"))
    yield "a compressed bomb", gzip.compress(event('"' + "0" * (50 * MIB) + '"'), 9)
    yield "two documents", event(payment("1")) * 2
    yield "no document", b""


CASES = [(provider, name, body) for provider in EVENT for name, body in bodies(provider)]
WORST: dict[str, float] = {}


@pytest.fixture(scope="module", autouse=True)
def _worst(figures: dict[str, float]) -> Iterator[None]:
    yield
    if TORTURE:
        figures.update(WORST)


def answered(provider: str, delivery: Delivery, to: Receiver) -> str:
    try:
        return to.receive(provider, delivery)["status"]
    except Refused as refused:
        return f"{refused.status} {refused.code}"


@pytest.mark.parametrize(
    ("provider", "body"),
    [(provider, body) for provider, _, body in CASES],
    ids=[f"{provider}: {name!a}" for provider, name, _ in CASES],
)
def test_every_body_gets_an_answer_of_the_contracts(provider: str, body: bytes) -> None:
    """200 and recorded, 400 or 413; nothing else is raised, and the ledger can hold what is accepted."""
    assert len(body) <= LARGEST
    inbox, ledger = MemoryInbox(), MemoryLedger()
    to = receiver(inbox, Rolling("whsec_new", "whsec_new"))
    delivery = signed(provider, body)
    started = time.process_time()
    tracemalloc.start()
    assert answered(provider, delivery, to) in ("accepted", "400 InvalidPayload", "413 PayloadTooLarge")
    for message in list(inbox.messages.values()):
        kept: Any = ledger
        lines: list[str] = []
        consumer(kept, inbox, lines).process([sqs_record(message.encode())], NOW + 60_000)
        assert Message.decode(message.encode()).body == body
        json.dumps([each.facts for each in ledger.kept.values()], allow_nan=False).encode()
        assert not any("failed" in line for line in lines)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    WORST["worst payload, MiB of memory"] = max(
        WORST.get("worst payload, MiB of memory", 0), round(peak / MIB, 1)
    )
    seconds = round(time.process_time() - started, 3)
    WORST["worst payload, seconds of CPU"] = max(WORST.get("worst payload, seconds of CPU", 0), seconds)
    assert peak < MEMORY, f"{peak / MIB:.1f} MiB"


def test_what_is_accepted_of_these_is_recorded_by_the_table(stage: Any) -> None:
    """DynamoDB itself takes every item that they make."""
    recorded = 0
    to = consumer(stage.ledger(), MemoryInbox())
    for n, (provider, _, body) in enumerate(CASES):
        own = body
        for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
            for name in ("evt", "WH"):
                own = own.replace(f'"{name}_1"'.encode(encoding), f'"{name}_{n}"'.encode(encoding))
        try:
            event = PROVIDERS[provider].event(own, NOW)
            text = Message(
                provider=provider, event_id=event.id, subject=event.subject, received_at=NOW, body=own
            ).encode()
        except Refused:
            continue
        to.process([sqs_record(text, receipt=str(n))], NOW + 60_000)
        recorded += 1
    assert recorded > 60
    assert list(stage.ledger().parking.parked()) == []
