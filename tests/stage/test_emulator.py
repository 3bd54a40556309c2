"""What the emulator does otherwise than moto, held against moto itself."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import urllib3
from moto.cloudwatch.models import CloudWatchBackend

from chalicelib.aws import Aws, Keys
from chalicelib.errors import AwsError
from ops.local.emulator import DATA, each_of_its_own

UNTIL = datetime(2026, 11, 25, 12, tzinfo=UTC)
STAGE, REASON = {"Name": "stage", "Value": "local"}, {"Name": "reason", "Value": "signature"}
DIMENSIONS: list[list[dict[str, str]]] = [[STAGE], [STAGE, REASON], [REASON, STAGE], []]


def test_metrics_are_what_moto_makes_of_them() -> None:
    """Each read from its own values: the same periods and figures, in whatever order dimensions are named."""
    rng, backend = random.Random(1), CloudWatchBackend("us-east-1", "123456789012")
    for _ in range(400):
        datum: dict[str, Any] = {
            "MetricName": rng.choice(["received", "refused"]),
            "Value": rng.random(),
            "Timestamp": UNTIL - timedelta(seconds=rng.randrange(4000)),
            "Dimensions": rng.choice(DIMENSIONS),
        }
        backend.put_metric_data("Daybook", [datum])
    queries = [
        {
            "Id": f"{name}{n}{stat}",
            "MetricStat": {
                "Metric": {"Namespace": "Daybook", "MetricName": name, "Dimensions": dimensions},
                "Period": 60,
                "Stat": stat,
            },
        }
        for name in ("received", "refused", "never")
        for n, dimensions in enumerate(DIMENSIONS[:3])
        for stat in ("Sum", "Maximum")
    ]
    found = each_of_its_own(backend, queries, UNTIL - timedelta(hours=1), UNTIL)
    assert found == DATA(backend, queries, UNTIL - timedelta(hours=1), UNTIL)
    assert sum(len(each["values"]) for each in found) > 200


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example:8003"}])
def test_a_page_in_a_browser_is_refused(aws: dict[str, str], headers: dict[str, str]) -> None:
    """Whatever site it comes from: it could read and wipe what `make run` recorded."""
    address = f"{aws['AWS_ENDPOINT_URL']}/moto-api/"
    assert urllib3.request("GET", address).status == 200
    answer = urllib3.request("GET", address, headers=headers)
    assert (answer.status, answer.headers.get("Access-Control-Allow-Origin")) == (403, None)


@pytest.mark.parametrize(
    ("service", "operation", "request_", "says"),
    [
        ("dynamodb", "GetItem", {"TableName": "t", "Key": {}, "Consistent": True}, "Unknown parameter"),
        ("dynamodb", "PutItem", {"TableName": "t", "Item": {"a": {"N": 1}}}, "Invalid type"),
        ("sqs", "SendMessage", {"QueueUrl": "q"}, "Missing required parameter"),
    ],
)
def test_what_aws_does_not_know_is_refused(
    aws: dict[str, str], service: str, operation: str, request_: dict[str, Any], says: str
) -> None:
    """By botocore's models: all that any test sends through the app's own caller is held against them."""
    keys = Keys("k", "s", None)
    call = Aws("us-east-1", lambda: keys, aws["AWS_ENDPOINT_URL"], lambda _: None, lambda a, b: a)
    with pytest.raises(AwsError) as failed:
        call(service, operation, **request_)
    call.close()
    assert (failed.value.code, failed.value.passing) == ("ValidationException", False)
    body = json.dumps(request_).encode()
    target = {"dynamodb": "DynamoDB_20120810", "sqs": "AmazonSQS"}[service]
    headers = {"X-Amz-Target": f"{target}.{operation}", "Content-Type": "application/x-amz-json-1.0"}
    answer = urllib3.request("POST", aws["AWS_ENDPOINT_URL"], body=body, headers=headers)
    assert says in json.loads(answer.data)["message"]
