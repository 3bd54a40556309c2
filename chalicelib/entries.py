"""What the table holds of events and payments, and under which key: to and from DynamoDB's items.

    subject (partition)   entry (sort)        holds
    stripe:pi_…           payment             facts, the payment computed from them, version, outbox
    stripe:in_…           invoice             which payment was for which subscription: linking.py
    stripe:po_…           payout              facts of money sent to the bank, as a payment's
    made-of:stripe:po_…   txn_…               a movement of the balance that is in it: made_of.py
    stripe:txn_…          adjustment          a movement of the balance that is of neither: adjustments.py
    stripe:pi_…           payment:part:000    facts that outgrew their payment: packing.py
    stripe:pi_…           event:evt_…         one event, with its body as it came (zlib)
    paypal:2GG…           event:WH-…          that an event at home under another subject is about this too
    stripe:pi_…           name:stripe:ch_…    what it is known by, where one event brings several
    bare:stripe:pi_…      stripe:acct_…:pi_…  a connected account's payment by its bare id
    id:stripe:evt_…       id                  the one subject that an event id is recorded under: its home
    calendar              2026-11-24          a day with payments, and over how many shards it is listed
    calendar subscription 2026-11-24          the same of subscriptions; so of payouts and adjustments
    calendar bodies       2026-11-24          a day whose bodies are spread over shards, until they expire
    transmission:…        transmission        the digest of the one body that it stands for; expires
    stripe:pi_…           parked:evt_…        why an event is not recorded, and its body: parking.py
    stripe:pi_…           target:warehouse    what waits to be sent to a target: undelivered.py
    checkpoint            reconcile stripe    how far something has come: shelves.py
    certificate           https://…           a signing certificate: shelves.py

Four sparse indexes: ``by-reference`` (payments by the user's own id, and by a charge's, refund's or order's),
``by-day`` (payments by day and time, a day in one partition or in several; all that is parked, under the day
``parked``; bodies that expire, under the day they came on), ``by-inconsistency`` (payments that are not
consistent, and those with handlers that wait for a reference, by when they became so; subscriptions by when
they are to be looked at; what waits for a target by since when), ``by-customer`` (payments and other objects
of a customer, by time).
"""

import json
import zlib
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from chalicelib import adjustments, packing, payments, payouts, subscriptions
from chalicelib.errors import NewerRules
from chalicelib.events import Event
from chalicelib.joining import Facts
from chalicelib.kinds import ADJUSTMENT, PAYMENT, PAYOUT, SUBSCRIPTION, Change, kind_of
from chalicelib.payments import RULES_VERSION, Milestone, books, notes_of_waiting, shown
from chalicelib.payments.conversion import converted
from chalicelib.reactions import Task
from chalicelib.subscriptions import NOTHING_TOLD, TERMS, Terms, Told, look_at, tell
from chalicelib.table import Attribute, Item, key, number, packed, string, unpacked
from chalicelib.times import from_iso, sortable, to_iso

# what somebody is to look at, in the index by that
NAME = "name:"
INCONSISTENT, WAITING, DUE, UNLISTED = "yes", "waiting", "due", "unlisted"
SPREAD = 8  # partitions of the index by what is not as it should be: one takes 1,000 writes a second
OUTBOX = ("version", "outbox", "leased_until", "superseded")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPayment:
    """A payment's (or subscription's) facts and the version they were read at; version 0 is not stored yet.

    ``inconsistent_since`` is when it was first written so, in milliseconds; ``None`` while it is consistent;
    ``waiting_since`` when it was first written with a handler that waits for its reference.
    ``told`` is what handlers were told of a subscription's access.
    ``rules`` is the version of the rules that made the facts; they are shown in the shape of today's.
    """

    facts: Facts
    outbox: "Outbox"
    inconsistent_since: int | None = None
    waiting_since: int | None = None
    rules: int = RULES_VERSION
    told: Told = NOTHING_TOLD
    look_at: int | None = None

    @property
    def version(self) -> int:
        return self.outbox.version

    @property
    def is_outdated(self) -> bool:
        """Whether other rules made it: its events may prove something else by today's."""
        return self.version > 0 and self.rules != RULES_VERSION

    @property
    def is_to_be_folded(self) -> bool:
        """Whether its events say more than it does: also those of what was no record in older versions."""
        return self.is_outdated or (not self.version and self.outbox.entry in (SUBSCRIPTION, PAYOUT))

    def noting(self, facts: Facts) -> "StoredPayment":
        """It with a note of what older rules notified, and these facts have wait: to be notified once."""
        if not self.is_outdated:
            return self
        superseded = tuple(sorted({*self.outbox.superseded, *notes_of_waiting(books(facts))}))
        return replace(self, outbox=replace(self.outbox, superseded=superseded))

    def with_facts(self, facts: Facts, now: int, terms: Terms | None = None) -> "RecordWrite":
        """It as it will be with those facts in place of its own; nothing more in its outbox yet.

        With ``terms`` also what follows of a subscription's access by now; without, that is left as it was.
        """
        subject = self.outbox.subject
        superseded = self.outbox.superseded
        changed = kind_of(subject).change(subject, self.facts, facts, superseded, terms or TERMS)
        outbox = replace(self.outbox, version=self.version + 1, superseded=changed.superseded)
        record = RecordWrite(
            outbox=outbox,
            change=changed,
            since=self.inconsistent_since or now,
            waiting_since=self.waiting_since or now,
            told=self.told,
            news=changed.milestones,
        )
        if isinstance(changed, payouts.Change):
            return replace(record, look_at=changed.look_at)
        if not isinstance(changed, subscriptions.Change):
            return record
        if terms is None:
            return replace(record, look_at=self.look_at)
        told, news = tell(changed.after, self.told, now, terms)
        when = look_at(changed.after, told, now, terms)
        return replace(record, told=told, look_at=when, news=(*changed.milestones, *news))


