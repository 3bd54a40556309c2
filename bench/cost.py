"""What a million webhooks cost, what limits are met on the way up, and how a sale day goes; printed as Markdown.

    python -m bench.cost > docs/cost.md

Prices are in ``prices.json``, times in ``measured.json``; sizes are measured here, on the events of the stories.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from chalice.package import YAMLTemplateSerializer

from chalicelib import settings
from chalicelib.entries import SPREAD, Write, not_stored, sharded
from chalicelib.events import Event
from chalicelib.folding import LABELS
from chalicelib.inbox import Message
from chalicelib.ledger import Ledger
from chalicelib.payments import Facts, join
from chalicelib.providers import PROVIDERS
from chalicelib.recording import newly_named
from ops.stories import STORIES, tell

HERE = Path(__file__).parent
PRICES: dict[str, Any] = json.loads((HERE / "prices.json").read_text())
MEASURED: dict[str, Any] = json.loads((HERE / "measured.json").read_text())

MEMORY = 0.5  # GB, of API and consumer alike
SHARE = 512 / 1769  # of a processor that Lambda gives to 512 MB
MILLION = 1_000_000
BATCH = 5  # records a batch at a steady rate, of ten at most
LOG_LINE = 590  # bytes; three lines a webhook on the average of all stories: accepted, recorded, what changed
LINES = 3
CONTAINERS_HOURS = 24 * 30  # a secret is read every five minutes by each of a few containers
START = 1_795_400_000_000
TEMPLATE = YAMLTemplateSerializer().load_template((HERE.parent / "infra" / "resources.yaml").read_text())
INDEXES: list[Any] = TEMPLATE["Resources"]["Ledger"]["Properties"]["GlobalSecondaryIndexes"]


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────────


def item_size(item: dict[str, Any]) -> int:
    """Bytes of an item, as DynamoDB counts them: names and values."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: dict[str, Any]) -> int:
    [(kind, content)] = value.items()
    if kind == "N":
        return (len(content) + 1) // 2 + 1
    return 1 if kind == "BOOL" else len(content if kind == "B" else content.encode())


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one recorded event: bytes of its item, of its payment's, of its message."""

    event: int
    payment: int
    message: int
    indexes: Mapping[str, int]
    is_first: bool
    further_names: int

    @property
    def write_units(self) -> int:
        """Event, its id, payment and further names twice, as a transaction costs; and entries in indexes."""
        items = ceil(self.event / 1024) + ceil(self.payment / 1024) + 1 + self.further_names
        return 2 * items + sum(self.indexes.values()) + self.further_names


def recorded() -> Iterator[Sizes]:
    """Every event of every story of both providers, as it is written."""
    ledger = Ledger(lambda *_, **__: {}, "t")
    for provider in ("stripe", "paypal"):
        for story in STORIES:
            facts: Facts = {}
            written: dict[str, Any] = {}
            _, events = tell(provider, random.Random(1), START, 5000, "EUR", story=story)
            for each in events:
                body = json.dumps(each).encode()
                event = PROVIDERS[provider].event(body, START)
                proved = PROVIDERS[provider].facts(event).get(event.subject, {})
                joined = join(facts, LABELS.kept(proved))
                names = newly_named(facts, joined)
                facts = joined
                sizes, written = _sizes(ledger, event, body, facts, written, names)
                yield sizes


def _sizes(
    ledger: Ledger, event: Event, body: bytes, facts: Facts, before: dict[str, Any], names: tuple[str, ...]
) -> tuple[Sizes, dict[str, Any]]:
    """Of an event, and of the payment's item that was ``before``; and the item that is now."""
    record = not_stored(event.subject).with_facts(facts, START)
    puts = ledger._puts(Write(event=event, body=body, records=(record,), names=names))
    payment = puts[f"payment {event.subject}"]["Item"]
    entry = item_size(puts["event"]["Item"])
    message = Message(
        provider=event.provider, event_id=event.id, subject=event.subject, received_at=START, body=body
    ).encode()
    own = puts["event"]["Item"]
    indexes = {
        index["IndexName"]: _index_units(index, before, payment) + _index_units(index, {}, own)
        for index in INDEXES
    }
    return Sizes(entry, item_size(payment), len(message), indexes, not before, len(names[1:])), payment


