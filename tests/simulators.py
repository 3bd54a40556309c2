"""Two small providers that keep their own books: what a payment goes through, and the events that tell of it.

Written from the providers' documents, which are named at each rule, and from nothing of the code under test.
An action does what the provider would do at that moment, or nothing where it would refuse.
"""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from chalicelib.times import to_iso

Json = dict[str, Any]
Action = tuple[str, tuple[Any, ...]]
START = 1_795_400_000  # seconds
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
HOME, RATE = "EUR", 0.9  # of the balance, and what it gives for any other
BEFORE_BASIL, SINCE_BASIL = "2024-09-30.acacia", "2025-03-31.basil"


@dataclass
class Refund:
    """Its status as the provider names it; a ``release`` moves no money."""

    amount: int
    made: int
    status: str
    is_release: bool = False
    was_pending: bool = False


@dataclass
class Dispute:
    """What is claimed, and what of the payment's money it took and gave back."""

    amount: int
    made: int
    status: str
    taken: int = 0
    returned: int = 0

    @property
    def held(self) -> int:
        return self.taken - self.returned


class Entry(NamedTuple):
    """What the provider's own books say of money that moved: minor units, money out below zero."""

    kind: str
    object: str
    at: int
    gross: int
    fee: int
    currency: str


def fee_of(amount: int) -> int:
    """2.9 % and 0.30, as both providers charge it somewhere."""
    return round(amount * 0.029) + 30


class Simulated:
    """One payment, with what is common to both providers' books."""

    def __init__(self, seed: int, tie: bool = False, start: int = START, currency: str = "EUR") -> None:
        self.rng = random.Random(seed)
        self.tie = tie  # all events of one second
        self.now = self.start = start
        self.currency = currency
        self.events: list[Json] = []
        self.refunds: dict[str, Refund] = {}
        self.disputes: dict[str, Dispute] = {}
        self.milestones: list[str] = []
        self.balance: list[Entry] = []
        self.holds: list[Entry] = []
        self.captured = 0

    def token(self, length: int = 12) -> str:
        return "".join(self.rng.choices(LETTERS, k=length))

    def later(self) -> None:
        """Some time passes: more than clocks can differ by."""
        self.now += 0 if self.tie else self.rng.randint(30, 90_000)

    def reach(self, type_: str) -> None:
        self.milestones.append(type_)

    @property
    def given_back(self) -> int:
        return sum(each.amount for each in self.refunds.values() if self.stands(each))

    def stands(self, refund: Refund) -> bool:
        return refund.status.lower() in ("succeeded", "completed") and not refund.is_release

    @property
    def disputed(self) -> int:
        return sum(each.held for each in self.disputes.values())

    @property
    def left(self) -> int:
        """What can still be refunded or disputed."""
        pending = sum(
            each.amount
            for each in self.refunds.values()
            if each.status.lower() == "pending" and not each.is_release
        )
        return self.captured - self.given_back - pending - self.disputed

    def moves(self, kind: str, object_: str, gross: int, fee: int = 0, currency: str = HOME) -> None:
        """``gross`` in the payment's currency, which is exchanged; ``fee`` in the balance's."""
        self.balance.append(Entry(kind, object_, self.now, self.exchanged(gross), fee, currency))

    def exchanged(self, amount: int) -> int:
        return amount if self.currency == HOME else round(amount * RATE)

    def captures(self, amount: int) -> None:
        if not self.captured:
            self.reach("payment.succeeded")
        self.reach("payment.captured")
        self.captured += amount

    @property
    def must_be_notified(self) -> Counter[str]:
        """What holds in the end; what does not any more may have been superseded when it was first learnt."""
        ended = [
            "dispute.won" if each.status in WON else "dispute.lost"
            for each in self.disputes.values()
            if each.status in (*WON, *LOST)
        ]
        standing = [each for each in self.refunds.values() if self.stands(each)]
        paid = [each for each in self.milestones if each == "payment.succeeded"]
        return Counter([*paid, *ended, *["payment.refunded"] * len(standing)])

    @property
    def may_be_notified(self) -> Counter[str]:
        """A running total that comes first does not say that its refund is pending."""
        pending = [each for each in self.refunds.values() if each.was_pending]
        return Counter(self.milestones) + Counter(["payment.refunded"] * len(pending))

    def status_with_money(self) -> str | None:
        """https://docs.stripe.com/disputes/how-disputes-work and PayPal's alike: what is open comes first."""
        if any(each.status in OPEN for each in self.disputes.values()):
            return "disputed"
        if any(each.status in LOST and each.held for each in self.disputes.values()):
            return "charged_back"
        if not self.captured:
            return None
        if self.given_back >= self.captured:
            return "refunded"
        return "partially_refunded" if self.given_back else "succeeded"


