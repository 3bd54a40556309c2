"""The queue that wakes who sends to targets: that something waits is a message on it; what, is in the ledger.

So a message that is lost, late or doubled loses, reorders and doubles nothing.
"""

import json
from collections.abc import Callable, Iterable
from itertools import islice
from math import ceil
from typing import NamedTuple

from chalicelib.aws import Caller
from chalicelib.errors import AwsError, Unavailable

LATEST = 900  # seconds that a queue may hold a message back
SENT_TOGETHER = 10


class Waiter(NamedTuple):
    """What waits: something of a record (``provider:id``), for a target."""

    subject: str
    target: str


class Wakeup(NamedTuple):
    """That somebody is to look at it, at ``due_at`` as it was then: where it is due at another instant by
    now, another message wakes for that, and this one is of no use any more. ``None``: whenever it is due.

    ``since`` it waits, in milliseconds.
    """

    subject: str
    target: str
    due_at: int | None = None
    since: int | None = None

    @property
    def waiter(self) -> Waiter:
        return Waiter(self.subject, self.target)

    def encode(self) -> str:
        return json.dumps(self._asdict())

    @classmethod
    def decode(cls, text: str) -> "Wakeup":
        """Raises ``ValueError`` for what ``encode`` did not write."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or set(fields) != {*cls._fields}:
            raise ValueError("not a message of this queue")
        return cls(**fields)


class Wakeups:
    """The standard queue of one stage."""

    def __init__(self, aws: Caller, queue: str) -> None:
        self._aws = aws
        self._queue = queue
        self._url: str | None = None

    def send(self, wakeup: Wakeup, delay: float = 0) -> None:
        """Wake somebody in so many milliseconds, at most ``LATEST`` seconds. Raises ``Unavailable``."""
        seconds = min(LATEST, max(0, ceil(delay / 1000)))
        self._call("SendMessage", MessageBody=wakeup.encode(), DelaySeconds=seconds)

    def send_all(self, wakeups: Iterable[Wakeup], is_time_left: Callable[[], bool]) -> int:
        """Wake somebody for each, now, as long as there is time; for how many. Raises ``Unavailable``."""
        sent, left = 0, iter(wakeups)
        while is_time_left() and (some := list(islice(left, SENT_TOGETHER))):
            entries = [{"Id": str(n), "MessageBody": each.encode()} for n, each in enumerate(some)]
            self._call("SendMessageBatch", Entries=entries)
            sent += len(entries)
        return sent

    def _call(self, operation: str, **request: object) -> None:
        try:
            if self._url is None:
                self._url = str(self._aws("sqs", "GetQueueUrl", QueueName=self._queue)["QueueUrl"])
            self._aws("sqs", operation, QueueUrl=self._url, **request)
        except AwsError:
            raise Unavailable("the targets' queue cannot be reached", reason="queue") from None
