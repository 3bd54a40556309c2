"""Stories of a PayPal subscription: the last event is of now, the first of weeks ago.

As PayPal sends them: a payment that fails leaves it ACTIVE, its bodies' update time does not move with its
payments, and nothing at all is sent when a trial ends.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chalicelib.times import DAY, to_iso
from ops.stories.made import Json
from ops.stories.paypal import OfPayPal

MINUTE = 60_000  # milliseconds
MONTH = 30 * DAY
API = "https://api.sandbox.paypal.com"
PLAN = "P-1AB23456CD789012EMXYZ001"


class PayPalSubscription(OfPayPal):
    """A subscription of one plan by the month, and the events that tell of it. Instants in milliseconds."""

    def __init__(self, rng: random.Random, ends: int, amount: int, currency: str, id: str | None) -> None:
        self._rng = rng
        self.now = ends // 1000 * 1000
        self.amount = amount
        self.currency = currency.upper()
        self.id = id or f"I-{self._token(12)}"
        self._payer = self._token(13)
        self._about: Json = {}
        self._billing: Json = {}
        self.sale_id = ""

    @property
    def subject(self) -> str:
        return f"paypal:{self.id}"

    @property
    def reference(self) -> str:
        """The seller's own number of the user."""
        return f"user-{self.id[-6:].lower()}"

    def _event(self, type_: str, kind: str, resource: Json, version: str = "2.0") -> Json:
        event_id = f"WH-{self._token(17)}-{self._token(17)}"
        return {
            "id": event_id,
            "event_version": "1.0",
            "create_time": to_iso(self.now),
            "resource_type": kind,
            "resource_version": version,
            "event_type": type_,
            "summary": type_,
            "resource": resource,
            "links": [{"href": f"{API}/v1/notifications/webhooks-events/{event_id}", "rel": "self"}],
        }

    # ── its bodies ──────────────────────────────────────────────────────────────────────────────

    def created(self, days: int) -> Json:
        """It begins ``days`` before the story's end."""
        self.now -= days * DAY
        now = to_iso(self.now)
        self._about = {
            "id": self.id,
            "plan_id": PLAN,
            "status": "APPROVAL_PENDING",
            "status_update_time": now,
            "start_time": now,
            "create_time": now,
            "update_time": now,
            "quantity": "1",
            "custom_id": self.reference,
            "subscriber": {"payer_id": self._payer},
            "links": [{"href": f"{API}/v1/billing/subscriptions/{self.id}"}],
        }
        return self._event("BILLING.SUBSCRIPTION.CREATED", "subscription", dict(self._about))

    def activated(self, trial_days: int = 0) -> Json:
        """On trial for so long; else the first payment was made already."""
        cycles = [{"tenure_type": "REGULAR", "sequence": 1, "cycles_completed": 1, "cycles_remaining": 0}]
        if trial_days:
            cycles[0] |= {"cycles_completed": 0, "sequence": 2}
            cycles.insert(
                0, {"tenure_type": "TRIAL", "sequence": 1, "cycles_completed": 1, "cycles_remaining": 0}
            )
        self._billing = {
            "outstanding_balance": self._money(0),
            "cycle_executions": cycles,
            "next_billing_time": to_iso(self.now + (trial_days * DAY if trial_days else MONTH)),
            "failed_payments_count": 0,
        }
        if not trial_days:
            self._billing["last_payment"] = {"amount": self._money(self.amount), "time": to_iso(self.now)}
        return self.stated("ACTIVATED", status="ACTIVE")

    def stated(self, what: str, **changes: Any) -> Json:
        """A ``BILLING.SUBSCRIPTION.*`` event, with what changed."""
        now = to_iso(self.now)
        moved = {"update_time": now, **({"status_update_time": now} if "status" in changes else {})}
        self._about |= {**changes, **moved}
        return self._shown(what)

    def shown(self) -> Json:
        """As PayPal's API shows it now."""
        return {**self._about, "billing_info": dict(self._billing)}

    def _shown(self, what: str) -> Json:
        return self._event(f"BILLING.SUBSCRIPTION.{what}", "subscription", self.shown())

    def payment_failed(self, count: int = 1) -> Json:
        """The status stays ACTIVE, and the update time where it was."""
        retry = to_iso(self.now + 5 * DAY)
        failed = {"amount": self._money(self.amount), "time": to_iso(self.now)}
        self._billing |= {
            "outstanding_balance": self._money(self.amount),
            "failed_payments_count": count,
            "last_failed_payment": {**failed, "next_payment_retry_time": retry},
        }
        return self._shown("PAYMENT.FAILED")

    def cancelled(self) -> Json:
        self._billing.pop("next_billing_time")
        return self.stated("CANCELLED", status="CANCELLED")

    # ── its sales ───────────────────────────────────────────────────────────────────────────────

    def sale(self) -> Json:
        """A payment of it; its event is some seconds later than the payment."""
        self.sale_id = self._token(17)
        at = to_iso(self.now)
        sale = {
            "id": self.sale_id,
            "state": "completed",
            "amount": self._money(self.amount, v1=True),
            "billing_agreement_id": self.id,
            "custom": self.reference,
            "create_time": at,
            "update_time": at,
            "links": [{"href": f"{API}/v1/payments/sale/{self.sale_id}"}],
        }
        self._billing["last_payment"] = {"amount": self._money(self.amount), "time": at}
        self._billing["next_billing_time"] = to_iso(self.now + MONTH)
        regular = {**self._billing["cycle_executions"][-1], "cycles_completed": 1}
        self._billing["cycle_executions"] = [*self._billing["cycle_executions"][:-1], regular]
        return self._event("PAYMENT.SALE.COMPLETED", "sale", sale, "1.0")

    def disputed(self, status: str = "OPEN", outcome: str | None = None) -> Json:
        """A dispute of the last sale; lost where the buyer was right."""
        what = "RESOLVED" if outcome else "CREATED"
        at = to_iso(self.now)
        dispute = {
            "dispute_id": f"PP-D-{self.sale_id[:6]}",
            "create_time": at,
            "update_time": at,
            "status": status,
            "dispute_amount": self._money(self.amount),
            "disputed_transactions": [{"seller_transaction_id": self.sale_id}],
        }
        if outcome:
            dispute["dispute_outcome"] = {
                "outcome_code": outcome,
                "amount_refunded": self._money(self.amount),
            }
        return self._event(f"CUSTOMER.DISPUTE.{what}", "dispute", dispute, "1.0")


