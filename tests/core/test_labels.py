"""Which order a payment is of: what of people's words is kept, which is the reference, who waits for it."""

import random
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from chalicelib.folding import folded
from chalicelib.inbox import Message
from chalicelib.payments import Labels, Payment, fold, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.settings import read
from tests.fakes import NOW, MemoryLedger, as_bytes, consumer, facts_of_event

Json = dict[str, Any]
STRIPE, PAYPAL = "stripe:pi_1", "paypal:2GG"


def stripes(kind: str, at: int = 0, **about: Any) -> Json:
    names = {"payment_intent": {"id": "pi_1"}, "charge": {"id": "ch_1", "payment_intent": "pi_1"}}
    named = names.get(kind, {"id": "cs_1", "payment_intent": "pi_1"})
    money = {"currency": "eur", "amount": 5000, "amount_total": 5000}
    return {
        "id": f"evt_{kind}_{at}",
        "type": f"{kind}.updated",
        "created": NOW // 1000 + at,
        "data": {"object": {"object": kind, **named, **money, **about}},
    }


def paypals(type_: str, **resource: Any) -> Json:
    amount = {"value": "50.00", "currency_code": "EUR"}
    about = {"id": "2GG", "amount": amount, **resource}
    return {
        "id": f"WH-{type_}",
        "event_type": type_,
        "create_time": "2026-11-24T00:00:00Z",
        "resource": about,
    }


def shown(subject: str, *events: Json) -> Payment:
    provider = subject.partition(":")[0]
    read_ = [PROVIDERS[provider].event(as_bytes(each), NOW) for each in events]
    return project(subject, fold(facts_of_event(each) for each in read_))


@pytest.mark.parametrize(
    ("event", "reference"),
    [
        (stripes("payment_intent", metadata={"order_id": "1001"}), "1001"),
        (stripes("charge", metadata={"order_id": "1001"}), "1001"),
        (stripes("checkout.session", client_reference_id="1001"), "1001"),
        (stripes("checkout.session", client_reference_id="c", metadata={"order_id": "1001"}), "1001"),
        (stripes("checkout.session", client_reference_id="1001", metadata={"user_id": "7"}), "1001"),
        (stripes("payment_intent", metadata={"user_id": "7"}), "7"),
        (stripes("payment_intent", metadata={"other": "x", "order_id": ""}), None),
        (stripes("payment_intent", metadata={"order_id": 7, "user_id": "x" * 501}), None),
        (stripes("payment_intent", metadata=None), None),
    ],
)
def test_stripes_words_for_an_order(event: Json, reference: str | None) -> None:
    """The order's before the user's, of the intent, the charge or the session."""
    assert shown(STRIPE, event).reference == reference


@pytest.mark.parametrize(
    ("event", "reference"),
    [
        (paypals("PAYMENT.CAPTURE.COMPLETED", custom_id="1001", invoice_id="I"), "1001"),
        (paypals("PAYMENT.CAPTURE.PENDING", invoice_id="1001"), "1001"),
        (paypals("PAYMENT.AUTHORIZATION.CREATED", custom_id="1001"), "1001"),
        (
            paypals("PAYMENT.SALE.COMPLETED", custom="1001", amount={"total": "1.00", "currency": "EUR"}),
            "1001",
        ),
        (paypals("PAYMENT.SALE.COMPLETED", invoice_number="1001"), "1001"),
        (paypals("PAYMENT.CAPTURE.REFUNDED", capture_id="2GG", custom_id="of the refund"), None),
    ],
)
def test_paypals_words_for_an_order(event: Json, reference: str | None) -> None:
    """v2's and v1's names; what a refund says of itself is not its payment's."""
    assert shown(PAYPAL, event).reference == reference


def test_the_latest_word_holds_whatever_the_order_of_events() -> None:
    """By the object's time; a better name is the reference, though it is older."""
    events = [
        stripes("payment_intent", 0, metadata={"order_id": "draft", "user_id": "7"}),
        stripes("payment_intent", 5, metadata={"order_id": "1001"}),
        stripes("checkout.session", 9, client_reference_id="cart-3"),
    ]
    for order in permutations(events):
        payment = shown(STRIPE, *order)
        assert (payment.reference, payment.metadata) == ("1001", {"order_id": "1001", "user_id": "7"})
    assert payment.to_dict()["metadata"] == payment.metadata


def test_paypals_payer_is_the_customer() -> None:
    """Where it is said."""
    sale = paypals("PAYMENT.SALE.COMPLETED", payer={"payer_info": {"payer_id": "PAYER1"}})
    assert shown(PAYPAL, sale).customer == "PAYER1"


