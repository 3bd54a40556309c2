"""``docs/schemas``: what is really sent is as they say, in all of it, and TypeScript's types are theirs."""

import json
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from chalicelib.bus import EventBus
from chalicelib.payments import STATES
from chalicelib.payments.books import STATUSES
from chalicelib.providers import PROVIDERS
from ops.stories import STORIES, SUBSCRIPTIONS, tell
from ops.typescript import OUT, SCHEMAS, declarations
from tests.banks import StripeBank
from tests.fakes import as_bytes
from tests.receiving import Notified
from tests.settling import Shop
from tests.simulators import START

Json = dict[str, Any]
FILES = {path.stem: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
# What no story has: it is sent all the same, and is checked where it comes.
NEVER_TOLD = {
    "provider_reason",
    "pending",
    "test_clock",
    "next_attempt_at",
    "past_due_since",
    "replay",
    "detail",
}


def strict(schema: Any) -> Any:
    """The same, but that nothing may be sent that it does not say: a user's own check is to let that pass."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(each) for name, each in schema.items()}
    return {**closed, "additionalProperties": False} if "properties" in schema else closed


def validator(name: str) -> jsonschema.Draft202012Validator:
    resources = [(f"{each}.json", Resource.from_contents(strict(schema))) for each, schema in FILES.items()]
    registry: Any = Registry().with_resources(resources)
    formats = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(strict(FILES[name]), registry=registry, format_checker=formats)


def published() -> Iterator[Json]:
    """The details of all that the bus is given: of every story of both providers, and of payouts."""
    sent: list[Json] = []

    def take(service: str, operation: str, /, **request: Any) -> Json:
        sent.extend(json.loads(each["Detail"]) for each in request["Entries"])
        return {"FailedEntryCount": 0}

    bus: Any = EventBus(take, "bus")
    for provider in PROVIDERS:
        for story in (*STORIES, *SUBSCRIPTIONS):
            shop = Shop()
            shop.consumer.handlers.clear(bus.handlers(raw=True))
            _, events = tell(provider, random.Random(8), START * 1000, 5000, "EUR", story=story)
            shop.know(events, provider)
    bank, shop = StripeBank(), Shop()
    shop.consumer.handlers.clear(bus.handlers(raw=True))
    bank.charge_fee("fee_1", START, -5000)
    bank.pay_out(START + 10 * 86_400)
    bank.charge_fee("fee_2", START + 20 * 86_400, -5000)
    bank.pay_out(START + 30 * 86_400, fails=True)
    shop.know(bank.events)
    yield from sent


@pytest.fixture(scope="module")
def sent() -> list[Json]:
    return list(published())


def test_all_that_is_sent_is_as_the_schemas_say(sent: list[Json]) -> None:
    """Milestones of payments, subscriptions and payouts, and raw events."""
    of_milestones, raw = validator("notification"), validator("event")
    kinds = {"payment": 0, "subscription": 0, "payout": 0, "event": 0}
    for each in sent:
        (of_milestones if "milestone" in each else raw).validate(each)
        kinds[next(name for name in kinds if name in each)] += 1
    assert min(kinds.values()) >= 2
    assert sum(kinds.values()) > 200


def test_a_target_is_sent_the_same_in_an_envelope() -> None:
    """With its type and the provider's time, of milestones and of raw events."""
    stage = Notified(books="arn:aws:sqs:eu-central-1:123456789012:books.fifo payment.* stripe.*")
    stage.pay("partial-refunds")
    stage.wake()
    kinds = {"milestone": 0, "event": 0}
    for each in stage.receivers.bodies:
        validator("webhook").validate(json.loads(json.dumps(each)))
        kinds[next(name for name in kinds if name in each["data"])] += 1
    assert min(kinds.values()) >= 2


def test_all_that_the_schemas_say_is_sent(sent: list[Json]) -> None:
    """No field is left in them that nobody sends; each is something other than null, once."""
    said = {
        f"{kind}.{name}"
        for kind in ("payment", "subscription", "payout", "milestone")
        for name in FILES[kind]["properties"]
    }
    told = {
        f"{kind}.{name}"
        for each in sent
        for kind in ("payment", "subscription", "payout", "milestone")
        for name, value in each.get(kind, {}).items()
        if value is not None
    }
    never = {each for each in said - told if each.partition(".")[2] not in NEVER_TOLD}
    assert (
        never
        == {
            "payment.account",
            "payout.account",
            "subscription.account",
            "payout.customer",
            "payout.reference",
            "payout.failure",
            "payout.transactions",
        }
        - told
    )
    assert said >= told


def test_the_statuses_are_the_codes() -> None:
    """All of them."""
    assert sorted(FILES["payment"]["properties"]["status"]["enum"]) == sorted(STATUSES)
    assert set(STATES) < set(STATUSES)


def test_typescripts_types_are_made_of_them() -> None:
    """`make schemas` makes them anew."""
    assert (SCHEMAS / OUT).read_text() == declarations(SCHEMAS)


def test_what_is_not_as_they_say_is_found() -> None:
    """A field too many, one too few, an amount that is no integer, a time that is none."""
    shop = Shop()
    _, events = tell("stripe", random.Random(8), START * 1000, 5000, "EUR", story="checkout")
    shop.know(events)
    [subject] = [each for each in shop.ledger.subjects() if each.startswith("stripe:pi_")]
    right = json.loads(as_bytes(shop.payment(subject).to_dict()))
    validator("payment").validate(right)
    fewer = {name: value for name, value in right.items() if name != "net"}
    for wrong in ({**right, "x": 1}, fewer, {**right, "amount": "50.00"}, {**right, "status": "paid"}):
        with pytest.raises(jsonschema.ValidationError):
            validator("payment").validate(wrong)
