"""Random stories of a modelled provider: the record equals the model, in any order, with any duplicates."""

import random
from collections import Counter
from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.payments import Facts, fold, project
from chalicelib.providers import paypal, stripe
from tests.fakes import NOW, as_bytes, heard_of
from tests.model import Json, PayPalModel, StripeModel

Action = tuple[str, tuple[int | str, ...]]
amounts = st.sampled_from([400, 400, 600, 1000, 5000])
actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["fail", "process", "succeed", "authorize", "cancel"]), st.just(())),
        st.tuples(st.just("capture"), st.sampled_from([(5000,), (3000,)])),
        st.tuples(st.just("fail_refund"), st.sampled_from([(-1,), (0,)])),
        st.tuples(st.just("refund"), st.tuples(amounts)),
        st.tuples(st.just("dispute"), st.sampled_from([("open",), ("won",), ("lost",), ("warning_closed",)])),
    ),
    max_size=8,
)

# What a user may have subscribed to: enough to know of captures, and of refunds in one way or the other.
SUBSCRIPTIONS: dict[str, Callable[[str], bool]] = {
    "all": lambda type_: True,
    "single refunds": lambda type_: type_ != "charge.refunded",
    "totals and failures": lambda type_: type_ != "refund.created",
    "charges only": lambda type_: not type_.startswith(("payment_intent.succeeded", "checkout.")),
    "intents and refunds": lambda type_: type_.startswith(("payment_intent.", "refund.", "charge.dispute.")),
}


def told(story: list[Action], tie: bool) -> StripeModel:
    model = StripeModel(seed=1, tie=tie)
    for name, arguments in story:
        getattr(model, name)(*arguments)
    return model


def facts_of(events: list[Json]) -> list[Facts]:
    return [stripe.facts(stripe.event(as_bytes(event), NOW)) for event in events]


@settings(max_examples=300)
@given(actions, st.sampled_from(sorted(SUBSCRIPTIONS)), st.integers(0, 10**6))
@example([("succeed", ()), ("refund", (400,)), ("fail_refund", (0,)), ("refund", (400,))], "all", 0)
@example([("authorize", ()), ("cancel", ())], "all", 0)
@example([("succeed", ()), ("dispute", ("won",)), ("dispute", ("lost",))], "all", 0)
def test_the_record_equals_the_model(story: list[Action], subscription: str, seed: int) -> None:
    """Totals, status and milestones; net is never negative; every event may come twice."""
    model = told(story, tie=False)
    wanted = [event for event in model.events if SUBSCRIPTIONS[subscription](event["type"])]
    deliveries = wanted * 2
    random.Random(seed).shuffle(deliveries)
    payment = project(model.subject, fold(facts_of(deliveries)))
    assert payment.captured == model.captured
    assert payment.refunded == model.given_back
    assert payment.disputed == model.disputed
    assert payment.status == model.status
    assert payment.net >= 0
    assert payment.consistent
    assert sorted(m.type for m in payment.milestones) == sorted(model.milestones)


@settings(max_examples=200)
@given(actions, st.integers(0, 10**6))
def test_ties_are_not_broken_by_arrival(story: list[Action], seed: int) -> None:
    """All events of one second: the money is right, and any two orders make the same payment."""
    model = told([step for step in story if step[0] != "fail_refund"], tie=True)
    shuffled = random.Random(seed).sample(model.events, len(model.events))
    one, other = (project(model.subject, fold(facts_of(events))) for events in (model.events, shuffled))
    assert one == other
    assert (one.captured, one.refunded) == (model.captured, model.given_back)


@settings(max_examples=300)
@given(actions, st.booleans(), st.integers(0, 10**6))
def test_what_handlers_hear_adds_up(story: list[Action], tie: bool, seed: int) -> None:
    """One event at a time, in any order: no milestone twice, none of money missed, refunds heard in full."""
    model = told([step for step in story if step[0] != "fail_refund"], tie)
    deliveries = model.events * 2
    random.Random(seed).shuffle(deliveries)
    _, heard = heard_of(model.subject, facts_of(deliveries))
    assert len({milestone.id for milestone in heard}) == len(heard)
    types = [milestone.type for milestone in heard]
    for once in ("payment.succeeded", "payment.refunded", "dispute.won", "dispute.lost"):
        assert types.count(once) == model.milestones.count(once)
    assert sum(m.amount or 0 for m in heard if m.type == "payment.refunded") == model.given_back


@settings(max_examples=300)
@given(actions, st.sampled_from(sorted(SUBSCRIPTIONS)), st.integers(0, 10**6))
def test_each_refund_that_stands_is_heard_once(story: list[Action], subscription: str, seed: int) -> None:
    """In any order, others failing: as many of each amount as stand, at most as many as there ever were."""
    model = told(story, tie=False)
    deliveries = [event for event in model.events * 2 if SUBSCRIPTIONS[subscription](event["type"])]
    random.Random(seed).shuffle(deliveries)
    _, heard = heard_of(model.subject, facts_of(deliveries))
    refunded = Counter(m.amount for m in heard if m.type == "payment.refunded")
    made = Counter(amount for amount, _ in model.refunds.values())
    stand = Counter(amount for amount, status in model.refunds.values() if status != "failed")
    assert stand <= refunded <= made
    assert len({milestone.id for milestone in heard}) == len(heard)


paypal_actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["pend", "complete", "complete", "deny"]), st.just(())),
        st.tuples(st.just("refund"), st.tuples(amounts, st.sampled_from(["COMPLETED", "FAILED"]))),
        st.tuples(
            st.just("dispute"),
            st.sampled_from(
                [(None,), ("RESOLVED_BUYER_FAVOUR",), ("RESOLVED_SELLER_FAVOUR",), ("ACCEPTED",)]
            ),
        ),
    ),
    max_size=6,
)


@settings(max_examples=300)
@given(paypal_actions, st.integers(0, 10**6))
def test_paypals_record_equals_the_model(story: list[Action], seed: int) -> None:
    """Totals, status, milestones; and what handlers hear, one event at a time in any order."""
    model = PayPalModel(seed=1)
    for name, arguments in story:
        getattr(model, name)(*arguments)
    deliveries = model.events * 2
    random.Random(seed).shuffle(deliveries)
    told = (paypal.facts(paypal.event(as_bytes(event), NOW)) for event in deliveries)
    facts, heard = heard_of(model.subject, told)
    payment = project(model.subject, facts)
    shown = (payment.status, payment.captured, payment.refunded, payment.disputed)
    assert shown == (model.status, model.captured, model.given_back, model.disputed)
    assert payment.net >= 0
    assert payment.consistent
    assert sorted(m.type for m in payment.milestones) == sorted(model.milestones)
    assert len({milestone.id for milestone in heard}) == len(heard)
    for once in ("payment.succeeded", "payment.refunded", "refund.failed", "dispute.lost", "dispute.won"):
        assert [m.type for m in heard].count(once) == model.milestones.count(once)
