"""Stripe: signatures, vectors, and its own SDK as an oracle."""

import hashlib
import hmac
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe import SignatureVerificationError, WebhookSignature

from chalicelib.errors import InvalidSignature
from chalicelib.events import Delivery
from chalicelib.payments import project
from chalicelib.providers import stripe
from tests.conftest import load, vectors
from tests.core.providers.contract import ProviderContract
from tests.fakes import NOW, as_bytes, facts_of_event, signed, trust

SECRET = "whsec_test_secret"
SECONDS = NOW // 1000


class TestStripe(ProviderContract):
    provider = stripe
    genuine: ClassVar = {"id": "evt_1", "object": "event", "type": "charge.succeeded", "data": {"object": {}}}
    signature_header = "stripe-signature"
    secrets = "stripe_webhook_secrets"
    too_old = 300_000
    rotated = "whsec_retired"


def v1(body: bytes, timestamp: int | str = SECONDS, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def accepts(header: str, body: bytes, now: int = NOW, secret: str = SECRET) -> bool:
    delivery = Delivery({"stripe-signature": header}, body, now)
    try:
        stripe.verify(delivery, trust(stripe_webhook_secrets=(secret,)))
    except InvalidSignature:
        return False
    return True


# ── vectors ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", vectors("stripe", "signatures", "stripe-dotnet-*.json"), ids=lambda p: p.stem
)
def test_a_fixed_signature_of_stripes_sdk(path: Path) -> None:
    """It verifies at its time, and at no other; the ``v0`` beside it counts for nothing."""
    vector = load(path)
    body, header, secret = vector["payload"].encode(), vector["header"], vector["secret"]
    then = vector["timestamp"] * 1000
    assert accepts(header, body, then, secret)
    assert accepts(header, body, then + 300_000, secret)
    assert not accepts(header, body, then + 301_000, secret)
    assert not accepts(header, body, then - 301_000, secret)
    assert not accepts(header, body + b"\n", then, secret)
    assert not accepts(header, body, then, secret + " ")
    assert not accepts(header.replace("v1=", "v2=").replace("v0=", "v1="), body, then, secret)


@pytest.mark.parametrize("path", vectors("stripe", "signatures", "sdk-cases.json"), ids=lambda p: p.stem)
def test_headers_that_stripes_sdks_reject(path: Path) -> None:
    """None of them is accepted, with any of the SDKs' payloads."""
    cases = load(path)
    for payload in ("payload_node", "payload_python_php", "payload_v2_python"):
        for case in cases["header_must_reject"]:
            assert not accepts(case["header"], cases[payload].encode()), case


@pytest.mark.parametrize("path", vectors("stripe", "signatures", "sdk-cases.json"), ids=lambda p: p.stem)
def test_hmac_vectors(path: Path) -> None:
    """The HMAC that the SDKs compute over a text is the one that we compute."""
    for vector in load(path)["hmac_sha256"]["vectors"]:
        digest = hmac.new(b"test_secret", vector["payload"].encode(), hashlib.sha256).hexdigest()
        assert digest == vector["hex"], vector["case"]


def test_the_cases_that_the_sdks_generate() -> None:
    """Only ``v1`` counts; any of several; a bad one beside a good one does no harm."""
    body = b'{"id": "evt_test_webhook"}'
    good = v1(body)
    assert accepts(f"t={SECONDS},v1={good}", body)
    assert accepts(f"t={SECONDS},v1={good},v1=bad_signature", body)
    assert accepts(f"t={SECONDS},v1={v1(body, secret='old')},v1={good},v0=x", body)
    assert not accepts(f"t={SECONDS},v0={good}", body)
    assert not accepts(f"t={SECONDS},v1=bad_signature", body)
    assert not accepts(f"t={SECONDS - 15},v1={good}", body)
    assert not accepts(f"t={SECONDS},v1={good}", body, secret=SECRET + " ")
    assert not accepts(f"t={SECONDS},t={SECONDS},v1={good}", body)
    assert not accepts(f"t={SECONDS},v1={good.upper()}", body)


# ── the oracle ──────────────────────────────────────────────────────────────────────────────────────

