"""What is sent of a milestone or of an event, however much there is of it."""

import json
from dataclasses import replace

from chalicelib import notification, payouts
from chalicelib.payments import Milestone, project
from tests.fakes import an_event

REACHED = Milestone(id="stripe:pi_1/payment.succeeded", type="payment.succeeded", at="2026-11-24T10:00:00Z")


def test_one_that_is_too_large_is_sent_without_what_is_not_its_own() -> None:
    """Nothing that takes it would take it as a whole, ever: the payment and the milestone are there."""
    many = tuple(replace(REACHED, id=f"stripe:pi_1/payment.refunded/re_{n}") for n in range(4000))
    payment = replace(project("stripe:pi_1", {}), milestones=many, related={"refund": ["re_1"] * 9})
    sent = notification.of_milestone(payment, REACHED)
    assert len(json.dumps(sent)) < notification.LARGEST
    assert sent["milestone"] == REACHED.to_dict()
    assert sent["payment"]["milestones"] == [REACHED.to_dict()]
    assert sent["payment"]["related"] == {}


def test_a_large_event_is_sent_without_its_content() -> None:
    """It can be looked up by its id."""
    event = an_event(payload={"id": "evt_1", "data": "x" * notification.LARGEST}, is_replay=True)
    assert notification.of_event(event) == {"id": "evt_1", "subject": "stripe:pi_1", "replay": True}


def test_a_payout_has_its_own_name() -> None:
    """As a subscription has."""
    payout = payouts.project("stripe:po_1", {"payout": {}})
    assert set(notification.of_milestone(payout, REACHED)) == {"payout", "milestone"}
