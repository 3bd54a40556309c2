"""Handlers are notified of a subscription's milestones once, in whatever order its events come."""

import random
from collections import Counter
from typing import Any

import pytest

from chalicelib.errors import HandlerFailed
from chalicelib.inbox import Message
from chalicelib.payments import Milestone
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.subscriptions import Subscription, project
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
