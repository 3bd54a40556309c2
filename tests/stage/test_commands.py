"""`daybook doctor`, `tail`, `replay`, `verify --against-provider`, `completion`: on a stage of their own."""

import ast
import json
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from rich.table import Table
from standardwebhooks import Webhook

from chalicelib.accounts import fingerprint
from chalicelib.errors import Unavailable
from chalicelib.events import Delivery, Event
from chalicelib.inbox import Message
from chalicelib.names import Names
from chalicelib.payments import Milestone, Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers, Task, registered
from chalicelib.recording import Consumer
from chalicelib.settings import LOCAL_TARGET_SECRET
from chalicelib.subscriptions import Subscription
from chalicelib.times import DAY
from chalicelib.undelivered import Undelivered
from chalicelib.wakeups import Waiter
from ops import against, replay
from ops.cli import main
from ops.commands import Failed, handlers, plain, repairing, say, wide
from ops.doctor import Doctor, Finding
from ops.forwarding import Forwarding, is_here
from ops.stage import Stage, connect
from ops.stories import tell
from ops.stories.paypal_subscriptions import PayPalSubscription
from ops.stories.stripe_subscriptions import StripeSubscription
from ops.tail import milestones, tail
from tests.conftest import ROOT, fill_secret
from tests.fake_apis import FakePayPal, FakeStripe
from tests.fakes import DEV_SECRET, NOW, Clock, MemoryInbox, as_bytes, consumer, trust

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(stage: Stage, aws: dict[str, str]) -> Run:
    def invoke(*arguments: str, input: str | None = None, **environ: str) -> tuple[int, str]:
        command = [*arguments, "--stage", stage.name]
        result = CliRunner().invoke(main, command, env={**aws, **environ}, input=input)
        return result.exit_code, result.stdout

    return invoke


def record(to: Consumer, event: dict[str, Any], provider: str = "stripe") -> Event:
    body = as_bytes(event)
    made = PROVIDERS[provider].event(body, NOW)
    to.record(
        Message.of(made, body),
        NOW + 60_000,
    )
    return made


MARKED = ("[bold]x", "[/]", "[link=https://evil.example]WH-1[/link]", "a:smile:b", "[/bold]")


@pytest.mark.parametrize("marked", MARKED)
def test_what_comes_from_outside_is_text(run: Run, stage: Stage, marked: str) -> None:
    """Ids that a terminal library would take for markup, a link or an emoji are printed as they are."""
    resource = {"id": marked, "amount": {"value": "1.00", "currency_code": "EUR"}, "payer": {}}
    to = consumer(stage.ledger(), MemoryInbox())
    sent = {"id": f"E{marked}", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": resource}
    other = {"id": f"F{marked}", "event_type": f"T.{marked}", "resource": {"id": marked}}
    for event in (sent, other):
        record(to, event, "paypal")
    stage.ledger().parking.park(f"paypal:{marked}", f"G{marked}", "x", 5, NOW)
    for arguments, shown in (
        (("show", f"paypal:{marked}"), (f"paypal:{marked}", f"E{marked}", f"T.{marked}")),
        (("list",), (f"paypal:{marked}",)),
        (("parked",), (f"paypal:{marked}", f"G{marked}")),
        (("redrive", "--all", "--dry-run"), (f"paypal:{marked}", f"G{marked}")),
        (("verify", "--subject", f"paypal:{marked}"), ()),
    ):
        code, output = run(*arguments)
        assert code in (0, 3), arguments
        assert all(each in output for each in shown), (arguments, output)


ODD = (
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\r\nok: all well",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\x9b2J",
    "[bold]x",
)


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_nothing_that_is_printed_moves_the_terminal(capsys: pytest.CaptureFixture[str], odd: str) -> None:
    """Escapes, line ends and marks that turn the direction: in a line, a table, an error."""
    say(f"ours 1, the provider's {odd}")
    table = Table("Check", "Found")
    table.add_row("stripe", odd)
    wide().print(table)
    wide().print(f"nothing of {odd}")
    Failed(f"no payment {odd}").show()
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert all(each.isprintable() or each == "\n" for each in text)
    assert text.count(plain(odd)) == 4


def test_all_commands_print_by_the_same_two_ways() -> None:
    """A line that is text, or JSON, whose strings are ASCII: so there is no third one to forget."""
    for path in (ROOT / "ops" / "commands").glob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call)]
        for call in calls:
            if ast.unparse(call.func) in ("click.echo", "print", "click.secho"):
                printed = ast.unparse(call.args[0])
                assert printed.startswith(("json.dumps(", "plain(", "made(root")), printed


