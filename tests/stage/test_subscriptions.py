"""A subscription through the app: recorded from its events in any order, and asked about."""

import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from chalice.test import Client
from click.testing import CliRunner

from chalicelib import access
from chalicelib.folding import folded
from chalicelib.ledger import Ledger
from chalicelib.payments import Milestone
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.subscriptions import Subscription, Terms
from ops import verify
from ops.cli import main
from ops.forget import forget_labels, traces
from ops.local.event_source import EventSource
from ops.replay import choose as chosen
from ops.replay import replay
from ops.sender import StripeSigner
from ops.stage import Stage
from tests.fakes import NOW, as_bytes, consumer

SUB, ITEM, START, TRIAL_ENDS, NEXT = "sub_1", "si_1", 1792486800, 1793696400, 1796288400
SUBJECT = f"stripe:{SUB}"


def subscription(status: str, start: int, end: int, **more: Any) -> dict[str, Any]:
    recurring = {"interval": "month", "interval_count": 1, "usage_type": "licensed"}
    price = {
        "id": "price_1",
        "product": "prod_1",
        "currency": "eur",
        "unit_amount": 1900,
        "recurring": recurring,
    }
    item = {
        "id": ITEM,
        "price": price,
        "quantity": 1,
        "current_period_start": start,
        "current_period_end": end,
    }
    return {
        "object": "subscription",
        "id": SUB,
        "status": status,
        "created": START,
        "start_date": START,
        "currency": "eur",
        "customer": "cus_1",
        "metadata": {"user_id": "user-42", "note": "left out"},
        "trial_end": TRIAL_ENDS,
        "items": {"data": [item]},
        **more,
    }


def invoice(id_: str, amount: int, start: int, end: int) -> dict[str, Any]:
    of_item = {"subscription_item": ITEM, "subscription": SUB, "proration": False}
    line = {"id": f"il_{id_}", "amount": amount, "period": {"start": start, "end": end}}
    return {
        "object": "invoice",
        "id": id_,
        "status": "paid",
        "amount_paid": amount,
        "created": start,
        "currency": "eur",
        "customer": "cus_1",
        "status_transitions": {"paid_at": start},
        "parent": {"subscription_details": {"subscription": SUB, "metadata": {"user_id": "user-42"}}},
        "lines": {"data": [{**line, "parent": {"subscription_item_details": of_item}}]},
    }


def event(id_: str, type_: str, at: int, about: dict[str, Any], **data: Any) -> dict[str, Any]:
    fields = {"object": "event", "livemode": False, "api_version": "2025-03-31.basil"}
    return {"id": id_, "type": type_, "created": at, **fields, "data": {"object": about, **data}}


def life() -> list[dict[str, Any]]:
    """A trial that converts, with two updates in the second of the conversion."""
    trial = subscription("trialing", START, TRIAL_ENDS)
    billed = subscription("past_due", TRIAL_ENDS, NEXT)
    active = subscription("active", TRIAL_ENDS, NEXT)
    was = {"items": {"data": trial["items"]["data"]}, "status": "trialing"}
    updated = "customer.subscription.updated"
    return [
        event("evt_1", "customer.subscription.created", START, trial),
        event("evt_2", "invoice.paid", START, invoice("in_1", 0, START, TRIAL_ENDS)),
        event("evt_3", updated, TRIAL_ENDS + 1, billed, previous_attributes=was),
        event("evt_4", updated, TRIAL_ENDS + 1, active, previous_attributes={"status": "past_due"}),
        event("evt_5", "invoice.paid", TRIAL_ENDS + 1, invoice("in_2", 1900, TRIAL_ENDS, NEXT)),
    ]