# ── stories ─────────────────────────────────────────────────────────────────────────────────────────


def _begun(it: PayPalSubscription, days: int) -> Iterator[Json]:
    yield it.created(days)
    yield it.activated()
    yield it.sale()


def _trial_converts(it: PayPalSubscription) -> Iterator[Json]:
    yield it.created(31)
    yield it.activated(trial_days=30)
    it.now += 30 * DAY
    yield it.sale()
    it.now += MINUTE
    yield it.stated("UPDATED")


def _renewal_fails_then_recovers(it: PayPalSubscription) -> Iterator[Json]:
    yield from _begun(it, 35)
    it.now += MONTH
    yield it.payment_failed()
    it.now += 5 * DAY
    yield it.sale()
    it._billing |= {"outstanding_balance": it._money(0), "failed_payments_count": 0}
    it.now += MINUTE
    yield it.stated("UPDATED")


def _upgrade(it: PayPalSubscription) -> Iterator[Json]:
    yield from _begun(it, 10)
    it.now += 10 * DAY
    it.amount *= 3
    yield it.stated("UPDATED", plan_id=PLAN[:-1] + "2")


def _pause(it: PayPalSubscription) -> Iterator[Json]:
    yield from _begun(it, 10)
    it.now += 10 * DAY
    yield it.stated("SUSPENDED", status="SUSPENDED")


def _cancel_at_end(it: PayPalSubscription) -> Iterator[Json]:
    yield from _begun(it, 10)
    it.now += 10 * DAY
    yield it.cancelled()


def _disputed_renewal(it: PayPalSubscription) -> Iterator[Json]:
    yield from _begun(it, 35)
    it.now += MONTH
    yield it.sale()
    it.now += MINUTE
    yield it.stated("UPDATED")
    it.now += DAY
    yield it.disputed()
    it.now += 4 * DAY
    yield it.disputed("RESOLVED", "RESOLVED_BUYER_FAVOUR")


STORIES: Mapping[str, Callable[[PayPalSubscription], Iterator[Json]]] = {
    "trial-converts": _trial_converts,
    "renewal-fails-then-recovers": _renewal_fails_then_recovers,
    "upgrade": _upgrade,
    "pause": _pause,
    "cancel-at-end": _cancel_at_end,
    "disputed-renewal": _disputed_renewal,
}