# ── replay ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_replay_reaches_the_stages_event_bus(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its consumer does: else what only the bus is still to hear would be struck off unheard."""
    for name in ("dev", "prod"):
        deployed = replace(stage, name=name)
        assert deployed.settings({}).event_bus == f"daybook-{name}"
        assert "event_bus" in {each.name for each in handlers(deployed).of("payment.succeeded")}
    monkeypatch.setenv("DAYBOOK_EVENT_BUS", "mine")
    local = connect("local", os.environ)
    assert "event_bus" in {each.name for each in handlers(local).of("payment.succeeded")}


def test_a_replayed_handler_has_the_stages_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its function has them, where the shell has none; in stage local its AWS is the local one."""
    code = """
import os
from chalicelib.reactions import on

@on("payment.succeeded")
def mail(found, milestone):
    found |= {name: os.environ.get(name) for name in ("MAIL_FROM", "MAIL_TO", "AWS_ENDPOINT_URL")}
"""
    (tmp_path / "mailing.py").write_text(code)
    configured = {"MAIL_FROM": "shop@example.com", "MAIL_TO": "none@example.com"}
    (tmp_path / "config.json").write_text(
        json.dumps({"stages": {"local": {"environment_variables": configured}}})
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("ops.stage.CONFIG", tmp_path / "config.json")
    for name, value in {
        "DAYBOOK_HANDLERS": "mailing",
        "MAIL_TO": "me@example.com",
        "AWS_PORT": "4711",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    before = list(registered)
    registered.clear()
    [mail] = handlers(connect("local", os.environ)).of("payment.succeeded")
    registered.clear(before)
    found: dict[str, str | None] = {}
    mail.function(found, None)
    assert found == {
        "MAIL_FROM": "shop@example.com",
        "MAIL_TO": "me@example.com",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4711",
    }
    assert "MAIL_FROM" not in os.environ
    assert "AWS_ENDPOINT_URL" not in os.environ


def test_doctor_looks_for_the_bus(stage: Stage) -> None:
    """What is sent to one that is gone is dropped without an error."""
    environ = {"DAYBOOK_EVENT_BUS": "gone"}
    doctor = Doctor(replace(stage, name="local"), dict, lambda: NOW, environ)
    [found] = doctor.bus()
    assert (found.level, found.found.partition(":")[0]) == ("wrong", "there is no bus gone")
    stage.client("events").create_event_bus(Name="gone")
    assert [each.level for each in doctor.bus()] == ["ok"]
    assert list(replace(doctor, environ={}).bus()) == []


class Heard:
    """A consumer whose one handler remembers."""

    def __init__(self, stage: Stage) -> None:
        self.types: list[str] = []
        self.replays: list[bool] = []
        self.is_stopped = False
        handlers = Handlers()

        @handlers.on("payment.*")
        def listen(payment: Payment, milestone: Milestone) -> None:
            self.types.append(milestone.type)
            self.replays.append(milestone.replay)
            if self.is_stopped:
                raise KeyboardInterrupt

        @handlers.on("stripe.charge.refunded")
        def hear(event: Event) -> None:
            self.types.append(event.type)
            self.replays.append(event.is_replay)

        self.consumer = replace(consumer(stage.ledger(), MemoryInbox()), handlers=handlers)


@pytest.fixture
def heard(stage: Stage) -> Heard:
    return Heard(stage)


ALL = sorted(
    [
        *("payment.succeeded", "payment.captured", "payment.refunded", "payment.refunded"),
        *("charge.refunded", "charge.refunded"),
    ]
)


def test_replay_again_runs_all_of_a_payments_handlers_once_more(heard: Heard) -> None:
    """And without it only what is left: nothing."""
    _, events = tell("stripe", random.Random(1), NOW, 5000, "EUR", story="partial-refunds")
    [subject] = {record(heard.consumer, event).subject for event in events}
    assert sorted(heard.types) == ALL
    chosen = replay.choose(heard.consumer, subject)
    assert replay.replay(heard.consumer, chosen, False, NOW + 60_000) == 0
    assert sorted(replay.names(heard.consumer, chosen))[0] == "hear (stripe.charge.refunded)"
    heard.types.clear()
    assert replay.replay(heard.consumer, chosen, True, NOW + 60_000) == 6
    assert sorted(heard.types) == ALL
    assert heard.consumer.ledger.payment(subject).outbox.tasks == ()


def test_replay_of_an_event_runs_what_it_tells(heard: Heard) -> None:
    """By its id alone."""
    _, events = tell("stripe", random.Random(1), NOW, 5000, "EUR", story="partial-refunds")
    made = [record(heard.consumer, event) for event in events]
    [first, _] = [each for each in made if each.type == "charge.refunded"]
    chosen = replay.choose(heard.consumer, first.id)
    assert (chosen.subject, chosen.event_id) == (first.subject, first.id)
    heard.types.clear()
    replay.replay(heard.consumer, chosen, True, NOW + 60_000)
    assert heard.types == ["payment.succeeded", "payment.captured", "payment.refunded", "charge.refunded"]


def test_a_period_is_replayed_on_purpose(heard: Heard) -> None:
    """All milestones of a time, by type, by handler; of before the stage began too; nothing is left."""
    for n, days in enumerate((1, 20, 40)):
        _, events = tell("stripe", random.Random(n), NOW - days * DAY, 5000, "EUR", story="partial-refunds")
        for event in events:
            record(heard.consumer, event)
    heard.types.clear()

    def found(since: int, until: int = NOW, **more: str) -> list[replay.Found]:
        return list(replay.Period(since=since, until=until, **more).found(heard.consumer))

    assert len(found(NOW - 50 * DAY)) == 12
    assert len(found(NOW - 30 * DAY, NOW - 10 * DAY)) == 4
    assert found(NOW) == found(NOW - 50 * DAY, milestone="dispute.lost") == []
    assert found(NOW - 50 * DAY, handler="hear") == []
    chosen = found(NOW - 30 * DAY, milestone="payment.refunded", handler="listen")
    for subject, tasks in replay.by_subject(chosen):
        assert replay.notify(heard.consumer, subject, tasks, NOW + 60_000) == 2
        assert heard.consumer.ledger.payment(subject).outbox.tasks == ()
    assert heard.types == ["payment.refunded"] * 4


def test_raw_events_and_single_records_of_a_period(heard: Heard) -> None:
    """By type, by subject; and whoever is notified is told that it is a replay."""
    subjects = []
    for n in range(2):
        _, events = tell("stripe", random.Random(n), NOW - DAY, 5000, "EUR", story="partial-refunds")
        subjects.append([record(heard.consumer, event).subject for event in events].pop())
    assert set(heard.replays) == {False}
    heard.types.clear()
    heard.replays.clear()
    period = replay.Period(since=NOW - 2 * DAY, until=NOW, type="stripe.charge.refunded")
    of_both = list(period.found(heard.consumer))
    assert sorted({subject for subject, *_ in of_both}) == sorted(subjects)
    of_one = list(replace(period, subject=subjects[0]).found(heard.consumer))
    assert len(of_one) * 2 == len(of_both) == 4
    [(subject, tasks)] = replay.by_subject(of_one)
    assert replay.notify(heard.consumer, subject, tasks, NOW + 60_000) == 2
    assert (heard.types, heard.replays) == (["charge.refunded"] * 2, [True, True])
    milestones = replace(period, type=None, milestone="payment.refunded", subject=subjects[1])
    for subject, tasks in replay.by_subject(milestones.found(heard.consumer)):
        replay.notify(heard.consumer, subject, tasks, NOW + 60_000)
    assert heard.replays == [True] * 4


def test_a_replay_that_is_stopped_says_where_to_go_on(heard: Heard) -> None:
    """Between two records; what is left of the one that was running is run by the next."""
    for n in range(3):
        _, events = tell("stripe", random.Random(n), NOW - DAY, 5000, "EUR", story="checkout")
        for event in events:
            record(heard.consumer, event)
    period = replay.Period(since=NOW - 2 * DAY, until=NOW, milestone="payment.succeeded")
    found = list(period.found(heard.consumer))
    first, second, third = [subject for subject, *_ in found]
    with pytest.raises(click.UsageError):
        repairing.after(found, "stripe:pi_other")
    heard.types.clear()
    repairing.run(heard.consumer, replay.by_subject(found[:1]), rate=1000, as_json=False)
    heard.is_stopped = True
    with pytest.raises(Failed, match="the same command goes on"):
        repairing.run(heard.consumer, replay.by_subject(found[1:]), rate=None, as_json=True)
    heard.is_stopped = False
    assert [subject for subject, *_ in repairing.after(found, first)] == [second, third]
    assert len(heard.types) == 2


def test_the_command_replays_a_period_and_asks_first(stage: Stage, run: Run) -> None:
    """A dry run counts by handler; neither an id nor a time, or both, is a mistake of the user's."""
    _, events = tell("stripe", random.Random(1), NOW, 5000, "EUR", story="checkout")
    for event in events:
        record(consumer(stage.ledger(), MemoryInbox()), event)
    since = ("replay", "--since", "2026-11-01")
    code, output = run(*since, "--dry-run", "--json")
    assert (code, json.loads(output)) == (0, {"payments": 1, "would_run": {"ship (payment.succeeded)": 1}})
    assert run(*since, "--dry-run")[1].splitlines()[-1] == "1 would run, of 1 records"
    assert run(*since, "--milestone", "payment.failed", "--dry-run")[1] == "0 would run, of 0 records\n"
    assert run(*since, input="n\n")[0] == 1
    code, output = run(*since, "--yes")
    assert (code, output.splitlines()[-1]) == (0, "1 handlers ran")
    assert json.loads(run(*since, "--yes", "--json")[1].partition("\n")[2]) == {"ran": 1, "failed": []}
    assert run("replay")[0] == run("replay", "stripe:pi_1", "--since", "2026-11-01")[0] == 2
    assert run("replay", "--since", "yesterday")[0] == 2