def _index_units(index: Mapping[str, Any], before: dict[str, Any], after: dict[str, Any]) -> int:
    """What writing an item costs in one index: nothing where all that is projected stays as it is.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations.Writes
    """
    keys = [each["AttributeName"] for each in index["KeySchema"]]
    names = ["subject", "entry", *keys, *index["Projection"].get("NonKeyAttributes", ())]
    was, is_now = ({name: item[name] for name in names if name in item} for item in (before, after))
    if was == is_now:
        return 0
    has_moved = [was.get(key) for key in keys] != [is_now.get(key) for key in keys]
    entries = [each for each in ((was, is_now) if has_moved else (is_now,)) if all(k in each for k in keys)]
    return sum(ceil(item_size(each) / 1024) for each in entries)


# ── a million webhooks ──────────────────────────────────────────────────────────────────────────────


def lambda_cost(milliseconds: float) -> float:
    """Of a million invocations of that duration."""
    seconds = MILLION * milliseconds / 1000
    return seconds * MEMORY * float(PRICES["lambda_arm_per_gb_second"])


def items() -> dict[str, float]:
    """Dollars for a million webhooks, by what they are for."""
    sizes = list(recorded())
    units = sum(each.write_units for each in sizes) / len(sizes)
    stored = sum(each.event for each in sizes) / len(sizes) * MILLION / 1e9
    chunks = sum(ceil(each.message / 65536) for each in sizes) / len(sizes)
    trip = float(MEASURED["aws_round_trip_ms"])
    request = float(MEASURED["request_cpu_ms"]) / SHARE + trip
    batch = BATCH * float(MEASURED["consumer_cpu_ms_per_event"]) / SHARE + 2 * trip
    requests = chunks + chunks / BATCH + 1 / BATCH  # sent, received, deleted
    # a request is one trace, and so is a batch: https://aws.amazon.com/xray/pricing/
    traces = (1 + 1 / BATCH) * PRICES["xray_sampled"]
    return {
        "API Gateway, REST": PRICES["api_gateway_per_million"],
        "Lambda, requests": PRICES["lambda_request_per_million"] * (1 + 1 / BATCH),
        "Lambda, API": lambda_cost(request),
        "Lambda, consumer": lambda_cost(batch) / BATCH,
        "SQS FIFO": PRICES["sqs_fifo_per_million"] * requests,
        "DynamoDB, writes": PRICES["dynamodb_write_unit_per_million"] * units,
        "DynamoDB, reads": PRICES["dynamodb_read_unit_per_million"] * 1,
        "DynamoDB, one month's storage and recovery": stored
        * (PRICES["dynamodb_storage_per_gb_month"] + PRICES["dynamodb_recovery_per_gb_month"]),
        "CloudWatch logs": LINES * LOG_LINE * MILLION / 1e9 * PRICES["logs_per_gb"],
        "X-Ray, 5 % sampled": PRICES["xray_per_million"] * traces,
        "KMS and secret": CONTAINERS_HOURS * 12 * 3 * PRICES["secrets_read_per_million"] / MILLION
        + CONTAINERS_HOURS * 12 * PRICES["kms_per_million"] / MILLION,
    }


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Load:
    """What webhooks at a rate a second need and meet. ``busy`` consumers of so many that are allowed; write
    units a second, of one partition's 1,000."""

    rate: int
    requests: int
    busy: int
    consumers: int
    shards: int
    units: float
    listing: int
    waiting: int


def load(rate: int) -> Load:
    """A second of that many payments, each at its place in the listing; one partition key is one partition.

    Half as many consumers again as are busy on the average: a batch is not always full. All payments wait
    for their reference at first, as where a handler needs it.
    """
    trip = float(MEASURED["aws_round_trip_ms"])
    request = (float(MEASURED["request_cpu_ms"]) / SHARE + trip) / 1000
    batch = BATCH * float(MEASURED["consumer_cpu_ms_per_event"]) / SHARE
    busy = rate * (batch + 2 * trip) / 1000 / BATCH
    consumers = max(2, ceil(1.5 * busy))
    shards = settings.read({"DAYBOOK_CONSUMERS": str(min(consumers, 1000))}).shards
    sizes = list(recorded())
    of_day = sum(each.indexes["by-day"] for each in sizes) / len(sizes)
    first = sum(each.is_first for each in sizes) / len(sizes)
    rng = random.Random(1)
    subjects = [f"stripe:pi_{rng.getrandbits(96):x}" for _ in range(rate)]
    return Load(
        rate=rate,
        requests=ceil(rate * request),
        busy=ceil(busy),
        consumers=consumers,
        shards=shards,
        units=rate * sum(each.write_units for each in sizes) / len(sizes),
        listing=round(of_day * _hottest("2026-11-24", subjects, shards)),
        waiting=round(2 * first * _hottest("waiting", subjects, SPREAD)),  # it comes, and it goes
    )


