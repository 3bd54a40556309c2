"""AWS failing at any call, as networks and services do: what is answered 200 is recorded, and right."""

import importlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.test import Client
from click.testing import CliRunner

from ops.cli import main
from ops.local.event_source import EventSource
from ops.sender import StripeSigner
from ops.stage import Stage
from tests.conftest import TORTURE
from tests.fakes import as_bytes
from tests.faults import Faults
from tests.pipeline import Sent, backlog, check
from tests.proxy import Proxy

# connections are broken on purpose, and end when they are collected
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def faulty(
    request: pytest.FixtureRequest, stage_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, Proxy]]:
    """The app behind a way to AWS that fails."""
    with Proxy(stage_environ["AWS_ENDPOINT_URL"], Faults(request.param)) as proxy:
        for name, value in {**stage_environ, "AWS_ENDPOINT_URL": proxy.address}.items():
            monkeypatch.setenv(name, value)
        sys.modules.pop("app", None)
        app = importlib.import_module("app")
        yield app, proxy
        app._aws().close()
        sys.modules.pop("app", None)


def deliver(daybook: Any, deliveries: list[dict[str, Any]]) -> int:
    """Send each until it is answered with 200, as a provider does; how often it was not."""
    signer, again = StripeSigner("whsec_new"), 0
    with Client(daybook.app, stage_name="local") as client:
        for event in deliveries:
            body = as_bytes(event)
            while True:
                headers = signer.headers(body, time.time_ns() // 1_000_000)
                status = client.http.post("/webhooks/stripe", headers=headers, body=body).status_code
                if status == 200:
                    break
                assert status == 503
                again += 1
    return again


@pytest.mark.parametrize("faulty", range(10 if TORTURE else 2), indirect=True)
def test_what_is_acknowledged_is_recorded_right_whatever_fails(
    faulty: tuple[Any, Proxy], stage: Stage, aws: dict[str, str], figures: dict[str, float]
) -> None:
    """One call in ten fails, in every way; what is parked for it goes back by `daybook redrive`."""
    daybook, proxy = faulty
    sqs = stage.client("sqs")
    url = sqs.get_queue_url(QueueName=daybook.SETTINGS.names.queue)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "360"})
    source = EventSource(
        sqs, daybook.SETTINGS.names.queue, daybook.process
    )  # with a minute for a batch, as deployed
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})
    sent = Sent(stories=6, single=14, seed=7)
    again = deliver(daybook, sent.deliveries)
    dead = EventSource(sqs, daybook.SETTINGS.names.dead_queue, daybook.park)
    while backlog(stage, daybook):
        source.poll(0)
    proxy.fault.rate = 0  # type: ignore[attr-defined]
    while dead.poll(0):
        pass
    waiting = len(list(stage.ledger().parking.parked()))
    if waiting:
        result = CliRunner().invoke(main, ["redrive", "--all", "--stage", stage.name], env=aws)
        assert (result.exit_code, result.stdout) == (0, f"{waiting} sent again\n")
        while source.poll(0):
            pass
    check(stage, sent)
    assert len(proxy.faults) > 4
    assert len({fault for _, fault in proxy.faults}) > 2
    figures["faults"] = figures.get("faults", 0) + len(proxy.faults)
    figures["sent again by the provider"] = figures.get("sent again by the provider", 0) + again
    figures["parked and redriven"] = figures.get("parked and redriven", 0) + waiting