def test_replay_asks_before_it_runs_them_again(stage: Stage, run: Run) -> None:
    """The command; what nobody knows is said so."""
    _, [event] = tell("stripe", random.Random(1), NOW, 5000, "EUR", type_="payment_intent.succeeded")
    subject = record(consumer(stage.ledger(), MemoryInbox()), event).subject
    assert run("replay", subject, "--again", input="n\n")[0] == 1
    code, output = run("replay", event["id"], "--again", "--yes", "--json")
    assert (code, json.loads(output.splitlines()[-1])) == (0, {"subject": subject, "ran": 1})
    assert run("replay", "evt_unknown")[0] == 1


# ── verify --against-provider ───────────────────────────────────────────────────────────────────────


def test_amounts_are_compared_with_the_providers(stage: Stage, run: Run) -> None:
    """Right ones exit with 0, a difference with 3, and it is named."""
    to = consumer(stage.ledger(), MemoryInbox())
    subject, events = tell("stripe", random.Random(1), NOW, 5000, "EUR", story="partial-refunds")
    for event in events:
        record(to, event)
    capture = {"id": "CAP1", "status": "COMPLETED", "amount": {"value": "5.00", "currency_code": "EUR"}}
    paid = {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": capture}
    record(to, paid, "paypal")
    fill_secret(stage, {"stripe_api_key": ["rk_1"], "paypal_client_id": ["a"], "paypal_client_secret": ["b"]})
    object_id = subject.partition(":")[2]
    charge = {"object": "charge", "id": "ch_1", "amount": 5000, "captured": True, "currency": "eur"}
    intent = {"object": "payment_intent", "id": object_id, "amount_received": 5000, "currency": "eur"}
    with FakeStripe([]) as stripe, FakePayPal([]) as paypal:
        addresses = {"STRIPE_API": stripe.address, "PAYPAL_API": paypal.address}
        path = f"/v1/payment_intents/{object_id}"
        stripe.objects[path] = {**intent, "latest_charge": {**charge, "amount_refunded": 1200}}
        paypal.objects["/v2/payments/captures/CAP1"] = capture
        code, output = run("verify", "--against-provider", **addresses)
        assert (code, output) == (0, "2 compared, 0 differ, 0 not asked\n")
        stripe.objects[path] = {**intent, "latest_charge": {**charge, "amount_refunded": 400}}
        paypal.objects["/v2/payments/captures/CAP1"] = {**capture, "status": "REFUNDED"}
        code, output = run("verify", "--against-provider", **addresses)
        assert code == 3
        assert f"{subject}\n  refunded: ours 1200, the provider's 400\n" in output
        assert "paypal:CAP1\n  refunded: ours nothing, the provider's all\n" in output
        del stripe.objects[path], paypal.objects["/v2/payments/captures/CAP1"]
        code, output = run("verify", "--against-provider", "--json", **addresses)
        assert [each["differences"] for each in json.loads(output)] == [
            [["payment", "recorded", "unknown"]]
        ] * 2


def test_subscriptions_are_compared_too(stage: Stage, run: Run) -> None:
    """Status, prices, periods: what both providers show of them alone."""
    to = consumer(stage.ledger(), MemoryInbox())
    made = StripeSubscription(random.Random(1), NOW, 1900, "EUR", None)
    other = PayPalSubscription(random.Random(2), NOW, 1900, "EUR", None)
    record(to, made.created("active", 10))
    for event in (other.created(10), other.activated(), other.sale()):
        record(to, event, "paypal")
    assert run("verify", "--against-provider")[0] == 1  # no keys
    fill_secret(stage, {"stripe_api_key": ["rk_1"], "paypal_client_id": ["a"], "paypal_client_secret": ["b"]})
    with FakeStripe([]) as stripe, FakePayPal([]) as paypal:
        addresses = {"STRIPE_API": stripe.address, "PAYPAL_API": paypal.address}
        stripe.objects[f"/v1/subscriptions/{made.id}"] = made._about
        paypal.objects[f"/v1/billing/subscriptions/{other.id}"] = other.shown()
        for id_ in (made.subject, other.subject):
            code, output = run("verify", "--against-provider", "--subject", id_, **addresses)
            assert (code, output) == (0, "1 compared, 0 differ, 0 not asked\n"), output
        stripe.objects[f"/v1/subscriptions/{made.id}"] = {**made._about, "status": "past_due"}
        del paypal.objects[f"/v1/billing/subscriptions/{other.id}"]
        code, output = run("verify", "--against-provider", **addresses)
        assert code == 3
        assert f"{made.subject}\n  status: ours active, the provider's past_due\n" in output
        assert f"{other.subject}\n  subscription: ours recorded, the provider's unknown\n" in output
    apis: dict[str, Any] = {}
    assert not against.compare(stage.ledger(), made.subject, apis).was_asked


def test_a_subscription_is_shown_by_the_users_own_id(stage: Stage, run: Run) -> None:
    """As a payment is, where no payment is of that id yet."""
    to = consumer(stage.ledger(), MemoryInbox())
    made = PayPalSubscription(random.Random(2), NOW, 1900, "EUR", None)
    for event in (made.created(10), made.activated()):
        record(to, event, "paypal")
    reference = made.shown()["custom_id"]
    code, output = run("show", reference)
    assert (code, made.subject in output) == (0, True), output
    record(to, made.sale(), "paypal")
    assert run("show", reference)[1].startswith("paypal:")


def test_a_period_of_subscriptions_is_replayed(stage: Stage) -> None:
    """Their milestones, and the last times that access began or ended."""
    handlers = Handlers()
    types: list[str] = []

    @handlers.on("subscription.*")
    def listen(about: Subscription, milestone: Milestone) -> None:
        types.append(milestone.type)

    @handlers.on("access.*")
    def access(about: Subscription, milestone: Milestone) -> None:
        types.append(milestone.type)

    to = consumer(stage.ledger(), MemoryInbox(), handlers=handlers)
    subject, events = tell("stripe", random.Random(1), NOW, 1900, "EUR", story="upgrade")
    for event in events:
        record(to, event)
    types.clear()
    found = list(replay.Period(since=NOW - 30 * DAY, until=NOW + DAY).found(to))
    for of, tasks in replay.by_subject(found):
        assert (of, replay.notify(to, of, tasks, NOW + 60_000)) == (subject, 4)
    assert sorted(types) == [
        "access.granted",
        "subscription.activated",
        "subscription.changed",
        "subscription.started",
    ]
    types.clear()
    assert replay.replay(to, replay.choose(to, subject), True, NOW + 60_000) == 4


# ── tail ────────────────────────────────────────────────────────────────────────────────────────────


def test_tail_shows_each_recorded_event_once(stage: Stage) -> None:
    """From the consumer's log group, page by page, until it is stopped."""
    logs = stage.client("logs")
    group = f"/aws/lambda/daybook-{stage.name}-process"
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    now = int(datetime.now(UTC).timestamp() * 1000)

    def write(*messages: str) -> None:
        events = [{"timestamp": now + n, "message": each} for n, each in enumerate(messages)]
        logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)

    recorded = [json.dumps({"message": "recorded", "subject": f"stripe:pi_{n}"}) for n in range(3)]
    write(recorded[0], '{"message": "duplicate"}', recorded[1])
    shown = tail(stage, Clock(now), lambda _: write(recorded[2]))
    found = [next(shown)["subject"] for _ in range(3)]
    assert found == ["stripe:pi_0", "stripe:pi_1", "stripe:pi_2"]


