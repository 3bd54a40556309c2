"""The pages. Each reads a fixed few things; what changes something says first what it would do."""

from dataclasses import dataclass
from typing import Any

from flask import Flask, abort, redirect, render_template, request, url_for

from chalicelib import access, listing
from chalicelib.entries import ListedEvent, StoredEvent
from chalicelib.errors import HandlerFailed, HandlersBusy, NotFound
from chalicelib.kinds import PAYOUT, SUBSCRIPTION, kind_of
from chalicelib.payments import project
from chalicelib.providers import PROVIDERS
from ops import replay as replaying
from ops import stories
from ops.commands.subscribing import INSTANTS, in_words
from ops.console import masking, search
from ops.console.arrivals import logged
from ops.console.overview import RANGES
from ops.console.sending import IN_STORM, MOST, STORM, Order, Sender
from ops.console.session import Console

# Where a person sees a subscription at its provider: live, and test.
SUBSCRIPTION_AT = {
    "stripe": (
        "https://dashboard.stripe.com/subscriptions/{}",
        "https://dashboard.stripe.com/test/subscriptions/{}",
    ),
    "paypal": (
        "https://www.paypal.com/billing/subscriptions/{}",
        "https://www.sandbox.paypal.com/billing/subscriptions/{}",
    ),
}
REPLAY = 300_000  # milliseconds that replayed handlers may take


@dataclass(frozen=True, slots=True)
class Reading:
    """What can be looked at."""

    console: Console

    def on(self, app: Flask) -> None:
        app.get("/")(self.index)
        app.get("/live")(self.live)
        app.get("/payments")(self.payments)
        app.get("/find")(self.find)
        app.get("/payments/<subject:subject>")(self.payment)
        app.get("/subscriptions")(self.subscriptions)
        app.get("/subscriptions/<subject:subject>")(self.subscription)
        app.get("/arrivals/<subject:subject>")(self.arrivals)
        app.get("/event/<id:event_id>/of/<subject:subject>")(self.event)
        app.get("/send")(self.send)
        app.get("/sent")(self.sent)

    def index(self) -> str:
        range_ = _range()
        every = int(self.console.fresh(range_) * 1000)
        it = self.console.overview(range_)
        return render_template("overview.html", it=it, ranges=RANGES, every=every)

    def live(self) -> str:
        return render_template("_live.html", it=self.console.overview(_range()))

    def payments(self) -> str:
        given = {name: value for name, value in request.args.items() if value}
        found = search.page(self.console.stage.ledger(), given)
        following = {**given, "cursor": found.cursor} if found.cursor else None
        return render_template("payments.html", found=found, given=given, following=following)

    def find(self) -> Any:
        id_ = request.args.get("id", "").strip()
        if not id_:
            return redirect(url_for("payments"))
        ledger = self.console.stage.ledger()
        subject = search.subject_of(ledger, id_)
        if subject:
            return redirect(url_for(_page_of(subject), subject=subject))
        rows = search.of_reference(ledger, id_) or search.of_customer(ledger, id_)
        subscriptions = search.subscriptions_of(ledger, id_, self.console.clock(), self.console.terms)
        if not rows and not subscriptions:
            here = f"in stage {self.console.stage.name}"
            raise NotFound(f"no payment, subscription, event, customer or reference {id_} {here}")
        if len(rows) + len(subscriptions) == 1:
            [only] = [*rows, *subscriptions]
            return redirect(url_for(_page_of(only["id"]), subject=only["id"]))
        found = search.Page(rows, None, len(rows))
        more: dict[str, Any] = {"given": {}, "following": None, "customer": id_}
        return render_template("payments.html", found=found, subscriptions=subscriptions, **more)

    def subscriptions(self) -> str:
        given = {name: value for name, value in request.args.items() if value}
        query = listing.parse({"limit": str(search.ROWS), **search.filters(given)})
        console = self.console
        page = access.subscriptions(console.stage.ledger(), query, console.clock(), console.terms)
        following = {**given, "cursor": page["cursor"]} if page["cursor"] else None
        rows = page["subscriptions"]
        return render_template("subscriptions.html", rows=rows, given=given, following=following)

    def subscription(self, subject: str) -> str:
        console = self.console
        provider, _, object_id = subject.partition(":")
        it = access.subscription(console.stage.ledger(), provider, object_id, console.clock(), console.terms)
        return render_template(
            "subscription.html",
            it=it,
            why=in_words(it),
            instants=INSTANTS,
            **{**_payment(console, it["id"]), "dashboard": _dashboard(it["id"], it["livemode"] is False)},
        )

    def payment(self, subject: str) -> str:
        return render_template("payment.html", **_payment(self.console, subject))

    def arrivals(self, subject: str) -> str:
        """The timeline with what the logs say; fetched once the page is there."""
        shown = _payment(self.console, subject)
        since = min((each["created_ms"] for each in shown["events"]), default=self.console.clock())
        return render_template("_arrivals.html", logged=logged(self.console.stage, subject, since), **shown)

    def event(self, event_id: str, subject: str) -> str:
        stored = self.console.stage.ledger().event(subject, event_id)
        if stored is None:
            raise NotFound(f"no event {event_id} of {subject}")
        whole = request.args.get("whole") == "yes"
        if whole:
            self.console.wrote("looked at a whole event", subject, event_id)
        return render_template("event.html", event=stored, text=_shown(stored, whole), whole=whole)

    def send(self) -> str:
        sender = _sender(self.console)
        names = (*stories.STORIES, *stories.SUBSCRIPTIONS)
        return render_template("send.html", stories=names, sent=sender.sent, most=MOST, in_storm=IN_STORM)

    def sent(self) -> str:
        """What was sent from here, and how it was answered; fetched anew until all of it was."""
        return render_template("_sent.html", sent=_sender(self.console).sent)


