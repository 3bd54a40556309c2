"""The stories that `daybook send` tells of a subscription: right in any order, each event three times."""

import random
from typing import Any

import pytest

from chalicelib.access import answer, parse
from chalicelib.folding import folded
from chalicelib.ledger import Ledger
from chalicelib.payments import project as project_payment
from chalicelib.providers import PROVIDERS
from chalicelib.subscriptions import Terms, access, project
from chalicelib.times import DAY
from ops.stories import SUBSCRIPTIONS, tell
from tests.fakes import NOW, MemoryInbox, MemoryLedger, as_bytes, consumer, message_of
from tests.little_dynamo import LittleDynamo

RIGHT = {
    # status, reason, days of access from now on, milestones
    "trial-converts": ("active", "paid", 29 + 3, {"started", "trial_ending", "activated"}),
    "renewal-fails-then-recovers": (
        "active",
        "paid",
        25 + 3,
        {"started", "activated", "payment_failed", "past_due", "recovered", "renewed"},
    ),
    "upgrade": ("active", "paid", 30 + 3, {"started", "activated", "changed"}),
    "pause": ("paused", "paused", 20 + 3, {"started", "activated", "paused"}),
    "cancel-at-end": ("active", "paid", 20, {"started", "activated", "cancel_scheduled"}),
    "disputed-renewal": (
        "active",
        "reversed",
        -1,
        {"started", "activated", "renewed", "payment_reversed"},
    ),
}

# PayPal announces no end of a trial, bills an upgrade with the next period, grants what is paid while it is
# suspended, and cancels at once.
OTHERWISE = {
    ("paypal", "trial-converts"): ("active", "paid", 30 + 3, {"started", "activated"}),
    ("paypal", "renewal-fails-then-recovers"): (
        "active",
        "paid",
        30 + 3,
        {"started", "activated", "payment_failed", "past_due", "recovered", "renewed"},
    ),
    ("paypal", "upgrade"): ("active", "paid", 20 + 3, {"started", "activated", "changed"}),
    ("paypal", "pause"): ("paused", "paused", 20, {"started", "activated", "paused"}),
    ("paypal", "cancel-at-end"): ("ended", "ended", 20, {"started", "activated", "ended"}),
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("story", SUBSCRIPTIONS)
@pytest.mark.parametrize("seed", range(6))
def test_a_story_ends_right_in_any_order(provider: str, story: str, seed: int) -> None:
    """Its status, what it grants to the day, and what was reached."""
    rng = random.Random(seed)
    subject, events = tell(provider, rng, NOW, 1900, "EUR", story=story)
    delivered = [message_of(as_bytes(each), provider) for each in events * 3]
    rng.shuffle(delivered)
    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox())
    for message in delivered:
        to.record(message, NOW + 60_000)
    facts = ledger.subscription(subject).facts
    for each in ledger.kept:
        assert folded(ledger, PROVIDERS, each, ledger.record(each).facts) == ledger.record(each).facts
    shown = project(subject, facts)
    status, reason, days, milestones = OTHERWISE.get((provider, story), RIGHT[story])
    assert (shown.status, shown.certain) == (status, True)
    assert {each.type.partition(".")[2] for each in shown.milestones} == milestones
    begins, ends = (NOW + (days - n) * DAY for n in (2, -2))
    assert access(shown, begins, Terms()).access == (days > 0)
    assert not access(shown, ends, Terms()).access
    assert access(shown, NOW, Terms()).reason == reason
    if shown.last_payment:
        paid_by = shown.last_payment["payment"]
        payment = project_payment(paid_by, ledger.payment(paid_by).facts)
        assert payment.related["subscription"] == [subject.partition(":")[2]]


def test_asking_costs_a_query_and_a_read() -> None:
    """However many events there were, and however many subscriptions."""
    calls: list[str] = []
    table = LittleDynamo()

    def counted(service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        calls.append(operation)
        return table(service, operation, **request)

    ledger = Ledger(counted, "t")
    to = consumer(ledger, MemoryInbox())
    for seed, story in enumerate(SUBSCRIPTIONS):
        _, events = tell("stripe", random.Random(seed), NOW, 1900, "EUR", story=story, id=f"sub_{seed}FORONE")
        for each in events:
            to.record(message_of(as_bytes(each)), NOW + 60_000)
    calls.clear()
    found = answer(ledger, parse({"reference": "user-forone"}, NOW), Terms())
    assert (found["access"], len(found["subscriptions"])) == (True, len(SUBSCRIPTIONS))
    assert calls.count("Query") == 2  # the index, and the names of connected accounts' records
    assert calls.count("BatchGetItem") == 1
    assert len(calls) == 3
