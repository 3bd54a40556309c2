"""``daybook deploy``, ``destroy``, ``package``."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from chalice.package import YAMLTemplateSerializer

from chalicelib.providers import PROVIDERS
from ops import package as packages
from ops import stages
from ops.commands import FOUND, Failed, json_option, say
from ops.deploy import Deployment
from ops.stage import connect
from ops.upgrade import Change, Upgrade

T = TypeVar("T")

deployed_stage = click.option("--stage", required=True, help="One of .chalice/config.json's.")


@click.command()
@deployed_stage
@click.option("--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Of infra/resources.yaml.")
def deploy(stage: str, given: tuple[str, ...]) -> None:
    """Create or update a stage: its resources, then its functions and routes; can be run again."""
    wrong = list(_wrong(stage, given))
    if wrong:
        raise click.UsageError("; ".join(wrong))
    deployment = _deployment(stage)
    parameters = {name: value for name, _, value in (each.partition("=") for each in given)}
    url = _stepwise(lambda: deployment.deploy(parameters))
    say(f"deployed: {url}")
    for provider in PROVIDERS:
        say(f"  {provider}'s webhook address   {url}webhooks/{provider}")
    say(f"  its secrets go into {deployment.stage.names.secret} in Secrets Manager: see docs/deploy.md")


def _wrong(stage: str, given: Iterable[str]) -> Iterator[str]:
    """All that is wrong with the arguments, so that nobody learns of it one by one."""
    try:
        project = _project(stage)
    except click.UsageError as error:
        yield error.message
        project = Path.cwd()
    try:
        template = (project / "infra" / "resources.yaml").read_text()
    except OSError:
        return  # which is said already
    declared = YAMLTemplateSerializer().load_template(template)["Parameters"]
    known = [name for name in declared if name != "Stage"]
    for text in given:
        name, equals, _ = text.partition("=")
        if not equals or not name:
            yield f"--parameter {text} is not NAME=VALUE"
        elif name == "Stage":
            yield "--parameter Stage: the stage is named by --stage"
        elif name not in known:
            yield f"--parameter {name} is none of {', '.join(known)}"


@click.command()
@deployed_stage
@click.option("--yes", is_flag=True, help="Do not ask, not even for a stage called prod.")
def destroy(stage: str, yes: bool) -> None:
    """Delete a stage with all that it recorded; can be run again."""
    deployment = _deployment(stage)
    table = deployment.stage.names.table
    say(f"this deletes the ledger {table}, its queues, functions, routes and logs")
    if stage == "prod" and not yes and click.prompt("type prod to delete it") != "prod":
        raise Failed("nothing was deleted")
    _stepwise(deployment.destroy)
    say(f"destroyed: nothing is left of {stage}; AWS keeps a backup of its ledger for 35 days")


@click.command()
@deployed_stage
@click.option("--out", type=click.Path(path_type=Path), help="A folder. [default: build/package-STAGE]")
def package(stage: str, out: Path | None) -> None:
    """Make one template and one zip of a stage, to be deployed by CloudFormation."""
    project = _project(stage)
    folder = out or project / "build" / f"package-{stage}"
    _stepwise(lambda: packages.package(project, stage, folder, os.environ, say))


@click.group()
def stage() -> None:
    """The stages of .chalice/config.json."""


@stage.command()
@click.argument("name")
@click.option("--like", default="dev", show_default=True, help="The stage whose configuration it takes.")
def add(name: str, like: str) -> None:
    """Write a stage's configuration and policies, like another's; then look at them and deploy."""
    project = _project(like)
    for path in _stepwise(lambda: stages.add(project, name, like)):
        say(f"wrote {path.relative_to(project)}")
    say(f"look at what `git status` and `git diff` show, then: daybook deploy --stage {name}")


@stage.command()
@click.argument("name")
@click.option("--like", default="dev", show_default=True, help="The stage that it is to be like.")
def update(name: str, like: str) -> None:
    """Give a stage the functions and policies of another; its own statements and settings stay."""
    project = _project(name)
    _project(like)
    written = _stepwise(lambda: stages.update(project, name, like))
    for path in written:
        say(f"wrote {path.relative_to(project)}")
    if not written:
        say(f"{name} is as {like} is")


@click.command()
@deployed_stage
@click.option("--check", is_flag=True, help="Show what would change, and change nothing.")
@json_option
def upgrade(stage: str, check: bool, as_json: bool) -> None:
    """Show what this version changes of a deployed stage; without --check ask, and deploy it.

    Resources, policies and configuration beside what is there, and what docs/upgrading.md wants done by hand.
    Exits with 3 where --check finds a change.
    """
    deployment = _deployment(stage, err=as_json)
    upgrade = Upgrade(deployment.project, deployment.stage)
    found = _stepwise(lambda: list(upgrade.changes()))
    if as_json:
        click.echo(json.dumps(_as_json(upgrade, found), indent=2))
    else:
        _print_upgrade(upgrade, found)
    if check:
        sys.exit(FOUND if found else 0)
    click.confirm("deploy it?", abort=True, err=True)
    say(f"deployed: {_stepwise(lambda: deployment.deploy({}))}")


def _as_json(upgrade: Upgrade, found: list[Change]) -> dict[str, Any]:
    return {
        "deployed": upgrade.deployed,
        "here": upgrade.here,
        "changes": [each._asdict() for each in found],
        "lacking": upgrade.lacking(),
        "steps": dict(upgrade.steps()),
    }


def _print_upgrade(upgrade: Upgrade, found: list[Change]) -> None:
    say(f"deployed: {upgrade.deployed}; here: {upgrade.here}")
    for of in ("resources", "policies", "configuration"):
        lines = [each.line for each in found if each.of == of]
        say(f"{of}:" if lines else f"{of}: nothing changes")
        for line in lines:
            say(f"  {line}")
    lacking = upgrade.lacking()
    if lacking:
        say(f"this stage is not as others are (daybook stage update {upgrade.stage.name}):")
        for line in lacking:
            say(f"  {line}")
    for version, steps in upgrade.steps():
        say(f"{version} wants, by docs/upgrading.md:")
        for line in steps.splitlines():
            say(f"  {line}" if line else "")


def _stepwise(act: Callable[[], T]) -> T:
    try:
        return act()
    except packages.Failed as error:
        raise Failed(str(error)) from None


def _project(stage: str) -> Path:
    """The project in this folder. Raises ``click.UsageError`` if it has no such stage to deploy."""
    project = Path.cwd()
    try:
        known = stages.deployable(project)
    except OSError:
        raise click.UsageError("run this in Daybook's own folder, where .chalice is") from None
    if stage not in known:
        there = ", ".join(known)
        raise click.UsageError(f"no stage {stage} to deploy; there are {there} (daybook stage add makes one)")
    return project


def _deployment(stage: str, err: bool = False) -> Deployment:
    """The stage to deploy or destroy, after saying where that is."""
    project = _project(stage)
    reached = connect(stage, os.environ)
    if reached.session.region_name is None:
        raise click.UsageError("no region: set AWS_DEFAULT_REGION, or one in your AWS profile")
    account = reached.client("sts").get_caller_identity()["Account"]
    say(f"stage {stage}, account {account}, region {reached.session.region_name}", err=err)
    return Deployment(project, reached, os.environ, say)