pieces = st.sampled_from(
    [
        "t=",
        "v1=",
        "v0=",
        ",",
        "=",
        " ",
        "GOOD",
        "OLD",
        "NOW",
        "PAST",
        "FUTURE",
        "0",
        "ü",
        "+",
        "-",
        "1e3",
        "_",
    ]
)
headers = st.one_of(
    st.lists(pieces, max_size=10).map("".join),
    st.sampled_from(
        [
            "t=NOW,v1=GOOD",
            "t=NOW,v1=OLD",
            "t=NOW,v1=OLD,v1=GOOD",
            "t=NOW,v1=GOODü",
            "t=PAST,v1=GOOD",
            "t=FUTURE,v1=GOOD",
            "t=NOW,v0=GOOD",
            "v1=GOOD,t=NOW",
            "t=NOW,v1=GOOD,x",
            "t=NOW,v1=GOOD,v1",
            "t=NOW,v1=GOOD,t=PAST",
        ]
    ),
)
TIMES = {"NOW": SECONDS, "PAST": SECONDS - 301, "FUTURE": SECONDS + 301}


def filled(template: str, body: bytes) -> str:
    """The header, with the signature that is right for the time it states."""
    stated = next((TIMES[word] for word in TIMES if word in template), SECONDS)
    header = template.replace("GOOD", v1(body, stated)).replace("OLD", v1(body, stated, "whsec_old"))
    for word, seconds in TIMES.items():
        header = header.replace(word, str(seconds))
    return header


def oracle(header: str, body: bytes) -> bool | str:
    """Whether Stripe's SDK accepts at ``NOW``, or what else it raised.

    The SDK reads the wall clock itself: it is asked without a tolerance, and its own check of the past,
    ``timestamp < now - tolerance``, is made here.
    """
    try:
        WebhookSignature.verify_header(body.decode(), header, SECRET, tolerance=None)
        timestamp, _ = WebhookSignature._get_timestamp_and_signatures(header, "v1")
    except SignatureVerificationError:
        return False
    except (UnicodeDecodeError, TypeError) as error:
        return type(error).__name__
    return int(timestamp) >= SECONDS - 300


@given(template=headers, body=st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode)))
def test_whatever_we_accept_stripes_sdk_accepts(template: str, body: bytes) -> None:
    """Where the two differ, it is one of: a future time, a body that is not UTF-8, a non-ASCII signature;
    or a header that says a thing twice or says nothing with an item, which Stripe never sends."""
    header = filled(template, body)
    ours, theirs = accepts(header, body), oracle(header, body)
    if ours == theirs:
        return
    if ours:
        assert theirs == "UnicodeDecodeError", (header, theirs)
        return
    future = str(TIMES["FUTURE"]) in header
    items = header.split(",")
    sloppy = [item for item in items if item.count("=") != 1] or sum(i.startswith("t=") for i in items) > 1
    unusual = theirs in ("UnicodeDecodeError", "TypeError")
    number = not all(i[2:].isascii() and i[2:].isdigit() for i in items if i.startswith("t="))
    assert future or unusual or sloppy or number, (header, theirs)


# ── events and facts ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", vectors("stripe", "events", "*.json"), ids=lambda p: p.stem)
def test_a_real_event_is_identified(path: Path) -> None:
    """Every whole event of the collection has its id, type, subject and time."""
    payload = load(path)
    event = stripe.event(path.read_bytes(), NOW)
    assert (event.id, event.type) == (payload["id"], payload["type"])
    assert event.created_at == payload["created"] * 1000
    assert event.subject.startswith("stripe:")


EXPECTED: dict[str, tuple[str, int, int, int]] = {
    # file: status, captured, refunded, disputed
    "payment_intent.created": ("created", 0, 0, 0),
    "payment_intent.amount_capturable_updated": ("authorized", 0, 0, 0),
    "payment_intent.payment_failed": ("failed", 0, 0, 0),
    "payment_intent.canceled": ("canceled", 0, 0, 0),
    "payment_intent.succeeded": ("succeeded", 2000, 0, 0),
    "charge.succeeded": ("succeeded", 2000, 0, 0),
    "charge.captured": ("succeeded", 100, 0, 0),
    "charge.failed": ("failed", 0, 0, 0),
    "charge.refunded": ("refunded", 100, 100, 0),
    "charge.dispute.created": ("created", 0, 0, 0),  # an inquiry
    "charge.dispute.funds_withdrawn": ("disputed", 0, 0, 25000),
    "checkout.session.completed.payment_mode": ("succeeded", 25000, 0, 0),
}