@pytest.fixture
def record(daybook: Any, stage: Stage) -> Callable[[list[dict[str, Any]]], None]:
    """Send events to the app, and have its consumer record them."""
    signer = StripeSigner("whsec_new")
    source = EventSource(stage.client("sqs"), daybook.SETTINGS.names.queue, daybook.process)

    def sent(events: list[dict[str, Any]]) -> None:
        with Client(daybook.app, stage_name="local") as client:
            for each in events:
                body = as_bytes(each)
                headers = signer.headers(body, time.time_ns() // 1_000_000)
                assert client.http.post("/webhooks/stripe", headers=headers, body=body).status_code == 200
        while source.poll(0):
            pass

    return sent


def get(daybook: Any, path: str) -> tuple[int, Any]:
    with Client(daybook.app, stage_name="local") as client:
        answer = client.http.get(path)
        return answer.status_code, answer.json_body


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_trial_that_converts(daybook: Any, stage: Stage, record: Any, seed: int | None) -> None:
    """Shuffled, and each event twice: the record is right, and so is what it grants at each instant."""
    events = life() * (1 if seed is None else 2)
    if seed is not None:
        random.Random(seed).shuffle(events)
    record(events)
    code, shown = get(daybook, f"/subscriptions/stripe/{SUB}?at=2026-11-20")
    assert code == 200
    assert (shown["status"], shown["provider_status"], shown["certain"]) == ("active", "active", True)
    assert (shown["paid_through"], shown["trial_ends_at"]) == ("2026-12-03T09:00:00Z", "2026-11-03T09:00:00Z")
    assert (shown["reference"], shown["metadata"]) == ("user-42", {"user_id": "user-42"})
    assert shown["last_payment"]["amount"] == 1900
    assert (shown["access"], shown["access_until"], shown["access_reason"]) == (
        True,
        "2026-12-03T09:00:00Z",
        "paid",
    )
    assert sorted(each["id"] for each in shown["events"]) == [f"evt_{n}" for n in range(1, 6)]
    ledger = stage.ledger()
    assert folded(ledger, PROVIDERS, SUBJECT, {}) == ledger.subscription(SUBJECT).facts
    assert verify.drift(ledger, SUBJECT) is None
    for at, has_access in (("2026-12-05", True), ("2026-12-07", False)):  # three days' slack
        for whose in ("reference=user-42", "customer=stripe:cus_1", "customer=cus_1"):
            code, found = get(daybook, f"/access?{whose}&at={at}")
            assert (code, found["access"], found["subscriptions"]) == (200, has_access, [SUBJECT])


def test_a_customers_payments_are_not_read_to_know_of_access(stage: Stage, record: Any) -> None:
    """However many there are: a query, and one read of what it found."""
    record(life())
    for n in range(12):
        charge = {"id": f"ch_{n}", "object": "charge", "payment_intent": f"pi_{n}", "customer": "cus_1"}
        record([event(f"evt_p{n}", "charge.pending", START, {**charge, "amount": 5, "currency": "eur"})])
    aws, calls, items = stage.aws(), list[str](), list[int]()

    def counted(service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = aws(service, operation, **request)
        calls.append(operation)
        items.append(len(answer.get("Items", ())))
        return answer

    ledger = Ledger(counted, stage.names.table)
    question = access.parse({"customer": "stripe:cus_1", "at": "2026-11-20"}, NOW)
    assert access.answer(ledger, question, Terms())["subscriptions"] == [SUBJECT]
    assert (calls, items[0]) == (["Query", "BatchGetItem"], 1)


def test_a_subscription_is_no_payment(daybook: Any, record: Any) -> None:
    """Neither by its id, nor in a list, nor by what it has in common with payments."""
    record(life())
    assert get(daybook, f"/payments/stripe/{SUB}")[0] == 404
    for query in ("", "?reference=user-42", "?customer=cus_1"):
        assert get(daybook, f"/payments{query}")[1]["payments"] == []


def test_a_list_of_them(daybook: Any, record: Any) -> None:
    """By all that payments are listed by, and with their access at an instant."""
    many = [(n, f"sub_{n}") for n in range(3)]
    for n, id_ in many:
        about = {**subscription("active", START + n, NEXT), "id": id_, "created": START + n * 86_400}
        about["customer"] = f"cus_{n}"
        record([event(f"evt_of_{n}", "customer.subscription.created", START + n * 86_400, about)])

    def ids(query: str) -> list[str]:
        code, page = get(daybook, f"/subscriptions{query}")
        assert code == 200
        return [each["id"].partition(":")[2] for each in page["subscriptions"]]

    assert ids("") == ["sub_2", "sub_1", "sub_0"]
    assert ids("?status=active&provider=stripe&reference=user-42") == ["sub_2", "sub_1", "sub_0"]
    assert ids("?customer=cus_1") == ["sub_1"]
    assert ids("?status=ended") == ids("?provider=paypal") == []
    assert ids("?since=2026-10-22") == ["sub_2"]
    assert ids("?until=2026-10-21") == ["sub_0"]
    first = get(daybook, "/subscriptions?limit=2&at=2026-12-01")[1]
    assert [each["access"] for each in first["subscriptions"]] == [True, True]
    assert ids(f"?limit=2&cursor={first['cursor']}") == ["sub_0"]
    late = get(daybook, "/subscriptions?limit=2&at=2027-12-01")[1]
    assert [each["access"] for each in late["subscriptions"]] == [False, False]
    assert get(daybook, "/payments")[1]["payments"] == []


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/subscriptions?at=soon", 400, "at is not an ISO 8601 date or time"),
        ("/subscriptions?x=1", 400, "unknown parameter: x"),
        ("/subscriptions/stripe/sub_9", 404, "no such subscription"),
        ("/subscriptions/stripe/pi_9", 404, "no such subscription"),
        ("/subscriptions/stripe/sub_9?at=soon", 400, "at is not an ISO 8601 date or time"),
        ("/access", 400, "one of reference and customer is needed"),
        ("/access?reference=a&customer=b", 400, "one of reference and customer is needed"),
        ("/access?user=a", 400, "unknown parameter: user"),
        ("/access?reference=a&at=soon", 400, "at is not an ISO 8601 date or time"),
    ],
)
def test_what_cannot_be_answered_is_said(daybook: Any, path: str, code: int, says: str) -> None:
    """With a word on what is wrong."""
    found, answer = get(daybook, path)
    assert (found, answer["Message"]) == (code, says)


