"""``daybook tail``, ``doctor``, ``completion``: how a stage is doing."""

import json
import os
import sys
import time
from dataclasses import asdict
from itertools import islice
from typing import Any

import click
from click.shell_completion import get_completion_class
from rich.table import Table
from rich.text import Text

from chalicelib import standard_webhooks
from chalicelib.times import to_iso
from ops.commands import FOUND, instant, json_option, now, say, stage_option, wide
from ops.doctor import OK, Doctor, Finding
from ops.forwarding import Forwarding, is_here
from ops.stage import connect
from ops.tail import HANDLED, RECORDED, milestones
from ops.tail import tail as tailed

COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}


@click.command()
@click.option("--count", type=click.IntRange(1), help="Stop after so many. [default: until Ctrl-C]")
@click.option("--since", help="ISO 8601 date or time from which on. [default: now]")
@click.option("--forward", metavar="URL", help="Also send each to a program on this machine, signed.")
@click.option("--secret", help="Signing secret for that: Stripe's, or a target's. [default: stage local's]")
@click.option(
    "--notified", is_flag=True, help="Milestones as handlers are notified of them, instead of events."
)
@stage_option
@json_option
def tail(
    count: int | None,
    since: str | None,
    forward: str | None,
    secret: str | None,
    notified: bool,
    stage: str,
    as_json: bool,
) -> None:
    """Print events as they are recorded, until Ctrl-C.

    With --forward each is also posted to a program on this machine, as its provider sent it, signed with a
    local secret: what a deployed stage records, on a laptop. The stage is only read.

    With --notified it is what handlers were notified of, each milestone once, posted as a target is sent it
    (docs/targets.md).

    \b
    daybook tail --stage dev --forward http://localhost:3000/hook --since 2026-11-27
    daybook tail --stage dev --forward http://localhost:3000/hook --notified
    """
    reached, began = connect(stage, os.environ), instant(since) if since else None
    if forward and not is_here(forward):
        raise click.BadParameter(
            "needs an address of this machine, such as http://127.0.0.1:3000/hook", param_hint="--forward"
        )
    if notified and secret:
        _check_secret(secret)
    terms = reached.settings(os.environ).terms
    to = Forwarding(reached.ledger(), forward, secret, os.environ, now, terms) if forward else None
    send = (to.send_milestone if notified else to.send) if to else None
    message = HANDLED if notified else RECORDED
    lines = tailed(reached, now, time.sleep, began, message)
    try:
        for line in islice(milestones(lines) if notified else lines, count):
            _print_line(line, send(line) if send else None, as_json)
    except KeyboardInterrupt:
        return


def _check_secret(secret: str) -> None:
    try:
        standard_webhooks.key(secret)
    except ValueError as error:
        raise click.BadParameter(f"is {error}", param_hint="--secret") from None


def _print_line(line: dict[str, Any], answer: str | None, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**line, **({"answer": answer} if answer else {})}))
        return
    lag = f"  after {line['queued_ms']} ms" if "queued_ms" in line else ""
    said = f"  → {answer}" if answer else ""
    say(f"{to_iso(line['at'])}  {line['subject']}  {line['type']}{lag}{said}")


@click.command()
@stage_option
@json_option
def doctor(stage: str, as_json: bool) -> None:
    """Check a stage, and say what to do where it is not well. Exits with 3 then."""
    reached = connect(stage, os.environ)
    credentials = reached.credentials(os.environ, now)
    findings = list(Doctor(reached, credentials.current, now, os.environ).examine())
    if as_json:
        click.echo(json.dumps([asdict(each) for each in findings], indent=2))
    else:
        _print(findings)
    if any(each.level != OK for each in findings):
        sys.exit(FOUND)


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for each in findings:
        table.add_row(Text(each.level, COLOURS[each.level]), each.check, each.found)
        if each.remedy:
            table.add_row("", "", f"→ {each.remedy}")
    wide().print(table)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete this command.

    \b
    eval "$(daybook completion bash)"        in ~/.bashrc; the same for zsh
    daybook completion fish > ~/.config/fish/completions/daybook.fish
    """
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has all three
    root = click.get_current_context().find_root().command
    click.echo(made(root, {}, "daybook", "_DAYBOOK_COMPLETE").source())
