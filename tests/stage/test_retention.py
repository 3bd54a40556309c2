"""Bodies that expire, and customers that are forgotten: what was paid stays known."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from chalicelib.events import Event
from chalicelib.inbox import Message
from chalicelib.ledger import Ledger
from chalicelib.payments import Milestone, Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.retention import expire
from chalicelib.settings import read
from chalicelib.times import DAY
from ops import verify
from ops.cli import main
from ops.stage import Stage
from ops.stories import tell
from tests.fakes import NOW, MemoryInbox, as_bytes, consumer, record_of, sqs_record
from tests.packaged import SCHEDULE


def record(ledger: Ledger, event: dict[str, Any], received_at: int = NOW, provider: str = "stripe") -> Event:
    body = as_bytes(event)
    made = PROVIDERS[provider].event(body, received_at)
    message = Message(
        provider=provider, event_id=made.id, subject=made.subject, received_at=received_at, body=body
    )
    consumer(ledger, MemoryInbox()).record(message, NOW + 60_000)
    return made


def paid_by(customer: str, seed: int) -> list[dict[str, Any]]:
    """The events of a payment with refunds."""
    _, events = tell("stripe", random.Random(seed), NOW, 5000, "EUR", story="partial-refunds")
    for event in events:
        event["data"]["object"]["customer"] = customer
    return events


def bodies(ledger: Ledger, subject: str) -> list[bool]:
    return [each.body is not None for each in ledger.events(subject)]


# ── forget ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def customers(stage: Stage) -> dict[str, str]:
    """Two customers with a payment each; the first has other objects too. Their payments' subjects."""
    ledger = stage.ledger()
    subjects = {}
    for seed, customer in enumerate(["cus_1", "cus_2"]):
        for event in paid_by(customer, seed):
            subjects[customer] = record(ledger, event).subject
    person = {"object": "customer", "id": "cus_1", "email": "marked@example.com"}
    invoice = {"object": "invoice", "id": "in_1", "customer": {"object": "customer", "id": "cus_1"}}
    record(ledger, {"id": "evt_customer", "type": "customer.updated", "data": {"object": person}})
    record(ledger, {"id": "evt_invoice", "type": "invoice.paid", "data": {"object": invoice}})
    return subjects


@pytest.fixture
def run(stage: Stage, aws: dict[str, str]) -> Callable[..., tuple[int, str]]:
    def invoke(*arguments: str, input: str | None = None) -> tuple[int, str]:
        result = CliRunner().invoke(main, [*arguments, "--stage", stage.name], env=aws, input=input)
        return result.exit_code, result.stdout

    return invoke


def test_a_forgotten_customer_leaves_totals_and_no_body(
    stage: Stage, customers: dict[str, str], run: Callable[..., tuple[int, str]]
) -> None:
    """Nor of anybody else; the ledger still verifies, and a redelivery is a duplicate as before."""
    ledger = stage.ledger()
    before = {each: ledger.payment(subject).facts for each, subject in customers.items()}
    code, output = run("forget", "--customer", "cus_1", "--yes")
    assert (code, output.splitlines()[0]) == (0, f"cus_1: 1 payments, 9 bodies, in stage {stage.name}")
    written = {"reference", "metadata"}
    assert written <= before["cus_1"]["payment"].keys()
    without = {name: value for name, value in before["cus_1"]["payment"].items() if name not in written}
    before["cus_1"] = {**before["cus_1"], "payment": without}
    assert {each: ledger.payment(subject).facts for each, subject in customers.items()} == before
    assert not any(bodies(ledger, customers["cus_1"]))
    assert all(bodies(ledger, customers["cus_2"]))
    assert bodies(ledger, "stripe:cus_1") == bodies(ledger, "stripe:in_1") == [False]
    items = stage.client("dynamodb").scan(TableName=stage.names.table)["Items"]
    assert "marked@example.com" not in str(items)
    assert run("verify") == (0, "no drift\n")
    assert "partially_refunded" in run("show", customers["cus_1"])[1]
    record(ledger, paid_by("cus_1", 0)[0])
    assert ledger.payment(customers["cus_1"]).facts == before["cus_1"]
    assert run("forget", "--customer", "stripe:cus_1", "--yes")[1].startswith(
        "stripe:cus_1: 1 payments, 0 bod"
    )


def test_it_is_asked_first(
    stage: Stage, customers: dict[str, str], run: Callable[..., tuple[int, str]]
) -> None:
    """And nothing is removed without a yes."""
    assert run("forget", "--customer", "cus_1", input="n\n")[0] == 1
    assert all(bodies(stage.ledger(), customers["cus_1"]))


def test_a_parked_event_of_the_customer_is_told_of_and_kept(
    stage: Stage, customers: dict[str, str], run: Callable[..., tuple[int, str]]
) -> None:
    """It is the only copy of an event that is not recorded yet."""
    ledger = stage.ledger()
    ledger.parking.park(customers["cus_1"], "evt_parked", "the message", 5, NOW)
    code, output = run("forget", "--customer", "cus_1", "--yes")
    assert (code, output.splitlines()[-1]) == (
        3,
        f"parked, and kept: evt_parked of {customers['cus_1']};"
        f" `daybook redrive evt_parked --stage {stage.name}`, then forget again",
    )
    assert len(list(ledger.parking.parked())) == 1


