"""What `chalice package` makes, run by Lambda's own runtime client with nothing else to import."""

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from click.testing import CliRunner

from ops.cli import main
from ops.local.runtime import UNSAMPLED, FunctionFailed
from ops.package import slim
from ops.stage import Stage
from ops.stories import tell
from tests.conftest import ROOT, wait_until
from tests.fakes import as_bytes
from tests.packaged import (
    SCHEDULE,
    Functions,
    batch,
    now,
    packaged,
    paypal_request,
    project,
    stripe_request,
    unpacked,
)
from tests.packaged import functions as running
from tests.proxy import Proxy


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("package")


@pytest.fixture
def functions(bundle: Path, template: dict[str, Any], dev: Stage) -> Iterator[Functions]:
    with running(bundle, template, str(dev.endpoint)) as made:
        yield made


def check_webhooks(functions: Functions, dev: Stage, folder: Path) -> None:
    """Each provider's webhooks go all the way: answered with 200, queued, recorded; garbage is parked."""
    api, consumer = functions.start("APIHandler", folder), functions.start("Process", folder)
    stripe, [event] = tell(
        "stripe", random.Random(now()), now(), 1999, "USD", type_="payment_intent.succeeded"
    )
    paypal, [sale] = tell(
        "paypal", random.Random(now()), now(), 500, "JPY", type_="PAYMENT.CAPTURE.COMPLETED"
    )
    for sent in (
        stripe_request(as_bytes(event)),
        stripe_request(as_bytes(event), encoded=True),
        paypal_request(as_bytes(sale), dev),
    ):
        answer = api.invoke(sent)
        assert answer["statusCode"] == 200, (answer, api.lines)
    forged = stripe_request(b"{}")
    forged["body"] = "{ }"
    assert api.invoke(forged)["statusCode"] == 401
    consumer.invoke(batch(dev, "payment-events-dev.fifo"))
    for subject in (stripe, paypal):
        assert len(list(dev.ledger().events(subject))) == 1, consumer.lines
        payment = dev.ledger().payment(subject)
        assert payment.version
        assert not payment.outbox.tasks, "handlers and bus were told"


def test_the_package_runs(functions: Functions, dev: Stage) -> None:
    """Every function of it, on signed webhooks, SQS batches and the schedule."""
    check_webhooks(functions, dev, functions.bundle)
    sqs = dev.client("sqs")
    url = sqs.get_queue_url(QueueName="payment-events-dead-dev.fifo")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="poison", MessageGroupId="g", MessageDeduplicationId="d")
    functions.start("Park").invoke(batch(dev, "payment-events-dead-dev.fifo"))
    assert [each.message for each in dev.ledger().parking.parked()] == ["poison"]
    watch = functions.start("Watch")
    assert watch.invoke(SCHEDULE) is None
    wait_until(lambda: any('"inconsistent": 0' in line for line in watch.lines))  # it is read beside us


def test_what_is_for_a_target_is_tried_and_kept(functions: Functions, dev: Stage) -> None:
    """This machine is no public address; what waits says so, and is tried again."""
    subject, events = tell("stripe", random.Random(31), now(), 5000, "EUR", story="checkout")
    stated = {"DAYBOOK_TARGET_SHOP": "https://127.0.0.1:9/hook payment.succeeded"}
    api = functions.start("APIHandler")
    for event in events:
        assert api.invoke(stripe_request(as_bytes(event)))["statusCode"] == 200
    functions.start("Process", None, **stated).invoke(batch(dev, "payment-events-dev.fifo"))
    deliver = functions.start("Deliver", None, **stated)
    deliver.invoke(batch(dev, "payment-targets-dev"))
    [waits] = dev.ledger().undelivered.of(subject)
    assert [task.type for task in waits.tasks] == ["payment.succeeded"]
    assert waits.reason == "there is no target_shop in the stage's secret"
    wait_until(lambda: any('"target_failed": 1' in line for line in deliver.lines))


