"""Stories of a Stripe subscription: the last event is of now, the first of weeks ago.

Updates of one second are part of them, as Stripe sends them.
"""

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ops.stories.made import LETTERS, Json

VERSION = "2026-10-28"
DAY = 86_400  # seconds
MONTH = 30 * DAY


class StripeSubscription:
    """A subscription of one price by the month, and the events that tell of it. Instants in Unix seconds."""

    def __init__(self, rng: random.Random, ends: int, amount: int, currency: str, id: str | None) -> None:
        self._rng = rng
        self.now = ends // 1000
        self.amount = amount
        self.currency = currency.lower()
        self.id = id or f"sub_{self._token()}"
        self._customer = f"cus_{self._token()[:14]}"
        self._item = f"si_{self._token()[:14]}"
        self._about: Json = {}
        self._intent = self._charge = ""

    @property
    def subject(self) -> str:
        return f"stripe:{self.id}"

    @property
    def reference(self) -> str:
        """The seller's own number of the user."""
        return f"user-{self.id[-6:].lower()}"

    def _token(self) -> str:
        return "".join(self._rng.choices(LETTERS, k=24))

    def _event(self, type_: str, about: Json, previous: Json | None = None) -> Json:
        data = {"object": copy.deepcopy(about), **({"previous_attributes": previous} if previous else {})}
        return {
            "id": f"evt_{self._token()}",
            "object": "event",
            "api_version": VERSION,
            "created": self.now,
            "data": data,
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": type_,
        }

    def created(self, status: str, days: int) -> Json:
        """It begins ``days`` before the story's end, with a period of a month; trialing for that long."""
        self.now -= days * DAY
        price = {
            "id": "price_basic",
            "product": "prod_basic",
            "currency": self.currency,
            "unit_amount": self.amount,
            "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
        }
        item = {"id": self._item, "object": "subscription_item", "price": price, "quantity": 1}
        self._about = {
            "id": self.id,
            "object": "subscription",
            "status": status,
            "created": self.now,
            "start_date": self.now,
            "currency": self.currency,
            "customer": self._customer,
            "metadata": {"user_id": self.reference},
            "default_payment_method": "pm_first",
            "cancel_at": None,
            "cancel_at_period_end": False,
            "canceled_at": None,
            "ended_at": None,
            "cancellation_details": {"comment": None, "feedback": None, "reason": None},
            "pause_collection": None,
            "test_clock": None,
            "trial_end": self.now + MONTH if status == "trialing" else None,
            "items": {"object": "list", "data": [{**item, **_period(self.now)}]},
        }
        return self._event("customer.subscription.created", self._about)

    def updated(self, **changes: Any) -> Json:
        """A change, with what was before."""
        previous = {name: copy.deepcopy(self._about[name]) for name in changes}
        self._about.update(changes)
        return self._event("customer.subscription.updated", self._about, previous)

    def renewed(self, **changes: Any) -> Json:
        """The next period begins."""
        self.now = self._items[0]["current_period_end"]
        return self.updated(
            items={"object": "list", "data": [{**self._items[0], **_period(self.now)}]}, **changes
        )

    def priced(self, name: str, amount: int) -> Json:
        """Another price from now on, with a new period."""
        price = {
            **self._items[0]["price"],
            "id": f"price_{name}",
            "product": f"prod_{name}",
            "unit_amount": amount,
        }
        self.amount = amount
        item = {**self._items[0], "price": price, **_period(self.now)}
        return self.updated(items={"object": "list", "data": [item]})

    @property
    def _items(self) -> list[Json]:
        found: list[Json] = self._about["items"]["data"]
        return found

    def deleted(self, reason: str) -> Json:
        ends = {"status": "canceled", "ended_at": self.now, "canceled_at": self.now}
        self._about.update(ends, cancellation_details={"comment": None, "feedback": None, "reason": reason})
        return self._event("customer.subscription.deleted", self._about)

    def trial_will_end(self) -> Json:
        return self._event("customer.subscription.trial_will_end", self._about)

    def invoice(self, type_: str, reason: str, amount: int | None = None, attempts: int = 1) -> Json:
        """Of the running period; paid, unless its type says otherwise."""
        item = self._items[0]
        period = {"start": item["current_period_start"], "end": item["current_period_end"]}
        amount = self.amount if amount is None else amount
        is_paid = type_ == "invoice.paid"
        of_item = {"subscription_item": self._item, "subscription": self.id, "proration": False}
        named = {"price": item["price"]["id"], "product": item["price"]["product"]}
        line = {
            "id": f"il_{self._token()}",
            "object": "line_item",
            "amount": amount,
            "currency": self.currency,
            "period": period,
            "quantity": 1,
            "parent": {"type": "subscription_item_details", "subscription_item_details": of_item},
            "pricing": {"type": "price_details", "price_details": named},
        }
        details = {"subscription": self.id, "metadata": {"user_id": self.reference}}
        about = {
            "id": f"in_{period['start']}{self._item[-8:]}",
            "object": "invoice",
            "billing_reason": reason,
            "amount_due": amount,
            "amount_paid": amount if is_paid else 0,
            "attempt_count": attempts,
            "created": period["start"],
            "currency": self.currency,
            "customer": self._customer,
            "lines": {"object": "list", "data": [line]},
            "livemode": False,
            "next_payment_attempt": None if is_paid else self.now + 3 * DAY,
            "status": "paid" if is_paid else "open",
            "status_transitions": {"paid_at": self.now if is_paid else None},
            "parent": {"type": "subscription_details", "subscription_details": details},
        }
        return self._event(type_, about)

    # ── its payments ────────────────────────────────────────────────────────────────────────────

    def paid(self, reason: str, amount: int | None = None, attempts: int = 1) -> Iterator[Json]:
        """The running period: its charge, its invoice, and which of both belong together."""
        amount = self.amount if amount is None else amount
        invoice = self.invoice("invoice.paid", reason, amount, attempts)
        if not amount:
            yield invoice
            return
        self._intent, self._charge = f"pi_{self._token()}", f"ch_{self._token()}"
        yield self._event("charge.succeeded", self._charged(amount))
        yield invoice
        paid_by = {"type": "payment_intent", "payment_intent": self._intent}
        link = {"id": f"inpay_{self._token()}", "object": "invoice_payment", "payment": paid_by}
        paid = {"amount_paid": amount, "currency": self.currency, "status": "paid"}
        link["invoice"] = invoice["data"]["object"]["id"]
        yield self._event(
            "invoice_payment.paid", {**link, **paid, "invoice": invoice["data"]["object"]["id"]}
        )

    def _charged(self, amount: int) -> Json:
        return {
            "id": self._charge,
            "object": "charge",
            "amount": amount,
            "amount_captured": amount,
            "amount_refunded": 0,
            "captured": True,
            "created": self.now,
            "currency": self.currency,
            "customer": self._customer,
            "metadata": {},
            "paid": True,
            "payment_intent": self._intent,
            "status": "succeeded",
        }

    def disputed(self, type_: str, status: str) -> Json:
        """A ``charge.dispute.*`` event about the last charge."""
        about = {
            "id": f"dp_{self._charge[3:]}",
            "object": "dispute",
            "amount": self.amount,
            "charge": self._charge,
            "created": self.now,
            "currency": self.currency,
            "payment_intent": self._intent,
            "reason": "fraudulent",
            "status": status,
        }
        return self._event(f"charge.dispute.{type_}", about)


