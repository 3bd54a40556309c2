"""Targets: in order for each record, at least once, and one that fails holds up nothing but its own."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from chalicelib.delivering import PAUSES
from chalicelib.errors import AwsError, HandlerFailed, NewerRules, NotTaken
from chalicelib.reactions import Handler
from chalicelib.times import HOUR
from ops.redrive import deliver_to
from ops.replay import Period, notify
from ops.stories import STORIES, tell
from tests.fakes import NOW
from tests.little_dynamo import LittleDynamo
from tests.receiving import LASTS, Notified

HOOK = "https://warehouse.example.com/hook"
QUEUE = "arn:aws:sqs:eu-central-1:123456789012:books.fifo"
Refusal = Callable[[str, str], NotTaken | None]


def refusing(name: str, of: str = "", why: str = "answered 500") -> Refusal:
    """A target that takes nothing, or nothing of one record."""
    return lambda target, subject: NotTaken(why) if target == name and of in ("", subject) else None


def test_each_target_is_sent_its_milestones_once_and_in_order() -> None:
    """Those that it is for; the bodies say of what record, and what was reached."""
    stage = Notified(warehouse=f"{HOOK} payment.*", books=QUEUE)
    subject = stage.pay("partial-refunds")
    stage.pass_time(HOUR)
    last = stage.receivers.bodies[-1]["data"]["payment"]
    assert last["id"] == subject
    reached = [each["id"].removeprefix(f"{subject}/") for each in last["milestones"]]
    assert len(reached) > 3
    assert stage.receivers.of("books") == reached
    assert stage.receivers.of("warehouse") == [each for each in reached if each.startswith("payment.")]
    assert not stage.waits("books", subject).tasks
    assert not stage.sqs.waiting


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("provider", ["stripe", "paypal"])
def test_whatever_happens_is_sent(provider: str, story: str) -> None:
    """All that a handler of everything would have heard, in that order."""
    stage = Notified(books=QUEUE)
    heard: list[str] = []
    stage.handlers.on("payment.*")(lambda payment, milestone: heard.append(milestone.id))
    stage.pay(story, provider=provider)
    stage.pass_time(HOUR)
    sent = [each["data"]["milestone"]["id"] for each in stage.receivers.bodies]
    sent = [each for each in sent if "/payment." in each]
    assert sorted(sent, key=_record) == sorted(heard, key=_record)  # of one record in that order


def busy(seconds: float) -> Refusal:
    return lambda target, subject: NotTaken("answered 429", seconds)


def _record(id_: str) -> str:
    return id_.partition("/")[0]


def test_a_target_that_fails_holds_up_its_own_payment_for_itself_only() -> None:
    """Not another target, not another payment, and no event."""
    stage = Notified(warehouse=HOOK, books=QUEUE)
    first, second = stage.pay(seed=1), stage.pay(seed=2)
    stage.receivers.refuses = refusing("warehouse", first)
    stage.pass_time(10 * 60_000)
    assert stage.receivers.of("warehouse", first) == []
    assert stage.receivers.of("warehouse", second) == stage.receivers.of("books", second)
    assert stage.receivers.of("books", first)
    stage.receivers.refuses = lambda target, subject: None
    stage.pass_time(HOUR)
    assert stage.receivers.of("warehouse", first) == stage.receivers.of("books", first)


def test_it_is_tried_again_after_growing_pauses_and_then_parked() -> None:
    """Each pause is longer than the one before; each attempt is logged, with its reason and nothing else."""
    stage = Notified(warehouse=HOOK)
    tried: list[int] = []

    def refuse(target: str, subject: str) -> NotTaken:
        tried.append(stage.clock.now)
        return NotTaken("answered 503")

    stage.receivers.refuses = refuse
    subject = stage.pay("checkout")
    stage.pass_time(sum(PAUSES) + 10 * HOUR)
    between = [after - before for before, after in pairwise(tried)]
    assert len(tried) == len(PAUSES) + 1
    for asked, was in zip(PAUSES, between, strict=True):
        assert asked <= was <= asked + 1000
    parked = stage.waits("warehouse", subject)
    assert (parked.attempts, parked.reason) == (8, "answered 503")
    assert parked.parked_at is not None
    assert [each.id for each in stage.ledger.undelivered.parked()] == [f"warehouse/{subject}"]
    assert list(stage.ledger.undelivered.waiting(stage.clock.now)) == []
    counted = [json.loads(each) for each in stage.lines]
    assert sum(each.get("target_failed", 0) for each in counted) == 8
    assert sum(each.get("parked", 0) for each in counted) == 1


def test_what_is_parked_is_tried_once_more_when_something_new_comes() -> None:
    """In order: first what was parked. One attempt, until somebody redrives it."""
    stage = Notified(warehouse=HOOK)
    stage.receivers.refuses = refusing("warehouse")
    rng = random.Random(3)
    _, events = tell("stripe", rng, NOW - 60_000, 5000, "EUR", story="partial-refunds")
    subject = stage.know(events[:3])
    stage.pass_time(sum(PAUSES) + 10 * HOUR)
    assert stage.waits("warehouse", subject).parked_at is not None
    stage.know(events[3:])
    stage.pass_time(60_000)
    assert stage.waits("warehouse", subject).parked_at == stage.clock.now - 60_000
    stage.receivers.refuses = lambda target, subject: None
    stage.pass_time(2 * HOUR)
    assert stage.receivers.of("warehouse") == []
    parked = stage.waits("warehouse", subject)
    stage.ledger.undelivered.change(parked, lambda each: each.redriven(stage.clock.now), stage.clock.now)
    stage.wakeups.send(stage.waits("warehouse", subject).wakeup)
    stage.wake()
    assert stage.receivers.of("warehouse") == [each.id.removeprefix(f"{subject}/") for each in parked.tasks]


def test_an_hour_after_somebody_looks() -> None:
    """What waits for an hour is counted; and woken, where the queue lost who wakes for it."""
    stage = Notified(warehouse=HOOK)
    subject = stage.pay("checkout")
    stage.sqs.waiting.clear()
    stage.clock.now += 2 * HOUR
    stage.look()
    assert '"undelivered": 1' in stage.lines[-2]
    assert '"targets": ["warehouse"]' in stage.lines[-1]
    stage.wake()
    assert stage.receivers.of("warehouse", subject)
    stage.look()
    assert '"undelivered": 0' in stage.lines[-1]


def test_killed_between_sending_and_striking_off_it_is_sent_once_more() -> None:
    """At least once; nothing after it is lost, or comes before it."""
    stage = Notified(books=QUEUE)
    subject = stage.pay("partial-refunds")
    expected = [each.id.removeprefix(f"{subject}/") for each in stage.waits("books", subject).tasks]
    assert len(expected) > 2

    class Killed(BaseException):
        pass

    def kill(target: str, subject: str) -> None:
        if len(stage.receivers.sent) == 1:
            raise Killed

    stage.receivers.refuses = kill
    with pytest.raises(Killed):
        stage.wake()
    stage.receivers.refuses = lambda target, subject: None
    stage.wake()
    assert len(stage.receivers.sent) == 1, "the lease of who was killed is not over"
    stage.clock.now += LASTS
    stage.deliver(stage.waits("books", subject).wakeup.encode())
    assert stage.receivers.of("books", subject) == expected


class LosesAnswers(LittleDynamo):
    """Some writes are carried out, but their answers are lost; asked again their conditions do not hold."""

    rng = random.Random(5)

    def put_item(self, request: Any) -> dict[str, Any]:
        answer = super().put_item(request)
        if request["Item"]["entry"]["S"].startswith("target:") and self.rng.random() < 0.5:
            raise AwsError("dynamodb", "PutItem", "ConditionalCheckFailedException", False)
        return answer


def test_an_answer_that_is_lost_loses_nothing_else() -> None:
    """A write that was carried out, and is tried again, fails its condition: that takes nothing more away."""
    stage = Notified(LosesAnswers(), books=QUEUE)
    subject = stage.pay("partial-refunds")
    expected = [each.id.removeprefix(f"{subject}/") for each in stage.waits("books", subject).tasks]
    assert len(expected) > 2
    for _ in range(40):
        stage.clock.now += 2 * LASTS
        stage.look()
        stage.wake()
    assert [*dict.fromkeys(stage.receivers.of("books", subject))] == expected


def test_what_comes_right_after_is_sent_right_after() -> None:
    """Who has sent all that waited has let go of it."""
    stage = Notified(books=QUEUE)
    _, events = tell("stripe", random.Random(3), NOW - 60_000, 5000, "EUR", story="partial-refunds")
    for each in events:
        subject = stage.know([each])
        stage.wake()
        assert not stage.waits("books", subject).tasks
    assert len(stage.receivers.of("books")) == 4


def test_the_same_milestone_is_not_noted_twice_while_it_waits() -> None:
    """The consumer that was killed before it marked it handled notes it again."""
    stage = Notified(books=QUEUE)
    subject = stage.pay("checkout")
    waiting = stage.waits("books", subject)
    for task in waiting.tasks:
        stage.ledger.undelivered.add(waiting.waiter, task, stage.clock.now)
    assert stage.waits("books", subject) == waiting


def test_where_the_queue_cannot_be_reached_the_event_comes_again() -> None:
    """The handler has not ended well; what is noted is noted once."""
    stage = Notified(books=QUEUE)
    stage.sqs.fails = True
    with pytest.raises(HandlerFailed, match="target:books"):
        stage.pay("checkout")
    stage.sqs.fails = False
    subject = stage.pay("checkout")
    stage.pass_time(60_000)
    sent = stage.receivers.of("books", subject)
    assert sent
    assert len(set(sent)) == len(sent)


def test_a_target_that_is_gone_from_the_settings_keeps_what_waits() -> None:
    """A typing error in a setting must not lose anything."""
    stage = Notified(books=QUEUE)
    subject = stage.pay("checkout")
    stage.targets = ()
    stage.wake()
    assert stage.waits("books", subject).reason == "no target of this name is configured"


def test_one_that_hangs_is_left_alone_by_those_who_wait_beside() -> None:
    """In one process it is waited for once; that counts as an attempt of nobody else."""
    stage = Notified(warehouse=HOOK)
    subjects = [stage.pay("checkout", seed) for seed in range(5)]
    stage.receivers.refuses = hanging(stage, "warehouse")
    bodies = [{"body": body, "messageId": "m"} for _, body in stage.sqs.waiting]
    stage.sqs.waiting.clear()
    stage.deliverer.process(bodies, stage.clock.now + 10 * LASTS)
    assert sorted(stage.waits("warehouse", each).attempts for each in subjects) == [0, 0, 0, 0, 1]
    stage.receivers.refuses = lambda target, subject: None
    stage.pass_time(HOUR)
    assert all(stage.receivers.of("warehouse", each) for each in subjects)


def test_it_asks_to_be_left_alone() -> None:
    """`Retry-After` is waited for, where it is longer than the pause; no longer than an hour."""
    stage = Notified(warehouse=HOOK)
    for asked, until in ((120.0, 120_000), (99_999.0, HOUR)):
        subject = stage.pay("checkout", seed=int(asked))
        stage.receivers.refuses = busy(asked)
        stage.wake()
        assert stage.waits("warehouse", subject).due_at == stage.clock.now + until
        stage.sqs.waiting.clear()


def test_nothing_is_begun_when_the_time_is_nearly_up() -> None:
    """An answer may take as long as is left."""
    stage = Notified(books=QUEUE)
    subject = stage.pay("checkout")
    stage.deliverer.deliver(stage.waits("books", subject).wakeup, stage.clock.now - 1, stage.clock.now)
    assert stage.receivers.sent == []

    def slow(target: str, subject: str) -> None:
        stage.clock.now += 50_000

    stage.receivers.refuses = slow
    stage.sqs.waiting.clear()
    stage.deliver(stage.waits("books", subject).wakeup.encode())
    assert len(stage.receivers.sent) == 1
    assert len(stage.sqs.waiting) == 1


def test_one_that_waits_for_the_reference() -> None:
    """As a handler that needs it does."""
    stage = Notified(warehouse=f"{HOOK} payment.succeeded needs=reference")
    subject = stage.pay("checkout")
    stage.pass_time(60_000)
    assert stage.receivers.of("warehouse", subject) == ["payment.succeeded"]
    assert stage.receivers.bodies[0]["data"]["payment"]["reference"]


def test_raw_events_too() -> None:
    """Where the target names them."""
    stage = Notified(books=f"{QUEUE} stripe.charge.*")
    stage.pay("checkout")
    stage.pass_time(60_000)
    assert stage.receivers.bodies[0]["type"] == "stripe.charge.succeeded"
    assert stage.receivers.bodies[0]["data"]["event"]["type"] == "charge.succeeded"


def test_what_a_newer_version_wrote_waits_for_it() -> None:
    """It is not sent as an older one would read it; and holds up nothing else."""
    stage = Notified(books=QUEUE)
    subject = stage.pay("checkout")

    def read(task: Any, subject: str) -> Any:
        raise NewerRules(subject, 9, 3)

    of_newer = replace(stage.deliverer, read=read)
    of_newer.deliver(stage.waits("books", subject).wakeup, stage.clock.now + 1, stage.clock.now + LASTS)
    assert stage.waits("books", subject).reason == "a newer version of Daybook wrote the record"


def test_what_is_no_message_of_the_queue_is_said_and_dropped() -> None:
    """Nobody waits by it."""
    stage = Notified(books=QUEUE)
    for poison in ("", "{}", "[]", '{"subject": "a"}', "\x00"):
        stage.deliver(poison)
    assert sum("cannot be delivered" in each for each in stage.lines) == 5


# ── who takes long, and who waits beside ────────────────────────────────────────────────────────────


def hanging(stage: Notified, name: str) -> Refusal:
    def hang(target: str, subject: str) -> NotTaken | None:
        if target != name:
            return None
        stage.clock.now += 15_000
        return NotTaken("no answer: TimeoutError", is_silent=True)

    return hang


def test_a_target_that_hangs_for_hours_wakes_ever_less_and_holds_up_no_other() -> None:
    """No more messages than milestones, however long; another target's come at once."""
    stage = Notified(warehouse=HOOK, books=QUEUE)
    stage.receivers.refuses = hanging(stage, "warehouse")
    for seed in range(30):
        stage.pay("checkout", seed)
    stage.pass_time(3 * HOUR)
    assert len(stage.sqs.waiting) <= 60
    sent = len(stage.receivers.of("books"))
    before = stage.clock.now
    subject = stage.pay("checkout", 99)
    for _ in range(40):
        if stage.receivers.of("books", subject):
            break
        stage.clock.now += 1000
        stage.wake()
    assert len(stage.receivers.of("books")) == sent + 2
    assert stage.clock.now - before < 40_000
    stage.receivers.refuses = lambda target, subject: None
    stage.pass_time(3 * HOUR)
    assert len({subject for name, subject, _ in stage.receivers.sent if name == "warehouse"}) == 31


