"""The ``daybook`` command."""

import sys
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import AwsError, Refused
from ops.commands import Failed, console, deploying, looking, repairing, sending, watching


class Commands(click.Group):
    """Turns what AWS or the ledger refuse into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Refused as refused:
            raise Failed(str(refused)) from None
        except (AwsError, BotoCoreError, ClientError) as error:
            hint = "is `make run` running?" if "connect" in str(error).lower() else ""
            raise Failed(f"AWS: {error} {hint}".strip()) from None


@click.group(cls=Commands)
def main() -> None:
    """Daybook: send test webhooks, look at what was recorded, repair it, deploy it."""


for command in (
    sending.send,
    looking.show,
    looking.list_,
    looking.parked,
    looking.verify,
    repairing.replay,
    repairing.redrive,
    repairing.reconcile,
    repairing.forget,
    watching.tail,
    watching.doctor,
    console.console,
    watching.completion,
    deploying.deploy,
    deploying.destroy,
    deploying.package,
):
    main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
