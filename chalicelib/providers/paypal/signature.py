"""PayPal's signatures: https://developer.paypal.com/api/rest/webhooks/rest/"""

import binascii
import zlib
from collections.abc import Mapping

from chalicelib.accounts import fingerprint
from chalicelib.errors import InvalidSignature
from chalicelib.events import Delivery, parse, safe_id
from chalicelib.providers.protocol import Proof, Trust
from chalicelib.times import from_iso

# Milliseconds. PayPal tries for three days; whether a retry carries a new time it does not say.
OLDEST = 73 * 3600 * 1000
FUTURE = 300_000

HEADERS = (
    "paypal-transmission-id",
    "paypal-transmission-time",
    "paypal-transmission-sig",
    "paypal-cert-url",
    "paypal-auth-algo",
)


def verify(delivery: Delivery, trust: Trust) -> Proof:
    """The webhook id and the transmission's id, if PayPal signed this body for one of our webhook ids.

    What is signed is the body's CRC32, which another body can be given too: so a transmission's id must be
    held to one body. Where ``trust`` has a postback, PayPal is asked too about what passes here, and is JSON.
    """
    webhook_ids = trust.required("paypal_webhook_ids")
    sent = {name: delivery.headers.get(name, "") for name in HEADERS}
    _check_headers(sent, delivery.received_at)
    signature = _signature(sent["paypal-transmission-sig"])
    key = trust.certificates.key(sent["paypal-cert-url"])
    signed_for = (
        each for each in webhook_ids if key.signed(signature, _signed_text(sent, each, delivery.body))
    )
    webhook_id = next(signed_for, None)
    if webhook_id is None:
        raise InvalidSignature("no signature matches", reason="signature")
    if trust.postback is not None:
        parse(delivery.body)
        if not trust.postback.confirms(sent, delivery.body, webhook_id):
            raise InvalidSignature("PayPal does not know this transmission", reason="postback")
    return Proof(fingerprint(webhook_id), sent["paypal-transmission-id"])


def _check_headers(sent: Mapping[str, str], now: int) -> None:
    missing = [name for name, value in sent.items() if not value]
    if missing:
        raise InvalidSignature(f"no {missing[0]} header", reason="missing")
    well_formed = all(value.isascii() and value.isprintable() for value in sent.values())
    if not well_formed or not safe_id(sent["paypal-transmission-id"]):
        raise InvalidSignature("malformed header", reason="malformed")
    if sent["paypal-auth-algo"] != "SHA256withRSA":
        raise InvalidSignature("unknown signature algorithm", reason="algorithm")
    try:
        age = now - from_iso(sent["paypal-transmission-time"])
    except (ValueError, OverflowError):
        raise InvalidSignature("malformed paypal-transmission-time", reason="malformed") from None
    if not -FUTURE <= age <= OLDEST:
        raise InvalidSignature("the transmission time is too far from now", reason="timestamp")


def _signature(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InvalidSignature("malformed paypal-transmission-sig", reason="malformed") from None


def _signed_text(sent: Mapping[str, str], webhook_id: str, body: bytes) -> bytes:
    parts = (
        sent["paypal-transmission-id"],
        sent["paypal-transmission-time"],
        webhook_id,
        str(zlib.crc32(body)),
    )
    return "|".join(parts).encode()
