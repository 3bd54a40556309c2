"""How long bodies are kept: what people wrote into a payment need not outlive the reason for keeping it.

An event stays recorded without its body; totals and facts hold no personal data.
"""

from collections.abc import Callable, Iterator
from itertools import takewhile

from chalicelib.entries import bodies_of, partitions
from chalicelib.ledger import Ledger
from chalicelib.times import DAY, sortable

BACK = 400  # days before that are looked at each time: a parked event may be recorded long after it came


def expire(ledger: Ledger, keep: int, now: int, is_time_left: Callable[[], bool]) -> int:
    """Remove the bodies that came more than ``keep`` days ago; how many. What is left is done next time."""
    removed = 0
    for partition in _partitions(ledger, keep, now):
        for subject, event_id in takewhile(lambda _: is_time_left(), ledger.bodies_in(partition)):
            ledger.remove_body(subject, event_id)
            removed += 1
        if not is_time_left():
            break
    return removed


def _partitions(ledger: Ledger, keep: int, now: int) -> Iterator[str]:
    """Where bodies that are to expire are listed, the oldest first.

    What a day is spread over is forgotten once it was looked through: it would be looked at for ever.
    """
    spread = ledger.body_days(sortable(now - (keep + 1) * DAY)[:10])
    for back in range(keep + BACK, keep, -1):
        day = sortable(now - back * DAY)[:10]
        first, *others = partitions(bodies_of(day), spread.get(day, 1))
        yield first
        yield from others
        if others:
            ledger.forget_body_day(day)
