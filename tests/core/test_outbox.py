"""Handlers: each change is heard once, in order, and a failure costs nothing that succeeded."""

import json
import random
import time
from contextlib import suppress
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest

from chalicelib.bus import EventBus
from chalicelib.errors import AwsError, BatchFailed, HandlerFailed, HandlersBusy, Unavailable
from chalicelib.events import Event
from chalicelib.explaining import CODE, Explanation, frames
from chalicelib.inbox import Message
from chalicelib.kinds import PAYMENT
from chalicelib.payments import Milestone, Payment
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers, Task
from ops.stories import tell
from tests.fakes import NOW, Clock, MemoryInbox, MemoryLedger, as_bytes, consumer, sqs_record, telemetry

MINUTE = 60_000


class Business:
    """Handlers that remember what they heard; ``broken`` names those that raise."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.broken: set[str] = set()
        self.handlers = Handlers()
        self.ids: list[str] = []

        @self.handlers.on("payment.succeeded")
        def fulfil(payment: Payment, milestone: Milestone) -> None:
            self._hear("fulfil", milestone.type, milestone.id)

        @self.handlers.on("payment.refunded")
        def credit(payment: Payment, milestone: Milestone) -> None:
            self._hear("credit", milestone.type, milestone.id)

        @self.handlers.on("payment.succeeded")
        def thank(payment: Payment, milestone: Milestone) -> None:
            assert payment.captured == milestone.amount
            self._hear("thank", milestone.type, milestone.id)

        @self.handlers.on("stripe.customer.*")
        def greet(event: Event) -> None:
            self._hear("greet", event.type, event.id)

    def _hear(self, name: str, type_: str, id: str) -> None:
        if name in self.broken:
            raise RuntimeError("a secret detail")
        self.heard.append((name, type_))
        self.ids.append(id)


class Setup:
    """A consumer over the in-memory ledger, with its business, clock and log."""

    def __init__(self) -> None:
        self.ledger, self.business, self.clock = MemoryLedger(), Business(), Clock()
        self.lines: list[str] = []
        inbox: Any = None
        ledger: Any = self.ledger
        base = consumer(ledger, inbox, self.lines, self.business.handlers)
        self.consumer = replace(base, telemetry=telemetry(self.lines, self.clock), clock=self.clock)

    def record(self, event: dict[str, Any]) -> None:
        self.consumer.record(message(event), self.clock.now + MINUTE)


def message(event: dict[str, Any]) -> Message:
    body = as_bytes(event)
    subject = PROVIDERS["stripe"].event(body, NOW).subject
    return Message(provider="stripe", event_id=event["id"], subject=subject, received_at=NOW, body=body)


def story(name: str) -> list[dict[str, Any]]:
    return tell("stripe", random.Random(1), NOW, 5000, "EUR", story=name)[1]


def attempts(setup: Setup, event: dict[str, Any], count: int) -> None:
    """That many deliveries of the event, each of which fails."""
    record = sqs_record(message(event).encode())
    for _ in range(count):
        with pytest.raises(BatchFailed):
            process_alone(setup, record)


def process_alone(setup: Setup, record: dict[str, Any]) -> None:
    class NoInbox:
        def delete(self, receipts: list[str]) -> None:
            assert receipts == []

    inbox: Any = NoInbox()
    replace(setup.consumer, inbox=inbox).process([record], setup.clock.now + MINUTE)


PAID = [("fulfil", "payment.succeeded"), ("thank", "payment.succeeded")]


def test_each_milestone_is_heard_once_by_each_handler() -> None:
    """In the order of registration, whatever is delivered again."""
    setup = Setup()
    for event in story("partial-refunds") * 3:
        setup.record(event)
    assert setup.business.heard == [*PAID, ("credit", "payment.refunded"), ("credit", "payment.refunded")]
    assert len(set(setup.business.ids)) == 3


def test_raw_events_are_heard_by_type() -> None:
    """Also those that are about no payment; once."""
    setup = Setup()
    event = {"id": "evt_1", "type": "customer.created", "data": {"object": {"object": "customer", "id": "c"}}}
    for _ in range(3):
        setup.record(event)
    assert setup.business.heard == [("greet", "customer.created")]


def test_a_failing_handler_is_tried_again_without_those_that_succeeded() -> None:
    """The record stands; what is left runs with the next delivery, and the reason is noted by its class."""
    setup = Setup()
    setup.business.broken = {"thank"}
    [*_, paid] = story("checkout")
    attempts(setup, paid, 3)
    assert setup.business.heard == PAID[:1]
    assert setup.ledger.payment(message(paid).subject).facts
    [noted] = setup.ledger.parking.notes.values()
    assert noted.reason == "thank: RuntimeError"
    assert "a secret detail" not in "".join(setup.lines)
    setup.business.broken = set()
    setup.record(paid)
    assert setup.business.heard == PAID
    assert setup.ledger.payment(message(paid).subject).outbox.tasks == ()


def test_what_is_left_can_be_run_without_a_delivery() -> None:
    """As a replay does; and a second replay has nothing to do."""
    setup = Setup()
    setup.business.broken = {"fulfil"}
    [*_, paid] = story("checkout")
    attempts(setup, paid, 5)
    setup.business.broken = set()
    subject = message(paid).subject
    assert setup.consumer.runner.resume(subject, PAYMENT, NOW + MINUTE) == 2
    assert setup.consumer.runner.resume(subject, PAYMENT, NOW + MINUTE) == 0
    assert setup.business.heard == PAID


def test_handlers_of_one_payment_never_run_at_the_same_time() -> None:
    """A second consumer records, and leaves the handlers to whoever holds the lease; until that ends."""
    setup = Setup()
    begun, paid, *_ = story("checkout")
    other: list[type[Exception]] = []

    @setup.business.handlers.on("payment.succeeded")
    def slow(payment: Payment, milestone: Milestone) -> None:
        for event in (begun, paid):
            try:
                setup.record(event)
            except Exception as error:
                other.append(type(error))

    setup.record(paid)
    assert [error.__name__ for error in other] == ["HandlersBusy", "HandlersBusy"]
    assert setup.business.heard == PAID
    assert setup.ledger.payment(message(paid).subject).outbox.tasks == ()
    assert {event_id for _, event_id in setup.ledger.stored} == {begun["id"], paid["id"]}


def test_a_lease_ends_with_its_holders_time() -> None:
    """Killed in a handler: the next delivery after its deadline runs what is left, that one again."""
    setup = Setup()
    paid = story("checkout")[1]

    def killed(payment: Payment, milestone: Milestone) -> None:
        raise KeyboardInterrupt

    original = setup.business.handlers._handlers[2]
    setup.business.handlers._handlers[2] = type(original)("thank", original.patterns, killed)
    with pytest.raises(KeyboardInterrupt):
        setup.record(paid)
    setup.business.handlers._handlers[2] = original
    with pytest.raises(HandlersBusy):
        setup.record(paid)
    assert setup.business.heard == PAID[:1]
    setup.clock.now += MINUTE
    setup.record(paid)
    assert setup.business.heard == PAID


def test_a_handler_that_is_gone_from_the_code_holds_nothing_up() -> None:
    """What it did not hear is struck off with it."""
    setup = Setup()
    setup.business.broken = {"thank"}
    paid = story("checkout")[1]
    attempts(setup, paid, 1)
    del setup.business.handlers._handlers[2]
    setup.record(paid)
    assert setup.business.heard == PAID[:1]
    assert setup.ledger.payment(message(paid).subject).outbox.tasks == ()


def test_a_handler_that_hangs_ends_by_itself_and_is_named() -> None:
    """Whatever it catches; the next one of its batch is told, and only its own is delivered again."""
    setup = Setup()
    hung: list[str] = []

    @setup.business.handlers.on("payment.succeeded")
    def hangs(payment: Payment, milestone: Milestone) -> None:
        while not hung or hung == [payment.id]:
            hung[:] = [payment.id]
            with suppress(Exception):
                time.sleep(0.01)

    paid = [story("checkout")[1], paid_payment(77)]
    inbox: Any = MemoryInbox()
    with pytest.raises(BatchFailed, match="1 subject"):
        replace(setup.consumer, inbox=inbox).process(queued(paid), setup.clock.now + 800)
    [line] = [json.loads(line) for line in setup.lines if "handler is out of time" in line]
    assert line["handler"] == "hangs"
    assert inbox.deleted == ["1"]
    first, second = (setup.ledger.payment(message(each).subject).outbox for each in paid)
    assert [task.done for task in first.tasks] == [("fulfil", "thank")]
    assert (first.leased_until, second.tasks) == (0, ())


def test_what_there_is_no_time_for_is_not_begun() -> None:
    """Those before it are off the queue before the process is ended; none of the others has failed."""
    setup = Setup()

    @setup.business.handlers.on("payment.succeeded")
    def takes_its_time(payment: Payment, milestone: Milestone) -> None:
        setup.clock.now += MINUTE // 3

    paid = [paid_payment(seed) for seed in range(5)]
    inbox: Any = MemoryInbox()
    with pytest.raises(BatchFailed, match="2 subject"):
        replace(setup.consumer, inbox=inbox).process(queued(paid), setup.clock.now + MINUTE)
    assert inbox.deleted == ["0", "1", "2"]
    assert setup.ledger.parking.notes == {}
    assert sum("the time is up" in line for line in setup.lines) == 2


def test_what_failed_is_returned_where_the_mapping_takes_it() -> None:
    """By its message; nothing is raised, which would slow the queue, and nothing deleted."""
    setup = Setup()

    @setup.business.handlers.on("payment.succeeded")
    def refuses(payment: Payment, milestone: Milestone) -> None:
        if payment.id == message(paid[1]).subject:
            raise OSError("down")

    paid = [paid_payment(seed) for seed in range(3)]
    work = queued(paid)
    inbox: Any = MemoryInbox()
    partial = replace(setup.consumer, inbox=inbox, partial_batches=True)
    assert partial.process(work, setup.clock.now + MINUTE) == [work[1]["messageId"]]
    assert inbox.deleted == []
    paid.append(paid_payment(9))
    assert partial.process(queued(paid[3:]), setup.clock.now + MINUTE) == []


def queued(paid: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A record for each, its place for its group and receipt."""
    return [sqs_record(message(each).encode(), group=str(n), receipt=str(n)) for n, each in enumerate(paid)]


