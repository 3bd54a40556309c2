"""What CloudWatch knows of a stage: its metrics and its alarms. Stage local has an emulated one."""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chalice.package import YAMLTemplateSerializer

from chalicelib.names import names
from chalicelib.settings import STAGE_LOCAL
from chalicelib.telemetry import NAMESPACE
from ops.stage import Stage

TEMPLATE = Path(__file__).resolve().parents[1] / "infra" / "resources.yaml"
# Stage local is for watching: an event that waits for a quarter of a minute is late there.
LOCAL_PARAMETERS = {"OldestMessage": 15, "RefusedSurge": 20}
LONGEST = 3600  # seconds that stage local looks back for what is missing
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
}
Series = list[tuple[datetime, float]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A metric to be read: ``by`` is its further dimension with its value, if it has one."""

    name: str
    stat: str = "Sum"
    by: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    name: str
    is_on: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Signals:
    """CloudWatch, as far as it is about one stage."""

    stage: Stage

    def series(self, wanted: list[Wanted], since: datetime, until: datetime, period: int) -> list[Series]:
        """Each metric's values by period (seconds), oldest first; up to 500 metrics in one call a page."""
        queries = [self._query(f"m{n}", each, period) for n, each in enumerate(wanted)]
        found: dict[str, Series] = {query["Id"]: [] for query in queries}
        if not queries:
            return []
        pages = self.stage.client("cloudwatch").get_paginator("get_metric_data")
        for page in pages.paginate(
            MetricDataQueries=queries, StartTime=since, EndTime=until, ScanBy="TimestampAscending"
        ):
            for result in page["MetricDataResults"]:
                found[result["Id"]] += zip(result["Timestamps"], result["Values"], strict=True)
        return list(found.values())

    def _query(self, id: str, wanted: Wanted, period: int) -> dict[str, Any]:
        dimensions = [{"Name": "stage", "Value": self.stage.name}]
        if wanted.by:
            dimensions.append({"Name": wanted.by[0], "Value": wanted.by[1]})
        metric = {"Namespace": NAMESPACE, "MetricName": wanted.name, "Dimensions": dimensions}
        return {"Id": id, "MetricStat": {"Metric": metric, "Period": period, "Stat": wanted.stat}}

    def values_of(self, metric: str, dimension: str) -> list[str]:
        """The values that a metric's further dimension has had of late."""
        filters = [{"Name": "stage", "Value": self.stage.name}, {"Name": dimension}]
        pages = self.stage.client("cloudwatch").get_paginator("list_metrics")
        found: set[str] = set()
        for page in pages.paginate(Namespace=NAMESPACE, MetricName=metric, Dimensions=filters):
            for each in page["Metrics"]:
                named = {d["Name"]: d["Value"] for d in each["Dimensions"]}
                if set(named) == {"stage", dimension} and named["stage"] == self.stage.name:
                    found.add(named[dimension])
        return sorted(found)

    def alarms(self) -> list[Alarm]:
        """All of the stage's; in stage local they are worked out from the template, by a single period."""
        if self.stage.name == STAGE_LOCAL:
            return list(self._local_alarms())
        pages = self.stage.client("cloudwatch").get_paginator("describe_alarms")
        return [
            Alarm(each["AlarmName"], each["StateValue"] == "ALARM", each.get("AlarmDescription", ""))
            for page in pages.paginate(AlarmNamePrefix="daybook-")
            for each in page["MetricAlarms"]
            if each["AlarmName"].endswith(f"-{self.stage.name}")
        ]

    def _local_alarms(self) -> Iterator[Alarm]:
        template: dict[str, Any] = YAMLTemplateSerializer().load_template(TEMPLATE.read_text())
        parameters = {name: each.get("Default") for name, each in template["Parameters"].items()}
        parameters |= {"Stage": self.stage.name, **LOCAL_PARAMETERS}
        for each in template["Resources"].values():
            if each["Type"] == "AWS::CloudWatch::Alarm":
                resolved = _resolved(each["Properties"], parameters)
                yield Alarm(resolved["AlarmName"], self._is_on(resolved), resolved["AlarmDescription"])

    def _is_on(self, alarm: Mapping[str, Any]) -> bool:
        """Whether the last period, or the one before it, is over the threshold."""
        until = datetime.now(UTC)
        period = min(int(alarm["Period"]), LONGEST)
        answer = self.stage.client("cloudwatch").get_metric_statistics(
            Namespace=alarm["Namespace"],
            MetricName=alarm["MetricName"],
            Dimensions=alarm["Dimensions"],
            StartTime=until - timedelta(seconds=period),
            EndTime=until + timedelta(seconds=1),
            Period=period,
            Statistics=[alarm["Statistic"]],
        )
        values = [each[alarm["Statistic"]] for each in answer["Datapoints"]]
        if not values:
            return bool(alarm["TreatMissingData"] == "breaching")
        return any(COMPARE[alarm["ComparisonOperator"]](value, float(alarm["Threshold"])) for value in values)


def _resolved(value: Any, parameters: Mapping[str, Any]) -> Any:
    """A part of the template with the functions that its alarms use carried out."""
    if isinstance(value, list):
        return [_resolved(each, parameters) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return parameters.get(value["Ref"], value["Ref"])
    if set(value) == {"Fn::Sub"}:
        return str(value["Fn::Sub"]).replace("${Stage}", str(parameters["Stage"]))
    if set(value) == {"Fn::GetAtt"}:
        queue, dead_queue = names(parameters["Stage"], {}).queues
        return dead_queue if "Dead" in str(value["Fn::GetAtt"]) else queue
    return {name: _resolved(each, parameters) for name, each in value.items()}