def test_only_what_the_stage_allows_is_kept() -> None:
    """People write what they want into metadata: no record has the rest of it."""
    event = stripes("payment_intent", metadata={"order_id": "1001", "cart": "9", "note": "for Jenny Rosen"})
    labels = read({"DAYBOOK_METADATA": "cart", "DAYBOOK_REFERENCES": "metadata.cart"}).labels
    for allowed, expected in (
        (Labels(), ("1001", {"order_id": "1001"})),
        (labels, ("9", {"cart": "9"})),
        (read({"DAYBOOK_METADATA": ""}).labels, (None, {})),
    ):
        ledger: Any = MemoryLedger()
        inbox: Any = None
        body = as_bytes(event)
        made = PROVIDERS["stripe"].event(body, NOW)
        to = consumer(ledger, inbox)
        replace(to, labels=allowed).record(Message.of(made, body), NOW + 60_000)
        stored = ledger.payment(STRIPE).facts
        payment = project(STRIPE, stored)
        assert (payment.reference, payment.metadata) == expected
        assert "Jenny" not in str(stored)
        assert "labels" not in stored["payment"]
        assert folded(ledger, PROVIDERS, STRIPE, {}, allowed) == stored


def test_a_wrong_setting_names_what_there_is() -> None:
    """A reference to what is not kept would never be there."""
    with pytest.raises(
        ValueError, match=r"metadata.cart is none of client_reference_id, .*metadata.order_id"
    ):
        read({"DAYBOOK_REFERENCES": "metadata.cart"})
    assert "metadata.order_id" not in read({"DAYBOOK_METADATA": "cart"}).labels.references


# ── who waits for it ────────────────────────────────────────────────────────────────────────────────


class Shop:
    """A stage with a handler that needs the reference, and one that does not."""

    def __init__(self) -> None:
        self.ledger: Any = MemoryLedger()
        self.heard: list[tuple[str, str | None]] = []
        self.fails = 0
        handlers = Handlers()

        @handlers.on("payment.succeeded", needs="reference")
        def ship(payment: Payment, milestone: Any) -> None:
            if self.fails:
                self.fails -= 1
                raise RuntimeError
            self.heard.append(("ship", payment.reference))

        @handlers.on("payment.succeeded")
        def count(payment: Payment, milestone: Any) -> None:
            self.heard.append(("count", payment.reference))

        inbox: Any = None
        self.to = consumer(self.ledger, inbox, handlers=handlers)

    def take(self, event: Json) -> None:
        body = as_bytes(event)
        made = PROVIDERS["stripe"].event(body, NOW)
        self.to.record(Message.of(made, body), NOW + 60_000)


PAID = {**stripes("payment_intent", amount_received=5000), "type": "payment_intent.succeeded"}
SESSION = stripes("checkout.session", 3, client_reference_id="1001")


def test_a_handler_waits_for_the_reference_and_holds_up_no_other() -> None:
    """Stripe's session comes after the money: then it is notified, once; a duplicate changes nothing."""
    shop = Shop()
    shop.take(PAID)
    shop.take(PAID)
    assert shop.heard == [("count", None)]
    shop.take(SESSION)
    shop.take(SESSION)
    shop.take(PAID)
    assert shop.heard == [("count", None), ("ship", "1001")]
    assert shop.ledger.payment(STRIPE).outbox.tasks == ()


def test_where_the_reference_was_first_nobody_waits() -> None:
    """Both are notified, in the order in which they are registered."""
    shop = Shop()
    shop.take(SESSION)
    shop.take(PAID)
    assert shop.heard == [("ship", "1001"), ("count", "1001")]


def test_one_that_fails_once_it_has_its_reference_is_tried_again() -> None:
    """As any other."""
    shop = Shop()
    shop.take(PAID)
    shop.fails = 1
    with pytest.raises(Exception, match="ship: RuntimeError"):
        shop.take(SESSION)
    shop.take(SESSION)
    assert shop.heard == [("count", None), ("ship", "1001")]


@pytest.mark.parametrize("seed", range(20))
def test_it_is_notified_once_in_any_order(seed: int) -> None:
    """However often each comes."""
    shop, rng = Shop(), random.Random(seed)
    events = [PAID, SESSION, stripes("payment_intent", 4, metadata={"user_id": "7"})] * 2
    rng.shuffle(events)
    for each in events:
        shop.take(each)
    assert sorted(name for name, _ in shop.heard) == ["count", "ship"]
    assert None not in [reference for name, reference in shop.heard if name == "ship"]


def test_a_need_that_nothing_meets_is_refused() -> None:
    """When the handler is registered; a raw event has no reference of its own."""
    for pattern, needs in (("payment.succeeded", "order"), ("stripe.customer.*", "reference")):
        with pytest.raises(ValueError, match="can need: reference"):
            Handlers().on(pattern, needs=needs)
