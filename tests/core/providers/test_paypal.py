"""PayPal: real transmissions, certificates, and what its events prove."""

from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from chalicelib import subscriptions
from chalicelib.certificates import SigningCertificates
from chalicelib.errors import InvalidSignature
from chalicelib.events import Delivery
from chalicelib.payments import project
from chalicelib.providers import paypal
from chalicelib.providers.paypal import signature
from chalicelib.providers.protocol import Trust
from chalicelib.times import from_iso
from tests.conftest import VECTORS, load, vectors
from tests.core.providers.contract import ProviderContract
from tests.fakes import CERT_URL, NOW, Clock, Shelf, as_bytes, facts_of_event, paypal_authority, signed, trust

TRANSMISSIONS = vectors("paypal", "transmissions", "*.json")


class TestPayPal(ProviderContract):
    provider = paypal
    genuine: ClassVar = {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {"id": "2GG"}}
    signature_header = "paypal-transmission-sig"
    secrets = "paypal_webhook_ids"
    too_old = signature.OLDEST
    rotated = "1JE44563B06508301"

    @pytest.mark.parametrize("header", signature.HEADERS)
    def test_every_header_is_needed(self, header: str) -> None:
        """A missing or non-ASCII value of any of the five is a refusal."""
        good = self.deliver()
        for value in ("", "ü", "\x00"):
            self.refuses(Delivery({**good.headers, header: value}, good.body, NOW))

    @pytest.mark.parametrize("algorithm", ["SHA1withRSA", "none", "sha256withrsa", "SHA256withRSA "])
    def test_another_algorithm_is_refused(self, algorithm: str) -> None:
        """There is one algorithm, and it is not the sender's to choose."""
        good = self.deliver()
        self.refuses(Delivery({**good.headers, "paypal-auth-algo": algorithm}, good.body, NOW))


# ── real transmissions ──────────────────────────────────────────────────────────────────────────────


def real_delivery(vector: dict[str, Any]) -> Delivery:
    sent_at = from_iso(vector["headers"]["paypal-transmission-time"])
    return Delivery(vector["headers"], vector["body_utf8"].encode(), sent_at)


def real_trust(vector: dict[str, Any], clock: Clock, anchors: bytes | None = None) -> Trust:
    pem = (VECTORS / "paypal" / vector["cert_file"]).read_bytes()
    certificates = SigningCertificates(lambda _: pem, Shelf(), clock, ["api.paypal.com"], anchors)
    return Trust({"paypal_webhook_ids": (vector["webhook_id"],)}, certificates)


@pytest.mark.parametrize("path", TRANSMISSIONS, ids=lambda p: p.stem)
def test_a_real_transmission_verifies(path: Path) -> None:
    """With the clock at its time; and its event is identified."""
    vector = load(path)
    delivery = real_delivery(vector)
    paypal.verify(delivery, real_trust(vector, Clock(delivery.received_at)))
    event = paypal.event(delivery.body, delivery.received_at)
    assert (event.id, event.type) == (vector["event_id"], vector["event_type"])


@pytest.mark.parametrize("path", TRANSMISSIONS, ids=lambda p: p.stem)
def test_an_altered_transmission_does_not(path: Path) -> None:
    """Neither its body, its id, its time nor its webhook id can be changed, nor its age ignored."""
    vector = load(path)
    good = real_delivery(vector)
    believed = real_trust(vector, Clock(good.received_at))
    headers = dict(good.headers)
    altered = [
        Delivery(headers, good.body + b" ", good.received_at),
        Delivery(headers, good.body.replace(b"1", b"2", 1), good.received_at),
        Delivery({**headers, "paypal-transmission-id": "x"}, good.body, good.received_at),
        Delivery(headers, good.body, good.received_at + signature.OLDEST + 1),
        Delivery(headers, good.body, good.received_at - signature.FUTURE - 1),
    ]
    for delivery in altered:
        with pytest.raises(InvalidSignature):
            paypal.verify(delivery, believed)
    with pytest.raises(InvalidSignature):
        paypal.verify(good, Trust({"paypal_webhook_ids": ("8PT",)}, believed.certificates))


@pytest.mark.parametrize("path", TRANSMISSIONS[:1], ids=lambda p: p.stem)
def test_a_real_certificate_has_expired_since(path: Path) -> None:
    """The certificate must be valid now, not when it signed."""
    vector = load(path)
    with pytest.raises(InvalidSignature):
        paypal.verify(real_delivery(vector), real_trust(vector, Clock(NOW)))


@pytest.mark.parametrize("path", TRANSMISSIONS[:1], ids=lambda p: p.stem)
def test_a_real_chain_is_checked_where_asked_for(path: Path) -> None:
    """With DigiCert's certificates as anchors it verifies, with another authority's it does not."""
    vector = load(path)
    delivery = real_delivery(vector)
    issuers = sorted((VECTORS / "paypal" / "certificates").glob("issuer-*.pem"))
    digicert = b"".join(issuer.read_bytes() for issuer in issuers)
    clock = Clock(delivery.received_at)
    paypal.verify(delivery, real_trust(vector, clock, digicert))
    with pytest.raises(InvalidSignature):
        paypal.verify(delivery, real_trust(vector, clock, paypal_authority().pem))


# ── events and facts ────────────────────────────────────────────────────────────────────────────────

