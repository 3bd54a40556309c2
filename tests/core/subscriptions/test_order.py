"""Several states of one second: which is the last, told by what each says it was before."""

import random
from collections.abc import Sequence
from itertools import permutations

import pytest

from chalicelib.subscriptions.order import CREATED, SEEN, UPDATED, Last, Report, last, latest

A, B, C, D = "active", "before", "canceled", "due"


def updated(second: int, *edges: tuple[str, str]) -> list[Report]:
    return [[second, UPDATED, f"evt_{second}_{n}", was, is_now] for n, (was, is_now) in enumerate(edges)]


def created(second: int, state: str) -> list[Report]:
    return [[second, CREATED, f"evt_{second}", "", state]]


@pytest.mark.parametrize(
    ("reports", "right"),
    [
        ([], Last(None, True)),
        (created(1, A), Last(A, True)),
        (updated(2, (A, B)), Last(B, True)),
        (created(1, A) + updated(2, (A, B), (B, C)), Last(C, True)),
        (updated(2, (A, B), (B, C)), Last(C, False)),  # what was before it is not known
        (created(1, D) + updated(2, (A, B), (B, C)), Last(C, False)),  # an edge from there is missing
        (created(1, A) + updated(2, (A, B), (B, A)), Last(A, True)),  # a circle ends where it began
        (created(1, B) + updated(2, (A, B), (B, A)), Last(B, True)),
        (updated(2, (A, B), (B, A)), Last(B, False)),
        (created(1, A) + updated(1, (A, B), (B, A), (A, B)), Last(B, True)),
        (created(1, A) + updated(1, (A, B), (B, A)), Last(A, True)),
        (created(1, A) + updated(2, (A, A), (A, A)), Last(A, True)),
        (updated(1, (D, A)) + updated(2, (A, A), (A, B), (B, B)), Last(B, True)),
        (created(1, A) + updated(2, (A, B), (C, D)), Last(D, False)),  # two ends
        ([*updated(2, (A, B)), [2, SEEN, "evt", "", A]], Last(B, True)),
        ([[2, SEEN, "evt", "", A]], Last(A, True)),
        ([[2, SEEN, "evt", "", A], [2, SEEN, "evt2", "", B]], Last(B, False)),
        (created(1, A) + updated(2, (A, A), (B, B)), Last(A, False)),  # what is between the two is missing
        (created(1, A) + updated(2, (A, B), (C, D), (D, C)), Last(B, False)),
        (updated(1, (A, B)) + updated(2, (B, C)) + updated(3, (C, A)), Last(A, True)),
    ],
)
def test_the_last_state_of_a_second(reports: list[Report], right: Last) -> None:
    """In any order of the reports."""
    for order in permutations(reports):
        assert last(order) == right


def life(rng: random.Random, steps: int) -> tuple[str, list[Report]]:
    """One that goes from state to state, several times a second: its last, and what is reported."""
    state, second, reports = rng.choice("ABCD"), 1, []
    reports += created(1, state)
    for n in range(steps):
        second += rng.random() < 0.4
        was, state = state, rng.choice("ABCD")
        reports.append([second, UPDATED, f"evt_{n}", was, state])
    return state, reports


def greatest(reports: Sequence[Report]) -> str:
    """As a mirror has it that takes what is not older than what it has."""
    kept: Report | None = None
    for each in reports:
        kept = each if kept is None or each[0] >= kept[0] else kept
    assert kept
    return str(kept[-1])


def test_whole_lives_end_right_where_mirrors_do_not() -> None:
    """Of 2,000 lives none is wrong and hardly one uncertain; a mirror has a quarter of them wrong."""
    rng = random.Random(1)
    wrong = uncertain = mirrored = 0
    for _ in range(2000):
        state, reports = life(rng, rng.randrange(1, 8))
        rng.shuffle(reports)
        found = last(latest(reports, []))
        wrong += found.state != state
        uncertain += not found.is_certain
        mirrored += greatest(reports) != state
    assert wrong == 0
    assert uncertain <= 2
    assert mirrored > 400


def test_joining_reports_is_a_semilattice() -> None:
    """Commutative, associative, idempotent, with only the latest seconds kept."""
    rng = random.Random(2)
    for _ in range(500):
        a, b, c = (life(rng, 5)[1] for _ in range(3))
        assert latest(a, b) == latest(b, a)
        assert latest(latest(a, b), c) == latest(a, latest(b, c))
        assert latest(latest(a, b), latest(a, b)) == latest(a, b)
        assert len({each[0] for each in latest(a, b)}) <= 3
