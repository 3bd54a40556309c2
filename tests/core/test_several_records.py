"""An event about several records: one home, a pointer beside each other one, all in one transaction."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from chalicelib.errors import HandlerFailed, HandlersBusy, VersionMoved
from chalicelib.events import Event
from chalicelib.folding import folded
from chalicelib.inbox import Message
from chalicelib.parking import ParkedEvent
from chalicelib.payments import Milestone, Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.recording import Consumer
from ops.forget import traces
from ops.redrive import Redrive
from ops.replay import choose, replay
from tests.fakes import NOW, Clock, MemoryInbox, MemoryLedger, as_bytes, consumer, sqs_record

MINUTE = 60_000
FIRST, SECOND = "paypal:CAPA", "paypal:CAPB"


def capture(name: str, value: str) -> dict[str, Any]:
    resource = {"id": name, "amount": {"value": value, "currency_code": "EUR"}, "status": "COMPLETED"}
    return {"id": f"WH-{name}", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": resource}


def case(word: str, *gross: str | None, event_id: str = "WH-CASE", **fields: Any) -> dict[str, Any]:
    """A case over both captures, with what it says of each one's own amount."""
    transactions = [
        {"seller_transaction_id": name, **({"gross_amount": euros(value)} if value else {})}
        for name, value in zip(("CAPA", "CAPB"), gross, strict=True)
    ]
    resource = {
        "dispute_id": "PP-D-1",
        "disputed_transactions": transactions,
        "dispute_amount": euros("80.00"),
        "status": "OPEN",
        **fields,
    }
    return {"id": event_id, "event_type": f"CUSTOMER.DISPUTE.{word}", "resource": resource}


def euros(value: str) -> dict[str, str]:
    return {"value": value, "currency_code": "EUR"}


LOST = {
    "status": "RESOLVED",
    "dispute_outcome": {"outcome_code": "RESOLVED_BUYER_FAVOUR", "amount_refunded": euros("60.00")},
}
EVENTS = (capture("CAPA", "50.00"), capture("CAPB", "30.00"), case("CREATED", "50.00", "30.00"))


def message(event: dict[str, Any]) -> Message:
    body = as_bytes({"create_time": "2026-11-24T10:00:00Z", **event})
    made = PROVIDERS["paypal"].event(body, NOW)
    return Message.of(made, body)


def to_ledger(ledger: Any, heard: list[str] | None = None) -> Consumer:
    """A consumer whose handlers write down what they are notified of."""
    handlers = Handlers()

    @handlers.on("dispute.*")
    def listen(payment: Payment, milestone: Milestone) -> None:
        if heard is not None:
            heard.append(milestone.id)

    @handlers.on("paypal.CUSTOMER.DISPUTE.CREATED")
    def raw(event: Event) -> None:
        if heard is not None:
            heard.append(event.id)

    inbox: Any = None
    return consumer(ledger, inbox, handlers=handlers)


def disputed(ledger: Any) -> list[tuple[str, int]]:
    shown = (project(subject, ledger.payment(subject).facts) for subject in (FIRST, SECOND))
    return [(payment.status, payment.disputed) for payment in shown]


@pytest.mark.parametrize("order", list(permutations(EVENTS)))
def test_each_record_has_its_part_in_any_order(order: tuple[dict[str, Any], ...]) -> None:
    """Recorded once, each record the fold of its events, everything notified once."""
    ledger, heard = MemoryLedger(), []  # type: ignore[var-annotated]
    to = to_ledger(ledger, heard)
    for event in (*order, *order):
        to.record(message(event), NOW + MINUTE)
    assert disputed(ledger) == [("disputed", 5000), ("disputed", 3000)]
    opened = [f"{subject}/dispute.opened/PP-D-1" for subject in (FIRST, SECOND)]
    assert sorted(heard) == sorted([*opened, "WH-CASE"])
    assert [each.id for each in ledger.events(SECOND)] == ["WH-CAPB", "WH-CASE"]
    assert {each.subject for each in ledger.events(SECOND)} == {
        FIRST,
        SECOND,
    }  # a case is at home with the first
    table: Any = ledger
    for subject in (FIRST, SECOND):
        assert folded(table, PROVIDERS, subject, {}) == ledger.payment(subject).facts