def test_the_api_is_warm_before_its_first_webhook(functions: Functions, dev: Stage) -> None:
    """The init phase reads the secret and finds the queue; the first webhook costs one call."""
    with Proxy(str(dev.endpoint)) as proxy:
        functions.endpoint = proxy.address
        api = functions.start("APIHandler")
        wait_until(lambda: len(proxy.calls) == 2)
        assert [call.operation for call in proxy.calls] == ["GetSecretValue", "GetQueueUrl"]
        _, [event] = tell("stripe", random.Random(now()), now(), 5, "EUR", type_="charge.succeeded")
        assert api.invoke(stripe_request(as_bytes(event)))["statusCode"] == 200
        assert [call.operation for call in proxy.calls[2:]] == ["SendMessage"]


def test_a_cold_start_without_a_secret_is_an_outage_not_a_crash(functions: Functions) -> None:
    """The warm-up says so; the webhook is answered 503, and again once it is there."""
    api = functions.start("APIHandler", DAYBOOK_SECRET="daybook/gone")
    answer = api.invoke(stripe_request(b"{}"))
    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "30")
    wait_until(lambda: any("not warmed up" in line for line in api.lines))  # it is read beside us


def test_a_sampled_trace_leads_from_the_request_to_the_consumer(functions: Functions, dev: Stage) -> None:
    """Subsegments of both under one trace, which travels with the message; an unsampled one costs nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(10)
        traced = {"AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{daemon.getsockname()[1]}"}
        api, consumer = (
            functions.start("APIHandler", None, **traced),
            functions.start("Process", None, **traced),
        )
        subject, [event] = tell(
            "stripe", random.Random(now()), now(), 5, "EUR", type_="payment_intent.succeeded"
        )
        api.invoke(stripe_request(b'{"id": "evt_unsampled"}'))
        sampled = UNSAMPLED.replace("Sampled=0", "Sampled=1")
        assert api.invoke(stripe_request(as_bytes(event)), trace=sampled)["statusCode"] == 200
        segments = [json.loads(daemon.recv(65536).partition(b"\n")[2]) for _ in range(2)]
        assert [each["name"] for each in segments] == ["verify", "enqueue"]
        assert segments[1]["annotations"]["subject"] == subject
        records = batch(dev, "payment-events-dev.fifo")
        [header] = {
            each["attributes"]["AWSTraceHeader"] for each in records["Records"] if subject in each["body"]
        }
        assert header == sampled
        consumer.invoke(records, trace=header)
        names = {json.loads(daemon.recv(65536).partition(b"\n")[2])["name"] for _ in range(2)}
        assert names <= {"record", "handler"}
        assert {each["trace_id"] for each in segments} == {"1-67891233-abcdef012345678912345678"}


def test_every_function_of_the_template_is_run_above(template: dict[str, Any]) -> None:
    """One more function needs one more check."""
    functions = [
        name for name, each in template["Resources"].items() if each["Type"] == "AWS::Serverless::Function"
    ]
    assert sorted(functions) == ["APIHandler", "Deliver", "Park", "Process", "Reconcile", "Watch"]


def test_a_dependency_that_is_not_packaged_is_found_out(work: Path, functions: Functions, dev: Stage) -> None:
    """The same checks on a package for which a line of requirements.txt was forgotten."""
    forgetful = project(work / "forgetful")
    lines = (forgetful / "requirements.txt").read_text().splitlines()
    left = [line for line in lines if not line.startswith("cryptography")]
    assert len(left) == len(lines) - 1
    (forgetful / "requirements.txt").write_text("\n".join(left))
    folder = unpacked(packaged(forgetful)[0], forgetful)
    with pytest.raises((AssertionError, FunctionFailed)):
        check_webhooks(functions, dev, folder)


def test_the_same_sources_make_the_same_bytes(work: Path, package: Path) -> None:
    """In another folder, at another time: what was looked at is what is deployed."""
    other = project(work / "again")
    for path in other.rglob("*.*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    again, _ = packaged(other)
    for name in ("deployment.zip", "sam.json"):
        assert hashlib.sha256((again / name).read_bytes()).hexdigest() == (
            hashlib.sha256((package / name).read_bytes()).hexdigest()
        ), name


def test_the_package_for_lambda_is_of_its_architecture(work: Path) -> None:
    """Every binary in what the configuration asks for is aarch64; and it says how large it is."""
    folder, said = packaged(project(work / "arm64", "arm64"))
    with ZipFile(folder / "deployment.zip") as made:
        binaries = [name for name in made.namelist() if name.endswith(".so") or ".so." in name]
        machines = {made.read(name)[18:20] for name in binaries}
    assert len(binaries) > 2
    assert machines == {b"\xb7\x00"}, "183 is EM_AARCH64"
    assert "MB, most of it" in said
    assert len([line for line in said.splitlines() if line.startswith("  ") and "MB" in line]) == 10


def test_what_is_left_out_of_the_package_is_in_it_when_boto3_is(work: Path) -> None:
    """A handler that uses boto3 names it in requirements.txt, and then its data is there."""
    folder = work / "slim"
    folder.mkdir()
    requirements = folder / "requirements.txt"
    for text, left in (("boto3==1\n", ["app.py", "botocore/data/sqs.json"]), ("botocore==1\n", ["app.py"])):
        requirements.write_text(text)
        with ZipFile(folder / "made.zip", "w") as made:
            made.writestr("app.py", "x = 1")
            made.writestr("botocore/data/sqs.json", "{}")
            made.writestr("chalicelib/__pycache__/stray.cpython-310.pyc", "")
        slim(folder / "made.zip", folder)
        compiled = f"__pycache__/app.{sys.implementation.cache_tag}.pyc"
        names = ZipFile(folder / "made.zip").namelist()
        assert [name for name in names if name != compiled] == left
        assert compiled in names
        with ZipFile(folder / "made.zip") as made:
            assert made.getinfo(compiled).external_attr == made.getinfo("app.py").external_attr
        slim(folder / "made.zip", folder)  # again: nothing to do
        assert ZipFile(folder / "made.zip").namelist() == names


# ── import is quiet ─────────────────────────────────────────────────────────────────────────────────

QUIET = """
import importlib, os, pkgutil, socket, sys

