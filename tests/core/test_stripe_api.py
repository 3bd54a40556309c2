"""Thin events: what is fetched for them, from whom, and that they make the same payment as their twins."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.errors import Unavailable
from chalicelib.events import Event
from chalicelib.folding import folded
from chalicelib.inbox import Message
from chalicelib.payments import project
from chalicelib.providers import PROVIDERS, stripe
from chalicelib.providers.stripe.client import StripeApi
from chalicelib.reactions import Handlers
from tests.fake_apis import FakeStripe
from tests.fakes import NOW, Clock, MemoryLedger, as_bytes, consumer

REFUND = {
    "id": "re_1",
    "object": "refund",
    "amount": 400,
    "currency": "eur",
    "charge": "ch_1",
    "payment_intent": "pi_1",
    "status": "succeeded",
}


def thin(url: object = "/v1/refunds/re_1", **fields: Any) -> dict[str, Any]:
    return {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "v1.refund.created",
        "created": "2026-10-28T00:00:00Z",
        "related_object": {"id": "re_1", "type": "refund", "url": url},
        "snapshot_event": "evt_twin",
        **fields,
    }


@pytest.fixture
def api() -> Iterator[FakeStripe]:
    with FakeStripe([]) as made:
        made.objects["/v1/refunds/re_1"] = REFUND
        yield made


def client(api: FakeStripe) -> StripeApi:
    return StripeApi("rk_test", api.address, Clock())


def event(payload: dict[str, Any]) -> Event:
    return stripe.event(as_bytes(payload), NOW)


def test_the_related_object_is_fetched(api: FakeStripe) -> None:
    """Then the event is about the payment that the object belongs to, and has its facts."""
    completed = client(api).complete(event(thin()))
    [asked] = api.requests
    assert (asked.target, asked.headers.get("Stripe-Context")) == ("/v1/refunds/re_1", None)
    assert completed.subject == "stripe:pi_1"
    assert "refund re_1" in stripe.facts(completed)["stripe:pi_1"]


def test_a_connected_accounts_object_is_fetched_in_its_name(api: FakeStripe) -> None:
    """By the context that the event names."""
    completed = client(api).complete(event(thin(context="acct_1")))
    [asked] = api.requests
    assert (asked.target, asked.headers["Stripe-Context"]) == ("/v1/refunds/re_1", "acct_1")
    assert completed.subject == "stripe:acct_1:pi_1"


@pytest.mark.parametrize(
    "payload",
    [
        {"id": "evt_1", "object": "event", "data": {"object": REFUND}},
        thin("https://evil.example/v1/refunds/re_1"),
        thin("//evil.example/v1/refunds/re_1"),
        thin("/v1/refunds/../accounts/acct_1"),
        thin("/v1/refunds/re_1?expand[]=x"),
        thin(None),
    ],
    ids=lambda payload: str(payload.get("related_object")),
)
def test_nothing_else_is_fetched(api: FakeStripe, payload: dict[str, Any]) -> None:
    """A snapshot has its data; and a path is a path of Stripe's API, or is left alone."""
    before = event(payload)
    assert client(api).complete(before) == before
    assert api.asked == []


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_an_api_that_does_not_answer_is_an_outage(api: FakeStripe, status: int) -> None:
    """The queue brings the event again."""
    api.faults = [(status, {}, {"error": {}})]
    with pytest.raises(Unavailable):
        client(api).complete(event(thin()))


def test_twins_make_one_milestone(api: FakeStripe) -> None:
    """A thin event and its snapshot tell of one refund; and the fold of what is kept is the payment."""
    ledger: Any = MemoryLedger()
    inbox: Any = None
    heard: list[str] = []
    handlers = Handlers()
    handlers.on("payment.refunded")(lambda payment, milestone: heard.append(milestone.id))
    base = consumer(ledger, inbox, handlers=handlers)
    to = replace(base, complete=lambda event, _: client(api).complete(event))
    twin: dict[str, Any] = {
        "id": "evt_twin",
        "type": "refund.created",
        "created": 1000,
        "data": {"object": REFUND},
    }
    paid = {
        "object": "payment_intent",
        "id": "pi_1",
        "currency": "eur",
        "amount": 900,
        "amount_received": 900,
    }
    first = {**twin, "id": "evt_0", "type": "payment_intent.succeeded", "data": {"object": paid}}
    for payload in (first, thin(), twin, thin()):
        body = as_bytes(payload)
        to.record(
            Message(
                provider="stripe",
                event_id=payload["id"],
                subject=event(payload).subject,
                received_at=NOW,
                body=body,
            ),
            NOW + 1,
        )
    assert heard == ["stripe:pi_1/payment.refunded/re_1"]
    stored = ledger.payment("stripe:pi_1").facts
    assert project("stripe:pi_1", stored).refunded == 400
    assert folded(ledger, PROVIDERS, "stripe:pi_1", {}) == stored
    assert ledger.event("stripe:pi_1", "evt_thin").body == as_bytes(thin())
