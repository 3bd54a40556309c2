"""The red team: mutated genuine deliveries, none of which may be accepted or answered as our own failure."""

import json
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.certificates import SigningCertificates
from chalicelib.entries import Outbox
from chalicelib.errors import Distrusted, InvalidSignature, Refused
from chalicelib.events import Delivery, Event
from chalicelib.inbox import Message
from chalicelib.parking import ParkedEvent
from chalicelib.payments import project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import Trust
from chalicelib.providers.stripe.events import completed
from chalicelib.several import asked
from ops.redrive import Redrive
from ops.stories import tell
from tests.conftest import TORTURE
from tests.fakes import (
    CERT_URL,
    NOW,
    WEBHOOK_ID,
    Clock,
    MemoryInbox,
    MemoryLedger,
    Rolling,
    Shelf,
    as_bytes,
    consumer,
    paypal_leaf,
    receiver,
    signed,
    sqs_record,
    trust,
)

COUNT = 200_000 if TORTURE else 12_000
PROVIDER_OF = {"stripe": "payment_intent.succeeded", "paypal": "PAYMENT.CAPTURE.COMPLETED"}


def genuine(provider: str, rng: random.Random) -> Delivery:
    _, [event] = tell(provider, rng, NOW, 5000, "EUR", type_=PROVIDER_OF[provider])
    return signed(provider, as_bytes(event))


# ── mutations: each returns a delivery that is not the genuine one ──────────────────────────────────

Mutation = Callable[[Delivery, random.Random], Delivery]


def _body(delivery: Delivery, body: bytes) -> Delivery:
    return Delivery(delivery.headers, body, delivery.received_at)


def _header(delivery: Delivery, rng: random.Random, change: Callable[[str], str]) -> Delivery:
    name = rng.choice([n for n in delivery.headers if n != "paypal-auth-version"])
    return Delivery({**delivery.headers, name: change(delivery.headers[name])}, delivery.body, NOW)


def flip_a_bit(delivery: Delivery, rng: random.Random) -> Delivery:
    at, bit = rng.randrange(len(delivery.body)), 1 << rng.randrange(8)
    body = bytearray(delivery.body)
    body[at] ^= bit
    return _body(delivery, bytes(body))


def encode_again(delivery: Delivery, rng: random.Random) -> Delivery:
    payload = json.loads(delivery.body)
    made = json.dumps(payload, indent=rng.choice([1, 2, 4]), sort_keys=rng.random() < 0.5)
    return _body(delivery, made.encode())


def raise_the_amount(delivery: Delivery, rng: random.Random) -> Delivery:
    return _body(delivery, delivery.body.replace(b"50", b"%d" % rng.randrange(51, 99), 1))


def repeat_a_key(delivery: Delivery, rng: random.Random) -> Delivery:
    return _body(delivery, b'{"id": "evt_%d", ' % rng.randrange(10**6) + delivery.body[1:])


def pad(delivery: Delivery, rng: random.Random) -> Delivery:
    space = rng.choice([b" ", b"\n", b"\0", "\u200b".encode(), b"\xef\xbb\xbf", "é".encode()])
    return _body(delivery, space + delivery.body if rng.random() < 0.5 else delivery.body + space)


def cut(delivery: Delivery, rng: random.Random) -> Delivery:
    return _body(delivery, delivery.body[: rng.randrange(len(delivery.body))])


def splice_the_header(delivery: Delivery, rng: random.Random) -> Delivery:
    other = genuine("stripe" if "stripe-signature" in delivery.headers else "paypal", rng)
    names = list(delivery.headers)
    name = rng.choice([n for n in names if n in ("stripe-signature", "paypal-transmission-sig")])
    return Delivery({**delivery.headers, name: other.headers[name]}, delivery.body, NOW)


def change_the_header(delivery: Delivery, rng: random.Random) -> Delivery:
    def change(value: str) -> str:
        at = rng.randrange(len(value))
        letter = rng.choice("0aZ=,; \té\u2028\ud800")
        made = value[:at] + letter + value[at + 1 :]
        return made if made != value else value[:at]

    return _header(delivery, rng, change)


def drop_a_header(delivery: Delivery, rng: random.Random) -> Delivery:
    name = rng.choice([n for n in delivery.headers if n != "paypal-auth-version"])
    return Delivery({k: v for k, v in delivery.headers.items() if k != name}, delivery.body, NOW)


def double_the_header(delivery: Delivery, rng: random.Random) -> Delivery:
    return _header(delivery, rng, lambda value: f"{value},{value}" if "t=" in value else f"{value}, {value}")


