"""Small stand-ins that are passed in, and the deliveries that tests send."""

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from chalicelib.certificates import Key
from chalicelib.events import Delivery
from chalicelib.providers.protocol import Trust
from ops.local.paypal import Issued, authority, leaf
from ops.sender import PayPalSigner, StripeSigner

NOW = 1_795_500_000_000  # milliseconds; 2026-11-24
SIGNER = "messageverificationcerts.paypal.com"
CERT_URL = "https://api.paypal.com/v1/notifications/certs/CERT-test"
WEBHOOK_ID = "8PT597110X687430L"


class Clock:
    """Time that stands still until it is told to move. Milliseconds."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Shelf:
    """Certificates kept in a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def certificate(self, url: str) -> bytes | None:
        return self.kept.get(url)

    def keep_certificate(self, url: str, pem: bytes) -> None:
        self.kept[url] = pem


class OneCertificate:
    """Certificates with a single key, whatever the URL."""

    def __init__(self, issued: Issued) -> None:
        self._issued = issued

    def key(self, url: str) -> Key:
        return Key(self._issued.key.public_key())


@cache
def paypal_authority() -> Issued:
    return authority(datetime.fromtimestamp(NOW / 1000, UTC))


@cache
def paypal_leaf() -> Issued:
    return leaf(paypal_authority(), SIGNER, datetime.fromtimestamp(NOW / 1000, UTC))


def trust(**secrets: tuple[str, ...]) -> Trust:
    """What verifies the deliveries below, or with the secrets given instead."""
    usual = {
        "stripe_webhook_secrets": ("whsec_new", "whsec_old"),
        "paypal_webhook_ids": (WEBHOOK_ID,),
    }
    return Trust({**usual, **secrets}, OneCertificate(paypal_leaf()))


def signed(
    provider: str, body: bytes, at: int = NOW, secret: str | None = None, received_at: int = NOW
) -> Delivery:
    """A delivery of ``body`` signed at ``at``, with the provider's current secret or another."""
    signer: Any
    if provider == "stripe":
        signer = StripeSigner(secret or "whsec_new")
    else:
        key = paypal_leaf().key
        signer = PayPalSigner(key, CERT_URL, secret or WEBHOOK_ID, random.Random(1))
    headers = {name.lower(): value for name, value in signer.headers(body, at).items()}
    return Delivery(headers, body, received_at)


def as_bytes(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event).encode()


def sqs_record(message: str, group: str = "g", receives: int = 1, receipt: str = "r") -> dict[str, Any]:
    """A record as Lambda's SQS event source hands it over."""
    return {
        "messageId": f"m-{receipt}",
        "receiptHandle": receipt,
        "body": message,
        "attributes": {"MessageGroupId": group, "ApproximateReceiveCount": str(receives)},
    }
