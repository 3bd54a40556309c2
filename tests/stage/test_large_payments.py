"""A payment of so many refunds that its facts outgrow DynamoDB's items, on the emulator."""

import random
from typing import Any

import pytest

from bench.refunds import events, facts_of, stored
from chalicelib import packing
from chalicelib.entries import Outbox
from chalicelib.errors import AwsError, VersionMoved
from chalicelib.inbox import Message
from chalicelib.kinds import PAYMENT
from chalicelib.ledger import Ledger
from chalicelib.listing import parse, payment, payments
from chalicelib.payments import fold, join, project
from chalicelib.providers import PROVIDERS
from ops.stage import Stage
from tests.fakes import NOW, Clock, consumer, sqs_record, write_of
from tests.fakes import an_event as event

SUBJECT = "stripe:pi_1"


@pytest.fixture
def ledger(stage: Stage) -> Ledger:
    return stage.ledger()


def message(body: bytes) -> Message:
    return Message.of(PROVIDERS["stripe"].event(body, NOW), body)


@pytest.mark.parametrize(("count", "parts"), [(2_000, 0), (12_000, 3)])
def test_a_payment_of_thousands_of_refunds_goes_on(ledger: Ledger, count: int, parts: int) -> None:
    """It is recorded, read, listed and written again, with another payment in the batch."""
    facts = stored(count).facts
    ledger.save(write_of(event("evt_all"), b"{}", Outbox(SUBJECT, PAYMENT, 1), facts))
    assert ledger.payment(SUBJECT).facts == facts
    assert (SUBJECT in ledger.payments([SUBJECT])) == (not parts)
    assert len(packing.stored(SUBJECT, facts, 1)[1]) == parts
    [*_, last] = events(count + 1, random.Random(7))
    [other, *_] = (each.replace(b"pi_1", b"pi_2") for each in events(1, random.Random(8)))
    inbox: Any = None
    to = consumer(ledger, inbox)
    batch = [sqs_record(each.encode(), each.subject) for each in map(message, (last, other))]
    to.process(batch, Clock().now + 60_000)
    after = ledger.payment(SUBJECT)
    assert after.facts == join(facts, facts_of(last))
    assert project(SUBJECT, after.facts).refunded == 100 * (count + 1)
    listed = payments(ledger, parse({"limit": "100"}))["payments"]
    assert {each["id"]: each["refunded"] for each in listed} == {
        SUBJECT: 100 * (count + 1),
        "stripe:pi_2": 0,
    }
    shown = payment(ledger, "stripe", "pi_1")
    assert (shown["refunded"], len(shown["events"])) == (100 * (count + 1), 2)


def test_facts_that_are_being_written_are_not_mixed(ledger: Ledger, stage: Stage) -> None:
    """Parts of another version are read again; what never settles is an outage, not a payment."""
    facts = stored(12_000).facts
    ledger.save(write_of(event("evt_all"), b"{}", Outbox(SUBJECT, PAYMENT, 1), facts))
    read = ledger.payment(SUBJECT)
    fewer = dict(list(facts.items())[:-1])
    ledger.save_payment(read.with_facts(facts, NOW))
    with pytest.raises(VersionMoved):
        ledger.save_payment(read.with_facts(fewer, NOW))
    assert ledger.payment(SUBJECT).facts == facts
    stage.client("dynamodb").update_item(
        TableName=stage.names.table,
        Key={"subject": {"S": SUBJECT}, "entry": {"S": "payment:part:001"}},
        UpdateExpression="SET #of = :of",
        ExpressionAttributeNames={"#of": "of"},
        ExpressionAttributeValues={":of": {"N": "1"}},
    )
    with pytest.raises(AwsError) as refused:
        ledger.payment(SUBJECT)
    assert refused.value.passing


def test_a_fold_by_pairs_is_a_fold() -> None:
    """In whatever order, and of nothing."""
    told = [facts_of(body) for body in events(50, random.Random(1))]
    one_by_one: Any = {}
    for each in told:
        one_by_one = join(one_by_one, each)
    random.Random(2).shuffle(told)
    assert fold(told) == one_by_one
    assert fold([]) == {}
