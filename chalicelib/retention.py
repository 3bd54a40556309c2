"""How long bodies are kept: what people wrote into a payment need not outlive the reason for keeping it.

An event stays recorded without its body; totals and facts hold no personal data.
"""

from collections.abc import Callable
from itertools import takewhile

from chalicelib.ledger import Ledger
from chalicelib.times import DAY, sortable

BACK = 400  # days before that are looked at each time: a parked event may be recorded long after it came


def expire(ledger: Ledger, keep: int, now: int, is_time_left: Callable[[], bool]) -> int:
    """Remove the bodies that came more than ``keep`` days ago; how many. What is left is done next time."""
    removed = 0
    shards = ledger.days(sortable(now - (keep + BACK) * DAY)[:10], sortable(now)[:10])
    for back in range(keep + BACK, keep, -1):  # the oldest first
        day = sortable(now - back * DAY)[:10]
        for subject, event_id in takewhile(
            lambda _: is_time_left(), ledger.bodies_of_day(day, shards.get(day, 1))
        ):
            ledger.remove_body(subject, event_id)
            removed += 1
    return removed
