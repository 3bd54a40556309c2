"""``daybook deploy``, ``destroy``, ``package``."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from chalicelib.providers import PROVIDERS
from ops import package as packages
from ops import stages
from ops.commands import Failed, say
from ops.deploy import Deployment
from ops.stage import connect

T = TypeVar("T")

deployed_stage = click.option("--stage", required=True, help="One of .chalice/config.json's.")


@click.command()
@deployed_stage
@click.option("--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Of infra/resources.yaml.")
def deploy(stage: str, given: tuple[str, ...]) -> None:
    """Create or update a stage: its resources, then its functions and routes; can be run again."""
    deployment = _deployment(stage)
    parameters = dict(_parameter(each) for each in given)
    url = _stepwise(lambda: deployment.deploy(parameters))
    say(f"deployed: {url}")
    for provider in PROVIDERS:
        say(f"  {provider}'s webhook address   {url}webhooks/{provider}")
    say(f"  its secrets go into {deployment.stage.names.secret} in Secrets Manager: see docs/deploy.md")


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text} is not NAME=VALUE", param_hint="--parameter")
    if name == "Stage":
        raise click.BadParameter("the stage is named by --stage", param_hint="--parameter")
    return name, value


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


def _deployment(stage: str) -> Deployment:
    """The stage to deploy or destroy, after saying where that is."""
    project = _project(stage)
    reached = connect(stage, os.environ)
    if reached.session.region_name is None:
        raise click.UsageError("no region: set AWS_DEFAULT_REGION, or one in your AWS profile")
    account = reached.client("sts").get_caller_identity()["Account"]
    say(f"stage {stage}, account {account}, region {reached.session.region_name}")
    return Deployment(project, reached, os.environ, say)
