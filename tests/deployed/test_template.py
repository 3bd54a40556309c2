"""The templates: clean, deletable, named, watched; alone, and merged with what Chalice packages."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.inbox import LARGEST
from chalicelib.telemetry import METRICS
from ops.package import merged
from tests.conftest import ROOT
from tests.templates import RESOURCES, of_type

CFN_LINT = str(Path(sys.executable).with_name("cfn-lint"))
CONFIG = json.loads((ROOT / ".chalice" / "config.json").read_text())
NAMES = [
    "TableName",
    "QueueName",
    "Name",
    "LogGroupName",
    "TopicName",
    "AlarmName",
    "DashboardName",
    "FunctionName",
]


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_the_whole_stack_is_clean(stage: str, template: dict[str, Any], tmp_path: Path) -> None:
    """cfn-lint finds nothing in what `daybook package` makes (the lint step asks it of the other)."""
    text = json.dumps(template).replace("-dev", f"-{stage}").replace("daybook/dev", f"daybook/{stage}")
    whole: dict[str, Any] = json.loads(text)
    whole["Parameters"]["Stage"] = merged(ROOT, stage)["Parameters"]["Stage"]
    (tmp_path / "sam.json").write_text(json.dumps(whole))
    (tmp_path / "deployment.zip").touch()
    done = subprocess.run([CFN_LINT, tmp_path / "sam.json"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert whole["Parameters"]["Stage"]["Default"] == stage


def test_nothing_is_retained() -> None:
    """No Retain, no Snapshot; what holds data says Delete for both ways of going."""
    for name in ("resources.yaml", "packaged.yaml"):
        text = (ROOT / "infra" / name).read_text()
        assert "Retain\n" not in text
        assert "Snapshot" not in text
    for each in RESOURCES["Resources"].values():
        if each["Type"] in ("AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::Logs::LogGroup"):
            assert (each["DeletionPolicy"], each["UpdateReplacePolicy"]) == ("Delete", "Delete")


def test_the_ledger_can_be_recovered_and_deleted() -> None:
    """Point-in-time recovery and encryption on; protection off, and on with the parameter."""
    [table] = of_type(RESOURCES, "AWS::DynamoDB::Table").values()
    properties = table["Properties"]
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["SSESpecification"] == {"SSEEnabled": True}
    assert properties["DeletionProtectionEnabled"] == {"Fn::If": ["Protected", True, False]}
    assert RESOURCES["Conditions"]["Protected"] == {"Fn::Equals": [{"Ref": "DeletionProtection"}, "true"]}
    assert RESOURCES["Parameters"]["DeletionProtection"]["Default"] == "false"


def test_a_backlog_leaves_concurrency_to_the_routes(template: dict[str, Any]) -> None:
    """The consumer's event source has a cap."""
    events = template["Resources"]["Process"]["Properties"]["Events"]
    [source] = [each["Properties"] for each in events.values()]
    assert (source["BatchSize"], source["ScalingConfig"]) == (10, {"MaximumConcurrency": 20})


