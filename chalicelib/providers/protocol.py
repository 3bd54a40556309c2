"""What a provider's module offers, and what it may ask for."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from chalicelib.errors import NotConfigured
from chalicelib.events import Delivery, Event
from chalicelib.payments import Facts


class PublicKey(Protocol):
    def signed(self, signature: bytes, text: bytes) -> bool:
        """Whether ``signature`` is this key's RSA PKCS#1 v1.5 signature of ``text`` with SHA-256."""


class Certificates(Protocol):
    def key(self, url: str) -> PublicKey:
        """The key of the trusted certificate at ``url``. Raises ``InvalidSignature``, ``Unavailable``."""


class Postback(Protocol):
    def confirms(self, transmission: Mapping[str, str], body: bytes, webhook_id: str) -> bool:
        """Whether the provider itself says that it sent this. Raises ``Unavailable``."""


class Proof(NamedTuple):
    """That a delivery is genuine: by which secret; and an id that is good for one body, if there is."""

    secret: str
    transmission: str | None = None


def fingerprint(secret: str) -> str:
    """What a secret is called in metrics: it tells two apart, and nothing of either."""
    return hashlib.sha256(secret.encode()).hexdigest()[:6]


@dataclass(frozen=True, slots=True)
class Trust:
    """All that a delivery is verified with. ``secrets`` holds the stage's credentials by name."""

    secrets: Mapping[str, tuple[str, ...]]
    certificates: Certificates
    postback: Postback | None = None

    def required(self, name: str) -> tuple[str, ...]:
        """The credentials of that name. Raises ``NotConfigured`` if there are none."""
        values = self.secrets.get(name, ())
        if not values:
            raise NotConfigured("this endpoint is not configured", reason=f"no_{name}")
        return values


class Provider(Protocol):
    """What a provider's module offers. All of it is pure but for what ``Trust`` carries."""

    NAME: str

    def verify(self, delivery: Delivery, trust: Trust) -> Proof:
        """Return if the delivery is genuine.

        Raises ``InvalidSignature``, ``NotConfigured``, ``Unavailable``.
        """

    def event(self, body: bytes, received_at: int) -> Event:
        """The event in a genuine body, and its subject. Raises ``InvalidPayload``."""

    def facts(self, event: Event) -> Facts:
        """What the event proves of a payment; nothing if it is about none.

        Raises ``ValueError``, ``InvalidPayload`` where it cannot be understood; it is recorded all the same.
        """
