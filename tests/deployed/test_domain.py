"""A domain of one's own: Chalice finds it in the record that is made anew, and what others use stays."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from chalice.awsclient import TypedAWSClient
from chalice.config import DeployedResources
from chalice.deploy import models
from chalice.deploy.planner import RemoteState

from ops import deployed
from ops.deploy import Deployment
from ops.stage import Stage
from tests.conftest import emulator

NAME, CERTIFICATE = "pay.example.com", "arn:aws:acm:us-east-1:123456789012:certificate/1"
URI = (
    "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/"
    "arn:aws:lambda:us-east-1:123456789012:function:{function}/invocations"
)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with emulator() as port:
        yield Stage("dev", boto3.Session("k", "s", region_name="us-east-1"), f"http://127.0.0.1:{port}")


def api(stage: Stage, name: str, function: str) -> str:
    """An API that hands its requests to that function."""
    client = stage.client("apigateway")
    made: str = client.create_rest_api(name=name)["id"]
    [root] = client.get_resources(restApiId=made)["items"]
    at = {"restApiId": made, "resourceId": root["id"], "httpMethod": "GET"}
    client.put_method(**at, authorizationType="NONE")
    client.put_integration(
        **at, type="AWS_PROXY", integrationHttpMethod="POST", uri=URI.format(function=function)
    )
    client.create_deployment(restApiId=made, stageName="dev")
    return made


def mapped(stage: Stage, paths: dict[str, str]) -> None:
    """The domain, with the API of each path."""
    client = stage.client("apigateway")
    client.create_domain_name(
        domainName=NAME,
        regionalCertificateArn=CERTIFICATE,
        endpointConfiguration={"types": ["REGIONAL"]},
        securityPolicy="TLS_1_2",
    )
    for path, id_ in paths.items():
        client.create_base_path_mapping(domainName=NAME, basePath=path, restApiId=id_, stage="dev")


def read(stage: Stage) -> deployed.Record:
    return deployed.read(stage, "daybook", [], None, NAME)


def test_chalice_finds_the_domain_in_the_record(stage: Stage, tmp_path: Path) -> None:
    """Without it every deploy after the first would fail: its planner asks for what is recorded."""
    mapped(stage, {"(none)": api(stage, "daybook", "daybook-dev")})
    read(stage).write(tmp_path / "dev.json")
    known = DeployedResources(json.loads((tmp_path / "dev.json").read_text()))
    model = models.DomainName(
        resource_name="api_gateway_custom_domain",
        protocol=models.APIType.HTTP,
        domain_name=NAME,
        certificate_arn=CERTIFICATE,
        api_mapping=models.APIMapping("rest_api_mapping", "(none)", "dev"),
    )
    values = RemoteState(TypedAWSClient(botocore.session.Session()), known).resource_deployed_values(model)
    assert values["domain_name"] == NAME
    assert values["api_mapping"] == [{"key": "/"}]
    assert values["certificate_arn"] == CERTIFICATE
    assert values["security_policy"] == "TLS_1_2"


def test_a_domain_that_is_not_there_yet_or_not_mapped(stage: Stage) -> None:
    """The first deploy makes it; one that was interrupted before the mapping left it to be finished."""
    mine = api(stage, "daybook", "daybook-dev")
    assert [each["name"] for each in read(stage).resources] == ["rest_api"]
    mapped(stage, {"(none)": mine})
    stage.client("apigateway").delete_base_path_mapping(domainName=NAME, basePath="(none)")
    [_, domain] = read(stage).resources
    assert domain["api_mapping"] == []
    assert read(stage).shared_paths == ()


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_domain_that_serves_others_stays(stage: Stage, tmp_path: Path, is_shared: bool) -> None:
    """Of it this stage's path goes with the stage; with nobody else on it, it is Chalice's to delete."""
    mine = api(stage, "daybook", "daybook-dev")
    mapped(stage, {"pay": mine, **({"shop": api(stage, "shop", "shop")} if is_shared else {})})
    config: dict[str, Any] = {
        "app_name": "daybook",
        "api_gateway_custom_domain": {"domain_name": NAME, "certificate_arn": CERTIFICATE},
        "stages": {"dev": {"lambda_functions": {}}},
    }
    (tmp_path / ".chalice").mkdir()
    (tmp_path / ".chalice" / "config.json").write_text(json.dumps(config))
    life = Deployment(tmp_path, stage, {}, lambda line: None)
    record = life._adopt(drop_unused=False)
    assert record.shared_paths == (("pay",) if is_shared else ())
    if is_shared:
        life._leave_domain(record)
        left = stage.client("apigateway").get_base_path_mappings(domainName=NAME)["items"]
        assert [each["basePath"] for each in left] == ["shop"]
        recorded = json.loads(deployed.path(tmp_path, "dev").read_text())["resources"]
        assert [each["name"] for each in recorded] == ["rest_api"]
