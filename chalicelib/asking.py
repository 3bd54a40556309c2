"""Asking the provider about what its events leave undecided, off the request path; and looking at the clock.

What it shows is put on the queue as events of our own making, understood by the same code; each is as of when
it was fetched, so that it joins with what comes later in any order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from chalicelib import subscriptions
from chalicelib.errors import NotAllowed, NotFound, PayloadTooLarge, Unavailable
from chalicelib.events import Event
from chalicelib.inbox import Inbox, Message
from chalicelib.kinds import PAYMENT, kind_of
from chalicelib.ledger import Ledger
from chalicelib.payments import Facts, project
from chalicelib.providers.protocol import Provider, SubscriptionProvider
from chalicelib.several import SeveralApis
from chalicelib.subscriptions import TERMS, Subscription, Terms
from chalicelib.telemetry import Telemetry
from chalicelib.times import DAY, HOUR, is_hour_to_ask

AT_MOST = 50  # payments in a run: a fault of ours is not to become the provider's load
DUE_AT_MOST = 5000  # subscriptions in a run, the longest due first: the next run takes the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """``apis`` are those whose keys are set."""

    providers: Mapping[str, Provider]
    apis: Mapping[str, SeveralApis]
    ledger: Ledger
    inbox: Inbox
    telemetry: Telemetry
    terms: Terms = TERMS

    def run(self, now: int) -> int:
        """Ask about what has been inconsistent for an hour, or whole days since; how many were asked about.

        To be run once an hour. One that cannot be asked about does not hold up the others.
        """
        asked = 0
        for subject in self.ledger.inconsistent(now - HOUR):
            if asked == AT_MOST:
                break
            if kind_of(subject).entry != PAYMENT:
                continue
            try:
                stored = self.ledger.payment(subject)
                is_due = is_hour_to_ask(stored.inconsistent_since, now)
                asked += is_due and self._ask(subject, stored.facts, now)
            except Exception as error:  # what is odd about one keeps nobody else from it
                self.telemetry.log("not asked", "ERROR", subject=subject, error=type(error).__name__)
        return asked

    def look(self, now: int, is_time_left: Callable[[], bool] = lambda: True) -> int:
        """Look at the subscriptions that are due; how many were.

        What the clock alone decides is decided by the consumer, as all else, at an event of ours on the
        queue; where the provider is to be asked first, at what it shows. To be run once an hour: what hours
        were missed is looked at once. A provider that cannot be asked holds up no other's.
        """
        looked = 0
        down: dict[str, set[str]] = {name: set() for name in self.apis}
        for subject in islice(self.ledger.due(now), DUE_AT_MOST):
            if not is_time_left():
                break
            try:
                name = subject.partition(":")[0]
                shown = subscriptions.project(subject, self.ledger.subscription(subject).facts, self.terms)
                via = self.apis[name].via(shown.account) if name in self.apis else None
                for body in self._seen(shown, now, down):
                    event = replace(self.providers[name].event(body, now), via=via)
                    queued(self.inbox, self.telemetry, event, body)
            except Exception as error:  # one that cannot be looked at keeps nobody else from it
                self.telemetry.log("not looked at", "ERROR", subject=subject, error=type(error).__name__)
                continue
            looked += 1
        return looked

    def _seen(self, shown: Subscription, now: int, down: Mapping[str, set[str]]) -> list[bytes]:
        """What is to be recorded of it; nothing where its account at the provider is ``down``, for a day.

        Longer is no reason to leave somebody in; nor is that the key may not ask.
        """
        name, subject = shown.provider, shown.id
        if name in self.apis and subscriptions.needs_asking(shown, now, self.terms):
            try:
                return self.apis[name].subscription(subject, shown.account, down[name])
            except (NotFound, NotAllowed) as error:
                self.telemetry.log("not to be asked", "WARNING", subject=subject, reason=error.reason)
            except Unavailable as error:
                self.telemetry.log("not asked", "WARNING", subject=subject, reason=error.reason)
                until = subscriptions.expires_at(shown, now, self.terms) or shown.updated_at or 0
                if now < until + DAY:
                    return []
        provider = self.providers[name]
        return [provider.clock(subject, now)] if isinstance(provider, SubscriptionProvider) else []

    def _ask(self, subject: str, facts: Facts, now: int) -> bool:
        name = subject.partition(":")[0]
        api = self.apis.get(name)
        if api is None:
            return False
        ours = project(subject, facts)
        try:
            bodies = api.shown(ours)
        except (NotFound, Unavailable) as error:
            self.telemetry.log("not asked", "WARNING", subject=subject, reason=error.reason)
            return True
        for body in bodies:
            event = replace(self.providers[name].event(body, now), via=api.via(ours.account))
            queued(self.inbox, self.telemetry, event, body)
        self.telemetry.log("asked", subject=subject, objects=len(bodies))
        return True


def queued(inbox: Inbox, telemetry: Telemetry, event: Event, body: bytes) -> bool:
    """Whether an event of our own making is on the queue now; one that is too large is said, and left."""
    try:
        inbox.put(Message.of(event, body).encode(), event.subject, event.key)
    except PayloadTooLarge:
        telemetry.log("asked, and too large to keep", "ERROR", subject=event.subject)
        return False
    return True
