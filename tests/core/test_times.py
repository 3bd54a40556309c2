"""Instants: what can be kept can be shown."""

import pytest

from chalicelib.times import FIRST, LAST, from_iso, sortable, to_iso


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "", "now", "24:00"]
)
def test_what_cannot_be_shown_is_no_instant(text: str) -> None:
    """Its zone may put it outside of the calendar."""
    with pytest.raises(ValueError, match=r"."):
        from_iso(text)


@pytest.mark.parametrize("instant", [FIRST, -1, 0, 1_795_500_000_123, LAST])
def test_what_is_shown_is_read_back(instant: int) -> None:
    """To the millisecond, in both ways of writing it."""
    assert from_iso(to_iso(instant)) == from_iso(sortable(instant)) == instant
