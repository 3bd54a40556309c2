"""Finding the events that never came: what a provider lists and the ledger does not have is put on the queue.

Providers give up after three days and list their events for thirty. A listing is read page by page, newest
first; after each page the place is noted in the ledger, so that a run that is killed goes on there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from chalicelib import accounts
from chalicelib.beginning import ALWAYS
from chalicelib.errors import InvalidPayload, NotAllowed, PayloadTooLarge, Throttled, Unavailable
from chalicelib.events import Event
from chalicelib.inbox import Inbox, Message
from chalicelib.ledger import Ledger
from chalicelib.providers.protocol import Page, Provider, ProviderApi
from chalicelib.telemetry import Telemetry
from chalicelib.times import DAY, HOUR

T = TypeVar("T")

LISTED = 30 * DAY - HOUR  # for how long a provider lists an event
OVERDUE = 25 * DAY  # without success: what is forgotten by the provider cannot be found any more
ON_ITS_WAY = 900_000  # milliseconds: a younger event may still come by itself
OVERLAP = HOUR  # that the next window looks back into the one before
PACE = 0.2  # seconds between two pages
TRIES = 6  # of a page that cannot be had, or not now
LONGEST_PAUSE = 60.0  # seconds


class What(NamedTuple):
    """What is listed: what it is called where places are noted, ``page``s of it by a provider's API, for how
    long back it is to be had, and how far each window looks back into the one before.

    ``is_sent``: webhooks carry it too, so that it counts as missing where none came.
    """

    name: str
    page: Callable[[ProviderApi], Callable[[int, int, str | None], Page]]
    back: int
    overlap: Mapping[str, int]
    is_sent: bool


EVENTS = What("reconcile", lambda api: api.page, LISTED, {}, is_sent=True)
# Stripe's list begins with the account, PayPal's three years ago. What is captured asynchronously shows later
# at Stripe, and what is on its way to the bank changes at PayPal for days.
# https://docs.stripe.com/payments/payment-intents/asynchronous-capture
# https://developer.paypal.com/docs/api/transaction-search/v1/
CHANGES = {"stripe": 6 * HOUR, "paypal": 10 * DAY}
BALANCE = What("balance", lambda api: api.balance, 3 * 365 * DAY, CHANGES, is_sent=False)


@dataclass(slots=True, kw_only=True)
class Summary:
    """What one run saw. ``finished`` is false where time was up: the next run goes on.

    ``missing`` are the ids of those that webhooks carry too, ``new`` the number of all that were not known.
    ``notified``: of those, how many are not from before the stage began; of the others nobody hears.
    """

    listed: int = 0
    known: int = 0
    ignored: int = 0
    missing: list[str] = field(default_factory=list)
    new: int = 0
    recovered: int = 0
    notified: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """The time that is looked at, and how far that is."""

    since: int
    until: int
    asked: int | None
    cursor: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """All that reconciling needs. ``pause`` waits some seconds; ``livemode`` as the stage declares it.

    ``began`` is the instant from which on handlers are notified, ``until`` one after which nothing is listed.
    """

    providers: Mapping[str, Provider]
    ledger: Ledger
    inbox: Inbox
    telemetry: Telemetry
    clock: Callable[[], int]
    pause: Callable[[float], object]
    livemode: bool | None = None
    began: Callable[[], int] = lambda: ALWAYS
    what: What = EVENTS
    until: int | None = None

    def run(
        self,
        provider: str,
        listing: ProviderApi,
        since: int | None = None,
        dry_run: bool = False,
        is_time_left: Callable[[], bool] = lambda: True,
        step: Callable[[Summary], object] = lambda summary: None,
    ) -> Summary:
        """List what the provider has, and queue what is missing; ``step`` is called after each page.

        ``provider``: with the account's name, where it is not the stage's own (``accounts.key``).
        Without ``since`` it goes on where the last run ended. A run that leaves out times before ``since`` is
        not noted: the next one has to look at them. Raises ``Unavailable``.
        """
        noted = self.ledger.checkpoints.checkpoint(self._name(provider))
        window = self._window(provider, noted, since, dry_run)
        summary = Summary()
        while True:
            try:
                page = self._page(listing, window, is_time_left)
            except Unavailable as error:
                is_explained = isinstance(error, Throttled) or not is_time_left()
                if (
                    window.cursor and not summary.listed and not is_explained
                ):  # it may have forgotten that place
                    self._note(provider, _without_window(noted), dry_run)
                raise
            self._compare(provider, page.bodies, summary, dry_run)
            step(summary)
            if page.next is None:
                break
            # events come in full pages; PayPal's transfers by months, of which one can have none
            is_empty = self.what.is_sent and not page.bodies
            if page.next == window.cursor or is_empty:
                raise Unavailable("the listing does not end", reason=f"{provider}_listing")
            window = Window(window.since, window.until, window.asked, page.next)
            self._note(provider, {**noted, "window": window.to_dict()}, dry_run)
            if not is_time_left():
                return summary
            self.pause(PACE)
        done = _without_window(noted)
        if window.since <= max(noted.get("until", 0), self.clock() - LISTED):  # nothing is left out between
            done |= {"until": max(window.until, noted.get("until", 0)), "done_at": self.clock()}
        self._note(provider, done, dry_run)
        summary.finished = True
        return summary

    def _window(self, provider: str, noted: Mapping[str, Any], since: int | None, dry_run: bool) -> Window:
        begun = noted.get("window")
        if begun and begun["asked"] == since and not dry_run:
            return Window(**begun)
        until = min(self.clock() - ON_ITS_WAY, self.clock() if self.until is None else self.until)
        last = self.clock() - LISTED
        if "until" in noted:
            last = noted["until"] - self.what.overlap.get(accounts.named(provider)[0], OVERLAP)
        begins = max(self.clock() - self.what.back, last if since is None else since)
        return Window(begins, max(begins, until), since)

    def _note(self, provider: str, noted: dict[str, Any], dry_run: bool) -> None:
        if not dry_run:
            begun = {"begun_at": noted.get("begun_at", self.clock())}
            self.ledger.checkpoints.note_checkpoint(self._name(provider), {**begun, **noted})

    def _name(self, provider: str) -> str:
        return f"{self.what.name} {provider}"

    def _page(self, listing: ProviderApi, window: Window, is_time_left: Callable[[], bool]) -> Page:
        page = self.what.page(listing)
        return self.patiently(lambda: page(window.since, window.until, window.cursor), is_time_left)

    def patiently(self, ask: Callable[[], T], is_time_left: Callable[[], bool] = lambda: True) -> T:
        """An answer, waited for as long as the provider asks and there is time. Raises ``Unavailable``."""
        for attempt in range(1, TRIES + 1):
            try:
                return ask()
            except NotAllowed:
                raise
            except Unavailable as error:
                if attempt == TRIES or not is_time_left():
                    raise
                asked = error.retry_after if isinstance(error, Throttled) else None
            self.pause(min(LONGEST_PAUSE, asked or 2.0**attempt))
        raise AssertionError("unreachable")

    def _compare(self, provider: str, bodies: list[bytes], summary: Summary, dry_run: bool) -> None:
        events: dict[str, tuple[Event, bytes]] = {}
        name, account = accounts.named(provider)
        for body in bodies:
            summary.listed += 1
            try:
                event = replace(self.providers[name].event(body, self.clock()), via=account)
            except InvalidPayload:
                summary.ignored += 1
                continue
            if event.is_of_other_mode(self.livemode):
                summary.ignored += 1
                continue
            events[event.key] = event, body
        known = self.ledger.recorded(events) if events else {}
        others = {key for key, said in known.items() if said not in (None, events[key][0].said())}
        summary.known += len(known) - len(others)
        for key in (key for key in events if key not in known or key in others):
            summary.new += 1
            if self.what.is_sent:  # of a history there may be millions
                summary.missing.append(key.partition(":")[2])
            summary.notified += events[key][0].created_at >= self.began()
            if not dry_run:
                summary.recovered += self._recover(*events[key], is_distrusted=key in others)

    def _recover(self, event: Event, body: bytes, is_distrusted: bool) -> bool:
        """Whether it is on the queue now. Once an hour, should an earlier run have put it there.

        Where something else has taken its id, its provider is asked, and it has an id of its own.
        """
        message = replace(Message.of(event, body), is_redriven=self.what.is_sent, is_distrusted=is_distrusted)
        fields = {"provider": event.provider, "event_id": event.id, "subject": event.subject}
        try:
            once = f"{self.what.name} {event.key} {event.received_at // HOUR}"
            self.inbox.put(message.encode(), event.subject, once)
        except PayloadTooLarge:
            self.telemetry.log("missing, and too large to keep", "ERROR", {"missing": 1}, **fields)
            return False
        if self.what.is_sent:
            self.telemetry.log("recovered", "WARNING", {"missing": 1, "recovered": 1}, **fields)
        return True


def _in_turn(
    apis: Mapping[str, ProviderApi], deadline: int, clock: Callable[[], int]
) -> Iterator[tuple[str, ProviderApi, Callable[[], bool]]]:
    """Each provider, and whether its share of the time is left: what the others do not use is part of it."""
    for done, (provider, api) in enumerate(apis.items()):
        now = clock()
        yield provider, api, _before(now + (deadline - now) // (len(apis) - done), clock)


def _before(instant: int, clock: Callable[[], int]) -> Callable[[], bool]:
    return lambda: clock() < instant


def _without_window(noted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in noted.items() if name != "window"}


def _name(provider: str) -> str:
    return f"{EVENTS.name} {provider}"


def read_balances(reconciler: Reconciler, apis: Mapping[str, ProviderApi], deadline: int) -> None:
    """Queue what the providers' balances show and the ledger does not have: fees, net, transfers.

    One that may not be read, or fails, holds up nothing else: what is missing shows as ``complete: false``.
    """
    of_balance = replace(reconciler, what=BALANCE)
    for provider, api, is_time_left in _in_turn(apis, deadline, reconciler.clock):
        log = partial(reconciler.telemetry.log, provider=provider)
        try:
            found = of_balance.run(provider, api, is_time_left=is_time_left)
        except NotAllowed as error:
            log("the balance may not be read", reason=error.reason)
        except Unavailable as error:
            log("the balance was not read", "WARNING", reason=error.reason)
        except Exception as error:  # it holds up nothing else
            log("the balance was not read", "ERROR", error=type(error).__name__)
        else:
            log("balance read", listed=found.listed, new=found.recovered, finished=found.finished)


def overdue(ledger: Ledger, provider: str, now: int) -> bool:
    """Whether no run has succeeded for so long that events may soon be lost for good."""
    noted = ledger.checkpoints.checkpoint(_name(provider))
    last = noted.get("done_at", noted.get("begun_at"))
    return last is not None and now - last > OVERDUE


def last_success(ledger: Ledger, provider: str) -> int | None:
    """When a run last came to its end, in milliseconds."""
    done_at: int | None = ledger.checkpoints.checkpoint(_name(provider)).get("done_at")
    return done_at


def watched(reconciler: Reconciler, listings: Mapping[str, ProviderApi], deadline: int) -> None:
    """Reconcile each provider in its share of the time, in milliseconds; count whether one is overdue.

    One that fails, or lets itself be waited for, does not hold up the others.
    """
    late = False
    for provider, listing, is_time_left in _in_turn(listings, deadline, reconciler.clock):
        try:
            found = reconciler.run(provider, listing, is_time_left=is_time_left)
        except Exception as error:  # it holds up nothing else
            reason = error.reason if isinstance(error, Unavailable) else type(error).__name__
            reconciler.telemetry.log("not reconciled", "ERROR", provider=provider, reason=reason)
            noted = reconciler.ledger.checkpoints.checkpoint(_name(provider))
            if not noted:  # from now on it counts as late
                begun = {"begun_at": reconciler.clock()}
                reconciler.ledger.checkpoints.note_checkpoint(_name(provider), begun)
        else:
            reconciler.telemetry.log(
                "reconciled",
                provider=provider,
                listed=found.listed,
                known=found.known,
                recovered=found.recovered,
                notified=found.notified,
                finished=found.finished,
            )
        late = late or overdue(reconciler.ledger, provider, reconciler.clock())
    if listings:
        reconciler.telemetry.count("reconcile_overdue", int(late))
