"""The payment: joining facts, and what follows from them."""

import random
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.payments import RULES, STATES, UNKNOWN, Facts, books, change, fact, fold, join, project
from chalicelib.providers import PROVIDERS
from ops import stories
from tests.fakes import NOW, as_bytes, facts_of_event, heard_of

# ── join ────────────────────────────────────────────────────────────────────────────────────────────

REPORTS = (
    "state",
    "amount",
    "currency",
    "customer",
    "outcome",
    "moved",
    "released",
    "priced",
    "reference",
)
BY_NAME = ("metadata", "labels")
SETS = ("account", "related", "refund_totals")
number = st.integers(0, 5)


def value(field: str) -> st.SearchStrategy[Any]:
    if field in REPORTS:
        return st.tuples(number, number).map(list)
    if field == "captured":
        return st.dictionaries(number, number, min_size=1).map(lambda d: sorted(map(list, d.items())))
    if field in BY_NAME:
        return st.dictionaries(st.sampled_from("abc"), st.tuples(number, number).map(list))
    if field in SETS:
        return st.lists(st.sampled_from("abc"), unique=True, min_size=1).map(sorted)
    return number


fields = st.fixed_dictionaries({}, optional={name: value(name) for name in RULES})
some_facts = st.dictionaries(st.sampled_from(["payment", "charge a", "refund b"]), fields, max_size=3)


@given(some_facts, some_facts)
def test_join_is_commutative(a: Facts, b: Facts) -> None:
    """Which delivery came first cannot matter."""
    assert join(a, b) == join(b, a)


@given(some_facts, some_facts, some_facts)
def test_join_is_associative(a: Facts, b: Facts, c: Facts) -> None:
    """Neither can how deliveries were batched."""
    assert join(join(a, b), c) == join(a, join(b, c))


@given(some_facts, some_facts)
def test_join_is_idempotent(a: Facts, b: Facts) -> None:
    """Neither can how often a delivery came."""
    assert join(join(a, b), b) == join(a, b)


# ── whole stories, by the real mapping ──────────────────────────────────────────────────────────────

RIGHT: dict[tuple[str, str], dict[str, Any]] = {
    ("stripe", "checkout"): {"status": "succeeded", "captured": 5000, "net": 5000},
    ("stripe", "partial-refunds"): {"status": "partially_refunded", "refunded": 1200, "net": 3800},
    ("stripe", "failed-then-paid"): {"status": "succeeded", "captured": 5000, "net": 5000},
    ("stripe", "dispute-lost"): {"status": "charged_back", "disputed": 5000, "net": 0},
    ("stripe", "dispute-won"): {"status": "succeeded", "disputed": 0, "net": 5000},
    ("paypal", "checkout"): {"status": "succeeded", "captured": 5000, "net": 5000},
    ("paypal", "partial-refunds"): {"status": "partially_refunded", "refunded": 1200, "net": 3800},
    ("paypal", "failed-then-paid"): {"status": "succeeded", "captured": 5000, "net": 5000},
    ("paypal", "dispute-lost"): {"status": "charged_back", "disputed": 5000, "net": 0},
    ("paypal", "dispute-won"): {"status": "succeeded", "disputed": 0, "net": 5000},
}
MILESTONES = {
    "checkout": ["payment.succeeded"],
    "partial-refunds": ["payment.succeeded", "payment.refunded", "payment.refunded"],
    "failed-then-paid": ["payment.failed", "payment.succeeded"],
    "dispute-lost": ["payment.succeeded", "dispute.opened", "dispute.lost"],
    "dispute-won": ["payment.succeeded", "dispute.opened", "dispute.won"],
}


def facts_of(provider: str, story: str) -> tuple[str, list[Facts]]:
    """The subject and its events' facts, in the order in which they happened."""
    subject, sent = stories.tell(provider, random.Random(7), NOW, 5000, "EUR", story=story)
    events = [PROVIDERS[provider].event(as_bytes(event), NOW) for event in sent]
    return subject, [facts_of_event(e) for e in events if e.subject == subject]


@pytest.mark.parametrize(("provider", "story"), RIGHT)
def test_a_story_ends_right_in_every_order(provider: str, story: str) -> None:
    """Every permutation of its events, each with every one of them twice, makes the same payment."""
    subject, told = facts_of(provider, story)
    orders = (
        list(permutations(told)) if len(told) < 7 else random.Random(1).sample(list(permutations(told)), 500)
    )
    for order in orders:
        payment = project(subject, fold([*order, *reversed(order)])).to_dict()
        assert {name: payment[name] for name in RIGHT[provider, story]} == RIGHT[provider, story]
    assert payment["consistent"]
    reached = [milestone["type"] for milestone in payment["milestones"]]
    reached = [type_ for type_ in reached if type_ != "payment.captured"]
    expected = MILESTONES[story]
    if (provider, story) == ("paypal", "failed-then-paid"):
        expected = expected[1:]  # at PayPal a declined capture is a payment of its own
    assert reached == expected


