"""How each kind of target is sent something. What goes wrong is ``NotTaken``, and says why in a few words."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from chalicelib import notification, slack, standard_webhooks
from chalicelib.accounts import Secrets
from chalicelib.aws import Caller
from chalicelib.errors import AwsError, NotTaken
from chalicelib.inbox import queue_id
from chalicelib.posting import Poster
from chalicelib.reactions import Task
from chalicelib.targets import HTTPS, SLACK, SQS, Target, is_address

JSON = {"Content-Type": "application/json"}


class Sender(Protocol):
    def __call__(self, target: Target, subject: str, task: Task, notified: tuple[Any, ...]) -> None:
        """Return once the target has it. ``notified`` is what a handler would be called with.

        Raises ``NotTaken``.
        """


def by_kind(
    aws: Caller,
    region: str,
    secrets: Callable[[], Secrets],
    poster: Poster,
    clock: Callable[[], int],
    is_local: bool,
) -> Mapping[str, Sender]:
    """The senders of all kinds of targets. ``region`` is AWS's; ``clock`` in milliseconds."""
    return {
        HTTPS: ByHttps(secrets, poster, clock),
        SQS: BySqs(aws, region, clock),
        SLACK: BySlack(secrets, poster, is_local),
    }


class ByHttps:
    """As the Standard Webhooks scheme says; signed with each secret of the target."""

    def __init__(self, secrets: Callable[[], Secrets], poster: Poster, clock: Callable[[], int]) -> None:
        self._secrets = secrets
        self._poster = poster
        self._clock = clock

    def __call__(self, target: Target, subject: str, task: Task, notified: tuple[Any, ...]) -> None:
        body = json.dumps(notification.webhook(*notified)).encode()
        id_ = standard_webhooks.message_id(task.id)
        try:
            secrets = _secret(self._secrets, target)
            signed = standard_webhooks.headers(secrets, id_, body, self._clock())
        except ValueError as error:
            raise NotTaken(f"{target.secret_name} in the stage's secret is {error}") from None
        self._poster.post(target.address, body, JSON | signed)


class BySqs:
    """In one group per record. The queue drops what is sent once more within five minutes, but a replay."""

    def __init__(self, aws: Caller, region: str, clock: Callable[[], int]) -> None:
        self._aws = aws
        self._region = region
        self._clock = clock
        self._urls: dict[str, str] = {}

    def __call__(self, target: Target, subject: str, task: Task, notified: tuple[Any, ...]) -> None:
        once = f"{task.id} replay {self._clock()}" if task.replay else task.id
        if target.address.split(":")[3] != self._region:
            raise NotTaken(f"SQS: the queue is not in the stage's region, {self._region}")
        try:
            self._aws(
                "sqs",
                "SendMessage",
                QueueUrl=self._url(target.address),
                MessageBody=json.dumps(notification.webhook(*notified)),
                MessageGroupId=queue_id(subject),
                MessageDeduplicationId=queue_id(once),
            )
        except AwsError as error:
            raise NotTaken(f"SQS: {error.code}") from None

    def _url(self, arn: str) -> str:
        """The queue's address, looked up once."""
        if arn not in self._urls:
            account, name = arn.split(":")[-2:]
            asked = {"QueueName": name, "QueueOwnerAWSAccountId": account}
            self._urls[arn] = str(self._aws("sqs", "GetQueueUrl", **asked)["QueueUrl"])
        return self._urls[arn]


class BySlack:
    """A line in a channel, by its incoming webhook."""

    def __init__(self, secrets: Callable[[], Secrets], poster: Poster, is_local: bool) -> None:
        self._secrets = secrets
        self._poster = poster
        self._is_local = is_local

    def __call__(self, target: Target, subject: str, task: Task, notified: tuple[Any, ...]) -> None:
        url = _secret(self._secrets, target)[0]
        if not is_address(url, self._is_local):
            raise NotTaken(f"{target.secret_name} in the stage's secret is no https:// address")
        self._poster.post(url, json.dumps({"text": slack.text(*notified)}).encode(), JSON)


def _secret(secrets: Callable[[], Secrets], target: Target) -> tuple[str, ...]:
    found = secrets().get(target.secret_name, ())
    if not found:
        raise NotTaken(f"there is no {target.secret_name} in the stage's secret")
    return found
