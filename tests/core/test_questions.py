"""How much a holder of one real delivery can make us ask and keep."""

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.aside import digest
from chalicelib.errors import BatchFailed, Distrusted, NotAllowed, NotShown, NotUnderstood, Unavailable
from chalicelib.events import Event
from chalicelib.inbox import Message
from chalicelib.payments import project
from chalicelib.providers import paypal
from chalicelib.questions import IN_VAIN
from chalicelib.reactions import Handlers
from chalicelib.transmissions import MOST_COPIES, MOST_QUESTIONS
from tests.core.test_holder import Shown, questions
from tests.fakes import NOW, Clock, MemoryInbox, MemoryLedger, as_bytes, consumer, sqs_record

PATH = "/v2/payments/captures/2GG"
CAPTURE = {"id": "2GG", "status": "COMPLETED", "amount": {"value": "30.00", "currency_code": "EUR"}}


def message(event_id: str = "WH-1", transmission: str | None = "T", **resource: Any) -> Message:
    event = {
        "id": event_id,
        "event_type": "PAYMENT.CAPTURE.COMPLETED",
        "create_time": "2026-11-24T00:00:00Z",
        "resource": {**CAPTURE, **resource},
    }
    return Message.of(paypal.event(as_bytes(event), NOW), as_bytes(event), transmission)


def event_of(sent: Message) -> Event:
    return paypal.event(sent.body, NOW)


class Asked:
    """A consumer that asks a PayPal which knows one capture of 30.00."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ledger: Any = MemoryLedger()
        self.inbox: Any = MemoryInbox()
        self.api = Shown({PATH: CAPTURE}, self.clock)
        self.questions = questions(self.api, self.ledger, self.clock)
        self.to = replace(consumer(self.ledger, self.inbox), complete=self.questions.complete)

    def take(self, *sent: Message, receives: int = 1) -> None:
        self.to.process([sqs_record(each.encode(), each.subject, receives) for each in sent], NOW)


@pytest.fixture
def at() -> Asked:
    return Asked()


def test_another_body_of_a_known_transmission_is_not_asked_about(at: Asked) -> None:
    """Nor is PayPal asked again for the body that it stands for, in vain or not."""
    at.take(message())
    at.take(message("WH-2", amount={"value": "30000.00", "currency_code": "EUR"}))
    assert at.api.asked == [PATH]
    assert [each.reason for each in at.ledger.parking.parked()] == ["tampered"]


def test_one_transmission_has_a_few_questions(at: Asked) -> None:
    """Contradicted, or not shown; then what comes by it is set aside unasked, and can be redriven."""
    for n in range(MOST_QUESTIONS):
        lie = message(id=f"NO{n}") if n % 2 else message(amount=None)
        with pytest.raises((Distrusted, NotShown)):
            at.questions.complete(event_of(lie), lie)
    genuine = message()
    at.take(genuine)
    assert len(at.api.asked) == MOST_QUESTIONS
    assert [each.reason for each in at.ledger.parking.parked()] == ["unconfirmed"]
    at.take(replace(genuine, is_redriven=True, is_distrusted=True))
    assert project("paypal:2GG", at.ledger.payment("paypal:2GG").facts).captured == 3000


def test_a_process_asks_in_vain_so_often_an_hour(at: Asked) -> None:
    """Then what comes by a transmission that was asked about in vain before waits; others do not."""
    at.api.shown_at = {}
    for n in range(IN_VAIN):
        lie = message(transmission=f"T{n}")
        with pytest.raises(NotShown):
            at.questions.complete(event_of(lie), lie)
    at.api.shown_at = {PATH: CAPTURE}
    with pytest.raises(BatchFailed):
        at.take(message(transmission="T1"))
    assert len(at.api.asked) == IN_VAIN
    at.take(replace(message("WH-2", "T2"), is_redriven=True))  # a person wants to know
    at.take(message("WH-3", "T"))  # nobody has made anything of this one
    assert len(at.api.asked) == IN_VAIN + 2
    at.clock.now += 3_600_000
    at.take(message(transmission="T1"))
    assert at.ledger.payment("paypal:2GG").version == 3


@pytest.mark.parametrize("outage", [Unavailable, NotUnderstood, NotAllowed])
def test_no_answer_is_asked_for_without_end(at: Asked, outage: type[Unavailable]) -> None:
    """Whatever is wrong with it; and one transmission's questions are not another's."""

    def get(path: str) -> dict[str, Any]:
        at.api.asked.append(path)
        raise outage("no")

    at.api.get = get  # type: ignore[method-assign]
    for _ in range(3 * MOST_QUESTIONS):
        with pytest.raises((Distrusted, Unavailable)):
            at.questions.complete(event_of(message()), message())
    assert len(at.api.asked) == MOST_QUESTIONS
    other = message(transmission="T2")
    with pytest.raises(outage):
        at.questions.complete(event_of(other), other)


def test_an_answer_rests_nobody(at: Asked) -> None:
    """That PayPal does not show something, however slowly, says nothing of what it will show."""

    def slow(path: str) -> dict[str, Any]:
        at.clock.now += 2_000
        return at.api.shown_at.get(path, {})

    at.api.get = slow  # type: ignore[method-assign]
    lie = message("WH-2", "T2", id="NONE")
    with pytest.raises(NotShown):
        at.questions.complete(event_of(lie), lie)
    assert at.questions.complete(event_of(message()), message()).is_confirmed


def test_what_a_batch_distrusts_is_asked_about_once(at: Asked) -> None:
    """Also where it was to be recorded together with others."""
    other = "/v2/payments/captures/3GG"
    at.api.shown_at[other] = {**CAPTURE, "id": "3GG"}
    at.take(message(), message("WH-2", "T2", id="3GG", amount=None))
    assert (at.api.asked.count(PATH), at.api.asked.count(other)) == (1, 1)


def test_one_transmission_fills_no_ledger(at: Asked) -> None:
    """Of a thousand bodies under it some are kept as evidence; the rest is counted."""
    at.take(message())
    for n in range(1000):
        at.take(message(f"WH-X{n}", note="x" * 1000))
    assert len(list(at.ledger.parking.parked())) == MOST_COPIES
    assert at.ledger.transmissions.kept["T"] == 1000
    assert len(at.api.asked) == 1


def test_what_never_came_right_fills_no_ledger_either(at: Asked) -> None:
    """Dead letters by one transmission; another body takes no place of one that is set aside already."""
    dead = [sqs_record(message(f"WH-{n}", id="3GG").encode(), "g", 6) for n in range(100)]
    at.to.park(dead, NOW)
    assert len(list(at.ledger.parking.parked())) == MOST_COPIES
    other = Asked()
    same = [message(id="3GG", note=str(n)) for n in range(3)]
    other.to.park([sqs_record(each.encode(), "g", 6) for each in same], NOW)
    kept = {Message.decode(each.message).body for each in other.ledger.parking.parked()}
    assert kept == {each.body for each in same}
    other.to.park([sqs_record(replace(same[0], is_redriven=True).encode(), "g", 6)], NOW)
    assert len(list(other.ledger.parking.parked())) == 4  # what was redriven is kept in any case


def test_what_was_distrusted_counts_only_if_its_provider_says_so(at: Asked) -> None:
    """Where the provider cannot be asked any more it is set aside again, whatever was forgotten meanwhile."""
    redriven = replace(message(), is_redriven=True, is_distrusted=True)
    consumer(at.ledger, at.inbox).process([sqs_record(redriven.encode())], NOW)
    assert [each.reason for each in at.ledger.parking.parked()] == ["unconfirmed"]
    assert at.ledger.payment("paypal:2GG").version == 0
    at.take(redriven)
    assert at.ledger.payment("paypal:2GG").version == 1


def test_an_id_that_something_else_has_taken_keeps_nothing_genuine_out(at: Asked) -> None:
    """What PayPal bears out is recorded beside it, under an id of its own, once."""
    order = {"id": "WH-1", "event_type": "CHECKOUT.ORDER.APPROVED", "resource": {"id": "ORDER"}}
    at.take(Message.of(paypal.event(as_bytes(order), NOW), as_bytes(order), "T"))
    genuine = message()
    at.take(genuine)
    [parked] = at.ledger.parking.parked()
    assert parked.reason == "tampered"
    for _ in range(2):
        at.take(replace(genuine, is_redriven=True, is_distrusted=True))
    assert project("paypal:2GG", at.ledger.payment("paypal:2GG").facts).captured == 3000
    assert len(list(at.ledger.events("paypal:2GG"))) == 1


def test_a_forgery_of_a_fallback_id_keeps_nothing_out_either(at: Asked) -> None:
    """No provider's id can be the one that what is borne out is recorded under."""
    genuine = message()
    for taken in ("WH-1", f"WH-1:{digest(genuine.body)}"):
        order = {"id": taken, "event_type": "CHECKOUT.ORDER.APPROVED", "resource": {"id": "ORDER"}}
        at.take(Message.of(paypal.event(as_bytes(order), NOW), as_bytes(order), f"T {taken}"))
    at.take(replace(genuine, is_redriven=True, is_distrusted=True))
    assert project("paypal:2GG", at.ledger.payment("paypal:2GG").facts).captured == 3000


