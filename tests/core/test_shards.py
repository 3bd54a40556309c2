"""A day's payments in several partitions of the listing, none of which takes too much: read as one."""

import random
from collections import Counter
from typing import Any

import pytest

from chalicelib import listing
from chalicelib.entries import SPREAD, Outbox, Write, partitions
from chalicelib.kinds import PAYMENT
from chalicelib.ledger import Ledger
from chalicelib.payments import Facts, fact
from chalicelib.retention import BACK, expire
from chalicelib.settings import read
from chalicelib.times import DAY, to_iso
from tests.fakes import NOW, an_event, record_of, write_of
from tests.little_dynamo import LittleDynamo


class Counted:
    """A table whose calls are counted, by operation."""

    def __init__(self) -> None:
        self.table = LittleDynamo()
        self.calls: Counter[str] = Counter()

    def __call__(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        self.calls[operation] += 1
        return self.table(service, operation, **request)


def paid(at: int, amount: int) -> Facts:
    return fact("payment", captured=[[amount, at]], created_at=at, priced=[1, at, amount, "EUR"])


def fill(ledger: Ledger, count: int, days: int = 1, seed: int = 1) -> list[str]:
    """Payments at odd moments of some days; their subjects, the newest first."""
    rng = random.Random(seed)
    made = []
    for n in range(count):
        at = NOW - NOW % DAY + rng.randrange(DAY) - DAY * rng.randrange(days)
        subject = f"stripe:pi_{seed}_{n}"
        event = an_event(f"evt_{seed}_{n}", subject)
        ledger.save(write_of(event, b"{}", Outbox(subject, PAYMENT, 1), paid(at, 100 + n)))
        made.append((at, subject))
    return [subject for _, subject in sorted(made, reverse=True)]


def listed(ledger: Ledger, **parameters: str) -> list[str]:
    """All of it, page by page."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        more = {"cursor": cursor} if cursor else {}
        page = listing.payments(ledger, listing.parse({**parameters, **more}))
        found += [each["id"] for each in page["payments"]]
        cursor = page["cursor"]
    return found


@pytest.mark.parametrize("shards", [1, 2, 7])
@pytest.mark.parametrize("limit", ["1", "7", "100"])
def test_pages_are_the_newest_first_over_all_shards(shards: int, limit: str) -> None:
    """Each payment once, whatever the pages' size, over several days."""
    ledger = Ledger(LittleDynamo(), "t", shards=shards)
    made = fill(ledger, 60, days=3)
    assert listed(ledger, limit=limit) == made
    assert listed(ledger, limit=limit, status="succeeded") == made
    assert listed(ledger, limit=limit, status="failed") == []


def test_a_day_whose_shards_were_changed_is_read_whole() -> None:
    """More consumers, and then fewer: what was written before stays where it is."""
    table = LittleDynamo()
    made = []
    for n, shards in enumerate((1, 6, 2)):
        made += fill(Ledger(table, "t", shards=shards), 20, seed=n)
    assert sorted(listed(Ledger(table, "t"), limit="9")) == sorted(made)
    assert len({item for key, item in table.items.items() if key[0] == "calendar"}) <= 2


@pytest.mark.parametrize("shards", [1, 4])
def test_a_page_costs_the_calendar_its_shards_and_one_read(shards: int) -> None:
    """However many payments the day has."""
    costs = []
    for count in (50, 400):
        counted = Counted()
        ledger = Ledger(counted, "t", shards=shards)
        fill(ledger, count)
        counted.calls.clear()
        found = listing.payments(ledger, listing.parse({"limit": "20"}))
        assert len(found["payments"]) == 20
        costs.append(dict(counted.calls))
    assert costs[0] == costs[1]
    assert costs[0] == {"Query": 1 + shards, "BatchGetItem": 1}


def test_more_consumers_have_more_shards() -> None:
    """Nobody sets it: twenty consumers write what one partition takes."""
    shards = [read({"DAYBOOK_CONSUMERS": count}).shards for count in ("2", "20", "21", "100", "1000")]
    assert shards == [1, 1, 3, 10, 32]


def test_what_is_not_right_is_found_in_every_partition() -> None:
    """The oldest first."""
    ledger = Ledger(LittleDynamo(), "t")
    refund = fact("refund re_1", amount=[NOW, 9], succeeded_at=NOW, currency=[NOW, "EUR"])
    for n in range(40):
        subject = f"stripe:pi_{n}"
        ledger.save_payment(record_of(refund, Outbox(subject, PAYMENT, 1), since=NOW - n))
    assert list(ledger.inconsistent(NOW)) == [f"stripe:pi_{n}" for n in range(39, -1, -1)]
    assert list(ledger.inconsistent(NOW - 20)) == [f"stripe:pi_{n}" for n in range(39, 19, -1)]
    assert len(partitions("yes", SPREAD)) == 8


def test_bodies_expire_in_every_partition() -> None:
    """Those that came on a day, wherever they are listed; then that day is looked at no more."""
    counted = Counted()
    ledger = Ledger(counted, "t", bodies_expire=True, shards=5)
    fill(ledger, 30)
    assert expire(ledger, 30, NOW + 20 * DAY, lambda: True) == 0
    assert expire(ledger, 30, NOW + 40 * DAY, lambda: True) == 30
    counted.calls.clear()
    assert expire(ledger, 30, NOW + 40 * DAY, lambda: True) == 0
    assert counted.calls["Query"] == 1 + BACK


def test_what_there_is_no_time_for_expires_the_next_time() -> None:
    """The time is looked at before each query, and a day that was not finished is not forgotten."""
    counted = Counted()
    ledger = Ledger(counted, "t", bodies_expire=True, shards=5)
    fill(ledger, 30)
    counted.calls.clear()
    assert expire(ledger, 30, NOW + 40 * DAY, lambda: False) == 0
    assert counted.calls["Query"] <= 2
    left = iter(range(BACK + 10))
    some = expire(ledger, 30, NOW + 40 * DAY, lambda: next(left, None) is not None)
    assert some < 30
    assert some + expire(ledger, 30, NOW + 40 * DAY, lambda: True) == 30


def test_a_day_of_bodies_alone_is_none_of_the_listing() -> None:
    """Events that make no payment, on many days: the first page is not spent on those."""
    ledger = Ledger(LittleDynamo(), "t", bodies_expire=True, shards=3)
    made = fill(ledger, 3)
    for n in range(12):
        event = an_event(f"evt_{n}", f"stripe:cus_{n}", received_at=NOW + n * DAY)
        ledger.save(Write(event=event, body=b"{}"))
    page = listing.payments(ledger, listing.parse({}))
    assert ([each["id"] for each in page["payments"]], page["cursor"]) == (made, None)


def test_a_part_of_a_day_is_listed() -> None:
    """From one moment to another."""
    ledger = Ledger(LittleDynamo(), "t", shards=3)
    made = fill(ledger, 60)
    ats = {each: ledger.payment(each).facts["payment"]["created_at"] for each in made}
    since, until = sorted(ats.values())[20], sorted(ats.values())[39]
    some = listed(ledger, since=to_iso(since), until=to_iso(until), limit="7")
    assert some == [each for each in made if since <= ats[each] <= until]
