"""The queue: what travels on it, and how it gets there."""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from chalicelib.aws import Caller
from chalicelib.errors import AwsError, PayloadTooLarge, Unavailable
from chalicelib.events import Event

# Bytes of a compressed body: what fits into a DynamoDB item (400 kB) with room for the event's own
# attributes, and as base64 into an SQS message (1 MiB).
LARGEST = 380_000
# Bytes of a body that travels as it is. As base64 it fits into the 64 kB that SQS counts as one request:
# compressing a smaller one would cost time while the provider waits, and save nothing.
SMALL = 45_000
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
ALLOWED = re.compile(r"[!-~]{1,128}")

Address = tuple[str, str]  # subject and event id
SqsRecord = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A genuine event on its way to the ledger. ``body`` is what the provider sent, byte for byte.

    ``transmission`` is an id that is good for this body alone, if the provider signs one. ``is_redriven``: it
    was set aside, and is kept in any case. ``is_distrusted``: it was set aside as what may be forged, and
    counts only if the provider itself bears it out. ``via``: as the event has it.
    """

    provider: str
    event_id: str
    subject: str
    received_at: int
    body: bytes
    transmission: str | None = None
    is_redriven: bool = False
    is_distrusted: bool = False
    via: str | None = None

    @property
    def name(self) -> str:
        """What it came by: its transmission, or else its event."""
        return self.transmission or f"{self.provider}:{self.event_id}"

    @classmethod
    def of(cls, event: Event, body: bytes, transmission: str | None = None) -> "Message":
        return cls(
            provider=event.provider,
            event_id=event.id,
            subject=event.subject,
            received_at=event.received_at,
            body=body,
            transmission=transmission,
            via=event.via,
        )

    def encode(self) -> str:
        """As the text of a queue message. Raises ``PayloadTooLarge``."""
        small = len(self.body) <= SMALL
        content = self.body if small else zlib.compress(self.body, 6)
        if len(content) > LARGEST:
            raise PayloadTooLarge("the body is too large to keep")
        return json.dumps(
            {
                "provider": self.provider,
                "event_id": self.event_id,
                "subject": self.subject,
                "received_at": self.received_at,
                "transmission": self.transmission,
                **{name: getattr(self, name) for name in SELDOM if getattr(self, name)},
                "encoding": "plain" if small else "zlib",
                "body": base64.b64encode(content).decode(),
            }
        )

    @classmethod
    def decode(cls, text: str) -> "Message":
        """Raises ``ValueError`` for what ``encode`` did not write."""
        try:
            fields: dict[str, Any] = json.loads(text)
            decode = DECODERS[fields.pop("encoding")]
            return cls(**{**fields, "body": decode(base64.b64decode(fields["body"], validate=True))})
        except (AttributeError, KeyError, TypeError, ValueError, zlib.error) as error:
            raise ValueError("not a message of this queue") from error


SELDOM = ("is_redriven", "is_distrusted", "via")  # said where they are so
DECODERS: Mapping[str, Callable[[bytes], bytes]] = {"plain": bytes, "zlib": zlib.decompress}


class QueuedRecord(NamedTuple):
    """An SQS record with the message that it holds; ``None`` where it cannot be read."""

    sqs: SqsRecord
    message: Message | None

    @classmethod
    def read(cls, sqs: SqsRecord) -> "QueuedRecord":
        try:
            return cls(sqs, Message.decode(sqs["body"]))
        except ValueError:
            return cls(sqs, None)

    @property
    def group(self) -> str:
        """Chalice's test client makes records of a queue without groups: then it is the subject."""
        subject = self.message.subject if self.message else str(self.sqs["messageId"])
        return str(self.sqs["attributes"].get("MessageGroupId", subject))

    @property
    def attempts(self) -> int:
        return int(self.sqs["attributes"].get("ApproximateReceiveCount", 1))

    @property
    def address(self) -> Address:
        """Of one that cannot be read, its queue's names."""
        if self.message is None:
            return f"queue:{self.group.removeprefix('queue:')}", str(self.sqs["messageId"])
        return self.message.subject, self.message.event_id


def queue_id(text: str) -> str:
    """``text`` as a message group or deduplication id: itself where the queue allows it, else its digest."""
    return text if ALLOWED.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()


def _once(event: Event, body: bytes, transmission: str | None) -> str:
    """What the queue drops a second message for: the event; that delivery, where its body could be forged."""
    if not transmission:
        return event.key
    return f"{event.key} {hashlib.sha256(body).hexdigest()} {transmission}"


def _traced(trace: str) -> dict[str, Any]:
    return {"AWSTraceHeader": {"DataType": "String", "StringValue": trace}} if trace else {}


class Inbox:
    """The FIFO queue of one stage: one payment's events in one group, an event once in five minutes."""

    def __init__(self, aws: Caller, queue: str) -> None:
        self._aws = aws
        self._queue = queue
        self._url: str | None = None

    def url(self) -> str:
        """The queue's address, looked up once. Raises ``Unavailable``."""
        if self._url is None:
            self._url = str(self._call("GetQueueUrl", QueueName=self._queue)["QueueUrl"])
        return self._url

    def send(self, event: Event, body: bytes, transmission: str | None = None, trace: str = "") -> None:
        """Return when the queue has it. Raises ``Unavailable``, ``PayloadTooLarge``.

        ``trace`` is the X-Ray header under which the consumer's work is to be seen too.
        """
        message = Message.of(event, body, transmission)
        self.put(message.encode(), event.subject, _once(event, body, transmission), trace)

    def put(self, text: str, group: str, once: str, trace: str = "") -> None:
        """Put a message on the queue; of two with the same ``once`` in five minutes it keeps the first."""
        self._call(
            "SendMessage",
            QueueUrl=self.url(),
            MessageBody=text,
            MessageGroupId=queue_id(group),
            MessageDeduplicationId=queue_id(once),
            MessageSystemAttributes=_traced(trace),
        )

    def delete(self, receipts: list[str]) -> None:
        """Take messages off the queue; one that stays is delivered again, and is a duplicate then."""
        entries: Any = [{"Id": str(n), "ReceiptHandle": each} for n, each in enumerate(receipts)]
        if entries:
            self._call("DeleteMessageBatch", QueueUrl=self.url(), Entries=entries)

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return self._aws("sqs", operation, **request)
        except AwsError:
            raise Unavailable("the queue cannot be reached", reason="queue") from None
