"""Handlers are notified of a subscription's milestones once, in whatever order its events come."""

import random
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from chalicelib.errors import HandlerFailed
from chalicelib.inbox import Message
from chalicelib.payments import Milestone
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.subscriptions import Subscription, project
from ops.stories import tell
from tests.conftest import load, vectors
from tests.fakes import NOW, MemoryInbox, MemoryLedger, as_bytes, consumer

MINUTE = 60_000
CASES = vectors("..", "cases", "subscriptions", "stripe-*.json")


def messages(path: Any) -> list[Message]:
    made = []
    for each in load(path)["events"]:
        body = as_bytes(each)
        made.append(Message.of(PROVIDERS["stripe"].event(body, NOW), body))
    return made


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@pytest.mark.parametrize("seed", range(5))
def test_each_milestone_is_notified_once(path: Any, seed: int) -> None:
    """Each event twice, shuffled; a handler that fails the first time is notified again."""
    heard: list[str] = []
    failed: set[str] = set()
    handlers = Handlers()

    @handlers.on("subscription.*")
    def listen(subscription: Subscription, milestone: Milestone) -> None:
        if milestone.type == "subscription.started" and milestone.id not in failed:
            failed.add(milestone.id)
            raise ConnectionError
        assert milestone.id.startswith(subscription.id)
        heard.append(milestone.id)

    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox(), handlers=handlers)
    delivered = messages(path) * 2
    random.Random(seed).shuffle(delivered)
    fails = 0
    for message in delivered:
        try:
            to.record(message, NOW + MINUTE)
        except HandlerFailed:
            fails += 1
    for message in delivered[:1]:
        to.record(message, NOW + MINUTE)
    [subject] = load(path)["expect"]
    reached = to.ledger.subscription(subject)
    shown = Counter(each.id for each in project(subject, reached.facts).milestones)
    assert fails == len(failed) <= 1
    assert Counter(heard) == shown


def test_a_milestone_that_there_is_not_is_refused() -> None:
    """At once, with what there is."""
    with pytest.raises(ValueError, match=r"nobody is ever notified of subscription\.upgraded"):
        Handlers().on("subscription.upgraded")


def test_a_handler_is_told_what_changed() -> None:
    """Before and after, as the update says it; also where it runs again from the outbox."""
    heard: list[Any] = []
    handlers = Handlers()

    @handlers.on("subscription.changed")
    def listen(subscription: Subscription, milestone: Milestone) -> None:
        heard.append(milestone.detail)
        if len(heard) == 1:
            raise ConnectionError

    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox(), handlers=handlers)
    _, events = tell("stripe", random.Random(1), NOW, 1900, "EUR", story="upgrade")
    for each in [*events, *events]:
        body = as_bytes(each)
        with suppress(HandlerFailed):
            to.record(Message.of(PROVIDERS["stripe"].event(body, NOW), body), NOW + MINUTE)
    assert heard[0] == heard[1]
    assert [each["price"] for each in (*heard[0]["before"], *heard[0]["after"])] == [
        "price_basic",
        "price_pro",
    ]
