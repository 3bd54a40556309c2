"""Everything at once, in rounds: payments of both providers, duplicates, no order, faults of AWS, kills.

A round is a stage of its own with some dozens of payments, since the emulator's queues and tables slow down
with what is in them; its deliveries are shuffled among themselves. The long form has 200 rounds: 20,000
payments, over 100,000 deliveries, a kill in every third round.
"""

import importlib
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from chalicelib import beginning
from chalicelib.payments import Milestone, Payment, project
from chalicelib.reactions import Handlers
from ops.cli import main
from ops.local.event_source import EventSource
from ops.local.paypal import leaf
from ops.local.run import create_stack
from ops.sender import PayPalSigner, Signer, StripeSigner
from ops.stage import Stage, connect
from tests.conftest import TORTURE
from tests.crash import attempt
from tests.expected import wanted_of
from tests.fakes import SIGNER, as_bytes, paypal_authority
from tests.faults import Faults
from tests.packaged import request
from tests.pipeline import backlog
from tests.proxy import Proxy
from tests.simulators import Simulator, lived

CHUNKS, ROUNDS = (100, 2) if TORTURE else (1, 1)
PAYMENTS = {"stripe": 60, "paypal": 40} if TORTURE else {"stripe": 12, "paypal": 8}  # of a round
DUPLICATES = 0.3
KILLED = 3  # of so many rounds one: its consumer is killed
TIME = 20_000  # milliseconds that a batch has: the machine is busy, and the queue impatient
CERT_URL = "https://api.paypal.com/v1/notifications/certs/CERT-torture"
NEVER = ("events acknowledged and lost", "payments wrong", "milestones missing")

# connections are broken on purpose, and end when they are collected
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def models(rng: random.Random) -> Iterator[tuple[str, Simulator]]:
    for provider, count in PAYMENTS.items():
        for _ in range(count):
            yield provider, lived(provider, rng, 2)


@contextmanager
def stage_of(aws: dict[str, str], seed: int) -> Iterator[tuple[Stage, dict[str, str], Proxy]]:
    """A fresh stage, the environment of an app that reaches it through faults, and the faults."""
    emulator = connect("local", aws)
    stage = Stage(f"t{uuid4().hex[:12]}", emulator.session, emulator.endpoint)
    create_stack(stage, visibility="1")
    stage.ledger().checkpoints.note_checkpoint(beginning.NOTED, {"began_at": beginning.ALWAYS})
    with Proxy(str(stage.endpoint), Faults(seed)) as proxy:
        yield (
            stage,
            {
                **aws,
                "AWS_ENDPOINT_URL": proxy.address,
                "DAYBOOK_STAGE": "local",
                "DAYBOOK_TABLE": stage.names.table,
                "DAYBOOK_QUEUE": f"payment-events-{stage.name}.fifo",
                "DAYBOOK_DEAD_QUEUE": f"payment-events-dead-{stage.name}.fifo",
                "DAYBOOK_TARGETS_QUEUE": f"payment-targets-{stage.name}",
            },
            proxy,
        )
    stage.client("cloudformation").delete_stack(StackName=f"daybook-resources-{stage.name}")


