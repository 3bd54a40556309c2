"""What Chalice believes is deployed, put right by what is.

Chalice keeps a record (``.chalice/deployed/STAGE.json``) and writes it when a deploy has ended: one that
fails half-way, or a clone without the record, would make a second API and trip over the event sources. So
before it deploys or deletes, the record is made anew from what AWS has under a stage's names.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws import domain
from ops.package import Failed
from ops.stage import Stage

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """The resources that a stage has, in the order in which Chalice makes them; and APIs beyond the one.

    ``shared_paths``: where the stage is mapped in a domain that serves other APIs too. ``former``: functions
    that Chalice once made and the configuration has no more.
    """

    resources: list[Resource]
    surplus_apis: list[str]
    shared_paths: tuple[str, ...] = ()
    former: tuple[str, ...] = ()

    def without_domain(self) -> "Record":
        """The domain stays; it is not Chalice's to delete."""
        return replace(self, resources=[each for each in self.resources if each["name"] != DOMAIN])

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"resources": self.resources, "schema_version": "2.0", "backend": "api"}
        path.write_text(json.dumps(content, indent=2) + "\n")


TAG = "aws-chalice"  # on every function: its version, stage and app
DOMAIN = "api_gateway_custom_domain"  # Chalice's name of it, and of its setting
ROOT_PATH = "(none)"  # API Gateway's word for a mapping of the whole domain


def path(project: Path, stage: str) -> Path:
    return project / ".chalice" / "deployed" / f"{stage}.json"


def recorded_api(project: Path, stage: str) -> str | None:
    """The id of the API that Chalice's record names."""
    try:
        found = json.loads(path(project, stage).read_text())["resources"]
    except (OSError, ValueError, KeyError):
        return None
    return next((each["rest_api_id"] for each in found if each["resource_type"] == "rest_api"), None)


def read(
    stage: Stage, app: str, functions: list[str], known_api: str | None, own_domain: str | None = None
) -> Record:
    """What is there of ``functions``: roles, functions, event sources, rules, the API, and its domain.

    Also of functions that Chalice once made for the stage and that the code has no more: it deletes what its
    record names and the code does not. ``known_api`` is the API to keep where there are several,
    ``own_domain`` the domain's configured name.
    """
    resources: list[Resource] = []
    former = tuple(each for each in _made(stage, app) if each not in functions)
    for function in (*functions, *former):
        resources += _role(stage, app, function)
        resources += _function(stage, app, function)
    apis = list(_apis(stage, app))
    kept = known_api if known_api in apis else next(iter(apis), None)
    if kept:
        region = stage.session.region_name
        url = f"https://{kept}.execute-api.{region}.{domain(region)}/{stage.name}/"
        resources.append(
            {"name": "rest_api", "resource_type": "rest_api", "rest_api_id": kept, "rest_api_url": url}
        )
    paths = _paths(stage, own_domain) if own_domain else {}
    mine = sorted(each for each, api in paths.items() if api == kept)
    if own_domain and (mine or not paths):
        resources += _domain(stage, own_domain, mine)
    shared = mine if len(mine) < len(paths) else ()
    return Record(resources, [each for each in apis if each != kept], tuple(shared), former)


def _made(stage: Stage, app: str) -> list[str]:
    """The functions that Chalice made for the stage, by ``app.py``'s names.

    By their tag too: a stage ``dev`` is not to lose those of a stage ``dev-eu``.
    https://aws.github.io/chalice/topics/configfile.html (tags)
    """
    client = stage.client("lambda")
    prefix = f"{app}-{stage.name}-"
    pages = client.get_paginator("list_functions").paginate()
    found = (each for page in pages for each in page["Functions"])
    named = {each["FunctionName"]: each["FunctionArn"] for each in found}
    own = {name: arn for name, arn in named.items() if name.startswith(prefix)}
    tags = {name: client.list_tags(Resource=arn)["Tags"].get(TAG, "") for name, arn in own.items()}
    return sorted(name.removeprefix(prefix) for name, tag in tags.items() if tag.endswith(_mark(stage, app)))


def _mark(stage: Stage, app: str) -> str:
    """What Chalice's tag of a function ends with."""
    return f":stage={stage.name}:app={app}"


def _paths(stage: Stage, own_domain: str) -> dict[str, str]:
    """The API that each path of the domain is mapped to."""
    client = stage.client("apigateway")
    find = partial(client.get_base_path_mappings, limit=500)
    found = if_there(find, "NotFoundException", domainName=own_domain) or {}
    return {each["basePath"]: each["restApiId"] for each in found.get("items", ())}


