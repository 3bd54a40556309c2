"""Records that older rules made: read in today's shape, folded anew at their next write."""

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.entries import Outbox, StoredPayment
from chalicelib.inbox import Message
from chalicelib.payments import RULES_VERSION, Facts, Milestone, Payment, project
from chalicelib.payments.conversion import converted
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from tests.fakes import NOW, MemoryLedger, as_bytes, consumer

# as rules of version 1 wrote them
STRIPES: Facts = {
    "payment": {
        "amount": [5, 5000],
        "captured": 5000,
        "captured_at": 5,
        "created_at": 5,
        "currency": ["EUR"],
        "related": ["charge ch_1"],
        "updated_at": 9,
    },
    "charge ch_1": {"amount": [5, 5000], "authorized": 5000, "captured": 5000, "currency": ["EUR"]},
    "refund re_1": {"amount": [9, 400], "charge": ["ch_1"], "currency": ["EUR"], "succeeded_at": 9},
    "total ch_1 400 400": {"charge": ["ch_1"], "total": 400, "step": 400, "sightings": [9]},
    "total ch_1 1200 ?": {"charge": ["ch_1"], "total": 1200, "seen_at": 11, "last_seen_at": 12},
    "dispute dp_1": {
        "amount": [20, 1000],
        "currency": ["EUR"],
        "opened_at": 20,
        "outcome": [30, 2],
        "lost_at": 30,
        "returned": [30, 250],
        "settled_by_refund": [30, False],
    },
    "dispute dp_2": {"opened_at": 20, "settled_by_refund": [20, True]},
}
PAYPALS: Facts = {
    "payment": {"captured": 5000, "captured_at": 5, "currency": ["EUR"]},
    "refund REV1": {"amount": [30, 3000], "currency": ["EUR"], "succeeded_at": 30, "reversal": 1},
    "dispute D1": {
        "amount": [20, 4000],
        "opened_at": 20,
        "outcome": [31, 2],
        "settled_by_refund": [31, True],
    },
}


def test_what_version_1_wrote_is_the_same_payment() -> None:
    """Totals, refunds, a dispute lost in part and an inquiry; at PayPal what a reversal took."""
    payment = project("stripe:pi_1", converted("stripe:pi_1", STRIPES, 1))
    assert (payment.status, payment.currency, payment.amount) == ("charged_back", "EUR", 5000)
    assert (payment.captured, payment.refunded, payment.disputed) == (5000, 1200, 750)
    assert "inquiry.opened" in [milestone.type for milestone in payment.milestones]
    paypals = project("paypal:CAP1", converted("paypal:CAP1", PAYPALS, 1))
    assert (paypals.status, paypals.captured, paypals.disputed) == ("charged_back", 5000, 3000)


def test_todays_facts_are_left() -> None:
    """Those of versions in between have their shape."""
    assert converted("stripe:pi_1", STRIPES, RULES_VERSION) is STRIPES
    assert converted("stripe:pi_1", {"payment": {}, "session cs_1": {}}, 1)


def test_a_dispute_of_version_2_told_what_was_lost_with_its_outcome() -> None:
    """Its claim was its amount; what nothing is said of stays so."""
    lost = {"amount": [3, 500], "currency": [3, "EUR"], "disputed_at": 2, "outcome": [3, 2, 400]}
    paid = {"priced": [1, 1, 900, "EUR"], "captured": [[900, 1]]}
    facts: Facts = {"payment": paid, "dispute dp_1": lost, "dispute dp_2": {"created_at": 1}}
    read = converted("paypal:CAP1", facts, 2)
    assert read["dispute dp_1"]["outcome"] == [3, 2]
    assert read["dispute dp_1"]["lost"] == [3, 400]
    assert read["dispute dp_1"]["claimed"] == [3, 2, 500]
    assert read["dispute dp_2"] == {"created_at": 1}
    assert (read["payment"], project("paypal:CAP1", read).captured) == (paid, 900)


