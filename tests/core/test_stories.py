"""Named stories: every order, with every single duplicate, through the real consumer code."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib.inbox import Message
from chalicelib.payments import Milestone, Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handler, Handlers
from chalicelib.targets import MILESTONES
from chalicelib.times import to_iso
from tests.fakes import NOW, MemoryLedger, as_bytes, consumer, telemetry

Json = dict[str, Any]
START = 1_795_400_000  # seconds
MANY = 3  # events, of which not each order is tried with each duplicate
FOLDER = Path(__file__).parent / "stories"
STORIES = [
    pytest.param(path.stem, story, id=f"{path.stem}: {story['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for story in yaml.safe_load(path.read_text())
]

# ── from the compact form to the provider's ─────────────────────────────────────────────────────────


KINDS = {"charge.refund.updated": "refund"}  # else the type without its last word


def expand_stripe(story: Json, number: int, type_: str, seconds: int, given: Json) -> Json:
    common = {"currency": story.get("currency", "eur"), "amount": 5000, "payment_intent": "pi_1"}
    kinds: dict[str, Json] = {
        "payment_intent": {"id": "pi_1", "created": START},
        "charge": {
            "id": "ch_1",
            "created": START,
            "status": "succeeded",
            "captured": True,
            "amount_captured": 5000,
        },
        "refund": {"charge": "ch_1", "status": "succeeded"},
        "charge.dispute": {"charge": "ch_1"},
        "checkout.session": {"id": "cs_1"},
    }
    kind = KINDS.get(type_) or type_.rpartition(".")[0]
    fields = dict(given)
    previous = fields.pop("previous", None)
    about = {"object": kind.removeprefix("charge."), **common, **kinds[kind], **fields}
    if "refunds" in about:
        inner = [{**common, "object": "refund", "status": "succeeded", **each} for each in about["refunds"]]
        about["refunds"] = {"object": "list", "data": inner}
    data: Json = {"object": about}
    if previous is not None:
        data["previous_attributes"] = {"amount_refunded": previous}
    event = {
        "id": f"evt_{number}",
        "object": "event",
        "type": type_,
        "created": START + seconds,
        "data": data,
    }
    if "fetched" in given:  # a thin event with the object that was fetched for it
        about.pop("fetched")
        fetched_at = (START + given["fetched"]) * 1000
        return {**event, "object": "v2.core.event", "type": f"v1.{type_}", "fetched_at": fetched_at}
    return {**event, "api_version": story.get("version", "2024-09-30.acacia")}


def expand_paypal(story: Json, number: int, type_: str, seconds: int, given: Json) -> Json:
    currency = given.get("currency", story.get("currency", "EUR"))
    value = given.get("value", story.get("value", "50.00"))
    v1 = type_.startswith("PAYMENT.SALE.")
    amount = {"total": value, "currency": currency} if v1 else {"value": value, "currency_code": currency}
    resource: Json = {"id": given.get("refund", "CAP1"), "amount": amount}
    if "refund" in given:
        up = {"href": "https://api.paypal.com/v2/payments/captures/CAP1", "rel": "up"}
        resource |= {"sale_id": "CAP1"} if v1 else {"links": [up]}
    if "dispute" in given:
        seller = [{"seller_transaction_id": "CAP1"}]
        resource = {"dispute_id": given["dispute"], "disputed_transactions": seller, "dispute_amount": amount}
    if "outcome" in given:
        resource |= {"status": "RESOLVED", "dispute_outcome": {"outcome_code": given["outcome"]}}
    if "lost" in given:
        resource["dispute_outcome"]["amount_refunded"] = {"value": given["lost"], "currency_code": currency}
    if "total" in given:
        total = {"value": given["total"], "currency_code": currency}
        resource["seller_payable_breakdown"] = {"total_refunded_amount": total}
    if "status" in given:
        resource["status"] = given["status"]
    if "made" in given:
        resource["create_time"] = to_iso((START + given["made"]) * 1000)
    related = {f"{name}_id": given[name] for name in ("order", "authorization") if name in given}
    resource["supplementary_data"] = {"related_ids": related}
    when = to_iso((START + seconds) * 1000)
    return {"id": f"WH-{number}", "event_type": type_, "create_time": when, "resource": resource}


EXPAND = {"stripe": expand_stripe, "paypal": expand_paypal}


def messages(provider: str, story: Json) -> list[Message]:
    made = []
    for number, (type_, seconds, given) in enumerate(story["events"]):
        body = as_bytes(EXPAND[provider](story, number, type_, seconds, given))
        event = PROVIDERS[provider].event(body, NOW)
        made.append(Message.of(event, body))
    return made


# ── the consumer ────────────────────────────────────────────────────────────────────────────────────


class Book:
    """A consumer over the in-memory ledger, with a handler that writes down what it hears."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.heard: list[Milestone] = []
        handlers = Handlers([Handler("hear", MILESTONES, self._hear)])
        ledger: Any = self.ledger
        inbox: Any = None
        base = consumer(ledger, inbox, handlers=handlers)
        self._consumer = replace(base, telemetry=telemetry(metrics=False))

    def _hear(self, payment: Payment, milestone: Milestone) -> None:
        self.heard.append(milestone)

    def record(self, message: Message) -> None:
        self._consumer.record(message, NOW + 60_000)

    def payment(self, subject: str) -> Payment:
        return project(subject, self.ledger.payment(subject).facts)


