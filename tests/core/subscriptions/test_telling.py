"""Handlers are told once that access began or ended, also where nothing but the clock has moved."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from chalicelib import several
from chalicelib.asking import Asking
from chalicelib.credentials import FixedCredentials
from chalicelib.errors import InvalidPayload, NotAllowed, NotFound, Unavailable
from chalicelib.events import Delivery
from chalicelib.inbox import Message
from chalicelib.payments import Milestone
from chalicelib.providers import PROVIDERS, paypal
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.protocol import Trust
from chalicelib.providers.stripe.client import StripeApi
from chalicelib.reactions import Handlers
from chalicelib.subscriptions import Subscription, Told, project
from chalicelib.times import DAY, HOUR, to_iso
from chalicelib.webhooks import Receiver
from ops.sender import StripeSigner
from ops.stories import SUBSCRIPTIONS, tell
from ops.stories.paypal_subscriptions import PayPalSubscription
from ops.stories.stripe_subscriptions import StripeSubscription
from tests.fakes import NOW, Clock, MemoryInbox, MemoryLedger, as_bytes, consumer, telemetry

Json = dict[str, Any]


class Stage:
    """A stage in memory with a clock of its own, and what its handlers were told."""

    def __init__(self, provider: str, now: int, began: int = 0, **apis: Any) -> None:
        self.provider, self.apis = provider, apis
        self.ledger: Any = MemoryLedger()
        self.heard: list[tuple[str, str]] = []
        self.raw: list[str] = []
        self.clock = Clock(now)
        handlers = Handlers()

        @handlers.on("access.*")
        def access(subscription: Subscription, milestone: Milestone) -> None:
            self.heard.append((milestone.type.partition(".")[2], milestone.at))

        @handlers.on("subscription.trial_ending")
        def trial(subscription: Subscription, milestone: Milestone) -> None:
            self.heard.append(("trial_ending", milestone.at))

        @handlers.on(f"{provider}.*")
        def event(event: Any) -> None:
            self.raw.append(event.type)

        made = consumer(self.ledger, MemoryInbox(), handlers=handlers)
        self.consumer = replace(made, clock=self.clock, began=lambda: began)

    def send(self, *events: Json) -> None:
        for each in events:
            body = as_bytes(each)
            made = PROVIDERS[self.provider].event(body, self.clock.now)
            self.consumer.record(Message.of(made, body), self.clock.now + 60_000)

    def put(self, text: str, group: str, once: str, trace: str = "") -> None:
        """As the queue: what is put on it is recorded at once."""
        self.consumer.record(Message.decode(text), self.clock.now + 60_000)

    def look(self) -> int:
        inbox: Any = self
        asking = Asking(
            providers=PROVIDERS,
            apis=several.asked(self.apis),
            ledger=self.ledger,
            inbox=inbox,
            telemetry=telemetry(),
        )
        return asking.look(self.clock.now)

    def hours(self, until: int, every: int = 1) -> None:
        """Time passes, with a look every so many hours."""
        while self.clock.now < until:
            self.clock.now = min(self.clock.now + every * HOUR, until)
            self.look()


def stripe(days: int = 0) -> tuple[StripeSubscription, list[Json], int]:
    """A subscription that was begun and paid at the instant."""
    it = StripeSubscription(random.Random(3), NOW, 1900, "EUR", None)
    events = [it.created("active", days), *it.paid("subscription_create")]
    return it, events, it.now * 1000


@pytest.mark.parametrize("every", [1, 7, 1000])
def test_access_ends_once_where_only_the_clock_moved(every: int) -> None:
    """At the instant at which it did, however many hours were missed."""
    _, events, began = stripe()
    stage = Stage("stripe", began)
    stage.send(*events, *events)
    stage.hours(began + 50 * DAY, every)
    ended = began + (30 + 3) * DAY
    assert stage.heard == [("granted", to_iso(began)), ("revoked", to_iso(ended))]
    assert "daybook.clock" not in stage.raw
    assert stage.look() == 0


def test_a_renewal_in_time_is_nobodys_business() -> None:
    """Nor is one that is late, but within the slack."""
    it, events, began = stripe()
    stage = Stage("stripe", began)
    stage.send(*events)
    for days in (30, 32):
        renewal = [it.renewed(), *it.paid("subscription_cycle")]
        stage.hours(began + days * DAY)
        stage.send(*renewal)
        began = it.now * 1000
    stage.hours(began + 30 * DAY)
    assert [each for each, _ in stage.heard] == ["granted"]


def test_whoever_pays_again_is_told_again() -> None:
    """Each time has an id of its own."""
    it, events, began = stripe()
    stage = Stage("stripe", began)
    stage.send(*events)
    stage.hours(began + 40 * DAY)
    stage.send(it.renewed(), *it.paid("subscription_cycle"))
    assert [each for each, _ in stage.heard] == ["granted", "revoked", "granted"]
    told: Told = stage.ledger.record(it.subject).told
    assert [each.id.rpartition("/")[2] for each in told.milestones(it.subject)] == ["1", "2", "3"]
    assert Told.from_dict(json.loads(json.dumps(told.to_dict()))) == told


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("story", SUBSCRIPTIONS)
def test_after_a_story_in_any_order_the_last_word_is_right(provider: str, story: str) -> None:
    """Whatever was thought in between: granted if there is access."""
    for seed in range(8):
        rng = random.Random(seed)
        subject, events = tell(provider, rng, NOW, 1900, "EUR", story=story)
        stage = Stage(provider, NOW)
        delivered = events * 3
        rng.shuffle(delivered)
        stage.send(*delivered)
        stage.clock.now += HOUR
        stage.look()
        has_access = story != "disputed-renewal"
        assert [each for each, _ in stage.heard if each != "trial_ending"][-1:] in (
            [["granted"]] if has_access else [["revoked"], []]
        )
        assert stage.ledger.record(subject).told.access == has_access


def test_what_happened_before_the_stage_listened_is_told_to_nobody() -> None:
    """The record knows it, and goes on from there."""
    _, events, began = stripe(days=10)
    stage = Stage("stripe", NOW, began=NOW - HOUR)
    stage.send(*events)
    assert stage.heard == []
    stage.hours(began + 40 * DAY, every=12)
    assert [each for each, _ in stage.heard] == ["revoked"]


class Shows(StripeApi):
    """Stripe's API, with one subscription; or an error."""

    def get(self, path: str, **parameters: Any) -> Any:
        assert path.startswith("/v1/subscriptions/sub_")
        SHOWN["asked"] += 1
        SHOWN["account"] = parameters.get("stripe_account")
        if isinstance(SHOWN["about"], Exception):
            raise SHOWN["about"]
        return SHOWN["about"]


