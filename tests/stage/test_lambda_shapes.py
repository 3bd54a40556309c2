"""What Lambda and SQS do to a consumer beside killing it: two at a time, too late, again, days later."""

import importlib
import json
import random
import sys
import time
from collections import Counter
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import pytest
from click.testing import CliRunner

from chalicelib.errors import BatchFailed, Refused
from chalicelib.events import Delivery
from chalicelib.inbox import LARGEST, Message
from chalicelib.payments import Milestone, Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers
from chalicelib.recording import Consumer
from ops.cli import main
from ops.local.event_source import EventSource
from ops.stage import Stage
from ops.stories import tell
from tests.conftest import TORTURE
from tests.fakes import (
    NOW,
    Clock,
    MemoryInbox,
    MemoryLedger,
    Rolling,
    as_bytes,
    consumer,
    message_of,
    receiver,
    signed,
    sqs_record,
)
from tests.packaged import stripe_request
from tests.pipeline import START
from tests.proxy import Proxy

HOUR = 3_600_000
DAY = 24 * HOUR


class Listener:
    """Handlers that count what they hear; the first one of a payment waits to be let go, if told so."""

    def __init__(self) -> None:
        self.heard: Counter[str] = Counter()
        self.handlers = Handlers()
        self.hold: Event | None = None
        self.holding = Event()

        @self.handlers.on("payment.*")
        def listen(payment: Payment, milestone: Milestone) -> None:
            self.heard[milestone.id] += 1
            hold, self.hold = self.hold, None
            if hold:
                self.holding.set()
                assert hold.wait(30)


def records(count: int, story: str = "partial-refunds", receives: int = 1) -> list[dict[str, Any]]:
    """The events of some payments, one after the other, as SQS hands them over."""
    made = []
    for n in range(count):
        subject, events = tell("stripe", random.Random(n), START, 5000, "EUR", story=story)
        for event in events:
            message = message_of(as_bytes(event)).encode()
            made.append(sqs_record(message, subject.replace(":", "-"), receives, event["id"]))
    return made


def to_stage(stage: Stage, listener: Listener, clock: Clock) -> Consumer:
    return replace(consumer(stage.ledger(), MemoryInbox()), handlers=listener.handlers, clock=clock)


def test_a_second_delivery_while_the_first_is_out_of_time(stage: Stage) -> None:
    """It waits while the first may still live, then runs what is left: recorded once, told in the end."""
    clock, listener = Clock(), Listener()
    to = to_stage(stage, listener, clock)
    [record] = records(1, "checkout")[2:3]
    listener.hold = Event()
    hold = listener.hold
    first = Thread(target=to.process, args=([record], clock.now + 60_000))
    first.start()
    assert listener.holding.wait(30)
    again = {**record, "attributes": {**record["attributes"], "ApproximateReceiveCount": "2"}}
    with pytest.raises(BatchFailed):
        to.process([again], clock.now + 60_000)
    clock.now += 61_000  # Lambda has ended the first by now
    to.process([again], clock.now + 60_000)
    hold.set()
    first.join()
    [subject] = stage.ledger().subjects()
    heard = {f"{subject}/payment.succeeded": 2, f"{subject}/payment.captured/5000": 1}
    assert dict(listener.heard) == heard  # the first was ended while it ran
    assert len(list(stage.ledger().events(subject))) == 1
    stored = stage.ledger().payment(subject)
    assert (project(subject, stored.facts).captured, stored.outbox.tasks) == (5000, ())


