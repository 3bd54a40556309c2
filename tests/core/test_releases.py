"""A new version, after each release that there was: its ledger is read, and its users' edits are merged.

``tests/releases/VERSION`` has what that release's own code wrote of the first half of some events, with the
events of the other half, and the files that its users edit.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib.kinds import kind_of
from chalicelib.ledger import Ledger
from chalicelib.payments import project
from chalicelib.reactions import Handlers
from ops import stages
from ops.verify import drift, repair
from tests.conftest import ROOT
from tests.fakes import as_bytes, consumer, message_of
from tests.little_dynamo import LittleDynamo
from tests.settling import Queue

Json = dict[str, Any]
RELEASES = ROOT / "tests" / "releases"
VERSIONS = sorted(each.name for each in RELEASES.iterdir())
NOW = 1_795_500_000_000 + 30 * 86_400_000  # milliseconds
DATES = ("customer", "reference", "paid_through", "period_end", "ended_at")
SUMS = ("status", "captured", "refunded", "disputed", "net", "currency", "consistent")


in_daybooks_own = pytest.mark.skipif(
    os.environ.get("DAYBOOK_OWN") != "true",
    reason="of Daybook's own repository (.ci/run): in another those files are edited",
)


class Upgraded:
    """This version's consumer on a release's ledger."""

    def __init__(self, version: str) -> None:
        kept = json.loads((RELEASES / version / "ledger.json").read_text())
        dynamo = LittleDynamo()
        for item in kept["items"]:
            dynamo.items[item["subject"]["S"], item["entry"]["S"]] = json.dumps(item)
        self.left: list[Json] = kept["left"]
        self.told: list[str] = kept["told"]
        self.ledger = Ledger(dynamo, "table")
        handlers, queue = Handlers(), Queue()
        handlers.on("payment.*")(self.hear)
        handlers.on("dispute.*")(self.hear_of_dispute)
        self.consumer = consumer(self.ledger, queue, handlers=handlers)

    def hear(self, payment: Any, milestone: Any) -> None:
        self.told.append(f"{payment.id} {milestone.id}")

    def hear_of_dispute(self, payment: Any, milestone: Any) -> None:
        self.told.append(f"{payment.id} {milestone.id}")

    def record(self, events: list[Json]) -> None:
        for each in events:
            self.consumer.record(message_of(as_bytes(each["event"]), each["provider"]), NOW)

    @property
    def payments(self) -> list[str]:
        return sorted(each for each in self.ledger.subjects() if kind_of(each).entry == "payment")

    def events(self) -> list[Json]:
        """All that are recorded, as they came."""
        found = []
        for subject in self.ledger.subjects():
            for each in self.ledger.events(subject):
                stored = self.ledger.event(subject, each.id)
                if stored and stored.body:
                    found.append({"provider": subject.partition(":")[0], "event": json.loads(stored.body)})
        return found


def empty() -> Upgraded:
    """This version alone, from the beginning."""
    it = Upgraded(VERSIONS[-1])
    it.ledger._table._aws.items.clear()  # type: ignore[attr-defined]
    it.told.clear()
    return it


def is_record(subject: str) -> bool:
    """Whether users see it."""
    return kind_of(subject).is_shown


def shown(subject: str, facts: Any) -> Json:
    """What counts of it. What links a payment to its invoice 0.1.0 kept under neither of them."""
    found = kind_of(subject).shown(subject, facts)
    return {name: found[name] for name in (*SUMS, *DATES) if name in found}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_ledger_of_an_earlier_release_is_right(version: str) -> None:
    """As it was left, at once. Its payments go on, are the fold of all their events, and notified once; what
    nothing more happens to is as its rules have it, until it is repaired."""
    it = Upgraded(version)
    before, first = it.events(), empty()
    first.record(before)
    assert len(it.payments) > 10
    for subject in it.payments:
        was, is_ = (project(subject, each.ledger.record(subject).facts) for each in (it, first))
        assert {n: getattr(was, n) for n in SUMS} == {n: getattr(is_, n) for n in SUMS}, subject
    it.record(it.left)
    whole = empty()
    whole.record([*before, *it.left])
    assert it.payments == whole.payments
    for subject in filter(is_record, it.ledger.subjects()):
        found = drift(it.ledger, subject)
        stored = it.ledger.record(subject)
        is_untouched = stored.is_outdated or not stored.version
        assert is_untouched or not found, "what was written since is of today"
        if found:
            assert repair(it.ledger, found, it.consumer.handlers, NOW) == 0, "nobody is to be notified again"
        facts, right = (shown(subject, each.ledger.record(subject).facts) for each in (it, whole))
        assert facts == right, subject
        assert drift(it.ledger, subject) is None
    assert len(it.told) == len(set(it.told)) > 30


# ── what its users edited ───────────────────────────────────────────────────────────────────────────

EDITED = (".chalice", "requirements.txt", "chalicelib/handlers.py", "tests/yours")
NOT_COPIED = {
    ".git",
    ".venv",
    "build",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".hypothesis",
}
MADE = {"deployed", "deployments"}  # by Chalice, in its folder
HANDLERS = '''"""Ours."""

from typing import Any

from chalicelib.reactions import on


@on("payment.succeeded")
def thank(payment: Any, milestone: Any) -> None:
    print("thanks", payment.id)
'''
THEIR_TEST = """from ops.testing import Deliver