# ── doctor ──────────────────────────────────────────────────────────────────────────────────────────

ENDPOINT = {"url": "https://x/dev/webhooks/stripe", "status": "enabled", "enabled_events": ["*"]}


def findings(stage: Stage, secrets: Mapping[str, tuple[str, ...]], **environ: str) -> dict[str, list[str]]:
    """By check: level and what was found."""
    doctor = Doctor(stage, lambda: secrets, lambda: int(datetime.now(UTC).timestamp() * 1000), environ)
    found: dict[str, list[str]] = {}
    for each in doctor.examine():
        assert each.level == "ok" or each.remedy, each
        found.setdefault(each.check, []).append(f"{each.level}: {each.found}")
    return found


def test_a_stage_that_is_half_there_is_found_out(stage: Stage) -> None:
    """No functions, no mapping, a queue that gives out too soon, no webhooks."""
    found = findings(stage, {"stripe_webhook_secrets": (DEV_SECRET, "whsec_…"), "paypal_webhook_ids": ()})
    assert found["ledger"][0].startswith("ok: payment-transactions-")
    assert found["secret"] == [
        "ok: 2 stripe_webhook_secrets",
        "warning: 0 paypal_webhook_ids",
        "warning: one of stripe_webhook_secrets (b40b6b) has not the form of Stripe's, and is ignored",
    ]
    assert found["traffic"][0] == "warning: no webhook was accepted for a day"
    assert found["endpoints"] == ["ok: not looked at: no API keys are set"]
    assert found["parked"] == ["ok: nothing is set aside"]
    stage.ledger().parking.park("stripe:pi_1", "evt_1", "message", 5, NOW)
    assert findings(stage, {})["parked"] == ["warning: 1 events are set aside"]
    gone = findings(replace(stage, name="never"), {})
    assert gone["ledger"] == ["wrong: there is no table payment-transactions-never"]
    assert gone["queues"][0].startswith("wrong: cannot be looked at")


