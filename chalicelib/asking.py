"""Asking the provider about payments that its events leave undecided, off the request path.

What it shows is put on the queue as events of our own making, understood by the same code; each is as of when
it was fetched, so that it joins with what comes later in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.entries import StoredPayment
from chalicelib.errors import NotFound, PayloadTooLarge, Unavailable
from chalicelib.events import Event
from chalicelib.inbox import Inbox, Message
from chalicelib.ledger import Ledger
from chalicelib.payments import Payment, project
from chalicelib.providers.protocol import Provider, ProviderApi
from chalicelib.telemetry import Telemetry

HOUR = 3_600_000  # milliseconds
DAILY = 24  # hours: after the first time it is asked once a day
AT_MOST = 50  # payments in a run: a fault of ours is not to become the provider's load


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """``apis`` are those whose keys are set."""

    providers: Mapping[str, Provider]
    apis: Mapping[str, ProviderApi]
    ledger: Ledger
    inbox: Inbox
    telemetry: Telemetry

    def run(self, now: int) -> int:
        """Ask about what has been inconsistent for an hour, or whole days since; how many were asked about.

        To be run once an hour. One that cannot be asked about does not hold up the others.
        """
        asked = 0
        for subject in self.ledger.inconsistent(now - HOUR):
            if asked == AT_MOST:
                break
            stored = self.ledger.payment(subject)
            if self._is_due(stored, now) and self._ask(project(subject, stored.facts), now):
                asked += 1
        return asked

    def _is_due(self, stored: StoredPayment, now: int) -> bool:
        since = stored.inconsistent_since
        hours = (now - (now if since is None else since)) // HOUR
        return hours == 1 or (hours > 0 and hours % DAILY == 0)

    def _ask(self, ours: Payment, now: int) -> bool:
        api = self.apis.get(ours.provider)
        if api is None:
            return False
        try:
            bodies = api.shown(ours)
        except (NotFound, Unavailable) as error:
            self.telemetry.log("not asked", "WARNING", subject=ours.id, reason=error.reason)
            return True
        for body in bodies:
            self._queue(self.providers[ours.provider].event(body, now), body)
        self.telemetry.log("asked", subject=ours.id, objects=len(bodies))
        return True

    def _queue(self, event: Event, body: bytes) -> None:
        message = Message.of(event, body)
        try:
            self.inbox.put(message.encode(), event.subject, event.key)
        except PayloadTooLarge:
            self.telemetry.log("asked, and too large to keep", "ERROR", subject=event.subject)
