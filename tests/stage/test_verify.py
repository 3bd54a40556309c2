"""Verify and replay, on a table that drifted."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from chalicelib.folding import folded
from chalicelib.payments import RULES_VERSION, STATES, books, change, fact, join
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers, Task
from ops import replay, verify
from ops.cli import main
from ops.commands import handlers as registered_handlers
from ops.stage import Stage
from ops.stories import tell
from tests.fakes import NOW, MemoryInbox, as_bytes, consumer, message_of, record_of


@pytest.fixture
def recorded(stage: Stage) -> list[str]:
    """Three recorded payments and one event that is about none; the payments' subjects."""
    to = consumer(stage.ledger(), MemoryInbox())
    subjects = []
    for n in range(3):
        subject, events = tell("stripe", random.Random(n), NOW, 5000, "EUR", story="partial-refunds")
        subjects.append(subject)
        for event in events:
            to.record(message_of(as_bytes(event)), NOW)
    to.record(message_of(b'{"id": "evt_9", "type": "customer.created"}'), NOW)
    return subjects


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(stage: Stage, aws: dict[str, str]) -> Run:
    """The command on that stage, reached as any deployed one is: by its name and the environment."""

    def invoke(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, [*arguments, "--stage", stage.name], env=aws)
        return result.exit_code, result.stdout

    return invoke


def tamper(stage: Stage, subject: str) -> None:
    """A payment that says less than its events do, as an older mapping would have left it."""
    ledger = stage.ledger()
    stored = ledger.payment(subject)
    facts = {
        name: {field: value for field, value in fields.items() if field != "refund_totals"}
        for name, fields in stored.facts.items()
        if not name.startswith("refund")
    }
    ledger.save_payment(record_of(facts, replace(stored.outbox, version=stored.version + 1)))


def test_no_drift_exits_with_0(stage: Stage, recorded: list[str], run: Run) -> None:
    """The whole table, each payment the fold of its events."""
    assert sorted(stage.ledger().subjects()) == sorted([*recorded, "stripe:evt_9"])
    assert run("verify") == (0, "no drift\n")


def test_drift_is_shown_repaired_and_told(stage: Stage, recorded: list[str], run: Run) -> None:
    """Exit 3 and each difference; after the repair none, and what handlers missed waits for a replay."""
    tamper(stage, recorded[1])
    code, output = run("verify")
    assert code == 3
    assert output.startswith(recorded[1])
    assert "refunded: stored 0, its events say 1200" in output
    assert run("verify", "--subject", recorded[0])[0] == 0
    assert run("verify", "--subject", "stripe:pi_missing")[0] == 1
    assert run("verify", "--subject", "pi_1")[0] == 2
    [row] = json.loads(run("verify", "--json")[1])
    assert row["subject"] == recorded[1]
    heard: list[Any] = []
    handlers = Handlers()
    handlers.on("payment.refunded")(lambda payment, milestone: heard.append(milestone.amount))
    drift = verify.drift(stage.ledger(), recorded[1])
    assert drift
    assert verify.repair(stage.ledger(), drift, handlers, NOW) == 2
    assert run("verify")[0] == 0
    to = replace(consumer(stage.ledger(), MemoryInbox()), handlers=handlers)
    assert to.runner.resume(recorded[1], "payment", NOW + 60_000) == 2
    assert sorted(heard) == [400, 800]


def test_repair_by_the_command(stage: Stage, recorded: list[str], run: Run) -> None:
    """It says what it did, and exits with 0."""
    tamper(stage, recorded[0])
    tamper(stage, recorded[2])
    code, output = run("verify", "--repair")
    assert code == 0
    assert output.endswith("2 drifted\n")
    assert run("verify") == (0, "no drift\n")


def test_replay_runs_what_is_left(stage: Stage, recorded: list[str], run: Run) -> None:
    """By subject; once there is nothing left it says so, and it knows what does not exist."""
    ledger = stage.ledger()
    stored = ledger.payment(recorded[0])
    payment = folded(ledger, PROVIDERS, recorded[0], {})
    tasks = registered_handlers(stage).milestone_tasks(
        change(recorded[0], books({}), books(payment)).milestones
    )
    assert len(tasks) == 1
    ledger.write_outbox(replace(stored.outbox, tasks=tasks))
    [event, *_] = ledger.events(recorded[0])
    ledger.parking.park(recorded[0], event.id, "the message", 5, NOW)
    assert run("replay", recorded[0]) == (
        0,
        f"ship: {recorded[0]} is paid, 50.00 EUR\n1 handlers ran for {recorded[0]}\n",
    )
    assert run("replay", recorded[0]) == (0, f"0 handlers ran for {recorded[0]}\n")
    assert list(ledger.parking.parked()) == []
    assert run("replay", "stripe:pi_missing")[0] == 1


def test_replay_strikes_nothing_off_that_no_handler_here_hears(
    stage: Stage, recorded: list[str], run: Run
) -> None:
    """What is deployed may have a handler for it that this checkout has not."""
    ledger = stage.ledger()
    unheard, heard = (
        Task(id=f"{recorded[0]}/{type_}", type=type_, at="2026-11-24T00:00:00Z")
        for type_ in ("payment.authorized", "payment.succeeded")
    )
    ledger.write_outbox(replace(ledger.payment(recorded[0]).outbox, tasks=(unheard, heard)))
    assert run("replay", recorded[0])[1].endswith(f"1 handlers ran for {recorded[0]}\n")
    outbox = ledger.payment(recorded[0]).outbox
    assert (outbox.tasks, outbox.leased_until) == ((unheard,), 0)
    assert run("replay", recorded[0]) == (0, f"0 handlers ran for {recorded[0]}\n")


def test_replay_again_leaves_out_what_was_superseded(stage: Stage, recorded: list[str]) -> None:
    """No handler heard it the first time either."""
    ledger = stage.ledger()
    failed = fact("payment", failed_at=1, state=[1, STATES.index("failed")])
    stored = ledger.payment(recorded[0])
    outbox = replace(stored.outbox, version=stored.version + 1, superseded=("payment.failed",))
    ledger.save_payment(record_of(join(stored.facts, failed), outbox))
    handlers = Handlers()
    handlers.on("payment.*")(lambda payment, milestone: None)
    to = replace(consumer(ledger, MemoryInbox()), handlers=handlers)
    told = [name.rpartition("(")[2] for name in replay.names(to, replay.Chosen(recorded[0]))]
    assert told == ["payment.succeeded)", "payment.captured)", "payment.refunded)", "payment.refunded)"]


def test_repair_makes_records_of_older_rules_anew(stage: Stage, recorded: list[str], run: Run) -> None:
    """All of them, without notifying anybody of what the older rules notified already."""
    key = {"subject": {"S": recorded[1]}, "entry": {"S": "payment"}}
    stage.client("dynamodb").update_item(
        TableName=stage.names.table,
        Key=key,
        UpdateExpression="SET facts = :facts REMOVE #rules",
        ExpressionAttributeNames={"#rules": "rules"},
        ExpressionAttributeValues={
            ":facts": {"S": '{"payment": {"captured": 5000, "captured_at": 1, "currency": ["EUR"]}}'}
        },
    )
    assert stage.ledger().payment(recorded[1]).is_outdated
    code, output = run("verify")
    assert code == 3
    assert f"rules: stored 1, its events say {RULES_VERSION}" in output
    assert run("verify", "--repair")[0] == 0
    stored = stage.ledger().payment(recorded[1])
    assert (stored.is_outdated, stored.outbox.tasks) == (False, ())
    assert run("verify") == (0, "no drift\n")
