"""``daybook console``: a stage in a browser, on this machine only."""

import getpass
import os
import random
import sys
from collections.abc import Callable, Mapping
from functools import cache

import click
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.settings import STAGE_LOCAL
from chalicelib.telemetry import Telemetry
from ops import providers_api, sender, stories
from ops.commands import Failed, consumer, now, say, stage_option
from ops.console.sending import Sender
from ops.stage import CONSOLE_PORT, PORT, Stage, connect, port

WRONG = "whsec_broken_on_purpose"
CLOSED = ("prod",)  # stages that are read-only unless told otherwise
THREADS = 6


@click.command()
@click.option(
    "--port", "at", type=click.IntRange(1, 65535), help="Of 127.0.0.1. [default: $CONSOLE_PORT or 8001]"
)
@click.option("--allow-writes", is_flag=True, help="Also for a stage called prod: replay and redrive.")
@stage_option
def console(at: int | None, allow_writes: bool, stage: str) -> None:
    """Show a stage in a browser, at http://127.0.0.1:8001: nothing is deployed, nothing exposed.

    It reads with your own AWS credentials; the address that it prints lets one browser in. What it writes
    (replay, redrive) is asked first and logged here with your name; a stage called prod is read-only unless
    --allow-writes.
    """
    from waitress import create_server

    from ops.console.app import create_app
    from ops.console.session import Console

    reached = connect(stage, os.environ)
    number = at or port(os.environ, "CONSOLE_PORT", CONSOLE_PORT)
    telemetry = Telemetry(stage, now, lambda line: say(line, err=True), metrics=False)
    made = Console(
        stage=reached,
        consumer=consumer(reached),
        telemetry=telemetry,
        clock=now,
        who=_who(reached),
        port=number,
        may_write=allow_writes or stage not in CLOSED,
        sender=_sender(os.environ) if stage == STAGE_LOCAL else None,
        apis=cache(lambda: providers_api.stage_apis(reached, os.environ)),
        say=None if stage == STAGE_LOCAL else say,
    )
    try:
        server = create_server(create_app(made), host="127.0.0.1", port=number, threads=THREADS, ident=None)
    except OSError:
        raise Failed(f"port {number} is in use; set CONSOLE_PORT to another one, or --port") from None
    say(f"console of stage {stage}: {made.address}   (Ctrl-C stops it)")
    sys.stdout.flush()
    server.run()


def _who(stage: Stage) -> Callable[[], str]:
    """This person, by the machine's account and AWS's name for the credentials."""

    @cache
    def who() -> str:
        try:
            arn = str(stage.client("sts").get_caller_identity()["Arn"])
        except (BotoCoreError, ClientError):
            arn = "unknown"
        return f"{getpass.getuser()} as {arn}"

    return who


def _sender(environ: Mapping[str, str]) -> Sender:
    rng = random.Random()  # noqa: S311 - ids for tests, no secrets

    def signer(provider: str, broken: bool) -> sender.Signer:
        return stories.MADE[provider].signer(WRONG if broken else None, environ, rng)

    return Sender(f"http://127.0.0.1:{port(environ, 'PORT', PORT)}", signer, now, rng)
