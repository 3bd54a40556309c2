"""Reading payments: one with its events, or pages of many, newest first. Subscriptions are listed alike.

All of them are found by day; those of a reference or a customer, which are few, by an index of their own.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from typing import Any, NamedTuple

from chalicelib import entries, payouts
from chalicelib.entries import StoredPayment
from chalicelib.errors import InvalidParameter, NewerRules, NotFound
from chalicelib.kinds import PAYMENT, PAYOUT, kind_of
from chalicelib.ledger import Ledger
from chalicelib.payments import project
from chalicelib.payments.books import STATUSES
from chalicelib.providers import PROVIDERS
from chalicelib.times import LAST, from_iso, sortable

DEFAULT_LIMIT = 20
LARGEST_LIMIT = 100
ROUNDS = 10  # of queries, of a day's shards, that one page may cost; one that needs more is cut short
ABOVE_ALL = "~"  # sorts after every character of a place
FILTERS = ("status", "provider")
SOUGHT = ("amount", "currency")  # what the table cannot filter by
LOOKS = 5  # pages that are read for what is sought
CHOICES = ("reference", "customer")
LONGEST = 16  # digits of an amount, and more
BATCH = 100  # records that are read at once
AT_ONCE = 1000  # places of a day that are read at once


class Listed(NamedTuple):
    """What is listed: records of one entry, under that name in the answer, each as ``show`` shows it; what
    status each can have; and how many queries one page may cost.

    What is shown has ``id``, ``created_at``, ``customer``, ``provider``, ``reference`` and ``status``.
    """

    entry: str
    name: str
    show: Callable[[str, StoredPayment], dict[str, Any]]
    statuses: tuple[str, ...]
    rounds: int = ROUNDS


@dataclass(frozen=True, slots=True)
class Query:
    """Which records to list. ``since`` and ``until`` are places in the listing, both inclusive.

    ``chosen`` holds a reference, a customer (with or without ``provider:``), both, or is empty; ``sought`` an
    amount (in minor units), a currency, both, or is empty.
    """

    since: str
    until: str
    limit: int
    wanted: dict[str, str]
    chosen: dict[str, str]
    sought: dict[str, int | str]


def parse(parameters: Mapping[str, str]) -> Query:
    """The query in the parameters of a URL. Raises ``InvalidParameter`` that says which one is wrong."""
    unknown = set(parameters) - {*FILTERS, *CHOICES, *SOUGHT, "since", "until", "limit", "cursor"}
    if unknown:
        raise InvalidParameter(f"unknown parameter: {min(unknown)}")
    since, until = instant(parameters, "since", 0), instant(parameters, "until", LAST)
    if since > until:
        raise InvalidParameter("since is after until")
    cursor = parameters.get("cursor")
    place = _place(cursor) if cursor else sortable(until) + ABOVE_ALL
    if place < sortable(since):
        raise InvalidParameter("cursor is of a page before since")
    return Query(
        since=sortable(since),
        until=place,
        limit=_limit(parameters.get("limit", str(DEFAULT_LIMIT))),
        wanted={name: parameters[name] for name in FILTERS if name in parameters},
        chosen={name: parameters[name] for name in CHOICES if parameters.get(name)},
        sought=_sought(parameters),
    )


def _sought(parameters: Mapping[str, str]) -> dict[str, int | str]:
    """Raises ``InvalidParameter``."""
    found: dict[str, int | str] = {}
    if parameters.get("currency"):
        found["currency"] = parameters["currency"].upper()
    amount = parameters.get("amount", "")
    if amount:
        if not (amount.isascii() and amount.isdigit() and len(amount) < LONGEST):
            raise InvalidParameter("amount is not a whole number, in the currency's minor unit")
        found["amount"] = int(amount)
    return found


def instant(parameters: Mapping[str, str], name: str, default: int) -> int:
    """The instant of that name. Raises ``InvalidParameter``."""
    try:
        return from_iso(parameters[name]) if name in parameters else default
    except (ValueError, OverflowError):
        raise InvalidParameter(f"{name} is not an ISO 8601 date or time") from None


def _limit(text: str) -> int:
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
    if not 1 <= limit <= LARGEST_LIMIT:
        raise InvalidParameter(f"limit is not a number from 1 to {LARGEST_LIMIT}")
    return limit


def payments(ledger: Ledger, query: Query) -> dict[str, Any]:
    """One page: ``{"payments": […], "cursor": …}``; the cursor is ``None`` on the last page.

    After a deploy was rolled back ``unread`` names those of the page that the newer version wrote.
    """
    return page(ledger, query, PAYMENTS)


def page(ledger: Ledger, query: Query, of: Listed) -> dict[str, Any]:
    """One page of those, by the name that they have in it."""
    _check(query, of)
    unread: list[str] = []
    looking = replace(query, limit=LARGEST_LIMIT) if query.sought else query
    found, below = _page(ledger, looking, of, unread)
    looks = LOOKS - 1 if query.sought else 0
    while below and len(found) < query.limit and looks:
        more, below = _page(ledger, replace(looking, until=below), of, unread)
        found, looks = [*found, *more], looks - 1
    if len(found) > query.limit:
        found = found[: query.limit]
        below = _below(found[-1][0])
    cursor = base64.urlsafe_b64encode(below.encode()).decode() if below else None
    shown: dict[str, Any] = {of.name: [view for _, view in found], "cursor": cursor}
    return {**shown, "unread": unread} if unread else shown


def _check(query: Query, of: Listed) -> None:
    """Raises ``InvalidParameter``: an empty list would say that there is none."""
    for name, known in (("status", of.statuses), ("provider", tuple(PROVIDERS))):
        if query.wanted.get(name, known[0]) not in known:
            raise InvalidParameter(f"{name} is none of: {', '.join(known)}")
    if query.sought and of.entry != PAYMENT:
        raise InvalidParameter(f"unknown parameter: {min(query.sought)}")


def _page(ledger: Ledger, query: Query, of: Listed, unread: list[str]) -> "tuple[Placed, str | None]":
    read = _chosen if query.chosen else _by_day
    found, below = read(ledger, query, of, unread)
    return [each for each in found if query.sought.items() <= each[1].items()], below


Placed = list[tuple[str, dict[str, Any]]]  # places and what is shown there


def _by_day(ledger: Ledger, query: Query, of: Listed, unread: list[str]) -> tuple[Placed, str | None]:
    places, below = _places(ledger, query, of)
    shown = dict(_read(ledger, (subject for _, subject in places), of, unread))
    found = [(place, shown[subject]) for place, subject in places if subject in shown]
    is_wanted = _has(query.wanted)
    return [each for each in found if is_wanted(each[1])], below


def _has(wanted: Mapping[str, str]) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a payment is as wanted. One found so by the index may have changed since."""
    return lambda payment: all(payment[name] == value for name, value in wanted.items())