def move_the_time(delivery: Delivery, rng: random.Random) -> Delivery:
    at = NOW + rng.choice([-1, 1]) * rng.randrange(301_000, 10**9)
    if "stripe-signature" in delivery.headers:
        _, _, signature = delivery.headers["stripe-signature"].partition(",")
        return Delivery({"stripe-signature": f"t={at // 1000},{signature}"}, delivery.body, NOW)
    return Delivery(
        {**delivery.headers, "paypal-transmission-time": "2026-11-24T00:00:01Z"}, delivery.body, NOW
    )


def sign_with_another_secret(delivery: Delivery, rng: random.Random) -> Delivery:
    provider = "stripe" if "stripe-signature" in delivery.headers else "paypal"
    secret = rng.choice(["whsec_other", "WEBHOOK_ID", "8PT000000000000000", ""]) or "x"
    return signed(provider, delivery.body, secret=secret)


def sign_at_another_time(delivery: Delivery, rng: random.Random) -> Delivery:
    provider = "stripe" if "stripe-signature" in delivery.headers else "paypal"
    return signed(provider, delivery.body, at=NOW + rng.choice([301_000, -80 * 3600 * 1000]))


MUTATIONS: list[Mutation] = [
    flip_a_bit,
    encode_again,
    raise_the_amount,
    repeat_a_key,
    pad,
    cut,
    splice_the_header,
    change_the_header,
    drop_a_header,
    double_the_header,
    move_the_time,
    sign_with_another_secret,
    sign_at_another_time,
]


def attacks(rng: random.Random) -> Iterator[tuple[str, str, Delivery]]:
    """Endless: the mutation's name, the route, the delivery. One in twenty goes to the other route."""
    pool = {provider: [genuine(provider, rng) for _ in range(20)] for provider in PROVIDER_OF}
    while True:
        provider = rng.choice(list(pool))
        delivery = rng.choice(pool[provider])
        if rng.random() < 0.05:
            yield "another route", "paypal" if provider == "stripe" else "stripe", delivery
            continue
        mutation = rng.choice(MUTATIONS)
        yield mutation.__name__, provider, mutation(delivery, rng)


def pinned(secrets: Any) -> Trust:
    """As in production: the certificate is that of its URL, and there is none at any other."""
    shelf = Shelf()
    shelf.kept[CERT_URL] = paypal_leaf().pem

    def fetch(url: str) -> bytes:
        raise InvalidSignature("nothing there")

    certificates = SigningCertificates(fetch, shelf, Clock(), ["api.paypal.com"])
    return Trust({**trust().secrets, **secrets}, certificates)


def test_no_forgery_is_accepted(figures: dict[str, float]) -> None:
    """Each is refused as not genuine; no exception of ours, no 5xx, nothing on the queue."""
    inbox = MemoryInbox()
    to = replace(receiver(inbox, Rolling("whsec_new", "whsec_new")), trust=pinned)
    tried: Counter[str] = Counter()
    accepted, broken = [], []
    for _, (name, route, delivery) in zip(range(COUNT), attacks(random.Random(5)), strict=False):
        try:
            to.receive(route, delivery)
        except Refused as refused:
            broken += [(name, delivery)] if refused.status >= 500 else []
        else:
            accepted.append((name, delivery))
        tried[name] += 1
    figures["forgeries tried"] = tried.total()
    figures["forgeries accepted"] = len(accepted)
    figures["forgeries answered with 5xx"] = len(broken)
    assert (accepted[:1], broken[:1], inbox.messages) == ([], [], {})
    assert set(tried) == {*(each.__name__ for each in MUTATIONS), "another route"}
    assert min(tried.values()) > COUNT / 50


def test_the_genuine_ones_are_accepted() -> None:
    """Otherwise the test above would show nothing."""
    inbox = MemoryInbox()
    for provider in PROVIDER_OF:
        receiver(inbox, Rolling("whsec_new", "")).receive(provider, genuine(provider, random.Random(1)))
    assert len(inbox.messages) == 2


# ── CRC32 is no MAC ─────────────────────────────────────────────────────────────────────────────────


def collide(body: bytes, forged: bytes, room: bytes) -> bytes:
    """``forged`` with the letters of ``room`` chosen so that its CRC32 is that of ``body``.

    CRC32 is linear: flipping a bit always changes it by the same amount. So 32 independent letters that may
    be one of two suffice for any value (Gauss's elimination over GF(2)).
    """
    start = forged.index(room)
    wanted = zlib.crc32(body) ^ zlib.crc32(forged)
    zero = zlib.crc32(bytes(len(forged)))
    basis: list[tuple[int, int]] = []  # a change of the CRC, and the letters that make it
    for n in range(len(room)):
        flipped = bytes(len(forged))
        flipped = flipped[: start + n] + b"\x01" + flipped[start + n + 1 :]
        change, letters = zlib.crc32(flipped) ^ zero, 1 << n
        for other, its in basis:
            if change ^ other < change:
                change, letters = change ^ other, letters ^ its
        if change:
            basis.append((change, letters))
            basis.sort(reverse=True)
    chosen = 0
    for change, letters in basis:
        if wanted ^ change < wanted:
            wanted, chosen = wanted ^ change, chosen ^ letters
    assert wanted == 0
    made = bytearray(forged)
    for n in range(len(room)):
        made[start + n] ^= chosen >> n & 1
    return bytes(made)


