"""Stripe's signatures: https://docs.stripe.com/webhooks#verify-manually"""

import hashlib
import hmac

from chalicelib.accounts import fingerprint
from chalicelib.errors import InvalidSignature
from chalicelib.events import Delivery
from chalicelib.providers.protocol import Proof, Trust

TOLERANCE = 300_000  # milliseconds, into the past and into the future


def verify(delivery: Delivery, trust: Trust) -> Proof:
    """Return if any ``v1`` signature is that of any current secret, at most 300 s from now."""
    secrets = trust.required("stripe_webhook_secrets")
    timestamp, signatures = _parse_header(delivery.headers.get("stripe-signature", ""))
    if abs(int(timestamp) * 1000 - delivery.received_at) > TOLERANCE:
        raise InvalidSignature("the timestamp is too far from now", reason="timestamp")
    signed = timestamp.encode() + b"." + delivery.body
    for secret in secrets:
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()
        for signature in signatures:
            if hmac.compare_digest(expected, signature):
                return Proof(fingerprint(secret))
    raise InvalidSignature("no signature matches", reason="signature")


def _parse_header(header: str) -> tuple[str, list[bytes]]:
    """Timestamp and ``v1`` signatures of ``t=…,v1=…[,v1=…]``."""
    if not header:
        raise InvalidSignature("no Stripe-Signature header", reason="missing")
    pairs = [item.partition("=") for item in header.split(",")]
    timestamps = [value for name, _, value in pairs if name == "t"]
    signatures = [value.encode("utf-8", "replace") for name, _, value in pairs if name == "v1"]
    well_formed = all(equals for _, equals, _ in pairs) and len(timestamps) == 1
    if not well_formed or not signatures or not _is_timestamp(timestamps[0]):
        raise InvalidSignature("malformed Stripe-Signature header", reason="malformed")
    return timestamps[0], signatures


def _is_timestamp(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12