def _page_of(subject: str) -> str:
    entry = kind_of(subject).entry
    return entry if entry in (SUBSCRIPTION, PAYOUT) else "payment"


def _range() -> str:
    range_ = request.args.get("range", "hour")
    if range_ not in RANGES:
        abort(400, f"range is one of {', '.join(RANGES)}")
    return range_


def _shown(event: StoredEvent, whole: bool) -> str | None:
    if event.content is None:
        return None
    return masking.plain(event.content) if whole else masking.masked(event.content)


def _sender(console: Console) -> Sender:
    if console.sender is None:
        raise NotFound("test events are sent to stage local only")
    return console.sender


def _payment(console: Console, subject: str) -> dict[str, Any]:
    """A payment, or a subject that moves no money, with its events in the provider's time."""
    ledger = console.stage.ledger()
    stored = ledger.payment(subject)
    found = ledger.listed_events(subject)
    if not stored.version and not found:
        raise NotFound(f"nothing is recorded of {subject} in stage {console.stage.name}")
    shown = project(subject, stored.facts) if stored.version else None
    handlers = console.consumer.handlers
    return {
        "subject": subject,
        "payment": shown,
        "events": _timeline(found),
        "left": [
            f"{h.name}: {task.type}"
            for task in ledger.record(subject).outbox.tasks
            for h in handlers.unhandled(task)
        ],
        "undelivered": list(ledger.undelivered.of(subject)),
        "dashboard": _dashboard(subject, shown is not None and shown.livemode is False),
        "payouts": ledger.made_of.payouts(subject) if shown and shown.settled else [],
    }


def _timeline(events: list[ListedEvent]) -> list[dict[str, Any]]:
    """In the provider's time; ``late``: one that happened after it was received before it."""
    earliest = float("inf")
    rows = []
    for each in reversed(events):
        row = {"id": each.id, "type": each.type, "body": not each.is_removed}
        times = {"created_ms": each.created_at, "received_ms": each.received_at}
        rows.append({**row, **times, "late": each.received_at > earliest})
        earliest = min(earliest, each.received_at)
    return rows[::-1]


def _dashboard(subject: str, is_test: bool) -> str | None:
    provider, *_, object_id = subject.split(":")
    if kind_of(subject).entry == SUBSCRIPTION:
        return SUBSCRIPTION_AT[provider][is_test].format(object_id)
    made = stories.MADE.get(provider)
    return made.dashboard[is_test].format(object_id) if made else None


@dataclass(frozen=True, slots=True)
class Writing:
    """What can be changed: each asks first."""

    console: Console

    def on(self, app: Flask) -> None:
        app.get("/replay/<subject:subject>")(self.ask_replay)
        app.post("/replay/<subject:subject>")(self.replay)
        app.post("/send")(self.send_story)

    def ask_replay(self, subject: str) -> str:
        chosen = replaying.choose(self.console.consumer, subject)
        names = list(replaying.names(self.console.consumer, chosen))
        return render_template("replay.html", subject=subject, names=names)

    def replay(self, subject: str) -> Any:
        again = request.form.get("again") == "yes"
        self.console.wrote("replay again" if again else "replay", subject)
        chosen = replaying.choose(self.console.consumer, subject)
        until = self.console.clock() + REPLAY
        try:
            ran = replaying.replay(self.console.consumer, chosen, again, until)
        except HandlersBusy:
            abort(409, "its handlers are running now; try again when their time is up")
        except HandlerFailed as error:
            abort(502, f"{error}; the rest is left, and can be replayed")
        return redirect(url_for(_page_of(subject), subject=subject, ran=ran))

    def send_story(self) -> Any:
        sender, order = _sender(self.console), _order()
        self.console.wrote(f"send {order.story}")
        sender.send(order)
        return redirect(url_for("send"))


def _order() -> Order:
    """What the form asks for; anything else is a mistake of the caller's."""
    story = request.form.get("story", "")
    provider = request.form.get("provider", "") if story != STORM else next(iter(PROVIDERS))
    repeat = request.form.get("repeat", "1")
    if provider not in PROVIDERS or story not in (STORM, *stories.STORIES, *stories.SUBSCRIPTIONS):
        abort(400, "no such story")
    if not (repeat.isascii() and repeat.isdigit() and 1 <= int(repeat) <= MOST):
        abort(400, f"repeat is a number from 1 to {MOST}")
    return Order(provider, story, int(repeat), "shuffle" in request.form, "broken" in request.form)
