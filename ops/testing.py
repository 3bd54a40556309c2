"""For your own tests of ``chalicelib/handlers.py``: a pytest fixture that delivers a webhook, end to end.

    def test_an_order_is_shipped(deliver):
        [shipped] = deliver("stripe", story="checkout", metadata={"order_id": "1001"}).of("fulfil")
        assert shipped.payment.reference == "1001"

It signs the story's events as the provider does, posts each to the route through Chalice's own test
client, and runs the consumer over a ledger and a queue in memory: no emulator, no network. What a
handler raises is raised.
"""

import importlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from chalicelib.events import Event
    from chalicelib.payments import Milestone, Payment
    from chalicelib.reactions import Handler

MODULE = "chalicelib.handlers"
CERT_URL = "https://api.paypal.com/v1/notifications/certs/CERT-local"
# a handler whose client no test replaced reaches nobody: no mail is sent by a test
NO_AWS = {
    "DAYBOOK_STAGE": "local",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_MAX_ATTEMPTS": "1",
}
TIME = 60_000  # milliseconds that handlers may take


@dataclass(frozen=True, slots=True)
class Notified:
    """One call of a handler: of a milestone with its payment, or of a raw event."""

    handler: str
    type: str
    payment: "Payment | None" = None
    milestone: "Milestone | None" = None
    event: "Event | None" = None


class Calls(list[Notified]):
    """What handlers were notified of, in order."""

    def of(self, handler: str) -> list[Notified]:
        return [each for each in self if each.handler == handler]


@dataclass(slots=True)
class Deliver:
    """A stage of one test. ``ledger`` is what it has recorded."""

    app: Any
    ledger: Any
    inbox: Any
    handlers: Any = None
    calls: Calls = field(default_factory=Calls)
    number: int = 0
    raised: list[Exception] = field(default_factory=list)

    def __call__(
        self,
        provider: str,
        *,
        story: str | None = None,
        type: str | None = None,
        metadata: dict[str, str] | None = None,
        amount: int = 5000,
        currency: str = "EUR",
    ) -> Calls:
        """Deliver a payment's story (``checkout``, ``partial-refunds``, …) or one event of a ``type``.

        ``metadata`` is written into it as your shop would; PayPal has a ``custom_id``, which is its
        ``order_id``. ``amount`` in minor units. Returns what handlers were notified of by it.
        """
        from ops.stories import MADE, tell

        known = MADE[provider].types
        if type is not None and type not in known and not self.handlers.of(f"{provider}.{type}"):
            raise ValueError(
                f"{provider} has no {type} that is known here, and no handler is notified of one"
            )
        self.number += 1
        begins = self.app._now() - TIME
        told = {"story": story} if story else {"type_": type}
        _, events = tell(provider, random.Random(self.number), begins, amount, currency, **told)  # noqa: S311
        return self.events(provider, *(_written(provider, each, metadata) for each in events))

    def events(self, provider: str, *events: dict[str, Any]) -> Calls:
        """Deliver events as your provider has them, such as one copied from its dashboard."""
        from chalice.test import Client

        before = len(self.calls)
        with Client(self.app.app, stage_name="local") as client:
            for event in events:
                body = json.dumps(event).encode()
                headers = _signer(provider).headers(body, self.app._now())
                answer = client.http.post(f"/webhooks/{provider}", headers=headers, body=body)
                if answer.status_code != 200:
                    raise ValueError(f"refused, {answer.status_code}: {answer.json_body}")
                self._consume(client)
        return Calls(self.calls[before:])

    def _consume(self, client: Any) -> None:
        texts = [message.encode() for message in self.inbox.messages.values()]
        self.inbox.messages.clear()
        self.raised.clear()
        sent = client.events.generate_sqs_event(message_bodies=texts, queue_name="payment-events-local")
        try:
            client.lambda_.invoke("process", sent)
        except Exception:
            if self.raised:
                raise self.raised[0] from None
            raise

    def listening(self, handler: "Handler") -> "Handler":
        """The handler, its calls noted and what it raises kept."""

        def call(*arguments: Any) -> None:
            if len(arguments) == 1:
                event = arguments[0]
                noted = Notified(handler.name, f"{event.provider}.{event.type}", event=event)
            else:
                payment, milestone = arguments
                noted = Notified(handler.name, milestone.type, payment, milestone)
            try:
                handler.function(*arguments)
            except Exception as error:
                self.raised.append(error)
                raise
            self.calls.append(noted)

        return replace(handler, function=call)


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deliver]:
    """Delivers webhooks to your handlers, in memory: see ``docs/handlers.md``."""
    from chalicelib.certificates import Key
    from chalicelib.reactions import Handlers
    from ops.memory import MemoryInbox, MemoryLedger

    class Certificates:
        def key(self, url: str) -> Key:
            return Key(_issued().key.public_key())

    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in NO_AWS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120 - as Chalice's client has it
    sys.modules.pop("app", None)
    app = importlib.import_module("app")
    made = Deliver(app, MemoryLedger(), MemoryInbox())
    listening = made.handlers = Handlers(made.listening(each) for each in own_handlers())
    parts: dict[str, Callable[..., Any]] = {
        "_ledger": lambda: made.ledger,
        "_inbox": lambda: made.inbox,
        "_certificates": lambda hosts: Certificates(),
        "_began": lambda: 0,
        "handlers_of": lambda *_: listening,
    }
    for name, part in parts.items():
        monkeypatch.setattr(app, name, part)
    yield made
    sys.modules.pop("app", None)


def own_handlers() -> "list[Handler]":
    """Those of the user's own module, loaded anew; other registrations in this process stay as they were."""
    from chalicelib import reactions

    before = list(reactions.registered)
    reactions.registered.clear()
    for name in [each for each in sys.modules if f"{each}.".startswith(f"{MODULE}.")]:
        del sys.modules[name]
    importlib.import_module(MODULE)
    mine = list(reactions.registered)
    reactions.registered.clear(before)
    return mine


def _written(provider: str, event: dict[str, Any], metadata: dict[str, str] | None) -> dict[str, Any]:
    """The event with what a shop writes into a payment."""
    if metadata is None:
        return event
    if provider == "paypal":
        event["resource"] |= (
            {"custom_id": metadata.get("order_id", "")} if "amount" in event["resource"] else {}
        )
        return event
    about = event["data"]["object"]
    if "metadata" in about:
        about["metadata"] = metadata
    if "client_reference_id" in about:
        about["client_reference_id"] = None
    return event


@cache
def _issued() -> Any:
    from ops.local.paypal import SIGNER, authority, leaf

    now = datetime.now(UTC)
    return leaf(authority(now), SIGNER, now)


def _signer(provider: str) -> Any:
    from ops.sender import PayPalSigner, StripeSigner
    from ops.stage import LOCAL_STRIPE_SECRET, LOCAL_WEBHOOK_ID

    if provider == "stripe":
        return StripeSigner(LOCAL_STRIPE_SECRET)
    rng = random.Random()  # noqa: S311 - ids of transmissions, no secrets
    return PayPalSigner(_issued().key, CERT_URL, LOCAL_WEBHOOK_ID, rng)
