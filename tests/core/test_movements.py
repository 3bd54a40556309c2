"""Movements: their amounts are the ledger's sums, and what the balance says of them ``settled``, always."""

import random
from typing import Any

from chalicelib.payments import (
    BalanceEntry,
    Facts,
    Movement,
    balance_entry,
    books,
    fact,
    fold,
    movements,
    project,
)
from chalicelib.providers import PROVIDERS
from tests.conftest import TORTURE
from tests.fakes import NOW, as_bytes
from tests.simulators import PayPalSimulator, Simulator, lived

LIVES = 20_000 if TORTURE else 300
ROUNDS = 3


def told(provider: str, simulator: Simulator) -> list[Facts]:
    made = PROVIDERS[provider]
    events = [made.event(as_bytes(each), NOW) for each in simulator.events]
    return [made.facts(each).get(simulator.subject, {}) for each in events]


def by_chance(rng: random.Random, facts: Facts) -> Facts:
    """What a balance can say of what is there, and of what is not yet: each entry one of its own."""
    things = [thing.partition(" ")[2] for thing in facts if thing.partition(" ")[2]] + ["ch_other"]
    found = []
    for number in range(rng.randint(0, 5)):
        gross, fee = rng.randint(-5000, 5000), rng.randint(-20, 300)
        entry = BalanceEntry("EUR", gross, fee, gross - fee, None, {"fee": fee}, rng.choice(things))
        found.append(balance_entry(f"txn_{number}", rng.randint(1, 9), entry))
    return fold(found)


def lines(facts: Facts, subject: str = "stripe:pi_1") -> list[tuple[str, str, int]]:
    return [(each.kind, each.object, each.amount) for each in movements(subject, books(facts))]


def test_they_add_up_whatever_is_known_by_now() -> None:
    """Of lives by chance, of any part of their events, with entries of the balance by chance."""
    rng = random.Random(7)
    seen: set[str] = set()
    for number in range(LIVES):
        provider = ("stripe", "paypal")[number % 2]
        simulator = lived(provider, rng, most=6)
        all_told = told(provider, simulator)
        for _ in range(ROUNDS):
            known = fold(rng.sample(all_told, rng.randint(1, len(all_told))))
            facts = fold([known, by_chance(rng, known)])
            payment, found = project(simulator.subject, facts), movements(simulator.subject, books(facts))
            assert sum(each.amount for each in found) == payment.net, simulator.events
            of_balance = payment.settled
            currency = of_balance.currency if of_balance else None
            entries = [each.entry for each in found if each.entry and each.entry.currency == currency]
            assert sum(each.net for each in entries) == (of_balance.net if of_balance else 0)
            assert sum(each.fee for each in entries) == (of_balance.fee if of_balance else 0)
            assert len({each.id for each in found}) == len(found)
            assert found == sorted(found, key=lambda each: each.at)
            seen |= {each.kind for each in found}
    assert seen == {"capture", "refund", "reversal", "dispute"}


def test_sums_of_each_kind_are_the_books_of_the_simulators() -> None:
    """Captured, given back and disputed, of whole lives."""
    rng = random.Random(11)
    for number in range(LIVES):
        provider = ("stripe", "paypal")[number % 2]
        simulator = lived(provider, rng, most=6)
        found = movements(simulator.subject, books(fold(told(provider, simulator))))
        assert of_kind(found, "capture") == simulator.captured
        taken_by_case = of_kind(found, "dispute") + of_kind(found, "refund") + of_kind(found, "reversal")
        assert taken_by_case == -simulator.given_back - simulator.disputed
        if not isinstance(simulator, PayPalSimulator):
            assert of_kind(found, "dispute") == -simulator.disputed


def of_kind(found: list[Movement], kind: str) -> int:
    return sum(each.amount for each in found if each.kind == kind)


