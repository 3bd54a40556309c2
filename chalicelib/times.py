"""Instants as Daybook keeps them: integers, milliseconds since 1970 in UTC; shown as ISO 8601 with a Z."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3_600_000  # milliseconds
DAY = 24 * HOUR
DAILY = 24  # hours
MONTHS = {"month": 1, "year": 12}
DAYS = {"day": 1, "week": 7}
FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def from_iso(text: str) -> int:
    """Milliseconds of an ISO 8601 instant; without a zone it is UTC.

    Raises ``ValueError``, also for one that only its zone puts outside of the years 1 to 9999.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    milliseconds = (moment - EPOCH) // timedelta(milliseconds=1)
    if not FIRST <= milliseconds <= LAST:
        raise ValueError("an instant outside of the years 1 to 9999")
    return milliseconds


def to_iso(milliseconds: int) -> str:
    """``2026-11-24T10:00:00Z``; with milliseconds only where there are any."""
    precision = "milliseconds" if milliseconds % 1000 else "seconds"
    moment = EPOCH + timedelta(milliseconds=milliseconds)
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def from_seconds(seconds: float) -> int:
    """Milliseconds of Unix seconds. Raises ``ValueError`` outside of the years 1970 to 9999."""
    milliseconds = int(seconds * 1000)
    if not 0 <= milliseconds <= LAST:
        raise ValueError("an instant outside of the years 1970 to 9999")
    return milliseconds


def is_hour_to_ask(since: int | None, now: int) -> bool:
    """Whether it is the first hour after that instant, or whole days have passed: of what is done hourly."""
    hours = (now - (now if since is None else since)) // HOUR
    return hours == 1 or (hours > 0 and hours % DAILY == 0)


def sortable(milliseconds: int) -> str:
    """``2026-11-24T10:00:00.000Z``: sorts as text in the order of time."""
    moment = EPOCH + timedelta(milliseconds=milliseconds)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def plus(milliseconds: int, interval: str) -> int:
    """An instant and ``3 month``: a day that its month does not have is that month's last.

    Raises ``ValueError`` for an interval that is none.
    """
    count, _, unit = interval.partition(" ")
    if unit in DAYS:
        return milliseconds + int(count) * DAYS[unit] * DAY
    if unit not in MONTHS:
        raise ValueError("not an interval")
    moment = EPOCH + timedelta(milliseconds=milliseconds)
    year, month = divmod(moment.year * 12 + moment.month - 1 + int(count) * MONTHS[unit], 12)
    day = min(moment.day, monthrange(year, month + 1)[1])
    return (moment.replace(year=year, month=month + 1, day=day) - EPOCH) // timedelta(milliseconds=1)