def paid_payment(seed: int) -> dict[str, Any]:
    _, [event] = tell("stripe", random.Random(seed), NOW, 5000, "EUR", type_="payment_intent.succeeded")
    return event


def test_a_handler_that_hangs_in_another_thread_is_named() -> None:
    """There Python cannot interrupt it."""
    setup = Setup()

    @setup.business.handlers.on("payment.succeeded")
    def hangs(payment: Payment, milestone: Milestone) -> None:
        for _ in range(500):
            if any("handler is out of time" in line for line in setup.lines):
                return
            time.sleep(0.01)

    deadline = setup.clock.now + 500
    thread = Thread(target=setup.consumer.record, args=[message(story("checkout")[1]), deadline])
    thread.start()
    thread.join()
    assert any("handler is out of time" in line for line in setup.lines)


@pytest.mark.parametrize("pattern", ["payment.suceeded", "charge.succeeded", "", "paypal", "foo*", "*", "p*"])
def test_a_type_that_is_never_told_is_refused_at_once(pattern: str) -> None:
    """A typing error must not be a handler that never runs."""
    with pytest.raises(ValueError, match="nobody is ever notified of"):
        Handlers().on(pattern)


def test_two_handlers_of_one_name_are_refused() -> None:
    """The outbox knows them by name."""
    handlers = Handlers()

    def fulfil() -> None:
        """Hear something."""

    handlers.on("payment.succeeded")(fulfil)
    with pytest.raises(ValueError, match="there is a handler fulfil already"):
        handlers.on("payment.failed")(fulfil)