def test_an_event_that_was_parked_before_anything_was_recorded_is_told_of(
    stage: Stage, run: Callable[..., tuple[int, str]]
) -> None:
    """Nothing in the ledger says whose it is but its own body."""
    about = {"object": "charge", "id": "ch_1", "customer": "cus_9"}
    body = as_bytes({"id": "evt_1", "type": "charge.updated", "data": {"object": about}})
    text = Message(
        provider="stripe", event_id="evt_1", subject="stripe:ch_1", received_at=NOW, body=body
    ).encode()
    stage.ledger().parking.park("stripe:ch_1", "evt_1", text, 5, NOW)
    stage.ledger().parking.park("queue:g", "poison", "unreadable", 5, NOW)
    code, output = run("forget", "--customer", "cus_9", "--yes")
    assert (code, output.splitlines()[-1].startswith("parked, and kept: evt_1 of stripe:ch_1")) == (3, True)


def test_a_drift_is_seen_where_bodies_are_gone(stage: Stage, customers: dict[str, str]) -> None:
    """What the others say must be among what is stored."""
    ledger = stage.ledger()
    subject = customers["cus_1"]
    first, *_ = ledger.events(subject)
    ledger.remove_body(subject, first.id)
    assert verify.drift(ledger, subject) is None
    stored = ledger.payment(subject)
    less = {name: fields for name, fields in stored.facts.items() if not name.startswith("refund")}
    ledger.save_payment(record_of(less, replace(stored.outbox, version=stored.version + 1)))
    found = verify.drift(ledger, subject)
    assert found is not None
    assert project(subject, found.folded).refunded == 1200


def test_paypals_payer_is_a_customer(stage: Stage) -> None:
    """Of orders and subscriptions, where it is said."""
    order = {"id": "ORDER1", "payer": {"payer_id": "PAYER1", "email_address": "marked@example.com"}}
    event = {"id": "WH-1", "event_type": "CHECKOUT.ORDER.APPROVED", "resource": order}
    assert record(stage.ledger(), event, provider="paypal").customer == "PAYER1"
    assert list(stage.ledger().of_customer("paypal:PAYER1")) == [("paypal:ORDER1", "event:WH-1")]


# ── expire ──────────────────────────────────────────────────────────────────────────────────────────


def test_bodies_expire_by_the_day_that_they_came_on(stage: Stage) -> None:
    """In time, and as far as there is time; the events stay."""
    ledger = Ledger(stage.aws(), stage.names.table, bodies_expire=True)
    for day in range(4):
        record(ledger, {"id": f"evt_{day}", "type": "x.y"}, NOW - day * DAY)

    def kept() -> list[bool]:
        return [bodies(ledger, f"stripe:evt_{day}")[0] for day in range(4)]

    assert expire(ledger, 3, NOW, lambda: True) == 0
    assert expire(ledger, 1, NOW, lambda: False) == 0
    assert kept() == [True] * 4
    assert expire(ledger, 1, NOW, lambda: True) == 2
    assert kept() == [True, True, False, False]
    assert expire(ledger, 1, NOW, lambda: True) == 0


def test_without_the_setting_nothing_expires(stage: Stage) -> None:
    """Bodies are kept for ever by default."""
    record(stage.ledger(), {"id": "evt_1", "type": "x.y"}, NOW - 300 * DAY)
    assert expire(stage.ledger(), 1, NOW, lambda: True) == 0
    assert read({}).keep_bodies is None
    assert read({"DAYBOOK_KEEP_BODIES": "400"}).keep_bodies == 400
    for wrong in ("0", "-1", "1.5", "a year", "99999"):
        with pytest.raises(ValueError, match="DAYBOOK_KEEP_BODIES must be a number of days"):
            read({"DAYBOOK_KEEP_BODIES": wrong})


def test_the_hourly_function_does_it(daybook: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """As deployed: with the setting, by the schedule."""
    ledger = Ledger(stage.aws(), stage.names.table, bodies_expire=True)
    record(ledger, {"id": "evt_1", "type": "x.y"}, daybook._now() - 40 * DAY)
    monkeypatch.setattr(daybook, "SETTINGS", replace(daybook.SETTINGS, keep_bodies=30))

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 60_000

    daybook.watch(SCHEDULE, Context())
    assert bodies(stage.ledger(), "stripe:evt_1") == [False]


def test_an_event_whose_body_is_gone_holds_nothing_up(stage: Stage) -> None:
    """A raw event that was still to be heard cannot be read any more: it is struck off, and said so."""
    handlers = Handlers()

    @handlers.on("payment.*")
    def listen(payment: Payment, milestone: Milestone) -> None: ...

    @handlers.on("stripe.x.y")
    def hear(event: Event) -> None:
        raise RuntimeError

    ledger = stage.ledger()
    to = replace(consumer(ledger, MemoryInbox()), handlers=handlers)
    body = as_bytes({"id": "evt_1", "type": "x.y"})
    text = Message(
        provider="stripe", event_id="evt_1", subject="stripe:evt_1", received_at=NOW, body=body
    ).encode()
    with pytest.raises(Exception, match="1 subject"):
        to.process([sqs_record(text)], NOW + 60_000)
    ledger.remove_body("stripe:evt_1", "evt_1")
    assert ledger.outbox("stripe:evt_1", "event:evt_1").tasks
    to.process([sqs_record(text, receives=2)], NOW + 60_000)
    assert ledger.outbox("stripe:evt_1", "event:evt_1").tasks == ()
    assert ledger.parking.parked_event("stripe:evt_1", "evt_1") is None
