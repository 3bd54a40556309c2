"""Random lives of a simulated payment: the record equals the provider's own books.

In any order, with any duplicates, by each choice of event types that decides it.
"""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.payments import Facts, fold, project
from chalicelib.providers import PROVIDERS
from tests.conftest import TORTURE
from tests.fakes import NOW, as_bytes, facts_of_event, heard_of
from tests.simulators import (
    BEFORE_BASIL,
    SINCE_BASIL,
    Action,
    Json,
    PayPalSimulator,
    Simulator,
    StripeSimulator,
)

EXAMPLES = 25_000 if TORTURE else 500
amounts = st.sampled_from([400, 400, 600, 1000, 5000])
stripe_actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["fail", "process", "ask", "succeed", "authorize", "cancel"]), st.just(())),
        st.tuples(st.just("capture"), st.sampled_from([(5000, True), (3000, True), (1000, False)])),
        st.tuples(
            st.just("refund"), st.tuples(amounts, st.sampled_from(["succeeded", "succeeded", "pending"]))
        ),
        st.tuples(st.just("settle_refund"), st.sampled_from([("succeeded",), ("failed",), ("canceled",)])),
        st.tuples(st.just("fail_refund"), st.sampled_from([(-1,), (0,)])),
        st.tuples(
            st.just("dispute"),
            st.tuples(st.sampled_from(["needs_response", "won", "lost"]), st.sampled_from(["eur", "usd"])),
        ),
        st.tuples(st.just("inquire"), st.sampled_from([("open",), ("closed",), ("needs_response",)])),
    ),
    max_size=8,
)
paypal_actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["pend", "complete", "complete", "deny"]), st.just(())),
        st.tuples(st.just("refund"), st.tuples(amounts, st.sampled_from(["COMPLETED", "FAILED"]))),
        st.tuples(st.just("reverse"), st.tuples(amounts)),
        st.tuples(
            st.just("dispute"),
            st.sampled_from(
                [(None,), ("RESOLVED_BUYER_FAVOUR",), ("RESOLVED_SELLER_FAVOUR",), ("ACCEPTED",)]
            ),
        ),
        st.tuples(st.just("appeal"), st.just(("RESOLVED_BUYER_FAVOUR",))),
    ),
    max_size=6,
)
versions = st.sampled_from([BEFORE_BASIL, SINCE_BASIL])
seeds = st.integers(0, 10**6)

# What a user may have subscribed to: enough to know of captures, and of refunds in one way or the other.
SUBSCRIPTIONS: dict[str, Callable[[str], bool]] = {
    "all": lambda type_: True,
    "single refunds": lambda type_: type_ != "charge.refunded",
    "totals and failures": lambda type_: type_ != "refund.created",
    "charges only": lambda type_: not type_.startswith("payment_intent.succeeded"),
    "intents and refunds": lambda type_: type_.startswith(("payment_intent.", "refund.", "charge.dispute.")),
}
# What a running total alone cannot say: whether one of its refunds is pending.
NEEDS_REFUNDS = ("pending", "settle_refund")


def told(story: list[Action], tie: bool = False, version: str = SINCE_BASIL) -> StripeSimulator:
    simulator = StripeSimulator(1, tie, version)
    _live(simulator, story)
    return simulator


def _live(simulator: Simulator, story: list[Action]) -> None:
    for name, arguments in story:
        getattr(simulator, name)(*arguments)


def facts_of(simulator: Simulator, events: list[Json]) -> list[Facts]:
    provider = PROVIDERS[simulator.subject.partition(":")[0]]
    return [facts_of_event(provider.event(as_bytes(event), NOW)) for event in events]


def shuffled(events: list[Json], seed: int) -> list[Json]:
    """All of them twice, in any order."""
    return random.Random(seed).sample(events * 2, 2 * len(events))


def decided_by(story: list[Action], subscription: str) -> bool:
    """Whether what is subscribed to says all of such a life."""
    is_pending = any("pending" in arguments for _, arguments in story)
    return subscription != "totals and failures" or not is_pending


def check(simulator: Simulator, facts: Facts) -> None:
    payment = project(simulator.subject, facts)
    shown = (payment.status, payment.captured, payment.refunded, payment.disputed)
    assert shown == (simulator.status, simulator.captured, simulator.given_back, simulator.disputed)
    assert payment.net >= 0
    assert payment.consistent


@settings(max_examples=EXAMPLES)
@given(stripe_actions, versions, st.sampled_from(sorted(SUBSCRIPTIONS)), seeds)
@example(
    [("succeed", ()), ("refund", (400,)), ("fail_refund", (0,)), ("refund", (400,))], SINCE_BASIL, "all", 0
)
@example([("authorize", ()), ("cancel", ())], BEFORE_BASIL, "all", 0)
@example([("succeed", ()), ("dispute", ("won",)), ("dispute", ("lost",))], SINCE_BASIL, "all", 0)
def test_stripes_record_equals_its_books(
    story: list[Action], version: str, subscription: str, seed: int
) -> None:
    """Status and sums, by each subscription; milestones where all is heard."""
    if not decided_by(story, subscription):
        return
    simulator = told(story, version=version)
    wanted = [event for event in simulator.events if SUBSCRIPTIONS[subscription](event["type"])]
    facts = fold(facts_of(simulator, shuffled(wanted, seed)))
    check(simulator, facts)
    if subscription == "all":
        milestones = project(simulator.subject, facts).milestones
        assert sorted(m.type for m in milestones) == sorted(simulator.milestones)