def _domain(stage: Stage, own_domain: str, paths: list[str]) -> Iterator[Resource]:
    """As Chalice records it, with the paths that are mapped to the stage's API."""
    client = stage.client("apigateway")
    found = if_there(client.get_domain_name, "NotFoundException", domainName=own_domain)
    if found:
        yield {
            "name": DOMAIN,
            "resource_type": "domain_name",
            "domain_name": own_domain,
            "hosted_zone_id": found.get("regionalHostedZoneId") or found.get("distributionHostedZoneId"),
            "alias_domain_name": found.get("regionalDomainName") or found.get("distributionDomainName"),
            "certificate_arn": found.get("regionalCertificateArn") or found.get("certificateArn"),
            "security_policy": found.get("securityPolicy"),
            "api_mapping": [{"key": "/" if each == ROOT_PATH else f"/{each}"} for each in paths],
        }


def _role(stage: Stage, app: str, function: str) -> Iterator[Resource]:
    name = f"{app}-{stage.name}-{function}"
    role = if_there(stage.client("iam").get_role, "NoSuchEntity", RoleName=name)
    if role:
        arn = role["Role"]["Arn"]
        named = {"name": f"{function}_role", "resource_type": "iam_role"}
        yield {**named, "role_arn": arn, "role_name": name}


def _function(stage: Stage, app: str, function: str) -> Iterator[Resource]:
    name = f"{app}-{stage.name}" + ("" if function == "api_handler" else f"-{function}")
    rule = f"{name}-event"
    found = if_there(stage.client("lambda").get_function, "ResourceNotFoundException", FunctionName=name)
    tag = (found or {}).get("Tags", {}).get(TAG)
    if tag and not tag.endswith(_mark(stage, app)):
        raise Failed(f"the function {name} is of another stage ({tag}): rename one of the two stages")
    if found:
        arn = found["Configuration"]["FunctionArn"]
        yield {"name": function, "resource_type": "lambda_function", "lambda_arn": arn}
        yield from _event_sources(stage, function, arn)
    if if_there(stage.client("events").describe_rule, "ResourceNotFoundException", Name=rule):
        yield {"name": f"{function}-event", "resource_type": "cloudwatch_event", "rule_name": rule}


def mappings(client: Any, arn: str) -> list[dict[str, Any]]:
    """What feeds that function."""
    pages = client.get_paginator("list_event_source_mappings").paginate(FunctionName=arn)
    return [each for page in pages for each in page["EventSourceMappings"]]


def is_unfeeding(stage: Stage, app: str, functions: list[str]) -> bool:
    """Whether something that fed one of the stage's functions is still being deleted."""
    pages = stage.client("lambda").get_paginator("list_event_source_mappings").paginate()
    found = (each for page in pages for each in page["EventSourceMappings"])
    own = {f"{app}-{stage.name}-{function}" for function in functions}
    states = (each.get("State") for each in found if each["FunctionArn"].rpartition(":")[2] in own)
    return "Deleting" in states


def _event_sources(stage: Stage, function: str, arn: str) -> Iterator[Resource]:
    for mapping in mappings(stage.client("lambda"), arn):
        if mapping.get("State") == "Deleting":
            continue
        yield {
            "name": f"{function}-sqs-event-source",
            "resource_type": "sqs_event",
            "queue_arn": mapping["EventSourceArn"],
            "event_uuid": mapping["UUID"],
            "queue": mapping["EventSourceArn"].rpartition(":")[2],
            "lambda_arn": arn,
        }


def _apis(stage: Stage, app: str) -> Iterator[str]:
    """The ids of the APIs that hand their requests to this stage's function, those in use first."""
    client = stage.client("apigateway")
    pages = client.get_paginator("get_rest_apis").paginate()
    mine = [
        api["id"]
        for page in pages
        for api in page["items"]
        if api["name"] == app and _serves(client, api["id"], f":function:{app}-{stage.name}/")
    ]
    yield from sorted(mine, key=lambda api: not client.get_stages(restApiId=api)["item"])


def _serves(client: Any, api: str, function: str) -> bool:
    pages = client.get_paginator("get_resources").paginate(restApiId=api, embed=["methods"])
    methods = [
        method
        for page in pages
        for resource in page["items"]
        for method in resource.get("resourceMethods", {}).values()
    ]
    return any(function in method.get("methodIntegration", {}).get("uri", "") for method in methods)


def secret_deleted_on(stage: Stage, name: str) -> str | None:
    """The day on which that secret will be gone, where somebody has deleted it."""
    describe = stage.client("secretsmanager").describe_secret
    found = if_there(describe, "ResourceNotFoundException", SecretId=name) or {}
    return f"{found['DeletedDate']:%Y-%m-%d}" if "DeletedDate" in found else None


def if_there(call: Any, missing: str, **request: str) -> dict[str, Any] | None:
    """What AWS answers, or ``None`` where its error ``missing`` says that there is nothing."""
    try:
        answer: dict[str, Any] = call(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] == missing:
            return None
        raise
    return answer
