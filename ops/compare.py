"""Whether a table of one's own says the same of payments as the ledger: row by row, however long it is."""

import csv
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from chalicelib import listing, money
from chalicelib.entries import StoredPayment
from chalicelib.kinds import PAYMENT
from chalicelib.ledger import Ledger
from chalicelib.payments import Payment, project
from chalicelib.times import from_iso, sortable

AMOUNTS = ("amount", "authorized", "captured", "refunded", "disputed", "net")
FIELDS = ("status", "currency", *AMOUNTS, "customer", "reference")
BY = ("id", "reference")  # how a row names its payment
BATCH = 100
LARGEST = 10_000_000  # characters of a cell: a column of JSON may be among those that are not compared
MISSING, EXTRA, DIFFERENT = "not in the ledger", "not in the file", "different"


class BadTable(Exception):
    """The file cannot be compared; the message says why."""


class Found(NamedTuple):
    """A payment that is not the same in both: what of it, by name, as the file and as the ledger has it."""

    id: str
    what: str
    differences: dict[str, tuple[Any, Any]]


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many rows and payments were looked at, and what was found."""

    compared: int = 0
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys((DIFFERENT, MISSING, EXTRA), 0))

    @property
    def equal(self) -> int:
        return self.compared - sum(self.found.values())

    @property
    def percent(self) -> float:
        """Of all that was compared; of nothing, none: that proves nothing."""
        return 100 * self.equal / self.compared if self.compared else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What the file has: ``columns`` by the ledger's names, ``statuses`` the ledger's by the file's.

    ``is_minor``: its amounts are integers in the currency's minor unit, else in the currency's own.
    """

    columns: Mapping[str, str]
    statuses: Mapping[str, str] = field(default_factory=dict)
    is_minor: bool = False

    @property
    def by(self) -> str:
        """Raises ``BadTable``."""
        named = [name for name in BY if name in self.columns]
        if not named:
            raise BadTable("say which column names the payment: --map id=COLUMN or --map reference=COLUMN")
        return named[0]

    def check(self, row: Mapping[str, Any]) -> None:
        """Raises ``BadTable`` where a column is not there."""
        missing = [column for column in self.columns.values() if column not in row]
        if missing:
            there = ", ".join(str(name) for name in row if name is not None)
            raise BadTable(f"the file has no column {missing[0]}; it has {there}")

    def wanted(self, row: Mapping[str, Any], currency: str | None) -> dict[str, Any]:
        """What the row says, as the ledger would; of an empty cell nothing. Raises ``BadTable``."""
        found: dict[str, Any] = {}
        for name, column in self.columns.items():
            value = row.get(column)
            if name == "id" or value is None or value == "":
                continue
            if name in AMOUNTS:
                found[name] = self._amount(value, currency, column)
            elif name == "status":
                found[name] = self.statuses.get(str(value), str(value))
            else:
                found[name] = str(value).upper() if name == "currency" else str(value)
        return found

    def _amount(self, value: object, currency: str | None, column: str) -> int:
        try:
            return int(str(value)) if self.is_minor else money.minor_units(str(value), currency or "XXX")
        except ValueError:
            unit = "minor units" if self.is_minor else currency
            raise BadTable(f"{value} in the column {column} is no amount in {unit}") from None


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Those of a CSV file with headings, or of JSON lines, by its name. Raises ``BadTable``."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            yield from _objects(file) if path.suffix in (".jsonl", ".ndjson") else csv.DictReader(file)
        except csv.Error as error:
            raise BadTable(f"it is no CSV: {error}") from None


def _objects(file: TextIO) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise BadTable(f"line {number} is no JSON object")
        yield row


class Comparison:
    """Of one file with one ledger. ``tally`` counts as it goes."""

    def __init__(self, ledger: Ledger, mapped: Mapped) -> None:
        self._ledger, self._mapped = ledger, mapped
        self._seen = sqlite3.connect("", isolation_level=None)  # on disk: a file can have millions of rows
        self._seen.execute("CREATE TABLE seen (id TEXT PRIMARY KEY)")
        self.tally = Tally()
        self.unread: list[str] = []  # what a newer version wrote

    def of_file(self, table: Iterable[dict[str, Any]]) -> Iterator[Found]:
        """What of the file's rows is not the same in the ledger. Raises ``BadTable``."""
        by, left = self._mapped.by, iter(table)
        csv.field_size_limit(LARGEST)
        while batch := list(islice(left, BATCH)):
            for row in batch:
                self._mapped.check(row)
            names = [str(row[self._mapped.columns[by]] or "") for row in batch]
            payments = self._by_id(names) if by == "id" else self._by_reference(names)
            for name, row in zip(names, batch, strict=True):
                self.tally.compared += 1
                yield from self._counted(self._of_row(name, row, payments.get(name)))

    def of_ledger(self, since: int, until: int) -> Iterator[Found]:
        """What began in that time and no row named: to be asked for once the file is read."""
        days = self._ledger.days(sortable(since)[:10], sortable(until)[:10])
        for subject, stored in listing.every(self._ledger, PAYMENT, days, self.unread):
            payment = project(subject, stored.facts)
            is_then = since <= from_iso(payment.created_at) < until
            if payment.captured and is_then and not self._is_seen(subject):
                self.tally.compared += 1
                shown = {name: (None, getattr(payment, name)) for name in ("status", "captured")}
                yield from self._counted([Found(subject, EXTRA, shown)])

    def close(self) -> None:
        self._seen.close()

    def _read(self, subjects: Iterator[str]) -> dict[str, StoredPayment]:
        return dict(listing.records(self._ledger, subjects, self.unread))

    def _counted(self, found: Iterable[Found]) -> Iterator[Found]:
        for each in found:
            self.tally.found[each.what] += 1
            yield each

    def _of_row(self, name: str, row: Mapping[str, Any], payment: Payment | None) -> Iterator[Found]:
        if payment is None:
            if any(each in self.unread for each in listing.named(name)):
                self.tally.compared -= 1
            else:
                yield Found(name, MISSING, {})
            return
        self._seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", [payment.id])
        try:
            wanted = self._mapped.wanted(row, payment.currency)
        except BadTable as wrong:
            raise BadTable(f"row {self.tally.compared}: {wrong}") from None
        pairs = {each: (value, getattr(payment, each)) for each, value in wanted.items()}
        differences = {each: pair for each, pair in pairs.items() if pair[0] != pair[1]}
        if differences:
            yield Found(payment.id, DIFFERENT, differences)

    def _by_id(self, names: list[str]) -> dict[str, Payment]:
        """With or without the provider."""
        candidates = {subject: name for name in names if name for subject in listing.named(name)}
        found = self._read(iter(candidates))
        return {candidates[each]: project(each, stored.facts) for each, stored in found.items()}

    def _by_reference(self, names: list[str]) -> dict[str, Payment]:
        """The payment of that reference that captured something, or else its last one."""
        found = {}
        for name in dict.fromkeys(each for each in names if each):
            subjects = self._ledger.referred(name)
            payments = [project(each, it.facts) for each, it in self._read(iter(subjects)).items()]
            best = max(payments, key=lambda each: (each.captured > 0, each.created_at, each.id), default=None)
            if best:
                found[name] = best
        return found

    def _is_seen(self, subject: str) -> bool:
        return self._seen.execute("SELECT 1 FROM seen WHERE id = ?", [subject]).fetchone() is not None