OPEN = ("needs_response", "OPEN")
WON = ("won", "RESOLVED_SELLER_FAVOUR")
LOST = ("lost", "RESOLVED_BUYER_FAVOUR", "ACCEPTED")


def transaction(entry: Entry, number: int) -> Json:
    """https://docs.stripe.com/api/balance_transactions/object: of an object, each with an id of its own."""
    return {
        "id": f"txn_{entry.object}_{number}",
        "object": "balance_transaction",
        "amount": entry.gross,
        "created": entry.at,
        "currency": entry.currency.lower(),
        "exchange_rate": None,
        "fee": entry.fee,
        "fee_details": [{"type": "stripe_fee", "amount": entry.fee, "currency": entry.currency.lower()}],
        "net": entry.gross - entry.fee,
        "reporting_category": entry.kind,
        "source": entry.object,
        "type": entry.kind,
    }


# ── Stripe ──────────────────────────────────────────────────────────────────────────────────────────


class StripeSimulator(Simulated):
    """A PaymentIntent with one charge, by the API version that its endpoint is set to."""

    ATTEMPTS: ClassVar[tuple[Action, ...]] = (
        ("fail", ()),
        ("process", ()),
        ("ask", ()),
        ("authorize", ()),
    )
    SETTLED: ClassVar[Action] = "succeed", ()
    CHANGES: ClassVar[tuple[Action, ...]] = (
        ("capture", (3000, True)),
        ("capture", (1000, False)),
        ("cancel", ()),
        ("refund", (400, "succeeded")),
        ("refund", (1000, "succeeded")),
        ("refund", (700, "pending")),
        ("settle_refund", ("succeeded",)),
        ("dispute", ("needs_response", "eur")),
        ("dispute", ("won", "eur")),
        ("dispute", ("lost", "usd")),
        ("inquire", ("open",)),
        ("inquire", ("closed",)),
        ("inquire", ("needs_response",)),
    )

    def __init__(
        self,
        seed: int,
        tie: bool = False,
        version: str = SINCE_BASIL,
        start: int = START,
        currency: str = HOME,
    ) -> None:
        super().__init__(seed, tie, start, currency)
        self.version = version
        self.intent_id, self.charge_id = f"pi_{self.token()}", f"ch_{self.token()}"
        self.subject = f"stripe:{self.intent_id}"
        self.amount = 5000
        self.held = 0  # authorized and not captured
        self.is_canceled = False
        self.is_final = False  # no more can be captured
        self.attempt = "created"
        self._inquiries: dict[str, str] = {}
        self._intent("created", "requires_payment_method")

    # ── what is shown ───────────────────────────────────────────────────────────────────────────

    def _emit(self, type_: str, about: Json, previous: Json | None = None) -> None:
        data: Json = (
            {"object": about} if previous is None else {"object": about, "previous_attributes": previous}
        )
        self.events.append(
            {
                "id": f"evt_{self.token(16)}",
                "object": "event",
                "api_version": self.version,
                "created": self.now,
                "livemode": False,
                "type": type_,
                "data": data,
            }
        )

    def _intent(self, type_: str, status: str, **fields: Any) -> None:
        about = {
            "id": self.intent_id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_capturable": self.held,
            "amount_received": self.captured,
            "created": self.start,
            "currency": self.currency.lower(),
            "latest_charge": self.charge_id if self.held or self.captured else None,
            "status": status,
            **fields,
        }
        self._emit(f"payment_intent.{type_}", about)

    @property
    def _refunded_total(self) -> int:
        """Pending ones are in it; before basil what was let go too."""
        counted = ("succeeded", "pending")
        return sum(each.amount for each in self.refunds.values() if each.status in counted)

    def _charge(self, type_: str, previous: Json | None = None, **fields: Any) -> None:
        about = {
            "id": self.charge_id,
            "object": "charge",
            "amount": self.amount,
            "amount_captured": self.captured,
            "amount_refunded": self._refunded_total,
            # https://docs.stripe.com/payments/multicapture: true at the last capture only
            "captured": self.is_final,
            "created": self.start,
            "currency": self.currency.lower(),
            "payment_intent": self.intent_id,
            "refunded": self._refunded_total >= self.amount,
            "status": "succeeded",
            **fields,
        }
        self._emit(f"charge.{type_}", about, previous)

    def _refund(self, type_: str, refund_id: str) -> None:
        refund = self.refunds[refund_id]
        about = {
            "id": refund_id,
            "object": "refund",
            "amount": refund.amount,
            "charge": self.charge_id,
            "created": refund.made,
            "currency": self.currency.lower(),
            "payment_intent": self.intent_id,
            "status": refund.status,
        }
        self._emit(type_, about)

    def as_thin(self, rng: random.Random) -> list[Json]:
        """The same events without their objects, each completed with its object as it was then or later.

        https://docs.stripe.com/event-destinations#fetch-related-object
        """
        made = []
        for number, event in enumerate(self.events):
            about = event["data"]["object"]
            later = [each for each in self.events[number:] if each["data"]["object"]["id"] == about["id"]]
            fetched = rng.choice(later)
            made.append(
                {
                    "id": event["id"],
                    "object": "v2.core.event",
                    "type": f"v1.{event['type']}",
                    "created": to_iso(event["created"] * 1000),
                    "livemode": False,
                    "related_object": {"id": about["id"], "type": about["object"], "url": "/v1/x"},
                    "data": {"object": fetched["data"]["object"]},
                    "fetched_at": fetched["created"] * 1000 + 500,
                }
            )
        return made

    # ── attempts ────────────────────────────────────────────────────────────────────────────────

    @property
    def _can_be_tried(self) -> bool:
        return not (self.captured or self.is_canceled or self.held)

    def fail(self) -> None:
        """An attempt is declined. Each attempt is a charge of its own."""
        if self._can_be_tried:
            self.later()
            failed: Json = {"id": f"ch_{self.token()}", "status": "failed", "captured": False}
            self._charge("failed", **failed)
            self._intent("payment_failed", "requires_payment_method")
            if "payment.failed" not in self.milestones:
                self.reach("payment.failed")
            self.attempt = "failed"

    def process(self) -> None:
        """An attempt begins that needs its time, such as a bank debit."""
        if self._can_be_tried:
            self.later()
            self._intent("processing", "processing")
            self.attempt = "processing"

    def ask(self) -> None:
        """Authentication is asked for."""
        if self._can_be_tried:
            self.later()
            self._intent("requires_action", "requires_action")
            self.attempt = "requires_action"

    def succeed(self) -> None:
        """An attempt is paid and captured at once."""
        if self._can_be_tried:
            self.later()
            self.is_final = True
            self.captures(self.amount)
            self.moves("charge", self.charge_id, self.amount, fee_of(self.exchanged(self.amount)))
            self._charge("succeeded")
            self._intent("succeeded", "succeeded")

    def authorize(self) -> None:
        """https://docs.stripe.com/payments/place-a-hold-on-a-payment-method"""
        if self._can_be_tried:
            self.later()
            self.held = self.amount
            self._charge("succeeded")
            self._intent("amount_capturable_updated", "requires_capture")
            self.reach("payment.authorized")

    def capture(self, part: int, is_final: bool) -> None:
        """A part of what is held; with the last one the rest is let go. Not last: a multicapture."""
        if not self.held:
            return
        self.later()
        part = min(part, self.held)
        before = self._refunded_total
        self.held = 0 if is_final else self.held - part
        self.is_final = is_final or not self.held
        self.captures(part)
        self.moves("charge", self.charge_id, part, fee_of(self.exchanged(part)))
        released = self.amount - self.captured if self.is_final else 0
        if released:
            self._release(released)
        if self.is_final:
            self.held = 0
        self._charge("captured" if self.is_final else "updated", {"amount_captured": self.captured - part})
        if released and self.version == BEFORE_BASIL:
            self._charge("refunded", {"amount_refunded": before})
        if self.is_final:
            self._intent("succeeded", "succeeded")
        else:
            self._intent("amount_capturable_updated", "requires_capture")

    def _release(self, amount: int) -> None:
        """Before basil a Refund is made of what is let go.

        https://support.stripe.com/questions/changes-to-balance-transaction-behavior-for-partial-capture-and-payment-cancellation-flows
        """
        if self.version == BEFORE_BASIL:
            refund_id = f"re_{self.token()}"
            self.refunds[refund_id] = Refund(amount, self.now, "succeeded", is_release=True)
            self._refund("refund.created", refund_id)

    def cancel(self) -> None:
        """An intent without money; what is held is let go whole."""
        if self.captured or self.is_canceled:
            return
        self.later()
        if self.held:
            self._release(self.held)
            if self.version == BEFORE_BASIL:
                self._charge("refunded", {"amount_refunded": 0})
            self.held = 0
            self._charge("expired")
        self.is_canceled = True
        self._intent("canceled", "canceled")
        self.reach("payment.canceled")

    # ── refunds ─────────────────────────────────────────────────────────────────────────────────

    def refund(self, amount: int, status: str = "succeeded") -> None:
        """https://docs.stripe.com/refunds: pending for want of balance, or by a method that is slow."""
        amount = min(amount, self.left)
        if amount <= 0 or not self.is_final or any(d.status in OPEN for d in self.disputes.values()):
            return
        self.later()
        before = self._refunded_total
        refund_id = f"re_{self.token()}"
        self.refunds[refund_id] = Refund(amount, self.now, status, was_pending=status == "pending")
        self._refund("refund.created", refund_id)
        self._charge("refunded", {"amount_refunded": before})
        if status == "succeeded":
            self.reach("payment.refunded")
            self.moves("refund", refund_id, -amount)

    def settle_refund(self, status: str, which: int = -1) -> None:
        """A pending one ends: succeeded, failed or canceled."""
        pending = [name for name, each in self.refunds.items() if each.status == "pending"]
        if pending:
            self.later()
            self.refunds[pending[which]].status = status
            self._refund("refund.updated", pending[which])
            if status == "succeeded":
                self.moves("refund", pending[which], -self.refunds[pending[which]].amount)
            self.reach("payment.refunded" if status == "succeeded" else "refund.failed")

    def fail_refund(self, which: int = -1) -> None:
        """https://docs.stripe.com/refunds#failed-refunds: the money is back, the total goes down unheard."""
        alive = [name for name, each in self.refunds.items() if self.stands(each)]
        if alive:
            self.later()
            self.refunds[alive[which]].status = "failed"
            self.moves("refund_failure", alive[which], self.refunds[alive[which]].amount)
            self._refund("refund.failed", alive[which])
            self._refund("charge.refund.updated", alive[which])
            self.reach("refund.failed")

    # ── disputes ────────────────────────────────────────────────────────────────────────────────

    def _dispute(self, type_: str, dispute_id: str, status: str) -> None:
        """https://docs.stripe.com/api/disputes/object: zero, one or two balance transactions."""
        dispute = self.disputes[dispute_id]
        moves = [each for each in self.balance if each.object == dispute_id]
        about = {
            "id": dispute_id,
            "object": "dispute",
            "amount": dispute.amount,
            "balance_transactions": [transaction(each, number) for number, each in enumerate(moves)],
            "charge": self.charge_id,
            "created": dispute.made,
            "currency": self.currency.lower(),
            "payment_intent": self.intent_id,
            "status": status,
        }
        self._emit(f"charge.dispute.{type_}", about)

    def dispute(self, end: str, currency: str = "eur") -> None:
        """A dispute over all that is left: open, won (all comes back), or lost (a part can come back)."""
        amount = self.left
        if amount > 0 and not any(each.status in OPEN for each in self.disputes.values()):
            self.later()
            self._open(f"dp_{self.token()}", Dispute(amount, self.now, "needs_response"), currency)
            self._end(end, currency)

    def _open(self, dispute_id: str, dispute: Dispute, currency: str) -> None:
        self.disputes[dispute_id] = dispute
        dispute.status, dispute.taken = "needs_response", dispute.amount
        rate = 2 if currency == "usd" else 1
        self.moves("dispute", dispute_id, -dispute.taken * rate, 1500, currency.upper())
        self._dispute("created", dispute_id, "needs_response")
        self._dispute("funds_withdrawn", dispute_id, "needs_response")
        self.reach("dispute.opened")

    def _end(self, end: str, currency: str) -> None:
        """Of the dispute opened last."""
        dispute_id, dispute = list(self.disputes.items())[-1]
        if end == "needs_response":
            return
        self.later()
        dispute.status = end
        if end == "won":
            dispute.returned = dispute.taken
            self.moves("dispute_reversal", dispute_id, dispute.taken, -1500, currency.upper())
        self._dispute("closed", dispute_id, end)
        if end == "won":
            self._dispute("funds_reinstated", dispute_id, end)
        self.reach(f"dispute.{end}")

    def inquire(self, end: str) -> None:
        """It asks and takes nothing: https://docs.stripe.com/disputes/how-disputes-work#inquiries"""
        amount = self.left
        if amount <= 0 or any(each.status in OPEN for each in self.disputes.values()):
            return
        self.later()
        dispute_id = f"dp_{self.token()}"
        self.disputes[dispute_id] = inquiry = Dispute(amount, self.now, "warning_needs_response")
        self._dispute("created", dispute_id, inquiry.status)
        self.reach("inquiry.opened")
        if end == "closed":
            self.later()
            inquiry.status = "warning_closed"
            self._dispute("closed", dispute_id, inquiry.status)
            self.reach("inquiry.closed")
        elif end != "open":
            self.later()
            self._open(dispute_id, inquiry, "eur")

    # ── what is true ────────────────────────────────────────────────────────────────────────────

    @property
    def status(self) -> str:
        if self.captured or self.disputes:
            return self.status_with_money() or "succeeded"
        if self.is_canceled:
            return "canceled"
        return "authorized" if self.held else self.attempt


