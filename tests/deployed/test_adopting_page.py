"""``docs/adopting.md``, taken at its word: its commands are run in their order, on a stage that is deployed.

The providers are played: two years of history, a webhook, and what each shows.
"""

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib.payments import project as payment_of
from chalicelib.times import DAY
from ops.local.event_source import EventSource
from ops.local.runtime import Function, runtime_client
from ops.stage import Stage
from ops.stories import tell
from tests.conftest import ROOT, emulator, fill_secret
from tests.fake_apis import FakePayPal, FakeStripe, event_listed
from tests.fakes import DEV_SECRET, as_bytes
from tests.importing import PayPalHistory, simulated_at_paypal, simulated_at_stripe, stripes_objects
from tests.packaged import now, project, stripe_request

PAGE = (ROOT / "docs" / "adopting.md").read_text()
SHIFT = 365 * DAY  # the simulated lives are moved back by so much
FOUND = 3
Json = dict[str, Any]


def commands() -> list[str]:
    """What a reader types, in the page's order."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line[2:] for line in lines if line.startswith("$ ")]


def moved_back(value: Any) -> Any:
    """The same a year ago, and live."""
    if isinstance(value, dict):
        return {name: _moved(name, each) for name, each in value.items()}
    return [moved_back(each) for each in value] if isinstance(value, list) else value


def _moved(name: str, value: Any) -> Any:
    if name == "created":
        return value - SHIFT // 1000
    if name == "livemode":
        return True
    if isinstance(value, str) and (name.endswith(("_time", "_date"))):
        return f"{int(value[:4]) - 1}{value[4:]}"
    return moved_back(value)


class Adopter:
    """A team with a checkout, an account on an emulator, and two providers."""

    def __init__(self, work: Path, endpoint: str, stripe: FakeStripe, paypal: FakePayPal) -> None:
        self.work, self.stripe, self.paypal = work, stripe, paypal
        self.checkout = project(work / "checkout")
        shutil.copy(ROOT / "pyproject.toml", self.checkout)
        shutil.copytree(ROOT / "ops", self.checkout / "ops", ignore=shutil.ignore_patterns("__pycache__"))
        (self.checkout / "docs").mkdir()
        shutil.copy(ROOT / "docs" / "upgrading.md", self.checkout / "docs")
        keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
        here = {name: text for name, text in os.environ.items() if not name.startswith("DAYBOOK_")}
        self.environ = {**here, **keys, "AWS_ENDPOINT_URL": endpoint, "COLUMNS": "200"}
        session = boto3.Session("k", "s", region_name="us-east-1")
        self.stage = Stage("shadow", session, endpoint)
        self.functions: list[Function] = []

    def type(self, command: str) -> tuple[int, str]:
        """The exit code, and what is shown."""
        words = command.replace(".venv/bin/daybook", f"{sys.executable} -m ops.cli")  # of this checkout
        done = subprocess.run(
            ["/bin/sh", "-c", words],
            cwd=self.checkout,
            env=self.environ,
            input="y\n",  # to the estimate
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def configure(self, settings: Json) -> None:
        """As the page says; and where the providers are."""
        path = self.checkout / ".chalice" / "config.json"
        config = json.loads(path.read_text())
        apis = {"STRIPE_API": self.stripe.address, "PAYPAL_API": self.paypal.address}
        variables = config["stages"]["shadow"]["environment_variables"]
        variables.pop("DAYBOOK_HANDLERS", None)
        variables |= {**apis, **settings}
        path.write_text(json.dumps(config, indent=2))

    def fill_secret(self) -> None:
        """With one signing secret, and the keys that the page asks for."""
        secret = {
            "stripe_webhook_secrets": [DEV_SECRET],
            "stripe_api_key": "rk_live_1",
            "paypal_client_id": "id",
            "paypal_client_secret": "secret",
        }
        fill_secret(self.stage, secret)
        client = self.stage.client("lambda")
        for each in client.list_event_source_mappings()["EventSourceMappings"]:
            client.update_event_source_mapping(UUID=each["UUID"], Enabled=False)  # the emulator's own

    def start(self, name: str) -> Function:
        """A function as it is deployed now."""
        [built] = (self.checkout / ".chalice" / "deployments").glob("*.zip")
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.unpack_archive(built, folder, "zip")
        configuration = self.stage.client("lambda").get_function(FunctionName=name)["Configuration"]
        environ = {
            **configuration["Environment"]["Variables"],
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_ENDPOINT_URL": str(self.stage.endpoint),
            "DAYBOOK_RUNTIME_CLIENT": str(runtime_client(self.work / "client")),
        }
        made = Function(folder, configuration["Handler"], environ)
        self.functions.append(made)
        return made

    def webhook(self, seed: int) -> str:
        """A payment of now, as Stripe tells of it; its subject."""
        subject, events = tell("stripe", random.Random(seed), now() - 60_000, 5000, "EUR", story="checkout")
        api = self.start("daybook-shadow")
        for event in events:
            body = as_bytes({**event, "livemode": True})
            assert api.invoke(stripe_request(body))["statusCode"] == 200, api.lines
        api.stop()
        return subject

    def drain(self) -> list[str]:
        """What is queued is recorded; what the consumer said."""
        consumer = self.start("daybook-shadow-process")
        queue = "payment-events-shadow.fifo"
        source = EventSource(self.stage.client("sqs"), queue, lambda batch, context: consumer.invoke(batch))
        while source.poll(0):
            pass
        consumer.stop()
        return list(consumer.lines)

    def captured(self, subject: str) -> int:
        return payment_of(subject, self.stage.ledger().payment(subject).facts).captured

    def write_table(self, name: str, subjects: list[str], wrong: int = 0) -> None:
        """The team's own table of those payments, of which so many cents are ``wrong`` in the first."""
        with (self.checkout / name).open("w") as file:
            table = csv.writer(file)
            table.writerow(["payment_intent", "total", "refunded_total", "currency", "state"])
            for number, subject in enumerate(subjects):
                ours = payment_of(subject, self.stage.ledger().payment(subject).facts)
                state = "paid" if ours.status == "succeeded" else ours.status
                refunded = ours.refunded + (wrong if not number else 0)
                id_ = subject.partition(":")[2]
                table.writerow([id_, ours.captured / 100, refunded / 100, ours.currency, state])


