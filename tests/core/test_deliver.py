"""The fixture that users test their handlers with, on a shop's handlers."""

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.payments import Milestone, Payment
from chalicelib.reactions import Handler, registered
from ops.testing import Deliver


@pytest.fixture(autouse=True)
def of_the_shop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the user's: they are for the user's own tests."""
    monkeypatch.setattr("ops.testing.MODULE", "tests.shop")


def test_what_handlers_were_notified_of_is_returned(deliver: Deliver) -> None:
    """By each call that of its own deliveries; of raw events too."""
    first = deliver("stripe", story="checkout", amount=1999, currency="USD")
    second = deliver("paypal", type="PAYMENT.CAPTURE.COMPLETED")
    raw = deliver("stripe", type="customer.subscription.deleted")
    assert [(each.handler, each.type) for each in (*first, *second, *raw)] == [
        ("ship", "payment.succeeded"),
        ("ship", "payment.succeeded"),
        ("end", "stripe.customer.subscription.deleted"),
    ]
    [shipped] = first.of("ship")
    assert shipped.payment is not None
    assert (shipped.payment.captured, shipped.payment.currency) == (1999, "USD")
    assert deliver.ledger.payment(shipped.payment.id).version
    assert raw[0].event is not None


def test_an_event_of_ones_own_is_delivered_once(deliver: Deliver) -> None:
    """However often; and what is refused is said."""
    about = {"object": "payment_intent", "id": "pi_1", "currency": "eur", "amount_received": 5, "amount": 5}
    event = {
        "id": "evt_1",
        "type": "payment_intent.succeeded",
        "created": 1,
        "data": {"object": {**about, "status": "succeeded"}},
    }
    assert len(deliver.events("stripe", event, event)) == 1
    assert deliver.events("stripe", event) == []
    with pytest.raises(ValueError, match="refused, 400"):
        deliver.events("stripe", {"type": "without.an.id"})


@pytest.mark.parametrize("wrong", ["payment_intent.suceeded", "PAYMENT.CAPTURE.COMPLETED", "nonsense"])
def test_a_mistyped_type_is_no_silence(deliver: Deliver, wrong: str) -> None:
    """A test that expects nothing would pass for the wrong reason."""
    with pytest.raises(ValueError, match=wrong):
        deliver("stripe", type=wrong)


def test_what_is_raised_is_of_its_own_delivery(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what an earlier one raised, and the test expected."""

    def refuse(payment: Payment, milestone: Milestone) -> None:
        raise OSError(payment.id)

    failing = deliver.listening(Handler("refuse", ("payment.succeeded",), refuse))
    monkeypatch.setattr(deliver.app, "handlers_of", lambda *_: type(deliver.handlers)([failing]))
    said = []
    for provider in ("stripe", "paypal"):
        with pytest.raises(OSError, match=f"^{provider}:") as raised:
            deliver(provider, story="checkout")
        said.append(str(raised.value))
    assert len({*said}) == 2


def test_no_test_reaches_aws(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler whose client nobody replaced fails at once, whatever the shell's credentials are."""

    def mail(payment: Payment, milestone: Milestone) -> None:
        boto3.client("sesv2").send_email(Content={})

    before = list(registered)
    mailing = deliver.listening(Handler("mail", ("payment.succeeded",), mail))
    monkeypatch.setattr(deliver.app, "handlers_of", lambda *_: type(deliver.handlers)([mailing]))
    with pytest.raises(EndpointConnectionError, match=r"127\.0\.0\.1:9"):
        deliver("stripe", story="checkout")
    assert list(registered) == before
