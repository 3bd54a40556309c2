"""The commands of ``daybook``, by what a person does; and what they share."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from chalicelib import beginning
from chalicelib.bus import handlers_of
from chalicelib.explaining import Explanation
from chalicelib.noting import Noting
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.recording import Consumer
from chalicelib.settings import STAGE_LOCAL
from chalicelib.telemetry import Telemetry
from chalicelib.times import from_iso
from ops.stage import Stage, local_aws

FAILED = 1
FOUND = 3

stage_option = click.option("--stage", default="local", show_default=True, help="Which Daybook.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def plain(text: str) -> str:
    """One line of text that no terminal takes for anything else.

    What is no character to look at is escaped: controls, line ends, marks that turn the direction of reading.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def say(line: str = "", err: bool = False) -> None:
    """One line. What comes from outside is text in it."""
    click.echo(plain(line), err=err)


class Failed(click.ClickException):
    """Ends the command with one line on what went wrong and what to do next."""

    exit_code = FAILED

    def format_message(self) -> str:
        return plain(self.message)


class PlainConsole(Console):
    """Whatever is printed is text: in it no markup, no emoji code and no escape sequence means anything."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain(text), **options)


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def instant(text: str, option: str = "--since") -> int:
    """Milliseconds of what was given with that option. Raises ``click.BadParameter``."""
    try:
        return from_iso(text)
    except (ValueError, OverflowError):
        raise click.BadParameter("is not an ISO 8601 date or time", param_hint=option) from None


def wide() -> Console:
    """Wide enough for the longest ids: a terminal wraps a line, but nothing is cut off."""
    return PlainConsole(width=250, highlight=False, markup=False, emoji=False)


def beside() -> Console:
    """For progress: beside what a script reads."""
    return PlainConsole(stderr=True)


def handlers(stage: Stage) -> Handlers:
    """The user's handlers and the stage's event bus, as its consumer runs them."""
    with _configured(stage):
        known = handlers_of(stage.settings(os.environ), stage.aws, lambda: _noting(stage))
    return Handlers(replace(each, function=_as_there(stage, each.function)) for each in known)


def _noting(stage: Stage) -> Noting:
    """What is for a target is noted, and sent by the stage itself."""
    return Noting(ledger=stage.ledger(), wakeups=stage.wakeups(), clock=now)


def _as_there(stage: Stage, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> None:
        with _configured(stage):
            function(*arguments)

    return call


@contextmanager
def _configured(stage: Stage) -> Iterator[None]:
    """Inside, the environment has the stage's settings where it has none; stage local's AWS is local."""
    configured = stage.config.get("environment_variables", {})
    wanted = {name: value for name, value in configured.items() if name not in os.environ}
    wanted |= local_aws(os.environ) if stage.name == STAGE_LOCAL else {}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _say_lines(text: str) -> None:
    for line in text.splitlines():
        say(line, err=True)


def consumer(stage: Stage) -> Consumer:
    """The consumer on a person's machine; its log goes to the terminal."""
    telemetry = Telemetry(stage.name, now, lambda line: say(line, err=True), metrics=False)
    ledger = stage.ledger()
    return Consumer(
        providers=PROVIDERS,
        ledger=ledger,
        inbox=stage.inbox(),
        telemetry=telemetry,
        handlers=handlers(stage),
        clock=now,
        labels=stage.settings(os.environ).labels,
        terms=stage.settings(os.environ).terms,
        began=cache(lambda: beginning.began(ledger, now())),
        explain=Explanation(messages=stage.name == STAGE_LOCAL, show=_say_lines),
    )
