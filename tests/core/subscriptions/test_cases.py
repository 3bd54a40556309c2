"""Cases made from public reports, of what subscriptions went wrong with elsewhere: in any order."""

import json
import random
from collections import Counter
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import pytest

from chalicelib.folding import folded
from chalicelib.providers import PROVIDERS
from chalicelib.subscriptions import MILESTONES, Facts, Terms, access, join, project, shown
from chalicelib.times import from_iso
from tests.conftest import load, vectors
from tests.fakes import NOW, MemoryInbox, MemoryLedger, as_bytes, consumer, message_of

CASES = vectors("..", "cases", "subscriptions", "*.json")
# the contract's own word for a reason
WORDS = {"cancellation_requested": "requested"}


def recorded(events: list[dict[str, Any]], subject: str) -> Facts:
    """As the consumer does, with all that records tell one another; and what is stored is what events say."""
    ledger: Any = MemoryLedger()
    to = consumer(ledger, MemoryInbox())
    for event in events:
        provider = "stripe" if event.get("object") == "event" else "paypal"
        to.record(message_of(as_bytes(event), provider), NOW + 60_000)
    for each in ledger.kept:
        assert folded(ledger, PROVIDERS, each, ledger.record(each).facts) == ledger.record(each).facts, each
    facts: Facts = ledger.subscription(subject).facts
    return facts


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Where what was found is not as expected, in what is expected."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            line
            for name, value in expected.items()
            for line in differences(value, found.get(name), f"{where}.{name}".lstrip("."))
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for n, pair in pairs for line in differences(*pair, f"{where}.{n}")]
    return [] if WORDS.get(str(expected), expected) == found else [f"{where}: {found}, not {expected}"]


def told_wrongly(case: dict[str, Any], found: Counter[str]) -> list[str]:
    """Of the milestones that there are yet, those that are reached another number of times than is right."""
    right = {**case["notified"], **case.get("notified_if", {}).get("first-payment-is-no-renewal", {})}
    right |= dict.fromkeys(case.get("never_notified", ()), 0)
    wrong = {name: times for name, times in right.items() if name in MILESTONES and found[name] != times}
    return [f"{name}: {found[name]}, not {times}" for name, times in wrong.items()]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_public_case_comes_out_right(path: Path) -> None:
    """Its record, and its access at each instant."""
    case = load(path)
    [(subject, expected)] = case["expect"].items()
    expected = {**expected, **case.get("expect_if", {}).get("credit-shortens", {}).get(subject, {})}
    facts = recorded(case["events"], subject)
    found = project(subject, facts)
    assert differences(expected, shown(found, from_iso(case["now"]), Terms())) == []
    for asked in case["access"]:
        granted = access(found, from_iso(asked["at"]), Terms())
        assert granted.access == asked["access"], asked
        assert granted.reason == asked.get("reason", granted.reason), asked
    assert told_wrongly(case, Counter(each.type for each in found.milestones)) == []
    rng = random.Random(1)
    for order in islice(permutations(case["events"]), 40):
        shuffled = [*order, *rng.sample(case["events"], 2)]
        rng.shuffle(shuffled)
        assert recorded(shuffled, subject) == facts
    assert json.loads(json.dumps(facts)) == join(facts, facts)