SHOWN: Json = {}


def asked(about: Any, clock: Any) -> StripeApi:
    SHOWN.update(about=about, asked=0)
    return Shows("rk_1", "", clock)


def test_nobody_is_shut_out_because_events_are_late() -> None:
    """Stripe says that it was renewed: its events were lost."""
    it, events, began = stripe()
    stage = Stage("stripe", began)
    stage.send(*events)
    it.renewed()
    stage.apis["stripe"] = asked(it._about, stage.clock)
    stage.hours(began + 40 * DAY)
    assert [each for each, _ in stage.heard] == ["granted"]
    assert SHOWN["asked"] == 1
    assert project(it.subject, stage.ledger.subscription(it.subject).facts).certain


def test_while_stripe_cannot_be_asked_nobody_is_shut_out_for_a_day() -> None:
    """Then it is no reason any more."""
    _, events, began = stripe()
    stage = Stage("stripe", began)
    stage.send(*events)
    stage.apis["stripe"] = asked(Unavailable("down", reason="stripe_api"), stage.clock)
    stage.hours(began + 33 * DAY + 20 * HOUR)
    assert [each for each, _ in stage.heard] == ["granted"]
    stage.hours(began + 35 * DAY)
    assert stage.heard[1:] == [("revoked", to_iso(began + 33 * DAY))]


def test_what_stripe_does_not_know_ends_by_the_clock() -> None:
    """And what it shows as it was: nothing more was paid."""
    for about in (NotFound("unknown"), None):
        it, events, began = stripe()
        stage = Stage("stripe", began)
        stage.send(*events)
        stage.apis["stripe"] = asked(about or it._about, stage.clock)
        stage.hours(began + 34 * DAY)
        assert [each for each, _ in stage.heard] == ["granted", "revoked"]


def test_what_is_not_certain_is_asked_about_and_held_meanwhile() -> None:
    """A status that nobody knows takes nothing away for a day; what Stripe shows then decides."""
    it, events, began = stripe()
    events = [{**each, "account": "acct_1"} for each in events]
    stage = Stage("stripe", began)
    stage.send(*events)
    it.now += 3600
    stage.clock.now += HOUR
    odd = it.updated(status="hibernating", items={"data": []})
    stage.send({**odd, "account": "acct_1"})
    assert [each for each, _ in stage.heard] == ["granted"]
    stage.apis["stripe"] = asked({**it._about, "status": "unpaid"}, stage.clock)
    stage.hours(stage.clock.now + 2 * HOUR)
    assert (SHOWN["asked"], SHOWN["account"]) == (1, "acct_1")
    assert [each for each, _ in stage.heard] == ["granted", "revoked"]


