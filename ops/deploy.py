"""Deploying and destroying a stage: its resources by CloudFormation, its functions by Chalice.

Each step looks at what is there and makes of it what should be, so that it can be run again after a failure
at any point.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from chalice.package import YAMLTemplateSerializer

from chalicelib import beginning
from chalicelib import names as naming
from ops import deployed, stages
from ops.package import Failed, Say, build, chalice
from ops.stage import Stage

PAUSE = 2.0  # seconds between two looks at a stack that is being changed
# QueueDeletedRecently: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
NAME_HELD, HELD = "60 seconds after deleting a queue", 65.0  # what it says; seconds
GONE = "GONE"
REPORTED, PARTIAL_BATCHES = "ReportBatchItemFailures", "DAYBOOK_PARTIAL_BATCHES"
SETTLED = ("Enabled", "Disabled")  # of a mapping
PATIENCE = 60  # looks at a mapping that is being changed


@dataclass(frozen=True, slots=True)
class Deployment:
    """One stage of the project in ``project``. ``pause`` waits some seconds."""

    project: Path
    stage: Stage
    environ: Mapping[str, str]
    say: Say
    pause: Callable[[float], object] = time.sleep

    @property
    def app(self) -> str:
        return str(self._config["app_name"])

    @property
    def functions(self) -> list[str]:
        return list(self._config["stages"][self.stage.name]["lambda_functions"])

    @property
    def _config(self) -> dict[str, Any]:
        return stages.config(self.project)

    @property
    def stack(self) -> "Stack":
        client = self.stage.client("cloudformation")
        return Stack(client, self.stage.names.stack, self.say, self.pause)

    def deploy(self, parameters: Mapping[str, str]) -> str:
        """Everything, in order; the stage's address. Raises ``Failed``."""
        self.say(f"1/3 resources: stack {self.stack.name}")
        self._restore_secret()
        template = (self.project / "infra" / "resources.yaml").read_text()
        tags = {"application": self.app, "stage": self.stage.name}
        self.stack.apply(template, {"Stage": self.stage.name, **parameters}, tags)
        self.say("2/3 package")
        with tempfile.TemporaryDirectory(prefix="daybook-") as folder:
            build(self.project, self.stage.name, Path(folder), self.environ)
        self.say("3/3 functions and routes: chalice deploy")
        self._await_deleted()
        for former in self._adopt(drop_unused=True).former:
            self.say(f"  {former} is not in .chalice/config.json: it is deleted unless app.py has it")
        chalice(self.project, self.environ, "deploy", "--stage", self.stage.name)
        self._report_failures()
        beginning.began(self.stage.ledger(), time.time_ns() // 1_000_000)  # from now on it listens
        made = self._deployed()
        return next(str(each["rest_api_url"]) for each in made.resources if "rest_api_url" in each)

    @property
    def _own_secret(self) -> str:
        """The stack's, whatever ``DAYBOOK_SECRET`` names: that may be somebody else's."""
        return naming.names(self.stage.name, {}).secret

    def _restore_secret(self) -> None:
        """One that was deleted by hand cannot be read, and keeps its name for days. Raises ``Failed``."""
        name = self._own_secret
        until = deployed.secret_deleted_on(self.stage, name)
        if until is None:
            return
        if not self.stack.is_there:
            force = f"aws secretsmanager delete-secret --secret-id {name} --force-delete-without-recovery"
            raise Failed(f"a deleted secret holds the name {name} until {until}. To let go of it: {force}")
        self.stage.client("secretsmanager").restore_secret(SecretId=name)
        self.say(f"  restored {name}, which was to be deleted on {until}")

    def _report_failures(self) -> None:
        """Have the queue's mapping take what failed of a batch, and then the consumer return it.

        In this order: what is returned to a mapping that does not report failures is lost. Chalice cannot
        set the mapping, and its deploy takes the variable away first. Raises ``Failed``.
        """
        client = self.stage.client("lambda")
        name = self.stage.names.function("process")
        function = client.get_function_configuration(FunctionName=name)
        mappings = deployed.mappings(client, function["FunctionArn"])
        if not mappings:
            raise Failed(f"nothing feeds {name} yet: run the same command again")
        for mapping in mappings:
            client.update_event_source_mapping(UUID=mapping["UUID"], FunctionResponseTypes=[REPORTED])
            self._await_reports(mapping["UUID"])
        variables = function["Environment"]["Variables"]
        environment = {"Variables": {**variables, PARTIAL_BATCHES: "true"}}
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        client.update_function_configuration(FunctionName=name, Environment=environment)

    def _await_reports(self, mapping: str) -> None:
        client = self.stage.client("lambda")
        for _ in range(PATIENCE):
            found = client.get_event_source_mapping(UUID=mapping)
            if REPORTED in found.get("FunctionResponseTypes", ()) and found["State"] in SETTLED:
                return
            self.pause(PAUSE)
        raise Failed("the queue's mapping does not report failures yet: run the same command again")

    def _await_deleted(self) -> None:
        """A mapping that is still being deleted is in the way of its successor. Raises ``Failed``."""
        is_said = False
        for _ in range(PATIENCE):
            if not deployed.is_unfeeding(self.stage, self.app, self.functions):
                return
            if not is_said:
                self.say("  a mapping of a queue is still being deleted …")
            is_said = True
            self.pause(PAUSE)
        raise Failed("a mapping of a queue is still being deleted: run the same command again")

    def destroy(self) -> None:
        """Nothing is left of the stage. Raises ``Failed``."""
        if self._is_protected:  # before anything is gone: its address would be lost for good
            raise Failed("the ledger is protected: deploy with --parameter DeletionProtection=false first")
        self.say("1/2 functions and routes: chalice delete")
        record = self._adopt(drop_unused=False)
        if record.shared_paths:
            self._leave_domain(record)
        for api in record.surplus_apis:
            self.stage.client("apigateway").delete_rest_api(restApiId=api)
        if record.resources:
            chalice(self.project, self.environ, "delete", "--stage", self.stage.name)
        deployed.path(self.project, self.stage.name).unlink(missing_ok=True)
        self.say(f"2/2 resources: stack {self.stack.name}")
        self.stack.delete()
        self._delete_logs((*self.functions, *record.former))
        # gone at once: one that only waits for its deletion would keep its name from the next stack
        secrets = self.stage.client("secretsmanager")
        secrets.delete_secret(SecretId=self._own_secret, ForceDeleteWithoutRecovery=True)
        if self.stage.names.secret != self._own_secret:
            self.say(f"the secret {self.stage.names.secret} is not the stack's, and is left")

    def _delete_logs(self, functions: Iterable[str]) -> None:
        """Those that Lambda made by itself, for functions that the stack does not know."""
        delete = self.stage.client("logs").delete_log_group
        for function in functions:
            group = self.stage.names.log_group(function)
            deployed.if_there(delete, "ResourceNotFoundException", logGroupName=group)

    def _leave_domain(self, record: deployed.Record) -> None:
        """Take the stage out of a domain that serves others, and the domain out of Chalice's record."""
        self.say(f"{self._domain} serves other APIs too and is left; this stage's part of it goes")
        for base in record.shared_paths:
            self.stage.client("apigateway").delete_base_path_mapping(domainName=self._domain, basePath=base)
        record.without_domain().write(deployed.path(self.project, self.stage.name))

    @property
    def _is_protected(self) -> bool:
        describe = self.stage.client("dynamodb").describe_table
        found = deployed.if_there(describe, "ResourceNotFoundException", TableName=self.stage.names.table)
        return bool(found and found["Table"].get("DeletionProtectionEnabled"))

    @property
    def _known_api(self) -> str | None:
        return deployed.recorded_api(self.project, self.stage.name)

    @property
    def _domain(self) -> str | None:
        """The stage's own domain name, where one is configured."""
        config = self._config
        own = config["stages"][self.stage.name].get(deployed.DOMAIN) or config.get(deployed.DOMAIN) or {}
        name: str | None = own.get("domain_name")
        return name

    def _deployed(self) -> deployed.Record:
        return deployed.read(self.stage, self.app, self.functions, self._known_api, self._domain)

    def _adopt(self, drop_unused: bool) -> deployed.Record:
        """Make Chalice's record what is there. An API that a failed deploy left behind serves nobody."""
        record = self._deployed()
        client = self.stage.client("apigateway")
        for api in record.surplus_apis if drop_unused else ():
            if client.get_stages(restApiId=api)["item"]:
                self.say(f"API {api} serves this stage too and is left alone; delete it if nobody calls it")
            else:
                client.delete_rest_api(restApiId=api)
        record.write(deployed.path(self.project, self.stage.name))
        return record


# by an attempt that failed; by a change set that somebody made and nobody carried out
NEVER_CREATED = "ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"


@dataclass(frozen=True, slots=True)
class Stack:
    """A CloudFormation stack by its name."""

    client: Any
    name: str
    say: Say
    pause: Callable[[float], object]

    def apply(self, template: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Make it what the template says, and wait for that. Raises ``Failed``."""
        try:
            self._apply(template, parameters, tags)
        except Failed as error:
            if NAME_HELD not in str(error):
                raise
            self.say(f"  SQS holds the name of a deleted queue for a minute: once more in {HELD:.0f} s")
            self.pause(HELD)
            self._apply(template, parameters, tags)

    def _apply(self, template: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        state = self._settled()
        if state in NEVER_CREATED:  # it can only be deleted
            self.delete()
            state = GONE
        request: Any = {
            "StackName": self.name,
            "TemplateBody": template,
            "Parameters": [
                *({"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()),
                *({"ParameterKey": k, "UsePreviousValue": True} for k in self._kept(template, parameters)),
            ],
            "Tags": [{"Key": k, "Value": v} for k, v in tags.items()],
            "Capabilities": ["CAPABILITY_IAM"],  # a chat's role
        }
        try:
            if state == GONE:
                self.client.create_stack(**request)
            else:
                self.client.update_stack(**request)
        except ClientError as error:
            if "No updates are to be performed" in str(error):
                self.say("  nothing to change")
                return
            raise
        self._expect(self._settled(), "CREATE_COMPLETE", "UPDATE_COMPLETE")

    def _kept(self, template: str, given: Mapping[str, str]) -> Iterator[str]:
        """The parameters that stay as they are: unnamed, they would fall back to their defaults."""
        declared = YAMLTemplateSerializer().load_template(template).get("Parameters", {})
        for stack in self._described():
            for parameter in stack.get("Parameters", ()):
                if parameter["ParameterKey"] in set(declared) - set(given):
                    yield parameter["ParameterKey"]

    def delete(self) -> None:
        """Delete it, and wait until it is gone. Raises ``Failed``."""
        if self._settled() == GONE:
            return
        self.client.delete_stack(StackName=self.name)
        self._expect(self._settled(), GONE, "DELETE_COMPLETE")

    @property
    def is_there(self) -> bool:
        return self._state() not in (GONE, *NEVER_CREATED)

    def _expect(self, state: str, *right: str) -> None:
        if state in right:
            self.say(f"  {state.lower().replace('_', ' ')}")
            return
        reasons = "; ".join(self._failures()) or "the console's stack events say why"
        raise Failed(f"stack {self.name} is {state}: {reasons}")

    def _failures(self) -> Iterator[str]:
        for event in self.client.describe_stack_events(StackName=self.name)["StackEvents"]:
            if "FAILED" in event["ResourceStatus"] and "ResourceStatusReason" in event:
                yield f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"

    def _settled(self) -> str:
        """The stack's state, once nothing is in progress."""
        before = ""
        while (state := self._state()).endswith("_IN_PROGRESS") and state not in NEVER_CREATED:
            if state != before:
                self.say(f"  {state.lower().replace('_', ' ')} …")
            before = state
            self.pause(PAUSE)
        return state

    def _state(self) -> str:
        return next((str(stack["StackStatus"]) for stack in self._described()), GONE)

    def _described(self) -> list[dict[str, Any]]:
        """The stack, or nothing where there is none."""
        try:
            found: list[dict[str, Any]] = self.client.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return []
            raise
        return found