@pytest.mark.parametrize(
    ("gross", "parts"),
    [
        (("50.00", "30.00"), [5000, 3000]),
        (("60.00", "60.00"), [6000, 2000]),
        (("10.00", "10.00"), [1000, 7000]),  # what is left over is the last one's
        ((None, None), [8000, 8000]),
    ],
)
def test_a_case_is_spread_by_the_transactions_own_amounts(
    gross: tuple[str | None, str | None], parts: list[int]
) -> None:
    """In their order; PayPal does not say how it splits."""
    ledger = MemoryLedger()
    to_ledger(ledger).record(message(case("CREATED", *gross)), NOW + MINUTE)
    assert [amount for _, amount in disputed(ledger)] == parts


@pytest.mark.parametrize("order", list(permutations((*EVENTS[:2], case("CREATED", None, None)))))
def test_without_those_it_takes_at_most_what_was_captured_of_each(order: tuple[dict[str, Any], ...]) -> None:
    """Which is exact where all of the transactions are disputed. Lost, and what PayPal took, likewise."""
    ledger = MemoryLedger()
    to = to_ledger(ledger)
    for event in order:
        to.record(message(event), NOW + MINUTE)
    assert disputed(ledger) == [("disputed", 5000), ("disputed", 3000)]
    to.record(message(case("RESOLVED", None, None, event_id="WH-LOST", **LOST)), NOW + MINUTE)
    assert disputed(ledger) == [("charged_back", 5000), ("charged_back", 3000)]
    reversal = {
        "id": "REV",
        "amount": euros("30.00"),
        "links": [{"rel": "up", "href": "https://api.paypal.com/v2/payments/captures/CAPB"}],
    }
    to.record(
        message({"id": "WH-R", "event_type": "PAYMENT.CAPTURE.REVERSED", "resource": reversal}), NOW + MINUTE
    )
    assert disputed(ledger) == [("charged_back", 5000), ("charged_back", 3000)]


def test_what_the_items_are_disputed_for_comes_first() -> None:
    items = [{"items": [{"dispute_amount": euros("20.00")}]}, {"items": [{"dispute_amount": euros("30.00")}]}]
    made = case("CREATED", "50.00", "30.00", dispute_amount=euros("50.00"))
    for transaction, some in zip(made["resource"]["disputed_transactions"], items, strict=True):
        transaction.update(some)
    ledger = MemoryLedger()
    to_ledger(ledger).record(message(made), NOW + MINUTE)
    assert [amount for _, amount in disputed(ledger)] == [2000, 3000]


def test_what_was_lost_is_spread_alike() -> None:
    """60.00 of 80.00: 50.00 of the first, and 10.00 of the second."""
    ledger = MemoryLedger()
    to = to_ledger(ledger)
    for event in (*EVENTS, case("RESOLVED", "50.00", "30.00", event_id="WH-END", **LOST)):
        to.record(message(event), NOW + MINUTE)
    assert disputed(ledger) == [("charged_back", 5000), ("charged_back", 1000)]


def test_an_amount_in_another_currency_limits_nothing() -> None:
    """It cannot be held against the case's."""
    event = case("CREATED", "50.00", "30.00")
    event["resource"]["disputed_transactions"][0]["gross_amount"] = {"value": "1.00", "currency_code": "USD"}
    ledger = MemoryLedger()
    to_ledger(ledger).record(message(event), NOW + MINUTE)
    assert [amount for _, amount in disputed(ledger)] == [8000, 8000]


class Moves(MemoryLedger):
    """One of whose payments is written by somebody else right before an event is saved, so many times."""

    def __init__(self, subject: str, times: int) -> None:
        super().__init__()
        self.left, self._subject = times, subject

    def save(self, write: Any) -> None:
        if self.left and any(record.subject == self._subject for record in write.records):
            self.left -= 1
            self.write_outbox(self.payment(self._subject).outbox)
        super().save(write)


@pytest.mark.parametrize("subject", [FIRST, SECOND])
def test_a_record_that_moved_is_read_again(subject: str) -> None:
    """Either of them: nothing of the event is written until both stand still."""
    ledger = Moves(subject, 0)
    to = to_ledger(ledger)
    for event in EVENTS[:2]:
        to.record(message(event), NOW + MINUTE)
    ledger.left = 3
    to.record(message(EVENTS[2]), NOW + MINUTE)
    assert disputed(ledger) == [("disputed", 5000), ("disputed", 3000)]
    ledger.left = 99
    end = message(case("RESOLVED", "50.00", "30.00", event_id="WH-END", **LOST))
    with pytest.raises(VersionMoved):
        to.record(end, NOW + MINUTE)
    assert disputed(ledger) == [("disputed", 5000), ("disputed", 3000)]
    assert ledger.event(FIRST, "WH-END") is ledger.event(SECOND, "WH-END") is None


