"""A command on a person's machine reaches AWS as boto3 does: by its proxy, certificates and endpoints."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError, ParamValidationError

from chalicelib.errors import AwsError
from ops.by_boto3 import ByBoto3
from ops.local.paypal import authority, leaf
from ops.stage import Stage, connect

Environment = dict[str, str]


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Environment], str]]:
    """What a proxy is asked for when a stage's ledger is read with that environment."""
    proxy = socket.create_server(("127.0.0.1", 0))
    asked: list[str] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = proxy.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(4096).decode().splitlines()[0])
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()

    def read(environ: Environment) -> str:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        stage = Stage("dev", boto3.Session("k", "s", region_name="us-east-1"), None)
        with pytest.raises(AwsError) as failed:
            stage.ledger().payment("stripe:pi_1")
        assert (failed.value.code, failed.value.passing) == ("ProxyConnectionError", True)
        return asked[0].split()[1]

    yield read
    proxy.close()


def test_a_proxy_is_used(reached: Callable[[Environment], str]) -> None:
    assert reached({}) == "dynamodb.us-east-1.amazonaws.com:443"


def test_fips_endpoints_are_used(reached: Callable[[Environment], str]) -> None:
    assert reached({"AWS_USE_FIPS_ENDPOINT": "true"}) == "dynamodb-fips.us-east-1.amazonaws.com:443"


def test_dual_stack_endpoints_are_used(reached: Callable[[Environment], str]) -> None:
    assert reached({"AWS_USE_DUALSTACK_ENDPOINT": "true"}) == "dynamodb.us-east-1.api.aws:443"


@pytest.mark.parametrize("is_trusted", [True, False])
def test_the_machines_certificate_authority_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_trusted: bool
) -> None:
    """As behind a proxy of a company that looks into TLS."""
    now = datetime.now(UTC)
    own = authority(now)
    server = leaf(own, "localhost", now)
    (tmp_path / "ca.pem").write_bytes(own.pem)
    (tmp_path / "pair.pem").write_bytes(server.key_pem + server.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")

    class Empty(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None: ...

    listening = HTTPServer(("127.0.0.1", 0), Empty)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    threading.Thread(target=listening.serve_forever, args=[0.01], daemon=True).start()
    if is_trusted:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    address = f"https://localhost:{listening.server_port}"
    ledger = Stage("dev", boto3.Session("k", "s", region_name="us-east-1"), address).ledger()
    try:
        if is_trusted:
            assert ledger.payment("stripe:pi_1").version == 0
        else:
            with pytest.raises(AwsError, match="SSLError"):
                ledger.payment("stripe:pi_1")
    finally:
        listening.shutdown()
        listening.server_close()


def test_a_machine_without_credentials_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(NoCredentialsError):
        connect("dev", {}).aws()


class Fake:
    """A client with one operation."""

    def __init__(self, act: Callable[..., Any]) -> None:
        self.put_item = act


def test_binary_attributes_travel_as_the_app_has_them() -> None:
    """Bytes or base64 on the way in, base64 on the way out."""
    asked: list[Any] = []

    def put_item(**request: Any) -> dict[str, Any]:
        asked.append(request)
        return {"Attributes": {"body": {"B": b"\x00\xff"}}, "ResponseMetadata": {}}

    call = ByBoto3(lambda service: Fake(put_item))
    answer = call("dynamodb", "PutItem", Items=[{"a": {"B": "AP8="}, "b": {"B": b"\x00"}, "c": {"S": "B"}}])
    assert asked == [{"Items": [{"a": {"B": b"\x00\xff"}, "b": {"B": b"\x00"}, "c": {"S": "B"}}]}]
    assert answer == {"Attributes": {"body": {"B": "AP8="}}}


def test_errors_are_the_apps_own() -> None:
    reasons = [{"Code": "ConditionalCheckFailed"}]

    def refuse(**_: Any) -> None:
        response: Any = {
            "Error": {"Code": "TransactionCanceledException", "Message": "m"},
            "ResponseMetadata": {"HTTPStatusCode": 400},
            "CancellationReasons": reasons,
        }
        raise ClientError(response, "PutItem")

    with pytest.raises(AwsError) as failed:
        ByBoto3(lambda service: Fake(refuse))("dynamodb", "PutItem")
    assert (failed.value.code, failed.value.passing) == ("TransactionCanceledException", False)
    assert failed.value.reasons == reasons


@pytest.mark.parametrize(
    ("code", "reasons"),
    [("ThrottlingException", []), ("TransactionCanceledException", [{"Code": "ThrottlingError"}])],
)
def test_a_throttle_is_the_apps_own(code: str, reasons: list[dict[str, str]]) -> None:
    def refuse(**_: Any) -> None:
        response: Any = {
            "Error": {"Code": code, "Message": "m"},
            "ResponseMetadata": {"HTTPStatusCode": 400},
            "CancellationReasons": reasons,
        }
        raise ClientError(response, "PutItem")

    with pytest.raises(AwsError) as failed:
        ByBoto3(lambda service: Fake(refuse))("dynamodb", "PutItem")
    assert failed.value.throttled
    assert failed.value.passing


def test_what_cannot_be_asked_is_not_asked_again() -> None:
    def refuse(**_: Any) -> None:
        raise ParamValidationError(report="unknown parameter")

    with pytest.raises(AwsError) as failed:
        ByBoto3(lambda service: Fake(refuse))("dynamodb", "PutItem")
    assert not failed.value.passing
