"""Two consumers at once, in every order of their calls and with a kill at each: the promises hold."""

import random
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from chalicelib.inbox import Message
from chalicelib.providers import PROVIDERS
from ops.stories import tell
from tests.conftest import TORTURE
from tests.fakes import NOW, as_bytes
from tests.interleavings import MINUTE, History, explore

# what is traced for coverage takes twice the time, and is covered by others
pytestmark = pytest.mark.no_cover

PAST = NOW - 100_000


@pytest.fixture(autouse=True)
def _no_alarm_is_left() -> Iterator[None]:
    """Handlers that are interleaved set SIGALRM's action back in another order than they set it."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def told(seed: int) -> tuple[str, list[Message]]:
    """A payment's subject; on the queue: that it succeeded, and that 400, and 1,200 in all, went back."""
    subject, events = tell("stripe", random.Random(seed), PAST, 5000, "EUR", story="partial-refunds")
    wanted = [each for each in events if each["type"] in ("payment_intent.succeeded", "charge.refunded")]
    bodies = [as_bytes(each) for each in wanted]
    return subject, [Message.of(PROVIDERS["stripe"].event(body, NOW), body) for body in bodies]


def both(*batches: Sequence[Message], right: dict[str, tuple[int, int]], **more: Any) -> History:
    first, second = batches
    return History((first, second), right, **more)


ONE, [FIRST, BACK, MORE] = told(1)
TWO, [OTHER, *_] = told(2)

SMALL = {
    "one event twice, no kill": both([FIRST], [FIRST], right={ONE: (5000, 0)}, is_raw=True, kills=0),
    "a handler that fails once": both([FIRST], [BACK], right={ONE: (5000, 400)}, fails="payment.succeeded"),
    "a payment and its refund, no kill": both([FIRST], [BACK], right={ONE: (5000, 400)}, kills=0),
    "two payments in one transaction, no kill": both(
        [FIRST, OTHER], [OTHER], right={ONE: (5000, 0), TWO: (5000, 0)}, kills=0
    ),
}
LARGE = {
    "one event twice": both([FIRST], [FIRST], right={ONE: (5000, 0)}, is_raw=True),
    "a payment and its refund": both([FIRST], [BACK], right={ONE: (5000, 400)}),
    "in order, and again in another": both([FIRST, BACK], [BACK, FIRST], right={ONE: (5000, 400)}),
    "two payments in one transaction": both(
        [FIRST, OTHER], [OTHER, BACK], right={ONE: (5000, 400), TWO: (5000, 0)}
    ),
    "three events, a handler that fails once": both(
        [FIRST, MORE], [BACK], right={ONE: (5000, 1200)}, fails="payment.refunded"
    ),
    "of events and payments": both([FIRST], [BACK], right={ONE: (5000, 400)}, is_raw=True),
    "both are killed": both([FIRST], [BACK], right={ONE: (5000, 400)}, kills=2),
}


@pytest.mark.parametrize("name", [*SMALL, *(LARGE if TORTURE else ())])
def test_every_schedule_keeps_the_promises(name: str, figures: dict[str, float]) -> None:
    """Recorded once, with the right sums, notified once; twice only where a kill fell into the named gap."""
    found = explore({**SMALL, **LARGE}[name])
    figures[f"schedules of {name}"] = found.schedules
    figures[f"states of {name}"] = found.states
    assert found.schedules > 1_000
    assert found.endings > 1
    assert found.together == (2 if "transaction" in name else found.together)


def test_a_table_that_takes_everything_is_found_out() -> None:
    """That two consumers do not overwrite each other is the conditions' work."""
    with pytest.raises(AssertionError):
        explore(LARGE["a payment and its refund"], checks=False)


def test_a_lease_that_is_not_kept_is_found_out() -> None:
    """That nobody is notified twice is the lease's work: here the second consumer thinks it is over."""
    with pytest.raises(AssertionError, match="after"):
        explore(LARGE["one event twice"], at=(NOW, NOW + 2 * MINUTE))
