"""Lines on disk, so that they can be put in order and added up however many there are.

SQLite keeps them in a temporary file of its own, which is gone when it is closed.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from chalicelib.ledger import Ledger
from chalicelib.times import from_iso, sortable
from ops.books.lines import COLUMNS, Line, Step, Zone, lines, parts

SCHEMA = """
CREATE TABLE line (at TEXT, id TEXT, month TEXT, provider TEXT, account TEXT, is_test INTEGER, currency TEXT,
                   kind TEXT, gross INTEGER, fee INTEGER, is_settled INTEGER, entry TEXT, line TEXT);
CREATE TABLE part (entry TEXT PRIMARY KEY, payout TEXT);
"""
IN_ORDER = """
SELECT line.line, part.payout FROM line LEFT JOIN part ON part.entry = line.entry
WHERE line.at >= ? AND line.at < ? {more} ORDER BY line.at, line.id
"""
BALANCES = """
SELECT month, provider, account, is_test, currency, kind, SUM(gross), SUM(fee), SUM(1 - is_settled), COUNT(*)
FROM line GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
"""


class Sum(NamedTuple):
    """What the lines of a month, balance and kind add up to, in minor units. ``account`` "" is one's own.

    Of what the balance does not show, ``not_settled`` lines, ``gross`` is the payment's own amount.
    """

    month: str
    provider: str
    account: str
    is_test: int
    currency: str
    kind: str
    gross: int
    fee: int
    not_settled: int
    lines: int


class Store:
    """The lines of one kind of book, read once."""

    def __init__(self, by: str) -> None:
        self.by = by
        self.unread: list[str] = []
        self._file = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._file.executescript(SCHEMA)

    def read(self, ledger: Ledger, zone: Zone, step: Step = lambda done, of: None) -> None:
        """All that the ledger has, but for what a newer version wrote: that is in ``unread`` then."""
        if self.by == "movement":
            self._keep("INSERT OR REPLACE INTO part VALUES (?, ?)", parts(ledger, self.unread))
        rows = (_row(line) for line in lines(ledger, self.by, zone, self.unread, step))
        self._keep(f"INSERT INTO line VALUES ({', '.join('?' * 13)})", rows)  # noqa: S608 - placeholders
        self._file.execute("CREATE INDEX in_order ON line (at, id)")

    def _keep(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        self._file.execute("BEGIN")
        self._file.executemany(statement, rows)
        self._file.execute("COMMIT")

    def lines(self, since: str, until: str, **chosen: str | int) -> Iterator[Line]:
        """Those from an instant on and before another, both as ``times.sortable`` writes them, in order.

        ``chosen``: only those of that ``month``, ``provider``, ``account``, ``is_test`` (0 or 1), or settled
        in that ``currency``.
        """
        more = "".join(f"AND line.{name} = ? " for name in chosen)
        columns = COLUMNS[self.by]
        query = IN_ORDER.format(more=more)
        for text, payout in self._file.execute(query, (since, until, *chosen.values())):
            line = json.loads(text)
            if payout is not None:
                line["payout"] = payout
            yield {name: line[name] for name in columns}

    def sums(self) -> list[Sum]:
        """Of movements: what each month's add up to."""
        return [Sum(*row) for row in self._file.execute(BALANCES)]

    def close(self) -> None:
        self._file.close()


def _row(line: Line) -> tuple[Any, ...]:
    is_settled = line.get("settlement_currency") is not None
    return (
        sortable(from_iso(line["at"])),
        line["id"],
        line["local"][:7],
        line["provider"],
        line["account"] or "",
        int(line["livemode"] is False),
        (line["settlement_currency"] if is_settled else line["currency"]) or "",
        line.get("kind", ""),
        line["gross"] if is_settled else line["amount"],
        line["fee"] if is_settled else 0,
        int(is_settled),
        line.pop("entry", None),
        json.dumps(line),
    )