def test_a_body_with_the_same_crc_is_refused() -> None:
    """Its signature alone is right; a transmission that stood for another body stands for no second one."""
    body = as_bytes(
        {
            "id": "WH-1",
            "event_type": "PAYMENT.CAPTURE.COMPLETED",
            "resource": {
                "id": "2GG",
                "status": "COMPLETED",
                "amount": {"value": "30.00", "currency_code": "EUR"},
            },
        }
    )
    room = b"b" * 64
    forged = collide(body, body.replace(b"30.00", b"30000.00")[:-1] + b', "x": "' + room + b'"}', room)
    assert zlib.crc32(forged) == zlib.crc32(body)
    assert json.loads(forged)["resource"]["amount"]["value"] == "30000.00"
    real = signed("paypal", body)
    fake = Delivery(real.headers, forged, NOW)
    transmission = PROVIDERS["paypal"].verify(fake, trust(paypal_webhook_ids=(WEBHOOK_ID,))).transmission
    assert transmission, "the signature alone passes: PayPal signs a CRC32"
    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox())

    def record(content: bytes) -> dict[str, Any]:
        message = Message(
            provider="paypal",
            event_id="WH-1",
            subject="paypal:2GG",
            received_at=NOW,
            body=content,
            transmission=transmission,
        )
        return sqs_record(message.encode(), receipt=str(len(content)))

    to.process([record(body)], NOW)
    to.process([record(forged)], NOW)
    assert project("paypal:2GG", ledger.payment("paypal:2GG").facts).captured == 3000
    [parked] = ledger.parking.parked()
    assert (parked.reason, parked.subject) == ("tampered", "paypal:2GG")


def test_a_duplicates_transmission_stands_for_its_body_too() -> None:
    """Whoever has the headers of a second delivery of an event can forge no third with them."""
    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox())

    def record(event_id: str, value: str, transmission: str) -> dict[str, Any]:
        amount = {"value": value, "currency_code": "EUR"}
        event = {
            "id": event_id,
            "event_type": "PAYMENT.CAPTURE.COMPLETED",
            "create_time": "2026-11-24T00:00:00Z",
            "resource": {"id": "2GG", "amount": amount},
        }
        message = Message(
            provider="paypal",
            event_id=event_id,
            subject="paypal:2GG",
            received_at=NOW,
            body=as_bytes(event),
            transmission=transmission,
        )
        return sqs_record(message.encode())

    to.process([record("WH-1", "30.00", "first")], NOW)
    to.process([record("WH-1", "30.00", "second")], NOW)
    to.process([record("WH-2", "30000.00", "second")], NOW)
    assert project("paypal:2GG", ledger.payment("paypal:2GG").facts).captured == 3000
    [parked] = ledger.parking.parked()
    assert (parked.event_id.rpartition(":")[0], parked.reason) == ("WH-2:tampered", "tampered")
    inbox: Any = MemoryInbox()
    assert_only_paypal_can_clear(parked, ledger, inbox)


def assert_only_paypal_can_clear(parked: ParkedEvent, ledger: Any, inbox: Any) -> None:
    """What it was held against is forgotten after 40 days, which proves nothing: PayPal is asked."""
    alone = Redrive(ledger, inbox, Clock())
    says = "stays parked: it is tampered, and its provider cannot be asked whether it is genuine"
    assert list(alone.preview(parked)) == [says]
    with pytest.raises(Refused, match=says):
        alone.send(parked)
    unreadable = replace(parked, message="x")
    assert alone.refusal(unreadable) == says
    nobody: Any = None
    asks = asked({"paypal": nobody})
    asking = Redrive(ledger, inbox, Clock(), lambda: asks)
    assert asking.refusal(unreadable) == says
    [said] = asking.preview(parked)
    assert said == "its provider is asked about it; set aside again if it is tampered still"
    message = Message.decode(parked.message)
    order = message.body.replace(b"PAYMENT.CAPTURE.COMPLETED", b"CHECKOUT.ORDER.APPROVED")
    unasked = replace(parked, message=replace(message, body=order).encode())
    assert asking.refusal(unasked) == says
    of_another = replace(parked, message=replace(message, via="shop-us").encode())
    assert asking.refusal(of_another) == says, "the stage's own key is not that account's"


