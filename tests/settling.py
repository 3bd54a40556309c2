"""A stage in memory that asks providers about their balances, and a payment of each kind for it."""

import json
from dataclasses import replace
from typing import Any

from chalicelib import payouts, several
from chalicelib.asking import Asking
from chalicelib.contents import Contents
from chalicelib.ledger import Ledger
from chalicelib.payments import Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.reconcile import BALANCE, Reconciler, read_balances
from chalicelib.times import HOUR
from tests.fakes import Clock, as_bytes, consumer, message_of, sqs_record, telemetry
from tests.little_dynamo import LittleDynamo
from tests.simulators import START

Json = dict[str, Any]
WEEK = 7 * 24 * 3600


class Queue:
    """What was put on the queue, in order; the same once an hour, as SQS drops it for five minutes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def put(self, text: str, group: str, once: str, trace: str = "") -> None:
        self.texts.append(text)


class Shop:
    """A stage in memory that asks these providers once an hour."""

    def __init__(self, **apis: Any) -> None:
        self.ledger = Ledger(LittleDynamo(), "table")
        self.apis, self.queue, self.clock = apis, Queue(), Clock((START + 3 * WEEK) * 1000)
        self.lines: list[str] = []
        self.told: list[tuple[str, int]] = []
        handlers = Handlers()

        @handlers.on("payout.*")
        def note(payout: payouts.Payout, milestone: Any) -> None:
            self.told.append((milestone.type, payout.amount))

        self.consumer = replace(consumer(self.ledger, self.queue, handlers=handlers), clock=self.clock)

    def know(self, events: list[Json], provider: str = "stripe") -> None:
        for each in events:
            self.consumer.record(message_of(as_bytes(each), provider), self.clock.now + 60_000)

    def hour(self, since: int | None = None) -> list[str]:
        """An hour passes; the ids of the events that were asked for and recorded.

        With ``since``, in milliseconds, balances are read from there on.
        """
        self.clock.now += HOUR
        inbox: Any = self.queue
        told = telemetry(self.lines, self.clock)
        common: Any = {"providers": PROVIDERS, "ledger": self.ledger, "inbox": inbox, "telemetry": told}
        reconciler = Reconciler(**common, clock=self.clock, pause=lambda seconds: None)
        if since is None:
            read_balances(reconciler, self.apis, self.clock.now + HOUR)
        else:
            for name, api in self.apis.items():
                replace(reconciler, what=BALANCE).run(name, api, since=since)
        asking = Asking(**common, apis=several.asked(self.apis))
        asking.run(self.clock.now)
        asking.look(self.clock.now)
        Contents(**common, apis=several.asked(self.apis)).run(self.clock.now)
        texts, self.queue.texts = self.queue.texts, []
        for number, text in enumerate(texts):
            assert self.consumer.process([sqs_record(text, receipt=str(number))], self.clock.now + HOUR) == []
        return [json.loads(text)["event_id"] for text in texts]

    def settled(self, subject: str) -> Json:
        found: Json = project(subject, self.ledger.payment(subject).facts).to_dict()["settled"]
        return found

    def payment(self, subject: str) -> Payment:
        return project(subject, self.ledger.payment(subject).facts)

    def payout(self, id_: str) -> payouts.Payout:
        return payouts.project(id_, self.ledger.record(id_).facts)
