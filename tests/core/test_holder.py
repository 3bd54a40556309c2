"""What a holder of real deliveries gets: other bodies under their transmissions, in any order, with redrives.

The signature covers the body's CRC32, so every body here would pass it. PayPal's API is asked for real, over
what the simulators' payments come to; kills, failing calls and redelivery are those of `test_simulation.py`.
"""

import copy
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.breaker import CircuitBreaker
from chalicelib.budget import HOUR, Budget
from chalicelib.errors import (
    BatchFailed,
)
from chalicelib.inbox import Message
from chalicelib.payments import project
from chalicelib.providers import PROVIDERS, paypal
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.paypal.objects import AUTHORIZATIONS, CAPTURES, DISPUTES, REFUNDS
from chalicelib.providers.protocol import Page
from chalicelib.questions import IN_VAIN, Questions
from chalicelib.reconcile import Reconciler
from chalicelib.several import asked
from chalicelib.times import to_iso
from ops.redrive import Redrive
from tests.conftest import TORTURE
from tests.core.test_simulation import History
from tests.fakes import NOW, WEBHOOK_ID, Clock, as_bytes, telemetry
from tests.simulators import PayPalSimulator, Simulator, lived

Json = dict[str, Any]
HISTORIES = 4_000 if TORTURE else 40
FORGED = 30  # deliveries in a history
CHUNKS = 8
TYPES = [*CAPTURES, *AUTHORIZATIONS, *REFUNDS, *DISPUTES, "CHECKOUT.ORDER.APPROVED"]
STATUSES = [
    "COMPLETED",
    "PENDING",
    "DECLINED",
    "FAILED",
    "VOIDED",
    "REFUNDED",
    "CANCELLED",
    "OPEN",
    "RESOLVED",
    "",
]
AMOUNTS = ["0.01", "4.00", "50.00", "30000.00", "-50.00"]
LATER = 3 * 24 * HOUR


class Shown(PayPalApi):
    """PayPal's API over what is shown: by its paths, without a network."""

    def __init__(self, shown: dict[str, Json], clock: Clock) -> None:
        super().__init__("http://127.0.0.1:1", ("id", "secret"), clock, webhook_ids=(WEBHOOK_ID,))
        self.shown_at = shown
        self.events: list[Json] = []
        self.asked: list[str] = []

    def page(self, since: int, until: int, cursor: str | None) -> Page:
        return Page([as_bytes(each) for each in self.events], None)

    def get(self, path: str) -> Json:
        self.asked.append(path)
        if path == "/v1/notifications/webhooks":
            return {"webhooks": [{"id": WEBHOOK_ID}]}
        copies = {f"/v1/notifications/webhooks-events/{each['id']}": each for each in self.events}
        return copy.deepcopy({**copies, **self.shown_at}.get(path, {}))


def questions(api: PayPalApi, ledger: Any, clock: Clock) -> Questions:
    budget = Budget(clock, IN_VAIN)
    return Questions(
        providers=PROVIDERS,
        api=lambda name, account: api,
        ledger=ledger,
        telemetry=telemetry(),
        breaker=CircuitBreaker(clock),
        budget=lambda place: budget,
        clock=clock,
    )


def shown_by(model: PayPalSimulator) -> dict[str, Json]:
    """What PayPal's API shows of a payment in the end: each resource as its last event has it."""
    found: dict[str, Json] = {}
    for event in model.events:
        path = paypal.confirmation.path_to_confirm(paypal.event(as_bytes(event), NOW))
        found[str(path)] = event["resource"]
    for path, resource in found.items():
        if path.endswith(f"/{model.id}") and model.captured:
            is_all = model.given_back >= model.captured
            status = "REFUNDED" if is_all else "PARTIALLY_REFUNDED" if model.given_back else "COMPLETED"
            kind = "state" if "state" in resource else "status"
            found[path] = {**resource, kind: status}
    return found