def test_nobody_knows_of_whom_nothing_came(daybook: Any) -> None:
    """Which is an answer, not an error: the shop asks of everybody."""
    unknown: dict[str, Any] = {"access": False, "until": None, "reason": "unknown", "subscriptions": []}
    assert get(daybook, "/access?reference=user-1") == (200, unknown)


def test_one_that_was_there_before_is_made_of_all_its_events(daybook: Any, stage: Stage, record: Any) -> None:
    """Before subscriptions were recorded their events were kept alone; the next one brings them in."""
    record(life()[:1])
    dynamodb = stage.client("dynamodb")
    key = {"subject": {"S": SUBJECT}, "entry": {"S": "subscription"}}
    dynamodb.delete_item(TableName=stage.names.table, Key=key)
    assert get(daybook, f"/subscriptions/stripe/{SUB}")[0] == 404
    record(life()[2:4])
    shown = get(daybook, f"/subscriptions/stripe/{SUB}")[1]
    assert (shown["status"], shown["certain"], shown["started_at"]) == (
        "active",
        True,
        "2026-10-20T09:00:00Z",
    )
    assert len(shown["events"]) == 3


def test_in_a_batch_too(daybook: Any, stage: Stage, record: Any) -> None:
    """With another payment's event beside it: it is folded first, and what is old is no news."""
    record(life()[:1])
    dynamodb = stage.client("dynamodb")
    key = {"subject": {"S": SUBJECT}, "entry": {"S": "subscription"}}
    dynamodb.delete_item(TableName=stage.names.table, Key=key)
    charge = {"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "amount": 5, "currency": "eur"}
    record([life()[2], event("evt_other", "charge.pending", START, charge)])
    assert verify.drift(stage.ledger(), SUBJECT) is None
    reached = [each["type"] for each in get(daybook, f"/subscriptions/stripe/{SUB}")[1]["milestones"]]
    assert reached == ["subscription.started", "subscription.past_due"]


def test_repair_makes_records_and_notifies_of_nothing(stage: Stage, record: Any) -> None:
    """Of what happened before there were records."""
    record(life())
    ledger = stage.ledger()
    dynamodb = stage.client("dynamodb")
    key = {"subject": {"S": SUBJECT}, "entry": {"S": "subscription"}}
    dynamodb.delete_item(TableName=stage.names.table, Key=key)
    found = verify.drift(ledger, SUBJECT)
    assert found is not None
    handlers = Handlers()
    handlers.on("subscription.*")(lambda about, milestone: None)
    assert verify.repair(ledger, found, handlers, NOW) == 0
    assert verify.drift(ledger, SUBJECT) is None


def test_a_replayed_invoice_is_what_it_was(stage: Stage, record: Any) -> None:
    """The second period's renews, though alone it would be the first that money was paid for."""
    third = event("evt_6", "invoice.paid", NEXT, invoice("in_3", 1900, NEXT, NEXT + 86_400))
    third["data"]["object"]["billing_reason"] = "subscription_cycle"
    record([*life(), third])
    heard: list[str] = []
    handlers = Handlers()

    @handlers.on("subscription.*")
    def listen(about: Subscription, milestone: Milestone) -> None:
        heard.append(milestone.type)

    to = consumer(stage.ledger(), None, handlers=handlers)
    assert replay(to, chosen(to, "evt_6"), again=True, deadline=NOW + 60_000) == 1
    assert heard == ["subscription.renewed"]


def test_the_commands(stage: Stage, daybook: Any, record: Any, aws: dict[str, str]) -> None:
    """`daybook show` and `daybook access`: in words, as JSON, and by the exit code."""
    record(life())
    environ = {**aws, "DAYBOOK_TABLE": stage.names.table}

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, [*arguments, "--stage", stage.name], env=environ)
        return result.exit_code, result.output

    code, output = run("show", SUB)
    assert code == 0
    assert output.splitlines()[0].split() == [SUBJECT, "active"]
    assert "price_1  1 × 19.00 EUR every month" in output
    assert run("access", "--reference", "user-42", "--at", "2026-11-20") == (
        0,
        f"access until 2026-12-03T09:00:00Z (paid)\n  {SUBJECT}\n",
    )
    assert run("access", "--reference", "user-42", "--at", "2027-01-01") == (
        3,
        f"no access since 2026-12-03T09:00:00Z (paid)\n  {SUBJECT}\n",
    )
    code, output = run("list", "--subscriptions")
    assert code == 0
    assert output.splitlines()[1].split()[-2:] == ["user-42", SUBJECT]
    code, output = run("access", "--customer", "cus_9", "--json")
    assert (code, json.loads(output)["reason"]) == (3, "unknown")
    assert run("access")[0] == 2


def test_who_is_forgotten_has_no_reference(stage: Stage, record: Any) -> None:
    """A customer's subscription and invoices lose what people wrote; what was paid stays."""
    record(life())
    ledger = stage.ledger()
    found = traces(ledger, "stripe:cus_1")
    assert sorted(event for _, event in found.events) == [f"evt_{n}" for n in range(1, 6)]
    assert found.payments == (SUBJECT,)
    forget_labels(ledger, SUBJECT, NOW)
    assert "metadata" not in ledger.subscription(SUBJECT).facts["subscription"]
    assert ledger.referred("user-42", "subscription") == []