def message(number: int, type_: str, about: dict[str, Any]) -> Message:
    about = {"currency": "eur", "payment_intent": "pi_1", **about}
    event = {
        "id": f"evt_{number}",
        "type": type_,
        "created": 1_795_400_000 + number,
        "data": {"object": about},
    }
    return Message(
        provider="stripe",
        event_id=f"evt_{number}",
        subject="stripe:pi_1",
        received_at=NOW,
        body=as_bytes(event),
    )


CHARGE = {"object": "charge", "id": "ch_1", "amount": 5000, "amount_captured": 5000, "status": "succeeded"}
REFUND = {"object": "refund", "charge": "ch_1", "status": "succeeded"}


@pytest.mark.parametrize("has_bodies", [True, False])
def test_a_record_of_older_rules_is_made_anew_at_its_next_write(has_bodies: bool) -> None:
    """From its events where they are kept, else from its facts; what was notified by then is no news."""
    ledger: Any = MemoryLedger()
    inbox: Any = None
    notified: list[tuple[str, int | None]] = []
    handlers = Handlers()

    @handlers.on("payment.*")
    def listen(payment: Payment, milestone: Milestone) -> None:
        notified.append((milestone.type, milestone.amount))

    to = consumer(ledger, inbox, handlers=handlers)
    refund = {**REFUND, "id": "re_1", "amount": 400}
    for each in (message(1, "charge.succeeded", CHARGE), message(2, "refund.created", refund)):
        to.record(each, NOW + 60_000)
    notified.clear()
    old: Facts = {
        "payment": {"captured": 5000, "captured_at": 1, "currency": ["EUR"]},
        "refund re_1": {"amount": [2, 400], "charge": ["ch_1"], "currency": ["EUR"], "succeeded_at": 2},
    }
    outbox = Outbox("stripe:pi_1", "payment", 2)
    facts = converted("stripe:pi_1", old, 1)
    ledger.kept["stripe:pi_1"] = StoredPayment(facts=facts, outbox=outbox, rules=1)
    if not has_bodies:
        ledger.stored = {key: (replace(event, body=None), own) for key, (event, own) in ledger.stored.items()}
    assert ledger.payment("stripe:pi_1").is_outdated
    to.record(message(3, "refund.created", {**REFUND, "id": "re_2", "amount": 800}), NOW + 60_000)
    stored = ledger.payment("stripe:pi_1")
    assert not stored.is_outdated
    payment = project("stripe:pi_1", stored.facts)
    assert (payment.captured, payment.refunded) == (5000, 1200)
    assert ("charge ch_1" in stored.facts) == has_bodies
    assert notified == [("payment.refunded", 800)]


def test_a_refund_that_waits_by_todays_rules_was_notified_by_those() -> None:
    """Its charge's capture came after the upgrade: it counts then, and is not notified again."""
    ledger: Any = MemoryLedger()
    inbox: Any = None
    notified: list[str] = []
    handlers = Handlers()

    @handlers.on("payment.*")
    def listen(payment: Payment, milestone: Milestone) -> None:
        notified.append(milestone.type)

    to = consumer(ledger, inbox, handlers=handlers)
    to.record(message(2, "refund.created", {**REFUND, "id": "re_1", "amount": 400}), NOW + 60_000)
    assert notified == []
    old: Facts = {"refund re_1": {"amount": [2, 400], "charge": ["ch_1"], "succeeded_at": 2}}
    facts = converted("stripe:pi_1", old, 1)
    ledger.kept["stripe:pi_1"] = StoredPayment(
        facts=facts, outbox=Outbox("stripe:pi_1", "payment", 1), rules=1
    )
    to.record(message(1, "charge.succeeded", CHARGE), NOW + 60_000)
    assert project("stripe:pi_1", ledger.payment("stripe:pi_1").facts).refunded == 400
    assert notified == ["payment.succeeded", "payment.captured"]


def test_providers_are_known_to_the_conversion() -> None:
    """Version 1 was written for these two alone."""
    assert set(PROVIDERS) == {"stripe", "paypal"}