# ── the event bus ───────────────────────────────────────────────────────────────────────────────────


class Bus:
    """EventBridge; ``failing`` is how many entries it says it did not take."""

    def __init__(self, failing: int = 0) -> None:
        self.entries: list[dict[str, str]] = []
        self.failing = failing

    def __call__(self, service: str, operation: str, /, **request: Any) -> dict[str, int]:
        assert (service, operation) == ("events", "PutEvents")
        self.entries += request["Entries"]
        return {"FailedEntryCount": self.failing}


@pytest.mark.parametrize("raw", [False, True])
def test_the_bus_hears_each_milestone_and_raw_events_when_asked(raw: bool) -> None:
    """With the payment's JSON and the milestone, under the name that the stage gives the bus."""
    setup, client = Setup(), Bus()
    setup.business.handlers._handlers[:] = EventBus(client, "payment-events-dev").handlers(raw)
    for event in story("checkout"):
        setup.record(event)
    milestones = [entry for entry in client.entries if entry["DetailType"] == "payment.succeeded"]
    assert len(milestones) == 1
    assert len(client.entries) == (6 if raw else 2)
    detail = json.loads(milestones[0]["Detail"])
    assert (milestones[0]["Source"], milestones[0]["EventBusName"]) == ("daybook", "payment-events-dev")
    assert detail["payment"]["status"] == "succeeded"
    assert detail["milestone"]["type"] == "payment.succeeded"


def test_what_the_bus_does_not_take_is_tried_again() -> None:
    """``put_events`` answers 200 even then."""
    bus = EventBus(Bus(failing=1), "b")
    event = PROVIDERS["stripe"].event(as_bytes(story("checkout")[0]), NOW)
    with pytest.raises(Unavailable):
        bus.publish_event(event)


