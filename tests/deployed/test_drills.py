"""The runbook's drills, on `make run`: break it on purpose, see the signal, repair it."""

import json
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest

from chalicelib.entries import Outbox
from chalicelib.payments import fact
from chalicelib.providers import PROVIDERS
from chalicelib.reconcile import OVERDUE
from ops.stage import Stage, connect
from tests.conftest import ROOT, free_port, wait_until
from tests.fake_apis import FakeStripe
from tests.fakes import as_bytes, write_of
from tests.running import DAYBOOK, Running, folder_of, started

QUEUE = "payment-events-local.fifo"
NOW = time.time_ns() // 1_000_000


class Drill(Running):
    """`make run` with a Stripe that does not answer, a bus that there is not, and a handler that fails while
    the warehouse is closed; an hour is two seconds."""

    def __init__(self, folder: Path) -> None:
        self.stripe_port = free_port()
        super().__init__(
            folder,
            DAYBOOK_HOURLY_SECONDS="2",
            STRIPE_API=f"http://127.0.0.1:{self.stripe_port}",
            STRIPE_API_KEY="rk_local",
            DAYBOOK_EVENT_BUS="daybook-gone",
            DAYBOOK_HANDLERS="tests.warehouse",
            WAREHOUSE=str(folder / "closed"),
        )
        self.closed = folder / "closed"

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [DAYBOOK, *arguments], env=self.environ, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stdout

    def alarms(self) -> set[str]:
        """Those that `daybook doctor` shows as on."""
        code, output = self.run("doctor", "--json")
        found = [each["found"] for each in json.loads(output) if each["check"] == "alarm"]
        assert code == (3 if any("daybook-" in each for each in found) else code)
        return {each.partition(":")[0] for each in found if each.startswith("daybook-")}

    def sees(self, alarm: str) -> None:
        wait_until(lambda: f"daybook-{alarm}-local" in self.alarms(), 60)

    @property
    def stage(self) -> Stage:
        return connect("local", self.environ)


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """An overdue listing is there from the beginning: the run that finds it tries for a minute first."""
    made = Drill(folder_of(tmp_path_factory, "drill"))
    with started(made):
        begun = {"begun_at": NOW - OVERDUE - 1000}
        made.stage.ledger().checkpoints.note_checkpoint("reconcile stripe", begun)
        yield made


def queue_url(drill: Drill) -> str:
    return str(drill.stage.client("sqs").get_queue_url(QueueName=QUEUE)["QueueUrl"])


def impatient(drill: Drill) -> None:
    """The drill's five tries take seconds instead of a minute."""
    attributes = {"VisibilityTimeout": "1"}
    drill.stage.client("sqs").set_queue_attributes(QueueUrl=queue_url(drill), Attributes=attributes)


def test_silence(drill: Drill) -> None:
    """On until a webhook is accepted, off from then on."""
    drill.sees("silence")
    assert drill.run("send", "stripe", "charge.succeeded")[0] == 0
    wait_until(lambda: "daybook-silence-local" not in drill.alarms(), 60)


def test_hourly_work_that_is_run_is_seen(drill: Drill) -> None:
    """From its first run on; until then nobody knows of any."""
    wait_until(lambda: not {each for each in drill.alarms() if "not-run" in each}, 60)


def test_refused(drill: Drill) -> None:
    """A wrong secret: the surge is seen; the right one is accepted."""
    code, output = drill.run("send", "stripe", "charge.succeeded", "--repeat", "30", "--secret", "whsec_x")
    assert (code, "refused 30" in output) == (1, True)
    drill.sees("refused")
    assert drill.run("send", "stripe", "charge.succeeded")[0] == 0


def test_handler_failed_and_replay(drill: Drill) -> None:
    """A handler raises: the payment stands, and it is notified once what is wrong is mended."""
    impatient(drill)
    drill.closed.touch()
    code, output = drill.run("send", "stripe", "payment_intent.succeeded")
    subject = output.split()[-1]
    drill.sees("handler-failed")
    drill.sees("consumer-errors")
    drill.sees("parked")
    assert "reserve: ConnectionError" in drill.run("parked")[1]
    drill.closed.unlink()
    code, output = drill.run("redrive", "--all")
    assert (code, output.endswith("sent again\n")) == (0, True)
    wait_until(lambda: not drill.stage.ledger().payment(subject).outbox.tasks, 60)
    assert drill.run("parked")[0] == 0


def test_bus_gone(drill: Drill) -> None:
    """What is published is dropped without an error, as by EventBridge; but that is noticed."""
    assert drill.run("send", "stripe", "payment_intent.succeeded")[0] == 0
    drill.sees("bus-gone")
    assert "there is no bus daybook-gone" in drill.run("doctor")[1]
    drill.stage.client("events").create_event_bus(Name="daybook-gone")
    assert "there is no bus" not in drill.run("doctor")[1]