def test_two_consumers_with_the_same_messages_at_once(stage: Stage) -> None:
    """Each event is one entry, each milestone is told once; what was busy is told at the next delivery."""
    clock, listener = Clock(), Listener()
    work = records(6)
    failures: list[BaseException] = []

    def consume(order: int) -> None:
        to = to_stage(stage, listener, clock)
        for batch in batches(random.Random(order), work):
            try:
                to.process(batch, clock.now + 60_000)
            except BatchFailed as error:
                failures.append(error)

    threads = [Thread(target=consume, args=[order]) for order in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now += 61_000
    to_stage(stage, listener, clock).process(records(6, receives=3), clock.now + 60_000)
    subjects = list(stage.ledger().subjects())
    assert len(subjects) == 6
    assert set(listener.heard.values()) == {1}
    assert len(listener.heard) == 6 * 4  # it succeeded, was captured, and refunded twice
    for subject in subjects:
        assert len(list(stage.ledger().events(subject))) == len(work) // 6
        assert project(subject, stage.ledger().payment(subject).facts).refunded == 1200


def batches(rng: random.Random, work: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    shuffled = rng.sample(work, len(work))
    return [shuffled[n : n + 10] for n in range(0, len(shuffled), 10)]


@pytest.mark.parametrize("days", [1, 13, 400])
def test_a_message_that_comes_again_days_later_changes_nothing(days: int) -> None:
    """An entry of the ledger does not expire, and knows the message."""
    ledger: Any = MemoryLedger()
    clock, listener = Clock(), Listener()
    to = replace(consumer(ledger, MemoryInbox()), handlers=listener.handlers, clock=clock)
    to.process(records(1), clock.now + 60_000)
    before = dict(ledger.kept), dict(ledger.stored)
    clock.now += days * DAY
    to.process(records(1, receives=2), clock.now + 60_000)
    assert (ledger.kept, ledger.stored) == before
    assert set(listener.heard.values()) == {1}


@pytest.mark.parametrize("provider", ["stripe", "paypal"])
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_wrong_by_an_hour_accepts_nothing_that_it_should_not(
    provider: str, hours: int
) -> None:
    """Stripe's time is refused, so that it is sent again; PayPal's window is three days into the past."""
    inbox = MemoryInbox()
    to = receiver(inbox, Rolling("whsec_new", "whsec_new"))
    body = as_bytes({"id": "evt_1", "type": "x.y"})
    sent = signed(provider, body, at=NOW)
    wrong = Delivery(sent.headers, sent.body, NOW + hours * HOUR)
    if provider == "paypal" and hours > 0:
        assert to.receive(provider, wrong)["status"] == "accepted"
        return
    with pytest.raises(Refused) as refused:
        to.receive(provider, wrong)
    assert (refused.value.status, refused.value.reason) == (401, "timestamp")
    assert inbox.messages == {}
    assert to.receive(provider, sent)["status"] == "accepted"


@pytest.mark.parametrize(
    ("service", "code", "status"),
    [
        ("secretsmanager", "InternalServiceError", 503),
        ("sqs", "AWS.SimpleQueueService.OverLimit", 503),
        ("sqs", "AWS.SimpleQueueService.NonExistentQueue", 503),
        ("sqs", "AccessDenied", 503),
        ("dynamodb", "ThrottlingException", 200),  # not needed to accept what Stripe sends
    ],
)
def test_what_is_down_at_a_cold_start(
    service: str, code: str, status: int, dev: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never accepted without a queue; and with 503 the provider sends it again, which is accepted then."""
    refusing = {service}
    with Proxy(str(dev.endpoint), lambda call: code if call.service in refusing else None) as proxy:
        for name, value in {
            "DAYBOOK_STAGE": "dev",
            "AWS_ENDPOINT_URL": proxy.address,
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
        }.items():
            monkeypatch.setenv(name, value)
        sys.modules.pop("app", None)
        app: Any = importlib.import_module("app")
        sent = stripe_request(as_bytes({"id": f"evt_{service}_{code}", "type": "x.y"}))
        answer = app.app(sent, None)
        assert answer["statusCode"] == status
        assert ("Retry-After" in answer["headers"]) == (status == 503)
        refusing.clear()
        assert app.app(sent, None)["statusCode"] == 200
        refusing.add("secretsmanager")  # with what is known it goes on
        assert app.app(sent, None)["statusCode"] == 200
        sys.modules.pop("app", None)


def large(subject: str, size: int) -> Message:
    """A genuine event whose compressed body has about that many bytes."""
    noise = random.Random(1).randbytes(size // 2).hex()
    about: dict[str, Any] = {
        "object": "payment_intent",
        "id": subject.removeprefix("stripe:"),
        "noise": noise,
    }
    event = {"id": "evt_large", "type": "payment_intent.succeeded", "data": {"object": about}}
    about |= {"amount_received": 500, "currency": "eur"}
    return Message(
        provider="stripe", event_id="evt_large", subject=subject, received_at=NOW, body=as_bytes(event)
    )


def test_an_item_near_400_kb_is_recorded_and_can_be_parked(stage: Stage) -> None:
    """As much as the queue takes fits into the ledger, both ways."""
    message = large("stripe:pi_large", 2 * LARGEST * 7 // 8)
    text = message.encode()
    assert len(text) > 400_000
    to = to_stage(stage, Listener(), Clock())
    to.process([sqs_record(text)], NOW + 60_000)
    assert project("stripe:pi_large", stage.ledger().payment("stripe:pi_large").facts).captured == 500
    to.park([sqs_record(text, receives=6)], NOW)
    [parked] = stage.ledger().parking.parked()
    assert Message.decode(parked.message) == message


def test_a_thousand_parked_events_go_back_and_end_right(
    stage: Stage, aws: dict[str, str], daybook: Any
) -> None:
    """Through `daybook redrive --all`, the queue and the consumer."""
    count = 1000 if TORTURE else 60
    ledger = stage.ledger()
    for n in range(count):
        subject, [event] = tell("stripe", random.Random(n), START, 5000, "EUR", type_="charge.succeeded")
        message = Message(
            provider="stripe", event_id=event["id"], subject=subject, received_at=NOW, body=as_bytes(event)
        )
        ledger.parking.park(subject, event["id"], message.encode(), 6, NOW + n)
    result = CliRunner().invoke(main, ["redrive", "--all", "--stage", stage.name], env=aws)
    assert (result.exit_code, result.stdout) == (0, f"{count} sent again\n")
    source = EventSource(stage.client("sqs"), daybook.SETTINGS.names.queue, daybook.process)
    while source.poll(0):  # ends: what fails five times leaves the queue
        pass
    assert list(ledger.parking.parked()) == []
    subjects = list(ledger.subjects())
    assert len(subjects) == count
    assert {project(each, ledger.payment(each).facts).status for each in subjects} == {"succeeded"}


def test_nothing_of_an_event_is_in_what_the_queues_show(stage: Stage, daybook: Any) -> None:
    """A message's attributes, on the queue and in the dead-letter queue, hold no word of its body."""
    sqs = stage.client("sqs")
    body = as_bytes({"id": "evt_1", "type": "x.y", "data": {"object": {"name": "MARKED-NAME"}}})
    daybook._inbox().send(PROVIDERS["stripe"].event(body, NOW), body)
    for queue in (daybook.SETTINGS.names.queue, daybook.SETTINGS.names.dead_queue):
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        for _ in range(6):
            found = sqs.receive_message(
                QueueUrl=url,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
                VisibilityTimeout=0,
            )
            for each in found.get("Messages", []):
                shown = json.dumps({**each, "Body": ""}, default=str)
                assert "MARKED" not in shown
                assert "MARKED" not in each["Body"]  # base64: no log line of it can be read either
            time.sleep(0.01)