def test_an_event_too_large_for_the_bus_goes_without_its_content() -> None:
    """It would be refused for ever, and hold up what its payment has to tell."""
    client = Bus()
    for length in (100_000, 300_000):
        event = {"id": f"evt_{length}", "type": "x.y", "data": {"object": {"note": "x" * length}}}
        EventBus(client, "b").publish_event(PROVIDERS["stripe"].event(as_bytes(event), NOW))
    whole, named = (json.loads(entry["Detail"]) for entry in client.entries)
    assert whole["event"]["id"] == "evt_100000"
    assert named == {"id": "evt_300000", "subject": "stripe:evt_300000"}


# ── why one failed ──────────────────────────────────────────────────────────────────────────────────


def failed(setup: Setup) -> dict[str, Any]:
    [line] = [json.loads(each) for each in setup.lines if '"handler failed"' in each]
    return {name: line[name] for name in ("error", "at", "text") if name in line}


def test_the_log_says_where_a_handler_failed_and_not_what_was_said() -> None:
    """The frames and the class, which hold nobody; its words only where the stage asks for them."""
    quiet, loud = Setup(), Setup()
    shown: list[str] = []
    loud.consumer = replace(loud.consumer, explain=Explanation(messages=True, show=shown.append))
    for setup in (quiet, loud):
        setup.business.broken = {"fulfil"}
        with pytest.raises(HandlerFailed, match=r"^fulfil: RuntimeError$"):
            setup.record(story("checkout")[-1])
    places = failed(quiet)
    assert places["error"] == "RuntimeError"
    assert [each.rpartition(" in ")[2] for each in places["at"]] == ["fulfil", "_hear"]
    assert all(each.startswith("tests/core/test_outbox.py:") for each in places["at"])
    assert "a secret detail" not in "".join(quiet.lines)
    assert failed(loud) == {**places, "text": "a secret detail"}
    [traceback] = shown
    assert traceback.splitlines()[0] == "Traceback (most recent call last):"
    assert traceback.splitlines()[-1] == "RuntimeError: a secret detail"


def test_what_is_left_says_why_and_how_often_it_failed() -> None:
    """Until it has ended well; a library's frames are named by their file."""
    setup = Setup()
    setup.business.broken = {"fulfil"}
    [paid] = [each for each in story("checkout") if each["type"] == "payment_intent.succeeded"]
    attempts(setup, paid, 2)
    subject = PROVIDERS["stripe"].event(as_bytes(paid), NOW).subject
    [task] = [each for each in setup.ledger.outbox(subject, PAYMENT).tasks if each.runs]
    assert (task.runs, str(task.failed).partition(":")[0]) == (2, "fulfil")
    assert str(task.failed).endswith(" in _hear")
    assert Task.from_dict(task.to_dict()) == task
    setup.business.broken = set()
    setup.consumer.record(message(paid), NOW + MINUTE)
    assert setup.ledger.outbox(subject, PAYMENT).tasks == ()
    with pytest.raises(ValueError, match="Expecting") as raised:
        json.loads("{")
    assert frames(raised.value)[-1].startswith("json/decoder.py:")


def test_why_a_run_failed_names_ones_own_line() -> None:
    """Not the library's that raised; with what it said only where messages are wanted."""

    def run() -> None:
        json.loads("{")

    with pytest.raises(ValueError, match="Expecting") as caught:
        run()
    error = caught.value
    assert Explanation().short(error).startswith("JSONDecodeError, json/decoder.py:")
    code = compile("import json\ndef ship():\n    json.loads('{')\n", str(CODE / "handlers.py"), "exec")
    module: dict[str, Any] = {}
    exec(code, module)
    with pytest.raises(ValueError, match="Expecting") as caught:
        module["ship"]()
    assert Explanation().short(caught.value) == "JSONDecodeError, chalicelib/handlers.py:3 in ship"
    said = Explanation(messages=True).short(caught.value)
    assert said.startswith("JSONDecodeError (Expecting property name")
    assert said.endswith("), chalicelib/handlers.py:3 in ship")


def test_a_table_that_cannot_be_read_is_no_handlers_fault() -> None:
    """It was not called: nothing says that it failed, and it is notified when the event comes again."""
    setup = Setup()
    reads, count = setup.ledger.record, iter(range(2))

    def throttled(subject: str) -> Any:
        if next(count) == 0:  # before it is written
            return reads(subject)
        raise AwsError("dynamodb", "GetItem", "ThrottlingException", passing=True, throttled=True)

    succeeded = paid_payment(1)
    setup.ledger.record = throttled  # type: ignore[method-assign]
    with pytest.raises(AwsError):
        setup.record(succeeded)
    assert not any("handler failed" in line for line in setup.lines)
    setup.ledger.record = reads  # type: ignore[method-assign]
    setup.clock.now += 2 * MINUTE
    setup.record(succeeded)
    assert [name for name, _ in setup.business.heard] == ["fulfil", "thank"]