def test_who_does_not_answer_for_long_is_given_up_by_all_who_wait() -> None:
    """Also by those that were never tried themselves: they are parked, and redriven by a person."""
    stage = Notified(warehouse=HOOK)
    stage.receivers.refuses = hanging(stage, "warehouse")
    subjects = [stage.pay("checkout", seed) for seed in range(12)]
    stage.pass_time(sum(PAUSES) * 2)
    assert [stage.waits("warehouse", each).parked_at is None for each in subjects] == [False] * 12
    assert stage.sqs.waiting == []


@pytest.mark.parametrize("answer", ["takes it", "refuses it"])
def test_who_answers_slowly_leaves_others_as_much_of_the_time(answer: str) -> None:
    """Whatever it answers, it is left alone for as long as that took; nothing is counted against it."""
    stage = Notified(warehouse=HOOK)

    def slow(target: str, subject: str) -> NotTaken | None:
        stage.clock.now += 5_000
        return NotTaken("answered 422") if answer == "refuses it" else None

    stage.receivers.refuses = slow
    first, second = stage.pay("checkout", 1), stage.pay("checkout", 2)
    stage.deliver(stage.waits("warehouse", first).wakeup.encode())
    assert 0 < stage.rests.of("warehouse") <= 5_000
    stage.deliver(stage.waits("warehouse", second).wakeup.encode())
    assert stage.waits("warehouse", second).attempts == 0
    stage.receivers.refuses = lambda target, subject: None
    stage.clock.now += 6_000
    stage.wake()
    assert len(stage.receivers.of("warehouse", second)) == 2