def test_a_secret_that_is_not_filled_is_said_once(stage: Stage) -> None:
    """Not by each check that would need it."""

    def unfilled() -> Any:
        raise Unavailable("this endpoint is not configured", reason="no_secret")

    findings = list(Doctor(stage, unfilled, lambda: NOW, {}).examine())
    about = [each for each in findings if "not configured" in each.found]
    assert [(each.check, each.level) for each in about] == [("secret", "wrong")]
    assert "fill daybook/" in about[0].remedy
    assert not [each for each in findings if each.check in ("rolls", "providers", "reconciled")]


def test_endpoints_are_looked_at_where_keys_are_set(stage: Stage) -> None:
    """Enabled, leading here, with the types that matter; and how long ago each was reconciled."""
    secrets = {
        "stripe_api_key": ("rk_1",),
        "paypal_client_id": ("a",),
        "paypal_client_secret": ("b",),
        "paypal_webhook_ids": ("8PT1",),
    }
    with FakeStripe([]) as stripe, FakePayPal([]) as paypal:
        addresses = {"STRIPE_API": stripe.address, "PAYPAL_API": paypal.address}
        stripe.objects["/v1/webhook_endpoints"] = {"data": [ENDPOINT]}
        webhook = {"id": "8PT1", "url": "https://x/webhooks/paypal", "event_types": [{"name": "*"}]}
        paypal.objects["/v1/notifications/webhooks"] = {"webhooks": [webhook]}
        found = findings(stage, secrets, **addresses)
        assert found["stripe"][0].startswith("ok: https://x/dev/webhooks/stripe is enabled")
        assert found["paypal"] == ["ok: https://x/webhooks/paypal sends 1 types"]
        assert found["reconcile"] == [
            "warning: stripe was never reconciled",
            "warning: paypal was never reconciled",
        ]
        stripe.objects["/v1/webhook_endpoints"] = {"data": [{**ENDPOINT, "status": "disabled"}]}
        other = {**webhook, "id": "other"}  # another stage's
        paypal.objects["/v1/notifications/webhooks"] = {"webhooks": [other, webhook]}
        assert findings(stage, secrets, **addresses)["paypal"] == [
            "ok: https://x/webhooks/paypal sends 1 types"
        ]
        paypal.objects["/v1/notifications/webhooks"] = {"webhooks": [other]}
        found = findings(stage, secrets, **addresses)
        assert found["stripe"] == ["wrong: https://x/dev/webhooks/stripe is disabled"]
        assert found["paypal"] == [
            "wrong: no configured id is among PayPal's webhooks: https://x/webhooks/paypal has the id other"
        ]
        stripe.objects["/v1/webhook_endpoints"] = {
            "data": [{**ENDPOINT, "enabled_events": ["payment_intent.succeeded"]}]
        }
        paypal.objects["/v1/notifications/webhooks"] = {"webhooks": []}
        found = findings(stage, secrets, **addresses)
        assert "does not send charge.refunded, charge.dispute.closed" in found["stripe"][0]
        assert found["paypal"] == ["wrong: no webhook leads here"]


