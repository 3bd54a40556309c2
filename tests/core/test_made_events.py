"""The events that ``daybook send`` makes: of types that there are."""

import random

import pytest

from ops.stories import UnknownType, tell


@pytest.mark.parametrize(
    ("provider", "type_", "says"),
    [
        ("stripe", "payment_intent.suceeded", "type .*; payment_intent.succeeded is near"),
        ("stripe", "made.up", "stripe sends no event of type made.up$"),
        ("paypal", "PAYMENT.CAPTURE.COMPLETE", "; PAYMENT.CAPTURE.COMPLETED is near"),
    ],
)
def test_a_type_that_does_not_exist_is_not_made(provider: str, type_: str, says: str) -> None:
    """A misspelled one would be taken for one that Daybook does not read, and nothing would happen."""
    with pytest.raises(UnknownType, match=says):
        tell(provider, random.Random(1), 0, 500, "EUR", type_=type_)


@pytest.mark.parametrize(
    ("provider", "type_"), [("stripe", "customer.created"), ("paypal", "VAULT.X.CREATED")]
)
def test_any_other_type_is_made(provider: str, type_: str) -> None:
    """About an object of its own; of PayPal's nobody has a list."""
    _, [event] = tell(provider, random.Random(1), 0, 500, "EUR", type_=type_)
    assert type_ in (event.get("type"), event.get("event_type"))
