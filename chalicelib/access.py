"""Reading subscriptions: one with its events, pages of many; and who has access at an instant."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.entries import StoredPayment
from chalicelib.errors import InvalidParameter, NotFound
from chalicelib.kinds import SUBSCRIPTION, kind_of
from chalicelib.ledger import Ledger
from chalicelib.listing import Listed, Query, connected, instant, named, page, records
from chalicelib.subscriptions import Access, Subscription, Terms, access, project, shown
from chalicelib.subscriptions.standing import STATUSES
from chalicelib.times import from_iso, to_iso

WHOSE = ("reference", "customer")


@dataclass(frozen=True, slots=True)
class Question:
    """Whose access, by one of ``WHOSE``, and at which instant."""

    by: str
    value: str
    at: int


def parse(parameters: Mapping[str, str], now: int) -> Question:
    """The question in the parameters of a URL. Raises ``InvalidParameter`` that says what is wrong."""
    unknown = set(parameters) - {*WHOSE, "at"}
    if unknown:
        raise InvalidParameter(f"unknown parameter: {min(unknown)}")
    given = [name for name in WHOSE if parameters.get(name)]
    if len(given) != 1:
        raise InvalidParameter("one of reference and customer is needed")
    return Question(given[0], parameters[given[0]], instant(parameters, "at", now))


def answer(ledger: Ledger, question: Question, terms: Terms) -> dict[str, Any]:
    """The best that they have: ``{"access": …, "until": …, "reason": …, "subscriptions": […]}``."""
    found = sorted(_of(ledger, question, terms), key=lambda each: each.id)
    granted = [access(each, question.at, terms) for each in found]
    best = max(granted, key=_lasts, default=None)
    return {
        "access": bool(best and best.access),
        "until": to_iso(best.until) if best and best.until is not None else None,
        "reason": best.reason if best else "unknown",
        "subscriptions": [each.id for each in found],
    }


def _lasts(granted: Access) -> tuple[bool, bool, int]:
    """The longest is the best: access that has no end that is known, before any that has."""
    return granted.access, granted.access and granted.until is None, granted.until or 0


def _of(ledger: Ledger, question: Question, terms: Terms) -> Iterator[Subscription]:
    for subject, stored in records(ledger, iter(_subjects(ledger, question))):
        yield project(subject, stored.facts, terms)


def _subjects(ledger: Ledger, question: Question) -> list[str]:
    if question.by == "reference":
        return ledger.referred(question.value, SUBSCRIPTION)
    names = named(question.value)
    found = (each for name in names for each in ledger.of_customer(name, entry=SUBSCRIPTION))
    return list(dict.fromkeys(subject for subject, _ in found))


def subscriptions(ledger: Ledger, query: Query, at: int, terms: Terms) -> dict[str, Any]:
    """One page: ``{"subscriptions": […], "cursor": …}``; the cursor is ``None`` on the last page."""
    return page(ledger, query, listed(at, terms))


def listed(at: int, terms: Terms) -> Listed:
    """Subscriptions as they are listed, with the access that there is at that instant."""

    def show(subject: str, stored: StoredPayment) -> dict[str, Any]:
        return _shown(subject, stored, at, terms)

    return Listed(SUBSCRIPTION, "subscriptions", show, STATUSES)


def _shown(subject: str, stored: StoredPayment, at: int, terms: Terms) -> dict[str, Any]:
    """With its access at that instant, and when handlers were told of it among its milestones."""
    found = shown(project(subject, stored.facts, terms), at, terms)
    told = [each.to_dict() for each in stored.told.milestones(subject)]
    reached = sorted([*found["milestones"], *told], key=lambda each: from_iso(each["at"]))
    return {**found, "milestones": reached}


def subscription(ledger: Ledger, provider: str, object_id: str, at: int, terms: Terms) -> dict[str, Any]:
    """One subscription with its events, in the provider's time. Raises ``NotFound``."""
    subject = f"{provider}:{object_id}"
    if kind_of(subject).entry != SUBSCRIPTION:
        raise NotFound("no such subscription")
    stored = ledger.subscription(subject)
    if not stored.version:
        subject = connected(ledger, subject, SUBSCRIPTION)
        stored = ledger.subscription(subject)
    events = [event.to_dict() for event in ledger.listed_events(subject)]
    return {**_shown(subject, stored, at, terms), "events": events}
