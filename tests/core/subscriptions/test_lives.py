"""Whole lives at each provider, in any order: the record is what the provider's own object is in the end."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from bench import lives
from bench.lives import Life
from bench.mirrors import Tally, compare
from chalicelib.providers import PROVIDERS
from chalicelib.subscriptions import Facts, Subscription, fold, project
from chalicelib.times import from_seconds
from tests.conftest import TORTURE
from tests.fakes import NOW, as_bytes

LIVES = 20_000 if TORTURE else 600
TYPES: dict[str, Callable[[str], bool]] = {
    "all": lambda type_: True,
    "its own": lambda type_: type_.startswith("customer.subscription."),
    "without created": lambda type_: not type_.endswith(".created"),
    "without invoices": lambda type_: not type_.startswith("invoice"),
}


def shown(provider: str, life: Life, events: list[Any]) -> Subscription:
    made = PROVIDERS[provider]
    told: list[Facts] = []
    for each in events:
        told.append(made.facts(made.event(as_bytes(each), NOW)).get(life.subject, {}))
    return project(life.subject, fold(told))


def of_stripe(found: Subscription) -> dict[str, Any]:
    [item] = found.items or ({"price": None, "quantity": None},)
    return {
        "provider_status": found.provider_status,
        "cancel_at": found.cancel_at,
        "is_paused": found.pause == "collection",
        "sold": [item["price"], item["quantity"]],
        "period_end": found.period_end,
    }


def in_ms(truth: dict[str, Any]) -> dict[str, Any]:
    times = ("cancel_at", "period_end")
    return {k: from_seconds(v) if k in times and v is not None else v for k, v in truth.items()}


@pytest.mark.parametrize("subset", TYPES)
def test_stripes_lives_end_right_or_are_not_certain(subset: str) -> None:
    """With a tie at two of five changes; by any set of types that an endpoint is sent."""
    uncertain = 0
    for seed in range(LIVES // len(TYPES)):
        rng = random.Random(seed)
        life = lives.stripe(rng, NOW, rng.randrange(1, 14))
        events = [each for each in life.events if TYPES[subset](each["type"])]
        events += rng.sample(events, min(2, len(events)))
        rng.shuffle(events)
        found = shown("stripe", life, events)
        if not found.items:  # nothing but its beginning was sent, and not to this endpoint
            continue
        uncertain += not found.certain
        assert not found.certain or of_stripe(found) == in_ms(life.truth), seed
    assert uncertain <= (LIVES // len(TYPES)) * 0.05


def test_what_is_not_certain_is_so_once_it_was_fetched() -> None:
    """By one question, which is put on the queue as any event: then all are right."""
    tally = compare(LIVES, seed=5)
    assert tally.wrong == tally.wrong_fetched == tally.uncertain_fetched == 0
    assert tally.wrong_later > 0.1 * tally.lives < 5 * tally.wrong_not_older


def test_paypals_lives_end_right() -> None:
    """In any order, some told twice; where no plan was told its end is not certain, and all else is right."""
    for seed in range(LIVES):
        rng = random.Random(seed)
        life = lives.paypal(rng, NOW, rng.randrange(1, 12))
        events = [*life.events, *rng.sample(life.events, 2)]
        rng.shuffle(events)
        found = shown("paypal", life, events)
        [item] = found.items
        assert found.status == life.truth["status"], seed
        assert [item["price"], item["quantity"]] == life.truth["sold"], seed


def test_the_tally_is_printed() -> None:
    """A line for each way of keeping the last state."""
    assert len(str(Tally(lives=1)).splitlines()) == 4
