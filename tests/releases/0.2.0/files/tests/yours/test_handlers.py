"""Yours: tests of ``chalicelib/handlers.py``. What is here shows how; ``docs/handlers.md`` says more."""

from ops.testing import Deliver


def test_an_order_is_shipped_once(deliver: Deliver) -> None:
    """With its reference and amount; the milestone's id tells one run from another."""
    notified = deliver("stripe", story="checkout", metadata={"order_id": "1001"})
    [shipped] = notified.of("fulfil")
    assert shipped.payment is not None
    assert shipped.milestone is not None
    assert (shipped.payment.reference, shipped.payment.captured) == ("1001", 5000)
    assert shipped.milestone.id == f"{shipped.payment.id}/payment.succeeded"


def test_a_refund_is_noted_with_its_own_amount(deliver: Deliver) -> None:
    """One call for each."""
    notified = deliver("paypal", story="partial-refunds", metadata={"order_id": "1002"})
    assert [each.milestone and each.milestone.amount for each in notified.of("note_refund")] == [400, 800]
