"""Small stand-ins that are passed in, and the deliveries that tests send."""

import json
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from chalicelib.certificates import Key
from chalicelib.entries import (
    Outbox,
    RecordWrite,
    Write,
)
from chalicelib.events import Delivery, Event
from chalicelib.folding import LABELS
from chalicelib.inbox import Message
from chalicelib.payments import Facts, Milestone, books, change, fold, join, project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import Trust
from chalicelib.reactions import Handlers
from chalicelib.recording import Consumer
from chalicelib.telemetry import Telemetry, stdout
from chalicelib.webhooks import Receiver
from ops.local.paypal import Issued, authority, leaf
from ops.memory import MemoryInbox as MemoryInbox
from ops.memory import MemoryLedger as MemoryLedger
from ops.sender import PayPalSigner, StripeSigner

NOW = 1_795_500_000_000  # milliseconds; 2026-11-24
SIGNER = "messageverificationcerts.paypal.com"
CERT_URL = "https://api.paypal.com/v1/notifications/certs/CERT-test"
WEBHOOK_ID = "8PT597110X687430L"
# of the form that Stripe's have: a deployed stage takes no other
DEV_SECRET = "whsec_DevDevDev0123456789abcdefghijklmno"


class Clock:
    """Time that stands still until it is told to move. Milliseconds."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def telemetry(
    lines: list[str] | None = None, clock: Callable[[], int] | None = None, **more: Any
) -> Telemetry:
    """Telemetry whose lines are kept, and written out: what tests write out is searched for marks."""

    def write(line: str) -> None:
        if lines is not None:
            lines.append(line)
        stdout(line)

    return Telemetry("test", clock or Clock(), write, **more)


class Shelf:
    """Certificates kept in a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.reads = 0

    def certificates(self) -> dict[str, bytes]:
        self.reads += 1
        return dict(self.kept)

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
    provider: str,
    body: bytes,
    at: int = NOW,
    secret: str | None = None,
    received_at: int = NOW,
    number: int = 0,
) -> Delivery:
    """A delivery of ``body`` signed at ``at``, with the provider's current secret or another.

    Of PayPal's each ``number`` is a transmission of its own.
    """
    signer: Any
    if provider == "stripe":
        signer = StripeSigner(secret or "whsec_new")
    else:
        key = paypal_leaf().key
        signer = PayPalSigner(key, CERT_URL, secret or WEBHOOK_ID, random.Random(1 + number))
    headers = {name.lower(): value for name, value in signer.headers(body, at).items()}
    return Delivery(headers, body, received_at)


# what a payment's status says has happened, of which handlers must have heard
SAID_BY_STATUS = {
    "authorized": "payment.authorized",
    "failed": "payment.failed",
    "canceled": "payment.canceled",
    "succeeded": "payment.succeeded",
    "disputed": "dispute.opened",
    "charged_back": "dispute.lost",
}


def heard_of(subject: str, told: Iterable[Facts]) -> tuple[Facts, list[Milestone]]:
    """Facts joined one after the other, and what handlers hear: at each moment, of what the status says."""
    facts: Facts = {}
    heard: list[Milestone] = []
    superseded: tuple[str, ...] = ()
    for each in told:
        before, facts = facts, join(facts, each)
        news = change(subject, books(before), books(facts), superseded)
        superseded = news.superseded
        heard += news.milestones
        said = SAID_BY_STATUS.get(project(subject, facts).status)
        assert said is None or said in {milestone.type for milestone in heard}
    return facts, heard


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


def an_event(event_id: str = "evt_1", subject: str = "stripe:pi_1", **fields: Any) -> Event:
    """An event that says nothing, of Stripe's."""
    said: dict[str, Any] = {
        "provider": "stripe",
        "id": event_id,
        "type": "x.y",
        "subject": subject,
        "created_at": NOW,
        "received_at": NOW,
        "as_of": NOW,
        "livemode": None,
        "account": None,
        "api_version": None,
        "payload": {},
    }
    return Event(**{**said, **fields})


def record_of(facts: Facts, outbox: Outbox, since: int = NOW, before: Facts | None = None) -> RecordWrite:
    """A payment as it is written with those facts and that outbox."""
    made = change(outbox.subject, books(before or {}), books(facts))
    return RecordWrite(outbox=outbox, change=made, since=since)


def write_of(event: Event, body: bytes, outbox: Outbox, *facts: Facts, since: int = NOW) -> Write:
    """An event with its payment of those facts, or without one."""
    if not facts:
        return Write(event=event, body=body, own=outbox)
    return Write(event=event, body=body, records=(record_of(fold(facts), outbox, since),))


def facts_of_event(event: Event) -> Facts:
    """What an event proves of its own subject."""
    return LABELS.kept(dict(PROVIDERS[event.provider].facts(event).get(event.subject, {})))


class Rolling:
    """Credentials whose new value is only seen when they are read again."""

    def __init__(self, before: str, after: str) -> None:
        self._secrets, self._after, self.rereads = before, after, 0

    def current(self) -> Any:
        return {"stripe_webhook_secrets": (self._secrets,)}

    def reread(self) -> bool:
        self.rereads += 1
        changed = self._secrets != self._after
        self._secrets = self._after
        return changed


def receiver(inbox: Any, credentials: Any, livemode: bool | None = None) -> Receiver:
    return Receiver(
        providers=PROVIDERS,
        credentials=credentials,
        trust=lambda secrets: trust(**secrets),
        inbox=inbox,
        telemetry=telemetry(),
        livemode=livemode,
    )


def consumer(
    ledger: Any, inbox: Any, lines: list[str] | None = None, handlers: Handlers | None = None
) -> Consumer:
    return Consumer(
        providers=PROVIDERS,
        ledger=ledger,
        inbox=inbox,
        telemetry=telemetry(lines),
        handlers=handlers or Handlers(),
        clock=Clock(),
    )


def message_of(body: bytes, provider: str = "stripe") -> Message:
    event = PROVIDERS[provider].event(body, NOW)
    return Message(provider=provider, event_id=event.id, subject=event.subject, received_at=NOW, body=body)
