"""Targets, with whatever can go wrong at random: nothing is lost, and nothing comes before its time.

Each call of AWS may fail, lose its answer, or be where the process is killed; wakeups are lost, doubled or
late; while one sends, another one may, also after the first one's lease is over; what waits no more expires.
"""

import json
import random
from contextlib import suppress
from typing import Any

import pytest

from chalicelib.errors import AwsError, DaybookError, NotTaken
from chalicelib.payments import Milestone
from chalicelib.times import HOUR
from ops.redrive import deliver_anew
from tests.conftest import TORTURE
from tests.little_dynamo import LittleDynamo
from tests.receiving import LASTS, Notified, Receivers, Sqs

SUBJECTS, MILESTONES = ("stripe:pi_1", "stripe:pi_2", "stripe:pi_3"), 6
SEEDS = 3000 if TORTURE else 60


class Killed(BaseException):
    """The process is ended here."""


class Chaos:
    """What goes wrong, until it is ``over``."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.over = False
        self.kills = 0

    def may(self, share: float) -> bool:
        return not self.over and self.rng.random() < share

    def kill(self) -> None:
        if self.may(0.01):
            self.kills += 1
            raise Killed


class Table(LittleDynamo):
    chaos: Chaos

    def __call__(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        self.chaos.kill()
        if self.chaos.may(0.01):
            raise AwsError(service, operation, "Timeout", passing=True)
        answer = super().__call__(service, operation, **request)
        self.chaos.kill()
        if operation == "PutItem" and self.chaos.may(0.02):  # tried once more by who calls AWS
            raise AwsError(service, operation, "ConditionalCheckFailedException", passing=False)
        return answer


class Queue(Sqs):
    chaos: Chaos

    def __call__(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        self.chaos.kill()
        before = len(self.waiting)
        answer = super().__call__(service, operation, **request)
        sent = self.waiting[before:]
        del self.waiting[before:]
        for at, body in sent:
            copies = self.chaos.rng.choice((0, 1, 1, 1, 1, 1, 2)) if self.chaos.may(0.5) else 1
            late = self.chaos.rng.randrange(120_000) if self.chaos.may(0.3) else 0
            self.waiting += [(at + late, body)] * copies
        return answer


class Taker(Receivers):
    """It may refuse, be slow, or take a milestone and have its answer lost; and let another process go on."""

    stage: "Simulation"

    def __call__(self, target: Any, subject: str, task: Any, notified: Any) -> None:
        chaos, clock = self.stage.chaos, self.stage.clock
        chaos.kill()
        if chaos.may(0.2):
            raise NotTaken("answered 500", chaos.rng.choice((None, 30.0)))
        if chaos.may(0.1):
            clock.now += chaos.rng.randrange(15_000)
        if chaos.may(0.05):
            clock.now += 2 * LASTS  # it is frozen, and its lease is over
        if chaos.may(0.2):
            with suppress(Killed, DaybookError):  # other processes
                chaos.rng.choice((self.stage.go_on, self.stage.note))()
        self.sent.append((target.name, subject, task.id))
        chaos.kill()
        if chaos.may(0.05):
            raise NotTaken("no answer: ReadTimeoutError", is_silent=True)


class Simulation(Notified):
    """One stage with two targets, and what happens to it."""

    def __init__(self, seed: int) -> None:
        self.chaos = Table.chaos = Queue.chaos = Chaos(seed)
        super().__init__(Table(), a="https://a.example.com/", b="https://b.example.com/")
        self.sqs = Queue(self.clock)
        self.wakeups._aws = self.sqs
        self.receivers = Taker()
        self.receivers.stage = self
        self.noted = dict.fromkeys(SUBJECTS, 0)

    def note(self) -> None:
        """The next milestone of some record, as its consumer does: until its handlers have ended well."""
        left = [subject for subject, count in self.noted.items() if count < MILESTONES]
        if not left:
            return
        subject = self.chaos.rng.choice(left)
        id_ = f"{subject}/payment.refunded/{self.noted[subject]}"
        milestone = Milestone(id=id_, type="payment.refunded", at="2026-11-24T10:00:00Z", amount=1)
        for handler in self.handlers:
            handler.function(type("Record", (), {"id": subject}), milestone)
        self.noted[subject] += 1

    def go_on(self) -> None:
        """A wakeup is delivered; it comes again where who took it was killed, or failed."""
        due = [each for each in self.sqs.waiting if each[0] <= self.clock.now]
        if not due:
            return
        taken = self.chaos.rng.choice(due)
        self.sqs.waiting.remove(taken)
        try:
            self.deliver(taken[1])
        except (Killed, DaybookError):
            self.sqs.waiting.append((self.clock.now + 360_000, taken[1]))

    def pass_some_time(self) -> None:
        self.clock.now += self.chaos.rng.choice((1, 1000, 60_000, HOUR))
        table: Any = self.ledger._table._aws
        for key, text in list(table.items.items()):
            item = json.loads(text)
            if "expires_at" in item and int(item["expires_at"]["N"]) * 1000 < self.clock.now:
                del table.items[key]

    def redrive(self) -> None:
        for each in list(self.ledger.undelivered.parked()):
            deliver_anew(self.ledger, self.wakeups, each, self.clock.now)

    def run(self) -> None:
        rng = self.chaos.rng
        acts = (self.note, self.note, self.go_on, self.go_on, self.go_on, self.pass_some_time, self.look)
        for _ in range(400):
            with suppress(Killed, DaybookError):
                rng.choice(acts)()
        self.chaos.over = True
        while any(count < MILESTONES for count in self.noted.values()):
            self.note()
        for _ in range(3):
            self.redrive()
            self.pass_time(40 * HOUR)


@pytest.mark.parametrize("block", range(6))
def test_nothing_is_lost_and_nothing_comes_before_its_time(block: int) -> None:
    """Of each record each target has got all, each at first in the order in which it was reached."""
    kills = 0
    for seed in range(block * SEEDS // 6, (block + 1) * SEEDS // 6):
        stage = Simulation(seed)
        stage.run()
        kills += stage.chaos.kills
        for target in ("a", "b"):
            for subject in SUBJECTS:
                got = [id_ for name, of, id_ in stage.receivers.sent if (name, of) == (target, subject)]
                wanted = [f"{subject}/payment.refunded/{n}" for n in range(MILESTONES)]
                assert [*dict.fromkeys(got)] == wanted, (seed, target, subject)
                assert not stage.waits(target, subject).tasks, seed
    assert kills > SEEDS // 6
