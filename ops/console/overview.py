"""The figures of the first page: a fixed few calls of CloudWatch, SQS and the ledger, whatever there is."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from chalicelib.payments import Sums
from chalicelib.providers import PROVIDERS
from chalicelib.subscriptions import Terms
from ops.console import charts
from ops.console.recurring import Recurring, recurring
from ops.signals import Alarm, Series, Signals, Wanted
from ops.stage import Stage

RANGES = {
    # how long, by periods of so many seconds
    "hour": (timedelta(hours=1), 60),
    "day": (timedelta(days=1), 900),
    "month": (timedelta(days=30), 21_600),
}
MOST = 100  # that are counted of what is parked; more are "100 or more"


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page shows. Money is in minor units, by currency; ``pace`` is how many came in a time that a
    person can picture, and that time; ``success`` a share of 1, ``undelivered`` how often a target did not
    take something; lags are in milliseconds: ``None`` without any. ``alarms`` are those that are on."""

    range: str
    received: int
    accepted: int
    refused: dict[str, int]
    pace: tuple[float, str]
    success: float | None
    by_provider: dict[str, int]
    lag: dict[str, int | None]
    waiting: int
    undelivered: int
    parked: str
    money: list[dict[str, Any]]
    month: str
    recurring: Recurring
    traffic: "Plot"
    lags: "Plot"
    alarms: list[Alarm]


@dataclass(frozen=True, slots=True)
class Plot:
    """Drawn for whoever looks: numbers are the reader's, and there is a small one for a telephone."""

    draw: Callable[..., Any]
    series: dict[str, Series]
    since: datetime
    until: datetime
    period: int

    def as_svg(self, number: Callable[[float], str], size: str) -> Any:
        return self.draw(self.series, self.since, self.until, self.period, number, charts.SIZES[size])


def overview(stage: Stage, range_: str, now: datetime, terms: Terms, alarms: list[Alarm]) -> Overview:
    """Of the last hour, day or month; money is always the day's (UTC)."""
    signals = Signals(stage)
    length, period = RANGES[range_]
    since = _floor(now - length, period) + timedelta(seconds=period)
    until = _floor(now, period) + timedelta(seconds=period)
    reasons, currencies = signals.values_of("refused", "reason"), signals.values_of("captured", "currency")
    wanted = [
        Wanted("received"),
        Wanted("accepted"),
        Wanted("refused"),
        Wanted("milestones", by=("type", "payment.succeeded")),
        Wanted("milestones", by=("type", "payment.failed")),
        Wanted("target_failed"),
        Wanted("queued", "p50"),
        Wanted("queued", "p99"),
        *(Wanted("accepted", by=("provider", each)) for each in PROVIDERS),
        *(Wanted("refused", by=("reason", each)) for each in reasons),
    ]
    received, accepted, refused, won, lost, untaken, p50, p99, *more = signals.series(
        wanted, since, until, period
    )
    of_providers, of_reasons = more[: len(PROVIDERS)], more[len(PROVIDERS) :]
    ended = _sum(won) + _sum(lost)
    return Overview(
        range=range_,
        received=_sum(received),
        accepted=_sum(accepted),
        refused={name: _sum(each) for name, each in zip(reasons, of_reasons, strict=True) if _sum(each)},
        pace=_pace(received, range_, now),
        success=_sum(won) / ended if ended else None,
        by_provider={name: _sum(each) for name, each in zip(PROVIDERS, of_providers, strict=True)},
        lag={"p50": _latest(p50), "p99": _latest(p99)},
        waiting=_waiting(stage),
        undelivered=_sum(untaken),
        parked=_parked(stage),
        money=_money(signals, currencies, now),
        month=now.strftime("%Y-%m"),
        recurring=recurring(stage.ledger(), int(now.timestamp() * 1000), terms),
        traffic=Plot(charts.bars, {"accepted": accepted, "refused": refused}, since, until, period),
        lags=Plot(charts.lines, {"p50": p50, "p99": p99}, since, until, period),
        alarms=[each for each in alarms if each.is_on],
    )


def _pace(received: Series, range_: str, now: datetime) -> tuple[float, str]:
    if range_ == "hour":
        recent = _floor(now - timedelta(minutes=1), 60)
        return sum(value for at, value in received if at >= recent), "in the last minute"
    if range_ == "day":
        return round(_sum(received) / 24, 1), "an hour"
    return round(_sum(received) / 30, 1), "a day"


def _floor(at: datetime, period: int) -> datetime:
    return datetime.fromtimestamp(at.timestamp() // period * period, UTC)


def _sum(series: Series) -> int:
    return int(sum(value for _, value in series))


def _latest(series: Series) -> int | None:
    return round(series[-1][1]) if series else None


def _waiting(stage: Stage) -> int:
    client = stage.client("sqs")
    url = client.get_queue_url(QueueName=stage.names.queue)["QueueUrl"]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def _parked(stage: Stage) -> str:
    ledger = stage.ledger()
    some, more = ledger.parking.parked_page(MOST)
    count = len(some) + len(list(islice(ledger.undelivered.parked(), MOST)))
    return f"{MOST} or more" if more or count > MOST else str(count)


def _money(signals: Signals, currencies: list[str], now: datetime) -> list[dict[str, Any]]:
    """What was captured, refunded and disputed today, by currency, as the metrics have counted it."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    wanted = [Wanted(name, by=("currency", each)) for each in currencies for name in Sums._fields]
    found = iter(signals.series(wanted, today, today + timedelta(days=1), 86_400))
    return [
        {"currency": currency, **{name: _sum(next(found)) for name in Sums._fields}}
        for currency in currencies
    ]
