"""The ``daybook`` command."""

import sys
from importlib import metadata
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import AwsError, InvalidParameter, InvalidSetting, Refused, VersionMoved
from ops.commands import (
    Failed,
    accounting,
    comparing,
    console,
    deploying,
    fetching,
    looking,
    repairing,
    sending,
    subscribing,
    watching,
)

# What a person wants to do: its commands, with what `--help` says of each in a line.
SECTIONS: dict[str, dict[click.Command, str]] = {
    "Look": {
        looking.list_: "the latest payments",
        looking.show: "one payment with its events, by any of its ids",
        looking.parked: "what is set aside, and why",
        watching.tail: "events as they are recorded",
        watching.doctor: "is this stage well, and what to do where it is not",
        subscribing.access: "does somebody have access right now",
        comparing.compare: "is a table of your own what the ledger says",
        looking.verify: "is each payment what its events say, or the provider",
        console.console: "all of it in a browser",
    },
    "Do the books": {
        accounting.export: "each movement of money as a line of a file",
        accounting.payouts: "what was sent to the bank",
    },
    "Repair": {
        fetching.import_: "get the history that an API has, notified to nobody",
        repairing.reconcile: "get the events that never came",
        repairing.redrive: "send parked events through again",
        repairing.replay: "run handlers that are left, or all of them again",
        repairing.forget: "remove a customer's raw events, keep the totals",
    },
    "Deploy": {
        deploying.deploy: "create or update a stage",
        deploying.upgrade: "what this version changes of a deployed stage",
        deploying.destroy: "delete a stage; nothing is left",
        deploying.package: "one template and one zip of a stage",
        deploying.stage: "add a stage like another: stage add NAME, stage update NAME",
    },
    "Try": {
        sending.send: "sign and send realistic events",
        watching.completion: "make bash, zsh or fish complete all this",
    },
}


class Commands(click.Group):
    """Turns what AWS or the ledger refuse into one line, and shows commands by what they are for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (InvalidParameter, InvalidSetting) as wrong:
            raise click.UsageError(str(wrong)) from None
        except VersionMoved as moved:
            raise Failed(f"{moved} was written by somebody else meanwhile: run it again") from None
        except Refused as refused:
            raise Failed(str(refused)) from None
        except (AwsError, BotoCoreError, ClientError) as error:
            unreachable = "connect" in str(error).lower()
            hint = "; is `make run` running, and AWS_PORT as it has it?" if unreachable else ""
            raise Failed(f"AWS: {error}{hint}") from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(command.name), line) for command, line in commands.items()])


@click.version_option(metadata.version("daybook"), message="%(version)s")
@click.group(cls=Commands, epilog="Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 found something.")
def main() -> None:
    """Stripe and PayPal webhooks, recorded exactly once: look at them, repair, deploy.

    Without --stage a command is about the local one (`make run`); `daybook COMMAND --help` says more.
    """


for commands in SECTIONS.values():
    for command in commands:
        main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