def test_what_stays_uncertain_is_asked_about_once_a_day() -> None:
    """And after a day what is known decides."""
    it, events, began = stripe()
    stage = Stage("stripe", began)
    stage.send(*events)
    it.now += 3600
    stage.clock.now += HOUR
    stage.send(it.updated(status="hibernating", items={"data": []}))
    stage.apis["stripe"] = asked(it._about, stage.clock)
    stage.hours(stage.clock.now + 3 * DAY)
    assert 3 <= SHOWN["asked"] <= 5


def test_a_test_clocks_time_is_its_own() -> None:
    """Stripe moves it: ours says nothing of it."""
    it, events, _ = stripe(days=300)
    for each in events:
        each["data"]["object"]["test_clock"] = "clock_1"
    stage = Stage("stripe", NOW)
    stage.send(*events)
    stage.hours(NOW + 2 * DAY)
    assert [each for each, _ in stage.heard] == ["granted"]
    assert stage.ledger.looks[it.subject] is None


# ── PayPal ──────────────────────────────────────────────────────────────────────────────────────────


class ShowsPayPal(PayPalApi):
    def get(self, path: str) -> Json:
        SHOWN["asked"] += 1
        shown: Json = SHOWN["about"]
        return shown


def of_paypal(clock: Any, about: Json) -> PayPalApi:
    SHOWN.update(about=about, asked=0)
    return ShowsPayPal("", (), clock)


def test_at_paypal_the_end_of_a_trial_is_announced_and_asked_about() -> None:
    """Three days before, and an hour after: PayPal sends neither."""
    it = PayPalSubscription(random.Random(1), NOW, 1900, "EUR", None)
    events = [it.created(0), it.activated(trial_days=14)]
    began = it.now
    stage = Stage("paypal", began)
    stage.send(*events)
    stage.hours(began + 13 * DAY)
    assert stage.heard == [("granted", to_iso(began)), ("trial_ending", to_iso(began + 11 * DAY))]
    it.now += 14 * DAY
    it.payment_failed()
    stage.apis["paypal"] = of_paypal(stage.clock, it.shown())
    stage.hours(began + 14 * DAY + 2 * HOUR)
    assert SHOWN["asked"] == 1
    found = project(it.subject, stage.ledger.subscription(it.subject).facts)
    assert (found.status, found.past_due_since) == ("past_due", it.now)
    assert [each for each, _ in stage.heard] == ["granted", "trial_ending", "revoked"]


def test_a_cancellation_that_paypal_never_sent_is_found() -> None:
    """An hour after the payment that did not come."""
    it = PayPalSubscription(random.Random(1), NOW, 1900, "EUR", None)
    events = [it.created(0), it.activated(), it.sale()]
    began = it.now
    stage = Stage("paypal", began)
    stage.send(*events)
    it.now += 20 * DAY
    it.cancelled()
    stage.apis["paypal"] = of_paypal(stage.clock, it.shown())
    stage.hours(began + 30 * DAY + 2 * HOUR)
    found = project(it.subject, stage.ledger.subscription(it.subject).facts)
    assert (found.status, SHOWN["asked"]) == ("ended", 1)
    assert stage.heard[1] == ("revoked", to_iso(began + 30 * DAY + HOUR))


def test_an_end_that_is_not_known_is_asked_about_within_the_hour() -> None:
    """A sale without its plan; PayPal shows the next billing."""
    it = PayPalSubscription(random.Random(1), NOW, 1900, "EUR", None)
    events = [it.created(0), it.activated(), it.sale()]
    stage = Stage("paypal", it.now)
    stage.send(*events)
    it.now += 30 * DAY
    stage.clock.now = it.now
    stage.send(it.sale())
    stage.apis["paypal"] = of_paypal(stage.clock, {**it.shown(), "update_time": to_iso(it.now + 1000)})
    stage.hours(stage.clock.now + HOUR)
    found = project(it.subject, stage.ledger.subscription(it.subject).facts)
    assert (found.certain, found.paid_through) == (True, it.now + 30 * DAY)
    assert [each for each, _ in stage.heard] == ["granted"]


def test_paypal_may_not_know_it() -> None:
    """Then the clock decides."""
    it = PayPalSubscription(random.Random(1), NOW, 1900, "EUR", None)
    stage = Stage("paypal", it.now)
    stage.send(it.created(0), it.activated(), it.sale())
    stage.apis["paypal"] = of_paypal(stage.clock, {})
    stage.hours(it.now + 34 * DAY, every=12)
    assert [each for each, _ in stage.heard] == ["granted", "revoked"]


def test_a_clocks_event_names_its_subject_alone() -> None:
    """At each provider, also of a connected account."""
    for subject in ("stripe:sub_1", "stripe:acct_1:sub_1", "paypal:I-1"):
        provider: Any = PROVIDERS[subject.partition(":")[0]]
        made = provider.event(provider.clock(subject, NOW), NOW)
        assert (made.subject, made.type, provider.facts(made)) == (subject, "daybook.clock", {subject: {}})
    assert paypal.needs_asking(paypal.event(paypal.clock("paypal:I-1", NOW), NOW)) is False


