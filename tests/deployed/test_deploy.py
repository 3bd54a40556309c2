"""The life of a stage on the emulator: deployed, used, deployed again, deleted; and interrupted."""

import json
import os
import random
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from chalicelib.errors import Unavailable
from chalicelib.names import Names, names
from ops import deployed
from ops.cli import main
from ops.deploy import Deployment, Stack
from ops.doctor import Doctor
from ops.local.event_source import EventSource
from ops.local.runtime import Function, runtime_client
from ops.package import Failed
from ops.stage import Stage
from ops.stories import tell
from ops.upgrade import Upgrade
from tests.conftest import ROOT, emulator
from tests.fakes import DEV_SECRET, as_bytes
from tests.packaged import now, project, stripe_request
from tests.proxy import Call, Proxy

FUNCTIONS = ["api_handler", "process", "park", "deliver", "watch", "reconcile"]


@pytest.fixture(scope="module", name="emulator")
def own_emulator() -> Iterator[str]:
    """An emulator of its own: what is left on it is what the stage left."""
    with emulator() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose package is built once: it is the same at each deploy."""
    return project(tmp_path_factory.mktemp("deploy") / "checkout")


def deployment(checkout: Path, endpoint: str, said: list[str]) -> Deployment:
    environ = {
        **os.environ,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_MAX_ATTEMPTS": "1",
    }
    stage = Stage("dev", boto3.Session("k", "s", region_name="us-east-1"), endpoint)
    return Deployment(checkout, stage, environ, said.append, lambda seconds: None)


def left(stage: Stage) -> dict[str, list[str]]:
    """Everything of every kind that a stage is made of, by kind."""

    def names(service: str, operation: str, items: str, name: str | None, **request: Any) -> list[str]:
        answer = getattr(stage.client(service), operation)(**request)
        found = answer.get(items, [])
        return sorted(str(each[name]) if name else str(each) for each in found)

    return {
        "tables": names("dynamodb", "list_tables", "TableNames", None),
        "queues": names("sqs", "list_queues", "QueueUrls", None),
        "functions": names("lambda", "list_functions", "Functions", "FunctionName"),
        "event sources": names(
            "lambda", "list_event_source_mappings", "EventSourceMappings", "EventSourceArn"
        ),
        "layers": names("lambda", "list_layers", "Layers", "LayerName"),
        "APIs": names("apigateway", "get_rest_apis", "items", "name"),
        "roles": names("iam", "list_roles", "Roles", "RoleName"),
        "policies": names("iam", "list_policies", "Policies", "PolicyName", Scope="Local"),
        "rules": names("events", "list_rules", "Rules", "Name"),
        "buses": [
            each for each in names("events", "list_event_buses", "EventBuses", "Name") if each != "default"
        ],
        "log groups": names("logs", "describe_log_groups", "logGroups", "logGroupName"),
        "topics": names("sns", "list_topics", "Topics", "TopicArn"),
        "secrets": names("secretsmanager", "list_secrets", "SecretList", "Name"),
        "alarms": names("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
        "dashboards": names("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
        "buckets": names("s3", "list_buckets", "Buckets", "Name"),
        "stacks": [
            each["StackName"]
            for each in stage.client("cloudformation").describe_stacks()["Stacks"]
            if each["StackStatus"] != "DELETE_COMPLETE"
        ],
    }


WHOLE = {
    "tables": ["payment-transactions-dev"],
    "functions": [
        "daybook-dev",
        "daybook-dev-deliver",
        "daybook-dev-park",
        "daybook-dev-process",
        "daybook-dev-reconcile",
        "daybook-dev-watch",
    ],
    "event sources": [
        "arn:aws:sqs:us-east-1:123456789012:payment-events-dead-dev.fifo",
        "arn:aws:sqs:us-east-1:123456789012:payment-events-dev.fifo",
        "arn:aws:sqs:us-east-1:123456789012:payment-targets-dev",
    ],
    "APIs": ["daybook"],
    "roles": [f"daybook-dev-{name}" for name in sorted(FUNCTIONS)],
    "rules": ["daybook-dev-reconcile-event", "daybook-dev-watch-event"],
    "buses": ["daybook-dev"],
    "log groups": [
        "/aws/lambda/daybook-dev",
        "/aws/lambda/daybook-dev-deliver",
        "/aws/lambda/daybook-dev-park",
        "/aws/lambda/daybook-dev-process",
        "/aws/lambda/daybook-dev-reconcile",
        "/aws/lambda/daybook-dev-watch",
    ],
    "stacks": ["daybook-resources-dev"],
}


def check_whole(stage: Stage) -> None:
    """Everything is there, once."""
    found = left(stage)
    assert {kind: found[kind] for kind in WHOLE} == WHOLE
    assert len(found["queues"]) == 3


def said_of_failures(stage: Stage) -> list[tuple[str, str]]:
    """What `doctor` says of how the consumer's failures come back."""
    doctor = Doctor(stage, dict, now, {})
    return [(each.level, each.found) for each in doctor._reports(stage.client("lambda"))]


