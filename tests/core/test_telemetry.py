"""Lines and metrics: what CloudWatch reads, and what a person does."""

import json
from typing import Any

import pytest
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from chalicelib.telemetry import METRICS, Telemetry
from tests.conftest import ROOT
from tests.fakes import Clock

TRACE = "Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=0"


def telemetry(lines: list[str], **more: Any) -> Telemetry:
    return Telemetry("dev", Clock(), lines.append, **more)


def test_a_metric_is_written_as_powertools_writes_it() -> None:
    """A kept library as the oracle: the same directive, but for a second set of dimensions."""
    lines: list[str] = []
    telemetry(lines).count("parked")
    ours = json.loads(lines[0])
    provider = AmazonCloudWatchEMFProvider({}, {}, "Daybook", {})
    provider.add_dimension("stage", "dev")
    provider.add_metric("parked", "Count", 1)
    theirs: Any = provider.serialize_metric_set()
    theirs["_aws"]["Timestamp"] = ours["_aws"]["Timestamp"]
    theirs["parked"] = theirs["parked"][0]
    assert ours == theirs


def test_a_line_counts_by_stage_and_by_one_more_where_it_can() -> None:
    """Those by the same dimension together; without its field a metric is the stage's alone."""
    lines: list[str] = []
    metrics = {"received": 1, "accepted": 1, "verified": 1}
    telemetry(lines).log("accepted", metrics=metrics, provider="stripe", event_id="evt_1")
    line = json.loads(lines[0])
    found = {
        metric["Name"]: directive["Dimensions"]
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }
    assert found == {
        "received": [["stage"]],
        "accepted": [["stage"], ["stage", "provider"]],
        "verified": [["stage"]],
    }
    assert (line["message"], line["event_id"], line["accepted"]) == ("accepted", "evt_1", 1)


def test_a_line_says_whose_it_is() -> None:
    """Request and trace; the first invocation of a process is counted as a cold start, once."""
    lines: list[str] = []
    told = telemetry(lines, trace=lambda: TRACE)
    told.begin("request-1")
    told.begin("request-2")
    told.log("accepted")
    cold, line = map(json.loads, lines)
    assert cold["cold_start"] == 1
    assert (line["request_id"], line["trace_id"]) == ("request-2", "1-67891233-abcdef012345678912345678")


@pytest.mark.parametrize(("level", "shown"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1), ("ERROR", 1)])
def test_a_level_leaves_out_what_is_below_it(level: str, shown: int) -> None:
    """But never a line that counts."""
    lines: list[str] = []
    told = telemetry(lines, level=level, metrics=False)
    for each in ("DEBUG", "INFO", "ERROR"):
        told.log("x", each)
    assert len(lines) == shown
    lines.clear()
    telemetry(lines, level="ERROR").log("accepted", metrics={"accepted": 1})
    assert json.loads(lines[0])["accepted"] == 1


def test_every_metric_is_counted_somewhere() -> None:
    """Its name stands in the code that tells of it."""
    sources = [ROOT / "app.py", *(ROOT / "chalicelib").rglob("*.py")]
    text = "".join(each.read_text() for each in sources if each.name != "telemetry.py")
    text += (ROOT / "chalicelib" / "telemetry.py").read_text().partition("class Telemetry")[2]
    money = {"captured", "refunded", "disputed"}  # named by payments.MONEY
    for name in METRICS.keys() - money:
        assert f'"{name}"' in text or ("status: 1" in text and name in ("accepted", "ignored")), name
