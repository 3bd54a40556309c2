"""One more stage, and what is looked at before anything is packaged."""

import json
import shutil
from pathlib import Path

import pytest

from ops import stages
from ops.package import Failed, check_imports
from tests.conftest import ROOT
from tests.packaged import without_added


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("deployed", "deployments")
    shutil.copytree(ROOT / ".chalice", tmp_path / ".chalice", ignore=ignored)
    without_added(tmp_path / ".chalice" / "config.json")
    (tmp_path / "chalicelib").mkdir()
    (tmp_path / "app.py").write_text("")
    (tmp_path / "requirements.txt").write_text("botocore==1.44.5\n")
    return tmp_path


def test_a_stage_is_added_like_another(checkout: Path) -> None:
    """Its configuration and policies are the other's, under its own names, and nothing else is changed."""
    before = json.loads((checkout / ".chalice" / "config.json").read_text())
    written = stages.add(checkout, "staging", "dev")
    after = json.loads((checkout / ".chalice" / "config.json").read_text())
    made = after["stages"].pop("staging")
    assert after == before
    text = json.dumps(before["stages"]["dev"])
    for name in ('"dev"', "-dev", "/dev"):
        text = text.replace(name, name.replace("dev", "staging"))
    assert made == json.loads(text)
    policies = [path for path in written if path.name.startswith("policy-")]
    assert sorted(path.name for path in policies) == sorted(
        each["iam_policy_file"] for each in made["lambda_functions"].values()
    )
    for path in policies:
        like = path.with_name(path.name.replace("staging", "dev")).read_text()
        assert json.loads(path.read_text()) == json.loads(
            like.replace("-dev", "-staging").replace("/dev", "/staging")
        )


def test_only_the_stage_as_a_word_is_renamed(checkout: Path) -> None:
    """A value of one's own may hold its letters."""
    path = checkout / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    own = {
        "A": "https://dev.example.com/devices",
        "B": "shop@dev.org",
        "C": "s3://mail-dev-eu",
        "D": "develop",
    }
    config["stages"]["dev"]["environment_variables"] |= own
    path.write_text(json.dumps(config))
    stages.add(checkout, "qa", "dev")
    made = json.loads(path.read_text())["stages"]["qa"]["environment_variables"]
    assert {name: made[name] for name in own} == {**own, "C": "s3://mail-qa-eu"}


@pytest.mark.parametrize("name", ["dev", "local", "Staging", "1st", "a" * 22, "a_b", "../x", ""])
def test_what_is_no_new_stage_is_refused(checkout: Path, name: str) -> None:
    """A name that there is, or that AWS would refuse; nothing is written."""
    before = {path: path.read_text() for path in (checkout / ".chalice").iterdir()}
    with pytest.raises(Failed, match=r"there is a stage dev already|is no name of a stage"):
        stages.add(checkout, name, "dev")
    assert {path: path.read_text() for path in (checkout / ".chalice").iterdir()} == before


@pytest.mark.parametrize("name", ["dev-process", "prod-watch"])
def test_a_stage_is_not_called_as_anothers_function(checkout: Path, name: str) -> None:
    """Its first function would have the name of that one, and be taken for it."""
    with pytest.raises(Failed, match="their functions would have one name"):
        stages.add(checkout, name, "dev")


def test_a_policy_that_is_there_is_not_overwritten(checkout: Path) -> None:
    """It may be somebody's work."""
    (checkout / ".chalice" / "policy-qa-park.json").write_text("mine")
    before = (checkout / ".chalice" / "config.json").read_text()
    with pytest.raises(Failed, match=r"\.chalice/policy-qa-park\.json is there already"):
        stages.add(checkout, "qa", "dev")
    assert (checkout / ".chalice" / "policy-qa-park.json").read_text() == "mine"
    assert (checkout / ".chalice" / "config.json").read_text() == before


@pytest.mark.parametrize(
    "line", ["import os, boto3", "from boto3.session import Session", "def f():\n import boto3"]
)
def test_boto3_that_is_not_packaged_is_found(checkout: Path, line: str) -> None:
    """Lambda's own would be imported, and fail at the first client."""
    (checkout / "chalicelib" / "handlers.py").write_text(line)
    with pytest.raises(Failed, match=r"^chalicelib/handlers\.py, line [12], imports boto3"):
        check_imports(checkout)
    with (checkout / "requirements.txt").open("a") as file:
        file.write("boto3-stubs==1.0.0\n")
    with pytest.raises(Failed, match="imports boto3"):
        check_imports(checkout)
    for added, wrong in (
        ("boto3==1.44.4\n", "without s3transfer"),
        ("s3transfer==0.19.3\n", "botocore's version"),
    ):
        with (checkout / "requirements.txt").open("a") as file:
            file.write(added)
        with pytest.raises(Failed, match=wrong):
            check_imports(checkout)
    whole = "botocore==1.44.5\nboto3==1.44.5\ns3transfer==0.19.3\n"
    (checkout / "requirements.txt").write_text(whole)
    check_imports(checkout)


def test_what_only_sounds_like_boto3_is_packaged(checkout: Path) -> None:
    """A module of one's own, and a word in a text."""
    (checkout / "chalicelib" / "handlers.py").write_text(
        'from .boto3 import x\nimport boto3_mine\n"import boto3"\n'
    )
    check_imports(checkout)
