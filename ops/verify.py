"""Whether each stored payment is the fold of its events, and making it so."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chalicelib.entries import StoredPayment
from chalicelib.ledger import Ledger
from chalicelib.payments import Facts, fold, project
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers


@dataclass(frozen=True, slots=True)
class Drift:
    """A payment that is not the fold of its events.

    Where bodies were removed, ``folded`` is what the others say, joined to what is stored.
    """

    subject: str
    stored: StoredPayment
    folded: Facts

    def differences(self) -> Iterator[tuple[str, Any, Any]]:
        """Each shown field that differs: its name, as stored, as it should be; at the least the facts."""
        before, after = (project(self.subject, facts).to_dict() for facts in (self.stored.facts, self.folded))
        differing = [name for name in after if before[name] != after[name]]
        for name in differing:
            yield name, before[name], after[name]
        if not differing:
            yield "facts", self.stored.facts, self.folded


def folded(ledger: Ledger, subject: str, stored: Facts) -> Facts:
    """The facts of all of a subject's events; an event that cannot be understood proves none.

    Where an event's body was removed nobody can say any more what it proved. The facts of the others must
    be among those that are stored: they are joined to them.
    """
    provider = PROVIDERS[subject.partition(":")[0]]

    def facts(body: bytes, received_at: int) -> Facts:
        try:
            return provider.facts(provider.event(body, received_at))
        except Exception:
            return {}

    events = [(each.content, each.received_at) for each in ledger.events(subject)]
    known = [facts(content, received_at) for content, received_at in events if content is not None]
    return fold(known if len(known) == len(events) else [stored, *known])


def drift(ledger: Ledger, subject: str) -> Drift | None:
    """How the stored payment differs from the fold of its events, if it does.

    The payment is read first: an event recorded in between shows as a drift, so that is looked at twice.
    """
    for _ in range(2):
        stored = ledger.payment(subject)
        facts = folded(ledger, subject, stored.facts)
        if stored.facts == facts:
            return None
    return Drift(subject, stored, facts)


def repair(ledger: Ledger, found: Drift, handlers: Handlers, now: int) -> int:
    """Write the payment as it should be; how many milestones that adds for handlers to hear.

    They are left in the outbox. Raises ``VersionMoved`` if the payment was written meanwhile.
    """
    stored = found.stored
    told = stored.change_to(found.folded)
    tasks = handlers.milestone_tasks(told.milestones)
    outbox = stored.outbox_after(told, tasks)
    ledger.save_payment(found.folded, outbox, stored.inconsistent_since or now)
    return len(tasks)