EXPECTED: dict[str, tuple[str, str, int, int, int]] = {
    # file: subject, status, captured, refunded (by its running total), disputed
    "payment.capture.completed": ("42311647XV020574X", "succeeded", 747, 0, 0),
    "payment.capture.denied": ("1YH34677BD7819356", "failed", 0, 0, 0),
    "payment.capture.pending": ("0C90432034385860N", "processing", 0, 0, 0),
    "payment.capture.refunded": ("5LK72275CG489890D", "partially_refunded", 0, 15, 0),
    "payment.capture.reversed": ("1RJ65796SJ857301V", "partially_refunded", 0, 35, 0),
    "payment.sale.completed": ("80021663DE681814L", "succeeded", 48, 0, 0),
    "payment.sale.refunded": ("9T0916710M1105906", "partially_refunded", 0, 2, 0),
    "payment.authorization.created": ("29R443392M774720E", "authorized", 0, 0, 0),
    "customer.dispute.created": ("45V487086B989905H", "disputed", 0, 0, 1156),
    "customer.dispute.resolved": ("6C589962JJ4368547", "charged_back", 0, 0, 998),
    "paypal2-payment_capture_completed_v2": ("12A34567BC123456S", "succeeded", 3000, 0, 0),
    "paypal2-payment_capture_declined_v2": ("7U133281TB3277326", "failed", 0, 0, 0),
    "paypal2-payment_capture_pending_v2": ("02T21492PP3782704", "processing", 0, 0, 0),
    "paypal2-payment_capture_refunded_v2": (
        "0JF852973C016714D",
        "partially_refunded",
        0,
        198,
        0,
    ),  # its total
    "paypal2-payment_capture_reversed_v2": ("4L335234718889942", "partially_refunded", 0, 251, 0),
    "paypal2-payment_sale_completed": ("80021663DE681814L", "succeeded", 48, 0, 0),
    "paypal2-payment_sale_refunded": ("9T0916710M1105906", "partially_refunded", 0, 1, 0),
    "paypal2-payment_sale_reversed": ("77689802DL785834G", "partially_refunded", 0, 49, 0),
}

SUBSCRIPTIONS = {
    "billing.subscription.created": "pending",  # an agreement of version 1
    "paypal2-subscription_created_v1": "pending",
    "paypal2-subscription_created_v2": "pending",
    "paypal2-subscription_activated_v2": "past_due",  # 10.00 USD are outstanding
    "paypal2-subscription_payment_failed_v2": "past_due",
    "paypal2-subscription_suspended_v2": "unpaid",
    "paypal2-subscription_cancelled_v1": "ended",
    "paypal2-subscription_cancelled_v2": "ended",
    "paypal2-subscription_expired_v2": "ended",
}


@pytest.mark.parametrize(
    "path", [*vectors("paypal", "events", "*.json"), *TRANSMISSIONS], ids=lambda p: p.stem
)
def test_what_a_real_event_proves(path: Path) -> None:
    """v1 and v2, captures, sales, refunds, disputes, subscriptions and plans; invoices prove nothing."""
    content = load(path)
    body = content["body_utf8"].encode() if "body_utf8" in content else path.read_bytes()
    event = paypal.event(body, NOW)
    facts = facts_of_event(event)
    if path.stem not in {**EXPECTED, **SUBSCRIPTIONS}:
        assert event.type.startswith(("BILLING.PLAN.", "INVOICING."))
        assert list(facts) == (["plan"] if event.type.startswith("BILLING.") else [])
        return
    if path.stem in SUBSCRIPTIONS:
        assert subscriptions.project(event.subject, facts).status == SUBSCRIPTIONS[path.stem]
        return
    payment = project(event.subject, facts)
    shown = (payment.status, payment.captured, payment.refunded, payment.disputed)
    assert (event.subject, *shown) == (f"paypal:{EXPECTED[path.stem][0]}", *EXPECTED[path.stem][1:])


def capture(value: object, currency: object) -> dict[str, Any]:
    amount = {"value": value, "currency_code": currency}
    return {
        "id": "WH-1",
        "event_type": "PAYMENT.CAPTURE.COMPLETED",
        "create_time": "2026-11-24T10:00:00Z",
        "resource": {"id": "2GG", "amount": amount},
    }


@pytest.mark.parametrize(
    ("value", "currency", "minor"),
    [
        ("12.30", "EUR", 1230),
        ("500", "JPY", 500),
        ("1.234", "KWD", 1234),
        ("-0.01", "USD", 1),
        ("7", "USD", 700),
    ],
)
def test_decimal_strings_become_minor_units(value: str, currency: str, minor: int) -> None:
    """By ISO 4217's exponents; which way money goes is said by the event's type, not by a sign."""
    event = paypal.event(as_bytes(capture(value, currency)), NOW)
    assert project(event.subject, facts_of_event(event)).captured == minor


@pytest.mark.parametrize(
    ("value", "currency"),
    [("1.5", "JPY"), ("x", "EUR"), ("NaN", "EUR"), ("1E999", "EUR"), (5, "EUR"), ("1", "ZZZ"), ("1", None)],
)
def test_what_is_no_amount_proves_nothing(value: object, currency: object) -> None:
    """An error of the mapping, not a guess."""
    with pytest.raises(ValueError, match=r"."):
        paypal.facts(paypal.event(as_bytes(capture(value, currency)), NOW))


def test_a_retry_may_be_three_days_old() -> None:
    """PayPal tries for three days, so a transmission of that age is still genuine."""
    three_days = timedelta(days=3) // timedelta(milliseconds=1)
    paypal.verify(signed("paypal", b"{}", at=NOW - three_days), trust())


def test_the_certificate_url_is_passed_on_as_it_came() -> None:
    """The certificates decide about the URL; the provider does not touch it."""
    assert signed("paypal", b"{}").headers["paypal-cert-url"] == CERT_URL
