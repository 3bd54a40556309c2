"""The commands of ``daybook``, by what a person does; and what they share."""

import os
import time

import click
from rich.console import Console

from chalicelib.bus import handlers_of
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.recording import Consumer
from chalicelib.telemetry import Telemetry
from ops.stage import Stage

FAILED = 1
FOUND = 3

stage_option = click.option("--stage", default="local", show_default=True, help="Which Daybook.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Failed(click.ClickException):
    """Ends the command with one line on what went wrong and what to do next."""

    exit_code = FAILED


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def wide() -> Console:
    """Wide enough for the longest ids: a terminal wraps a line, but nothing is cut off.

    What comes from outside is text: no markup or emoji code in an id means anything.
    """
    return Console(width=250, highlight=False, markup=False, emoji=False)


def beside() -> Console:
    """For progress: beside what a script reads."""
    return Console(stderr=True)


def handlers(stage: Stage) -> Handlers:
    """The user's handlers and the stage's event bus, as its consumer runs them."""
    return handlers_of(stage.settings(os.environ), stage.aws)


def consumer(stage: Stage) -> Consumer:
    """The consumer on a person's machine; its log goes to the terminal."""
    telemetry = Telemetry(stage.name, now, lambda line: click.echo(line, err=True), metrics=False)
    return Consumer(
        providers=PROVIDERS,
        ledger=stage.ledger(),
        inbox=stage.inbox(),
        telemetry=telemetry,
        handlers=handlers(stage),
        clock=now,
    )
