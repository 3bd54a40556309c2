"""A provider that hangs is waited for once, not once for each event."""

import pytest

from chalicelib.breaker import REST, SLOW, CircuitBreaker
from chalicelib.errors import Unavailable
from tests.fakes import Clock


def test_what_hangs_is_left_alone_for_a_while() -> None:
    """It alone, and then it is asked again; what fails at once, or does not fail, is always asked."""
    clock, asked = Clock(), []
    breaker = CircuitBreaker(clock)

    def ask(provider: str, takes: int, fails: bool) -> None:
        with breaker.asking(provider):
            asked.append(provider)
            clock.now += takes
            if fails:
                raise Unavailable("down")

    ask("paypal", SLOW, fails=False)
    for takes in (0, 0, SLOW, SLOW, SLOW):
        with pytest.raises(Unavailable):
            ask("paypal", takes, fails=True)
    assert asked == ["paypal"] * 4
    ask("stripe", 0, fails=False)
    clock.now += REST
    ask("paypal", 0, fails=False)
    assert asked[4:] == ["stripe", "paypal"]
