"""Realistic events of both providers: single ones by type, and whole stories of a payment.

An event is made as the provider makes it: with the object as it was at that moment. Ids and times follow
from the seed and the start alone, so that the same story can be sent again as the same events.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chalicelib.money import exponent
from chalicelib.times import to_iso

Json = dict[str, Any]
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
STRIPE_VERSION = "2026-10-28"
STEP = 2000  # milliseconds from one event of a story to the next


class UnknownType(ValueError):
    """No event of that type or story of that name can be made."""


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
            "api_version": STRIPE_VERSION,
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
            "metadata": {"order": self.id[-6:]},
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


def _stripe_checkout(p: StripePayment) -> Iterator[Json]:
    yield from p.begins()
    yield from p.succeeds()
    yield p.session("completed", "paid")


def _stripe_partial_refunds(p: StripePayment) -> Iterator[Json]:
    yield from p.begins()
    yield from p.succeeds()
    yield from p.refunds(p.amount * 8 // 100)
    yield from p.refunds(p.amount * 16 // 100)


def _stripe_failed_then_paid(p: StripePayment) -> Iterator[Json]:
    yield from p.begins()
    yield from p.fails()
    yield from p.succeeds()


def _stripe_dispute(p: StripePayment, outcome: str) -> Iterator[Json]:
    yield from p.begins()
    yield from p.succeeds()
    yield p.dispute("created", "needs_response")
    yield p.dispute("funds_withdrawn", "needs_response")
    yield p.dispute("updated", "under_review")
    if outcome == "won":
        yield p.dispute("funds_reinstated", "won")
    yield p.dispute("closed", outcome)


STRIPE_STORIES: Mapping[str, Callable[[StripePayment], Iterator[Json]]] = {
    "checkout": _stripe_checkout,
    "partial-refunds": _stripe_partial_refunds,
    "failed-then-paid": _stripe_failed_then_paid,
    "dispute-lost": lambda p: _stripe_dispute(p, "lost"),
    "dispute-won": lambda p: _stripe_dispute(p, "won"),
}

STRIPE_TYPES: Mapping[str, Callable[[StripePayment], Json]] = {
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


class PayPalPayment:
    """A capture with its refunds and disputes, and the events that tell of it. Amounts in minor units."""

    def __init__(self, rng: random.Random, start: int, amount: int, currency: str, id: str | None) -> None:
        self._rng = rng
        self._now = start
        self.amount = amount
        self.currency = currency.upper()
        self.id = id or self._token(17)
        self.order_id = self._token(17)
        self._refund_id = self._token(17)
        self._dispute_id = f"PP-R-{self._token(3)}-{self._rng.randrange(10**8)}"
        self.refunded = 0

    @property
    def subject(self) -> str:
        return f"paypal:{self.id}"

    def _token(self, length: int) -> str:
        return "".join(self._rng.choices(LETTERS, k=length))

    def _money(self, amount: int, v1: bool = False) -> Json:
        decimals = exponent(self.currency)
        text = f"{amount / 10**decimals:.{decimals}f}"
        if v1:
            return {"total": text, "currency": self.currency}
        return {"value": text, "currency_code": self.currency}

    def _links(self, kind: str, id: str, up: str | None = None) -> list[Json]:
        api = "https://api.sandbox.paypal.com"
        links = [{"href": f"{api}/{kind}/{id}", "rel": "self", "method": "GET"}]
        if up:
            links.append({"href": f"{api}/{up}", "rel": "up", "method": "GET"})
        return links

    def _event(self, type_: str, kind: str, resource: Json, version: str = "2.0") -> Json:
        event_id = f"WH-{self._token(17)}-{self._token(17)}"
        now = to_iso(self._now)
        event = {
            "id": event_id,
            "event_version": "1.0",
            "create_time": now,
            "resource_type": kind,
            "resource_version": version,
            "event_type": type_,
            "summary": f"{type_} for {self._money(self.amount)['value']} {self.currency}",
            "resource": {**resource, "create_time": now, "update_time": now},
            "links": self._links("v1/notifications/webhooks-events", event_id),
        }
        self._now += STEP
        return event

    def capture(self, type_: str, status: str) -> Json:
        """A ``PAYMENT.CAPTURE.*`` event about the capture itself."""
        resource = {
            "id": self.id,
            "amount": self._money(self.amount),
            "final_capture": True,
            "status": status,
            "supplementary_data": {"related_ids": {"order_id": self.order_id}},
            "links": self._links("v2/payments/captures", self.id, f"v2/checkout/orders/{self.order_id}"),
        }
        return self._event(type_, "capture", resource)

    def sale(self, type_: str, state: str) -> Json:
        """A v1 ``PAYMENT.SALE.*`` event about the sale itself."""
        resource = {
            "id": self.id,
            "amount": self._money(self.amount, v1=True),
            "state": state,
            "parent_payment": f"PAY-{self.order_id}",
            "links": self._links("v1/payments/sale", self.id),
        }
        return self._event(type_, "sale", resource, "1.0")

    def sale_refund(self, type_: str) -> Json:
        resource = {
            "id": self._refund_id,
            "sale_id": self.id,
            "amount": self._money(-self.amount, v1=True),
            "state": "completed",
            "parent_payment": f"PAY-{self.order_id}",
            "links": self._links("v1/payments/refund", self._refund_id),
        }
        return self._event(type_, "refund", resource, "1.0")

    def refund(self, type_: str, amount: int, status: str = "COMPLETED") -> Json:
        """A refund of the capture, or PayPal's own reversal of it."""
        resource = {
            "id": self._refund_id,
            "amount": self._money(amount),
            "status": status,
            "note_to_payer": "With our apologies, Jenny Rosen",
            "seller_payable_breakdown": {
                "gross_amount": self._money(amount),
                "total_refunded_amount": self._money(self.refunded),
            },
            "links": self._links("v2/payments/refunds", self._refund_id, f"v2/payments/captures/{self.id}"),
        }
        return self._event(type_, "refund", resource)

    def refunds(self, amount: int) -> Iterator[Json]:
        """The event of a new refund."""
        self._refund_id = self._token(17)
        self.refunded += amount
        yield self.refund("PAYMENT.CAPTURE.REFUNDED", amount)

    def authorization(self, type_: str, status: str) -> Json:
        resource = {
            "id": self.id,
            "amount": self._money(self.amount),
            "status": status,
            "links": self._links(
                "v2/payments/authorizations", self.id, f"v2/checkout/orders/{self.order_id}"
            ),
        }
        return self._event(type_, "authorization", resource)

    def dispute(self, type_: str, status: str, outcome: str | None = None) -> Json:
        """A ``CUSTOMER.DISPUTE.*`` event."""
        resource = {
            "dispute_id": self._dispute_id,
            "disputed_transactions": [
                {
                    "seller_transaction_id": self.id,
                    "buyer_transaction_id": self._token(17),
                    "buyer": {"name": "Jenny Rosen"},
                }
            ],
            "reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
            "status": status,
            "dispute_amount": self._money(self.amount),
        }
        if outcome:
            resource["dispute_outcome"] = {"outcome_code": outcome}
        return self._event(type_, "dispute", resource)

    def order(self, type_: str, status: str) -> Json:
        resource = {
            "id": self.order_id,
            "intent": "CAPTURE",
            "status": status,
            "payer": {"email_address": "jenny.rosen@example.com", "name": {"surname": "Rosen"}},
            "purchase_units": [{"amount": self._money(self.amount)}],
            "links": self._links("v2/checkout/orders", self.order_id),
        }
        return self._event(type_, "checkout-order", resource)

    def other(self, type_: str) -> Json:
        """An event of any other type, about an object of its own."""
        kind = type_.rpartition(".")[0].lower() or type_.lower()
        return self._event(type_, kind, {"id": self._token(17)})

    def succeeds(self) -> Iterator[Json]:
        yield self.capture("PAYMENT.CAPTURE.PENDING", "PENDING")
        yield self.capture("PAYMENT.CAPTURE.COMPLETED", "COMPLETED")


