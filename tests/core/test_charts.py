"""The console's plots: from 0 on, by whole numbers."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from ops.console.charts import _marks, bars, lines

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HOUR_AGO = NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("highest", "marks"),
    [(0, [0, 1]), (1, [0, 1]), (3, [0, 1, 2, 3]), (7, [0, 2, 4, 6, 8]), (622.4, [0, 200, 400, 600, 800])],
)
def test_its_marks_are_whole_numbers_from_zero(highest: float, marks: list[int]) -> None:
    """Up to above the highest; of three webhooks not 0.8."""
    assert _marks(highest) == marks
    assert len(_marks(987_654_321)) <= 6


def test_counts_and_levels_are_drawn_so() -> None:
    """Stacked ones by their sum; where nothing was measured there is an empty plot."""
    series = {"accepted": [(HOUR_AGO, 3.0)], "refused": [(HOUR_AGO, 2.0)]}
    for plot in (bars(series, HOUR_AGO, NOW, 60), lines({"p50": [(HOUR_AGO, 5.0)]}, HOUR_AGO, NOW, 60)):
        assert ">0</text>" in plot
        assert not re.findall(r">\d+\.\d+</text>", plot)
    for draw in (bars, lines):
        assert ">0</text>" in draw({"accepted": []}, HOUR_AGO, NOW, 60)