def test_a_roll_says_which_secret_is_no_longer_used(stage: Stage) -> None:
    """From the metric by the secret's fingerprint."""
    dimensions = [
        {"Name": "stage", "Value": stage.name},
        {"Name": "secret", "Value": fingerprint("whsec_new")},
    ]
    datum = {"MetricName": "verified", "Value": 1, "Dimensions": dimensions, "Unit": "Count"}
    stage.client("cloudwatch").put_metric_data(Namespace="Daybook", MetricData=[datum] * 3)
    found = findings(stage, {"stripe_webhook_secrets": ("whsec_new", "whsec_old")})
    new, old = fingerprint("whsec_new"), fingerprint("whsec_old")
    assert found["secret roll"] == [f"warning: stripe_webhook_secrets: {new} verified 3, {old} verified 0"]


# ── the command itself ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_the_commands(shell: str) -> None:
    """The script asks this very command."""
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_DAYBOOK_COMPLETE" in result.output
    words = {"COMP_WORDS": "daybook re", "COMP_CWORD": "1", "_DAYBOOK_COMPLETE": "bash_complete"}
    result = CliRunner().invoke(main, [], env=words, prog_name="daybook")
    assert {"plain,replay", "plain,redrive", "plain,reconcile"} <= set(result.output.split())


def test_the_readme_has_every_command() -> None:
    """In one table."""
    text = (ROOT / "README.md").read_text()
    for name in main.commands:
        assert f"| `daybook {name}" in text, name