def test_the_queues_are_as_designed() -> None:
    """High-throughput FIFO, 14 days, encrypted, five tries; hidden for six times a consumer's time."""
    queues = of_type(RESOURCES, "AWS::SQS::Queue")
    wakes = queues.pop("TargetsQueue")["Properties"]  # its order is in the ledger, and it can be held back
    assert "FifoQueue" not in wakes
    assert wakes["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert wakes["SqsManagedSseEnabled"] is True
    assert wakes["VisibilityTimeout"] == {"Ref": "VisibilityTimeout"}
    assert len(queues) == 2
    for queue in queues.values():
        properties = queue["Properties"]
        assert properties["FifoQueue"] is True
        assert properties["DeduplicationScope"] == "messageGroup"
        assert properties["FifoThroughputLimit"] == "perMessageGroupId"
        assert properties["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert properties["SqsManagedSseEnabled"] is True
        assert properties["VisibilityTimeout"] == {"Ref": "VisibilityTimeout"}
    assert queues["Queue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"] == 5
    for stage in ("dev", "prod"):
        for function in ("process", "park", "deliver"):
            timeout = CONFIG["stages"][stage]["lambda_functions"][function]["lambda_timeout"]
            assert RESOURCES["Parameters"]["VisibilityTimeout"]["Default"] >= 6 * timeout


def test_logs_are_kept_as_long_as_they_should_be() -> None:
    """A group for each function, made with the stack and deleted with it: 7 days, in prod longer."""
    groups = of_type(RESOURCES, "AWS::Logs::LogGroup").values()
    names = {str(each["Properties"]["LogGroupName"]["Fn::Sub"]) for each in groups}
    functions = CONFIG["stages"]["dev"]["lambda_functions"]
    assert names == {
        "/aws/lambda/daybook-${Stage}" + ("" if name == "api_handler" else f"-{name}") for name in functions
    }
    assert all(each["Properties"]["RetentionInDays"] == {"Fn::If": ["IsProd", 90, 7]} for each in groups)


def named(template: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for logical, each in template["Resources"].items():
        for key in NAMES:
            if key in each.get("Properties", {}):
                yield f"{logical}.{key}", json.dumps(each["Properties"][key])


def test_every_name_carries_the_stage(template: dict[str, Any]) -> None:
    """So that two stages live side by side in one account."""
    found = dict(named(template))
    assert len(found) > 20
    for where, name in found.items():
        if not where.endswith("InvokePermission.FunctionName"):
            assert "${Stage}" in name or '"-dev' in name or "dev" in name, where


def test_every_alarm_has_an_action_and_says_what_it_means() -> None:
    """The topic; and what is missing counts as something on purpose."""
    alarms = of_type(RESOURCES, "AWS::CloudWatch::Alarm")
    assert len(alarms) >= 14
    watched = {str(each["Properties"]["Dimensions"]) for each in alarms.values()}
    for function in ("process", "park", "deliver", "watch", "reconcile"):
        assert any(f"-{function}'" in each for each in watched), function
    for alarm in alarms.values():
        properties = alarm["Properties"]
        assert properties["AlarmActions"] == [{"Ref": "Alerts"}]
        assert properties["AlarmDescription"]
        assert "TreatMissingData" in properties


def test_a_chat_may_look_at_cloudwatch_and_nothing_else() -> None:
    """Without guardrails of ours AdministratorAccess would bound it; without a channel there is none."""
    looks = {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/CloudWatchReadOnlyAccess"}
    resources = RESOURCES["Resources"]
    assert resources["ChatRole"]["Properties"]["ManagedPolicyArns"] == [looks]
    for name in ("SlackAlerts", "TeamsAlerts"):
        assert resources[name]["Properties"]["GuardrailPolicies"] == [looks]
        assert resources[name]["Properties"]["SnsTopicArns"] == [{"Ref": "Alerts"}]
        assert "Condition" in resources[name]
    for name in ("SlackChannel", "TeamsChannel"):
        assert RESOURCES["Parameters"][name]["Default"] == ""
    slack, teams = (
        re.compile(RESOURCES["Parameters"][name]["AllowedPattern"])
        for name in ("SlackChannel", "TeamsChannel")
    )
    one = "00000000-0000-4000-8000-000000000000"
    assert slack.fullmatch("T012AB3C4/C061EG9SL")
    assert not slack.fullmatch("C061EG9SL")
    assert teams.fullmatch(f"{one}/{one}/19%3ac02aa%40thread.tacv2")
    assert not teams.fullmatch(f"{one}/19%3ac02aa%40thread.tacv2")


def test_one_event_that_fails_is_no_backlog() -> None:
    """It is parked before the oldest may have waited too long."""
    defaults = {name: each.get("Default") for name, each in RESOURCES["Parameters"].items()}
    tries = RESOURCES["Resources"]["Queue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"]
    assert defaults["OldestMessage"] > tries * defaults["VisibilityTimeout"]


def test_every_message_that_is_sent_fits_the_queue() -> None:
    """Whatever a queue's default is, in this region or an older one."""
    queues = of_type(RESOURCES, "AWS::SQS::Queue")
    del queues["TargetsQueue"]  # what it says is two names
    for queue in queues.values():
        assert queue["Properties"]["MaximumMessageSize"] > LARGEST * 4 / 3


def test_alarms_and_dashboard_use_the_metrics_that_there_are() -> None:
    """Every metric of the code is shown or alarmed; nothing else is asked for."""
    body = json.loads(RESOURCES["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    lines = [line for widget in body["widgets"] for line in widget["properties"]["metrics"]]
    shown = {line[1] for line in lines if line[0] == "Daybook"}
    alarmed = {
        each["Properties"]["MetricName"]
        for each in of_type(RESOURCES, "AWS::CloudWatch::Alarm").values()
        if each["Properties"]["Namespace"] == "Daybook"
    }
    assert shown | alarmed == set(METRICS)
    assert all(line[2:4] == ["stage", "${Stage}"] for line in lines if line[0] == "Daybook")


def test_there_is_no_code_in_strings_and_none_that_is_generated() -> None:
    """Handlers are modules of the package: no inline code in a template, none made at run time."""
    for path in (ROOT / "infra").glob("*.yaml"):
        text = path.read_text()
        assert "ZipFile" not in text
        assert "InlineCode" not in text
    sources = [ROOT / "app.py", *(ROOT / "chalicelib").rglob("*.py"), *(ROOT / "ops").rglob("*.py")]
    for path in sources:
        text = path.read_text()
        for word in ("exec(", "eval(", "compile(", "def lambda_handler", "mkdir(parents=True)"):
            assert word not in text.replace("re.compile(", ""), path
