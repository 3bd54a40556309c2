"""Stage ``dev`` as it is packaged: building it, starting its functions, and what AWS would send them."""

import base64
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from ops.licences import required
from ops.local.paypal import leaf
from ops.local.runtime import Function, runtime_client
from ops.sender import PayPalSigner, StripeSigner
from ops.stage import Stage
from ops.stages import OF_RELEASES
from tests.conftest import ROOT
from tests.fakes import DEV_SECRET, SIGNER, paypal_authority

CERT_URL = "https://api.paypal.com/v1/notifications/certs/CERT-packaged"
MACHINE = {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]


def project(folder: Path, architecture: str = MACHINE) -> Path:
    """A copy of what is packaged, for that architecture; without the user's handlers and libraries."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "deployed", "deployments")
    shutil.copy(ROOT / "app.py", folder)
    (folder / "requirements.txt").write_text("\n".join(required()) + "\n")
    for name in ("chalicelib", ".chalice", "infra"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "tests" / "shop.py", folder / "chalicelib" / "handlers.py")
    config = folder / ".chalice" / "config.json"
    config.write_text(config.read_text().replace('"arm64"', f'"{architecture}"'))
    without_added(config)
    return folder


def without_added(config: Path) -> None:
    """The stages that Daybook's releases have alone: a user's own may have any name."""
    content = json.loads(config.read_text())
    stages = {name: each for name, each in content["stages"].items() if name in ("local", *OF_RELEASES)}
    config.write_text(json.dumps({**content, "stages": stages}, indent=2) + "\n")
    ours = tuple(f"policy-{name}-" for name in OF_RELEASES)
    for path in config.parent.glob("policy-*.json"):
        if not path.name.startswith(ours):
            path.unlink()


def packaged(folder: Path) -> tuple[Path, str]:
    """``daybook package`` there; the folder with template and zip, and what it printed."""
    command = [str(Path(sys.executable).with_name("daybook")), "package", "--stage", "dev"]
    environ = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    made = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder / "build" / "package-dev", made.stdout


def unpacked(package: Path, folder: Path) -> Path:
    """The zip's content, in a folder of that folder."""
    folder = folder / "unpacked"
    with ZipFile(package / "deployment.zip") as made:
        made.extractall(folder)
    return folder


def request(provider: str, body: bytes, headers: dict[str, str], encoded: bool = False) -> dict[str, Any]:
    """A webhook as API Gateway hands it over."""
    return {
        "resource": "/webhooks/{provider}",
        "path": f"/webhooks/{provider}",
        "httpMethod": "POST",
        "requestContext": {"resourcePath": "/webhooks/{provider}", "httpMethod": "POST"},
        "pathParameters": {"provider": provider},
        "multiValueQueryStringParameters": None,
        "stageVariables": None,
        "headers": {"Content-Type": "application/json", **headers},
        "body": base64.b64encode(body).decode() if encoded else body.decode(),
        "isBase64Encoded": encoded,
    }


def now() -> int:
    return time.time_ns() // 1_000_000


def stripe_request(body: bytes, encoded: bool = False) -> dict[str, Any]:
    return request("stripe", body, StripeSigner(DEV_SECRET).headers(body, now()), encoded)


def paypal_request(body: bytes, dev: Stage) -> dict[str, Any]:
    """Signed with a certificate that the ledger keeps: nothing is fetched."""
    issued = leaf(paypal_authority(), SIGNER, datetime.fromtimestamp(now() / 1000, UTC))
    dev.ledger().certificates.keep_certificate(CERT_URL, issued.pem)
    signer = PayPalSigner(issued.key, CERT_URL, "8PTDEV", random.Random(1))
    return request("paypal", body, signer.headers(body, now()))


def batch(dev: Stage, queue: str) -> dict[str, Any]:
    """What is on the queue, as the event source hands it over; taken off it."""
    sqs = dev.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    found = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"], VisibilityTimeout=60
    )
    records = []
    for each in found.get("Messages", []):
        sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        records.append(
            {
                "messageId": each["MessageId"],
                "receiptHandle": each["ReceiptHandle"],
                "body": each["Body"],
                "attributes": each["Attributes"],
                "eventSource": "aws:sqs",
            }
        )
    return {"Records": records}


SCHEDULE = {
    "version": "0",
    "id": "1",
    "account": "123456789012",
    "region": "us-east-1",
    "detail": {},
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "time": "2026-11-25T00:00:00Z",
    "resources": [],
}


class Functions:
    """Starts functions of an unpacked package as its template says, on the emulator at ``endpoint``."""

    def __init__(self, bundle: Path, template: Mapping[str, Any], endpoint: str) -> None:
        self.bundle, self.template, self.endpoint = bundle, template, endpoint
        self._started: list[Function] = []

    def start(self, name: str, folder: Path | None = None, **more: str) -> Function:
        """The function of that name in the template, with ``more`` in its environment."""
        properties = self.template["Resources"][name]["Properties"]
        defaults = {key: str(each["Default"]) for key, each in self.template["Parameters"].items()}
        variables = properties["Environment"]["Variables"].items()
        environ = {
            **{key: defaults[each["Ref"]] if isinstance(each, dict) else each for key, each in variables},
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_ENDPOINT_URL": self.endpoint,
            "DAYBOOK_RUNTIME_CLIENT": str(runtime_client(self.bundle.parent / "client")),
            **more,
        }
        timeout = float(properties["Timeout"])
        function = Function(folder or self.bundle, properties["Handler"], environ, timeout)
        self._started.append(function)
        return function

    def stop(self) -> None:
        for function in self._started:
            function.stop()
            sys.stdout.writelines(function.lines)  # where it is searched for marks


@contextmanager
def functions(bundle: Path, template: Mapping[str, Any], endpoint: str) -> Iterator[Functions]:
    made = Functions(bundle, template, endpoint)
    try:
        yield made
    finally:
        made.stop()