def _places(ledger: Ledger, query: Query, of: Listed) -> tuple[list[tuple[str, str]], str | None]:
    """Place and subject of a page's payments, and the place that the next page begins with."""
    found: list[tuple[str, str]] = []
    rounds = 0
    for day, shards in ledger.days(query.since[:10], query.until[:10], of.entry).items():
        until: str | None = query.until
        while until is not None:
            if rounds == of.rounds:
                return found, min(until, day + ABOVE_ALL)
            room = query.limit + 1 - len(found)
            name = entries.day_of(of.entry, day)
            some, last = ledger.records_of_day(name, shards, query.since, until, room, query.wanted)
            rounds += 1
            found += some
            if len(found) > query.limit:
                found = found[: query.limit]
                return found, _below(found[-1][0])
            until = _below(last) if last else None
    return found, None


def _chosen(ledger: Ledger, query: Query, of: Listed, unread: list[str]) -> tuple[Placed, str | None]:
    """A page of those of a reference or a customer."""
    found: Placed = []
    is_wanted = _has(query.wanted)
    for place, shown in _placed(ledger, query, of, unread):
        if is_wanted(shown) and query.since <= place <= query.until:
            found.append((place, shown))
        if len(found) > query.limit:
            found = found[: query.limit]
            return found, _below(found[-1][0])
    return found, None