def watch(name, arguments):
    if name in ("socket.connect", "socket.getaddrinfo", "os.mkdir", "subprocess.Popen"):
        raise SystemExit(f"{name} {arguments}")
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    if name == "open" and isinstance(arguments[2], int) and arguments[2] & writes:
        raise SystemExit(f"open to write: {arguments}")

sys.addaudithook(watch)
import app
import chalicelib
every = [each.name for each in pkgutil.walk_packages(chalicelib.__path__, "chalicelib.")]
names = [name for name in every if not name.startswith("chalicelib.handlers")]  # the user's
for name in names:
    importlib.import_module(name)
made = [name for name in ("_aws", "_telemetry", "_ledger", "_inbox", "_credentials")
        if getattr(app, name).cache_info().currsize]
assert not made, made
assert "boto3" not in sys.modules
print(len(names))
"""


@pytest.mark.parametrize("where", ["checkout", "package"])
def test_import_is_quiet(where: str, bundle: Path) -> None:
    """No file, no folder, no client, no connection; without region, credentials or home."""
    folder = bundle if where == "package" else ROOT
    environ = {"DAYBOOK_STAGE": "dev", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
    quiet = [] if where == "checkout" else ["-S"]
    before = sorted(path for path in folder.rglob("*") if ".git" not in path.parts)
    done = subprocess.run(
        [sys.executable, *quiet, "-c", QUIET],
        cwd=folder,
        env={**environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 15
    if where == "package":
        assert sorted(path for path in folder.rglob("*") if ".git" not in path.parts) == before


# ── the merged template ─────────────────────────────────────────────────────────────────────────────


def test_what_is_not_a_stage_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the stages that there are; also outside of the project."""
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(main, ["package", "--stage", "nonsense"])
    assert result.exit_code == 2
    assert "there are dev, prod" in result.output
    monkeypatch.chdir("/")
    result = CliRunner().invoke(main, ["package", "--stage", "dev"])
    assert result.exit_code == 2
    assert "Daybook's own folder" in result.output