def test_a_handler_that_fails_holds_up_no_target() -> None:
    """All that was reached is noted for targets before any other handler is called."""
    stage = Notified(books=QUEUE)
    heard: list[str] = []

    def fail(payment: Any, milestone: Any) -> None:
        heard.append(milestone.type)
        raise OSError("the shop is closed")

    stage.handlers.clear([Handler("ship", ("payment.*",), fail), *stage.handlers])
    _, events = tell("stripe", random.Random(3), NOW - 60_000, 5000, "EUR", story="partial-refunds")
    for each in events:
        with suppress(HandlerFailed):
            stage.know([each])
    stage.pass_time(60_000)
    assert len(stage.receivers.of("books")) == 4
    assert set(heard) == {"payment.succeeded"}


def test_one_record_that_cannot_be_read_holds_up_no_other() -> None:
    """Its entry is not what this version writes, or reading it fails: the rest of the batch is sent."""
    stage = Notified(books=QUEUE)
    odd, broken, good = (stage.pay("checkout", seed) for seed in range(3))
    table: Any = stage.ledger._table._aws
    entry = json.loads(table.items[odd, "target:books"])
    entry["outbox"] = {"S": json.dumps([{"id": "x", "type": "y", "field_of_a_newer_version": 1}])}
    table.items[odd, "target:books"] = json.dumps(entry)
    read = stage.consumer.runner.read

    def reading(task: Any, subject: str) -> Any:
        if subject == broken:
            raise KeyError(subject)
        return read(task, subject)

    bodies = [{"body": body, "messageId": "m"} for _, body in stage.sqs.waiting]
    replace(stage.deliverer, read=reading).process(bodies, stage.clock.now + LASTS)
    assert stage.receivers.of("books", good)
    assert stage.waits("books", broken).reason == "could not be read: KeyError"
    assert any("cannot be delivered" in line for line in stage.lines)


