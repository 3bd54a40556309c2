"""What an export takes: ``python -m bench.books [PAYMENTS]``; its memory is the same however many there are.

The ledger is one that makes its payments up as they are asked for, so that what is measured is the export.
"""

import json
import random
import resource
import sys
import time
from collections.abc import Iterable
from typing import Any

from chalicelib.entries import Outbox, StoredPayment
from chalicelib.payments import Facts, fold
from chalicelib.providers import PROVIDERS
from ops.books.formats import write_csv
from ops.books.lines import FIRST, LAST, Zone
from ops.books.store import Store
from ops.stories import tell

DAYS = [f"2026-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29)]
KINDS = 50  # different payments, told again and again


class Sink:
    """Counts bytes, keeps none."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, text: str) -> int:
        self.size += len(text)
        return len(text)


class MadeUp:
    """As many payments as are asked for, spread over a year."""

    def __init__(self, count: int) -> None:
        self.a_day = -(-count // len(DAYS))
        self._facts = [facts(random.Random(n)) for n in range(KINDS)]

    def days(self, since: str, until: str, entry: str) -> dict[str, int]:
        return dict.fromkeys(reversed(DAYS), 1) if entry == "payment" else {}

    def records_of_day(
        self, day: str, shards: int, since: str, until: str, limit: int, wanted: Any
    ) -> tuple[list[tuple[str, str]], str | None]:
        names = [f"{day}T00:00:00.000Z#stripe:pi_{day}_{n:06}" for n in range(self.a_day, 0, -1)]
        found = [each for each in names if each <= until][:limit]
        last = found[-1] if len(found) == limit else None
        return [(each, each.partition("#")[2]) for each in found], last

    def payments(self, subjects: Iterable[str]) -> dict[str, StoredPayment]:
        return {
            subject: StoredPayment(
                facts=self._facts[hash(subject) % KINDS], outbox=Outbox(subject, "payment", 1)
            )
            for subject in subjects
        }


def facts(rng: random.Random) -> Facts:
    """A payment with two refunds."""
    subject, events = tell("stripe", rng, 1_795_500_000_000, 5000, "EUR", story="partial-refunds")
    made = PROVIDERS["stripe"]
    return fold(made.facts(made.event(_bytes(each), 0)).get(subject, {}) for each in events)


def _bytes(event: Any) -> bytes:
    return json.dumps(event).encode()


def main(count: int) -> None:
    ledger: Any = MadeUp(count)
    began = time.perf_counter()
    store = Store("movement")
    store.read(ledger, Zone())
    sink: Any = Sink()
    write_csv(store.lines(FIRST, LAST), "movement", sink)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    size = sink.size / 1e6
    payments = ledger.a_day * len(DAYS)
    sys.stdout.write(
        f"{payments} payments, {size:.0f} MB of CSV, {seconds:.0f} s"
        f" ({payments / seconds:.0f} a second), {peak} MB of memory at most\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
