"""What runs on GitHub: no keys, pinned actions, and commands that are there."""

import json
import re
from typing import Any

import pytest
import yaml
from botocore.credentials import AssumeRoleWithWebIdentityProvider

from ops.cli import main
from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_uses_pinned_actions_and_no_secret(path: Any) -> None:
    """By the commit, not by a tag that can be moved."""
    text = path.read_text()
    assert "secrets." not in text
    for step in steps(yaml.safe_load(text)):
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"])


def test_a_deploy_asks_for_a_token_and_runs_what_is_there() -> None:
    """The SDK exchanges the token that is written where it looks for it."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
    assert workflow["permissions"] == {"contents": "read", "id-token": "write"}
    runs = [step["run"] for step in steps(workflow) if "run" in step]
    commands = re.findall(r"\.venv/bin/daybook (\w+) --stage", "\n".join(runs))
    assert commands == ["deploy", "doctor"]
    assert set(commands) <= set(main.commands)
    provider: Any = AssumeRoleWithWebIdentityProvider
    assert provider._CONFIG_TO_ENV_VAR["web_identity_token_file"] in "\n".join(runs)
    assert "AWS_ROLE_ARN" in workflow["jobs"]["deploy"]["env"]


def test_the_trust_that_is_documented_is_of_one_environment() -> None:
    """A policy, with both conditions."""
    [policy] = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)[-1:]
    [statement] = json.loads(policy)["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert {key.rpartition(":")[2] for key in statement["Condition"]["StringEquals"]} == {"aud", "sub"}
