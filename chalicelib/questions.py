"""Asking a provider about one event: what it leaves out, and whether money moved; and no more than needed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from chalicelib.accounts import OWN, key
from chalicelib.breaker import CircuitBreaker
from chalicelib.budget import Budget
from chalicelib.errors import Distrusted, NotAllowed, NotShown, NotUnderstood, Unavailable
from chalicelib.events import IMPORTED, Event
from chalicelib.inbox import Message
from chalicelib.ledger import Ledger
from chalicelib.providers.protocol import Provider, ProviderApi, needs_asking
from chalicelib.telemetry import Telemetry

IN_VAIN = 300  # questions an hour in a process that show nothing, or something else
ANSWERS = (Distrusted, NotAllowed, NotShown, NotUnderstood)  # as against an outage


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """``api`` is that of a provider's account, where its keys are set. ``clock`` in milliseconds.

    A question in vain is one after which the event does not count. Each transmission has a few of these;
    those that had one before have some hundreds an hour in a process, by account: what becomes of one is
    nothing to the others. Beyond that an event waits on the
    queue, not at the provider. What a person redrives, or reconciling finds, is asked about in any case.
    """

    providers: Mapping[str, Provider]
    api: Callable[[str, str | None], ProviderApi | None]
    ledger: Ledger
    telemetry: Telemetry
    breaker: CircuitBreaker
    budget: Callable[[str], Budget]
    clock: Callable[[], int]

    def complete(self, event: Event, message: Message) -> Event:
        """The event as the provider shows it, where it is to be asked and can be.

        Raises ``Distrusted``, ``Unavailable``.
        """
        if event.id.startswith(IMPORTED) or not needs_asking(self.providers[event.provider], event):
            return event  # what was imported is what the provider has just shown
        api = self.api(event.provider, event.via)
        if api is None:
            return event
        place = key(event.provider, event.via or OWN)
        budget = self.budget(place)
        counted = None if message.is_redriven else message.transmission
        if counted and self.ledger.transmissions.check(counted, message.body) and budget.is_spent:
            raise Unavailable("asked too much in vain", reason="questions_spent")
        about = {"provider": event.provider, "type": event.type, "subject": event.subject}
        with (
            self.breaker.asking(place),
            self._counted(counted, budget),
            self.telemetry.span("ask", **about),
        ):
            return api.complete(event)

    @contextmanager
    def _counted(self, transmission: str | None, budget: Budget) -> Iterator[None]:
        try:
            yield
        except (Distrusted, Unavailable) as error:
            if transmission:
                self.ledger.transmissions.asked_in_vain(transmission, self.clock())
            if isinstance(error, ANSWERS):
                budget.spend()
            raise
