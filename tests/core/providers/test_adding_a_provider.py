"""A third, made-up provider is one module and one line, and passes the whole contract."""

from dataclasses import replace
from typing import Any, ClassVar

from chalicelib.events import Delivery
from chalicelib.inbox import Message
from chalicelib.payments import project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import Provider, Trust
from tests.core.providers import acme
from tests.core.providers.contract import ProviderContract
from tests.fakes import (
    NOW,
    MemoryInbox,
    MemoryLedger,
    OneCertificate,
    Rolling,
    as_bytes,
    consumer,
    paypal_leaf,
    receiver,
)

REGISTRY: dict[str, Provider] = {**PROVIDERS, "acme": acme}
PAID = {"id": "e1", "type": "paid", "payment": {"id": "p1", "cents": 700, "currency": "EUR"}}


def acme_trust(**secrets: tuple[str, ...]) -> Trust:
    return Trust({"acme_secrets": ("new", "old"), **secrets}, OneCertificate(paypal_leaf()))


class TestAcme(ProviderContract):
    provider = acme
    genuine: ClassVar = PAID
    signature_header = "acme-signature"
    secrets = "acme_secrets"
    too_old = 300_000
    rotated = "old"

    def deliver(self, body: bytes | None = None, **changes: Any) -> Delivery:
        sent = as_bytes(PAID) if body is None else body
        signature = acme.sign(changes.get("secret") or "new", sent, changes.get("at", NOW))
        return Delivery({"acme-signature": signature}, sent, NOW)

    def trust(self, **secrets: tuple[str, ...]) -> Trust:
        return acme_trust(**secrets)


def test_it_is_received_and_recorded_like_any_other() -> None:
    """From the route's sentence to the payment, with the registry's line alone."""
    inbox = MemoryInbox()
    to = replace(receiver(inbox, Rolling("", "")), providers=REGISTRY, trust=lambda _: acme_trust())
    body = as_bytes(PAID)
    delivery = Delivery({"acme-signature": acme.sign("new", body, NOW)}, body, NOW)
    assert to.receive("acme", delivery)["status"] == "accepted"
    assert [message.event_id for message in inbox.messages.values()] == ["e1"]
    ledger: Any = MemoryLedger()
    no_inbox: Any = None
    reader = replace(consumer(ledger, no_inbox), providers=REGISTRY)
    reader.record(Message(provider="acme", event_id="e1", subject="acme:p1", received_at=NOW, body=body), NOW)
    payment = project("acme:p1", ledger.payment("acme:p1").facts)
    assert (payment.status, payment.captured, payment.provider) == ("succeeded", 700, "acme")