def test_show_takes_whatever_id_is_in_hand(run: Run, stage: Stage, aws: dict[str, str]) -> None:
    """A charge's, a refund's, a customer's, the order's number; of a made-up one it says what is near."""
    to = consumer(stage.ledger(), MemoryInbox())
    subject, events = tell("stripe", random.Random(1), NOW, 5000, "EUR", story="partial-refunds")
    for event in events:
        record(to, event, "stripe")
    payment = project(subject, stage.ledger().payment(subject).facts)
    in_hand = [payment.related["charge"][0], *payment.related["refund"], payment.customer, payment.reference]
    for each in (*in_hand, events[0]["id"], subject.partition(":")[2]):
        code, output = run("show", str(each))
        assert (code, output.splitlines()[0].split()[0]) == (0, subject), each
    for arguments, says in (
        (("show", subject[7:-3]), f"{subject[7:]} is near, of {subject}"),
        (("show", "ch_made_up"), "daybook list shows what there is"),
        (("list", "--status", "paid"), "status is none of: disputed"),
    ):
        result = CliRunner().invoke(main, [*arguments, "--stage", stage.name], env=aws)
        assert (result.exit_code > 0, says in result.output) == (True, True), result.output
    code, output = run("list", "--amount", "5000", "--json")
    assert (code, [each["id"] for each in json.loads(output)["payments"]]) == (0, [subject])


def test_tail_forwards_what_is_recorded_to_a_program_here(stage: Stage) -> None:
    """As the provider sent it, genuine by the local secret; not what is our own, nor what is not kept."""
    to = consumer(stage.ledger(), MemoryInbox())
    _, events = tell("stripe", random.Random(4), NOW, 5000, "EUR", story="checkout")
    made = [record(to, each) for each in events]
    own = {"id": "imported_pi_9", "type": "payment_intent.succeeded", "subject": "stripe:pi_9"}
    lines = [
        *({"provider": "stripe", "event_id": e.id, "subject": e.subject, "type": e.type} for e in made),
        {"provider": "stripe", "event_id": own["id"], "subject": own["subject"], "type": own["type"]},
        {"provider": "stripe", "event_id": "evt_gone", "subject": "stripe:pi_9", "type": "charge.updated"},
        {"provider": "paypal", "event_id": made[0].id, "subject": made[0].subject, "type": made[0].type},
    ]
    with FakeStripe([]) as here:  # a program that keeps what it is sent
        here.objects["/hook"] = {"ok": True}
        forwarding = Forwarding(stage.ledger(), f"{here.address}/hook", "whsec_mine", {}, lambda: NOW)
        answers = [forwarding.send(each) for each in lines]
    assert answers[: len(made)] == ["200"] * len(made)
    assert answers[-3:-1] == ["no provider sent it", "its body is not kept"]
    assert "unsigned" in answers[-1]
    for sent, event in zip(here.requests, events, strict=False):
        headers = {name.lower(): value for name, value in sent.headers.items()}
        mine = trust(stripe_webhook_secrets=("whsec_mine",))
        assert PROVIDERS["stripe"].verify(Delivery(headers, sent.body, NOW), mine)
        assert json.loads(sent.body) == event
    nobody = replace(forwarding, url="http://127.0.0.1:9/hook")
    assert nobody.send(lines[0]) == "no answer"


def test_what_handlers_were_notified_of_is_forwarded_as_a_target_is_sent_it(stage: Stage) -> None:
    """Each milestone once, whoever handled it, and no raw event; signed by the Standard Webhooks scheme."""
    to = consumer(stage.ledger(), MemoryInbox())
    subject, events = tell("stripe", random.Random(4), NOW, 5000, "EUR", story="partial-refunds")
    for each in events:
        record(to, each)
    plan, told = tell("stripe", random.Random(5), NOW, 1900, "EUR", story="trial-converts")
    for each in told:
        record(to, each)
    tasks = [
        f"{subject}/payment.succeeded",
        f"{subject}/payment.succeeded",
        f"{subject}/stripe.charge.succeeded/evt_1",
        f"{plan}/access.granted/1",
        f"{subject}/payment.refunded/re_gone",
    ]
    lines = list(milestones(iter({"at": NOW, "handler": "ship", "task": task} for task in tasks)))
    assert [each["type"] for each in lines] == ["payment.succeeded", "access.granted", "payment.refunded"]
    moment = time.time_ns() // 1_000_000
    with FakeStripe([]) as here:
        here.objects["/hook"] = {"ok": True}
        forwarding = Forwarding(stage.ledger(), f"{here.address}/hook", None, {}, lambda: moment)
        answers = [forwarding.send_milestone(each) for each in lines]
    assert answers == ["200", "200", "its record does not have it any more"]
    read = [Webhook(LOCAL_TARGET_SECRET).verify(each.body, dict(each.headers)) for each in here.requests]
    assert [each["type"] for each in read] == ["payment.succeeded", "access.granted"]
    assert read[0]["data"]["payment"]["id"] == subject
    nobody = replace(forwarding, url="http://127.0.0.1:9/hook")
    assert nobody.send_milestone(lines[0]) == "no answer"


def test_a_secret_that_signs_no_milestone_is_refused() -> None:
    """Before anything is waited for."""
    options = ("--notified", "--forward", "http://localhost:3000", "--secret", "whsec_x")
    result = CliRunner().invoke(main, ["tail", *options])
    assert (result.exit_code, "is not whsec_ and the base64" in result.output) == (2, True)