def _hottest(name: str, subjects: Iterable[str], shards: int) -> int:
    """How many of them are in the fullest partition."""
    return max(Counter(sharded(name, subject, shards)["S"] for subject in subjects).values())


MET = {
    100: "nothing, with the default 1,000 concurrent functions",
    1_000: "`RequestsPerSecond`, 1,000 by default; a single payment (below)",
    10_000: "quotas: API Gateway's 10,000 requests a second a region, a table's 40,000 write units a second (and its warm throughput before a sale), a FIFO queue's 3,000 to 30,000 transactions a second by region; `DAYBOOK_CONSUMERS` to be set",
    100_000: "one region's API Gateway, one FIFO queue, and the listing's 32 shards: several stages side by side, payments spread over them by account or by provider",
}


# ── a sale day ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Day:
    """How a burst went. Seconds, messages."""

    largest_backlog: int
    oldest: int
    drained_after: int
    refused: int


def sale_day(usual: int, concurrency: int, limit: int, burst: int = 50, minutes: int = 20) -> Day:
    """Second by second: arrivals at ``burst`` times ``usual`` a second for some minutes, and what becomes of them.

    API Gateway refuses what is over ``limit`` a second; providers send that again an hour later on the average,
    here after 600 to 6,000 seconds. ``concurrency`` consumers record their batches one after the other.
    """
    rng = random.Random(1)
    batch = 10 * float(MEASURED["consumer_cpu_ms_per_event"]) / SHARE + 2 * float(
        MEASURED["aws_round_trip_ms"]
    )
    capacity = int(concurrency * 10 * 1000 / batch)
    again = [0] * 40_000
    backlog = largest = refused = oldest = drained = 0
    for second in range(14_400):
        fresh = usual * (burst if 600 <= second < 600 + minutes * 60 else 1)
        arriving = fresh + again[second]
        over = max(0, arriving - limit)
        refused += over
        for _ in range(0, over, 100):  # in hundreds
            again[second + rng.randrange(600, 6_000)] += 100
        backlog += arriving - over
        backlog -= min(backlog, capacity)
        largest, oldest = max(largest, backlog), max(oldest, ceil(backlog / capacity))
        if backlog:
            drained = second
    return Day(largest, oldest, max(0, drained - 600 - minutes * 60), refused)


# ── the page ────────────────────────────────────────────────────────────────────────────────────────

OTHERS = [
    ("the usual handler (no queue, one write)", "API Gateway, Lambda and one write of the event", None),
    (
        "Hookdeck",
        "Team from $39 a month with 10,000 events, more of them metered; Growth from $499",
        "https://hookdeck.com/pricing",
    ),
    (
        "Svix",
        "first paid plan $490 a month, as another vendor writes",
        "https://dev.to/emithq/why-we-built-emithq-the-49-490-webhook-pricing-gap-npd",
    ),
    ("Convoy Cloud", "from $99 a month", "the same"),
]


def usual_handler() -> float:
    """A million of the usual handler's: no queue, no consumer, no payment; the same requests and logs."""
    duration = float(MEASURED["usual_request_cpu_ms"]) / SHARE + float(MEASURED["aws_round_trip_ms"])
    event = sum(ceil(each.event / 1024) for each in recorded()) / len(list(recorded()))
    writes = float(PRICES["dynamodb_write_unit_per_million"]) * (event + 1)  # its body is not compressed
    return (
        float(PRICES["api_gateway_per_million"] + PRICES["lambda_request_per_million"])
        + lambda_cost(duration)
        + writes
    )