def _paypal_checkout(p: PayPalPayment) -> Iterator[Json]:
    yield p.order("CHECKOUT.ORDER.APPROVED", "APPROVED")
    yield from p.succeeds()


def _paypal_partial_refunds(p: PayPalPayment) -> Iterator[Json]:
    yield from p.succeeds()
    yield from p.refunds(p.amount * 8 // 100)
    yield from p.refunds(p.amount * 16 // 100)


def _paypal_failed_then_paid(p: PayPalPayment) -> Iterator[Json]:
    """A declined capture ends; the buyer's next try is another capture."""
    paid = p.id
    p.id = p._token(17)
    yield p.capture("PAYMENT.CAPTURE.DECLINED", "DECLINED")
    p.id = paid
    yield from p.succeeds()


def _paypal_dispute(p: PayPalPayment, outcome: str) -> Iterator[Json]:
    yield from p.succeeds()
    yield p.dispute("CUSTOMER.DISPUTE.CREATED", "OPEN")
    yield p.dispute("CUSTOMER.DISPUTE.UPDATED", "UNDER_REVIEW")
    yield p.dispute("CUSTOMER.DISPUTE.RESOLVED", "RESOLVED", outcome)


PAYPAL_STORIES: Mapping[str, Callable[[PayPalPayment], Iterator[Json]]] = {
    "checkout": _paypal_checkout,
    "partial-refunds": _paypal_partial_refunds,
    "failed-then-paid": _paypal_failed_then_paid,
    "dispute-lost": lambda p: _paypal_dispute(p, "RESOLVED_BUYER_FAVOUR"),
    "dispute-won": lambda p: _paypal_dispute(p, "RESOLVED_SELLER_FAVOUR"),
}

PAYPAL_TYPES: Mapping[str, Callable[[PayPalPayment], Json]] = {
    "CHECKOUT.ORDER.APPROVED": lambda p: p.order("CHECKOUT.ORDER.APPROVED", "APPROVED"),
    "CHECKOUT.ORDER.COMPLETED": lambda p: p.order("CHECKOUT.ORDER.COMPLETED", "COMPLETED"),
    "PAYMENT.AUTHORIZATION.CREATED": lambda p: p.authorization("PAYMENT.AUTHORIZATION.CREATED", "CREATED"),
    "PAYMENT.AUTHORIZATION.VOIDED": lambda p: p.authorization("PAYMENT.AUTHORIZATION.VOIDED", "VOIDED"),
    "PAYMENT.CAPTURE.COMPLETED": lambda p: p.capture("PAYMENT.CAPTURE.COMPLETED", "COMPLETED"),
    "PAYMENT.CAPTURE.PENDING": lambda p: p.capture("PAYMENT.CAPTURE.PENDING", "PENDING"),
    "PAYMENT.CAPTURE.DENIED": lambda p: p.capture("PAYMENT.CAPTURE.DENIED", "DECLINED"),
    "PAYMENT.CAPTURE.DECLINED": lambda p: p.capture("PAYMENT.CAPTURE.DECLINED", "DECLINED"),
    "PAYMENT.CAPTURE.REFUNDED": lambda p: p.refund("PAYMENT.CAPTURE.REFUNDED", p.amount),
    "PAYMENT.CAPTURE.REVERSED": lambda p: p.refund("PAYMENT.CAPTURE.REVERSED", p.amount),
    "PAYMENT.REFUND.PENDING": lambda p: p.refund("PAYMENT.REFUND.PENDING", p.amount, "PENDING"),
    "PAYMENT.REFUND.FAILED": lambda p: p.refund("PAYMENT.REFUND.FAILED", p.amount, "FAILED"),
    "PAYMENT.SALE.COMPLETED": lambda p: p.sale("PAYMENT.SALE.COMPLETED", "completed"),
    "PAYMENT.SALE.PENDING": lambda p: p.sale("PAYMENT.SALE.PENDING", "pending"),
    "PAYMENT.SALE.DENIED": lambda p: p.sale("PAYMENT.SALE.DENIED", "denied"),
    "PAYMENT.SALE.REFUNDED": lambda p: p.sale_refund("PAYMENT.SALE.REFUNDED"),
    "PAYMENT.SALE.REVERSED": lambda p: p.sale_refund("PAYMENT.SALE.REVERSED"),
    "CUSTOMER.DISPUTE.CREATED": lambda p: p.dispute("CUSTOMER.DISPUTE.CREATED", "OPEN"),
    "CUSTOMER.DISPUTE.UPDATED": lambda p: p.dispute("CUSTOMER.DISPUTE.UPDATED", "UNDER_REVIEW"),
    "CUSTOMER.DISPUTE.RESOLVED": lambda p: p.dispute(
        "CUSTOMER.DISPUTE.RESOLVED", "RESOLVED", "RESOLVED_BUYER_FAVOUR"
    ),
    "RISK.DISPUTE.CREATED": lambda p: p.dispute("RISK.DISPUTE.CREATED", "OPEN"),
}

STORIES = tuple(STRIPE_STORIES)
TYPES = {"stripe": tuple(STRIPE_TYPES), "paypal": tuple(PAYPAL_TYPES)}
MODELS: Mapping[str, tuple[Any, Mapping[str, Any], Mapping[str, Any]]] = {
    "stripe": (StripePayment, STRIPE_STORIES, STRIPE_TYPES),
    "paypal": (PayPalPayment, PAYPAL_STORIES, PAYPAL_TYPES),
}


def tell(
    provider: str,
    rng: random.Random,
    start: int,
    amount: int,
    currency: str,
    *,
    id: str | None = None,
    story: str | None = None,
    type_: str | None = None,
) -> tuple[str, list[Json]]:
    """The payment's subject and its events, in order: a story's, or one of a type. ``start`` in ms.

    Raises ``UnknownType``.
    """
    model, stories, types = MODELS[provider]
    payment = model(rng, start, amount, currency, id)
    if story is not None:
        if story not in stories:
            raise UnknownType(f"no story {story}; there are {', '.join(stories)}")
        return payment.subject, list(stories[story](payment))
    if type_ and type_ in types:
        return payment.subject, [types[type_](payment)]
    if not type_ or "." not in type_:
        raise UnknownType(f"no event type {type_}; try one of {', '.join(types)}")
    return payment.subject, [payment.other(type_)]
