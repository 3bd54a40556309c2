"""Cases made from public bug reports and the providers' documents, where they lie beside this checkout."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.inbox import Message
from chalicelib.payments import Milestone, Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.paypal.confirmation import Verdict, judged
from chalicelib.reactions import Handler, Handlers
from chalicelib.targets import MILESTONES
from tests.conftest import ROOT, load
from tests.fakes import NOW, MemoryLedger, as_bytes, consumer

Json = dict[str, Any]
CASES = ROOT.parent / "shared" / "cases"
ORDERS = 12


def cases(provider: str, *, confirm: bool = False) -> list[Any]:
    found = [
        path for path in sorted((CASES / provider).glob("*.json")) if ("confirm" in load(path)) == confirm
    ]
    if found:
        return [pytest.param(provider, path, id=path.stem) for path in found]
    skip = pytest.mark.skip(reason="the shared cases are not beside this checkout")
    return [pytest.param(provider, None, marks=skip, id="absent")]


def orders(events: list[Json]) -> Iterator[list[Json]]:
    """As they happened; then in others, with one of them twice."""
    yield events
    rng = random.Random(1)
    for _ in range(ORDERS):
        yield [*rng.sample(events, len(events)), rng.choice(events)]


def recorded(provider: str, events: list[Json]) -> tuple[MemoryLedger, list[tuple[str, Milestone]]]:
    """The ledger after these events, and what handlers were notified of, by payment."""
    ledger: Any = MemoryLedger()
    inbox: Any = None
    notified: list[tuple[str, Milestone]] = []

    def listen(payment: Payment, milestone: Milestone) -> None:
        notified.append((payment.id, milestone))

    to = consumer(ledger, inbox, handlers=Handlers([Handler("listen", MILESTONES, listen)]))
    for event in events:
        body = as_bytes(event)
        made = PROVIDERS[provider].event(body, NOW)
        to.record(
            Message.of(made, body),
            NOW + 60_000,
        )
    return ledger, notified


@pytest.mark.parametrize(("provider", "path"), [*cases("stripe"), *cases("paypal")])
def test_a_public_case_comes_out_right_in_any_order(provider: str, path: Path) -> None:
    """The payment as the provider means it; and in the order of events what handlers are notified of."""
    case = load(path)
    for number, events in enumerate(orders(case["events"])):
        ledger, notified = recorded(provider, events)
        for subject, expected in case["expect"].items():
            told = expected.get("told")
            shown = project(subject, ledger.payment(subject).facts).to_dict()
            wanted = {name: value for name, value in expected.items() if name != "told"}
            assert {name: shown[name] for name in wanted} == wanted, case["why"]
            types = [m.type for of, m in notified if of == subject and m.type != "payment.captured"]
            assert number or told is None or types == told
        if number == 0:
            check_notified(case.get("told", {}), [milestone for _, milestone in notified])


def check_notified(told: Json, notified: list[Milestone]) -> None:
    types = [milestone.type for milestone in notified if milestone.type != "payment.captured"]
    assert types == told.get("told", types)
    assert not {*types} & {*told.get("never_told", ())}
    for type_, amount in told.get("told_sum", {}).items():
        assert sum(m.amount or 0 for m in notified if m.type == type_) == amount


@pytest.mark.parametrize(("provider", "path"), cases("paypal", confirm=True))
def test_a_public_case_is_confirmed_right(provider: str, path: Path) -> None:
    """What PayPal's API shows of it only late is no contradiction."""
    case = load(path)
    [event] = [PROVIDERS[provider].event(as_bytes(each), NOW) for each in case["events"]]
    shown = case["confirm"]["shown"]
    means = {Verdict.CONTRADICTED: "parked", Verdict.LATE: "asked again"}
    assert means.get(judged(event, shown), "counts") in case["confirm"]["expect"]
