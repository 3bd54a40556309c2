"""The page on cost: sizes as DynamoDB counts them, a burst that loses nothing, and the page as made."""

import pytest

from bench.cost import item_size, items, load, page, sale_day
from tests.conftest import ROOT


def test_an_item_is_as_large_as_dynamodb_says() -> None:
    """Names and values in UTF-8; a number takes a byte for two digits and one more; a boolean takes one."""
    item = {"ab": {"S": "äb"}, "n": {"N": "1234"}, "t": {"BOOL": True}, "b": {"B": b"123"}}
    assert item_size(item) == (2 + 3) + (1 + 3) + (1 + 1) + (1 + 3)


def test_a_million_webhooks_cost_what_their_parts_do() -> None:
    """No part is free, none is absurd."""
    assert all(0 < dollars < 10 for dollars in items().values())


@pytest.mark.parametrize(("concurrency", "waits"), [(50, False), (1, True)])
def test_a_burst_waits_where_consumers_are_few(concurrency: int, waits: bool) -> None:
    """And is drained in the end."""
    day = sale_day(10, concurrency, 1_000)
    assert (day.largest_backlog > 0) == waits
    assert day.refused == 0


@pytest.mark.parametrize("rate", [100, 1_000, 10_000])
def test_no_partition_takes_more_than_one_can(rate: int) -> None:
    """Up to ten thousand webhooks a second, each at its own place."""
    met = load(rate)
    assert 0 < met.waiting <= met.listing < 1_000


def test_what_is_refused_comes_again() -> None:
    """Over the limit of requests, and counted each time."""
    assert sale_day(100, 50, 1_000).refused > (5_000 - 1_000) * 20 * 60


def test_the_page_is_the_one_that_was_made() -> None:
    """`python -m bench.cost > docs/cost.md` changes nothing."""
    assert (ROOT / "docs" / "cost.md").read_text() == "\n".join(page()) + "\n"