class Round:
    """One round, and what it counted."""

    def __init__(self, aws: dict[str, str], seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.counted: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self._file = folder / f"heard-{seed}"
        self._models = list(models(self.rng))
        self._aws, self._seed = aws, seed
        self.signatures: set[str] = set()

    def run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with stage_of(self._aws, self._seed) as (stage, environ, proxy):
            for name, value in environ.items():
                monkeypatch.setenv(name, value)
            sys.modules.pop("app", None)
            app = importlib.import_module("app")
            self._start_consumer(app, stage)
            self._deliver(app, stage, environ)
            while self._polled(app, stage):
                pass
            proxy.fault.rate = 0  # type: ignore[attr-defined]
            self._redrive(app, stage, environ)
            self._check(stage)
            self.counted["faults"] += len(proxy.faults)
            app._aws().close()
            sys.modules.pop("app", None)

    def _deliver(self, app: Any, stage: Stage, environ: dict[str, str]) -> None:
        """All events and some of them again, in no order; what is not answered with 200 is sent again.

        The consumer works in between, as it would beside it; in some rounds it is killed once.
        """
        events = [(provider, event) for provider, model in self._models for event in model.events]
        deliveries = events + self.rng.choices(events, k=int(len(events) * DUPLICATES))
        self.rng.shuffle(deliveries)
        signers = self._signers(stage)
        killed_at = self.rng.randrange(len(deliveries)) if self._seed % KILLED == 0 else -1
        for n, (provider, event) in enumerate(deliveries):
            if n == killed_at:
                self._kill(environ)
            if n % 40 == 39:
                while self._source.poll(0):
                    pass
            body = as_bytes(event)
            status = 0
            while status != 200:
                headers = signers[provider].headers(body, time.time_ns() // 1_000_000)
                self.signatures |= {value[-64:] for value in headers.values() if len(value) > 64}
                sent = {**request(provider, body, headers)}
                status = app.app(sent, None)["statusCode"]
                self.counted["deliveries"] += 1
                assert status in (200, 503)

    def _signers(self, stage: Stage) -> dict[str, Signer]:
        issued = leaf(paypal_authority(), SIGNER, datetime.now(UTC))
        stage.ledger().certificates.keep_certificate(CERT_URL, issued.pem)
        rng = random.Random(self._seed)
        return {
            "stripe": StripeSigner("whsec_local"),
            "paypal": PayPalSigner(issued.key, CERT_URL, "LOCAL00000000001", rng),
        }

    def _start_consumer(self, app: Any, stage: Stage) -> None:
        handlers = Handlers()

        @handlers.on("payment.*")
        def listen(payment: Payment, milestone: Milestone) -> None:
            self.heard[milestone.id] += 1

        @handlers.on("dispute.*")
        def listen_too(payment: Payment, milestone: Milestone) -> None:
            self.heard[milestone.id] += 1

        to = replace(app._consumer(), handlers=handlers)

        def consume(batch: dict[str, Any], context: Any) -> None:
            to.process(batch["Records"], app._now() + TIME)

        self._source = EventSource(stage.client("sqs"), app.SETTINGS.names.queue, consume)

    def _polled(self, app: Any, stage: Stage) -> bool:
        """Whether there is, or will again be, anything on the queue; a batch of it is processed."""
        if self._source.poll(0):
            return True
        waiting = backlog(stage, app)
        time.sleep(0.3 if waiting else 0)
        return waiting > 0

    def _kill(self, environ: dict[str, str]) -> None:
        """A consumer that takes a batch and is killed somewhere on its way."""
        done = attempt("consume", environ, self.rng.randrange(1, 12), self._file)
        self.counted["kills"] += done.returncode == -signal.SIGKILL

    def _redrive(self, app: Any, stage: Stage, environ: dict[str, str]) -> None:
        dead = EventSource(stage.client("sqs"), app.SETTINGS.names.dead_queue, app.park)
        while self._polled(app, stage) or dead.poll(0):
            pass
        while waiting := list(stage.ledger().parking.parked()):
            self.counted["parked and redriven"] += len(waiting)
            result = CliRunner().invoke(main, ["redrive", "--all", "--stage", stage.name], env=self._aws)
            sys.stdout.write(result.output + "".join(each.reason for each in waiting))
            assert result.exit_code == 0
            while self._polled(app, stage) or dead.poll(0):
                pass

    def _check(self, stage: Stage) -> None:
        """Every event is in the ledger once, every payment is the model's, every milestone was heard."""
        if self._file.exists():
            self.heard.update(self._file.read_text().split())
        ledger = stage.ledger()
        for _, model in self._models:
            self.counted["payments"] += 1
            self.counted["events"] += len(model.events)
            recorded = {each.id for each in ledger.events(model.subject)}
            lost = {each["id"] for each in model.events} - recorded
            self.counted["events acknowledged and lost"] += len(lost)
            stored = ledger.payment(model.subject)
            shown = project(model.subject, stored.facts)
            is_shown = (shown.status, shown.captured, shown.refunded, shown.disputed)
            is_right = (model.status, model.captured, model.given_back, model.disputed)
            self.counted["payments wrong"] += is_shown != is_right
            self._check_heard(model)

    def _check_heard(self, model: Simulator) -> None:
        heard = [
            (name.removeprefix(f"{model.subject}/"), times)
            for name, times in self.heard.items()
            if name.startswith(f"{model.subject}/")
        ]
        wanted = wanted_of(model)
        got = Counter(name.partition("/")[0] for name, _ in heard)
        if wanted - got:
            sys.stderr.write(f"seed {self._seed}: {model.subject} wanted {wanted}, heard {heard}\n")
        self.counted["milestones"] += sum(wanted.values())
        self.counted["milestones missing"] += sum((wanted - got).values())
        self.counted["milestones heard twice"] += sum(times - 1 for _, times in heard)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_lost_wrong_or_missing(
    chunk: int,
    aws: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    figures: dict[str, float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And a handler hears twice only after a kill between its end and its striking off."""
    counted: Counter[str] = Counter()
    for n in range(ROUNDS):
        made = Round(aws, chunk * ROUNDS + n, tmp_path)
        made.run(monkeypatch)
        written = "".join(capsys.readouterr())
        sys.stdout.write(written)  # where it is searched for marks
        assert not any(signature in written for signature in made.signatures)
        counted.update(made.counted)  # unlike +=, it keeps what was counted as none
    for name, count in counted.items():
        figures[name] = figures.get(name, 0) + count
    assert counted["payments"] == ROUNDS * sum(PAYMENTS.values())
    assert {counted[name] for name in NEVER} == {0}
    assert counted["faults"] > 3
    assert counted["milestones heard twice"] <= 10 * counted["kills"] + counted["parked and redriven"]