@settings(max_examples=EXAMPLES)
@given(stripe_actions, st.booleans(), seeds)
def test_what_is_fetched_late_is_as_of_then(story: list[Action], is_mixed: bool, seed: int) -> None:
    """Thin events, whose objects show what later events say too; beside their snapshots or alone."""
    simulator = told(story)
    rng = random.Random(seed)
    thin = simulator.as_thin(rng)
    if is_mixed:
        thin = [rng.choice(pair) for pair in zip(thin, simulator.events, strict=True)]
    facts = fold(facts_of(simulator, shuffled(thin, seed)))
    payment = project(simulator.subject, facts)
    assert (payment.captured, payment.refunded) == (simulator.captured, simulator.given_back)
    assert (payment.disputed, payment.status) == (simulator.disputed, simulator.status)


@settings(max_examples=EXAMPLES)
@given(stripe_actions, seeds)
def test_ties_are_not_broken_by_arrival(story: list[Action], seed: int) -> None:
    """All events of one second: the money is right, and any two orders make the same payment."""
    simulator = told([step for step in story if step[0] not in ("fail_refund", "settle_refund")], tie=True)
    other = random.Random(seed).sample(simulator.events, len(simulator.events))
    one, two = (
        project(simulator.subject, fold(facts_of(simulator, events))) for events in (simulator.events, other)
    )
    assert one == two
    assert (one.captured, one.refunded) == (simulator.captured, simulator.given_back)


@settings(max_examples=EXAMPLES)
@given(stripe_actions, st.booleans(), versions, seeds)
def test_what_handlers_are_notified_of_adds_up(
    story: list[Action], tie: bool, version: str, seed: int
) -> None:
    """One event at a time, in any order: no milestone twice, none of money missed, in sum what moved.

    Where what is let go is a "refund", one that arrives between two captures cannot be told from a real one.
    """
    if version == BEFORE_BASIL and ("capture", (1000, False)) in story:
        return
    steps = [
        step for step in story if step[0] not in ("fail_refund", *NEEDS_REFUNDS) and "pending" not in step[1]
    ]
    simulator = told(steps, tie, version)
    _, heard = heard_of(simulator.subject, facts_of(simulator, shuffled(simulator.events, seed)))
    assert len({milestone.id for milestone in heard}) == len(heard)
    types = [milestone.type for milestone in heard]
    for once in ("payment.succeeded", "payment.refunded", "dispute.won", "dispute.lost"):
        assert types.count(once) == simulator.milestones.count(once)
    for type_, amount in (
        ("payment.refunded", simulator.given_back),
        ("payment.captured", simulator.captured),
    ):
        assert sum(m.amount or 0 for m in heard if m.type == type_) == amount


@settings(max_examples=EXAMPLES)
@given(stripe_actions, versions, st.sampled_from(sorted(SUBSCRIPTIONS)), seeds)
def test_each_refund_that_stands_is_notified_once(
    story: list[Action], version: str, subscription: str, seed: int
) -> None:
    """In any order, others failing: as many of each amount as stand, at most as many as there ever were.

    What was let go counts as one of these: it can be learnt before the capture that it belongs to.
    """
    if any("pending" in arguments for _, arguments in story):
        return
    simulator = told(story, version=version)
    wanted = [event for event in simulator.events if SUBSCRIPTIONS[subscription](event["type"])]
    _, heard = heard_of(simulator.subject, facts_of(simulator, shuffled(wanted, seed)))
    refunded = Counter(m.amount for m in heard if m.type == "payment.refunded")
    real = [each for each in simulator.refunds.values() if not each.is_release]
    made = Counter(each.amount for each in simulator.refunds.values())
    stand = Counter(each.amount for each in real if each.status != "failed")
    assert stand <= refunded <= made
    assert len({milestone.id for milestone in heard}) == len(heard)


@settings(max_examples=EXAMPLES)
@given(paypal_actions, seeds)
def test_paypals_record_equals_its_books(story: list[Action], seed: int) -> None:
    """Status, sums, milestones; and what handlers are notified of, one event at a time in any order."""
    simulator = PayPalSimulator(seed)
    _live(simulator, story)
    facts, heard = heard_of(simulator.subject, facts_of(simulator, shuffled(simulator.events, seed)))
    check(simulator, facts)
    milestones = project(simulator.subject, facts).milestones
    assert sorted(m.type for m in milestones) == sorted(simulator.milestones)
    assert len({milestone.id for milestone in heard}) == len(heard)
    for once in ("payment.succeeded", "refund.failed", "dispute.lost"):
        assert [m.type for m in heard].count(once) == simulator.milestones.count(once)


@pytest.mark.parametrize("simulator", [StripeSimulator, PayPalSimulator])
def test_the_simulators_do_all_they_can(simulator: type[Simulator]) -> None:
    """A check that cannot fail would be none: each status and each milestone comes up."""
    rng = random.Random(5)
    seen: set[str] = set()
    for seed in range(400):
        life = simulator(seed)
        for name, arguments in rng.choices((*life.ATTEMPTS, life.SETTLED, *life.CHANGES), k=6):
            getattr(life, name)(*arguments)
        seen |= {life.status, *life.milestones}
    expected = {"succeeded", "refunded", "partially_refunded", "disputed", "charged_back", "processing"}
    assert {each for each in expected if each not in seen} <= {"refunded"}
    assert {"payment.captured", "payment.refunded", "dispute.won", "dispute.lost"} <= seen
