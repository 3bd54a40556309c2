"""A stage in memory that sends to targets: their queue, time that passes, and what each target was sent."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from chalicelib.delivering import Deliverer, Rests
from chalicelib.errors import NotTaken
from chalicelib.ledger import Ledger
from chalicelib.notification import webhook
from chalicelib.noting import Noting
from chalicelib.reactions import Handlers, Task
from chalicelib.targets import Target, targets
from chalicelib.undelivered import Undelivered
from chalicelib.wakeups import Waiter, Wakeups
from chalicelib.watch import watch_targets
from ops.stories import tell
from tests.fakes import NOW, Clock, as_bytes, consumer, message_of, telemetry
from tests.little_dynamo import LittleDynamo
from tests.settling import Queue

Json = dict[str, Any]
LASTS = 60_000  # milliseconds of an invocation


class Sqs:
    """A standard queue: each message with when it shows."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.waiting: list[tuple[int, str]] = []
        self.fails = False

    def __call__(self, service: str, operation: str, /, **request: Any) -> Json:
        assert service == "sqs"
        entries = request.get("Entries", [request])
        if operation.startswith("SendMessage"):
            if self.fails:
                raise NotTaken("the queue is down")
            for each in entries:
                shows = self.clock.now + 1000 * each.get("DelaySeconds", 0)
                self.waiting.append((shows, each["MessageBody"]))
        return {"QueueUrl": "http://queue"}


class Receivers:
    """A sender for all kinds of targets. ``refuses`` says of a target and a record why it is not taken."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []
        self.bodies: list[Json] = []
        self.refuses: Callable[[str, str], NotTaken | None] = lambda target, subject: None

    def __call__(self, target: Target, subject: str, task: Task, notified: tuple[Any, ...]) -> None:
        why = self.refuses(target.name, subject)
        if why:
            raise why
        self.sent.append((target.name, subject, task.id.removeprefix(f"{subject}/")))
        self.bodies.append(webhook(*notified))

    def of(self, target: str, subject: str = "") -> list[str]:
        """The milestones that a target was sent, of one record or of all: their ids without the record's."""
        return [type_ for name, of, type_ in self.sent if name == target and subject in ("", of)]


class Notified:
    """A stage with these targets, as its settings name them."""

    def __init__(self, table: Any = None, **settings: str) -> None:
        named = {f"DAYBOOK_TARGET_{name.upper()}": value for name, value in settings.items()}
        self.targets = targets(named, is_local=False)
        self.clock, self.lines = Clock(), list[str]()
        self.ledger = Ledger(table or LittleDynamo(), "table")
        self.sqs = Sqs(self.clock)
        self.wakeups = Wakeups(self.sqs, "payment-targets-test")
        self.receivers = Receivers()
        self.rests = Rests(self.clock)
        self.telemetry = telemetry(self.lines, self.clock)
        noting = Noting(ledger=self.ledger, wakeups=self.wakeups, clock=self.clock)
        self.handlers = Handlers(noting.handlers(self.targets))
        of_queue: Any = Queue()
        made = consumer(self.ledger, of_queue, self.lines, self.handlers)
        self.consumer = replace(made, clock=self.clock)

    @property
    def deliverer(self) -> Deliverer:
        """As a process has it: what it remembers is ``rests``."""
        return Deliverer(
            targets={each.name: each for each in self.targets},
            senders=dict.fromkeys(("https", "sqs", "slack"), self.receivers),
            ledger=self.ledger,
            wakeups=self.wakeups,
            read=self.consumer.runner.read,
            telemetry=self.telemetry,
            rests=self.rests,
            clock=self.clock,
            uniform=lambda least, most: least,
        )

    def pay(self, story: str = "partial-refunds", seed: int = 1, provider: str = "stripe") -> str:
        """A story is recorded; the payment's subject."""
        _, events = tell(provider, random.Random(seed), NOW - 60_000, 5000, "EUR", story=story)
        return self.know(events, provider)

    def know(self, events: list[Json], provider: str = "stripe") -> str:
        subject = ""
        for each in events:
            message = message_of(as_bytes(each), provider)
            subject = message.subject
            self.consumer.record(message, self.clock.now + LASTS)
        return subject

    def wake(self) -> int:
        """Everybody who is to be woken by now; how many were."""
        woken = 0
        while due := [each for each in self.sqs.waiting if each[0] <= self.clock.now]:
            self.sqs.waiting.remove(min(due))
            self.deliver(min(due)[1])
            woken += 1
        return woken

    def deliver(self, body: str) -> None:
        record: Mapping[str, Any] = {"body": body, "messageId": "m"}
        self.deliverer.process([record], self.clock.now + LASTS)

    def pass_time(self, milliseconds: int) -> None:
        """Let it pass, by the queue's times; every hour somebody looks."""
        until = self.clock.now + milliseconds
        looks = self.clock.now + 3_600_000
        self.wake()
        while True:
            steps = [at for at, _ in self.sqs.waiting] + [looks]
            following = min(steps)
            if following > until:
                break
            self.clock.now = max(self.clock.now, following)
            if following == looks:
                self.look()
                looks += 3_600_000
            self.wake()
        self.clock.now = until

    def look(self) -> None:
        watch_targets(self.ledger, self.wakeups, self.telemetry, self.clock.now, lambda: True)

    def waits(self, target: str, subject: str) -> Undelivered:
        return self.ledger.undelivered.read(Waiter(subject, target))
