"""Whether each stored payment and subscription is the fold of its events, and making it so."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.entries import StoredPayment
from chalicelib.folding import LABELS, folded
from chalicelib.kinds import kind_of
from chalicelib.ledger import Ledger
from chalicelib.payments import RULES_VERSION, Facts, Labels
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
        """Each shown field that differs: its name, as stored, as it should be; or rules, or facts."""
        shown = kind_of(self.subject).shown
        before, after = (shown(self.subject, facts) for facts in (self.stored.facts, self.folded))
        differing = [name for name in after if before.get(name) != after[name]]
        for name in differing:
            yield name, before.get(name), after[name]
        if self.stored.is_outdated:
            yield "rules", self.stored.rules, RULES_VERSION
        elif not differing:
            yield "facts", self.stored.facts, self.folded


def drift(ledger: Ledger, subject: str, labels: Labels = LABELS) -> Drift | None:
    """How the stored payment differs from the fold of its events, if it does, with what the stage keeps.

    The payment is read first: an event recorded in between shows as a drift, so that is looked at twice.
    """
    for _ in range(2):
        stored = ledger.record(subject)
        facts = folded(ledger, PROVIDERS, subject, stored.facts, labels)
        if stored.facts == facts and not stored.is_outdated:
            return None
    return Drift(subject, stored, facts)


def repair(ledger: Ledger, found: Drift, handlers: Handlers, now: int) -> int:
    """Write the payment as it should be; how many milestones that adds for handlers.

    They are left in the outbox. Raises ``VersionMoved`` if the payment was written meanwhile.
    """
    stored = found.stored
    record = replace(stored.noting(found.folded), look_at=now).with_facts(found.folded, now)
    # what other rules call by another name is not news: handlers were notified of it by those
    news = () if stored.is_to_be_folded else record.change.milestones
    tasks = handlers.milestone_tasks(news)
    ledger.save_payment(record.with_tasks(tasks, stored.outbox.leased_until))
    return len(tasks)