def test_little_time_is_used_all_the_same() -> None:
    """With less time than an answer may take something is sent: else it would wake itself for ever."""
    stage = Notified(books=QUEUE)
    subject = stage.pay("checkout")
    record = {"body": stage.waits("books", subject).wakeup.encode(), "messageId": "m"}
    stage.deliverer.process([record], stage.clock.now + 15_000)
    assert stage.receivers.of("books", subject)


def test_a_message_for_another_instant_is_of_no_use() -> None:
    """Of two that wake for the same, the second changes nothing; nor does one that is late."""
    stage = Notified(books=QUEUE)
    subject = stage.pay("checkout")
    before = stage.waits("books", subject).wakeup
    stage.receivers.refuses = refusing("books")
    for _ in range(3):
        stage.deliver(before.encode())
    assert stage.waits("books", subject).attempts == 1


def test_what_a_mistyped_target_has_is_sent_to_another() -> None:
    """In its order, behind what waits for that already; nothing is left."""
    stage = Notified(warehose=HOOK, warehouse=HOOK)
    subject = stage.pay("partial-refunds")
    stage.targets = tuple(each for each in stage.targets if each.name == "warehouse")
    stage.wake()
    assert stage.waits("warehose", subject).reason == "no target of this name is configured"
    waits = stage.waits("warehose", subject)
    deliver_to(stage.ledger, stage.wakeups, waits, "warehouse", stage.clock.now)
    assert stage.waits("warehose", subject).tasks == ()
    stage.pass_time(HOUR)
    assert len(stage.receivers.of("warehouse", subject)) == 8


def test_a_replay_for_one_handler_leaves_what_waits_for_others() -> None:
    """Neither is what a target is still to be sent forgotten, nor a handler that failed."""
    stage = Notified(books=QUEUE)
    fails = [True]
    heard: list[str] = []

    def ship(payment: Any, milestone: Any) -> None:
        if fails[0]:
            raise OSError
        heard.append(milestone.type)

    stage.handlers.clear([Handler("ship", ("payment.succeeded",), ship), *stage.handlers])
    with pytest.raises(HandlerFailed):
        stage.pay("checkout")
    [(subject, task, _)] = [
        each
        for each in Period(since=0, until=stage.clock.now, handler="target:books").found(stage.consumer)
        if each[1].type == "payment.succeeded"
    ]
    with suppress(HandlerFailed):
        notify(stage.consumer, subject, [task], stage.clock.now + LASTS)
    fails[0] = False
    stage.clock.now += 2 * LASTS
    stage.consumer.runner.resume(subject, "payment", stage.clock.now + LASTS)
    assert heard == ["payment.succeeded"]
