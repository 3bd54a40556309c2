"""What waits in the ledger for a target: of one record, in order; with why it was not taken yet.

    subject          entry               holds
    stripe:pi_…      target:warehouse    tasks in order, whose turn it is, how often the first was tried

What waits is in the index ``by-inconsistency`` by since when, what is parked in ``by-day`` under ``PARKED``.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from chalicelib.entries import SPREAD, partitions, sharded
from chalicelib.errors import VersionMoved
from chalicelib.reactions import Task
from chalicelib.table import Item, Table, key, number, raise_if_condition_fails, string
from chalicelib.times import HOUR, sortable
from chalicelib.wakeups import Waiter, Wakeup

ENTRY = "target:"
WAITS, PARKED = "undelivered", "parked deliveries"
NOT_THERE = "attribute_not_exists(entry)"
NOT_MOVED = "version = :was"
EMPTY = 3600  # seconds until the table removes the entry of what waits no more: who sends may delete nothing
TRIES = 6  # while others write the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """``tasks`` of ``subject`` that ``target`` has not taken, at the version they were read at; 0: none yet.

    Instants in milliseconds. ``since`` the first of them waits; it is not tried before ``due_at``, was tried
    ``attempts`` times, and failed for ``reason``. While ``leased_until``, somebody sends them. What is
    parked is not tried until something new comes, or a person redrives it.
    """

    subject: str
    target: str
    version: int = 0
    tasks: tuple[Task, ...] = ()
    since: int = 0
    due_at: int = 0
    leased_until: int = 0
    attempts: int = 0
    reason: str | None = None
    parked_at: int | None = None

    @property
    def id(self) -> str:
        """What a person calls it."""
        return f"{self.target}/{self.subject}"

    @property
    def types(self) -> tuple[str, ...]:
        """What waits, in order, by its types."""
        return tuple(task.type for task in self.tasks)

    @property
    def waiter(self) -> Waiter:
        return Waiter(self.subject, self.target)

    @property
    def wakeup(self) -> Wakeup:
        """For when it is due."""
        return Wakeup(self.subject, self.target, self.due_at, self.since)

    def with_task(self, task: Task, now: int) -> "Undelivered":
        """What comes to what is parked has it tried once more."""
        if any(each.id == task.id and each.replay == task.replay for each in self.tasks):
            return self
        joined = replace(self, tasks=(*self.tasks, task))
        if self.parked_at is not None or not self.tasks:
            return replace(joined, since=now, due_at=now, parked_at=None)
        return joined

    def without(self, task: Task, now: int) -> "Undelivered":
        """That one was taken. Once more the same changes nothing: what comes after it was not."""
        left = tuple(each for each in self.tasks if (each.id, each.replay) != (task.id, task.replay))
        if len(left) == len(self.tasks):
            return self
        lease = self.leased_until if left else 0
        return replace(self, tasks=left, since=now, due_at=now, attempts=0, reason=None, leased_until=lease)

    def redriven(self, now: int) -> "Undelivered":
        """A person has it tried anew, as often as at first."""
        return replace(self, since=now, due_at=now, attempts=0, parked_at=None)


class Shelf:
    """All that waits for one stage's targets."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self, waiter: Waiter) -> Undelivered:
        item = self._table.get(waiter.subject, ENTRY + waiter.target)
        return _read(item) if item else Undelivered(subject=waiter.subject, target=waiter.target)

    def add(self, waiter: Waiter, task: Task, now: int) -> Undelivered:
        """Once, however often it is added while it waits; what waits then. Raises ``VersionMoved``."""
        return self.change(self.read(waiter), lambda found: found.with_task(task, now), now)

    def change(
        self, found: Undelivered, change: Callable[[Undelivered], Undelivered], now: int
    ) -> Undelivered:
        """The same change to what was read, or to what is there by now. Raises ``VersionMoved``."""
        for _ in range(TRIES):
            try:
                return self.write(found, change(found), now)
            except VersionMoved:
                found = self.read(found.waiter)
        raise VersionMoved(found.subject)

    def write(self, was: Undelivered, becomes: Undelivered, now: int) -> Undelivered:
        """What it becomes, as written. Raises ``VersionMoved``."""
        if becomes == was:
            return was
        # one that is made anew is never of a version that an older one had
        written = replace(becomes, version=was.version + 1 if was.version else now)
        condition = {
            "ConditionExpression": NOT_MOVED if was.version else NOT_THERE,
            **({"ExpressionAttributeValues": {":was": number(was.version)}} if was.version else {}),
        }
        with raise_if_condition_fails(VersionMoved(was.subject)):
            self._table.call("PutItem", Item=_item(written, now), **condition)
        return written

    def of(self, subject: str) -> Iterator[Undelivered]:
        """All that waits of a record, also what is parked."""
        found = self._table.query(
            KeyConditionExpression="subject = :subject AND begins_with(entry, :target)",
            ExpressionAttributeValues={":subject": string(subject), ":target": string(ENTRY)},
            ConsistentRead=True,
        )
        return (each for each in map(_read, found) if each.tasks)

    def waiting(self, until: int) -> Iterator[Waiter]:
        """What has waited since then, but for what is parked; each hour it begins with another part of it."""
        first = until // HOUR % SPREAD
        spread = partitions(WAITS, SPREAD)
        for partition in (*spread[first:], *spread[:first]):
            found = self._table.query(
                IndexName="by-inconsistency",
                KeyConditionExpression="inconsistent = :waits AND inconsistent_since <= :until",
                ExpressionAttributeValues={":waits": string(partition), ":until": number(until)},
            )
            yield from map(_waiter, found)

    def parked(self) -> Iterator[Undelivered]:
        """All that is set aside, the newest first."""
        found = self._table.query(
            IndexName="by-day",
            KeyConditionExpression="#day = :parked",
            ExpressionAttributeNames={"#day": "day"},
            ExpressionAttributeValues={":parked": string(PARKED)},
            ScanIndexForward=False,
        )
        for item in found:
            read = self.read(_waiter(item))
            if read.parked_at is not None:
                yield read


def _waiter(item: Item) -> Waiter:
    return Waiter(item["subject"]["S"], item["entry"]["S"].removeprefix(ENTRY))


NUMBERS = ("version", "due_at", "leased_until", "attempts")


def _item(of: Undelivered, now: int) -> Item:
    item = {
        **key(of.subject, ENTRY + of.target),
        "outbox": string(json.dumps([task.to_dict() for task in of.tasks])),
        "waits_since": number(of.since),
        **{name: number(getattr(of, name)) for name in NUMBERS},
    }
    if of.reason:
        item["reason"] = string(of.reason)
    if not of.tasks:
        return item | {"expires_at": number(now // 1000 + EMPTY)}
    if of.parked_at is not None:
        place = string(f"{sortable(of.parked_at)}#{of.id}")
        return item | {"parked_at": number(of.parked_at), "day": string(PARKED), "listed": place}
    what = sharded(WAITS, of.subject, SPREAD)
    return item | {"inconsistent": what, "inconsistent_since": number(of.since)}


def _read(item: Item) -> Undelivered:
    waiter = _waiter(item)
    return Undelivered(
        subject=waiter.subject,
        target=waiter.target,
        tasks=tuple(Task.from_dict(task) for task in json.loads(item["outbox"]["S"])),
        since=int(item["waits_since"]["N"]),
        reason=item["reason"]["S"] if "reason" in item else None,
        parked_at=int(item["parked_at"]["N"]) if "parked_at" in item else None,
        **{name: int(item[name]["N"]) for name in NUMBERS},
    )