def test_parked_and_redriven(drill: Drill) -> None:
    """A message that nobody can read is set aside with its reason."""
    impatient(drill)
    sqs = drill.stage.client("sqs")
    once = str(random.random())
    sent = {"MessageBody": "poison", "MessageGroupId": "g", "MessageDeduplicationId": once}
    sqs.send_message(QueueUrl=queue_url(drill), **sent)
    wait_until(lambda: drill.run("parked")[0] == 3, 60)
    drill.sees("parked")
    code, output = drill.run("redrive", "--all", "--dry-run")
    assert (code, "cannot be understood: ValueError" in output) == (0, True)


def test_dead_lettered(drill: Drill) -> None:
    """Nobody takes the dead letters off: they are counted where they are."""
    sqs = drill.stage.client("sqs")
    url = sqs.get_queue_url(QueueName=QUEUE.replace("events", "events-dead"))["QueueUrl"]
    with paused(consumer_of(drill)):
        sqs.send_message(QueueUrl=url, MessageBody="x", MessageGroupId="d", MessageDeduplicationId="d")
        drill.sees("dead-lettered")
    wait_until(lambda: "queue:d" in drill.run("parked")[1], 60)


def test_backlog(drill: Drill) -> None:
    """The consumer stands still: events wait, and are recorded once it goes on."""
    with paused(consumer_of(drill)):
        subject = drill.run("send", "stripe", "payment_intent.succeeded")[1].split()[-1]
        drill.sees("backlog")
        assert drill.stage.ledger().payment(subject).version == 0
    wait_until(lambda: drill.stage.ledger().payment(subject).version > 0, 60)


def test_inconsistent(drill: Drill) -> None:
    """More was given back than captured for over an hour; the missing event puts it right."""
    ledger = drill.stage.ledger()
    refund = fact("refund re_1", amount=[NOW, 9], succeeded_at=NOW, currency=[NOW, "EUR"])
    body = as_bytes({"id": "evt_refund", "type": "x.y", "data": {"object": {"id": "pi_drill"}}})
    event = PROVIDERS["stripe"].event(body, NOW)
    outbox = Outbox("stripe:pi_drill", "payment", 1)
    ledger.save(write_of(event, body, outbox, refund, since=NOW - 2 * 3_600_000))
    drill.sees("inconsistent")
    drill.run("send", "stripe", "payment_intent.succeeded", "--id", "pi_drill")
    wait_until(lambda: list(ledger.inconsistent(NOW)) == [], 60)


def test_reconcile_overdue(drill: Drill) -> None:
    """No listing came to its end for 25 days; once Stripe answers, the command does."""
    wait_until(lambda: "daybook-reconcile-overdue-local" in drill.alarms(), 170)
    with FakeStripe([]) as api:
        drill.environ |= {"STRIPE_API": api.address, "NO_PROXY": "127.0.0.1"}
        assert drill.run("reconcile", "--provider", "stripe")[0] == 0
    assert "done_at" in drill.stage.ledger().checkpoints.checkpoint("reconcile stripe")


def test_api_5xx(drill: Drill) -> None:
    """The queue is gone: 503, so that providers send again; and accepted once it is back."""
    sqs = drill.stage.client("sqs")
    url = queue_url(drill)
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    sqs.delete_queue(QueueUrl=url)
    code, output = drill.run("send", "stripe", "charge.succeeded")
    assert (code, "refused 1" in output) == (1, True)
    drill.sees("api-5xx")
    kept = ("FifoQueue", "RedrivePolicy", "VisibilityTimeout", "DeduplicationScope", "FifoThroughputLimit")
    sqs.create_queue(
        QueueName=QUEUE, Attributes={name: attributes[name] for name in kept if name in attributes}
    )
    assert drill.run("send", "stripe", "charge.succeeded")[0] == 0


def test_the_runbook_has_every_alarm() -> None:
    """With what it means and a drill; one cannot be broken on one machine, and says so."""
    from tests.templates import RESOURCES, of_type

    text = (ROOT / "docs" / "runbook.md").read_text()
    for each in of_type(RESOURCES, "AWS::CloudWatch::Alarm").values():
        name = each["Properties"]["AlarmName"]["Fn::Sub"].replace("${Stage}", "STAGE")
        assert f"\n## {name}\n" in text, name
    drills = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    for alarm in (
        "silence",
        "refused",
        "parked_and_redriven",
        "backlog",
        "inconsistent",
        "reconcile_overdue",
    ):
        assert alarm in drills


def consumer_of(drill: Drill) -> psutil.Process:
    [found] = [
        each
        for each in psutil.Process(drill.process.pid).children(recursive=True)
        if "ops.local.event_source" in each.cmdline()
    ]
    return found


class paused:  # noqa: N801 - reads as a sentence
    """A process that stands still inside."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    def __enter__(self) -> Self:
        self._process.suspend()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.resume()