@pytest.mark.parametrize("url", ["https://example.com/hook", "http://10.0.0.1/", "file:///etc/passwd", "x"])
def test_nothing_is_forwarded_to_another_machine(run: Run, url: str) -> None:
    """They are customers' payments."""
    assert not is_here(url)
    assert run("tail", "--forward", url)[0] == 2
    assert is_here("http://localhost:3000/hook")


# ── targets ─────────────────────────────────────────────────────────────────────────────────────────


def waits(stage: Stage, target: str, subject: str = "stripe:pi_1", **more: Any) -> Undelivered:
    """A milestone that a target has not taken."""
    task = Task(id=f"{subject}/payment.succeeded", type="payment.succeeded")
    none = Undelivered(subject=subject, target=target, reason="answered 503", attempts=8, since=NOW, **more)
    return stage.ledger().undelivered.write(none, replace(none, tasks=(task,)), NOW)


def targets_of(
    stage: Stage, secrets: dict[str, tuple[str, ...]], name: str | None = None, **settings: str
) -> list[Finding]:
    """What doctor says of the targets; of a stage of that name."""
    environ = {f"DAYBOOK_TARGET_{each.upper()}": value for each, value in settings.items()}

    class Configured(Stage):
        @property
        def config(self) -> dict[str, Any]:
            return {"environment_variables": environ}

        @property
        def names(self) -> Names:
            return stage.names

    made = Configured(name or stage.name, stage.session, stage.endpoint)
    return list(Doctor(made, lambda: secrets, lambda: NOW, environ).targets())


def test_doctor_says_what_a_target_lacks(stage: Stage) -> None:
    """Its secret, one that signs, its permission, its region; and a secret that is of no target."""
    queue = "arn:aws:sqs:us-east-1:123456789012:books.fifo"
    hook = "https://warehouse.example.com/hook"
    found = targets_of(
        stage,
        {"target_short": ("whsec_x",), "target_chat": ("x",), "target_gone": ("y",)},
        short=hook,
        none=hook,
        chat="slack",
        books=queue,
        far=queue.replace("us-east-1", "eu-central-1"),
    )
    said = "\n".join(f"{each.level} {each.found}" for each in found)
    for words in (
        "wrong short: target_short is not whsec_ and the base64",
        "wrong none: there is no target_none in",
        "wrong chat: target_chat is no https:// address",
        "wrong books: .chalice/policy-",
        "wrong far: its queue is in eu-central-1, the stage in us-east-1",
        "warning target_gone is the secret of no target",
    ):
        assert words in said, said
    [absent] = targets_of(stage, {}, "local", books=queue)
    assert (absent.level, absent.found) == ("wrong", f"books: there is no queue {queue}")
    stage.client("sqs").create_queue(QueueName="books.fifo", Attributes={"FifoQueue": "true"})
    [there] = targets_of(stage, {}, "local", books=queue)
    assert there.level == "ok"
    [fine] = targets_of(stage, {"target_good": (LOCAL_TARGET_SECRET,)}, good=hook)
    assert (fine.level, fine.found) == ("ok", "good, 0 records wait for it")


def test_doctor_says_what_is_parked_and_what_nobody_will_take(stage: Stage) -> None:
    """Also of a target that is no longer one."""
    waits(stage, "good", parked_at=NOW)
    waits(stage, "warehose")
    found = targets_of(stage, {"target_good": (LOCAL_TARGET_SECRET,)}, good="https://a.example.com/")
    assert [each.level for each in found] == ["ok", "wrong", "warning"]
    assert found[1].found == "1 records wait for warehose, which is no target of the stage"
    assert found[2].found == "1 records were not taken by good, and are parked"


def test_what_a_target_did_not_take_is_shown_and_redriven(run: Run, stage: Stage) -> None:
    """By `parked` and `show`, with why; by its own id, or with all."""
    to = consumer(stage.ledger(), MemoryInbox())
    subject, events = tell("stripe", random.Random(1), NOW, 5000, "EUR", story="checkout")
    for event in events:
        record(to, event, "stripe")
    waits(stage, "shop", subject, parked_at=NOW)
    code, output = run("parked", "--json")
    [row] = json.loads(output)
    assert (code, row["id"], row["target"], row["reason"]) == (3, f"shop/{subject}", "shop", "answered 503")
    assert f"parked: daybook redrive shop/{subject}" in run("show", subject)[1]
    code, output = run("redrive", "--all", "--dry-run")
    assert (code, "is sent payment.succeeded" in output) == (0, True)
    assert run("redrive", f"shop/{subject}")[0] == 0
    assert stage.ledger().undelivered.read(Waiter(subject, "shop")).parked_at is None
    code, output = run("replay", subject, "--json")
    assert (code, json.loads(output)["targets"]) == (0, ["shop"])
    assert run("redrive", "--all", "--to", "nobody")[0] == 2