def test_a_provider_that_is_down_keeps_nobody_elses_from_being_looked_at() -> None:
    """It is asked once a run; and a key that may not ask is no outage."""
    _, events, began = stripe()
    stage = Stage("stripe", began)
    stage.send(*events)
    for n in range(5):
        other, told, _ = stripe()
        other.id = f"sub_other{n}"
        for each in told:
            body = json.dumps(each).replace(stripe()[0].id, other.id).replace("evt_", f"evt_{n}")
            stage.send(json.loads(body))
    stage.clock.now = began + 33 * DAY + HOUR
    stage.apis["stripe"] = asked(Unavailable("down", reason="stripe_api"), stage.clock)
    assert stage.look() == 6
    assert SHOWN["asked"] == 1
    stage.apis["stripe"] = asked(NotAllowed("no", reason="stripe_key"), stage.clock)
    stage.look()
    assert [each for each, _ in stage.heard].count("revoked") == 6


def test_one_that_cannot_be_looked_at_keeps_nobody_else_from_it() -> None:
    """Such as one whose id is too long for an event's; and when the time is up the rest waits."""
    _, events, began = stripe()
    stage = Stage("stripe", began)
    stage.send(*events)
    stage.ledger.looks = {f"stripe:sub_{'x' * 190}": 1, **stage.ledger.looks}
    stage.clock.now = began + 40 * DAY
    inbox: Any = stage
    looking = Asking(providers=PROVIDERS, apis={}, ledger=stage.ledger, inbox=inbox, telemetry=telemetry())
    assert looking.look(stage.clock.now, lambda: False) == 0
    assert looking.look(stage.clock.now) == 1
    assert [each for each, _ in stage.heard] == ["granted", "revoked"]


def test_an_outage_leaves_access_for_a_day_from_its_end() -> None:
    """Where there is no slack, from the end itself."""
    it, events, began = stripe()
    stage = Stage("stripe", began)
    it.now += 60
    stage.send(*events, it.updated(cancel_at=it._items[0]["current_period_end"]))
    stage.apis["stripe"] = asked(Unavailable("down", reason="stripe_api"), stage.clock)
    stage.hours(began + 30 * DAY + 23 * HOUR)
    assert [each for each, _ in stage.heard] == ["granted"]
    stage.hours(began + 31 * DAY + HOUR)
    assert stage.heard[1:] == [("revoked", to_iso(began + 30 * DAY))]


def test_a_revocation_by_a_payment_has_the_instant_of_that() -> None:
    """Not of what was last heard of the subscription itself."""
    it, events, began = stripe()
    stage = Stage("stripe", began)
    stage.send(*events)
    it.now += 10 * 86_400
    stage.clock.now = it.now * 1000
    stage.send(it.disputed("created", "needs_response"))
    it.now += 86_400
    stage.clock.now = it.now * 1000
    stage.send(it.disputed("closed", "lost"))
    assert stage.heard[1:] == [("revoked", to_iso(it.now * 1000))]


def test_nobody_but_ourselves_sends_the_clock() -> None:
    """At the door its type is refused, however well it is signed."""
    nothing: Any = None
    receiver = Receiver(
        providers=PROVIDERS,
        credentials=FixedCredentials({}),
        trust=lambda secrets: Trust({"stripe_webhook_secrets": ("whsec_1",)}, nothing, None),
        inbox=nothing,
        telemetry=telemetry(),
        livemode=None,
    )
    provider: Any = PROVIDERS["stripe"]
    body = provider.clock("stripe:sub_1", NOW)
    headers = StripeSigner("whsec_1").headers(body, NOW)
    delivery = Delivery({name.lower(): value for name, value in headers.items()}, body, NOW)
    with pytest.raises(InvalidPayload, match="no provider sends events of this type"):
        receiver.receive("stripe", delivery)


def test_what_ends_while_it_is_not_certain_is_told_after_a_day() -> None:
    """Two statuses of one second: which came last is not known."""
    it, events, began = stripe()
    stage = Stage("stripe", began)
    stage.send(*events)
    it.now += 3600
    stage.clock.now = it.now * 1000
    due = it.updated(status="past_due")
    thin = {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "v1.customer.subscription.canceled",
        "created": to_iso(it.now * 1000 + 500),
        "related_object": {"id": it.id, "type": "subscription", "url": "/x"},
    }
    stage.send(due, thin)
    assert [each for each, _ in stage.heard] == ["granted"]
    stage.hours(stage.clock.now + 26 * HOUR)
    assert [each for each, _ in stage.heard] == ["granted", "revoked"]
    assert stage.ledger.looks[it.subject] is None