def check_reports(stage: Stage) -> None:
    """The consumer returns what failed, and its mapping takes that; `doctor` sees where the two disagree."""
    client = stage.client("lambda")
    assert said_of_failures(stage) == []
    arn = client.get_function_configuration(FunctionName="daybook-dev-process")["FunctionArn"]
    [mapping] = client.list_event_source_mappings(FunctionName=arn)["EventSourceMappings"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    client.update_event_source_mapping(UUID=mapping["UUID"], FunctionResponseTypes=[])
    [(level, found)] = said_of_failures(stage)
    assert (level, found.rpartition(": ")[2]) == ("wrong", "they are lost")


def check_nothing(stage: Stage) -> None:
    """Nothing is there of any kind."""
    assert {kind: names for kind, names in left(stage).items() if names} == {}


def check_webhook(stage: Stage, work: Path) -> None:
    """The functions that the emulator was given take a webhook to the ledger."""
    code, consumer_code = (downloaded(stage, name, work) for name in ("daybook-dev", "daybook-dev-process"))
    client = stage.client("lambda")
    mappings = client.list_event_source_mappings()["EventSourceMappings"]
    assert sorted(each.get("ScalingConfig", {}).get("MaximumConcurrency", 0) for each in mappings) == [
        0,
        20,
        20,
    ]
    for each in mappings:  # the emulator would take the messages itself and do nothing with them
        client.update_event_source_mapping(UUID=each["UUID"], Enabled=False)
    secrets = stage.client("secretsmanager")
    secrets.create_secret(
        Name="daybook/dev", SecretString=json.dumps({"stripe_webhook_secrets": [DEV_SECRET]})
    )
    subject, [event] = tell("stripe", random.Random(now()), now(), 5, "EUR", type_="payment_intent.succeeded")
    api, consumer = (
        started(stage, "daybook-dev", code, work),
        started(stage, "daybook-dev-process", consumer_code, work),
    )
    try:
        assert api.invoke(stripe_request(as_bytes(event)))["statusCode"] == 200, api.lines
        source = EventSource(
            stage.client("sqs"), "payment-events-dev.fifo", lambda batch, context: consumer.invoke(batch)
        )
        assert source.poll(0) == 1
        assert stage.ledger().payment(subject).version
    finally:
        api.stop()
        consumer.stop()
        secrets.delete_secret(SecretId="daybook/dev", ForceDeleteWithoutRecovery=True)


def downloaded(stage: Stage, function: str, work: Path) -> Path:
    """The code that was deployed for a function, unpacked."""
    folder = work / function
    if not folder.exists():
        [built] = (work / "checkout" / ".chalice" / "deployments").glob("*.zip")
        size = stage.client("lambda").get_function(FunctionName=function)["Configuration"]["CodeSize"]
        assert size == built.stat().st_size
        shutil.unpack_archive(built, folder, "zip")
    return folder


def started(stage: Stage, function: str, code: Path, work: Path) -> Function:
    """A deployed function with its own handler and environment."""
    configuration = stage.client("lambda").get_function(FunctionName=function)["Configuration"]
    environ = {
        **configuration["Environment"]["Variables"],
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_ENDPOINT_URL": str(stage.endpoint),
        "DAYBOOK_RUNTIME_CLIENT": str(runtime_client(work / "client")),
    }
    return Function(code, configuration["Handler"], environ)


def check_upgrade(life: Deployment, checkout: Path) -> None:
    """What is deployed is what is here; and of what is changed here each difference is named, both ways."""
    upgrade = Upgrade(checkout, life.stage)
    assert list(upgrade.changes()) == []
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert upgrade.deployed == version
    config, policy, resources = (
        checkout / ".chalice" / "config.json",
        checkout / ".chalice" / "policy-dev-park.json",
        checkout / "infra" / "resources.yaml",
    )
    kept = {path: path.read_text() for path in (config, policy, resources)}
    changed = json.loads(kept[config])
    dev = changed["stages"]["dev"]
    dev["environment_variables"]["DAYBOOK_METADATA"] = "order_id"
    del dev["environment_variables"]["DAYBOOK_EVENT_BUS"]
    dev["lambda_functions"]["park"]["lambda_memory_size"] = 512
    dev["lambda_functions"]["sweep"] = {"iam_policy_file": policy.name}
    config.write_text(json.dumps(changed))
    statements = json.loads(kept[policy])
    gone = statements["Statement"].pop(0)
    statements["Statement"].append(
        {"Sid": "New", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    )
    policy.write_text(json.dumps(statements))
    resources.write_text(kept[resources].replace("Namespace: Daybook", "Namespace: Other", 1))
    try:
        lines = [each.line for each in upgrade.changes()]
    finally:
        for path, text in kept.items():
            path.write_text(text)
    assert f"- park {gone['Sid']}: {json.dumps(gone)}"[:60] in "".join(line[:60] for line in lines)
    assert [line for line in lines if line.startswith("+ park New: ")]
    assert "~ park memory: 256 becomes 512" in lines
    assert "+ park DAYBOOK_METADATA: order_id" in lines
    assert "- process DAYBOOK_EVENT_BUS: daybook-dev" in lines
    assert "+ sweep: a function" in lines
    assert [line for line in lines if line.endswith("Namespace: Daybook becomes Other")]
    with pytest.raises(Failed, match="no stack daybook-resources-other"):
        list(Upgrade(checkout, replace(life.stage, name="other")).changes())


def check_the_command(life: Deployment, checkout: Path) -> None:
    """Nothing changes: 0. A newer version: 3, and what it wants done; deployed once somebody said yes."""
    (checkout / "docs").mkdir(exist_ok=True)
    project, steps = checkout / "pyproject.toml", checkout / "docs" / "upgrading.md"
    shutil.copy(ROOT / "pyproject.toml", project)
    shutil.copy(ROOT / "docs" / "upgrading.md", steps)

    def run(*arguments: str, said: str = "n\n") -> tuple[int, str]:
        environ = dict(life.environ)
        done = CliRunner().invoke(main, ["upgrade", "--stage", "dev", *arguments], env=environ, input=said)
        return done.exit_code, done.output

    code, output = run("--check")
    assert (code, output.count("nothing changes")) == (0, 3), output
    project.write_text(project.read_text().replace('version = "0.', 'version = "9.'))
    steps.write_text(f"{steps.read_text()}\n## 9.3.0\n\n1. Feed the cat.\n")
    config = checkout / ".chalice" / "config.json"
    kept = config.read_text()
    config.write_text(kept.replace('"lambda_memory_size": 256', '"lambda_memory_size": 512'))
    try:
        code, output = run("--check")
        assert code == 3
        assert "~ park memory: 256 becomes 512" in output
        assert "9.3.0 wants, by docs/upgrading.md:\n  1. Feed the cat." in output
        code, output = run("--check", "--json")
        told = json.loads(output[output.index("{") :])
        assert (code, told["steps"]) == (3, {"9.3.0": "1. Feed the cat."})
        assert run()[0] == 1  # nobody said yes
        code, output = run(said="y\n")
        assert (code, "deployed: https://" in output) == (0, True), output
        assert list(Upgrade(checkout, life.stage).changes()) == []
    finally:
        config.write_text(kept)


def leave_function(stage: Stage, name: str, of: str) -> None:
    """A function with its role, its schedule and its log, as Chalice once made them for a stage ``of``."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = stage.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    function = stage.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role,
        Handler="app.old",
        Code={"ZipFile": b"zip"},
        Tags={"aws-chalice": f"version=1.34.0:stage={of}:app=daybook"},
    )["FunctionArn"]
    events = stage.client("events")
    events.put_rule(Name=f"{name}-event", ScheduleExpression="rate(1 hour)")
    events.put_targets(Rule=f"{name}-event", Targets=[{"Id": "1", "Arn": function}])
    stage.client("logs").create_log_group(logGroupName=f"/aws/lambda/{name}")


def remove_function(stage: Stage, name: str) -> None:
    stage.client("events").remove_targets(Rule=f"{name}-event", Ids=["1"])
    stage.client("events").delete_rule(Name=f"{name}-event")
    stage.client("lambda").delete_function(FunctionName=name)
    stage.client("iam").delete_role(RoleName=name)
    stage.client("logs").delete_log_group(logGroupName=f"/aws/lambda/{name}")


def test_what_the_code_has_no_more_is_deleted(emulator: str, checkout: Path) -> None:
    """Its schedule would call it for ever. What belongs to a stage of a longer name stays."""
    said: list[str] = []
    life = deployment(checkout, emulator, said)
    life.deploy({})
    leave_function(life.stage, "daybook-dev-old", "dev")
    leave_function(life.stage, "daybook-dev-eu", "dev-eu")
    life.deploy({})
    assert [line for line in said if "daybook-dev-old" in line or " old " in line]
    found = left(life.stage)
    for kind in ("functions", "roles", "rules"):
        assert [each for each in found[kind] if "old" in each] == []
        assert [each for each in found[kind] if "eu" in each]
    leave_function(life.stage, "daybook-dev-older", "dev")
    life.destroy()
    found = {kind: names for kind, names in left(life.stage).items() if names}
    remove_function(life.stage, "daybook-dev-eu")
    life.stage.client("logs").delete_log_group(logGroupName="/aws/lambda/daybook-dev-old")
    check_nothing(life.stage)
    assert found == {
        "functions": ["daybook-dev-eu"],
        "roles": ["daybook-dev-eu"],
        "rules": ["daybook-dev-eu-event"],
        "log groups": ["/aws/lambda/daybook-dev-eu", "/aws/lambda/daybook-dev-old"],
    }


def test_a_function_of_another_stage_is_not_taken_for_ones_own(emulator: str, checkout: Path) -> None:
    """Of a stage `dev-process` the first has the name of stage `dev`'s consumer."""
    life = deployment(checkout, emulator, [])
    leave_function(life.stage, "daybook-dev-process", "dev-process")
    try:
        with pytest.raises(Failed, match="daybook-dev-process is of another stage"):
            life.destroy()
        assert "daybook-dev-process" in left(life.stage)["functions"]
    finally:
        remove_function(life.stage, "daybook-dev-process")
    check_nothing(life.stage)


def test_a_secret_that_is_not_the_stacks_is_left(emulator: str, checkout: Path, tmp_path: Path) -> None:
    """One that the configuration names may be somebody else's too."""
    said: list[str] = []
    life = deployment(checkout, emulator, said)
    secrets = life.stage.client("secretsmanager")
    secrets.create_secret(Name="company/payments", SecretString="{}")
    named = replace(names("dev", {}), secret="company/payments")
    stage: Any = Named(life.stage, named)
    replace(life, stage=stage).destroy()
    assert secrets.get_secret_value(SecretId="company/payments")["SecretString"] == "{}"
    assert said[-1] == "the secret company/payments is not the stack's, and is left"
    secrets.delete_secret(SecretId="company/payments", ForceDeleteWithoutRecovery=True)


class Named:
    """A stage whose parts are called otherwise."""

    def __init__(self, stage: Stage, named: Names) -> None:
        self._stage = stage
        self.names = named

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)


def test_the_life_of_a_stage(emulator: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deployed, used, and the same again; destroyed, and the same again: whole, then nothing."""
    said: list[str] = []
    life = deployment(checkout, emulator, said)
    check_nothing(life.stage)
    for _ in range(2):
        url = life.deploy({})
        check_whole(life.stage)
        check_reports(life.stage)
        check_webhook(life.stage, checkout.parent)
    check_upgrade(life, checkout)
    monkeypatch.chdir(checkout)
    check_the_command(life, checkout)
    assert url.startswith("https://")
    assert url.endswith(".execute-api.us-east-1.amazonaws.com/dev/")
    for _ in range(2):
        life.destroy()
        check_nothing(life.stage)
    assert said[:1] == ["1/3 resources: stack daybook-resources-dev"]


def test_plain_chalice_commands_do_the_same(emulator: str, checkout: Path) -> None:
    """`chalice deploy` twice and `chalice delete`, on a stack of resources made by itself."""
    life = deployment(checkout, emulator, [])
    template = (checkout / "infra" / "resources.yaml").read_text()
    life.stack.apply(template, {"Stage": "dev", "SilentHours": "7"}, {})
    life.stack.apply(template, {"Stage": "dev"}, {})
    [stack] = life.stack.client.describe_stacks(StackName=life.stack.name)["Stacks"]
    values = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
    assert values["SilentHours"] == "7", "what is not given again stays as it was"
    for command in ("deploy", "deploy", "delete"):
        done = subprocess.run(
            [str(Path(sys.executable).with_name("chalice")), command, "--stage", "dev"],
            cwd=checkout,
            env=dict(life.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if command == "deploy":
            check_whole(life.stage)
            assert [level for level, _ in said_of_failures(life.stage)] == ["warning"]
    assert [
        kind for kind in ("functions", "APIs", "roles", "rules", "event sources") if left(life.stage)[kind]
    ] == []
    life.stack.delete()
    check_nothing(life.stage)


def nth(operation: Callable[[Call], bool], n: int) -> Callable[[Call], str | None]:
    """Fail from the n-th such call on, until told otherwise: as a process that was ended there."""
    seen = [0]

    def fault(call: Call) -> str | None:
        seen[0] += operation(call)
        return "reset before" if seen[0] >= n else None

    return fault


def is_(service: str, *operations: str) -> Callable[[Call], bool]:
    return lambda call: (
        call.service == service and any(call.operation.startswith(each) for each in operations)
    )


DEPLOY = [
    ("before the stack", is_("cloudformation", "CreateStack"), 1),
    ("after the first function", is_("lambda", "POST /2015-03-31/event-source-mappings"), 1),
    ("after its event source", is_("lambda", "POST /2015-03-31/functions"), 2),
    ("after the schedule's rule", is_("events", "PutTargets"), 1),
    ("before what failed is reported", is_("lambda", "PUT /2015-03-31/event-source-mappings"), 1),
    ("after the API, before its stage", is_("apigateway", "PATCH /restapis"), 1),
]
DESTROY = [
    ("after the first function", is_("lambda", "DELETE /2015-03-31/functions"), 2),
    ("before the last role", is_("iam", "DeleteRole"), 4),
    ("before the stack", is_("cloudformation", "DeleteStack"), 1),
]


def interrupted(
    life: Deployment, act: Callable[[Deployment], object], fault: Callable[[Call], str | None]
) -> None:
    with Proxy(str(life.stage.endpoint), fault) as proxy:
        broken = deployment(life.project, proxy.address, [])
        with pytest.raises(Exception) as failed:  # noqa: PT011 - as it comes: botocore's or ours
            act(broken)
        assert proxy.faults, failed.value


def test_an_interrupted_deploy_is_finished_by_the_next(emulator: str, checkout: Path) -> None:
    """Wherever it stopped: everything once. The record of the one before is gone, as in another clone."""
    life = deployment(checkout, emulator, [])
    for name, operation, n in DEPLOY:
        interrupted(life, lambda broken: broken.deploy({}), nth(operation, n))
        life.deploy({})
        try:
            check_whole(life.stage)
        except AssertionError as error:
            raise AssertionError(f"interrupted {name}") from error
        deployed.path(checkout, "dev").unlink()
        life.destroy()
        check_nothing(life.stage)


def test_an_interrupted_destroy_is_finished_by_the_next(emulator: str, checkout: Path) -> None:
    """Wherever it stopped: nothing is left."""
    life = deployment(checkout, emulator, [])
    for name, operation, n in DESTROY:
        life.deploy({})
        interrupted(life, lambda broken: broken.destroy(), nth(operation, n))
        life.destroy()
        try:
            check_nothing(life.stage)
        except AssertionError as error:
            raise AssertionError(f"interrupted {name}") from error


def test_a_stack_that_failed_says_why(emulator: str, checkout: Path) -> None:
    """The state that it is in, and what CloudFormation gave as the reason."""

    class Cloud:
        """A CloudFormation whose stack cannot be made."""

        def describe_stacks(self, StackName: str) -> dict[str, Any]:
            return {"Stacks": [{"StackStatus": "ROLLBACK_FAILED"}]}

        def update_stack(self, **_: Any) -> None:
            return None

        def describe_stack_events(self, StackName: str) -> dict[str, Any]:
            reason = {"LogicalResourceId": "Ledger", "ResourceStatusReason": "limit exceeded"}
            return {"StackEvents": [{**reason, "ResourceStatus": "CREATE_FAILED"}, {"ResourceStatus": "X"}]}

    template = "Parameters: {Stage: {Type: String}}"
    with pytest.raises(Failed, match="is ROLLBACK_FAILED: Ledger: limit exceeded"):
        Stack(Cloud(), "s", print, lambda seconds: None).apply(template, {"Stage": "dev"}, {})


JUST_DELETED = "You must wait 60 seconds after deleting a queue before you can create another queue with it."


class BusyCloud:
    """A CloudFormation whose stack can be made at the ``turn``-th attempt."""

    def __init__(self, turn: int) -> None:
        self.turn, self.state = turn, ""

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if not self.state:
            error = {"Error": {"Code": "ValidationError", "Message": "s does not exist"}}
            raise ClientError(cast("Any", error), "DescribeStacks")
        return {"Stacks": [{"StackStatus": self.state}]}

    def create_stack(self, **_: Any) -> None:
        self.turn -= 1
        self.state = "ROLLBACK_COMPLETE" if self.turn else "CREATE_COMPLETE"

    def delete_stack(self, StackName: str) -> None:
        self.state = ""

    def describe_stack_events(self, StackName: str) -> dict[str, Any]:
        failed = {"ResourceStatus": "CREATE_FAILED", "ResourceStatusReason": JUST_DELETED}
        return {"StackEvents": [{"LogicalResourceId": "Queue", **failed}]}


def test_a_secret_that_was_deleted_by_hand_is_restored(dev: Stage, checkout: Path) -> None:
    """It keeps its name for days, and nobody can read it: said by `doctor`, mended by a deploy."""
    secrets = dev.client("secretsmanager")
    said: list[str] = []
    life = Deployment(checkout, dev, {}, said.append, lambda seconds: None)
    life._restore_secret()
    assert said == []
    secrets.delete_secret(SecretId="daybook/dev", RecoveryWindowInDays=7)

    def read() -> dict[str, tuple[str, ...]]:
        raise Unavailable("the credentials cannot be read")

    [finding] = Doctor(dev, read, now, {}).secret()
    assert "was deleted" in finding.found
    assert finding.remedy == "daybook deploy --stage dev restores it"
    life._restore_secret()
    [line] = said
    assert line.startswith("  restored daybook/dev, which was to be deleted on ")
    assert secrets.get_secret_value(SecretId="daybook/dev")["SecretString"]


def test_a_name_that_a_deleted_secret_holds_is_said(emulator: str, checkout: Path) -> None:
    """Without a stack it is nobody's: whoever deleted it decides."""
    life = deployment(checkout, emulator, [])
    secrets = life.stage.client("secretsmanager")
    secrets.create_secret(Name="daybook/dev", SecretString="{}")
    secrets.delete_secret(SecretId="daybook/dev", RecoveryWindowInDays=7)
    with pytest.raises(Failed, match="--secret-id daybook/dev --force-delete-without-recovery"):
        life.deploy({})
    secrets.delete_secret(SecretId="daybook/dev", ForceDeleteWithoutRecovery=True)
    check_nothing(life.stage)


def test_a_queue_that_was_just_deleted_is_waited_for() -> None:
    """Deployed again at once SQS refuses the name for a minute; which is not waited for again and again."""
    for turn in (2, 3):
        said: list[str] = []
        waited: list[float] = []
        stack = Stack(BusyCloud(turn), "s", said.append, waited.append)
        if turn == 2:
            stack.apply("Parameters: {}", {}, {})
        else:
            with pytest.raises(Failed, match="60 seconds"):
                stack.apply("Parameters: {}", {}, {})
        assert waited == [65.0]
        assert any("for a minute" in line for line in said)


class DeletingLambda:
    """Lambda, where a mapping is being deleted for the first ``looks`` looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def get_paginator(self, operation: str) -> "DeletingLambda":
        return self

    def paginate(self) -> list[dict[str, Any]]:
        self.looks -= 1
        arn = "arn:aws:lambda:us-east-1:1:function:daybook-{}-process"
        going = {"FunctionArn": arn.format("dev"), "State": "Deleting" if self.looks >= 0 else "Enabled"}
        others = {"FunctionArn": arn.format("prod"), "State": "Deleting"}
        return [{"EventSourceMappings": [others]}, {"EventSourceMappings": [going]}]


class DeletingSession:
    def __init__(self, looks: int) -> None:
        self.slow = DeletingLambda(looks)

    def client(self, service: str, **_: Any) -> DeletingLambda:
        return self.slow


def test_a_mapping_that_is_still_being_deleted_is_waited_for(checkout: Path) -> None:
    """Lambda refuses the new one as long as the old one is there."""
    for looks in (0, 3, 1000):
        said: list[str] = []
        waited: list[float] = []
        stage = Stage("dev", cast("Any", DeletingSession(looks)), None)
        life = Deployment(checkout, stage, {}, said.append, waited.append)
        if looks < 1000:
            life._await_deleted()
            assert len(waited) == looks
        else:
            with pytest.raises(Failed, match="run the same command again"):
                life._await_deleted()
        assert len(said) == (looks > 0)


def test_a_stack_that_was_only_proposed_is_made(aws: dict[str, str]) -> None:
    """By a change set that nobody carried out: nothing will ever come of it."""
    said: list[str] = []
    session = boto3.Session("k", "s", region_name="us-east-1")
    client = session.client("cloudformation", endpoint_url=aws["AWS_ENDPOINT_URL"])
    stack = Stack(client, "proposed", said.append, lambda seconds: None)
    template = "Resources: {Topic: {Type: AWS::SNS::Topic}}"
    client.create_change_set(
        StackName="proposed", ChangeSetName="later", ChangeSetType="CREATE", TemplateBody=template
    )
    [proposed] = client.describe_stacks(StackName="proposed")["Stacks"]
    assert proposed["StackStatus"] == "REVIEW_IN_PROGRESS"
    stack.apply(template, {}, {})
    assert said[-1] == "  create complete"
    stack.delete()


# ── the command ─────────────────────────────────────────────────────────────────────────────────────


def test_a_protected_ledger_stays_with_all_that_belongs_to_it(emulator: str, checkout: Path) -> None:
    """Refused before anything is gone."""
    said: list[str] = []
    life = deployment(checkout, emulator, said)
    dynamodb = life.stage.client("dynamodb")
    dynamodb.create_table(
        TableName=life.stage.names.table,
        AttributeDefinitions=[{"AttributeName": "subject", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "subject", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=True,
    )
    with pytest.raises(Failed, match="the ledger is protected"):
        life.destroy()
    assert said == []
    dynamodb.update_table(TableName=life.stage.names.table, DeletionProtectionEnabled=False)
    dynamodb.delete_table(TableName=life.stage.names.table)


def test_the_command_asks_before_it_destroys_prod(
    emulator: str, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is not the stage's name leaves it alone; it says first what it is about to delete."""
    monkeypatch.chdir(checkout)
    environ = dict(deployment(checkout, emulator, []).environ)
    result = CliRunner().invoke(main, ["destroy", "--stage", "prod"], env=environ, input="yes\n")
    assert result.exit_code == 1
    assert "nothing was deleted" in result.output
    assert "payment-transactions-prod" in result.output
    result = CliRunner().invoke(main, ["destroy", "--stage", "prod"], env=environ, input="prod\n")
    assert result.exit_code == 0, result.output
    assert "nothing is left of prod" in result.output


class SlowLambda:
    """One that is slow to put a mapping into force, and tells what it was asked for."""

    def __init__(self, looks: int) -> None:
        self.looks, self.asked = looks, list[str]()

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def answer(**request: Any) -> Any:
            self.asked.append(operation)
            return {
                "get_event_source_mapping": self._mapping(),
                "get_function_configuration": {
                    "FunctionArn": "arn",
                    "Environment": {"Variables": {"A": "1"}},
                },
            }.get(operation)

        return answer

    def _mapping(self) -> dict[str, Any]:
        self.looks -= 1
        state = "Enabled" if self.looks < 0 else "Updating"
        return {"State": state, "FunctionResponseTypes": ["ReportBatchItemFailures"]}

    def get_waiter(self, name: str) -> "SlowLambda":
        return self

    def get_paginator(self, name: str) -> "SlowLambda":
        return self

    def paginate(self, FunctionName: str) -> list[dict[str, Any]]:
        return [{"EventSourceMappings": [{"UUID": "1"}]}]


def test_the_mapping_reports_before_the_consumer_returns(emulator: str, checkout: Path) -> None:
    """At each step: while it does not, nothing that is returned is read, and a failure would be lost."""
    life = deployment(checkout, emulator, [])

    for looks, is_set in ((3, True), (10_000, False)):
        slow = SlowLambda(looks)
        stage = life.stage
        told = replace(life, stage=cast("Stage", Reached(stage.names, slow)))
        if is_set:
            told._report_failures()
        else:
            with pytest.raises(Failed, match="does not report failures yet"):
                told._report_failures()
        assert ("update_function_configuration" in slow.asked) == is_set
    assert slow.asked.index("update_event_source_mapping") < slow.asked.index("get_event_source_mapping")


class Reached(NamedTuple):
    """A stage whose every client is that one."""

    names: Any
    made: Any

    def client(self, service: str) -> Any:
        return self.made


def test_plain_chalice_deploy_says_what_comes_first(emulator: str, checkout: Path) -> None:
    """Before the resources are there nothing is made, so that nothing is left that nobody sees."""
    life = deployment(checkout, emulator, [])
    check_nothing(life.stage)
    command = [str(Path(sys.executable).with_name("chalice")), "deploy", "--stage", "dev"]
    done = subprocess.run(
        command, cwd=checkout, env=dict(life.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: stage dev has no queue payment-events-dev.fifo yet, and nothing was made.")
    assert "`daybook deploy --stage dev`" in line
    assert "--stack-name daybook-resources-dev --parameter-overrides Stage=dev" in line
    check_nothing(life.stage)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["deploy"], "Missing option '--stage'"),
        (["deploy", "--stage", "local"], "no stage local to deploy; there are dev, prod"),
        (["deploy", "--stage", "dev", "--parameter", "x"], "x is not NAME=VALUE"),
        (["deploy", "--stage", "dev", "--parameter", "Stage=prod"], "the stage is named by --stage"),
        (["deploy", "--stage", "dev", "--parameter", "Alert=x"], "Alert is none of VisibilityTimeout, "),
        (
            ["deploy", "--stage", "dve", "--parameter", "x", "--parameter", "Stage=y"],
            "makes one); --parameter x is not NAME=VALUE; --parameter Stage: the stage is named by --stage",
        ),
    ],
)
def test_wrong_usage_says_what_to_do(
    emulator: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    """Before anything is changed."""
    monkeypatch.chdir(checkout)
    environ = dict(deployment(checkout, emulator, []).environ)
    result = CliRunner().invoke(main, arguments, env=environ)
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