def _period(start: int) -> Json:
    return {"current_period_start": start, "current_period_end": start + MONTH}


# ── stories ─────────────────────────────────────────────────────────────────────────────────────────


def _trial_converts(it: StripeSubscription) -> Iterator[Json]:
    yield it.created("trialing", 31)
    yield from it.paid("subscription_create", 0)
    it.now += 27 * DAY
    yield it.trial_will_end()
    yield it.renewed(status="active")
    yield from it.paid("subscription_cycle")


def _renewal_fails_then_recovers(it: StripeSubscription) -> Iterator[Json]:
    yield it.created("active", 35)
    yield from it.paid("subscription_create")
    yield it.renewed()
    yield it.invoice("invoice.payment_failed", "subscription_cycle")
    yield it.updated(status="past_due")
    it.now += 3 * DAY
    yield it.updated(default_payment_method="pm_new")  # in the same second
    yield it.updated(status="active")
    yield from it.paid("subscription_cycle", attempts=2)


def _upgrade(it: StripeSubscription) -> Iterator[Json]:
    yield it.created("active", 10)
    yield from it.paid("subscription_create")
    it.now += 10 * DAY
    yield it.priced("pro", 3 * it.amount)
    yield from it.paid("subscription_update")


def _pause(it: StripeSubscription) -> Iterator[Json]:
    yield it.created("active", 10)
    yield from it.paid("subscription_create")
    it.now += 10 * DAY
    yield it.updated(pause_collection={"behavior": "void", "resumes_at": it.now + 60 * DAY})


def _cancel_at_end(it: StripeSubscription) -> Iterator[Json]:
    yield it.created("active", 10)
    yield from it.paid("subscription_create")
    it.now += 10 * DAY
    yield it.updated(cancel_at=it.now + 20 * DAY, canceled_at=it.now)


def _disputed_renewal(it: StripeSubscription) -> Iterator[Json]:
    yield it.created("active", 35)
    yield from it.paid("subscription_create")
    yield it.renewed()
    yield from it.paid("subscription_cycle")
    it.now += DAY
    yield it.disputed("created", "needs_response")
    yield it.disputed("funds_withdrawn", "needs_response")
    it.now += 4 * DAY
    yield it.disputed("closed", "lost")


STORIES: Mapping[str, Callable[[StripeSubscription], Iterator[Json]]] = {
    "trial-converts": _trial_converts,
    "renewal-fails-then-recovers": _renewal_fails_then_recovers,
    "upgrade": _upgrade,
    "pause": _pause,
    "cancel-at-end": _cancel_at_end,
    "disputed-renewal": _disputed_renewal,
}
