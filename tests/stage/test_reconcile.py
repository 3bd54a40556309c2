"""Events that never came: found in the provider's own list, put on the queue, and once only."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from chalice.test import Client
from click.testing import CliRunner

from chalicelib.errors import Unavailable
from chalicelib.ledger import Ledger
from chalicelib.payments import project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.stripe.client import StripeApi
from chalicelib.providers.stripe.history import KINDS
from chalicelib.reconcile import OVERDUE, Reconciler, overdue, watched
from chalicelib.times import DAY
from ops.cli import main
from ops.local.event_source import EventSource
from ops.stage import Stage
from tests.conftest import fill_secret
from tests.fake_apis import HOUR, FakePayPal, FakeStripe, event_listed, paypal_listed
from tests.fakes import NOW, Clock, MemoryInbox, as_bytes, consumer, message_of, telemetry
from tests.stage.test_app import app_with, stripe_headers


class Queue:
    """What was put on the queue, by its deduplication id."""

    def __init__(self) -> None:
        self.put_on: dict[str, str] = {}

    def put(self, text: str, group: str, once: str, trace: str = "") -> None:
        self.put_on[once] = text

    @property
    def events(self) -> set[str]:
        return {json.loads(text)["event_id"] for text in self.put_on.values()}


class Setup:
    """A reconciler over the real table, with its pauses, lines and queue noted."""

    def __init__(self, stage: Stage) -> None:
        self.ledger = stage.ledger()
        self.clock, self.queue = Clock(), Queue()
        self.pauses: list[float] = []
        self.lines: list[str] = []
        inbox: Any = self.queue
        told = telemetry(self.lines, self.clock)
        self.reconciler = Reconciler(
            providers=PROVIDERS,
            ledger=self.ledger,
            inbox=inbox,
            telemetry=told,
            clock=self.clock,
            pause=self.pauses.append,
        )

    def know(self, *events: dict[str, Any]) -> None:
        for event in events:
            consumer(self.ledger, MemoryInbox()).record(message_of(as_bytes(event)), NOW + 60_000)


@pytest.fixture
def setup(stage: Stage) -> Setup:
    return Setup(stage)


def hourly(count: int) -> list[dict[str, Any]]:
    return [event_listed(f"evt_{n}", NOW - (n + 1) * HOUR) for n in range(count)]


def paypal_api(api: FakePayPal) -> PayPalApi:
    return PayPalApi(api.address, ("id", "secret"), Clock())


def test_what_stripe_lists_and_the_ledger_has_not_is_put_on_the_queue(setup: Setup) -> None:
    """Through three pages; known events, those on their way and those of the other mode are left alone."""
    events = hourly(230)
    setup.know(*events[:200])
    young = event_listed("evt_young", NOW - 1000)
    live = {**event_listed("evt_live", NOW - HOUR), "livemode": True}
    with FakeStripe([*events, young, live]) as api:
        found = replace(setup.reconciler, livemode=False).run(
            "stripe", StripeApi("rk_1", api.address, Clock())
        )
    assert (found.listed, found.known, found.ignored, found.recovered) == (231, 200, 1, 30)
    assert setup.queue.events == {f"evt_{n}" for n in range(200, 230)}
    assert found.finished
    assert len(api.asked) == 3
    assert all(pause < 1 for pause in setup.pauses)


def test_what_paypal_lists_is_read_by_its_links_at_our_address(setup: Setup) -> None:
    """Its links name a host that is not asked."""
    events = [paypal_listed(f"WH-{n}", NOW - (n + 1) * HOUR) for n in range(8)]
    with FakePayPal(events) as api:
        found = setup.reconciler.run("paypal", paypal_api(api))
    assert (found.listed, found.recovered) == (8, 8)
    assert len([path for path in api.asked if "webhooks-events" in path]) == 3
    assert setup.queue.events == {f"WH-{n}" for n in range(8)}


def test_a_run_that_is_killed_goes_on_where_it_was(setup: Setup) -> None:
    """The place is in the ledger; what was put on the queue before is not listed again."""
    with FakeStripe(hourly(250)) as api:
        listing = StripeApi("rk_1", api.address, Clock())

        def die(summary: Any) -> None:
            if summary.listed == 200:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            setup.reconciler.run("stripe", listing, step=die)
        asked = len(api.asked)
        found = setup.reconciler.run("stripe", listing)
    assert found.listed == 150
    assert len(api.asked) - asked == 2
    assert len(setup.queue.events) == 250


def test_the_next_run_looks_at_what_is_new(setup: Setup) -> None:
    """And an hour back, for what the provider lists late."""
    events = hourly(100)
    with FakeStripe(events) as api:
        listing = StripeApi("rk_1", api.address, Clock())
        assert setup.reconciler.run("stripe", listing).listed == 100
        setup.clock.now += 5 * HOUR
        events.append(event_listed("evt_new", NOW + 2 * HOUR))
        found = setup.reconciler.run("stripe", listing)
    assert found.missing == ["evt_new", "evt_0"]


def test_an_hour_is_looked_at_twice(setup: Setup) -> None:
    """A provider may list an event late: one that was not there when its time was looked at."""
    with FakeStripe([]) as api:
        listing = StripeApi("rk_1", api.address, Clock())
        assert setup.reconciler.run("stripe", listing).listed == 0
        api.events.append(event_listed("evt_late", NOW - HOUR))
        assert setup.reconciler.run("stripe", listing).missing == ["evt_late"]


def test_a_run_from_a_later_time_leaves_nothing_out_for_good(setup: Setup) -> None:
    """What came between the last run and ``since`` is still looked at by the next one without."""
    events = [event_listed("evt_old", NOW + DAY), event_listed("evt_new", NOW + 9 * DAY)]
    with FakeStripe(events) as api:
        listing = StripeApi("rk_1", api.address, Clock())
        setup.reconciler.run("stripe", listing)
        setup.clock.now += 10 * DAY
        assert setup.reconciler.run("stripe", listing, since=NOW + 8 * DAY).missing == ["evt_new"]
        assert setup.reconciler.run("stripe", listing).missing == ["evt_new", "evt_old"]
        assert setup.reconciler.run("stripe", listing, since=NOW).listed == 2
        assert setup.reconciler.run("stripe", listing).listed == 0


def test_a_place_that_the_provider_forgot_is_not_asked_for_for_ever(setup: Setup) -> None:
    """The run fails, as in any outage; the next one begins its time anew."""
    with FakeStripe(hourly(150)) as api:
        listing = StripeApi("rk_1", api.address, Clock())
        setup.reconciler.run("stripe", listing, is_time_left=lambda: False)
        gone = {
            "error": {"type": "invalid_request_error", "message": "No such event", "code": "resource_missing"}
        }
        api.faults = [(400, {}, gone)] * 6
        with pytest.raises(Unavailable):
            setup.reconciler.run("stripe", listing)
        assert setup.reconciler.run("stripe", listing).listed == 150


def test_without_time_it_stops_and_goes_on_later(setup: Setup) -> None:
    """As the hourly function does whose time is up."""
    with FakeStripe(hourly(250)) as api:
        listing = StripeApi("rk_1", api.address, Clock())
        first = setup.reconciler.run("stripe", listing, is_time_left=lambda: False)
        assert (first.listed, first.finished) == (100, False)
        assert setup.reconciler.run("stripe", listing).listed == 150


def test_a_dry_run_changes_nothing(setup: Setup) -> None:
    """Neither the queue nor the place."""
    with FakeStripe(hourly(120)) as api:
        found = setup.reconciler.run("stripe", StripeApi("rk_1", api.address, Clock()), dry_run=True)
    assert (len(found.missing), found.recovered) == (120, 0)
    assert setup.queue.put_on == {}
    assert setup.ledger.checkpoints.checkpoint("reconcile stripe") == {}


def test_a_provider_that_asks_for_a_pause_is_given_it(setup: Setup) -> None:
    """429 with Retry-After; other failures are tried again more and more slowly."""
    with FakeStripe(hourly(1)) as api:
        busy = {"error": {"type": "rate_limit_error", "message": "too many"}}
        api.faults = [(429, {"Retry-After": "7"}, busy), (500, {}, {}), (429, {}, busy)]
        assert setup.reconciler.run("stripe", StripeApi("rk_1", api.address, Clock())).listed == 1
    assert setup.pauses == [7.0, 4.0, 8.0]
    setup.pauses.clear()
    with FakePayPal([paypal_listed("WH-1", NOW - HOUR)]) as other:
        other.faults = [(429, {"Retry-After": "3"}, {}), (503, {}, b"<html>")]
        assert setup.reconciler.run("paypal", paypal_api(other)).listed == 1
    assert setup.pauses == [3.0, 4.0]


LIES: list[tuple[str, Any]] = [
    ("stripe", {"object": "list", "data": [], "has_more": True}),
    ("stripe", {"object": "list"}),
    ("stripe", {"data": "x", "has_more": False}),
    ("stripe", []),
    ("paypal", {"events": "x"}),
    ("paypal", {"links": []}),
    (
        "paypal",
        {
            "events": [paypal_listed("WH-1", NOW - HOUR)],
            "links": [{"rel": "next", "href": "https://evil/x"}],
        },
    ),
]


@pytest.mark.parametrize(("provider", "lie"), LIES)
def test_a_listing_that_makes_no_sense_is_an_outage(setup: Setup, provider: str, lie: Any) -> None:
    """Never an endless loop, never a crash; the next run tries again."""
    with FakeStripe([]) as stripe, FakePayPal([]) as paypal:
        for api in (stripe, paypal):
            api.faults = [(200, {}, lie)] * 6
        listing: Any = (
            StripeApi("rk_1", stripe.address, Clock()) if provider == "stripe" else paypal_api(paypal)
        )
        with pytest.raises(Unavailable):
            setup.reconciler.run(provider, listing)
    assert setup.queue.events == set()


def test_a_listing_that_goes_round_in_circles_ends(setup: Setup) -> None:
    """The same page with more to come, again and again."""
    page = {"object": "list", "data": [event_listed("evt_1", NOW - HOUR)], "has_more": True}
    with FakeStripe([]) as api:
        api.faults = [(200, {}, page)] * 6
        with pytest.raises(Unavailable, match="does not end"):
            setup.reconciler.run("stripe", StripeApi("rk_1", api.address, Clock()))


def test_it_is_said_in_time_that_no_run_succeeds(setup: Setup) -> None:
    """After 25 days, while the provider still has the events; and no longer once one did."""
    with FakeStripe(hourly(1)) as api:
        listings: Any = {"stripe": StripeApi("rk_1", api.address, Clock())}
        api.faults = [(500, {}, {})] * 12

        def told() -> int:
            watched(setup.reconciler, listings, setup.clock.now + HOUR)
            [line] = [json.loads(line) for line in setup.lines if '"reconcile_overdue": ' in line]
            setup.lines.clear()
            return int(line["reconcile_overdue"])

        assert told() == 0
        setup.clock.now += OVERDUE + 1
        assert told() == 1
        assert overdue(setup.ledger, "stripe", setup.clock.now)
        api.faults.clear()
        assert told() == 0
    watched(setup.reconciler, {}, setup.clock.now + HOUR)
    assert setup.lines == []


def test_a_provider_that_lets_itself_be_waited_for_leaves_time_to_the_others(setup: Setup) -> None:
    """Each has its share; what is asked for beyond it is not waited for."""
    slow = replace(
        setup.reconciler,
        pause=lambda seconds: setattr(setup.clock, "now", setup.clock.now + int(seconds * 1000)),
    )
    with FakeStripe([]) as stripe, FakePayPal([paypal_listed("WH-1", NOW - HOUR)]) as paypal:
        stripe.faults = [(429, {"Retry-After": "60"}, {})] * 9
        listings: Any = {"stripe": StripeApi("rk_1", stripe.address, Clock()), "paypal": paypal_api(paypal)}
        watched(slow, listings, NOW + 200_000)
    assert setup.queue.events == {"WH-1"}
    assert setup.clock.now - NOW < 200_000


# ── the command and the schedule ────────────────────────────────────────────────────────────────────

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(daybook: Any, stage: Stage, stage_environ: dict[str, str]) -> Run:
    """The command on a stage whose secret is filled."""
    fill_secret(stage, {"stripe_api_key": ["rk_1"]})

    def invoke(*arguments: str, **environ: str) -> tuple[int, str]:
        result = CliRunner().invoke(
            main, [*arguments, "--stage", stage.name], env={**stage_environ, **environ}
        )
        return result.exit_code, result.output

    return invoke


def test_the_command_says_what_it_found_and_what_it_did(run: Run, stage: Stage, daybook: Any) -> None:
    """A dry run exits with 3 where something is missing; what is recovered is recorded like a webhook."""
    events = [event_listed(f"evt_{n}", daybook._now() - (n + 1) * HOUR) for n in range(5)]
    with FakeStripe(events) as api:
        code, output = run("reconcile", "--dry-run", STRIPE_API=api.address)
        assert (code, output.splitlines()[-1]) == (
            3,
            "stripe: 5 listed, 0 known, 5 missing, 0 recovered, 5 of them to be notified",
        )
        code, output = run("reconcile", STRIPE_API=api.address)
        assert (code, output.splitlines()[-1]) == (
            0,
            "stripe: 5 listed, 0 known, 5 missing, 5 recovered, 5 of them to be notified",
        )
        source = EventSource(stage.client("sqs"), daybook.SETTINGS.names.queue, daybook.process)
        while source.poll(0):
            pass
        facts = stage.ledger().payment("stripe:pi_evt_3").facts
        assert project("stripe:pi_evt_3", facts).captured == 500
        code, output = run(
            "reconcile", "--since", "2026-01-01", "--dry-run", "--json", STRIPE_API=api.address
        )
        assert code == 0
        assert json.loads(output)["stripe"] | {"missing": []} == {
            "listed": 5,
            "known": 5,
            "ignored": 0,
            "missing": [],
            "new": 0,
            "recovered": 0,
            "notified": 0,
            "finished": True,
        }


def test_history_is_imported_after_it_was_said_what_that_takes(run: Run, stage: Stage, daybook: Any) -> None:
    """An estimate, a question, and what was recorded; once more changes nothing."""
    now = daybook._now()
    old: dict[str, Any] = {
        "id": "pi_old",
        "object": "payment_intent",
        "status": "succeeded",
        "currency": "eur",
    }
    old |= {"amount": 700, "amount_received": 700, "created": (now - 400 * DAY) // 1000}
    with FakeStripe([]) as api:
        api.history = {**{kind: [] for kind in KINDS}, "payment_intents": [old]}
        asked = ("import", "stripe", "--since", "2024-01-01")
        code, output = run(*asked, "--dry-run", STRIPE_API=api.address)
        assert (code, "payment_intents: 1 listed, 0 known, 1 to be queued" in output) == (0, True)
        assert "1 objects: 7 questions, 0 minutes at least, $0.00 of AWS" in output
        assert run(*asked, STRIPE_API=api.address)[0] == 1  # nobody said yes
        code, output = run(*asked, "--yes", STRIPE_API=api.address)
        assert (code, "payment_intents: 1 listed, 0 known, 1 queued" in output) == (0, True)
        source = EventSource(stage.client("sqs"), daybook.SETTINGS.names.queue, daybook.process)
        while source.poll(0):
            pass
        assert project("stripe:pi_old", stage.ledger().payment("stripe:pi_old").facts).captured == 700
        code, output = run(*asked, "--yes", "--json", STRIPE_API=api.address)
        assert json.loads(output[output.index("{") :])["payment_intents"]["known"] == 1
        assert run("import", "stripe", "--since", "2999-01-01", STRIPE_API=api.address)[0] == 1
        assert run("import", "stripe", "--since", "soon", STRIPE_API=api.address)[0] == 2


def test_without_keys_it_says_where_they_go(run: Run) -> None:
    """And for a provider that has none."""
    code, output = run("reconcile", "--provider", "paypal")
    assert code == 1
    assert "paypal_client_id" in output


def test_the_schedule_reconciles_where_keys_are_set(
    daybook: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does nothing at all where none are."""
    context = type(
        "Context", (), {"aws_request_id": "1", "get_remaining_time_in_millis": lambda self: 300_000}
    )
    schedule = {
        "detail-type": "x",
        "source": "x",
        "account": "1",
        "time": "x",
        "region": "x",
        "resources": [],
    }
    sent = {"version": "0", "id": "1", "detail": {}, **schedule}
    daybook.reconcile(sent, context())
    assert Ledger(stage.aws(), stage.names.table).checkpoints.checkpoint("reconcile stripe") == {}
    with FakeStripe([event_listed("evt_1", daybook._now() - DAY)]) as api:
        keyed = {"stripe_api_key": ("rk_1",)}
        apis = {**daybook.SETTINGS.apis, "stripe": api.address}
        local = replace(daybook.SETTINGS, local_credentials=keyed, apis=apis)
        monkeypatch.setattr(daybook, "SETTINGS", local)
        daybook._credentials.cache_clear()
        daybook.reconcile(sent, context())
    assert "done_at" in stage.ledger().checkpoints.checkpoint("reconcile stripe")


