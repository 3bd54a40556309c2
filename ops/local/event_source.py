"""Lambda's SQS event source and schedule, for one machine: long polling, batches, redelivery after a raise.

A batch for which the function returns is deleted; one for which it raises stays hidden until the queue's
visibility timeout has passed, and after five receives the queue moves it to its dead-letter queue.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.names import names
from chalicelib.settings import STAGE_LOCAL
from ops.stage import REGION, connect

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH = 10
WAIT = 2  # seconds of long polling; short enough to stop soon
PAUSE = 1.0  # seconds after the queue could not be reached
TIMES = 6  # by which a message stays hidden for longer than the function may run

SOON = 2.0  # seconds until hourly work is done for the first time
HOURLY = 300_000  # milliseconds that it may take
DELIVERING = 60_000  # milliseconds that sending to targets may take, however soon a message shows again
SCHEDULED = {
    "version": "0",
    "id": "local",
    "account": "123456789012",
    "region": REGION,
    "detail": {},
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "time": "2026-11-25T00:00:00Z",
    "resources": [],
}

INVOKED, FAILED = "invoked: ", "function failed: "  # before a function's name, to be counted
SLOWEST = 30.0  # seconds between two batches of a function that raises

Function = Callable[[dict[str, Any], Any], Any]


class Context:
    """What Lambda's context offers to a function."""

    function_name = names(STAGE_LOCAL, {}).function()
    memory_limit_in_mb = "512"

    def __init__(self, timeout: int) -> None:
        self.aws_request_id = str(uuid4())
        self._timeout = timeout

    def get_remaining_time_in_millis(self) -> int:
        return self._timeout


class EventSource:
    """Feeds one queue to the function ``name``; with ``reports`` what failed is in what that returns.

    The function has ``timeout`` milliseconds, or else a sixth of the time that a message stays hidden.
    """

    def __init__(
        self,
        client: "SQSClient",
        queue: str,
        function: Function,
        reports: bool = False,
        name: str = "process",
        timeout: int | None = None,
    ) -> None:
        self._client = client
        self._function = function
        self._name = name
        self._reports = reports
        self._rest = 0.0
        self.url = client.get_queue_url(QueueName=queue)["QueueUrl"]
        attributes = client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["VisibilityTimeout"])
        hidden = int(attributes["Attributes"]["VisibilityTimeout"]) * 1000
        self._timeout = timeout or hidden // TIMES
        self._arn = f"arn:aws:sqs:{REGION}:{self.url.split('/')[-2]}:{queue}"

    def poll(self, wait: int = WAIT) -> int:
        """Receive and process one batch; how many messages it had."""
        answer = self._client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=wait,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages: Any = answer.get("Messages", [])
        if messages:
            self._invoke(messages)
        return len(messages)

    def _invoke(self, messages: list[dict[str, Any]]) -> None:
        try:
            answer = self._function(
                {"Records": [self._record(each) for each in messages]}, Context(self._timeout)
            )
        except Exception as error:  # as Lambda does: whatever was raised, the batch comes back
            what = f"{type(error).__name__}: {error}; the batch comes again"
            sys.stderr.write(f"{FAILED}{self._name}: {what}\n")
            self._rest = min(max(PAUSE, 2 * self._rest), SLOWEST)
            return
        self._rest /= 2
        listed = answer["batchItemFailures"] if self._reports and answer else []
        again = {each["itemIdentifier"] for each in listed}
        entries: Any = [
            {"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]}
            for n, each in enumerate(messages)
            if each["MessageId"] not in again
        ]
        if entries:
            self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)

    def _record(self, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": message.get("MessageAttributes", {}),
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._arn,
            "awsRegion": REGION,
        }

    def run(self, stop: threading.Event) -> None:
        """Poll until told to stop; less often while batches fail, as Lambda does with who raises.

        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-backoff-strategy
        """
        while not stop.wait(self._rest if self._rest >= PAUSE else 0):
            try:
                self.poll()
            except (BotoCoreError, ClientError) as error:
                if not stop.wait(PAUSE):
                    sys.stderr.write(f"the queue cannot be reached: {type(error).__name__}\n")


class Schedule:
    """Calls the app's function of that name soon, and then every so many seconds, whatever it raises."""

    def __init__(self, name: str, function: Function, every: float) -> None:
        self._name = name
        self._function = function
        self._every = every

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        due = False
        while not stop.wait(self._every if due else SOON):
            due = True
            sys.stderr.write(f"{INVOKED}{self._name}\n")
            try:
                self._function(SCHEDULED, Context(HOURLY))
            except Exception as error:
                sys.stderr.write(f"{FAILED}{self._name}: {type(error).__name__}: {error}\n")


def main() -> None:
    """Run all of the app's consumers and its hourly work until SIGTERM or SIGINT."""
    import app

    stage = connect(app.SETTINGS.stage, os.environ)
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    reports = app.SETTINGS.partial_batches
    feeds = (
        EventSource(stage.client("sqs"), app.SETTINGS.names.queue, app.process, reports),
        EventSource(stage.client("sqs"), app.SETTINGS.names.dead_queue, app.park, name="park"),
        EventSource(
            stage.client("sqs"),
            app.SETTINGS.names.targets_queue,
            app.deliver,
            name="deliver",
            timeout=DELIVERING,
        ),
    )
    threads = [threading.Thread(target=each.run, args=[stop]) for each in feeds]
    every = float(os.environ.get("DAYBOOK_HOURLY_SECONDS", "3600"))
    hourly = (Schedule(name, getattr(app, name), every) for name in ("watch", "reconcile"))
    threads += [threading.Thread(target=each.run, args=[stop]) for each in hourly]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