@pytest.fixture
def adopter(tmp_path: Path) -> Iterator[Adopter]:
    with emulator() as port, FakeStripe([]) as stripe, FakePayPal([], size=20) as paypal:
        it = Adopter(tmp_path, f"http://127.0.0.1:{port}", stripe, paypal)
        yield it
        for function in it.functions:
            function.stop()


def handlers(lines: list[str]) -> set[str]:
    """Those that were notified, by what a function said."""
    said = [json.loads(line) for line in lines if '"handled"' in line]
    return {each["handler"] for each in said}


def have_history(it: Adopter) -> tuple[list[str], list[str]]:
    """Both providers have a past; the subjects of what was paid."""
    stripes = [each for each in simulated_at_stripe(20) if each.captured]
    paypals = [each for each in simulated_at_paypal(30) if each.captured]
    it.stripe.history = moved_back({"subscriptions": [], "invoices": [], "invoice_payments": []})
    it.stripe.history |= moved_back(stripes_objects(stripes))
    history = PayPalHistory()
    for each in paypals:
        history.add(each)
    it.paypal.transactions, it.paypal.objects = moved_back(history.transactions), moved_back(history.objects)
    it.stripe.objects["/v1/webhook_endpoints"] = {"object": "list", "data": []}
    it.stripe.events = [event_listed("evt_missed", now() - DAY, amount=500)]
    it.stripe.events[0]["livemode"] = True
    return [each.subject for each in stripes], [each.subject for each in paypals]


def test_an_adopters_whole_way(adopter: Adopter) -> None:
    """Shadow, history, comparison, cut over, a new version, and back: each does what the page says."""
    left = commands()

    def run(beginning: str, code: int = 0) -> str:
        command = left.pop(0)
        assert command.startswith(f".venv/bin/daybook {beginning}"), command
        exited, shown = adopter.type(command)
        assert exited == code, f"{command}\n{shown}"
        return shown

    stripes, paypals = have_history(adopter)
    run("stage add shadow")
    [silent] = (json.loads(each) for each in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    adopter.configure(silent)
    assert "deployed: https://" in run("deploy")
    adopter.fill_secret()
    assert "no endpoint leads here" in run("doctor", code=FOUND)  # as it is played
    assert "1 missing, 1 recovered" in run("reconcile --stage")
    assert "stripe: 0 listed" in run("reconcile --balance")
    assert "payment_intents: " in run("import stripe")
    assert "transactions: " in run("import paypal")
    heard = adopter.drain()
    assert all(adopter.captured(each) for each in (*stripes, *paypals))
    recent = [adopter.webhook(seed) for seed in (1, 2)]
    heard += adopter.drain()
    assert [adopter.captured(each) for each in recent] == [5000, 5000]
    assert handlers(heard) <= {"event_bus"}, "the stage's own bus, which nobody listens to"

    mine = [*recent, "stripe:pi_evt_missed"]
    adopter.write_table("orders.csv", mine, wrong=1200)
    assert "different: refunded 1200 in the file, 0 in the ledger" in run("compare orders.csv", code=FOUND)
    adopter.write_table("last48h.csv", mine)
    assert "3 compared, 3 equal (100.000 %)" in run("compare last48h.csv")

    adopter.configure({})
    run("deploy")
    assert "would" in run("replay --since")
    adopter.webhook(3)
    assert handlers(adopter.drain()) > {"event_bus"}
    assert "nothing changes" in run("upgrade --check")
    adopter.configure(silent)
    assert "nothing is left of shadow" in run("destroy")
    assert left == []
