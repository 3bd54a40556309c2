"""A small model of Stripe: what happens to a payment, the events that tell of it, and what is true.

The truth is kept by the model's own bookkeeping, from the actions; nothing of the code under test is asked.
"""

import random
from typing import Any

from ops.stories import PayPalPayment, StripePayment

Json = dict[str, Any]
Action = tuple[str, tuple[Any, ...]]


class StripeModel:
    """Actions as methods: each changes what is true and emits events, as Stripe would at that moment.

    Not every action is possible at every time; one that is not does nothing. ``tie`` makes all events of
    one second.
    """

    ATTEMPTS: tuple[Action, ...] = ("fail", ()), ("process", ()), ("authorize", ())
    SETTLED: Action = "succeed", ()
    CHANGES: tuple[Action, ...] = (
        ("capture", (3000,)),
        ("cancel", ()),
        ("refund", (400,)),
        ("refund", (1000,)),
        ("dispute", ("open",)),
        ("dispute", ("won",)),
        ("dispute", ("lost",)),
    )

    def __init__(self, seed: int, tie: bool = False) -> None:
        self._rng = random.Random(seed)
        self._payment = StripePayment(self._rng, 1_795_400_000_000, 5000, "EUR", None)
        self._tie = tie
        self.subject = self._payment.subject
        self.events: list[Json] = []
        self.captured = 0
        self.authorized = False
        self.canceled = False
        self.attempt = "created"
        self.refunds: dict[str, tuple[int, str]] = {}  # id: amount, status
        self.disputes: dict[str, tuple[int, str]] = {}  # id: amount, status
        self.milestones: list[str] = []
        self._emit(self._payment.intent("created", "requires_payment_method"))

    def _emit(self, event: Json) -> None:
        if self._tie:
            event["created"] = 1_795_400_000
        self.events.append(event)

    @property
    def _open(self) -> bool:
        return not (self.captured or self.canceled or self.authorized)

    @property
    def given_back(self) -> int:
        """What Stripe calls ``amount_refunded``: all refunds that did not fail."""
        return sum(amount for amount, status in self.refunds.values() if status != "failed")

    # ── actions ─────────────────────────────────────────────────────────────────────────────────

    def fail(self) -> None:
        """An attempt is declined."""
        if self._open:
            for event in self._payment.fails():
                self._emit(event)
            if "payment.failed" not in self.milestones:
                self.milestones.append("payment.failed")
            self.attempt = "failed"

    def process(self) -> None:
        """An attempt begins that takes its time, such as a bank debit."""
        if self._open:
            self._emit(self._payment.intent("processing", "processing"))
            self.attempt = "processing"

    def succeed(self) -> None:
        """An attempt is paid and captured at once."""
        if self._open:
            for event in self._payment.succeeds():
                self._emit(event)
            self._emit(self._payment.session("completed", "paid"))
            self.captured = 5000
            self.milestones.append("payment.succeeded")

    def authorize(self) -> None:
        """An attempt is authorized, to be captured by hand."""
        if self._open:
            p = self._payment
            self._emit(p.charge("succeeded", captured=False, amount_captured=0))
            self._emit(
                p.intent(
                    "amount_capturable_updated",
                    "requires_capture",
                    amount_capturable=5000,
                    latest_charge=p.charge_id,
                )
            )
            self.authorized = True
            self.milestones.append("payment.authorized")

    def capture(self, part: int = 5000) -> None:
        """Capture what is authorized, or a part of it; the rest is let go."""
        if self.authorized and not self.captured and not self.canceled:
            p = self._payment
            self.captured = part
            release = {"id": f"re_release{self.subject[-6:]}", "object": "refund", "currency": "eur"}
            released = [{**release, "amount": 5000 - part, "status": "succeeded"}] if part < 5000 else []
            self._emit(p.charge("captured", **self._total(), refunds={"data": released}))
            self._emit(p.intent("succeeded", "succeeded", amount_received=part, latest_charge=p.charge_id))
            self.milestones.append("payment.succeeded")

    def cancel(self) -> None:
        """Cancel; an authorization is let go, which Stripe reports as a refund of a charge not captured."""
        if not self.captured and not self.canceled:
            p = self._payment
            if self.authorized:
                about = {"captured": False, "amount_captured": 0, "amount_refunded": 5000}
                self._emit(p.charge("refunded", {"amount_refunded": 0}, **about))
            self._emit(p.intent("canceled", "canceled"))
            self.canceled = True
            self.milestones.append("payment.canceled")

    def refund(self, amount: int) -> None:
        """A refund, at most of what is left."""
        amount = min(amount, self.captured - self.given_back - self.disputed)
        if amount > 0:
            before = self._total()["amount_refunded"]
            self._payment._refund_id = refund_id = f"re_{len(self.refunds)}{self.subject[-6:]}"
            self.refunds[refund_id] = amount, "succeeded"
            self._emit(self._payment.refund("refund.created", amount))
            total = self._total()
            self._emit(self._payment.charge("refunded", {"amount_refunded": before}, **total))
            self._emit(self._payment.refund("charge.refund.updated", amount))
            self.milestones.append("payment.refunded")

    def fail_refund(self, which: int = -1) -> None:
        """A refund fails: the money is back, and the running total goes down without an event."""
        alive = [name for name, (_, status) in self.refunds.items() if status == "succeeded"]
        if alive:
            refund_id = alive[which]
            amount, _ = self.refunds[refund_id]
            self.refunds[refund_id] = amount, "failed"
            self._payment._refund_id = refund_id
            self._emit(self._payment.refund("refund.failed", amount, "failed"))
            self._emit(self._payment.refund("charge.refund.updated", amount, "failed"))
            self.milestones.append("refund.failed")

    def dispute(self, outcome: str) -> None:
        """A dispute over what was captured and not given back, with all that follows."""
        amount = self.captured - self.given_back - sum(a for a, s in self.disputes.values() if s != "won")
        if amount <= 0:
            return
        p = self._payment
        p._dispute_id = dispute_id = f"dp_{len(self.disputes)}{self.subject[-6:]}"
        p.amount, whole = amount, p.amount
        self._emit(p.dispute("created", "needs_response"))
        self._emit(p.dispute("funds_withdrawn", "needs_response"))
        self.milestones.append("dispute.opened")
        if outcome == "won":
            self._emit(p.dispute("funds_reinstated", "won"))
        if outcome != "open":
            self._emit(p.dispute("closed", outcome))
        if outcome in ("won", "lost"):
            self.milestones.append(f"dispute.{outcome}")
        if outcome == "warning_closed":
            self._emit(p.dispute("funds_reinstated", outcome))
        p.amount = whole
        self.disputes[dispute_id] = amount, "won" if outcome == "warning_closed" else outcome

    def _total(self) -> Json:
        """Of the charge: what was let go when less was captured counts as refunded there."""
        refunded = self.given_back + 5000 - self.captured
        total = {"amount_captured": self.captured, "amount_refunded": refunded}
        return {**total, "refunded": self.given_back >= self.captured}

    # ── what is true ────────────────────────────────────────────────────────────────────────────

    @property
    def disputed(self) -> int:
        return sum(amount for amount, status in self.disputes.values() if status in ("open", "lost"))

    @property
    def status(self) -> str:
        outcomes = [status for _, status in self.disputes.values()]
        if "open" in outcomes:
            return "disputed"
        if "lost" in outcomes:
            return "charged_back"
        if self.captured:
            return self._after_capture()
        if self.canceled:
            return "canceled"
        return "authorized" if self.authorized else self.attempt

    def _after_capture(self) -> str:
        if self.given_back >= self.captured:
            return "refunded"
        return "partially_refunded" if self.given_back else "succeeded"


