"""A stage in memory that imports the history of a fake provider, and the lives that it has of one."""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from chalicelib.breaker import CircuitBreaker
from chalicelib.budget import Budget
from chalicelib.payments import Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import HistoryApi
from chalicelib.questions import IN_VAIN, Questions
from chalicelib.reconcile import Reconciler
from chalicelib.times import DAY, HOUR, to_iso
from ops import importing
from tests.fakes import sqs_record, telemetry
from tests.settling import Shop
from tests.simulators import SINCE_BASIL, START, PayPalSimulator, StripeSimulator, fee_of, lived

Json = dict[str, Any]
PATH_OF = {each: f"{each}s" for each in ("payment_intent", "charge", "refund", "dispute")}


class Importing:
    """A stage that begins long after these payments."""

    def __init__(self, provider: str, api: HistoryApi, shop: Shop | None = None) -> None:
        self.provider, self.api = provider, api
        self.shop = shop or Shop()
        self.began = self.shop.clock.now - HOUR
        asks = Questions(  # as the app's: what is recorded is asked about, where it is to be
            providers=PROVIDERS,
            api=lambda name, account: api if name == provider else None,
            ledger=self.shop.ledger,
            telemetry=telemetry(self.shop.lines, self.shop.clock),
            breaker=CircuitBreaker(self.shop.clock),
            budget=lambda place: Budget(self.shop.clock, IN_VAIN),
            clock=self.shop.clock,
        )
        self.complete = asks.complete
        self.heard: list[str] = []
        for pattern in ("payment.*", "dispute.*", "subscription.*", "access.*"):
            self._hear(pattern)

    def _hear(self, pattern: str) -> None:
        def hear(record: Any, milestone: Any) -> None:
            self.heard.append(milestone.type)

        hear.__name__ = f"hear_of_{pattern[:-2]}"
        hear.__qualname__ = hear.__name__
        self.shop.consumer.handlers.on(pattern)(hear)

    @property
    def reconciler(self) -> Reconciler:
        inbox: Any = self.shop.queue
        return Reconciler(
            providers=PROVIDERS,
            ledger=self.shop.ledger,
            inbox=inbox,
            telemetry=telemetry(self.shop.lines, self.shop.clock),
            clock=self.shop.clock,
            pause=lambda seconds: None,
            until=self.began,
        )

    def run(self, dry_run: bool = False, since: int = START * 1000 - DAY) -> dict[str, int]:
        """What was put on the queue, by kind, and recorded."""
        steps: Any = lambda kind, summary: None  # noqa: E731
        found = importing.run(self.reconciler, self.provider, self.api, since, dry_run, steps)
        texts, self.shop.queue.texts = self.shop.queue.texts, []
        random.Random(1).shuffle(texts)
        to = replace(self.shop.consumer, complete=self.complete)
        for number, text in enumerate(texts):
            record = sqs_record(text, receipt=str(number))
            assert to.process([record], self.shop.clock.now + HOUR) == []
        assert list(self.shop.ledger.parking.parked()) == []
        return {kind: each.recovered for kind, each in found.items()}

    def payment(self, subject: str) -> Payment:
        return project(subject, self.shop.ledger.payment(subject).facts)


def simulated_at_stripe(count: int) -> list[StripeSimulator]:
    rng = random.Random(22)
    found: list[StripeSimulator] = []
    while len(found) < count:
        each = lived("stripe", rng, most=5)
        if isinstance(each, StripeSimulator) and each.version == SINCE_BASIL:
            found.append(each)
    return found


def simulated_at_paypal(count: int) -> list[PayPalSimulator]:
    rng = random.Random(23)
    lives = (lived("paypal", rng, most=5) for _ in range(count))
    return [each for each in lives if isinstance(each, PayPalSimulator)]


def stripes_objects(simulators: Iterable[StripeSimulator]) -> dict[str, list[Json]]:
    """Each as the provider shows it in the end: as it was in the last event about it."""
    found: dict[str, dict[str, Json]] = defaultdict(dict)
    for simulator in simulators:
        for event in simulator.events:
            about = event["data"]["object"]
            found[PATH_OF[about["object"]]][about["id"]] = {"created": START, **about}
        charge = found["charges"].get(simulator.charge_id)
        if charge:  # the charge's and the intent's own totals are of now
            charge |= {"amount_captured": simulator.captured, "captured": simulator.is_final}
    return {path: list(by_id.values()) for path, by_id in found.items()}


class PayPalHistory:
    """What PayPal has of simulated payments: what is listed, what moved and what was disputed, and each."""

    def __init__(self) -> None:
        self.transactions: list[Json] = []
        self.objects: dict[str, Json] = {}
        self.disputes: list[Json] = []

    def add(self, simulator: PayPalSimulator, is_shown: bool = True) -> None:
        """``is_shown``: PayPal's other APIs show it, too."""
        last: dict[str, Json] = {}
        for event in simulator.events:
            resource = event["resource"]
            last[resource.get("id") or resource["dispute_id"]] = event
        for id_, event in last.items():
            resource = event["resource"]
            if "DISPUTE" in event["event_type"]:
                self.disputes.append(
                    {name: resource[name] for name in ("dispute_id", "update_time", "status")}
                )
                self.objects[f"/v1/customer/disputes/{id_}"] = resource
            elif _is_done(resource):
                self._moved(simulator, event, is_shown)

    def _moved(self, simulator: PayPalSimulator, event: Json, is_shown: bool) -> None:
        resource, type_ = event["resource"], event["event_type"]
        is_v1 = "SALE" in type_ or "sale_id" in resource
        is_refund = resource["id"] != simulator.subject.removeprefix("paypal:")
        amount = _v2(resource["amount"])
        code = "T0006" if not is_refund else "T1106" if type_.endswith("REVERSED") else "T1107"
        info = {"transaction_id": resource["id"], "transaction_event_code": code, "transaction_status": "S"}
        fee = fee_of(round(float(amount["value"]) * 100)) / 100
        if is_refund:
            info |= {"paypal_reference_id": simulator.subject[7:], "paypal_reference_id_type": "TXN"}
        sign = "-" if is_refund else ""
        info["transaction_amount"] = {**amount, "value": sign + amount["value"]}
        info["fee_amount"] = {**amount, "value": "0.00" if is_refund else f"-{fee:.2f}"}
        info["transaction_initiation_date"] = resource["create_time"].replace("Z", "+0000")
        self.transactions.append({"transaction_info": info})
        if is_shown:
            words = ("sale", "refund") if is_v1 else ("captures", "refunds")
            self.objects[f"/v{1 if is_v1 else 2}/payments/{words[is_refund]}/{resource['id']}"] = resource

    def add_simple(self, number: int, at: int) -> None:
        """A capture that only the listing has; ``at`` in milliseconds."""
        info = {
            "transaction_id": f"{number:017}",
            "transaction_event_code": "T0006",
            "transaction_status": "S",
            "transaction_initiation_date": to_iso(at).replace("Z", "+0000"),
            "transaction_amount": {"currency_code": "EUR", "value": "1.00"},
        }
        self.transactions.append({"transaction_info": info})


def _is_done(resource: Json) -> bool:
    return str(resource.get("status") or resource.get("state")).upper() == "COMPLETED"


def _v2(amount: Json) -> Json:
    return {
        "value": amount.get("value") or amount["total"],
        "currency_code": amount.get("currency_code", "EUR"),
    }