@pytest.mark.parametrize("story", MILESTONES)
def test_milestones_are_told_once_in_every_order(story: str) -> None:
    """However a Stripe story's events arrive, each milestone is news once, and refunds add up."""
    subject, told = facts_of("stripe", story)
    rng = random.Random(3)
    for _ in range(300):
        order = rng.sample(told, len(told)) + rng.sample(told, 2)
        facts, heard = heard_of(subject, order)
        types = [milestone.type for milestone in heard if milestone.type != "payment.captured"]
        overtakable = ("payment.failed", "dispute.opened")
        assert sorted(t for t in types if t not in overtakable) == sorted(
            t for t in MILESTONES[story] if t not in overtakable
        )
        assert all(types.count(t) <= 1 for t in overtakable)
        refunded = sum(m.amount or 0 for m in heard if m.type == "payment.refunded")
        assert refunded == project(subject, facts).refunded


# ── single rules ────────────────────────────────────────────────────────────────────────────────────


def charged(amount: int = 1000, currency: str = "EUR") -> Facts:
    return fact("payment", captured=[[amount, 1]], priced=[1, 1, amount, currency])


def refund(name: str, amount: int, **fields: Any) -> Facts:
    given = {"amount": [2, amount], "currency": [2, "EUR"], "charge": "ch", "can_be_release": 1, **fields}
    return fact(f"refund {name}", **given)


def total(amount: int, at: int, step: int | None = None) -> Facts:
    before = UNKNOWN if step is None else amount - step
    return fact("charge ch", refund_totals=[[at, amount, before]], can_be_release=1)


def refunded(*facts: Facts) -> int:
    return project("stripe:pi_1", fold([charged(), *facts])).refunded


def test_running_totals_are_not_added_up() -> None:
    """``amount_refunded`` is cumulative: 400, then 1000, is 1000; with the single refunds beside it too."""
    assert refunded(total(400, 5), total(1000, 6)) == 1000
    assert refunded(total(400, 5, 400), total(1000, 6, 600)) == 1000
    both = [refund("a", 400, succeeded_at=5), refund("b", 600, succeeded_at=6)]
    assert refunded(*both) == 1000
    assert refunded(*both, total(400, 5), total(1000, 6)) == 1000
    assert refunded(*both, total(400, 5, 400), total(1000, 6, 600)) == 1000


def test_a_total_tells_of_refunds_that_are_not_known_yet() -> None:
    """Either kind of event may be all that came so far; what was made before it is not told as a refund."""
    assert refunded(total(1000, 6, 600)) == 1000
    assert refunded(total(1000, 6), refund("b", 600, succeeded_at=6)) == 1000
    assert refunded(total(800, 6, 400), refund("a", 400, created_at=5, succeeded_at=5)) == 800
    _, heard = heard_of("stripe:pi_1", [charged(), total(1000, 6, 600), total(400, 5, 400)])
    assert [m.amount for m in heard if m.type == "payment.refunded"] == [600, 400]
    early, _ = heard_of("stripe:pi_1", [charged(), total(1000, 6, 600)])
    assert [m.amount for m in project("stripe:pi_1", early).milestones][2:] == [600]


def test_reports_of_one_instant_are_understood() -> None:
    """One says what was refunded before, one does not; and two equal steps in a second are two refunds."""
    assert refunded(total(400, 5), total(400, 5, 400)) == 400
    three = [total(300, 5, 300), total(600, 5, 300), total(900, 5, 300)]
    assert refunded(*three) == 900
    assert refunded(*three, total(600, 9)) == 600
    assert refunded(*three, total(100, 9)) == 100  # the newest are undone first


TWO_MADE_ONE_FAILED = [total(400, 1, 400), total(800, 2, 400), refund("a", 400, created_at=1, failed_at=3)]
EQUAL: dict[str, tuple[list[Facts], list[int]]] = {
    "the first fails, and a third is made": (
        [
            *TWO_MADE_ONE_FAILED,
            refund("b", 400, created_at=2, succeeded_at=4),
            total(800, 5, 400),
        ],
        [800, 3],
    ),
    "both fail, and a third is made": (
        [
            *TWO_MADE_ONE_FAILED,
            refund("b", 400, created_at=2, failed_at=4),
            total(400, 5, 400),
        ],
        [400, 3],
    ),
    "the first fails, a third is made, the second fails": (
        [
            *TWO_MADE_ONE_FAILED,
            total(800, 4, 400),
            refund("b", 400, created_at=2, failed_at=5),
        ],
        [400, 3],
    ),
}


