"""A record's facts from all of its events: what is stored is always this."""

from collections.abc import Mapping
from dataclasses import replace

from chalicelib.entries import StoredEvent
from chalicelib.kinds import PLAN, kind_of
from chalicelib.ledger import Ledger
from chalicelib.linking import heard_by
from chalicelib.payments import Facts, Labels
from chalicelib.providers.protocol import Provider

LABELS = Labels()  # unless the stage says otherwise


def folded(
    ledger: Ledger,
    providers: Mapping[str, Provider],
    subject: str,
    stored: Facts,
    labels: Labels = LABELS,
) -> Facts:
    """The facts of all events about a subject, and what other records tell it of those.

    An event that cannot be understood proves none.

    Where an event's body was removed nobody can say any more what it proved. The facts of the others must
    be among those that are stored: they are joined to them.
    """
    provider = providers[subject.partition(":")[0]]
    events = list(ledger.events(subject))
    kept = [each for each in events if each.content is not None]
    kind = kind_of(subject)
    known = [labels.kept(_facts(provider, each, subject), kind.entry) for each in kept]
    facts = kind.fold(known if len(known) == len(events) else [stored, *known])
    waiting = stored.get(PLAN, {}).get("waiting") if kind.entry == PLAN else None
    if waiting:  # which no event of its own says
        facts = kind.join(facts, {PLAN: {"waiting": waiting}})
    return heard_by(subject, facts, lambda by: ledger.record(by).facts)


def _facts(provider: Provider, event: StoredEvent, subject: str) -> Facts:
    try:
        read = provider.event(event.content or b"", event.received_at)
        return provider.facts(replace(read, via=event.via)).get(subject, {})
    except Exception:
        return {}
