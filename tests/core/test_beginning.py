"""Nobody is notified of what happened before the stage began to listen; on purpose everybody can be."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from chalicelib import beginning
from chalicelib.inbox import Message
from chalicelib.payments import project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import Page
from chalicelib.reactions import Handlers
from chalicelib.reconcile import Reconciler
from chalicelib.times import DAY
from ops.redrive import BEFORE, Redrive
from ops.stories import tell
from tests.fake_apis import event_listed
from tests.fakes import NOW, Clock, MemoryInbox, MemoryLedger, as_bytes, consumer, sqs_record, telemetry

HOUR = 3_600_000


def test_a_stage_notes_when_it_began_and_never_again() -> None:
    """An hour is given to what was on its way; a stage that had payments before has always listened."""
    ledger: Any = MemoryLedger()
    assert beginning.began(ledger, NOW) == NOW - HOUR
    assert beginning.began(ledger, NOW + 30 * DAY) == NOW - HOUR
    older: Any = MemoryLedger()
    older.kept["stripe:pi_1"] = object()
    assert beginning.began(older, NOW) == beginning.ALWAYS


class Fresh:
    """A stage that begins now, with handlers of milestones and of raw events."""

    def __init__(self) -> None:
        self.ledger: Any = MemoryLedger()
        self.heard: Counter[str] = Counter()
        handlers = Handlers()

        @handlers.on("payment.*")
        def listen(payment: Any, milestone: Any) -> None:
            self.heard[milestone.type] += 1

        @handlers.on("stripe.*")
        def raw(event: Any) -> None:
            self.heard["raw"] += 1

        self.inbox: Any = MemoryInbox()
        base = consumer(self.ledger, self.inbox, handlers=handlers)
        self.to = replace(base, began=lambda: beginning.began(self.ledger, NOW))

    def take(self, text: str) -> None:
        message = Message.decode(text)
        self.to.process([sqs_record(text, message.subject)], NOW)


class History:
    """A Stripe that lists sixty days of payments, one a day, and one of the last hour that got lost."""

    bodies = tuple(
        as_bytes(event_listed(f"evt_{n}", at))
        for n, at in enumerate([NOW - HOUR // 2, *(NOW - day * DAY for day in range(1, 60))])
    )

    def page(self, since: int, until: int, cursor: str | None) -> Page:
        return Page(list(self.bodies), None)


def test_keys_that_are_filled_in_send_no_old_receipts() -> None:
    """Sixty days of history: all recorded and listed, none notified but what got lost in the last hour."""
    stage, sent = Fresh(), []

    class Queue:
        def put(self, text: str, group: str, once: str) -> None:
            sent.append(text)

    queue: Any = Queue()
    api: Any = History()
    reconciler = Reconciler(
        providers=PROVIDERS,
        ledger=stage.ledger,
        inbox=queue,
        telemetry=telemetry(),
        clock=Clock(),
        pause=lambda seconds: None,
        began=stage.to.began,
    )
    found = reconciler.run("stripe", api)
    assert (len(found.missing), found.recovered, found.notified) == (60, 60, 1)
    for text in sent:
        stage.take(text)
    assert len(stage.ledger.kept) == 60
    assert stage.heard == {"payment.succeeded": 1, "payment.captured": 1, "raw": 1}
    for subject in stage.ledger.kept:
        types = [each.type for each in project(subject, stage.ledger.payment(subject).facts).milestones]
        assert types == ["payment.succeeded", "payment.captured"]
        assert stage.ledger.payment(subject).outbox.tasks == ()


def test_what_happens_to_an_old_payment_now_is_notified() -> None:
    """Its refund of today is news; that it was paid last month is not."""
    stage = Fresh()
    _, events = tell("stripe", random.Random(1), NOW - 30 * DAY, 5000, "EUR", story="checkout")
    subject, refunded = tell("stripe", random.Random(1), NOW, 5000, "EUR", story="partial-refunds")
    for event in (*events, *refunded[-1:]):
        body = as_bytes(event)
        made = PROVIDERS["stripe"].event(body, NOW)
        stage.take(Message.of(replace(made, subject=subject), body).encode())
    assert stage.heard["payment.succeeded"] == 0
    assert stage.heard["payment.refunded"] == 1


def test_a_redrive_says_that_nobody_is_notified() -> None:
    """Before it is sent."""
    stage = Fresh()
    body = as_bytes(event_listed("evt_1", NOW - 9 * DAY))
    event = PROVIDERS["stripe"].event(body, NOW)
    stage.ledger.parking.park(event.subject, event.id, Message.of(event, body).encode(), 5, NOW)
    [parked] = stage.ledger.parking.parked()
    lines = list(Redrive(stage.ledger, stage.inbox, Clock(), began=stage.to.began).preview(parked))
    assert f"reaches payment.succeeded, {BEFORE}" in lines
    now = list(Redrive(stage.ledger, stage.inbox, Clock()).preview(parked))
    assert "reaches payment.succeeded" in now