def test_several_accounts_by_the_commands_and_the_door(run: Run, stage: Stage, daybook: Any) -> None:
    """A webhook that an account's secret signed is recorded as its; each account is listed, and looked at."""
    own = {"stripe_webhook_secrets": ["whsec_Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv"], "stripe_api_key": "rk_us"}
    fill_secret(stage, {"stripe_api_key": ["rk_1"], "accounts": {"shop-us": own, "acct_1": {}}})
    now = daybook._now()
    with FakeStripe([event_listed("evt_1", now - HOUR)]) as api:
        code, output = run("reconcile", "--dry-run", STRIPE_API=api.address)
        assert code == 3
        assert "stripe: 1 listed, 0 known, 1 missing" in output
        assert "stripe shop-us: 1 listed, 0 known, 1 missing" in output
        api.history = {kind: [] for kind in KINDS}
        asked = ("import", "stripe", "--since", "2024-01-01", "--dry-run", "--account", "shop-us")
        code, output = run(*asked, STRIPE_API=api.address)
        assert (code, "shop-us charges: 0 listed" in output) == (0, True)
        code, output = run("doctor", STRIPE_API=api.address)
        assert "beside its own: shop-us" in output
        assert "acct_1 below accounts is left out" in output
        api.faults = [(401, {}, {"error": {"type": "authentication_error", "message": "no"}})]
        code, output = run("doctor", STRIPE_API=api.address)
        assert "cannot be asked" in output


def test_the_app_itself_tells_accounts_apart(
    stage_environ: dict[str, str], stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment of stage local to the record."""
    given = {**stage_environ, "ACCOUNTS": json.dumps({"shop-us": {"stripe_webhook_secrets": ["whsec_us"]}})}
    app = app_with(monkeypatch, given)
    body = as_bytes(event_listed("evt_us", app._now()))
    with Client(app.app, stage_name="local") as client:
        answer = client.http.post("/webhooks/stripe", headers=stripe_headers(body, "whsec_us"), body=body)
    assert answer.status_code == 200
    source = EventSource(stage.client("sqs"), app.SETTINGS.names.queue, app.process)
    assert source.poll(0) == 1
    assert project("stripe:pi_evt_us", stage.ledger().payment("stripe:pi_evt_us").facts).account == "shop-us"
