"""`make bench`: Daybook beside what people would write or install instead, in one run, as ratios.

    python -m bench.run [--quick]

Writes ``build/bench.json`` and prints a table. All processes see the same bodies and the same stub of AWS,
take turns in short blocks, and are compared by medians. CPU time is that of the measured process alone.
"""

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import bundles
from bench.bundles import ROOT, Bundle
from bench.events import SECRET, SIZES, WEBHOOK_ID, Events, certificate, for_daybook
from bench.processes import Aws, Sample, Start, Warm, cold
from ops.local.runtime import UNSAMPLED, runtime_client

FULLER = 1000
HISTORY = 1000  # events of one payment


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the result. ``must`` and ``aim`` are upper bounds."""

    id: str
    what: str
    value: float
    must: float
    aim: float
    unit: str
    spread: str = ""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    rounds: int
    block: int
    starts: int
    p99: int


FULL = Effort(rounds=12, block=25, starts=9, p99=3000)
QUICK = Effort(rounds=4, block=15, starts=3, p99=500)


def now() -> int:
    return time.time_ns() // 1_000_000


def ratio(a: Iterable[int], b: Iterable[int]) -> float:
    return median(a) / median(b)


def spread(samples: Iterable[int]) -> str:
    """The middle half, in milliseconds."""
    low, _, high = quantiles(samples, n=4)
    return f"{low / 1e6:.2f} to {high / 1e6:.2f} ms"


class Bench:
    """All that is measured, on the bundles in ``work``."""

    def __init__(self, work: Path, effort: Effort, stack: ExitStack, say: Callable[[str], Any]) -> None:
        self._work, self._effort, self._stack, self._say = work, effort, stack, say
        issued = certificate(now())
        self._events = Events(issued)
        pem = work / "paypal.pem"
        pem.write_bytes(issued.pem)
        self._pem = pem
        self._secret = json.dumps({"stripe_webhook_secrets": [SECRET], "paypal_webhook_ids": [WEBHOOK_ID]})
        self._ports = iter(range(18200, 18300))
        self._aws = self._stub()
        say("packaging")
        self._bundles = {
            "daybook": bundles.daybook(work),
            "usual": bundles.usual(work),
            "powertools": bundles.installed("powertools", work),
            "fastapi": bundles.installed("fastapi", work),
        }
        boto3 = self._bundles["usual"]
        for name in ("bare_boto3", "signed_call", "hmac_alone"):
            self._bundles[name] = bundles.floor(name, boto3, work)
        self._djstripe = bundles.installed("djstripe", work)
        self._client = runtime_client(work / "client")

    def _stub(self, fuller: int = 0) -> Aws:
        made = Aws(next(self._ports), self._secret, self._pem, fuller)
        self._stack.callback(made.stop)
        return made

    def _environ(self, aws: Aws, sampled: bool = False) -> dict[str, str]:
        """What Lambda would set, and what each contender's users would."""
        trace = UNSAMPLED.replace("Sampled=0", "Sampled=1") if sampled else UNSAMPLED
        stage = json.loads((ROOT / ".chalice" / "config.json").read_text())["stages"]["dev"]
        return {
            **stage["environment_variables"],
            "DAYBOOK_EVENT_BUS": "",  # no handlers are measured
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIDBENCH",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_SESSION_TOKEN": "bench",
            "AWS_ENDPOINT_URL": aws.address,
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
            "_X_AMZN_TRACE_ID": trace,
            "DAYBOOK_RUNTIME_CLIENT": str(self._client),
            "TABLE": "usual",
            "IDEMPOTENCY_TABLE": "idempotency",
            "STRIPE_SECRET": SECRET,
            "PAYPAL_WEBHOOK_ID": WEBHOOK_ID,
            "PAYPAL_CERTIFICATE": str(self._pem),
            "PATH": os.environ["PATH"],
        }

    def _warm(
        self, bundle: Bundle, aws: Aws | None = None, sampled: bool = False, handler: str | None = None
    ) -> Warm:
        made = Warm(bundle, self._environ(aws or self._aws, sampled), handler)
        self._stack.callback(made.stop)
        return made

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def requests(self) -> list[Row]:
        self._say("requests")
        warm = {name: self._warm(bundle) for name, bundle in self._bundles.items()}
        warm["sampled"] = self._warm(self._bundles["daybook"], sampled=True)
        self._take_turns(warm, 2)  # imports, connections, caches
        self._aws.counts()
        warm["daybook"].handle([for_daybook(self._events.request("stripe-2k", now()))])
        calls = sum(self._aws.counts().values())
        found = self._take_turns(warm, self._effort.rounds)
        self._say(_details(found))
        rows = [Row("aws-calls", "AWS calls before 200", calls, 1, 1, "calls")]
        for id_, other, must, aim in (
            ("request-boto3", "bare_boto3", 1.15, 0.6),
            ("request-usual", "usual", 0.7, 0.35),
            ("request-powertools", "powertools", 0.5, 0.25),
            ("request-fastapi", "fastapi", 0.7, 0.35),
        ):
            kind, value = self._worst(found, "daybook", other)
            what = f"request, warm, CPU, over {other.replace('_', ' ')} (worst body: {kind})"
            rows.append(Row(id_, what, value, must, aim, "ratio", spread(_cpu(found[kind]["daybook"]))))
        kind, value = self._worst(found, "sampled", "bare_boto3")
        rows.append(
            Row(
                "request-sampled",
                f"the same, sampled by X-Ray, over bare boto3 ({kind})",
                value,
                9,
                9,
                "ratio",
            )
        )
        return rows

    @staticmethod
    def _worst(found: Mapping[str, Mapping[str, list[Sample]]], a: str, b: str) -> tuple[str, float]:
        ratios = {kind: ratio(_cpu(by[a]), _cpu(by[b])) for kind, by in found.items()}
        kind = max(ratios, key=lambda kind: ratios[kind])
        return kind, ratios[kind]

    def _take_turns(self, warm: Mapping[str, Warm], rounds: int) -> dict[str, dict[str, list[Sample]]]:
        """Samples by kind of body and by contender; everyone gets the same bodies."""
        found: dict[str, dict[str, list[Sample]]] = {kind: {name: [] for name in warm} for kind in SIZES}
        for _ in range(rounds):
            for kind in SIZES:
                block = [self._events.request(kind, now()) for _ in range(self._effort.block)]
                for name, process in warm.items():
                    own = [for_daybook(each) for each in block] if name in ("daybook", "sampled") else block
                    found[kind][name] += process.handle(own)
        return found

    # ── cold starts ─────────────────────────────────────────────────────────────────────────────

    def cold_starts(self) -> list[Row]:
        self._say("cold starts")
        environ = self._environ(self._aws)
        names = ("daybook", "usual", "powertools", "fastapi")
        found: dict[str, list[Start]] = {name: [] for name in names}
        for _ in range(self._effort.starts):
            for name in names:
                request = self._events.request("stripe-2k", now())
                own = for_daybook(request) if name == "daybook" else request
                found[name].append(cold(self._bundles[name], environ, own))
        for name, starts in found.items():
            wall, cpu, memory = (
                median(getattr(each, of) for each in starts) for of in ("wall", "cpu", "memory")
            )
            self._say(
                f"  {name:<12} wall {wall / 1e6:4.0f} ms, CPU {cpu / 1e6:4.0f} ms, {memory / 1e6:3.0f} MB"
            )

        def over(other: str, of: str) -> float:
            return ratio([getattr(s, of) for s in found["daybook"]], [getattr(s, of) for s in found[other]])

        walls = spread([start.wall for start in found["daybook"]])
        return [
            Row(
                "cold-usual",
                "cold start to first answer, over usual",
                over("usual", "wall"),
                0.7,
                0.45,
                "ratio",
                walls,
            ),
            Row(
                "cold-powertools",
                "the same over powertools",
                over("powertools", "wall"),
                0.7,
                0.45,
                "ratio",
                walls,
            ),
            Row(
                "cold-usual-cpu", "the same as CPU time, over usual", over("usual", "cpu"), 0.7, 0.45, "ratio"
            ),
            Row(
                "memory-usual",
                "peak memory of that process, over usual",
                over("usual", "memory"),
                0.8,
                0.6,
                "ratio",
            ),
        ]

    # ── the consumer ────────────────────────────────────────────────────────────────────────────

    def consumer(self) -> list[Row]:
        self._say("consumer")
        kind = "stripe-2k"
        ours = self._warm(self._bundles["daybook"], handler="app.process")
        theirs = {
            "powertools": self._warm(self._bundles["powertools"]),
            "djstripe": self._warm(self._djstripe),
        }
        found: dict[str, list[float]] = {name: [] for name in ("daybook", *theirs)}
        calls = 0
        for n in range(self._effort.rounds + 1):
            batches = [self._events.batch(kind, now()) for _ in range(5)]
            self._aws.counts()
            samples = ours.handle(batches)
            counted = self._aws.counts()
            if n:  # the first round is for imports and caches
                calls += sum(counted.values())
                found["daybook"] += [sample.cpu / 10 for sample in samples]
            for name, process in theirs.items():
                block = [self._events.request(kind, now()) for _ in range(20)]
                samples = process.handle(block)
                found[name] += [float(sample.cpu) for sample in samples] if n else []
        for name, cpus in found.items():
            self._say(f"  {name:<12} {median(cpus) / 1e6:.3f} ms of CPU an event")
        over = {name: median(found["daybook"]) / median(found[name]) for name in theirs}
        per_event = calls / (self._effort.rounds * 50)
        what = "consumer: CPU an event, over"
        return [
            Row("consumer-calls", "consumer: AWS calls an event, batch of 10", per_event, 2.2, 1.5, "calls"),
            Row("consumer-cpu", f"{what} powertools' recording", over["powertools"], 0.5, 0.25, "ratio"),
            Row(
                "consumer-djstripe",
                f"{what} dj-stripe's event row alone",
                over["djstripe"],
                0.5,
                0.25,
                "ratio",
            ),
            self._history(ours, kind),
        ]

    def _history(self, ours: Warm, kind: str) -> Row:
        """What an event costs when its payment has had a thousand, over what the first ones cost."""
        first: list[int] = []
        late: list[int] = []
        for n in range(40):
            batches = self._events.of_one_payment(kind, now(), HISTORY if n < 3 else 8)
            cpus = _cpu(ours.handle(batches))
            first += cpus[:8]
            late += cpus[-100:] if n < 3 else []
        value = ratio(late, first)
        return Row(
            "growth-payment", "the 1,000th event of a payment over the first, CPU", value, 1.2, 1.05, "ratio"
        )

    # ── growth, and the zip ─────────────────────────────────────────────────────────────────────

    def fuller(self) -> Row:
        """The p99 of a request where table and queue hold a thousand times as much."""
        self._say("growth")
        empty = self._warm(self._bundles["daybook"], self._stub(1000))
        full = self._warm(self._bundles["daybook"], self._stub(1000 * FULLER))
        found: dict[str, list[int]] = {"empty": [], "full": []}
        while len(found["full"]) < self._effort.p99:
            block = [for_daybook(self._events.request("stripe-2k", now())) for _ in range(50)]
            for name, process in (("empty", empty), ("full", full), ("full", full), ("empty", empty)):
                found[name] += _cpu(process.handle(block))
        p99 = {name: quantiles(samples[100:], n=100)[98] for name, samples in found.items()}
        value = p99["full"] / p99["empty"]
        return Row(
            "growth-fuller", "p99 of a request at a table 1,000 times fuller, CPU", value, 1.05, 1.02, "ratio"
        )

    def zip(self) -> Row:
        ours, usual = self._bundles["daybook"].zip, self._bundles["usual"].zip
        assert ours
        assert usual
        sizes = ours.stat().st_size, usual.stat().st_size
        self._say(f"zips: daybook {sizes[0] / 1e6:.2f} MB, usual {sizes[1] / 1e6:.2f} MB")
        return Row("zip", "the zip, over usual's", sizes[0] / sizes[1], 1.0, 0.5, "ratio")