@pytest.mark.parametrize("story", EQUAL)
def test_equal_refunds_of_a_charge_some_of_which_fail(story: str) -> None:
    """By running totals and failures alone: the sum in every order; in theirs each is told."""
    told, [amount, count] = EQUAL[story]
    for order in permutations(told):
        assert refunded(*order) == amount
    _, heard = heard_of("stripe:pi_1", [charged(), *told])
    assert [m.type for m in heard].count("payment.refunded") == count
    assert len({m.id for m in heard}) == len(heard)


def test_a_step_is_a_refund_whose_clock_is_a_second_ahead() -> None:
    """Two of Stripe's servers need not agree on the second."""
    step, single = total(400, 1000, 400), refund("a", 400, created_at=2000, succeeded_at=2000)
    for order in permutations([step, single]):
        facts, heard = heard_of("stripe:pi_1", [charged(), *order])
        assert project("stripe:pi_1", facts).refunded == 400
        assert [m.type for m in heard].count("payment.refunded") == 1


def test_a_total_proves_nothing_of_a_refund_made_later() -> None:
    """Nor that there was another one, where one that failed may still be part of it."""
    later = refund("a", 600, created_at=60_000, succeeded_at=60_000)
    assert refunded(total(400, 1000), later) == 1000
    failed = refund("a", 400, created_at=1000, succeeded_at=1000, failed_at=20_000)
    assert refunded(failed, total(700, 30_000, 300)) == 300


def test_the_refund_that_stands_is_the_one_that_is_heard() -> None:
    """Where the other one of that amount failed, whichever is learnt first."""
    first, failure = total(400, 100_000, 400), refund("a", 400, created_at=100_000, failed_at=200_000)
    second = total(400, 300_000, 400)
    for order in ([first, second, failure], [first, failure, second], [second, first, failure]):
        _, heard = heard_of("stripe:pi_1", [charged(), *order])
        types = [m.type for m in heard if m.type not in ("payment.succeeded", "payment.captured")]
        assert sorted(types) == ["payment.refunded", "payment.refunded", "refund.failed"], order
        assert len({m.id for m in heard}) == len(heard)


def test_a_refund_is_not_a_step_that_was_seen_before_it_was_made() -> None:
    """The step was another's, which failed since and whose first event comes last."""
    order = [
        charged(),
        total(700, 200, 700),
        refund("z", 700, created_at=200, failed_at=300),
        refund("a", 700, created_at=400, succeeded_at=400),
        total(700, 400, 700),
        refund("z", 700, created_at=200, succeeded_at=200),
    ]
    facts, heard = heard_of("stripe:pi_1", order)
    assert [m.type for m in heard].count("payment.refunded") == 2
    assert project("stripe:pi_1", facts).refunded == 700


def test_a_failed_refund_gives_the_money_back() -> None:
    """Even though a running total seen before it failed still counts it."""
    failed = refund("a", 400, succeeded_at=5, failed_at=9)
    assert refunded(failed) == 0
    assert refunded(failed, total(400, 5)) == 0
    assert refunded(failed, total(400, 5, 400)) == 0
    assert refunded(failed, total(400, 5, 400), total(600, 12, 600)) == 600


def test_a_refund_is_told_once_by_whatever_tells_it_first() -> None:
    """A step first and the single refund later, or the other way round: one milestone."""
    single, step = refund("a", 400, succeeded_at=5), total(400, 5, 400)
    for order in ((single, step), (step, single)):
        _, heard = heard_of("stripe:pi_1", [charged(), *order])
        assert [(m.type, m.amount) for m in heard[2:]] == [("payment.refunded", 400)]


@pytest.mark.parametrize(
    ("known", "late", "overtaken"),
    [
        (charged(), fact("payment", failed_at=1, state=[1, STATES.index("failed")]), "payment.failed"),
        (
            charged(),
            fact("payment", authorized_at=1, state=[1, STATES.index("authorized")]),
            "payment.authorized",
        ),
        (charged(), refund("a", 400, succeeded_at=5, failed_at=9), "payment.refunded"),
        (charged(), fact("dispute d", disputed_at=5, outcome=[9, 1], won_at=9), "dispute.opened"),
        (
            fact("dispute d", disputed_at=5, outcome=[9, 2], lost_at=9),
            fact("dispute d", disputed_at=5, won_at=7),
            "dispute.won",
        ),
    ],
)
def test_what_is_overtaken_when_first_learnt_is_listed_but_not_told(
    known: Facts, late: Facts, overtaken: str
) -> None:
    """A failed attempt learnt after success, a dispute learnt when it is closed."""
    after = join(known, late)
    assert overtaken in [m.type for m in project("stripe:pi_1", after).milestones]
    assert overtaken not in [m.type for m in change("stripe:pi_1", books(known), books(after)).milestones]