def _at_home(minor: int) -> Json:
    return {"value": f"{minor / 100:.2f}", "currency_code": HOME}


# ── PayPal ──────────────────────────────────────────────────────────────────────────────────────────


class PayPalSimulator(Simulated):
    """A capture (v2) or sale (v1). Events come some time after what they tell of, by a clock of their own."""

    ATTEMPTS: ClassVar[tuple[Action, ...]] = (("pend", ()), ("pend", ()), ("deny", ()))
    SETTLED: ClassVar[Action] = "complete", ()
    CHANGES: ClassVar[tuple[Action, ...]] = (
        ("refund", (400, "COMPLETED")),
        ("refund", (1000, "COMPLETED")),
        ("refund", (600, "FAILED")),
        ("reverse", (500,)),
        ("dispute", (None,)),
        ("dispute", ("RESOLVED_BUYER_FAVOUR",)),
        ("dispute", ("RESOLVED_SELLER_FAVOUR",)),
        ("appeal", ("RESOLVED_BUYER_FAVOUR",)),
    )

    def __init__(self, seed: int, tie: bool = False, start: int = START, currency: str = HOME) -> None:
        super().__init__(seed, tie, start, currency)
        self.id = self.token(17)
        self.is_v1 = self.rng.random() < 0.3 and currency == HOME
        self.subject = f"paypal:{self.id}"
        self.is_pending = self.is_failed = False

    def _emit(self, type_: str, resource: Json, version: str = "2.0") -> None:
        """https://developer.paypal.com/api/rest/webhooks/: delivered some seconds later."""
        lag = 0 if self.tie else self.rng.randint(0, 60)
        self.events.append(
            {
                "id": f"WH-{self.token(17)}-{self.token(17)}",
                "event_type": type_,
                "create_time": to_iso((self.now + lag) * 1000),
                "resource_version": version,
                "resource": resource,
            }
        )

    def _amount(self, minor: int, is_v1: bool = False) -> Json:
        value = f"{minor / 100:.2f}"
        if is_v1:
            return {"total": value, "currency": HOME}
        return {"value": value, "currency_code": self.currency}

    def _capture(self, word: str, status: str) -> None:
        kind = "SALE" if self.is_v1 else "CAPTURE"
        state = {"state": status.lower()} if self.is_v1 else {"status": status}
        resource = {"id": self.id, "amount": self._amount(5000, self.is_v1), **state, **self._times()}
        if word == "COMPLETED" and self.is_v1:
            resource["transaction_fee"] = self._amount(fee_of(5000), is_v1=True)
        elif word == "COMPLETED":
            resource["seller_receivable_breakdown"] = self._receivable()
        self._emit(f"PAYMENT.{kind}.{word}", resource, "1.0" if self.is_v1 else "2.0")

    def _breakdown(self, gross: int, fee: int) -> Json:
        """https://developer.paypal.com/docs/api/payments/v2/#definition-seller_receivable_breakdown"""
        amounts = {"gross_amount": gross, "paypal_fee": fee, "net_amount": gross - fee}
        return {name: self._amount(each) for name, each in amounts.items()}

    def _receivable(self) -> Json:
        """Of the capture, with what it is exchanged for."""
        received = self.exchanged(5000)
        fee = fee_of(received)
        if self.currency == HOME:
            return self._breakdown(5000, fee)
        at_home = {"receivable_amount": received - fee, "paypal_fee_in_receivable_currency": fee}
        rate = {"source_currency": self.currency, "target_currency": HOME, "value": str(RATE)}
        exchanged = {name: _at_home(each) for name, each in at_home.items()}
        return {**self._breakdown(5000, round(fee / RATE)), **exchanged, "exchange_rate": rate}

    def _payable(self, amount: int) -> Json:
        """https://developer.paypal.com/docs/api/payments/v2/#definition-seller_payable_breakdown"""
        own = self._breakdown(amount, 0)
        if self.currency == HOME:
            return own
        return {**own, "net_amount_in_receivable_currency": _at_home(self.exchanged(amount))}

    def _times(self, made: int | None = None) -> Json:
        return {"create_time": to_iso((made or self.now) * 1000), "update_time": to_iso(self.now * 1000)}

    def pend(self) -> None:
        """https://developer.paypal.com/docs/api/payments/v2/#definition-capture_status"""
        if not (self.captured or self.is_failed):
            self.later()
            self._capture("PENDING", "PENDING")
            self.is_pending = True

    def complete(self) -> None:
        if not (self.captured or self.is_failed):
            self.later()
            self.captures(5000)
            self.moves("capture", self.id, 5000, fee_of(self.exchanged(5000)))
            self._capture("COMPLETED", "COMPLETED")

    def deny(self) -> None:
        if not (self.captured or self.is_failed):
            self.later()
            self._capture("DENIED", "DENIED" if self.is_v1 else "DECLINED")
            self.is_failed = True
            self.reach("payment.failed")

    def _refund(self, type_: str, refund_id: str, total: int) -> None:
        """https://developer.paypal.com/docs/api/payments/v2/#refunds_get"""
        refund = self.refunds[refund_id]
        payable = {"total_refunded_amount": self._amount(total), **self._payable(refund.amount)}
        if refund.status == "COMPLETED":
            self.moves("refund", refund_id, -refund.amount)
        resource: Json = {
            "id": refund_id,
            "amount": self._amount(refund.amount, self.is_v1),
            **self._times(refund.made),
        }
        if self.is_v1:
            resource |= {"sale_id": self.id, "state": refund.status.lower()}
            resource["refund_from_transaction_fee"] = self._amount(0, is_v1=True)
        else:
            up = {"rel": "up", "href": f"https://api.paypal.com/v2/payments/captures/{self.id}"}
            resource |= {"status": refund.status, "seller_payable_breakdown": payable, "links": [up]}
        kind = type_ if "REFUND." in type_ else f"PAYMENT.{'SALE' if self.is_v1 else 'CAPTURE'}.{type_}"
        self._emit(kind, resource, "1.0" if self.is_v1 else "2.0")

    @property
    def _out(self) -> int:
        """All that went back to date, reversals too."""
        return self.given_back + sum(each.held for each in self.disputes.values() if each.status in LOST)

    def refund(self, amount: int, end: str) -> None:
        """A refund, through pending to its end: ``COMPLETED`` or ``FAILED``. None while a case is open."""
        amount = min(amount, self.left)
        if amount <= 0 or self.disputes:
            return
        self.later()
        refund_id = self.token(17)
        self.refunds[refund_id] = Refund(amount, self.now, "PENDING")
        if not self.is_v1:
            self._refund("PAYMENT.REFUND.PENDING", refund_id, self._out)
            self.later()
        self.refunds[refund_id].status = end
        self._refund("REFUNDED" if end == "COMPLETED" else "PAYMENT.REFUND.FAILED", refund_id, self._out)
        self.reach("payment.refunded" if end == "COMPLETED" else "refund.failed")

    def reverse(self, amount: int) -> None:
        """A bank takes money back, with no case: https://developer.paypal.com/api/rest/webhooks/event-names/"""
        amount = min(amount, self.left)
        if amount <= 0 or self.disputes:
            return
        self.later()
        refund_id = self.token(17)
        self.refunds[refund_id] = Refund(amount, self.now, "COMPLETED")
        self._refund("REVERSED", refund_id, self._out)
        self.reach("payment.refunded")

    # ── cases ───────────────────────────────────────────────────────────────────────────────────

    def _case(self, word: str, dispute_id: str, status: str, outcome: Json | None = None) -> None:
        """https://developer.paypal.com/docs/api/customer-disputes/v1/#definition-dispute"""
        case = self.disputes[dispute_id]
        resource: Json = {
            "dispute_id": dispute_id,
            "disputed_transactions": [{"seller_transaction_id": self.id}],
            "dispute_amount": self._amount(case.amount),
            "status": status,
            **self._times(case.made),
        }
        if outcome is not None:
            resource["dispute_outcome"] = outcome
        self._emit(f"CUSTOMER.DISPUTE.{word}", resource, "1.0")

    def dispute(self, outcome: str | None) -> None:
        """A case over all that is left: what is claimed is not at the seller's disposal while it is open."""
        amount = self.left
        if not self.captured or amount <= 0 or self.disputes:
            return
        self.now += 0 if self.tie else 10_000  # long after any reversal that was not of it
        self.later()
        dispute_id = f"PP-D-{self.rng.randint(10_000, 99_999)}"
        self.disputes[dispute_id] = Dispute(amount, self.now, "OPEN", taken=amount)
        self.holds.append(Entry("dispute", dispute_id, self.now, -amount, 0, self.currency))
        self._case("CREATED", dispute_id, "OPEN")
        self.reach("dispute.opened")
        if outcome:
            self._resolve(dispute_id, outcome)

    def _resolve(self, dispute_id: str, outcome: str) -> None:
        case = self.disputes[dispute_id]
        self.later()
        case.status = outcome
        if outcome != "ACCEPTED":
            self.holds.append(Entry("dispute", dispute_id, self.now, case.amount, 0, self.currency))
        said: Json = {"outcome_code": outcome}
        if outcome == "RESOLVED_BUYER_FAVOUR":
            taken = self.rng.choice((case.amount, max(1, case.amount // 2)))
            case.taken, case.returned = taken, 0
            if self.rng.random() < 0.5:
                said["amount_refunded"] = self._amount(taken)
            self._case("RESOLVED", dispute_id, "RESOLVED", said)
            refund_id = self.token(17)
            self.refunds[refund_id] = Refund(taken, self.now, "COMPLETED", is_release=True)
            self._refund("REVERSED", refund_id, self._out)
            self.reach("payment.refunded")
        else:
            case.returned = 0 if outcome in LOST else case.taken
            self._case("RESOLVED", dispute_id, "RESOLVED", said)
        self.reach("dispute.lost" if outcome in LOST else "dispute.won")

    def appeal(self, outcome: str) -> None:
        """One that was won is opened again: https://developer.paypal.com/docs/disputes/integrate/"""
        won = [name for name, each in self.disputes.items() if each.status == "RESOLVED_SELLER_FAVOUR"]
        if won:
            self.later()
            case = self.disputes[won[0]]
            case.status, case.taken, case.returned = "OPEN", case.amount, 0
            self._case("UPDATED", won[0], "UNDER_REVIEW")
            self._resolve(won[0], outcome)

    @property
    def status(self) -> str:
        if self.captured:
            return self.status_with_money() or "succeeded"
        return "failed" if self.is_failed else "processing" if self.is_pending else "created"


Simulator = StripeSimulator | PayPalSimulator


def lived(provider: str, rng: random.Random, most: int) -> Simulator:
    """A payment's life by chance: attempts, then it is paid where it still can be, then what becomes of it.

    ``most`` is how many actions there are at most beside its being paid.
    """
    seed = rng.getrandbits(48)
    simulator: Simulator
    if provider == "stripe":
        simulator = StripeSimulator(seed, version=rng.choice((BEFORE_BASIL, SINCE_BASIL)))
    else:
        simulator = PayPalSimulator(seed)
    count = rng.randint(0, most)
    before = rng.randint(0, count)
    attempts = rng.choices(simulator.ATTEMPTS, k=before)
    changes = rng.choices(simulator.CHANGES, k=count - before)
    for name, arguments in (*attempts, simulator.SETTLED, *changes):
        getattr(simulator, name)(*arguments)
    return simulator
