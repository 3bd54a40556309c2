"""The providers' balances of many simulated payments: their transactions, fees of their own, payouts.

https://docs.stripe.com/api/balance_transactions, https://docs.stripe.com/payouts/reconciliation
https://developer.paypal.com/docs/api/transaction-search/v1/
"""

from collections.abc import Iterable
from typing import Any

from chalicelib.times import to_iso
from tests.simulators import Entry, Simulated, StripeSimulator, transaction

Json = dict[str, Any]


class StripeBank:
    """One account's balance. Times in seconds."""

    def __init__(self) -> None:
        self.transactions: list[Json] = []
        self.payouts: dict[str, Json] = {}
        self.paid_out: dict[str, str] = {}  # payout by transaction
        self.events: list[Json] = []

    def add(self, simulator: StripeSimulator) -> None:
        """What a payment moved, each with the object that it is of, as Stripe expands it."""
        seen: dict[str, int] = {}
        for entry in simulator.balance:
            number = seen[entry.object] = seen.get(entry.object, -1) + 1
            made = transaction(entry, number)
            self.transactions.append({**made, "source": source(simulator, entry)})

    def charge_fee(self, id_: str, at: int, amount: int, currency: str = "EUR") -> None:
        """A fee of Stripe's that is of no payment."""
        entry = Entry("fee", id_, at, -amount, 0, currency)
        self.transactions.append({**transaction(entry, 0), "type": "stripe_fee", "source": None})

    def pay_out(self, at: int, currency: str = "EUR", fails: bool = False) -> str | None:
        """All that was there a day before and was not paid out; nothing where that is not above zero."""
        left = [
            each
            for each in self.transactions
            if each["created"] < at - 86_400
            and each["currency"] == currency.lower()
            and each["id"] not in self.paid_out
        ]
        amount = sum(each["net"] for each in left)
        if amount <= 0:
            return None
        id_ = f"po_{len(self.payouts) + 1}"
        self.paid_out |= {each["id"]: id_ for each in left}
        self._send(id_, at, amount, currency)
        if fails:
            self._tell(id_, "failed", at + 200_000, failure_code="account_closed")
            self._move("payout_failure", id_, at + 200_000, amount, currency)
        return id_

    def _send(self, id_: str, at: int, amount: int, currency: str) -> None:
        self.payouts[id_] = {
            "id": id_,
            "object": "payout",
            "amount": amount,
            "arrival_date": at + 172_800,
            "automatic": True,
            "created": at,
            "currency": currency.lower(),
            "failure_code": None,
            "method": "standard",
            "reconciliation_status": "completed",
            "status": "pending",
            "trace_id": {"status": "pending", "value": None},
        }
        self._move("payout", id_, at, -amount, currency)
        self._tell(id_, "created", at)
        trace = {"status": "supported", "value": f"TRACE{id_[3:]}"}
        self._tell(id_, "paid", at + 100_000, trace_id=trace)
        self._tell(id_, "reconciliation_completed", at + 100_100)

    def _tell(self, id_: str, what: str, at: int, **changed: Any) -> None:
        if what in ("paid", "failed"):
            changed["status"] = what
        self.payouts[id_] |= changed
        told = {"id": f"evt_{id_}_{what}", "object": "event", "api_version": "2025-03-31.basil"}
        about = {"created": at, "livemode": False, "type": f"payout.{what}"}
        self.events.append({**told, **about, "data": {"object": dict(self.payouts[id_])}})

    def _move(self, kind: str, id_: str, at: int, amount: int, currency: str) -> None:
        number = sum(each["source"] is not None and each["source"]["id"] == id_ for each in self.transactions)
        made = transaction(Entry(kind, id_, at, amount, 0, currency), number)
        self.transactions.append({**made, "source": self.payouts[id_]})
        if kind == "payout":
            self.paid_out[made["id"]] = id_


def source(simulator: StripeSimulator, entry: Entry) -> Json:
    """The object that an entry is of, with all that it has."""
    named = {"payment_intent": simulator.intent_id, "charge": simulator.charge_id}
    named["currency"] = simulator.currency.lower()
    if entry.kind == "charge":
        return {"id": entry.object, "object": "charge", "amount": 5000, **{**named, "charge": None}}
    if entry.kind.startswith("dispute"):
        return {"id": entry.object, "object": "dispute", **named}
    refund = simulator.refunds[entry.object]
    about = {"amount": refund.amount, "created": refund.made, "status": refund.status}
    return {"id": entry.object, "object": "refund", **named, **about}


class PayPalBank:
    """What Transaction Search lists of transfers to the bank."""

    def __init__(self) -> None:
        self.transfers: list[Json] = []

    def withdraw(self, id_: str, at: int, cents: int, status: str = "S", code: str = "T0400") -> None:
        began = to_iso(at * 1000).replace("Z", "+0000")
        info = {
            "transaction_id": id_,
            "transaction_event_code": code,
            "transaction_initiation_date": began,
            "transaction_updated_date": began,
            "transaction_amount": {"currency_code": "EUR", "value": f"-{cents / 100:.2f}"},
            "transaction_status": status,
            "bank_reference_id": f"BANK{id_[:6]}",
        }
        self.transfers.append({"transaction_info": info})


def net_of(simulators: Iterable[Simulated], currency: str = "EUR") -> int:
    """What payments brought the balance in all."""
    entries = [each for simulator in simulators for each in simulator.balance]
    return sum(each.gross - each.fee for each in entries if each.currency == currency)
