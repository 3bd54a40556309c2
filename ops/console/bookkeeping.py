"""The pages for whoever does the books: payouts, months, and the lines behind each number of a month."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from flask import Flask, abort, render_template, request

from chalicelib import listing
from chalicelib.ledger import Ledger
from ops.books.lines import FIRST, LAST, Line, Zone
from ops.books.months import COLUMNS, KINDS_OF, months
from ops.books.store import Store
from ops.console import search
from ops.console.session import Console

FRESH = 60.0  # seconds for which the books are good enough once they were read
WAIT = 3.0  # seconds that a page waits for them: those of a small shop are read by then
CHOSEN = ("provider", "account", "currency", "is_test")  # of a balance
SHOWN = 500  # lines of a number, or parts of a payout; a file has all of them


@dataclass(slots=True)
class Books:
    """The books of a stage, read in the background and kept for a moment.

    ``read`` is a person's reading: it goes through the whole ledger, as the export does.
    """

    ledger: Callable[[], Ledger]
    clock: Callable[[], int]
    store: Store | None = None
    zone: str = "UTC"
    as_of: int = 0
    done: tuple[int, int] = (0, 0)
    _read_at: float = 0.0
    _failed: Exception | None = None
    _reading: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def current(self, zone: str) -> Store | None:
        """The books in that time zone, or ``None`` while they are read. Raises what reading them raised."""
        with self._lock:
            is_fresh = self.zone == zone and time.monotonic() - self._read_at < FRESH
            if not (self.store and is_fresh) and not (self._reading and self._reading.is_alive()):
                self._reading = threading.Thread(target=self._read, args=[zone], daemon=True)
                self._reading.start()
            reading = self._reading
        if reading:
            reading.join(WAIT)
        if self._failed:
            failed, self._failed = self._failed, None
            raise failed
        return self.store if self.zone == zone else None

    def _read(self, zone: str) -> None:
        at, made = self.clock(), Store("movement")
        try:
            made.read(self.ledger(), Zone.named(zone), self._note)
        except Exception as error:  # the page that waits for it says so
            self._failed = error
            return
        self.store, self.zone, self.as_of, self._read_at = made, zone, at, time.monotonic()

    def _note(self, done: int, of: int) -> None:
        self.done = done, of


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """What can be looked at. The books are read when somebody asks for a month."""

    console: Console
    books: Books

    def on(self, app: Flask) -> None:
        app.get("/payouts")(self.payouts)
        app.get("/payouts/<subject:subject>")(self.payout)
        app.get("/months")(self.months)
        app.get("/months/<month>")(self.month)
        app.get("/months/<month>/lines")(self.lines)

    def payouts(self) -> str:
        given = {name: value for name, value in request.args.items() if value}
        query = listing.parse({"limit": str(search.ROWS), **search.filters(given)})
        page = listing.page(self.console.stage.ledger(), query, listing.PAYOUTS)
        following = {**given, "cursor": page["cursor"]} if page["cursor"] else None
        return render_template("payouts.html", rows=page["payouts"], given=given, following=following)

    def payout(self, subject: str) -> str:
        ledger = self.console.stage.ledger()
        provider, _, object_id = subject.partition(":")
        it = listing.payout(ledger, provider, object_id)
        parts = list(islice(ledger.made_of.of(it["id"]), SHOWN)) if it["transactions"] else []
        return render_template("payout.html", it=it, parts=parts)

    def months(self) -> str:
        zone = _zone()
        store = self.books.current(zone)
        if store is None:
            return self._being_read()
        found = months(store.sums())
        names = sorted({each.month for each in found}, reverse=True)
        return render_template(
            "months.html", names=names, zone=zone, as_of=self.books.as_of, unread=store.unread
        )

    def month(self, month: str) -> str:
        zone = _zone()
        store = self.books.current(zone)
        if store is None:
            return self._being_read()
        found = months(store.sums())
        names = sorted({each.month for each in found})
        if month not in names:
            abort(404, f"there is nothing in the books of {month}")
        place = names.index(month)
        return render_template(
            "month.html",
            month=month,
            rows=[each for each in found if each.month == month],
            columns=COLUMNS,
            before=names[place - 1] if place else None,
            after=names[place + 1] if place + 1 < len(names) else None,
            zone=zone,
            as_of=self.books.as_of,
        )

    def lines(self, month: str) -> str:
        zone = _zone()
        store = self.books.current(zone)
        if store is None:
            return self._being_read()
        given = {name: request.args[name] for name in CHOSEN if name in request.args}
        is_test = given.get("is_test") == "1"
        chosen: dict[str, str | int] = {**given, **({"is_test": int(is_test)} if "is_test" in given else {})}
        column = request.args.get("column") or None
        if column not in (None, *COLUMNS):
            abort(400, f"column is one of {', '.join(COLUMNS)}")
        found = store.lines(FIRST, LAST, month=month, **chosen)
        wanted = (each for each in found if column is None or _is_in(each, column))
        rows, total, more = _at_most(wanted)
        return render_template(
            "lines.html",
            month=month,
            column=column,
            rows=rows,
            total=total,
            more=more,
            zone=zone,
            is_test=is_test,
            given=given,
        )

    def _being_read(self) -> str:
        done, of = self.books.done
        return render_template("reading.html", done=done, of=of)


def _at_most(lines: Iterator[Line]) -> tuple[list[Line], int, int]:
    """The first ones, what all of them are, and how many are left out."""
    shown = list(islice(lines, SHOWN))
    return shown, len(shown) + (more := sum(1 for _ in lines)), more


def _is_in(line: Line, column: str) -> bool:
    """Whether it is part of that number of the month."""
    if column == "fees":
        return bool(line["fee"]) or line["kind"] in KINDS_OF["fees"]
    return line["kind"] in KINDS_OF[column]


def _zone() -> str:
    name = request.args.get("tz") or "UTC"
    try:
        Zone.named(name)
    except ValueError as wrong:
        abort(400, str(wrong))
    return name