@pytest.mark.parametrize("path", vectors("stripe", "events", "*.json"), ids=lambda p: p.stem)
def test_what_a_real_event_proves(path: Path) -> None:
    """One event alone makes the payment that it tells of; what is not about a payment makes none."""
    event = stripe.event(path.read_bytes(), NOW)
    facts = facts_of_event(event)
    if path.stem not in EXPECTED:
        others = ("charge.dispute.closed", "customer.subscription.updated", "payout.paid")
        assert path.stem in others or not facts
        return
    payment = project(event.subject, facts)
    shown = (payment.status, payment.captured, payment.refunded, payment.disputed)
    assert shown == EXPECTED[path.stem]
    assert payment.currency == "USD"


def event(about: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "evt_1", "type": "x.y", "created": 1000, "data": {"object": about}, **fields}


@pytest.mark.parametrize(
    ("about", "subject"),
    [
        ({"object": "payment_intent", "id": "pi_1"}, "pi_1"),
        ({"object": "charge", "id": "ch_1", "payment_intent": "pi_1"}, "pi_1"),
        ({"object": "charge", "id": "ch_1", "payment_intent": {"id": "pi_1"}}, "pi_1"),
        ({"object": "charge", "id": "ch_1", "payment_intent": None}, "ch_1"),
        ({"object": "refund", "id": "re_1", "charge": "ch_1", "payment_intent": "pi_1"}, "pi_1"),
        ({"object": "refund", "id": "re_1", "charge": "ch_1"}, "ch_1"),
        ({"object": "dispute", "id": "dp_1", "charge": "ch_1", "payment_intent": "pi_1"}, "pi_1"),
        ({"object": "checkout.session", "id": "cs_1", "payment_intent": "pi_1"}, "pi_1"),
        ({"object": "checkout.session", "id": "cs_1", "payment_intent": None}, "cs_1"),
        ({"object": "invoice", "id": "in_1", "payment_intent": "pi_1"}, "in_1"),
        ({"object": "balance"}, "evt_1"),
        ({"object": "plan", "id": "bad id"}, "evt_1"),
    ],
)
def test_all_events_of_a_payment_share_its_subject(about: dict[str, Any], subject: str) -> None:
    """The PaymentIntent where there is one, else the charge; all else is its own subject."""
    assert stripe.event(as_bytes(event(about)), NOW).subject == f"stripe:{subject}"


def test_a_connected_accounts_ids_are_its_own() -> None:
    """The same id in two accounts is two subjects, and the account is kept."""
    about = {"object": "payment_intent", "id": "pi_1", "currency": "eur", "amount": 1}
    mine, theirs = (
        stripe.event(as_bytes(event(about, account=account)), NOW) for account in (None, "acct_1")
    )
    assert (mine.subject, theirs.subject) == ("stripe:pi_1", "stripe:acct_1:pi_1")
    assert project(theirs.subject, facts_of_event(theirs)).account == "acct_1"


def test_a_thin_event_is_about_its_related_object() -> None:
    """It has no data: recorded under the object that it names, without facts."""
    thin = {
        "id": "evt_2",
        "object": "v2.core.event",
        "type": "v1.payment_intent.succeeded",
        "created": "2026-10-28T00:27:45.330Z",
        "livemode": True,
        "related_object": {"id": "pi_1", "type": "payment_intent", "url": "/v1/payment_intents/pi_1"},
    }
    found = stripe.event(as_bytes(thin), NOW)
    assert found.subject == "stripe:pi_1"
    assert found.created_at % 1000 == 330
    assert stripe.facts(found) == {}


@pytest.mark.parametrize("amount", [-1, 5.0, "5", True, 10**30, [], {}])
def test_what_is_no_amount_proves_nothing(amount: object) -> None:
    """Money is a non-negative integer: anything else is an error of the mapping, not a guess."""
    about = {"object": "payment_intent", "id": "pi_1", "currency": "eur", "amount": amount}
    with pytest.raises(ValueError, match="amount"):
        stripe.facts(stripe.event(as_bytes(event(about)), NOW))


@pytest.mark.parametrize(("currency", "sent", "minor"), [("jpy", 500, 500), ("isk", 500, 5), ("mga", 5, 500)])
def test_amounts_are_in_iso_minor_units(currency: str, sent: int, minor: int) -> None:
    """Stripe's unit is ISO 4217's but for three currencies."""
    about = {"object": "payment_intent", "id": "pi_1", "currency": currency, "amount": sent}
    found = stripe.event(as_bytes(event(about)), NOW)
    assert project(found.subject, facts_of_event(found)).amount == minor


def test_headers_come_in_any_case() -> None:
    """Names are looked up in lower case; ``signed`` gives them so, as the app does."""
    delivery = signed("stripe", b"{}")
    assert list(delivery.headers) == ["stripe-signature"]
    stripe.verify(delivery, trust())