class PayPalModel:
    """The same for a PayPal capture: v2, or v1 where it is a sale."""

    ATTEMPTS: tuple[Action, ...] = ("pend", ()), ("deny", ())
    SETTLED: Action = "complete", ()
    CHANGES: tuple[Action, ...] = (
        ("refund", (400, "COMPLETED")),
        ("refund", (1000, "COMPLETED")),
        ("refund", (600, "FAILED")),
        ("dispute", (None,)),
        ("dispute", ("RESOLVED_SELLER_FAVOUR",)),
    )

    def __init__(self, seed: int) -> None:
        self._payment = PayPalPayment(random.Random(seed), 1_795_400_000_000, 5000, "EUR", None)
        self.subject = self._payment.subject
        self.events: list[Json] = []
        self.pending = self.failed = False
        self.captured = 0
        self.refunds: dict[str, tuple[int, str]] = {}  # id: amount, status
        self.disputes: dict[str, str] = {}  # id: status
        self.milestones: list[str] = []

    def pend(self) -> None:
        """The capture waits for something."""
        if not (self.captured or self.failed):
            self.events.append(self._payment.capture("PAYMENT.CAPTURE.PENDING", "PENDING"))
            self.pending = True

    def complete(self) -> None:
        if not (self.captured or self.failed):
            self.events.append(self._payment.capture("PAYMENT.CAPTURE.COMPLETED", "COMPLETED"))
            self.captured = 5000
            self.milestones.append("payment.succeeded")

    def deny(self) -> None:
        if not (self.captured or self.failed):
            self.events.append(self._payment.capture("PAYMENT.CAPTURE.DENIED", "DECLINED"))
            self.failed = True
            self.milestones.append("payment.failed")

    def refund(self, amount: int, end: str) -> None:
        """A refund, through pending to its end: ``COMPLETED`` or ``FAILED``."""
        amount = min(amount, self.captured - self.given_back - self.disputed)
        if amount <= 0:
            return
        p = self._payment
        p._refund_id = refund_id = f"REF{len(self.refunds)}"
        self.events.append(p.refund("PAYMENT.REFUND.PENDING", amount, "PENDING"))
        type_ = "PAYMENT.CAPTURE.REFUNDED" if end == "COMPLETED" else "PAYMENT.REFUND.FAILED"
        self.events.append(p.refund(type_, amount, end))
        self.refunds[refund_id] = amount, end
        self.milestones.append("payment.refunded" if end == "COMPLETED" else "refund.failed")

    def dispute(self, outcome: str | None) -> None:
        """A dispute over the whole payment; one that is lost takes the money by a reversal."""
        if not self.captured or self.given_back or self.disputes:
            return
        p = self._payment
        self.events.append(p.dispute("CUSTOMER.DISPUTE.CREATED", "OPEN"))
        self.milestones.append("dispute.opened")
        status = "open"
        if outcome:
            self.events.append(p.dispute("CUSTOMER.DISPUTE.RESOLVED", "RESOLVED", outcome))
            status = "lost" if outcome in ("RESOLVED_BUYER_FAVOUR", "ACCEPTED") else "won"
            self.milestones.append(f"dispute.{status}")
        if outcome == "RESOLVED_BUYER_FAVOUR":
            p._refund_id = "REVERSAL"
            self.events.append(p.refund("PAYMENT.CAPTURE.REVERSED", 5000))
            self.milestones.append("payment.refunded")
        self.disputes[p._dispute_id] = status

    @property
    def given_back(self) -> int:
        return sum(amount for amount, status in self.refunds.values() if status == "COMPLETED")

    @property
    def disputed(self) -> int:
        return sum(5000 for status in self.disputes.values() if status in ("open", "lost"))

    @property
    def status(self) -> str:
        if self.disputes:
            [outcome] = self.disputes.values()
            if outcome != "won":
                return {"open": "disputed", "lost": "charged_back"}[outcome]
        if self.captured:
            if self.given_back >= self.captured:
                return "refunded"
            return "partially_refunded" if self.given_back else "succeeded"
        return "failed" if self.failed else "processing" if self.pending else "created"


Model = StripeModel | PayPalModel


def lived(provider: str, rng: random.Random, most: int) -> Model:
    """A payment's life by chance: attempts, then it is paid where it still can be, then what becomes of it.

    ``most`` is how many actions there are at most beside its being paid.
    """
    seed = rng.getrandbits(48)
    model: Model = StripeModel(seed) if provider == "stripe" else PayPalModel(seed)
    count = rng.randint(0, most)
    before = rng.randint(0, count)
    attempts, changes = rng.choices(model.ATTEMPTS, k=before), rng.choices(model.CHANGES, k=count - before)
    for name, arguments in (*attempts, model.SETTLED, *changes):
        getattr(model, name)(*arguments)
    return model