class Held(History):
    """A history into which a holder of its deliveries puts others."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.forged = 0
        self.ends = [each for each in self.models if isinstance(each, PayPalSimulator)]
        self.genuine = [event for model in self.ends for event in model.events]
        self.clock.now = max(each.now for each in self.ends) * 1000 + HOUR
        self.shown = {path: each for model in self.ends for path, each in shown_by(model).items()}
        self.api = Shown(self.shown, self.clock)
        self.api.events = self.genuine
        self.to = replace(self.to, complete=questions(self.api, self.ledger, self.clock).complete)

    def _model(self) -> Simulator:
        return lived("paypal", self.rng, 3)

    def _put(self, event: Json, transmission: str) -> None:
        body = as_bytes(event)
        try:
            made = paypal.event(body, self.clock.now)
        except Exception:
            return  # refused before it is queued
        self.queue.put(Message.of(made, body, transmission).encode(), made.subject)

    def run(self) -> None:
        deliveries = [(each, each["id"]) for each in self.genuine]
        deliveries += self.rng.choices(deliveries, k=len(deliveries) // 3)
        deliveries += [(self._forgery(), self.rng.choice(self.genuine)["id"]) for _ in range(FORGED)]
        self.forged = FORGED
        self.rng.shuffle(deliveries)
        for event, transmission in deliveries:
            self._put(event, transmission)
            if self.rng.random() < 0.3:
                self.poll()
            if self.rng.random() < 0.05:
                self._park_and_redrive(some=True)
                self.assert_nothing_is_made_up()
        self.ledger.fails = False
        for _ in range(3):
            self._park_and_redrive()
            self.clock.now += LATER
            self._reconcile()
        self._park_and_redrive()

    def _reconcile(self) -> None:
        reconciler: Any = Reconciler(
            providers=PROVIDERS,
            ledger=self.table,
            inbox=self.to.inbox,
            telemetry=telemetry(),
            clock=self.clock,
            pause=lambda seconds: None,
        )
        reconciler.run("paypal", self.api)

    def _park_and_redrive(self, some: bool = False) -> None:
        self._drain()
        while self.queue.dead:
            try:
                self.to.park([self.queue.dead[-1].record], self.clock.now)
            except BatchFailed:
                continue
            except BaseException:  # killed
                continue
            self.queue.dead.pop()
        redrive: Any = Redrive(self.table, self.to.inbox, self.clock, lambda: asked({"paypal": self.api}))
        for each in self.table.parking.parked():
            if (not some or self.rng.random() < 0.5) and redrive.refusal(each) is None:
                redrive.send(each)
        if not some:
            self._drain()

    # ── forging ─────────────────────────────────────────────────────────────────────────────────

    def _forgery(self) -> Json:
        event = copy.deepcopy(self.rng.choice(self.genuine))
        for _ in range(self.rng.randrange(1, 5)):
            self.rng.choice(MUTATIONS)(self, event)
        return event

    def _type(self, event: Json) -> None:
        event["event_type"] = self.rng.choice(TYPES)

    def _event_id(self, event: Json) -> None:
        event["id"] = self.rng.choice(
            [f"WH-FORGED-{self.rng.randrange(9)}", self.rng.choice(self.genuine)["id"]]
        )

    def _resource(self, event: Json) -> None:
        event["resource"] = copy.deepcopy(self.rng.choice(self.genuine)["resource"])

    def _id(self, event: Json) -> None:
        of_other = self.rng.choice(self.genuine)["resource"].get("id")
        event["resource"]["id"] = self.rng.choice([of_other, "VICTIM", None, "", 7, "../x", self.ends[0].id])

    def _status(self, event: Json) -> None:
        event["resource"][self.rng.choice(["status", "state"])] = self.rng.choice(STATUSES)

    def _amount(self, event: Json) -> None:
        field = self.rng.choice(["amount", "dispute_amount", "total_refunded_amount"])
        value, currency = self.rng.choice(AMOUNTS), self.rng.choice(["EUR", "USD", "JPY", "x"])
        v2 = {"value": value, "currency_code": currency}
        event["resource"][field] = self.rng.choice([v2, {"total": value, "currency": currency}, None])

    def _total(self, event: Json) -> None:
        total = {"value": self.rng.choice(AMOUNTS), "currency_code": "EUR"}
        event["resource"]["seller_payable_breakdown"] = {"total_refunded_amount": total}

    def _payment(self, event: Json) -> None:
        other = self.rng.choice([each.id for each in self.ends] + ["VICTIM"])
        up = {"rel": "up", "href": f"https://api.paypal.com/v2/payments/captures/{other}"}
        named = [{"sale_id": other}, {"capture_id": other}, {"links": [up]}, {"links": []}]
        case = [{"disputed_transactions": [{"seller_transaction_id": other}]}]
        event["resource"] |= self.rng.choice(named + case)

    def _outcome(self, event: Json) -> None:
        code = self.rng.choice(
            ["RESOLVED_BUYER_FAVOUR", "RESOLVED_SELLER_FAVOUR", "CANCELED_BY_BUYER", "NONE"]
        )
        event["resource"]["dispute_outcome"] = {"outcome_code": code}

    def _time(self, event: Json) -> None:
        at = self.clock.now + self.rng.choice([-9_000, -30, 0, 30, 9_000]) * HOUR
        of = self.rng.choice([event, event["resource"]])
        of[self.rng.choice(["create_time", "update_time"])] = to_iso(at)

    def _less(self, event: Json) -> None:
        of = self.rng.choice([event["resource"], event])
        for name in self.rng.sample(sorted(of), k=min(1, len(of))):
            if name not in ("id", "resource"):
                del of[name]

    # ── what PayPal says ────────────────────────────────────────────────────────────────────────

    def assert_nothing_is_made_up(self) -> None:
        """At any moment: no more than PayPal's books have, and nothing of what is in none of them."""
        known = {model.subject: model for model in self.ends}
        for subject in self.table.kept:
            shown = project(subject, self.table.payment(subject).facts)
            model = known.get(subject)
            if model is None:
                assert (shown.captured, shown.refunded, shown.disputed, shown.authorized) == (0, 0, 0, 0), (
                    subject
                )
                continue
            out = sum(each.amount for each in model.refunds.values())
            assert shown.captured in (0, model.captured)
            assert shown.refunded <= out
            assert shown.disputed <= max((each.amount for each in model.disputes.values()), default=0)
            assert shown.currency in (None, "EUR")

    def check(self) -> None:
        self.assert_nothing_is_made_up()
        for model in self.ends:
            shown = project(model.subject, self.table.payment(model.subject).facts)
            right = (model.status, model.captured, model.given_back, model.disputed)
            assert (shown.status, shown.captured, shown.refunded, shown.disputed) == right, model.subject


MUTATIONS = [
    Held._type,
    Held._event_id,
    Held._resource,
    Held._id,
    Held._status,
    Held._amount,
    Held._total,
    Held._payment,
    Held._outcome,
    Held._time,
    Held._less,
]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_holder_gets_nothing(chunk: int, figures: dict[str, float]) -> None:
    """No payment ever shows what PayPal's API does not; and in the end each is as it says."""
    forged = 0
    for n in range(HISTORIES // CHUNKS):
        history = Held(chunk * 1_000_000 + n)
        history.run()
        history.check()
        forged += history.forged
    figures["bodies forged by a holder"] = figures.get("bodies forged by a holder", 0) + forged
    assert forged == HISTORIES // CHUNKS * FORGED
