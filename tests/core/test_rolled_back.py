"""A deploy was rolled back: what the newer version wrote is left as it is, and unread, and that is said."""

import json
import random
from typing import Any

import pytest

from chalicelib import access, listing
from chalicelib.asking import Asking
from chalicelib.errors import NewerRules, Refused
from chalicelib.kinds import kind_of
from chalicelib.payments import RULES_VERSION
from chalicelib.providers import PROVIDERS
from chalicelib.subscriptions import Terms
from chalicelib.times import DAY, HOUR
from ops import replay
from ops.books.lines import FIRST, LAST, Zone
from ops.books.store import Store
from ops.compare import Comparison, Mapped
from ops.redrive import Redrive
from ops.stories import tell
from tests.fakes import as_bytes, message_of, sqs_record, telemetry
from tests.settling import Shop
from tests.simulators import START

Json = dict[str, Any]
NEWER = RULES_VERSION + 1


def table(shop: Shop) -> Any:
    return shop.ledger._table._aws


def stored(shop: Shop, subject: str) -> str:
    """The record as it is stored, as JSON."""
    found: str = table(shop).items[subject, kind_of(subject).entry]
    return found


def write_by(shop: Shop, subject: str, rules: int) -> None:
    """As if a version with those rules had made it."""
    item = {**json.loads(stored(shop, subject)), "rules": {"N": str(rules)}}
    table(shop).items[subject, kind_of(subject).entry] = json.dumps(item)


def shown(shop: Shop) -> list[str]:
    """The records that there are, of kinds that users see."""
    stored = (each for each in shop.ledger.subjects() if kind_of(each).is_shown)
    return [each for each in stored if shop.ledger.record(each).version]


def told(story: str, seed: int = 1) -> list[Json]:
    _, events = tell("stripe", random.Random(seed), START * 1000, 1900, "EUR", story=story)
    return events


@pytest.mark.parametrize("story", ["partial-refunds", "upgrade"])
def test_an_event_of_it_is_parked_and_recorded_by_the_newer_version(story: str) -> None:
    """At once, untouched, whatever kind it is; and nobody else's waits for it."""
    shop, events = Shop(), told(story)
    shop.know(events)
    subject = shown(shop)[0]
    last = next(e for e in reversed(events) if PROVIDERS["stripe"].event(as_bytes(e), 0).subject == subject)
    shop = Shop()
    shop.know([each for each in events if each["id"] != last["id"]])
    write_by(shop, subject, NEWER)
    before = stored(shop, subject)
    other = told("checkout", seed=2)
    subjects = set(shop.ledger.subjects())
    texts = [message_of(as_bytes(each)).encode() for each in (last, *other)]
    batch = [sqs_record(text, receipt=str(number)) for number, text in enumerate(texts)]
    assert shop.consumer.process(batch, shop.clock.now + HOUR) == []
    assert stored(shop, subject) == before
    [parked] = shop.ledger.parking.parked()
    assert (parked.subject, parked.event_id, parked.reason) == (subject, last["id"], "NewerRules")
    assert len([each for each in shop.ledger.subjects() if each not in subjects]) > 0
    write_by(shop, subject, RULES_VERSION)  # this is the newer version now
    inbox: Any = shop.queue
    Redrive(shop.ledger, inbox, shop.clock).send(parked)
    [text] = shop.queue.texts
    assert shop.consumer.process([sqs_record(text)], shop.clock.now + HOUR) == []
    whole = Shop()
    whole.know(events)
    assert shop.ledger.record(subject).facts == whole.ledger.record(subject).facts
    assert list(shop.ledger.parking.parked()) == []


def test_lists_name_what_they_leave_out() -> None:
    """All else is shown; an answer that would have to be whole is refused."""
    shop, mine, others = Shop(), told("checkout"), told("checkout", seed=2)
    shop.know([*mine, *others])
    found = listing.payments(shop.ledger, listing.parse({}))["payments"]
    assert len(found) == 2
    newer, older = (each["id"] for each in found)
    write_by(shop, newer, NEWER)
    page = listing.payments(shop.ledger, listing.parse({}))
    assert ([each["id"] for each in page["payments"]], page["unread"]) == ([older], [newer])
    chosen = listing.payments(shop.ledger, listing.parse({"reference": found[0]["reference"]}))
    assert chosen["unread"] == [newer]
    with pytest.raises(NewerRules, match=f"{newer} was written by a newer version of Daybook"):
        listing.payment(shop.ledger, *newer.split(":", 1))
    with pytest.raises(NewerRules):
        list(listing.every(shop.ledger, "payment", shop.ledger.days("0000", "9999")))


def test_whether_somebody_has_access_is_not_guessed() -> None:
    """It is 503, not no."""
    shop = Shop()
    shop.know(told("upgrade"))
    [subject] = [each for each in shown(shop) if kind_of(each).entry == "subscription"]
    now, terms = shop.clock.now, Terms()
    customer = str(access.subscription(shop.ledger, "stripe", subject[7:], now, terms)["customer"])
    question = access.parse({"customer": customer}, now)
    assert access.answer(shop.ledger, question, terms)["subscriptions"] == [subject]
    write_by(shop, subject, NEWER)
    with pytest.raises(NewerRules):
        access.answer(shop.ledger, question, terms)
    with pytest.raises(NewerRules):
        access.subscription(shop.ledger, "stripe", subject[7:], now, terms)


def test_what_asks_every_hour_goes_on_with_the_others() -> None:
    """One that cannot be read keeps nobody else from being asked about."""
    shop = Shop()
    shop.know([each for each in told("partial-refunds") if each["type"].startswith("refund.")])
    [subject] = shop.ledger.inconsistent(shop.clock.now + DAY)
    write_by(shop, subject, NEWER)
    inbox: Any = shop.queue
    asking = Asking(
        providers=PROVIDERS,
        apis={},
        ledger=shop.ledger,
        inbox=inbox,
        telemetry=telemetry(shop.lines, shop.clock),
    )
    assert asking.run(shop.clock.now + DAY) == 0
    assert "NewerRules" in "".join(shop.lines)


def test_books_and_comparisons_name_what_they_leave_out() -> None:
    """One record that cannot be read keeps nobody from the others; a replay would have to be whole."""
    shop, mine, others = Shop(), told("checkout"), told("checkout", seed=2)
    shop.know([*mine, *others])
    newer, older = (e["id"] for e in listing.payments(shop.ledger, listing.parse({}))["payments"])
    write_by(shop, newer, NEWER)
    for by in ("movement", "payment"):
        store = Store(by)
        store.read(shop.ledger, Zone())
        assert store.unread == [newer]
        assert {line.get("payment") or line["id"] for line in store.lines(FIRST, LAST)} == {older}
    comparison = Comparison(shop.ledger, Mapped(columns={"id": "id", "captured": "captured"}, is_minor=True))
    table = [{"id": each.partition(":")[2], "captured": "1900"} for each in (newer, older)]
    assert list(comparison.of_file(table)) == []
    assert (comparison.tally.compared, comparison.unread) == (1, [newer])
    with pytest.raises(Refused, match=f"{newer}: not read, a newer version"):
        list(replay.Period(since=0, until=shop.clock.now).found(shop.consumer))
