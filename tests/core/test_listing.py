"""What lists are asked for: an answer that is empty says that there is none, so what cannot be is refused."""

import random

import pytest

from chalicelib import access, listing
from chalicelib.errors import InvalidParameter
from chalicelib.payments.books import STATUSES
from chalicelib.subscriptions import Terms
from ops.console import search
from ops.stories import tell
from tests.settling import Shop
from tests.simulators import START

NOW = START * 1000
PAYMENTS = 260


@pytest.fixture(scope="module")
def shop() -> Shop:
    """Many payments of 10.00 and up; every hundredth is of 5.00, every other in dollars."""
    it = Shop()
    for number in range(PAYMENTS):
        amount, currency = (1000 + number, "USD" if number % 2 else "EUR")
        given = (500 if number % 100 == 0 else amount), currency
        at = NOW + number * 1000
        _, events = tell("stripe", random.Random(number), at, *given, type_="payment_intent.succeeded")
        it.know(events)
    return it


def found(shop: Shop, **parameters: str) -> list[int]:
    """The amounts of all that is listed, page by page."""
    amounts: list[int] = []
    while True:
        page = listing.payments(shop.ledger, listing.parse(parameters))
        amounts += [each["amount"] for each in page["payments"]]
        if page["cursor"] is None:
            return amounts
        parameters["cursor"] = page["cursor"]


def test_an_amount_is_found_wherever_it_is(shop: Shop) -> None:
    """Over pages in which there is none; with and without a currency; a page at a time."""
    assert found(shop, amount="500") == [500, 500, 500]
    assert found(shop, amount="500", currency="eur", limit="1") == [500, 500, 500]
    assert found(shop, amount="500", currency="USD") == []
    assert len(found(shop, currency="USD")) == PAYMENTS / 2
    assert found(shop, amount="1007", status="succeeded") == [1007]
    page = listing.payments(shop.ledger, listing.parse({"amount": "500", "limit": "2"}))
    assert (len(page["payments"]), page["cursor"] is None) == (2, False)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"status": "paid"}, "status is none of: disputed, charged_back"),
        ({"provider": "acme"}, "provider is none of: "),
        ({"amount": "5.00"}, "amount is not a whole number"),
        ({"amount": "-5"}, "amount is not a whole number"),
        ({"amount": "9" * 20}, "amount is not a whole number"),
    ],
)
def test_what_cannot_be_is_refused(shop: Shop, parameters: dict[str, str], says: str) -> None:
    """And what there is is named."""
    with pytest.raises(InvalidParameter, match=says):
        listing.payments(shop.ledger, listing.parse(parameters))


def test_each_kind_has_its_own_statuses(shop: Shop) -> None:
    """And a subscription has no amount to be found by."""
    for status in STATUSES:
        listing.payments(shop.ledger, listing.parse({"status": status}))
    subscriptions = access.listed(NOW, Terms())
    assert listing.page(shop.ledger, listing.parse({"status": "active"}), subscriptions)["cursor"] is None
    for wrong in ({"status": "succeeded"}, {"amount": "500"}):
        with pytest.raises(InvalidParameter):
            listing.page(shop.ledger, listing.parse(wrong), subscriptions)
    with pytest.raises(InvalidParameter, match="in_transit"):
        listing.page(shop.ledger, listing.parse({"status": "active"}), listing.PAYOUTS)


@pytest.mark.parametrize("provider", ["stripe", "paypal"])
@pytest.mark.parametrize("story", ["partial-refunds", "dispute-lost"])
def test_a_payment_is_found_by_any_id_in_hand(provider: str, story: str) -> None:
    """Its charge, its refunds, its dispute, PayPal's order; as it was recorded, in any order."""
    subject, events = tell(provider, random.Random(7), NOW, 5000, "EUR", story=story)
    for seed in range(6):
        shop = Shop()
        shop.know(random.Random(seed).sample(events, len(events)), provider)
        related = shop.payment(subject).related
        kinds = ("refund", "dispute", "charge", "order")
        in_hand = [each for kind in kinds for each in related.get(kind, [])]
        assert in_hand
        for each in in_hand:
            assert shop.ledger.named_by(f"{provider}:{each}") == subject
            assert search.subject_of(shop.ledger, each) == subject
