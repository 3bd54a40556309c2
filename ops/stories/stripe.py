"""Stripe's events: single ones by type, and stories. As the endpoint of a current API version has them."""

import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, get_args

from chalicelib.settings import LOCAL_CREDENTIALS
from ops.sender import Signer, StripeSigner
from ops.stories.made import LETTERS, STEP, Json, Maker

VERSION = "2026-10-28"


class StripePayment:
    """A PaymentIntent with its charge, and the events that tell of it. Amounts in minor units."""

    def __init__(self, rng: random.Random, start: int, amount: int, currency: str, id: str | None) -> None:
        self._rng = rng
        self._now = start
        self.amount = amount
        self.currency = currency.lower()
        self.id = id or f"pi_{self._token(24)}"
        self.charge_id = f"ch_{self._token(24)}"
        self._refund_id = f"re_{self._token(24)}"
        self._refunds_made: dict[str, int] = {}
        self._dispute_id = f"dp_{self._token(24)}"
        self.refunded = 0

    @property
    def subject(self) -> str:
        return f"stripe:{self.id}"

    @property
    def reference(self) -> str:
        """The seller's own number of the order."""
        return f"order-{self.id[-6:].lower()}"

    def _token(self, length: int) -> str:
        return "".join(self._rng.choices(LETTERS, k=length))

    def _seconds(self) -> int:
        return self._now // 1000

    def _event(self, type_: str, about: Json, previous: Json | None = None) -> Json:
        data = {"object": about}
        if previous is not None:
            data["previous_attributes"] = previous
        event = {
            "id": f"evt_{self._token(24)}",
            "object": "event",
            "api_version": VERSION,
            "created": self._seconds(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": f"req_{self._token(14)}", "idempotency_key": None},
            "type": type_,
        }
        self._now += STEP
        return event

    def intent(self, type_: str, status: str, **fields: Any) -> Json:
        """A ``payment_intent.*`` event."""
        about = {
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_capturable": 0,
            "amount_received": 0,
            "capture_method": "automatic_async",
            "created": self._seconds(),
            "currency": self.currency,
            "customer": f"cus_{self.id[-14:]}",
            "last_payment_error": None,
            "latest_charge": None,
            "livemode": False,
            "metadata": {"order_id": self.reference, "note": "for Jenny Rosen"},
            "status": status,
        }
        return self._event(f"payment_intent.{type_}", {**about, **fields})

    def charge(self, type_: str, previous: Json | None = None, **fields: Any) -> Json:
        """A ``charge.*`` event."""
        about = {
            "id": self.charge_id,
            "object": "charge",
            "amount": self.amount,
            "amount_captured": self.amount,
            "amount_refunded": self.refunded,
            "captured": True,
            "created": self._seconds(),
            "currency": self.currency,
            "customer": f"cus_{self.id[-14:]}",
            "billing_details": {
                "address": {"line1": "510 Townsend St", "postal_code": "94103"},
                "email": "jenny.rosen@example.com",
                "name": "Jenny Rosen",
            },
            "disputed": False,
            "livemode": False,
            "paid": True,
            "payment_intent": self.id,
            "payment_method_details": {
                "card": {"brand": "visa", "fingerprint": "Xt5EWLLDS7FJjR1c", "last4": "4242"},
                "type": "card",
            },
            "refunded": self.refunded >= self.amount,
            "status": "succeeded",
        }
        return self._event(f"charge.{type_}", {**about, **fields}, previous)

    def refund(self, type_: str, amount: int, status: str = "succeeded") -> Json:
        """A ``refund.*`` or ``charge.refund.updated`` event."""
        about = {
            "id": self._refund_id,
            "object": "refund",
            "amount": amount,
            "charge": self.charge_id,
            "created": self._refunds_made.setdefault(self._refund_id, self._seconds()),
            "currency": self.currency,
            "payment_intent": self.id,
            "reason": "requested_by_customer",
            "status": status,
        }
        return self._event(type_, about)

    def refunds(self, amount: int) -> Iterator[Json]:
        """The two events of a new refund."""
        self._refund_id = f"re_{self._token(24)}"
        yield self.refund("refund.created", amount)
        before = {"amount_refunded": self.refunded}
        self.refunded += amount
        yield self.charge("refunded", before)

    def dispute(self, type_: str, status: str) -> Json:
        """A ``charge.dispute.*`` event."""
        about = {
            "id": self._dispute_id,
            "object": "dispute",
            "amount": self.amount,
            "charge": self.charge_id,
            "created": self._seconds(),
            "currency": self.currency,
            "payment_intent": self.id,
            "reason": "fraudulent",
            "status": status,
        }
        return self._event(f"charge.dispute.{type_}", about)

    def session(self, type_: str, payment_status: str, status: str = "complete") -> Json:
        """A ``checkout.session.*`` event."""
        about = {
            "id": f"cs_test_{self.id[3:]}",
            "object": "checkout.session",
            "amount_total": self.amount,
            "currency": self.currency,
            "customer": f"cus_{self.id[-14:]}",
            "client_reference_id": self.reference,
            "metadata": {},
            "mode": "payment",
            "payment_intent": self.id,
            "payment_status": payment_status,
            "status": status,
        }
        return self._event(f"checkout.session.{type_}", about)

    def other(self, type_: str) -> Json:
        """An event of any other type, about an object of its own."""
        kind = type_.rpartition(".")[0] or type_
        about = {"id": f"{kind[:3]}_{self._token(14)}", "object": kind, "livemode": False}
        return self._event(type_, about)

    def succeeds(self) -> Iterator[Json]:
        yield self.charge("succeeded")
        yield self.intent(
            "succeeded",
            "succeeded",
            amount_received=self.amount,
            latest_charge=self.charge_id,
        )

    def fails(self) -> Iterator[Json]:
        error = {"code": "card_declined", "type": "card_error"}
        yield self.charge(
            "failed", amount_captured=0, captured=False, paid=False, status="failed",
            failure_code="card_declined",
        )  # fmt: skip
        self.charge_id = f"ch_{self._token(24)}"
        yield self.intent("payment_failed", "requires_payment_method", last_payment_error=error)

    def begins(self) -> Iterator[Json]:
        yield self.intent("created", "requires_payment_method")


def _checkout(p: StripePayment) -> Iterator[Json]:
    yield from p.begins()
    yield from p.succeeds()
    yield p.session("completed", "paid")


def _partial_refunds(p: StripePayment) -> Iterator[Json]:
    yield from p.begins()
    yield from p.succeeds()
    yield from p.refunds(p.amount * 8 // 100)
    yield from p.refunds(p.amount * 16 // 100)


def _failed_then_paid(p: StripePayment) -> Iterator[Json]:
    yield from p.begins()
    yield from p.fails()
    yield from p.succeeds()


def _dispute(p: StripePayment, outcome: str) -> Iterator[Json]:
    yield from p.begins()
    yield from p.succeeds()
    yield p.dispute("created", "needs_response")
    yield p.dispute("funds_withdrawn", "needs_response")
    yield p.dispute("updated", "under_review")
    if outcome == "won":
        yield p.dispute("funds_reinstated", "won")
    yield p.dispute("closed", outcome)


_STORIES: Mapping[str, Callable[[StripePayment], Iterator[Json]]] = {
    "checkout": _checkout,
    "partial-refunds": _partial_refunds,
    "failed-then-paid": _failed_then_paid,
    "dispute-lost": lambda p: _dispute(p, "lost"),
    "dispute-won": lambda p: _dispute(p, "won"),
}

_TYPES: Mapping[str, Callable[[StripePayment], Json]] = {
    "payment_intent.created": lambda p: p.intent("created", "requires_payment_method"),
    "payment_intent.processing": lambda p: p.intent("processing", "processing"),
    "payment_intent.requires_action": lambda p: p.intent("requires_action", "requires_action"),
    "payment_intent.partially_funded": lambda p: p.intent("partially_funded", "requires_action"),
    "payment_intent.amount_capturable_updated": lambda p: p.intent(
        "amount_capturable_updated",
        "requires_capture",
        amount_capturable=p.amount,
        latest_charge=p.charge_id,
    ),
    "payment_intent.payment_failed": lambda p: p.intent(
        "payment_failed",
        "requires_payment_method",
        last_payment_error={"code": "card_declined", "type": "card_error"},
    ),
    "payment_intent.canceled": lambda p: p.intent("canceled", "canceled"),
    "payment_intent.succeeded": lambda p: p.intent(
        "succeeded", "succeeded", amount_received=p.amount, latest_charge=p.charge_id
    ),
    "charge.pending": lambda p: p.charge(
        "pending", status="pending", captured=False, amount_captured=0, paid=False
    ),
    "charge.succeeded": lambda p: p.charge("succeeded"),
    "charge.captured": lambda p: p.charge("captured"),
    "charge.updated": lambda p: p.charge("updated"),
    "charge.failed": lambda p: p.charge(
        "failed", status="failed", captured=False, amount_captured=0, paid=False
    ),
    "charge.expired": lambda p: p.charge("expired", captured=False, amount_captured=0),
    "charge.refunded": lambda p: p.charge(
        "refunded", {"amount_refunded": 0}, amount_refunded=p.amount, refunded=True
    ),
    "charge.refund.updated": lambda p: p.refund("charge.refund.updated", p.amount),
    "refund.created": lambda p: p.refund("refund.created", p.amount),
    "refund.updated": lambda p: p.refund("refund.updated", p.amount),
    "refund.failed": lambda p: p.refund("refund.failed", p.amount, "failed"),
    "charge.dispute.created": lambda p: p.dispute("created", "needs_response"),
    "charge.dispute.updated": lambda p: p.dispute("updated", "under_review"),
    "charge.dispute.funds_withdrawn": lambda p: p.dispute("funds_withdrawn", "needs_response"),
    "charge.dispute.funds_reinstated": lambda p: p.dispute("funds_reinstated", "won"),
    "charge.dispute.closed": lambda p: p.dispute("closed", "lost"),
    "checkout.session.completed": lambda p: p.session("completed", "paid"),
    "checkout.session.async_payment_succeeded": lambda p: p.session("async_payment_succeeded", "paid"),
    "checkout.session.async_payment_failed": lambda p: p.session("async_payment_failed", "unpaid"),
    "checkout.session.expired": lambda p: p.session("expired", "unpaid", "expired"),
}


def _local_signer(secret: str | None, environ: Mapping[str, str], rng: random.Random) -> Signer:
    """Signs for stage local, with its secret or another."""
    name = "stripe_webhook_secrets"
    default = environ.get(name.upper(), LOCAL_CREDENTIALS[name]).split(",")[0].strip()
    return StripeSigner(secret or default)


@cache
def _known() -> frozenset[str]:
    """As Stripe's own library lists them."""
    import stripe  # takes its time

    return frozenset(get_args(stripe.Event.__annotations__["type"]))


STRIPE = Maker(
    payment=StripePayment,
    stories=_STORIES,
    types=_TYPES,
    signer=_local_signer,
    known=_known,
    dashboard=("https://dashboard.stripe.com/payments/{}", "https://dashboard.stripe.com/test/payments/{}"),
)