def test_what_was_overtaken_is_told_if_it_comes_to_hold() -> None:
    """A failed attempt learnt after the next one began, which fails too; a dispute that is opened again."""

    def state(name: str, at: int, **fields: int) -> Facts:
        return fact("payment", state=[at, STATES.index(name)], **fields)

    failures = [state("failed", at, failed_at=at) for at in (10, 30, 50)]
    attempts = [state("processing", at) for at in (20, 40)]
    order = [attempts[0], failures[0], failures[1], attempts[1], failures[2]]
    _, heard = heard_of("stripe:pi_1", order)
    assert [m.type for m in heard] == ["payment.failed"]
    closed = fact("dispute d", disputed_at=5, outcome=[9, 1], won_at=9)
    _, heard = heard_of("stripe:pi_1", [closed, fact("dispute d", disputed_at=5, outcome=[12, -1])])
    assert [m.type for m in heard] == ["dispute.won", "dispute.opened"]


def test_a_refund_of_a_customers_balance_is_of_no_payment() -> None:
    """It names neither a payment nor a charge: recorded under its own id, it moves no payment's money."""
    about = {"object": "refund", "id": "re_1", "amount": 400, "currency": "eur", "status": "succeeded"}
    sent = {"id": "evt_1", "type": "refund.created", "created": 1, "data": {"object": about}}
    event = PROVIDERS["stripe"].event(as_bytes(sent), NOW)
    assert (event.subject, PROVIDERS["stripe"].facts(event)) == ("stripe:re_1", {})


def test_an_authorization_let_go_is_no_refund() -> None:
    """Stripe reports a canceled authorization as refunded; no money moved."""
    facts = fold(
        [
            fact("payment", state=[5, STATES.index("canceled")], priced=[0, 5, 1000, "EUR"]),
            refund("a", 1000, succeeded_at=5),
        ]
    )
    payment = project("stripe:pi_1", facts)
    assert (payment.status, payment.refunded, payment.milestones) == ("canceled", 0, ())


def test_two_currencies_are_not_consistent() -> None:
    """Amounts of another currency are not added up, and the payment says that something is wrong."""
    other = fact("refund a", amount=[2, 400], currency=[2, "USD"], succeeded_at=5)
    payment = project("stripe:pi_1", fold([charged(), other]))
    assert (payment.currency, payment.refunded, payment.consistent) == ("EUR", 0, False)


def test_more_given_back_than_captured_is_not_consistent() -> None:
    """It can be passing, while events are on their way."""
    paypals = project("paypal:CAP1", refund("a", 400, succeeded_at=5, can_be_release=0))
    assert (paypals.status, paypals.net, paypals.consistent) == ("partially_refunded", -400, False)
    stripes = project("stripe:pi_1", refund("a", 400, succeeded_at=5))  # it may be no refund at all
    assert (stripes.status, stripes.net, stripes.consistent) == ("created", 0, False)


@pytest.mark.parametrize("first", STATES)
@pytest.mark.parametrize("second", STATES)
def test_the_later_state_holds_and_a_tie_is_broken_by_rank(first: str, second: str) -> None:
    """Never by arrival."""
    early = fact("payment", state=[1, STATES.index(first)])
    late = fact("payment", state=[2, STATES.index(second)])
    tie = fact("payment", state=[2, STATES.index(first)])
    for order in permutations([early, late]):
        assert project("stripe:pi_1", fold(order)).status == second
    for order in permutations([tie, late]):
        assert project("stripe:pi_1", fold(order)).status == max(first, second, key=STATES.index)


def test_a_payment_shows_what_the_contract_says() -> None:
    """Names and shapes of the JSON, with no more and no less."""
    subject, told = facts_of("stripe", "partial-refunds")
    shown = project(subject, fold(told)).to_dict()
    assert list(shown) == [
        "id",
        "provider",
        "status",
        "livemode",
        "account",
        "currency",
        "amount",
        "authorized",
        "captured",
        "refunded",
        "disputed",
        "net",
        "consistent",
        "customer",
        "reference",
        "metadata",
        "settled",
        "related",
        "created_at",
        "updated_at",
        "milestones",
    ]
    assert shown["milestones"][0] == {
        "id": f"{subject}/payment.succeeded",
        "type": "payment.succeeded",
        "at": shown["milestones"][0]["at"],
        "amount": 5000,
        "object": None,
    }
    assert set(shown["related"]) == {"charge", "refund"}
    assert (shown["livemode"], shown["account"], shown["authorized"]) == (False, None, 5000)
