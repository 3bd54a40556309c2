"""History: what Stripe's API has becomes the records that webhooks would have made; nobody hears of it."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chalicelib import subscriptions
from chalicelib.credentials import FixedCredentials
from chalicelib.errors import InvalidPayload, Unavailable
from chalicelib.payments import project
from chalicelib.providers.stripe.client import StripeApi
from chalicelib.providers.stripe.history import KINDS
from chalicelib.times import DAY
from ops import importing
from ops.stories import SUBSCRIPTIONS, tell
from ops.verify import drift
from tests.fake_apis import BROKEN, FakeStripe
from tests.fakes import MemoryInbox, as_bytes, receiver, signed
from tests.importing import Importing, simulated_at_stripe, stripes_objects
from tests.settling import Shop
from tests.simulators import START

Json = dict[str, Any]
SUMS = ("status", "captured", "refunded", "disputed", "net", "currency", "consistent")
LIVES = 60
NOTHING: dict[str, list[Json]] = {kind: [] for kind in KINDS}


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with FakeStripe([]) as api:
        yield api


def of_stripe(stripe: FakeStripe) -> Importing:
    shop = Shop()
    return Importing("stripe", StripeApi("rk_1", stripe.address, shop.clock), shop)


def test_history_makes_the_records_that_webhooks_would_have(stripe: FakeStripe) -> None:
    """Of lives by chance, in any order; notified to nobody; once more changes nothing."""
    simulators = simulated_at_stripe(LIVES)
    stripe.history = {**NOTHING, **stripes_objects(simulators)}
    it = of_stripe(stripe)
    counts = it.run()
    assert counts["payment_intents"] == LIVES
    assert sum(counts.values()) == sum(len(each) for each in stripe.history.values())
    told = Shop()
    for simulator in simulators:
        told.know(simulator.events)
        by_webhooks = project(simulator.subject, told.ledger.payment(simulator.subject).facts)
        imported = it.payment(simulator.subject)
        if by_webhooks.captured:
            assert {n: getattr(imported, n) for n in SUMS} == {n: getattr(by_webhooks, n) for n in SUMS}
        assert drift(it.shop.ledger, simulator.subject) is None
    assert it.heard == []
    assert set(it.run().values()) == {0}


def test_real_events_join_with_it_in_any_order(stripe: FakeStripe) -> None:
    """Before, or after: the sums are the same, and nobody is notified of what was imported."""
    simulators = simulated_at_stripe(20)
    stripe.history = {**NOTHING, **stripes_objects(simulators)}
    before, after, alone = of_stripe(stripe), of_stripe(stripe), Shop()
    for simulator in simulators:
        before.shop.know(simulator.events)
        alone.know(simulator.events)
    before.run()
    after.run()
    heard = len(after.heard)
    for simulator in simulators:
        after.shop.know(random.Random(3).sample(simulator.events, len(simulator.events)))
        one, other = before.payment(simulator.subject), after.payment(simulator.subject)
        whole = project(simulator.subject, alone.ledger.payment(simulator.subject).facts)
        for name in ("captured", "refunded", "disputed", "net"):
            assert getattr(one, name) == getattr(other, name) == getattr(whole, name)
    assert heard == 0


def test_a_run_that_is_stopped_goes_on_where_it_was(stripe: FakeStripe) -> None:
    """Through pages, throttling and an outage; what was listed is not listed again."""
    charges = [
        {"id": f"ch_{n:04}", "object": "charge", "amount": 100, "amount_captured": 100, "currency": "eur"}
        | {"created": START + n, "status": "succeeded", "payment_intent": f"pi_{n:04}", "captured": True}
        for n in range(450)
    ]
    stripe.history = {**NOTHING, "charges": charges}
    it = of_stripe(stripe)
    refused = {"error": {"type": "api_error", "message": "down"}}
    pages = 0

    def fail_on_the_third(kind: str, summary: Any) -> None:
        nonlocal pages
        pages += kind == "charges"
        if pages == 2:
            throttled = (429, {"Retry-After": "1"}, refused)
            stripe.faults = [(BROKEN, {}, {}), throttled, *[(500, {}, refused)] * 20]

    with pytest.raises(Unavailable):
        importing.run(it.reconciler, "stripe", it.api, START * 1000 - DAY, False, fail_on_the_third)
    stripe.faults = []
    listed = len([each for each in stripe.asked if each.startswith("/v1/charges")])
    counts = it.run()
    asked = [each for each in stripe.asked if each.startswith("/v1/charges")][listed:]
    assert counts["charges"] == 250  # 200 are on the queue already
    assert "starting_after=ch_0250" in asked[0]
    assert it.payment("stripe:pi_0007").captured == it.payment("stripe:pi_0449").captured == 100


def test_a_dry_run_and_an_estimate_change_nothing(stripe: FakeStripe) -> None:
    """By one question of each kind; a page that is all there is counts exactly."""
    made = [{"id": f"re_{n}", "object": "refund", "created": START + 864 * n} for n in range(300)]
    stripe.history = {**NOTHING, "refunds": made, "charges": made[:7]}
    it = of_stripe(stripe)
    until = (START + 864 * 300) * 1000
    found = {kind: it.api.expected(kind, START * 1000, until) for kind in it.api.kinds()}
    assert (found["charges"].objects, found["charges"].is_exact) == (7, True)
    assert not found["refunds"].is_exact
    assert 250 < found["refunds"].objects < 350
    assert len(stripe.asked) == len(KINDS)
    assert set(it.run(dry_run=True).values()) == {0}
    assert it.shop.queue.texts == []
    assert it.shop.ledger.checkpoints.checkpoint("import refunds stripe") == {}


def test_what_comes_after_the_stage_began_is_left_to_its_webhooks(stripe: FakeStripe) -> None:
    """Their handlers are to be notified."""
    it = of_stripe(stripe)
    late = {"id": "pi_late", "object": "payment_intent", "created": it.began // 1000 + 60}
    stripe.history = {**NOTHING, "payment_intents": [late]}
    assert set(it.run().values()) == {0}


def test_nobody_can_send_an_imported_event() -> None:
    """It would be recorded, and no handler notified."""
    body = as_bytes({"id": "imported_pi_1", "object": "event", "type": "payment_intent.succeeded"})
    door = receiver(MemoryInbox(), FixedCredentials({"stripe_webhook_secrets": ("whsec_new",)}))
    with pytest.raises(InvalidPayload, match="no provider sends"):
        door.receive("stripe", signed("stripe", body))


def test_an_api_that_lies_about_its_pages_is_not_believed(stripe: FakeStripe) -> None:
    """More that never comes, or no list at all."""
    it = of_stripe(stripe)
    stripe.history = dict(NOTHING)
    for odd in ({"data": [], "has_more": True}, {"object": "list"}):
        stripe.objects["/v1/charges"] = odd
        with pytest.raises(Unavailable):
            importing.run(it.reconciler, "stripe", it.api, 0, False, lambda kind, summary: None)
    assert replace(it.reconciler, what=importing.what("charges")).what.name == "import charges"


@pytest.mark.parametrize("story", SUBSCRIPTIONS)
def test_a_subscriptions_history_makes_what_its_webhooks_would_have(stripe: FakeStripe, story: str) -> None:
    """What it is, until when it is paid, and what was reversed; whoever has access is not told of it."""
    _, events = tell("stripe", random.Random(5), START * 1000, 1900, "EUR", story=story)
    found: dict[str, dict[str, Json]] = {kind: {} for kind in KINDS}
    for event in events:
        about = {"created": event["created"], **event["data"]["object"]}
        if f"{about['object']}s" in found:
            found[f"{about['object']}s"][about["id"]] = about
    unpaid = [id_ for id_, each in found["invoices"].items() if each["status"] != "paid"]
    for id_ in unpaid:
        del found["invoices"][id_]
    stripe.history = {kind: list(by_id.values()) for kind, by_id in found.items()}
    it, told = of_stripe(stripe), Shop()
    it.shop.clock.now = told.clock.now = max(each["created"] for each in events) * 1000 + DAY
    it.began = it.shop.clock.now - 1000
    it.run(since=0)
    told.know(events)
    [id_] = found["subscriptions"]
    imported, by_webhooks = (
        subscriptions.project(f"stripe:{id_}", each.ledger.record(f"stripe:{id_}").facts)
        for each in (it.shop, told)
    )
    for name in ("status", "paid_through", "period_end", "ended_at", "cancel_at", "certain"):
        assert getattr(imported, name) == getattr(by_webhooks, name), name
    last = imported.last_payment
    assert (last and last["reversed"]) == (by_webhooks.last_payment and by_webhooks.last_payment["reversed"])
    assert it.heard == []
