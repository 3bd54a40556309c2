"""Plots as SVG that takes the page's colours, light or dark."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pygal
from markupsafe import Markup
from pygal.style import Style

from ops.signals import Series

ASIDE = re.compile(r"<!--.*?-->|<script.*?</script>", re.DOTALL)  # pygal's own notes and its tooltips' data
STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground="var(--muted)",
    foreground_strong="var(--text)",
    foreground_subtle="var(--line)",
    colors=("var(--good)", "var(--bad)", "var(--warn)"),
    font_family="inherit",
    label_font_size=11,
    guide_stroke_color="var(--line)",
    major_guide_stroke_color="var(--line)",
    opacity="1",
    opacity_hover=".7",
)
MARKS = 5  # along the values, at most


class Size(NamedTuple):
    """Of a plot, in the pixels that it is shown at; ``labels`` along the time."""

    width: int
    height: int
    labels: int


SIZES = {"wide": Size(560, 190, 6), "narrow": Size(350, 190, 4)}
Number = Callable[[float], str]


def bars(
    series: Mapping[str, Series],
    since: datetime,
    until: datetime,
    period: int,
    number: Number = str,
    size: Size = SIZES["wide"],
) -> Markup:
    """Counts by period, one above the other; ``number`` writes one as the reader does."""
    chart = pygal.StackedBar(**_options(number, size), spacing=0)
    return _drawn(chart, series, since, until, period, 0, number, size)


def lines(
    series: Mapping[str, Series],
    since: datetime,
    until: datetime,
    period: int,
    number: Number = str,
    size: Size = SIZES["wide"],
) -> Markup:
    """Levels by period; a gap where nothing was measured."""
    options = _options(number, size)
    chart = pygal.Line(**options, dots_size=2, stroke_style={"width": 2}, allow_interruptions=True)
    return _drawn(chart, series, since, until, period, None, number, size)


def _options(number: Number, size: Size) -> dict[str, object]:
    return {
        "value_formatter": number,
        "style": STYLE,
        "js": [],
        "width": size.width,
        "height": size.height,
        "show_legend": False,
        "margin": 6,
        "truncate_label": -1,
        "disable_xml_declaration": True,
        "min_scale": 2,
        "max_scale": 5,
        "pretty_print": False,
    }


def _drawn(
    chart: "pygal.graph.graph.Graph",
    series: Mapping[str, Series],
    since: datetime,
    until: datetime,
    period: int,
    missing: float | None,
    number: Number,
    size: Size,
) -> Markup:
    count = max(1, int((until - since).total_seconds()) // period)
    times = [since + timedelta(seconds=period * n) for n in range(count)]
    shape = "%H:%M" if period * count <= 86_400 else "%d %b"
    every = -(-count // size.labels)
    chart.x_labels = [
        each.astimezone(UTC).strftime(shape) if n % every == 0 else "" for n, each in enumerate(times)
    ]
    stacks: list[list[float]] = []
    for name, values in series.items():
        placed: list[float | None] = [missing] * count
        for at, value in values:
            n = int((at - since).total_seconds()) // period
            if 0 <= n < count:
                placed[n] = value + (placed[n] or 0)
        chart.add(name, placed)
        stacks.append([each or 0 for each in placed])
    highest = (
        max(map(max, stacks), default=0) if missing is None else max(map(sum, zip(*stacks, strict=True)))
    )
    chart.y_labels = [{"value": each, "label": number(each)} for each in _marks(highest)]
    return Markup(ASIDE.sub("", chart.render()))  # noqa: S704 - made of numbers and our own words


def _marks(highest: float) -> list[int]:
    """Whole numbers from 0 on, up to five of them, to above the highest."""
    step = next(
        unit * power
        for power in (10**n for n in range(15))
        for unit in (1, 2, 5)
        if unit * power * (MARKS - 1) >= highest
    )
    return list(range(0, step * (-(-int(highest + 0.999) // step) or 1) + 1, step))
