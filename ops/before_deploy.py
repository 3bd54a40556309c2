"""What plain ``chalice deploy`` lacks: a look, before anything is made, at whether the resources are there.

Without its queue Chalice fails half-way, and forgets what it has made. Chalice has no hook, but imports
``app.py`` first; so that asks here.
"""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from ops.stage import Stage


def check(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """For the command line of Chalice. Raises ``click.ClickException`` where the queues are missing.

    What cannot be asked, such as for want of credentials, Chalice itself will say.
    """
    if "deploy" not in arguments:
        return
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--profile")
    given, _ = parser.parse_known_args(arguments)
    session = boto3.Session(profile_name=given.profile or environ.get("AWS_PROFILE"))
    stage = Stage(given.stage, session, environ.get("AWS_ENDPOINT_URL") or None)
    queue = ""
    try:
        for queue in (*stage.names.queues, stage.names.targets_queue):
            stage.client("sqs").get_queue_url(QueueName=queue)
    except ClientError as error:
        if not error.response["Error"]["Code"].endswith(("NonExistentQueue", "QueueDoesNotExist")):
            return
        raise click.ClickException(
            f"stage {given.stage} has no queue {queue} yet, and nothing was made. Its resources "
            f"come first: `daybook deploy --stage {given.stage}` makes them and does the rest, or run "
            "`aws cloudformation deploy --template-file infra/resources.yaml --stack-name "
            f"{stage.names.stack} --parameter-overrides Stage={given.stage} --capabilities CAPABILITY_IAM`, "
            "then this again."
        ) from None
    except BotoCoreError:
        return
