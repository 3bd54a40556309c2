"""What tests share: the vectors, an AWS emulator, and a stage of one's own on it."""

import fcntl
import importlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from hypothesis import settings

from chalicelib import beginning
from ops.local.run import create_stack
from ops.stage import Stage, connect, local_aws
from tests.fakes import DEV_SECRET

# the user's own handlers are run by the user's own tests alone
os.environ["DAYBOOK_HANDLERS"] = "tests.shop"

collect_ignore = ["releases"]  # what was, for test_releases
ROOT = Path(__file__).parents[1]
VECTORS = ROOT.parent / "shared" / "vectors"

TORTURE = "TORTURE" in os.environ  # the long form of what is tried at random
ORACLE = os.environ.get("ORACLE", "")  # ministack's command, to test against that
MINISTACK = {"BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "MINISTACK_ACCOUNT_ID": "123456789012"}

# people and secrets in what the tests send: nothing that is written for others to read may show them
MARKS = ("jenny.rosen", "jenny rosen", "townsend", "xt5ewllds7fjjr1c", "whsec_", "v1=", "marked-", "marked@")


def marks_in(text: str) -> list[str]:
    """The lines that show a mark."""
    return [line for line in text.splitlines() if any(mark in line.lower() for mark in MARKS)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test fails too where what was written out while it ran shows a person or a secret."""
    report = yield
    found = marks_in("\n".join(text for title, text in report.sections if title.endswith(report.when)))
    if found and report.passed:
        report.outcome = "failed"
        report.longrepr = "\n".join(["written for others to read, and shows a person or a secret:", *found])
    return report


# files that wait for something, the longest first: begun last, one of them would run alone at the end
LONGEST = (
    "test_drills",
    "test_deploy",
    "test_package",
    "test_console",
    "test_crashes",
    "test_policies",
    "test_run",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of ``LONGEST`` come first, each still whole and in its order."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


settings.register_profile("daybook", deadline=None, print_blob=True)
settings.load_profile("daybook")


def vectors(*pattern: str) -> list[Path]:
    """The vector files of a pattern; a marked skip where the folder is absent."""
    found = sorted(VECTORS.joinpath(*pattern[:-1]).glob(pattern[-1]))
    if found:
        return found
    reason = "the shared vectors are not beside this checkout"
    return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]  # type: ignore[list-item]


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: "subprocess.Popen[Any]", seconds: float = 60) -> None:
    """Return when ``url`` answers; fail if the process ends first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server of {url} ended"
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"no answer from {url}")


def wait_until(holds: Callable[[], object], seconds: float = 30) -> None:
    """Return when it holds; fail if it does not within that time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def emulator() -> Iterator[int]:
    """An AWS emulator in a process of its own, and its port: ours, or the second oracle (``make oracle``)."""
    port = free_port()
    if ORACLE:
        command, page = [ORACLE], "/_ministack/health"
    else:
        command, page = [sys.executable, "-m", "ops.local.emulator", str(port)], "/moto-api/"
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "GATEWAY_PORT": str(port), **MINISTACK},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}{page}", server)
        yield port
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def aws() -> Iterator[dict[str, str]]:
    """The environment that points to an emulator, which a process's tests share."""
    with emulator() as port:
        yield local_aws({"AWS_PORT": str(port)})


@pytest.fixture
def stage_environ(aws: dict[str, str]) -> dict[str, str]:
    """The environment of a fresh stage ``local`` with table and queues of its own."""
    name = f"t{uuid4().hex[:12]}"
    local = connect("local", aws)
    made = Stage(name, local.session, local.endpoint)
    create_stack(made, visibility="2")
    made.ledger().checkpoints.note_checkpoint(beginning.NOTED, {"began_at": beginning.ALWAYS})
    return {
        **aws,
        "DAYBOOK_STAGE": "local",
        "DAYBOOK_TABLE": f"payment-transactions-{name}",
        "DAYBOOK_QUEUE": f"payment-events-{name}.fifo",
        "DAYBOOK_DEAD_QUEUE": f"payment-events-dead-{name}.fifo",
        "DAYBOOK_TARGETS_QUEUE": f"payment-targets-{name}",
        "STRIPE_WEBHOOK_SECRETS": "whsec_new,whsec_old",
    }


@pytest.fixture
def stage(stage_environ: dict[str, str]) -> Stage:
    """The fresh stage, as a person's machine reaches it."""
    local = connect("local", stage_environ)
    name = stage_environ["DAYBOOK_TABLE"].removeprefix("payment-transactions-")
    return Stage(name, local.session, local.endpoint)


@pytest.fixture
def daybook(stage_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module ``app``, imported anew for the fresh stage."""
    for name, value in stage_environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)
    sys.modules.pop("app", None)
    app = importlib.import_module("app")
    yield app
    app._aws().close()
    sys.modules.pop("app", None)


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, float]]:
    """What the long form counts; written to ``build/torture.json`` beside other processes' figures."""
    found: dict[str, float] = {}
    yield found
    if TORTURE and found:
        path = ROOT / "build" / "torture.json"
        path.parent.mkdir(exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps({**before, **found, **_together(before, found)}, indent=2) + "\n")


def _together(before: dict[str, float], found: dict[str, float]) -> dict[str, float]:
    """Counts add up; of what is called worst, the worst counts."""
    both = before.keys() & found.keys()
    return {
        name: max(before[name], found[name]) if name.startswith("worst") else before[name] + found[name]
        for name in both
    }


# ── stage dev, packaged ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package for this machine's architecture, built once for all of pytest's processes."""
    from tests.packaged import packaged, project

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "packaged"
    with (shared / "packaged.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            packaged(project(folder))
    return folder / "build" / "package-dev"


@pytest.fixture(scope="session")
def bundle(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's zip, unpacked."""
    from tests.packaged import unpacked

    return unpacked(package, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def template(package: Path) -> dict[str, Any]:
    """The package's template: all of stage ``dev``."""
    made: dict[str, Any] = json.loads((package / "sam.json").read_text())
    return made


@pytest.fixture(scope="module")
def dev(aws: dict[str, str]) -> Iterator[Stage]:
    """Stage ``dev`` on the emulator: the stack, and its secret, filled."""
    made = Stage("dev", boto3.Session("k", "s", region_name="us-east-1"), aws["AWS_ENDPOINT_URL"])
    create_stack(made, visibility="360")
    made.ledger().checkpoints.note_checkpoint(beginning.NOTED, {"began_at": beginning.ALWAYS})
    fill_secret(made, {"stripe_webhook_secrets": [DEV_SECRET], "paypal_webhook_ids": ["8PTDEV"]})
    yield made
    made.client("cloudformation").delete_stack(StackName="daybook-resources-dev")
    secrets = made.client("secretsmanager")
    with suppress(secrets.exceptions.ResourceNotFoundException):  # the stack's own, where it made one
        secrets.delete_secret(SecretId="daybook/dev", ForceDeleteWithoutRecovery=True)


def fill_secret(stage: Stage, values: Mapping[str, Any]) -> None:
    """The stage's secret: made too, where the emulator's stack has none."""
    secrets = stage.client("secretsmanager")
    with suppress(secrets.exceptions.ResourceExistsException):
        secrets.create_secret(Name=f"daybook/{stage.name}")
    secrets.put_secret_value(SecretId=f"daybook/{stage.name}", SecretString=json.dumps(values))


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached directly, whatever the machine's environment says."""
    for name in list(os.environ):
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