def page() -> Iterator[str]:
    found = items()
    sizes = list(recorded())
    yield "# What it costs, and how far it goes"
    yield ""
    yield "Made by `python -m bench.cost > docs/cost.md` from `bench/prices.json`"
    yield f"({PRICES['region']}, {PRICES['as_of']}) and `bench/measured.json` ({MEASURED['command']}, {MEASURED['as_of']})."
    yield f"A call of AWS is taken as {MEASURED['aws_round_trip_ms']} ms ({MEASURED['aws_round_trip_note']})."
    yield ""
    yield "## A million webhooks"
    yield ""
    yield f"Measured on {len(sizes)} events of all stories: an event's item has {_mean(sizes, 'event')} bytes, its payment's"
    yield f"{_mean(sizes, 'payment')}, its message {_mean(sizes, 'message')}; {sum(s.write_units for s in sizes) / len(sizes):.1f} write units an event."
    yield ""
    yield "| for | dollars |"
    yield "| --- | ---: |"
    for name, dollars in found.items():
        yield f"| {name} | {dollars:.2f} |"
    yield f"| **all** | **{sum(found.values()):.2f}** |"
    yield ""
    yield "To which a month adds, whatever comes: the secret $0.40, twenty-one alarms $2.10, the custom metrics that are in use"
    yield f"(about 45, by provider, reason, currency, milestone and secret, at ${PRICES['metric_per_month']:.2f}), and the queues' polling, near $0.65 each beyond the free million."
    yield "API Gateway and DynamoDB's writes are most of it; what our own code costs is the two Lambda lines."
    yield ""
    yield "## Beside others"
    yield ""
    yield "| what | a million a month | source |"
    yield "| --- | --- | --- |"
    yield f"| Daybook | ${sum(found.values()):.2f} and about $16 of fixed cost | this page |"
    yield f"| {OTHERS[0][0]} | ${usual_handler():.2f}: {OTHERS[0][1]}; nothing is retried, joined or told | this page |"
    for name, price, source in OTHERS[1:]:
        yield f"| {name} | {price} | {source} |"
    yield ""
    yield "The gateways deliver to an endpoint that you still have to write and run."
    yield ""
    yield "## On the way up"
    yield ""
    yield "One partition of a table or an index takes 1,000 write units a second. An event's and a payment's own are its own; what many share is in"
    yield "the indexes: the day's listing, spread over shards (one up to `DAYBOOK_CONSUMERS=20`, then one for each ten), and what waits for a reference,"
    yield f"over {SPREAD} partitions. Simulated: each payment of a second at its place; the fullest partition is shown."
    yield ""
    yield "| webhooks a second | functions at once (API + consumer) | `DAYBOOK_CONSUMERS` | write units a second | shards | fullest of the listing | fullest of what waits | met, and what moves it |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    for it in map(load, MET):
        yield (
            f"| {it.rate:,} | {it.requests} + {it.busy} | {max(20, it.consumers):,} | {it.units:,.0f} | {it.shards} | {it.listing:,}"
            f" | {it.waiting:,} | {MET[it.rate]} |"
        )
    yield ""
    yield "A page of the listing costs one query for the calendar, one for each shard of a day that it comes to, and one read of its payments: the same"
    yield "however many there are (`tests/core/test_shards.py`)."
    yield ""
    yield "A payment's item stays small: facts are compressed from 600 characters on, and beyond 150 kB in parts of 350 kB, written in the same transaction (4 MB at most)."
    yield "10,000 refunds of one payment are recorded at work that grows with their number (`python -m bench.refunds`), where an item of 400 kB would have ended it."
    yield "What is not split is its outbox: some 1,500 milestones that a handler keeps failing on fill the item; what comes then is parked until the handler is mended."
    yield ""
    yield "One payment is worked on by one consumer at a time: a single payment takes some tens of events a second, whatever the rest does."
    yield ""
    yield "## A sale day"
    yield ""
    yield "A burst of twenty minutes at fifty times the usual rate, simulated second by second. API Gateway refuses what is over its limit"
    yield "(429), which the providers send again."
    yield ""
    yield "| usual a second | consumers at once | requests a second allowed | refused, sent again | largest backlog | oldest event waited | drained after the burst |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for usual, concurrency, limit in (
        (10, 10, 1_000),
        (10, 2, 1_000),
        (20, 10, 1_000),
        (100, 50, 10_000),
        (100, 20, 2_000),
    ):
        day = sale_day(usual, concurrency, limit)
        yield (
            f"| {usual} | {concurrency} | {limit:,} | {day.refused:,} | {day.largest_backlog:,} |"
            f" {day.oldest:,} s | {day.drained_after:,} s |"
        )


def _mean(sizes: list[Sizes], name: str) -> int:
    total: int = sum(getattr(each, name) for each in sizes)
    return round(total / len(sizes))


def main() -> None:
    print("\n".join(page()))


if __name__ == "__main__":
    main()