def test_another_resource_version_excuses_nothing(at: Asked) -> None:
    """Of PayPal's events one has one content: what differs is set aside, also if both say much the same."""
    first = {"id": "WH-1", "event_type": "CHECKOUT.ORDER.APPROVED", "resource": {"id": "ORDER"}}
    at.take(Message.of(paypal.event(as_bytes(first), NOW), as_bytes(first), "T1"))
    other = {**first, "resource_version": "2.0", "resource": {"id": "ORDER", "custom_id": "x"}}
    at.take(Message.of(paypal.event(as_bytes(other), NOW), as_bytes(other), "T2"))
    assert [each.reason for each in at.ledger.parking.parked()] == ["tampered"]


def test_a_duplicate_of_what_was_completed_is_a_duplicate(at: Asked) -> None:
    """It is held against what came, not against what PayPal showed of it."""
    at.api.shown_at[PATH] = {**CAPTURE, "custom_id": "1001"}
    at.take(message(), receives=1)
    at.take(message(transmission="T2"))
    assert list(at.ledger.parking.parked()) == []
    [event] = at.ledger.events("paypal:2GG")
    assert b"1001" in event.completed


def test_handlers_read_what_paypal_shows(at: Asked) -> None:
    """An order's id that only the body names is nobody's."""
    seen: list[Any] = []
    handlers = Handlers()
    handlers.on("paypal.PAYMENT.CAPTURE.COMPLETED")(lambda event: seen.append(event.payload))
    to = replace(at.to, handlers=handlers)
    forged = message(custom_id="ORDER-OF-SOMEBODY-ELSE", invoice_id="X")
    to.process([sqs_record(forged.encode(), forged.subject)], NOW)
    [payload] = seen
    assert payload["resource"] == CAPTURE
