"""Instants as Daybook keeps them: integers, milliseconds since 1970 in UTC; shown as ISO 8601 with a Z."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000  # milliseconds
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


def sortable(milliseconds: int) -> str:
    """``2026-11-24T10:00:00.000Z``: sorts as text in the order of time."""
    moment = EPOCH + timedelta(milliseconds=milliseconds)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
