"""What nobody sends a webhook about: once an hour, look for payments that stay wrong."""

from collections.abc import Callable

from chalicelib.bus import EventBus
from chalicelib.ledger import Ledger
from chalicelib.telemetry import Telemetry
from chalicelib.wakeups import Wakeup, Wakeups

LONG = 3_600_000  # milliseconds that a payment may be inconsistent, or something wait, meanwhile
NAMED = 20  # subjects in the log; the metric counts all


def watch_bus(bus: EventBus, telemetry: Telemetry) -> None:
    """Nobody hears of a bus that is gone: it takes everything."""
    gone = not bus.is_there()
    telemetry.count("bus_gone", int(gone))
    if gone:
        telemetry.log("the event bus is not there", "ERROR")


def watch(ledger: Ledger, telemetry: Telemetry, now: int) -> None:
    """Count the payments that are inconsistent, or whose handlers wait, for an hour; name some of them."""
    subjects = list(ledger.inconsistent(now - LONG))
    telemetry.count("inconsistent", len(subjects))  # none is a figure too: it ends the alarm
    for subject in subjects[:NAMED]:
        telemetry.log("inconsistent", "ERROR", subject=subject)
    waiting = list(ledger.waiting(now - LONG))
    telemetry.count("waiting", len(waiting))
    for subject in waiting[:NAMED]:
        telemetry.log("a handler waits for its reference", "ERROR", subject=subject)


def watch_targets(
    ledger: Ledger, wakeups: Wakeups, telemetry: Telemetry, now: int, is_time_left: Callable[[], bool]
) -> None:
    """Count what has waited for its target for an hour, and wake who sends it, in case nobody was."""
    waiting = list(ledger.undelivered.waiting(now - LONG))
    telemetry.count("undelivered", len(waiting))  # none is a figure too: it ends the alarm
    if waiting:
        names = sorted({each.target for each in waiting})
        telemetry.log("waits for its target", "ERROR", targets=names, records=len(waiting))
    wakeups.send_all((Wakeup(*each) for each in waiting), is_time_left)
