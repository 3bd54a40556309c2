"""What deploying this version would change of a stage that is there, and what is left to do by hand."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from chalice.package import YAMLTemplateSerializer

from ops import deployed, stages
from ops.deploy import PARTIAL_BATCHES
from ops.package import Failed
from ops.stage import Stage

BEFORE = "before 0.3.0"  # a version that did not say which it is
VERSION = re.compile(r"\d+\.\d+\.\d+")
LONGEST = 100  # characters of a value that are shown
STEPS = "docs/upgrading.md"


class Change(NamedTuple):
    """``of``: resources, policies or configuration; ``name``: of what; ``None`` is what is not there."""

    of: str
    name: str
    before: Any
    after: Any

    @property
    def line(self) -> str:
        if self.before is None:
            return f"+ {self.name}: {_short(self.after)}"
        if self.after is None:
            return f"- {self.name}: {_short(self.before)}"
        return f"~ {self.name}: {_short(self.before)} becomes {_short(self.after)}"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Of one stage of the project in ``project``, as ``daybook deploy`` has made it."""

    project: Path
    stage: Stage

    def changes(self) -> Iterator[Change]:
        """Raises ``Failed`` where the stage is not deployed."""
        yield from self._resources()
        yield from self._policies()
        yield from self._configuration()

    @property
    def deployed(self) -> str:
        """The version that the stage's resources were made by, as far as they say. Raises ``Failed``."""
        outputs = {each["OutputKey"]: each["OutputValue"] for each in self._stack.get("Outputs", ())}
        return str(outputs.get("Version", BEFORE))

    @property
    def here(self) -> str:
        return str(tomllib.loads((self.project / "pyproject.toml").read_text())["project"]["version"])

    def steps(self) -> Iterator[tuple[str, str]]:
        """Each version after the deployed one, with what it wants done, as ``docs/upgrading.md`` has it."""
        deployed_version = self.deployed
        since = _ordered(deployed_version) if VERSION.fullmatch(deployed_version) else (0, 0, 0)
        for section in (self.project / STEPS).read_text().split("\n## ")[1:]:
            title, _, text = section.partition("\n")
            if VERSION.fullmatch(title) and since < _ordered(title):
                yield title, text.strip()

    def lacking(self) -> list[str]:
        """What another stage of the project has of Daybook's own, and this one has not."""
        return stages.lacking(self.project, self.stage.name)

    @property
    def _stack(self) -> dict[str, Any]:
        client, name = self.stage.client("cloudformation"), self.stage.names.stack
        found = deployed.if_there(client.describe_stacks, "ValidationError", StackName=name)
        if not found:
            raise Failed(
                f"there is no stack {name}: stage {self.stage.name} is not deployed (`daybook deploy --stage"
                f" {self.stage.name}`), or not by `daybook deploy`: what CloudFormation"
                " would change of a packaged stage says `aws cloudformation deploy --no-execute-changeset`"
            )
        stack: dict[str, Any] = found["Stacks"][0]
        return stack

    def _resources(self) -> Iterator[Change]:
        body = self.stage.client("cloudformation").get_template(StackName=self._stack["StackName"])
        before = body["TemplateBody"]
        text = before if isinstance(before, str) else json.dumps(before)
        after = (self.project / "infra" / "resources.yaml").read_text()
        load = YAMLTemplateSerializer().load_template
        was, is_ = (_leaves(load(each).get("Resources", {})) for each in (text, after))
        yield from _differences("resources", was, is_)

    def _policies(self) -> Iterator[Change]:
        client, chalice = self.stage.client("iam"), self.project / ".chalice"
        for function, own in self._functions.items():
            role = f"{self._config['app_name']}-{self.stage.name}-{function}"
            found = deployed.if_there(client.list_role_policies, "NoSuchEntity", RoleName=role)
            was: dict[str, Any] = {}
            for name in (found or {}).get("PolicyNames", ()):
                document = client.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                was |= _statements(function, document)
            policy = json.loads((chalice / own["iam_policy_file"]).read_text())
            yield from _differences("policies", was, _statements(function, policy))

    def _configuration(self) -> Iterator[Change]:
        client = self.stage.client("lambda")
        for function, own in self._functions.items():
            name = self.stage.names.function(function)
            get = client.get_function_configuration
            found = deployed.if_there(get, "ResourceNotFoundException", FunctionName=name)
            if not found:
                yield Change("configuration", function, None, "a function")
                continue
            variables = {**found.get("Environment", {}).get("Variables", {})}
            variables.pop(PARTIAL_BATCHES, None)  # set after Chalice's deploy
            was = {"memory": found["MemorySize"], "timeout": found["Timeout"], **variables}
            sizes = {"memory": own.get("lambda_memory_size", 128), "timeout": own.get("lambda_timeout", 60)}
            is_ = {**sizes, **self._variables(own)}
            named = ({f"{function} {key}": value for key, value in each.items()} for each in (was, is_))
            yield from _differences("configuration", *named)

    def _variables(self, function: Mapping[str, Any]) -> dict[str, str]:
        """https://aws.github.io/chalice/topics/configfile.html: the nearest counts."""
        layers = (self._config, self._config["stages"][self.stage.name], function)
        found: dict[str, str] = {}
        for layer in layers:
            found |= layer.get("environment_variables", {})
        return found

    @property
    def _config(self) -> dict[str, Any]:
        return stages.config(self.project)

    @property
    def _functions(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self._config["stages"][self.stage.name]["lambda_functions"]
        return found


def _differences(of: str, was: Mapping[str, Any], is_: Mapping[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys((*was, *is_)):
        if was.get(name) != is_.get(name):
            yield Change(of, name, was.get(name), is_.get(name))


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """What is in nested objects, by the way there; a list is one thing."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    found: dict[str, Any] = {}
    for name, each in value.items():
        found |= _leaves(each, f"{path}.{name}" if path else str(name))
    return found


def _statements(function: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    """By their Sids, or their places."""
    listed: Iterable[Any] = policy["Statement"]
    named = ((each.get("Sid", str(number)), each) for number, each in enumerate(listed))
    return {f"{function} {sid}": each for sid, each in named}


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