def test_money_that_comes_back_is_a_second_line() -> None:
    """Of a refund that failed, and of a dispute that was won; each at its own time."""
    refund = fact("refund re_1", amount=[5, 700], charge="ch_1", succeeded_at=5, failed_at=9)
    dispute = fact(
        "dispute dp_1",
        claimed=[8, -1, 300],
        disputed_at=6,
        created_at=6,
        outcome=[12, 1],
        won_at=12,
        moved=[1, 8, 300, 0, 1],
    )
    paid = fact("payment", captured=[[1000, 2]], priced=[1, 2, 1000, "EUR"])
    facts = fold([paid, refund, dispute])
    found = movements("stripe:pi_1", books(facts))
    assert [(each.kind, each.at, each.amount) for each in found] == [
        ("capture", 2, 1000),
        ("refund", 5, -700),
        ("dispute", 6, -300),
        ("refund", 9, 700),
        ("dispute", 12, 300),
    ]
    assert [each.id.removeprefix("stripe:pi_1/") for each in found] == [
        "capture",
        "refund/re_1",
        "dispute/dp_1",
        "refund/re_1/2",
        "dispute/dp_1/2",
    ]


def test_an_entry_stands_beside_its_line_and_else_alone() -> None:
    """By object and sign: what left for a dispute is not beside what came back."""
    entries = [
        balance_entry("txn_1", 1, BalanceEntry("EUR", 1000, 30, 970, None, {}, "ch_1")),
        balance_entry("txn_2", 2, BalanceEntry("EUR", -400, 1500, -1900, None, {}, "dp_1")),
        balance_entry("txn_3", 3, BalanceEntry("EUR", -10, 0, -10, None, {}, "re_9")),
    ]
    paid = fact("payment", captured=[[1000, 2]], priced=[1, 2, 1000, "EUR"])
    dispute = fact("dispute dp_1", claimed=[8, -1, 400], disputed_at=6, created_at=6)
    found = movements("stripe:pi_1", books(fold([paid, dispute, *entries])))
    assert [(each.kind, each.amount, each.entry and each.entry.net) for each in found] == [
        ("capture", 1000, 970),
        ("dispute", -400, -1900),
        ("capture", 0, -10),
    ]


def test_a_dispute_that_took_nothing_is_no_movement() -> None:
    """An inquiry, and one that was closed before money moved."""
    paid = fact("payment", captured=[[1000, 2]], priced=[1, 2, 1000, "EUR"])
    about: dict[str, Any] = {"claimed": [8, -1, 400], "created_at": 6}
    inquiry = fact("dispute dp_1", inquired_at=6, **about)
    prevented = fact("dispute dp_2", disputed_at=6, outcome=[9, 0], closed_at=9, **about)
    assert lines(fold([paid, inquiry, prevented])) == [("capture", "pi_1", 1000)]
    withdrawn = fact("dispute dp_2", withdrawn_at=7)
    assert lines(fold([paid, prevented, withdrawn])) == [
        ("capture", "pi_1", 1000),
        ("dispute", "dp_2", -400),
        ("dispute", "dp_2", 400),
    ]


def test_a_reversal_of_a_dispute_that_was_won_comes_back() -> None:
    """When the dispute ended: it is no refund, and the dispute holds nothing."""
    paid = fact("payment", captured=[[1000, 2]], priced=[1, 2, 1000, "EUR"])
    reversal = fact("refund r", amount=[5, 300], charge="c", created_at=5, succeeded_at=5, reversal=1)
    won = fact("dispute d", claimed=[4, -1, 300], disputed_at=4, created_at=4, taken_by_reversal=1)
    won = fold([won, fact("dispute d", outcome=[9, 1], won_at=9, claimed=[9, 1, 300])])
    facts = fold([paid, reversal, won])
    assert project("paypal:C", facts).net == 1000
    assert [(each.kind, each.at, each.amount) for each in movements("paypal:C", books(facts))] == [
        ("capture", 2, 1000),
        ("dispute", 4, -300),
        ("dispute", 5, 300),
        ("reversal", 5, -300),
        ("reversal", 9, 300),
    ]


def test_a_dispute_in_another_currency_takes_nothing_of_this_one() -> None:
    """As in the payment's sums."""
    paid = fact("payment", captured=[[1000, 2]], priced=[1, 2, 1000, "EUR"])
    foreign = fact("dispute d", claimed=[4, -1, 300], disputed_at=4, created_at=4, currency=[4, "USD"])
    assert lines(fold([paid, foreign])) == [("capture", "pi_1", 1000)]