def test_another_event_under_a_known_id_is_parked() -> None:
    """A retry differs in `pending_webhooks`: no tampering, nor is another API version; an amount is."""

    def body(amount: int, version: str = "2026-10-28", pending: int = 1) -> bytes:
        about = {"object": "payment_intent", "id": "pi_1", "currency": "eur", "amount_received": amount}
        event = {
            "id": "evt_1",
            "type": "payment_intent.succeeded",
            "api_version": version,
            "pending_webhooks": pending,
            "data": {"object": about},
        }
        return as_bytes(event)

    def record(*content: Any, **more: Any) -> dict[str, Any]:
        return sqs_record(
            Message(
                provider="stripe",
                event_id="evt_1",
                subject="stripe:pi_1",
                received_at=NOW,
                body=body(*content, **more),
            ).encode()
        )

    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox())
    to.process([record(5)], NOW)
    to.process([record(5, pending=0), record(7, version="2020-08-27")], NOW)
    assert list(ledger.parking.parked()) == []
    to.process([record(7), record(8), record(8, pending=1)], NOW)
    assert [each.reason for each in ledger.parking.parked()] == ["tampered", "tampered"]
    assert {Message.decode(each.message).body for each in ledger.parking.parked()} == {body(7), body(8)}
    assert project("stripe:pi_1", ledger.payment("stripe:pi_1").facts).captured == 5


def test_a_known_event_id_about_another_object_is_parked() -> None:
    """It is of another payment, and must not count there either; where only our reading differs it may."""

    def record(object_id: str, group: str) -> dict[str, Any]:
        about = {"object": "payment_intent", "id": object_id, "currency": "eur", "amount_received": 5}
        event = {"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": about}}
        return sqs_record(
            Message(
                provider="stripe", event_id="evt_1", subject=group, received_at=NOW, body=as_bytes(event)
            ).encode(),
            group,
        )

    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox())
    to.process([record("pi_1", "stripe:pi_1")], NOW)
    to.process([record("pi_2", "stripe:pi_2")], NOW)
    [parked] = ledger.parking.parked()
    assert (parked.reason, parked.subject) == ("tampered", "stripe:pi_2")
    assert ledger.payment("stripe:pi_2").version == 0
    kept, _ = ledger.stored.pop(("stripe:pi_1", "evt_1"))
    ledger.stored["stripe:ch_1", "evt_1"] = (
        replace(kept, subject="stripe:ch_1"),
        Outbox("stripe:ch_1", "x", 1),
    )
    ledger.ids["stripe:evt_1"] = "stripe:ch_1"  # as an older mapping had it
    to.process([record("pi_1", "stripe:pi_1")], NOW)
    assert len(list(ledger.parking.parked())) == 1
    assert ("stripe:pi_1", "evt_1") not in ledger.stored


def test_a_thin_event_whose_object_has_changed_since_is_no_tampering() -> None:
    """Its data is fetched anew for each delivery; what it is about is not."""
    amounts = iter([5, 7])

    def complete(event: Event, _: Message) -> Event:
        about = {"object": "charge", "id": "ch_1", "currency": "eur", "amount": next(amounts)}
        return completed(event, about, NOW)

    ledger: Any = MemoryLedger()
    to = replace(consumer(ledger, MemoryInbox()), complete=complete)
    thin = {"id": "evt_1", "object": "v2.core.event", "type": "v1.charge.updated"}
    body = as_bytes({**thin, "related_object": {"id": "ch_1", "type": "charge", "url": "/v1/charges/ch_1"}})
    record = sqs_record(
        Message(
            provider="stripe", event_id="evt_1", subject="stripe:ch_1", received_at=NOW, body=body
        ).encode()
    )
    to.process([record], NOW)
    to.process([record], NOW)
    assert list(ledger.parking.parked()) == []


def test_what_is_contradicted_is_parked_and_does_not_hold_up_its_payment() -> None:
    """The next event of the same payment in the batch is recorded."""
    ledger: Any = MemoryLedger()

    def complete(event: Any, _: Message) -> Any:
        if event.id == "evt_bad":
            raise Distrusted("contradicted")
        return event

    to = replace(consumer(ledger, MemoryInbox()), complete=complete)

    def record(event_id: str) -> dict[str, Any]:
        message = Message(
            provider="stripe",
            event_id=event_id,
            subject="a",
            received_at=NOW,
            body=as_bytes({"id": event_id, "type": "x.y"}),
        )
        return sqs_record(message.encode(), receipt=event_id)

    to.process([record("evt_bad"), record("evt_good")], NOW)
    [parked] = ledger.parking.parked()
    assert (parked.event_id.rpartition(":")[0], parked.reason) == ("evt_bad:contradicted", "contradicted")
    assert [event_id for _, event_id in ledger.stored] == ["evt_good"]