def _cpu(samples: Iterable[Sample]) -> list[int]:
    return [sample.cpu for sample in samples]


def _details(found: Mapping[str, Mapping[str, list[Sample]]]) -> str:
    lines = ["  median CPU (wall) of a request in ms, and the middle half of CPU"]
    for kind, by in found.items():
        for name, samples in by.items():
            wall = median(sample.wall for sample in samples) / 1e6
            cpu = median(_cpu(samples)) / 1e6
            lines.append(f"  {kind:<11} {name:<12} {cpu:6.3f} ({wall:6.3f})   {spread(_cpu(samples))}")
    return "\n".join(lines)


def show(rows: list[Row], console: Console) -> None:
    table = Table(title=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for title in ("what", "value", "must", "aim", ""):
        table.add_column(title, justify="right" if title in ("value", "must", "aim") else "left")
    for row in rows:
        verdict = "aim" if row.value <= row.aim else "must" if row.value <= row.must else "MISSED"
        table.add_row(row.what, f"{row.value:.2f}", f"{row.must:g}", f"{row.aim:g}", verdict)
    console.print(table)


def main(arguments: list[str]) -> int:
    """0 where every "must" is met, 1 where one is missed."""
    effort = QUICK if "--quick" in arguments else FULL
    console = Console(width=120, highlight=False)
    with tempfile.TemporaryDirectory(prefix="daybook-bench-") as folder, ExitStack() as stack:
        bench = Bench(Path(folder), effort, stack, console.print)
        rows = [*bench.requests(), *bench.cold_starts(), *bench.consumer(), bench.fuller(), bench.zip()]
    out = ROOT / "build" / "bench.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    show(rows, console)
    return int(any(row.value > row.must for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