def _placed(
    ledger: Ledger, query: Query, of: Listed, unread: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The newest first: a customer's are in that order, those of one reference are put into it."""
    reference, customer = query.chosen.get("reference"), query.chosen.get("customer")
    if reference is None:
        subjects = _of_customer(ledger, customer or "", query.until, of.entry)
        yield from _at_places(ledger, subjects, of, unread)
        return
    found = _at_places(ledger, iter(ledger.referred(reference, of.entry)), of, unread)
    for place, shown in sorted(found, reverse=True, key=_first):
        names = (shown["customer"], f"{shown['provider']}:{shown['customer']}")
        if shown["reference"] == reference and (customer is None or customer in names):
            yield place, shown


def _first(placed: tuple[str, dict[str, Any]]) -> str:
    return placed[0]


def _of_customer(ledger: Ledger, customer: str, until: str, wanted: str) -> Iterator[str]:
    for name in named(customer):
        for subject, entry in ledger.of_customer(name, until, wanted):
            if entry == wanted:
                yield subject


def named(id_: str) -> list[str]:
    """An id with its provider: as it is given, or of each that there is."""
    return [id_] if id_.partition(":")[0] in PROVIDERS else [f"{each}:{id_}" for each in PROVIDERS]


def _at_places(
    ledger: Ledger, subjects: Iterator[str], of: Listed, unread: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for subject, shown in _read(ledger, subjects, of, unread):
        at = from_iso(shown["created_at"]) if shown["created_at"] else 0
        yield f"{sortable(at)}#{subject}", shown


def _read(
    ledger: Ledger, subjects: Iterator[str], of: Listed, unread: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of those subjects, as they are shown."""
    for subject, stored in records(ledger, subjects, unread):
        yield subject, of.show(subject, stored)


def _shown(subject: str, stored: StoredPayment) -> dict[str, Any]:
    return project(subject, stored.facts).to_dict()


def _shown_payout(subject: str, stored: StoredPayment) -> dict[str, Any]:
    return payouts.project(subject, stored.facts).record()


PAYMENTS = Listed(PAYMENT, "payments", _shown, STATUSES)
PAYOUTS = Listed(PAYOUT, "payouts", _shown_payout, payouts.STATUSES, rounds=50)  # a day has one or two


def every(
    ledger: Ledger, entry: str, days: Mapping[str, int], unread: list[str] | None = None
) -> Iterator[tuple[str, StoredPayment]]:
    """All records of that entry which began on those days, as ``Ledger.days`` has them, the newest first.

    What a newer version wrote is named in ``unread``; without that this raises ``NewerRules``.
    """
    for day, shards in days.items():
        yield from records(ledger, _of_day(ledger, entries.day_of(entry, day), shards, day), unread)


def _of_day(ledger: Ledger, name: str, shards: int, day: str) -> Iterator[str]:
    until: str | None = day + ABOVE_ALL
    while until is not None:
        found, last = ledger.records_of_day(name, shards, day, until, AT_ONCE, {})
        yield from (subject for _, subject in found)
        until = _below(last) if last else None


def records(
    ledger: Ledger, subjects: Iterator[str], unread: list[str] | None = None
) -> Iterator[tuple[str, StoredPayment]]:
    """What is stored of those subjects, many of them read at once.

    What a newer version wrote is named in ``unread``; without that this raises ``NewerRules``.
    """
    while batch := list(islice(subjects, BATCH)):
        found = ledger.payments(batch)
        for subject in batch:
            try:
                stored = found.get(subject) or ledger.record(subject)
            except NewerRules:
                if unread is None:
                    raise
                unread.append(subject)
                continue
            if stored.version:
                yield subject, stored


def below(view: Mapping[str, Any]) -> str:
    """The cursor of a page that goes on below that payment."""
    place = _below(f"{sortable(from_iso(view['created_at']))}#{view['id']}")
    return base64.urlsafe_b64encode(place.encode()).decode()


def _place(cursor: str) -> str:
    """The place that a cursor goes on from. Raises ``InvalidParameter``."""
    try:
        place = base64.urlsafe_b64decode(cursor.encode()).decode("ascii")
        date.fromisoformat(place[:10])
    except ValueError:
        raise InvalidParameter("cursor is not one that this listing gave") from None
    return place


def _below(place: str) -> str:
    """The place right below: the listing's places are ASCII, so one character less will do."""
    return place[:-1] + chr(ord(place[-1]) - 1) + ABOVE_ALL


def payment(ledger: Ledger, provider: str, object_id: str) -> dict[str, Any]:
    """One payment with its events, in the provider's time. Raises ``NotFound``."""
    subject = f"{provider}:{object_id}"
    stored = ledger.payment(subject)
    if not stored.version:
        subject = connected(ledger, subject, PAYMENT)
        stored = ledger.payment(subject)
    shown = project(subject, stored.facts).to_dict()
    return {**shown, "events": [event.to_dict() for event in ledger.listed_events(subject)]}


def payout(ledger: Ledger, provider: str, object_id: str) -> dict[str, Any]:
    """One payout with its events, in the provider's time. Raises ``NotFound``."""
    subject = f"{provider}:{object_id}"
    stored = ledger.record(subject)
    if kind_of(subject).entry != PAYOUT:
        raise NotFound("no such payout")
    if not stored.version:
        subject = connected(ledger, subject, PAYOUT)
        stored = ledger.record(subject)
    events = [event.to_dict() for event in ledger.listed_events(subject)]
    return {**_shown_payout(subject, stored), "events": events}


def connected(ledger: Ledger, name: str, entry: str) -> str:
    """The one connected account's record of that name and kind. Raises ``NotFound``."""
    subjects = ledger.referred(name, entry)
    if len(subjects) != 1:
        raise NotFound(f"no such {entry}")
    return subjects[0]