def test_handlers_that_another_one_runs_are_left_to_it() -> None:
    """The event is recorded with both; what is left runs at its next delivery, once."""
    ledger, heard = MemoryLedger(), []  # type: ignore[var-annotated]
    to = to_ledger(ledger, heard)

    def slow(payment: Payment, milestone: Milestone) -> None:
        with pytest.raises(HandlersBusy):
            to.record(message(EVENTS[2]), NOW + MINUTE)

    to.handlers.on("payment.succeeded")(slow)
    to.record(message(EVENTS[1]), NOW + MINUTE)
    assert disputed(ledger)[1] == ("disputed", 3000)
    assert ledger.outbox(FIRST, "payment").leased_until == 0  # those of the one that is not busy ran
    for _ in range(2):
        to.record(message(EVENTS[2]), NOW + MINUTE)
    assert sorted(heard) == sorted(
        [*(f"{subject}/dispute.opened/PP-D-1" for subject in (FIRST, SECOND)), "WH-CASE"]
    )


def test_a_handler_that_fails_keeps_no_other_records_from_running() -> None:
    """Nor does a replay forget what it left: it runs what is left of all of the event's records."""
    ledger, heard = MemoryLedger(), []  # type: ignore[var-annotated]
    to = to_ledger(ledger, heard)
    is_broken = True

    def fails_for_the_first(payment: Payment, milestone: Milestone) -> None:
        if payment.id == FIRST and is_broken:
            raise RuntimeError

    to.handlers.on("dispute.opened")(fails_for_the_first)
    with pytest.raises(HandlerFailed):
        to.record(message(EVENTS[2]), NOW + MINUTE)
    assert f"{SECOND}/dispute.opened/PP-D-1" in heard
    assert not ledger.outbox(SECOND, "payment").tasks
    is_broken = False
    chosen = choose(to, "WH-CASE")
    assert replay(to, chosen, False, NOW + MINUTE) == 2  # the one that failed, and the raw one after it
    assert not ledger.outbox(FIRST, "payment").tasks
    assert replay(to, chosen, True, NOW + MINUTE) == 5  # two handlers of each milestone, one of the raw event


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_a_batch_records_it_with_the_others(order: tuple[int, ...]) -> None:
    """It is recorded by itself: two writes of one payment cannot be in one transaction."""
    ledger: Any = MemoryLedger()
    heard: list[str] = []
    inbox: Any = MemoryInbox()
    told = [message(each) for each in (*EVENTS, capture("CAPC", "10.00"))]
    records = [sqs_record(each.encode(), each.subject, receipt=each.event_id) for each in told]
    to = replace(to_ledger(ledger, heard), inbox=inbox)
    to.handlers.on("payment.*")(lambda payment, milestone: heard.append(milestone.id))
    to.process([records[n] for n in order], NOW + MINUTE)
    assert disputed(ledger) == [("disputed", 5000), ("disputed", 3000)]
    assert len(heard) == len({*heard}) == 9


def test_what_a_parked_case_would_change_is_said_of_each_record() -> None:
    """An event of several: of the others by their names."""
    ledger: Any = MemoryLedger()
    inbox: Any = MemoryInbox()
    told = message(EVENTS[2])
    parked = ParkedEvent(
        subject=told.subject,
        event_id=told.event_id,
        reason="ValueError",
        attempts=5,
        parked_at=NOW,
        message=told.encode(),
    )
    lines = list(Redrive(ledger, inbox, Clock()).preview(parked))
    assert "disputed: 0 becomes 5000" in lines
    assert f"{SECOND} disputed: 0 becomes 3000" in lines
    assert f"{SECOND} reaches dispute.opened" in lines


def test_forgetting_finds_the_body_where_it_is() -> None:
    """Under the event's home, though it is the other payment's customer who is forgotten."""
    ledger = MemoryLedger()
    to = to_ledger(ledger)
    for event in EVENTS:
        to.record(message(event), NOW + MINUTE)

    class Listed:
        """The ledger, with what its index by customer would say."""

        def __getattr__(self, name: str) -> Any:
            return getattr(ledger, name)

        def of_customer(self, customer: str) -> list[tuple[str, str]]:
            return [(SECOND, "payment")]

    listed: Any = Listed()
    assert set(traces(listed, "paypal:PAYER").events) == {(SECOND, "WH-CAPB"), (FIRST, "WH-CASE")}
