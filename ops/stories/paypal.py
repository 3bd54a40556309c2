"""PayPal's events: single ones by type, and stories."""

import random
from collections.abc import Callable, Iterator, Mapping

from chalicelib.money import exponent
from chalicelib.names import SIMULATOR_SECRET
from chalicelib.times import to_iso
from ops.sender import PayPalSigner, Signer
from ops.stage import connect
from ops.stories.made import LETTERS, STEP, Json, Maker


class OfPayPal:
    """What ids and amounts of PayPal's objects look like."""

    _rng: random.Random
    currency: str

    def _token(self, length: int) -> str:
        return "".join(self._rng.choices(LETTERS, k=length))

    def _money(self, amount: int, v1: bool = False) -> Json:
        decimals = exponent(self.currency)
        text = f"{amount / 10**decimals:.{decimals}f}"
        if v1:
            return {"total": text, "currency": self.currency}
        return {"value": text, "currency_code": self.currency}


class PayPalPayment(OfPayPal):
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

    @property
    def reference(self) -> str:
        """The seller's own number of the order."""
        return f"order-{self.id[-6:].lower()}"

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
            "custom_id": self.reference,
            "final_capture": True,
            "status": status,
            "supplementary_data": {"related_ids": {"order_id": self.order_id}},
            "links": self._links("v2/payments/captures", self.id, f"v2/checkout/orders/{self.order_id}"),
        }
        if status == "COMPLETED":
            resource["seller_receivable_breakdown"] = self._breakdown(self.amount, self._fee)
        return self._event(type_, "capture", resource)

    @property
    def _fee(self) -> int:
        """As much as PayPal usually keeps, in minor units."""
        return round(self.amount * 0.0299)

    def _breakdown(self, gross: int, fee: int) -> Json:
        """https://developer.paypal.com/docs/api/payments/v2/#definition-seller_receivable_breakdown"""
        amounts = {"gross_amount": gross, "paypal_fee": fee, "net_amount": gross - fee}
        return {name: self._money(each) for name, each in amounts.items()}

    def sale(self, type_: str, state: str) -> Json:
        """A v1 ``PAYMENT.SALE.*`` event about the sale itself."""
        resource = {
            "id": self.id,
            "amount": self._money(self.amount, v1=True),
            "custom": self.reference,
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
                **self._breakdown(amount, 0),
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


def _checkout(p: PayPalPayment) -> Iterator[Json]:
    yield p.order("CHECKOUT.ORDER.APPROVED", "APPROVED")
    yield from p.succeeds()


def _partial_refunds(p: PayPalPayment) -> Iterator[Json]:
    yield from p.succeeds()
    yield from p.refunds(p.amount * 8 // 100)
    yield from p.refunds(p.amount * 16 // 100)


def _failed_then_paid(p: PayPalPayment) -> Iterator[Json]:
    """A declined capture ends; the buyer's next try is another capture."""
    paid = p.id
    p.id = p._token(17)
    yield p.capture("PAYMENT.CAPTURE.DECLINED", "DECLINED")
    p.id = paid
    yield from p.succeeds()


def _dispute(p: PayPalPayment, outcome: str) -> Iterator[Json]:
    yield from p.succeeds()
    yield p.dispute("CUSTOMER.DISPUTE.CREATED", "OPEN")
    yield p.dispute("CUSTOMER.DISPUTE.UPDATED", "UNDER_REVIEW")
    yield p.dispute("CUSTOMER.DISPUTE.RESOLVED", "RESOLVED", outcome)


_STORIES: Mapping[str, Callable[[PayPalPayment], Iterator[Json]]] = {
    "checkout": _checkout,
    "partial-refunds": _partial_refunds,
    "failed-then-paid": _failed_then_paid,
    "dispute-lost": lambda p: _dispute(p, "RESOLVED_BUYER_FAVOUR"),
    "dispute-won": lambda p: _dispute(p, "RESOLVED_SELLER_FAVOUR"),
}

_TYPES: Mapping[str, Callable[[PayPalPayment], Json]] = {
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


def _local_signer(secret: str | None, environ: Mapping[str, str], rng: random.Random) -> Signer:
    """Signs as the local PayPal does, for its webhook id or another."""
    client = connect("local", environ).client("secretsmanager")
    simulator = client.get_secret_value(SecretId=SIMULATOR_SECRET)["SecretString"]
    return PayPalSigner.from_simulator(simulator, secret, rng)


PAYPAL = Maker(
    payment=PayPalPayment,
    stories=_STORIES,
    types=_TYPES,
    signer=_local_signer,
    dashboard=(
        "https://www.paypal.com/activity/payment/{}",
        "https://www.sandbox.paypal.com/activity/payment/{}",
    ),
)
