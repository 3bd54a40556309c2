"""What is packaged: exact pins, licences that may be shipped, and no hole that is known."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from ops.licences import packaged, page, required
from ops.package import hashed
from tests.conftest import ROOT

SHIPPABLE = ("Apache", "BSD", "MIT", "Mozilla Public License 2.0", "PSF-2.0", "Public Domain")


def test_every_pin_is_exact_and_installed() -> None:
    """What is tested is what is packaged."""
    for each in packaged():
        assert version(each.name) == each.version


def test_a_loose_pin_is_refused(tmp_path: Path) -> None:
    """Also one that only looks exact."""
    for line in ("urllib3", "urllib3>=2", "urllib3==2.*", "urllib3==2.8.0 ; python_version < '3.12'"):
        (tmp_path / "requirements.txt").write_text(line)
        with pytest.raises(ValueError, match="not pinned exactly"):
            list(packaged(tmp_path / "requirements.txt"))


def test_what_a_user_adds_is_the_users(tmp_path: Path) -> None:
    """Whatever its pin and its licence."""
    added = [*required(), "# Yours: what your handlers import.", "left-pad>=1 ; python_version > '3'"]
    (tmp_path / "requirements.txt").write_text("\n".join(added))
    assert list(packaged(tmp_path / "requirements.txt")) == list(packaged())


def test_every_licence_lets_the_package_be_shipped() -> None:
    """Permissive, or weak copyleft by file; and the list is what the distributions say."""
    for each in packaged():
        assert any(word in each.licence for word in SHIPPABLE), each
    assert (ROOT / "docs" / "licences.md").read_text() == page()


def test_no_hole_is_known() -> None:
    """Asked of PyPI's advisories; skipped, and said so, where they cannot be reached."""
    program = str(Path(sys.executable).with_name("pip-audit"))
    command = [program, "--requirement", str(ROOT / "requirements.txt")]
    options = [
        "--no-deps",
        "--disable-pip",
        "--progress-spinner",
        "off",
        "--format",
        "json",
        "--timeout",
        "10",
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=120)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        pytest.skip(f"the audit could not be made: {done.stderr.strip().splitlines()[-1:]}")
    audited = [each for each in found if "vulns" in each]
    if not audited:
        pytest.skip("PyPI's advisories cannot be reached from here: nothing was audited")
    assert [each for each in audited if each["vulns"]] == []


def test_what_is_packaged_is_locked_by_its_hash(tmp_path: Path) -> None:
    """All of it; with a line that nobody locked pip would refuse the rest, and checks none of it."""
    lines = required()
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    locked = hashed(tmp_path)
    pinned = {each.split()[0].replace("_", "-") for each in locked}
    assert {line.replace("_", "-") for line in lines if not line.startswith("#")} <= pinned
    assert not any("[" in each for each in pinned), "pip takes no extras in constraints"
    (tmp_path / "requirements.txt").write_text("aws-xray-sdk==2.15.0\n")
    assert any(each.startswith("wrapt==") for each in hashed(tmp_path)), "and what that needs in turn"
    assert all("--hash=sha256:" in each for each in locked)
    (tmp_path / "requirements.txt").write_text("\n".join([*lines, "left-pad==1.0.0"]))
    assert hashed(tmp_path) == []


def test_ci_runs_actions_by_their_commit() -> None:
    """A tag can be moved to something else."""
    used = re.findall(r"uses: (\S+)", (ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each)] == []