def test_ours(deliver: Deliver) -> None:
    [thanked] = deliver("stripe", story="checkout").of("thank")
    assert thanked.payment.captured == 5000
"""
CHANGED = ("process", "deliver", "watch")  # the functions whose policies this version brings or changes
STATEMENT = {"Sid": "OwnMail", "Effect": "Allow", "Action": ["ses:SendEmail"], "Resource": ["*"]}
AFTER_THE_MERGE = ("tests/yours", "tests/core/test_stages.py", "tests/deployed/test_dependencies.py")


def ignored(folder: str, names: list[str]) -> set[str]:
    """What is no part of a checkout."""
    made = MADE if Path(folder).name == ".chalice" else set()
    return {each for each in names if each in NOT_COPIED | made}


class Clone:
    """A user's clone of a release, with git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *arguments: str) -> str:
        named = ("-c", "user.name=A User", "-c", "user.email=user@example.com", "-c", "commit.gpgsign=false")
        command = ["git", *named, *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def commit(self, subject: str) -> None:
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--no-verify", "--allow-empty", "--message", subject)

    def change(self, name: str, change: Any) -> None:
        path = self.folder / name
        path.write_text(change(path.read_text()))

    def change_json(self, name: str, change: Any) -> None:
        def changed(text: str) -> str:
            content = json.loads(text)
            change(content)
            return json.dumps(content, indent=2) + "\n"

        self.change(name, changed)

    def put(self, source: Path) -> None:
        """The files that users edit, as they are there."""
        for name in EDITED:
            if (source / name).is_dir():
                shutil.copytree(source / name, self.folder / name, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy(source / name, self.folder / name)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    it = Clone(tmp_path / "daybook")
    shutil.copytree(ROOT, it.folder, ignore=ignored)
    it.git("init", "--quiet", "--initial-branch", "main")
    return it


def edit(it: Clone) -> None:
    """As docs/handlers.md and docs/deploy.md say: handlers, their test, a policy, settings, a requirement."""
    it.change("chalicelib/handlers.py", lambda text: HANDLERS)
    it.change("tests/yours/test_handlers.py", lambda text: THEIR_TEST)
    it.change("requirements.txt", lambda text: f"{text}tabulate==0.9.0\n")
    it.change_json(".chalice/policy-prod-process.json", lambda policy: policy["Statement"].append(STATEMENT))
    it.change_json(".chalice/config.json", configure)
    stages.add(it.folder, "staging", "dev")


def configure(config: Json) -> None:
    config["stages"]["prod"]["environment_variables"]["DAYBOOK_METADATA"] = "order_id"
    config["stages"]["dev"]["lambda_functions"]["process"]["lambda_memory_size"] = 1024


def go_on(it: Clone) -> None:
    """What a next release may do to those files: new pins, a statement before the others."""
    it.change("requirements.txt", lambda text: text.replace("botocore==1.", "botocore==9."))
    new = {"Sid": "Next", "Effect": "Allow", "Action": ["dynamodb:Query"], "Resource": "*"}
    for stage in ("dev", "prod"):
        name = f".chalice/policy-{stage}-process.json"
        it.change_json(name, lambda policy: policy["Statement"].insert(0, new))


@in_daybooks_own
@pytest.mark.parametrize("release", ["this one", "the next one"])
def test_a_users_edits_merge_with_the_new_version(clone: Clone, release: str) -> None:
    """No conflict; nothing that is theirs changes; their tests pass, and those of what both edit."""
    clone.put(RELEASES / VERSIONS[-1] / "files")
    clone.commit("The release before")
    clone.git("checkout", "--quiet", "-b", "release")
    clone.put(ROOT)
    if release == "the next one":
        go_on(clone)
    clone.commit("The release")
    clone.git("checkout", "--quiet", "main")
    edit(clone)
    clone.commit("Ours")
    clone.git("merge", "--quiet", "--no-edit", "release")
    read = {
        name: (clone.folder / name).read_text() for name in ("chalicelib/handlers.py", "requirements.txt")
    }
    assert read["chalicelib/handlers.py"] == HANDLERS
    assert read["requirements.txt"].endswith("tabulate==0.9.0\n")
    config = json.loads((clone.folder / ".chalice" / "config.json").read_text())
    assert config["stages"]["prod"]["environment_variables"]["DAYBOOK_METADATA"] == "order_id"
    policy = json.loads((clone.folder / ".chalice" / "policy-prod-process.json").read_text())
    assert policy["Statement"][-1] == STATEMENT
    if release == "this one":
        run_tests(clone)
    else:
        assert policy["Statement"][0]["Sid"] == "Next"
    assert stages.lacking(clone.folder, "prod") == []
    behind = [each.removesuffix(": not what dev's is") for each in stages.lacking(clone.folder, "staging")]
    assert behind == [f"policy-staging-{name}.json" for name in CHANGED]
    written = {path.name: path for path in stages.update(clone.folder, "staging", "dev")}
    assert set(written) == {*behind, "config.json"}
    first = json.loads(written["policy-staging-process.json"].read_text())["Statement"][0]["Sid"]
    assert (first == "Next") is (release == "the next one")
    assert stages.lacking(clone.folder, "staging") == []


def run_tests(it: Clone) -> None:
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "COV", "DAYBOOK_"))
    }
    command = [sys.executable, "-m", "pytest", "-n0", "-q", *AFTER_THE_MERGE]
    done = subprocess.run(command, cwd=it.folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@in_daybooks_own
def test_what_is_the_users_is_as_it_was_released() -> None:
    """A release never touches it: whoever has edited it has nothing to merge."""
    files = RELEASES / VERSIONS[-1] / "files"
    for path in (Path("chalicelib/handlers.py"), *Path("tests/yours").glob("*.py")):
        if path.exists():
            assert (files / path).read_text() == (ROOT / path).read_text()


def test_one_version_is_told_everywhere() -> None:
    """And docs/upgrading.md says what it wants done."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    resources = yaml.safe_load(re.sub(r"!\w+", "", (ROOT / "infra" / "resources.yaml").read_text()))
    assert resources["Outputs"]["Version"]["Value"] == version
    assert yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())["info"]["version"] == version
    assert (ROOT / "CHANGELOG.md").read_text().partition("\n## ")[2].split()[0] == version
    assert f"\n## {version}\n" in (ROOT / "docs" / "upgrading.md").read_text()
    assert sorted({*VERSIONS, version})[-1] == version