def not_stored(subject: str) -> StoredPayment:
    return StoredPayment(facts={}, outbox=Outbox(subject, kind_of(subject).entry, 0))


@dataclass(frozen=True, slots=True)
class Outbox:
    """What handlers are still to be notified of, at the version it was read at. ``leased_until`` in
    milliseconds.

    ``superseded`` names the milestones that nobody was notified of (see ``payments.Change``).
    """

    subject: str
    entry: str
    version: int
    _: KW_ONLY
    tasks: tuple[Task, ...] = ()
    leased_until: int = 0
    superseded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedEvent:
    """What a list shows of an event. Instants in milliseconds; ``subject`` is its home, where it is kept."""

    subject: str
    id: str
    type: str
    created_at: int
    received_at: int
    is_removed: bool = False

    @property
    def place(self) -> tuple[int, int, str]:
        """In the provider's time."""
        return self.created_at, self.received_at, self.id

    def to_dict(self) -> dict[str, str]:
        return {
            "id": self.id,
            "type": self.type,
            "created_at": to_iso(self.created_at),
            "received_at": to_iso(self.received_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent(ListedEvent):
    """An event entry; ``body`` as the provider sent it, ``None`` once removed, ``via`` as the event says."""

    body: bytes | None
    completed: bytes | None = None
    via: str | None = None

    @property
    def content(self) -> bytes | None:
        """What the event's facts are read from, as long as it is kept."""
        return self.completed or self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordWrite:
    """A payment as it will be. ``outbox.version`` is one above that of the payment it was made from.

    ``since`` is when it became inconsistent, if it is; ``waiting_since`` when a handler began to wait.
    ``look_at`` is when the clock may change what holds of it; ``news`` what handlers are notified of.
    """

    outbox: Outbox
    change: Change
    since: int
    waiting_since: int = 0
    told: Told = NOTHING_TOLD
    look_at: int | None = None
    news: tuple[Milestone, ...] = ()

    @property
    def subject(self) -> str:
        return self.outbox.subject

    def with_tasks(self, tasks: Iterable[Task], leased_until: int) -> "RecordWrite":
        outbox = replace(self.outbox, tasks=(*self.outbox.tasks, *tasks), leased_until=leased_until)
        return replace(self, outbox=outbox)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """An event to be recorded, and the payments that it makes: none, one, or several.

    ``own`` is what handlers are to be notified of by the event itself, where it makes no payment of its
    subject. ``transmission`` is an id that may stand for this body only; ``said`` is what the event is of, by
    this body, where another body could have been given to the event's id. ``names`` are the ids of objects
    that the payment is first known by with this event: a charge, a refund, an order.
    """

    event: Event
    body: bytes
    records: tuple[RecordWrite, ...] = ()
    own: Outbox | None = None
    transmission: str | None = None
    said: str | None = None
    names: tuple[str, ...] = ()

    @property
    def outboxes(self) -> tuple[Outbox, ...]:
        """All that is written with the event, its own first."""
        own = (self.own,) if self.own else ()
        return (*own, *(record.outbox for record in self.records))


def bare_item(record: RecordWrite) -> Item | None:
    """That a connected account's payment is found without naming the account; ``None`` for any other."""
    provider, *between, object_id = record.subject.split(":")
    return key(f"bare:{provider}:{object_id}", record.subject) if between else None


def listed(event: Event) -> Attribute:
    return string(f"{sortable(event.created_at)}#{event.subject}#{event.id}")


def day_of(entry: str, day: str) -> str:
    """What a day's records of that kind are listed under: payments under the day alone."""
    return front_of(entry) + day


def front_of(entry: str) -> str:
    """What the places of that kind begin with, so that a customer's lie together; of payments, nothing."""
    return "" if entry == PAYMENT else f"{entry} "


def bodies_of(day: str) -> str:
    """In place of a payment's day: the events whose bodies came on that day, and expire."""
    return f"bodies {day}"


def id_item(write: Write) -> Item:
    event = write.event
    said = {"said": string(write.said)} if write.said else {}
    return {**key(f"id:{event.key}", "id"), "of": string(event.subject), **said}


def name_items(write: Write) -> dict[str, Item]:
    """The ids that a payment is first known by beside the first, which is kept with the event."""
    of = {name: f"{write.event.provider}:{name}" for name in write.names[1:]}
    return {
        name: {**key(write.event.subject, f"{NAME}{whole}"), "reference": string(whole)}
        for name, whole in of.items()
    }


def pointer_item(event: Event, subject: str) -> Item:
    """Under another subject that an event proves something of: that it does, and where it is kept."""
    return {**_event_item(event, subject), "home": string(event.subject)}


def _event_item(event: Event, subject: str) -> Item:
    return {
        "subject": string(subject),
        "entry": string(f"event:{event.id}"),
        "type": string(event.type),
        "created_at": number(event.created_at),
        "received_at": number(event.received_at),
    }


def event_item(write: Write) -> Item:
    event = write.event
    item = {**_event_item(event, event.subject), "body": packed(write.body)}
    if write.own:
        item |= outbox_attributes(write.own)
        item |= _of_customer(event.provider, event.customer)
    if write.own and event.customer:
        item["listed"] = listed(event)
    if event.livemode is not None:
        item["livemode"] = {"BOOL": event.livemode}
    if event.completed:
        item["completed"] = packed(event.completed)
    texts = {
        "account": event.account,
        "via": event.via,
        "api_version": event.api_version,
        "reference": f"{event.provider}:{write.names[0]}" if write.names else None,
    }
    return item | {name: string(text) for name, text in texts.items() if text}


def _of_customer(provider: str, customer: str | None) -> Item:
    return {"customer": string(f"{provider}:{customer}")} if customer else {}


def partitions(name: str, shards: int) -> list[str]:
    """The partitions of an index that what is of one name is spread over, the first as before it was spread.

    One partition takes 1,000 writes a second.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-sharding.html
    """
    return [name, *(f"{name}~{shard}" for shard in range(1, shards))]


def sharded(name: str, subject: str, shards: int) -> Attribute:
    """The one of them that a subject is in."""
    return string(partitions(name, shards)[zlib.crc32(subject.encode()) % shards])


def unsharded(partition: Attribute) -> str:
    """The name that a partition is one of."""
    return str(partition["S"].partition("~")[0])


def payment_items(write: RecordWrite, shards: int = 1) -> list[Item]:
    """The record's entry, and those of its facts' parts. ``shards``: of the listing."""
    subject, change = write.subject, write.change
    facts, parts = packing.stored(subject, change.facts, write.outbox.version)
    own: Item = {}
    if isinstance(change, payments.Change):
        own = _of_payment(write, change, shards)
    elif isinstance(change, subscriptions.Change):
        own = _of_subscription(write, change, shards)
    elif isinstance(change, payouts.Change):
        own = _of_payout(write, change, shards)
    elif isinstance(change, adjustments.Change):
        own = _listed_at(ADJUSTMENT, subject, change.at, shards)
    item = {**key(subject, write.outbox.entry), **facts, "rules": number(RULES_VERSION), **own}
    return [item | outbox_attributes(write.outbox), *parts]


def _of_payment(write: RecordWrite, change: payments.Change, shards: int) -> Item:
    subject = write.subject
    payment = shown(subject, change.after)
    item = {
        "provider": string(payment.provider),
        "status": string(payment.status),
        "captured": number(payment.captured),
        "refunded": number(payment.refunded),
        "disputed": number(payment.disputed),
        **_listed_at(PAYMENT, subject, from_iso(payment.created_at), shards),
    }
    if payment.currency:
        item["currency"] = string(payment.currency)
    if payment.reference:
        item["reference"] = string(payment.reference)
    item |= _of_customer(payment.provider, payment.customer)
    if not payment.consistent:
        what = sharded(INCONSISTENT, subject, SPREAD)
        item |= {"inconsistent": what, "inconsistent_since": number(write.since)}
    elif payment.reference is None and any(task.needs for task in write.outbox.tasks):
        what = sharded(WAITING, subject, SPREAD)
        item |= {"inconsistent": what, "inconsistent_since": number(write.waiting_since)}
    return item


def _of_subscription(write: RecordWrite, change: subscriptions.Change, shards: int) -> Item:
    """Found by its reference, its customer and its day; it is in no list of payments."""
    it = change.after
    item = {
        "provider": string(it.provider),
        "status": string(it.status),
        **_listed_at(SUBSCRIPTION, it.id, it.created_at or 0, shards),
        **_of_customer(it.provider, it.customer),
    }
    told = write.told.to_dict()
    if told:
        item["told"] = string(json.dumps(told))
    if write.look_at is not None:
        what = sharded(DUE, write.subject, SPREAD)
        item |= {"inconsistent": what, "inconsistent_since": number(write.look_at)}
    if it.reference:
        item["reference"] = string(it.reference)
    return item


def _of_payout(write: RecordWrite, change: payouts.Change, shards: int) -> Item:
    """Found by its day, and where the provider is to be asked what it is made of, or that does not add up."""
    it = change.after
    item = {
        "provider": string(it.provider),
        "status": string(it.status),
        **_listed_at(PAYOUT, it.id, from_iso(it.created_at), shards),
    }
    if not it.consistent:
        what = sharded(INCONSISTENT, write.subject, SPREAD)
        item |= {"inconsistent": what, "inconsistent_since": number(write.since)}
    elif write.look_at is not None:
        what = sharded(UNLISTED, write.subject, SPREAD)
        item |= {"inconsistent": what, "inconsistent_since": number(write.look_at)}
    return item


def _listed_at(entry: str, subject: str, at: int, shards: int) -> Item:
    created = sortable(at)
    return {
        "day": sharded(day_of(entry, created[:10]), subject, shards),
        "listed": string(f"{front_of(entry)}{created}#{subject}"),
    }


def outbox_attributes(outbox: Outbox) -> Item:
    """An empty outbox is no attribute, and has no lease; nor is what is empty of the rest."""
    attributes = {"version": {"N": str(outbox.version)}}
    if outbox.superseded:
        attributes["superseded"] = string(json.dumps(outbox.superseded))
    if outbox.tasks:
        attributes["outbox"] = string(json.dumps([task.to_dict() for task in outbox.tasks]))
        attributes["leased_until"] = {"N": str(outbox.leased_until)}
    return attributes


def stored_outbox(item: Item) -> Outbox:
    tasks = json.loads(item["outbox"]["S"]) if "outbox" in item else []
    superseded = item.get("superseded") or item.get("passed_over")  # the second by rules of version 1
    return Outbox(
        subject=item["subject"]["S"],
        entry=item["entry"]["S"],
        version=int(item["version"]["N"]) if "version" in item else 0,
        tasks=tuple(Task.from_dict(task) for task in tasks),
        leased_until=int(item["leased_until"]["N"]) if "leased_until" in item else 0,
        superseded=tuple(json.loads(superseded["S"])) if superseded else (),
    )


def rules_of(item: Item) -> int:
    """The version of the rules that made a record."""
    return int(item["rules"]["N"]) if "rules" in item else 1


def stored_payment(item: Item, facts: Facts) -> StoredPayment:
    """Raises ``NewerRules``."""
    outbox = stored_outbox(item)
    rules = rules_of(item)
    if rules > RULES_VERSION:
        raise NewerRules(outbox.subject, rules, RULES_VERSION)
    return StoredPayment(
        facts=converted(outbox.subject, facts, rules) if outbox.entry == PAYMENT else facts,
        outbox=outbox,
        inconsistent_since=_since(item, INCONSISTENT),
        waiting_since=_since(item, WAITING),
        rules=rules,
        look_at=_since(item, DUE),
        told=Told.from_dict(json.loads(item["told"]["S"])) if "told" in item else NOTHING_TOLD,
    )


def _since(item: Item, what: str) -> int | None:
    is_so = unsharded(item.get("inconsistent", string(""))) == what
    return int(item["inconsistent_since"]["N"]) if is_so else None


def listed_event(item: Item) -> ListedEvent:
    return ListedEvent(**_listed(item), is_removed="removed" in item)


def stored_event(item: Item) -> StoredEvent:
    return StoredEvent(
        **_listed(item),
        is_removed="body" not in item,
        body=unpacked(item["body"]) if "body" in item else None,
        completed=unpacked(item["completed"]) if "completed" in item else None,
        via=item["via"]["S"] if "via" in item else None,
    )


def _listed(item: Item) -> dict[str, Any]:
    return {
        "subject": item.get("home", item["subject"])["S"],
        "id": item["entry"]["S"].partition(":")[2],
        "type": item["type"]["S"],
        "created_at": int(item["created_at"]["N"]),
        "received_at": int(item["received_at"]["N"]),
    }
