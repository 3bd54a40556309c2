"""Signing events as a provider does, and sending them."""

import base64
import hashlib
import hmac
import json
import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import urllib3
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chalicelib.times import to_iso

Headers = dict[str, str]


class Signer(Protocol):
    def headers(self, body: bytes, now: int) -> Headers:
        """The headers that make ``body`` genuine at ``now`` (milliseconds)."""


class StripeSigner:
    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def headers(self, body: bytes, now: int) -> Headers:
        timestamp = str(now // 1000)
        signed = timestamp.encode() + b"." + body
        signature = hmac.new(self._secret, signed, hashlib.sha256).hexdigest()
        return {"Stripe-Signature": f"t={timestamp},v1={signature}"}


class PayPalSigner:
    """Signs with the key of the certificate at ``cert_url``."""

    def __init__(self, key: RSAPrivateKey, cert_url: str, webhook_id: str, rng: random.Random) -> None:
        self._key = key
        self._cert_url = cert_url
        self._webhook_id = webhook_id
        self._rng = rng

    @classmethod
    def from_simulator(cls, text: str, webhook_id: str | None, rng: random.Random) -> "PayPalSigner":
        """From what the local PayPal left for this purpose."""
        fields: dict[str, str] = json.loads(text)
        key: Any = load_pem_private_key(fields["key"].encode(), None)
        return cls(key, fields["cert_url"], webhook_id or fields["webhook_id"], rng)

    def headers(self, body: bytes, now: int) -> Headers:
        transmission = f"{self._rng.getrandbits(128):032x}"
        time = to_iso(now // 1000 * 1000)
        text = f"{transmission}|{time}|{self._webhook_id}|{zlib.crc32(body)}".encode()
        signature = self._key.sign(text, PKCS1v15(), SHA256())
        return {
            "PAYPAL-TRANSMISSION-ID": transmission,
            "PAYPAL-TRANSMISSION-TIME": time,
            "PAYPAL-TRANSMISSION-SIG": base64.b64encode(signature).decode(),
            "PAYPAL-CERT-URL": self._cert_url,
            "PAYPAL-AUTH-ALGO": "SHA256withRSA",
            "PAYPAL-AUTH-VERSION": "v2",
        }


@dataclass(slots=True)
class Tally:
    """How deliveries were answered. ``unreachable`` got no answer at all."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    unreachable: int = 0


def send_all(
    bodies: list[bytes], url: str, signer: Signer, clock: Callable[[], int], step: Callable[[], None]
) -> Tally:
    """Post each body, signed when it is sent; ``step`` is called after each."""
    to, tally = pool(), Tally()
    for body in bodies:
        tally.sent += 1
        status = post(to, url, body, signer.headers(body, clock()))
        tally.accepted += status == 200
        tally.refused += status not in (None, 200)
        tally.unreachable += status is None
        step()
    return tally


def pool() -> urllib3.PoolManager:
    """Connections that are kept from one delivery to the next."""
    return urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=30.0))


def post(pool: urllib3.PoolManager, url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
    """The status that it was answered with, if it was."""
    try:
        sent = {"Content-Type": "application/json", **headers}
        return pool.request("POST", url, body=body, headers=sent, redirect=False).status
    except urllib3.exceptions.HTTPError:
        return None