def deliveries(told: list[Message]) -> list[tuple[Message, ...]]:
    """Every order of the events, with each of them delivered again at the end; of many, one in turn."""
    orders = list(permutations(told))
    if len(told) > MANY:
        return [(*order, told[number % len(told)]) for number, order in enumerate(orders)]
    return [(*order, again) for order in orders for again in order]


@pytest.mark.parametrize(("provider", "story"), STORIES)
def test_a_story_ends_right(provider: str, story: Json) -> None:
    """Whatever the order and the duplicate: the payment is as expected, and nothing is heard twice."""
    told = messages(provider, story)
    assert len(told) <= 7
    [subject] = {message.subject for message in told}
    for order in deliveries(told):
        book = Book()
        for message in order:
            book.record(message)
        payment = book.payment(subject).to_dict()
        payment["milestones"] = listed = [milestone["type"] for milestone in payment["milestones"]]
        if "payment.captured" not in story["expected"].get("milestones", ()):
            payment["milestones"] = [type_ for type_ in listed if type_ != "payment.captured"]
        assert {name: payment[name] for name in story["expected"]} == story["expected"]
        types = [milestone.type for milestone in book.heard]
        assert len({milestone.id for milestone in book.heard}) == len(types)
        for type_ in {*types} - {*story.get("before_it_is_known", ())}:
            assert types.count(type_) <= listed.count(type_)
        assert types.count("payment.succeeded") == listed.count("payment.succeeded")
        captured = [milestone.amount for milestone in book.heard if milestone.type == "payment.captured"]
        assert sum(amount or 0 for amount in captured) == payment["captured"]


def test_a_refund_that_is_made_again_is_heard_again() -> None:
    """Though the running total says of both the same."""
    found: list[Any] = [
        each.values[1]
        for each in STORIES
        if each.id == "stripe: a refund fails and is made again for the same amount"
    ]
    [story] = found
    book = Book()
    for message in messages("stripe", story):
        book.record(message)
    types = [milestone.type for milestone in book.heard if milestone.type != "payment.captured"]
    assert types == ["payment.succeeded", "payment.refunded", "refund.failed", "payment.refunded"]


LOST = {"dispute": "D1", "outcome": "RESOLVED_BUYER_FAVOUR", "lost": "50.00"}
OPENED = ["CUSTOMER.DISPUTE.CREATED", 70, {"dispute": "D1"}]
PENDING = {"id": "re_1", "amount": 2000, "status": "pending", "created": START + 50}
NOTIFIED = {
    "stripe: a total shows a refund before it is known to be pending": (
        [
            ["charge.succeeded", 0, {}],
            ["charge.refunded", 50, {"amount_refunded": 2000, "previous": 0}],
            ["refund.created", 50, PENDING],
            ["refund.updated", 90000, {**PENDING, "status": "succeeded"}],
        ],
        [("payment.refunded", 2000)],
    ),
    "stripe: a refund is numbered anew while it waits for what an earlier one took": (
        [
            ["charge.refunded", 99, {"amount_refunded": 400, "previous": 0}],
            ["refund.created", 50, {"id": "re_1", "amount": 5000, "created": START + 50}],
            ["refund.failed", 60, {"id": "re_1", "amount": 5000, "status": "failed"}],
            ["refund.created", 99, {"id": "re_2", "amount": 400, "created": START + 99}],
        ],
        [("payment.refunded", 400), ("payment.refunded", 5000)],
    ),
    "paypal: a refund pays what was lost": (
        [
            ["PAYMENT.CAPTURE.COMPLETED", 0, {}],
            OPENED,
            ["CUSTOMER.DISPUTE.RESOLVED", 900, LOST],
            ["PAYMENT.CAPTURE.REFUNDED", 930, {"refund": "REF1", "value": "50.00"}],
        ],
        [("dispute.lost", 5000)],
    ),
    "paypal: a reversal is heard of before its dispute": (
        [
            ["PAYMENT.CAPTURE.COMPLETED", 0, {}],
            ["PAYMENT.CAPTURE.REVERSED", 80, {"refund": "REV1", "value": "50.00"}],
            OPENED,
            ["CUSTOMER.DISPUTE.RESOLVED", 900, LOST],
        ],
        [("payment.refunded", 5000), ("dispute.lost", 0)],
    ),
}


@pytest.mark.parametrize("name", NOTIFIED)
def test_money_that_went_is_notified_once(name: str) -> None:
    """As a refund or as lost, by whatever events it is learnt, in this order."""
    events, expected = NOTIFIED[name]
    book = Book()
    for message in messages(name.partition(":")[0], {"events": events}):
        book.record(message)
    gone = [(m.type, m.amount) for m in book.heard if m.type in ("payment.refunded", "dispute.lost")]
    assert gone == expected


@pytest.mark.parametrize("provider", EXPAND)
def test_there_are_enough_stories(provider: str) -> None:
    """At least 25, each with a name of its own."""
    names = [story["name"] for story in yaml.safe_load((FOLDER / f"{provider}.yaml").read_text())]
    assert len(set(names)) == len(names) >= 25
