"""The caller of AWS, against an emulator, and against a server that fails in every way a server can."""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
import urllib3

from chalicelib import aws as caller
from chalicelib.aws import Aws, Keys, keys_of
from chalicelib.errors import AwsError
from ops.stage import Stage

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n" + b'{"done": "1"}'

THROTTLED_REASONS = [{"Code": "None"}, {"Code": "ThrottlingError"}]


def failure(status: int, code: str, **fields: Any) -> bytes:
    body = json.dumps({"__type": f"com.amazonaws#{code}", **fields}).encode()
    head = b"HTTP/1.1 %d Failed\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


class Server:
    """Answers each connection with the next of ``answers``, then closes it; ``None`` is no answer."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self.requests: list[bytes] = []
        self._answers = answers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for answer in self._answers:
            connection, _ = self._socket.accept()
            with connection:
                self.requests.append(_request(connection))
                if answer is not None:
                    connection.sendall(answer)

    def close(self) -> None:
        self._socket.close()


def _request(connection: socket.socket) -> bytes:
    """One whole request: its head, and as much of a body as that announces."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    [length] = [int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


class Calls:
    """A caller of such a server, with the pauses that it made and the keys that it asked for."""

    def __init__(self, *answers: bytes | None) -> None:
        self.server = Server(list(answers))
        self.pauses: list[float] = []
        self.keys = 0

        def keys() -> Keys:
            self.keys += 1
            return Keys(f"key{self.keys}", "secret", "token")

        self.aws = Aws("eu-central-1", keys, self.server.address, self.pauses.append, lambda _, most: most)

    def __call__(self) -> dict[str, Any]:
        return self.aws("dynamodb", "PutItem", Item={"body": {"B": b"\x00\xff"}})


@pytest.fixture
def calls(request: pytest.FixtureRequest) -> Iterator[Calls]:
    made = Calls(*request.param)
    yield made
    made.server.close()


def test_without_credentials_it_is_said_so() -> None:
    """When AWS is first called: whoever forgot them finds the reason in the log."""
    aws = Aws("us-east-1", keys_of(None), "http://127.0.0.1:9", lambda seconds: None, lambda a, b: 0)
    with pytest.raises(AwsError, match="NoCredentials"):
        aws("sqs", "GetQueueUrl", QueueName="q")


def answers(*given: bytes | None) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("calls", [given], indirect=True)


@answers(OK)
def test_a_request_is_signed_json_that_names_its_operation(calls: Calls) -> None:
    """Binary values as base64, and the answer parsed."""
    assert calls() == {"done": "1"}
    head, _, body = calls.server.requests[0].partition(b"\r\n\r\n")
    assert b"X-Amz-Target: DynamoDB_20120810.PutItem" in head
    assert b"Credential=key1/" in head
    assert b"/eu-central-1/dynamodb/aws4_request" in head
    assert b"X-Amz-Security-Token: token" in head
    assert json.loads(body) == {"Item": {"body": {"B": "AP8="}}}


@pytest.mark.parametrize(
    "calls",
    [
        [failure(500, "InternalServerError"), OK],
        [failure(503, "ServiceUnavailable"), OK],
        [failure(400, "ThrottlingException"), OK],
        [failure(429, "WhateverItIsCalled"), OK],
        [failure(400, "RequestTimeout"), OK],
        [failure(400, "ProvisionedThroughputExceededException"), OK],
        [failure(400, "ExpiredTokenException"), OK],
        [b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 5\r\n\r\n<htm>", OK],
        [None, OK],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", OK],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{", OK],
        [b"garbage\r\n\r\n", OK],
        [failure(400, "TransactionConflictException"), OK],
        [failure(400, "TransactionCanceledException", CancellationReasons=THROTTLED_REASONS), OK],
        [None, failure(500, "InternalServerError"), OK],
    ],
    indirect=True,
)
def test_what_may_pass_is_tried_again(calls: Calls) -> None:
    """After a pause that grows, with the access key asked for anew, and the same request."""
    assert calls() == {"done": "1"}
    attempts = len(calls.server.requests)
    assert attempts in (2, 3)
    assert calls.pauses == [0.1, 0.2][: attempts - 1]
    assert calls.keys == attempts
    bodies = {request.partition(b"\r\n\r\n")[2] for request in calls.server.requests}
    assert len(bodies) == 1


@answers(None, None, None)
def test_what_does_not_pass_is_an_error_after_three_attempts(calls: Calls) -> None:
    """Which says what was asked and how it failed, and nothing of what was in it."""
    with pytest.raises(AwsError) as failed:
        calls()
    assert str(failed.value) == "dynamodb PutItem: ProtocolError"
    assert len(calls.server.requests) == 3


@answers(
    failure(400, "TransactionCanceledException", CancellationReasons=[{"Code": "ConditionalCheckFailed"}])
)
def test_what_cannot_pass_is_not_tried_again(calls: Calls) -> None:
    """With AWS's code, and why a transaction was canceled."""
    with pytest.raises(AwsError) as failed:
        calls()
    assert failed.value.code == "TransactionCanceledException"
    assert failed.value.reasons == [{"Code": "ConditionalCheckFailed"}]
    assert calls.pauses == []


TRANSACTION = failure(400, "TransactionCanceledException", CancellationReasons=THROTTLED_REASONS)


@answers(*[TRANSACTION, failure(429, "Other"), failure(400, "SlowDown")] * 3)
def test_what_is_throttled_is_waited_for_ever_longer(calls: Calls) -> None:
    """By who has the time: at most eight seconds between two attempts, and the last at its end."""
    with calls.aws.patient(lambda: 20.0 - sum(calls.pauses)), pytest.raises(AwsError, match="SlowDown"):
        calls()
    assert calls.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, pytest.approx(7.3)]


THROTTLE = failure(400, "ThrottlingException")


@answers(THROTTLE, THROTTLE, failure(500, "InternalServerError"), THROTTLE, None, OK)
def test_throttles_use_up_no_tries_of_other_failures(calls: Calls) -> None:
    """Who is patient has three of those, however often it was throttled."""
    with calls.aws.patient(lambda: 20.0 - sum(calls.pauses)):
        assert calls() == {"done": "1"}


@answers(THROTTLE, *[failure(500, "InternalServerError")] * 3)
def test_who_is_patient_gives_up_what_fails_otherwise(calls: Calls) -> None:
    """After three of those."""
    with calls.aws.patient(lambda: 20.0 - sum(calls.pauses)), pytest.raises(AwsError, match="InternalServer"):
        calls()


@answers(THROTTLE, THROTTLE, THROTTLE)
def test_only_the_table_is_waited_for(calls: Calls) -> None:
    """A handler that is throttled by another service fails soon, and the others have their time."""
    with calls.aws.patient(lambda: 20.0), pytest.raises(AwsError, match="Throttling"):
        calls.aws("events", "PutEvents", Entries=[])
    assert len(calls.pauses) == 2


def test_a_kept_connection_that_broke_is_no_failure() -> None:
    """One closed while a function was frozen: asked again at once, also where little time is left."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        seen: list[bytes] = []

        def serve() -> None:
            for answers in ((OK.replace(b"close", b"keep-alive"), b""), (OK,)):
                connection, _ = server.accept()
                with connection:
                    for answer in answers:
                        seen.append(_request(connection))
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        aws = Aws("us-east-1", lambda: Keys("k", "s", None), address, lambda _: None, lambda _, most: most)
        with aws.failing_fast():
            for _ in range(2):
                assert aws("secretsmanager", "GetSecretValue", SecretId="x") == {"done": "1"}
    assert len(seen) == 3


def test_nobody_there_is_an_error_with_a_name() -> None:
    """A refused connection, three times."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    aws = Aws("us-east-1", lambda: Keys("k", "s", None), address, lambda _: None, lambda _, most: most)
    with pytest.raises(AwsError) as failed:
        aws("sqs", "GetQueueUrl", QueueName="q")
    assert failed.value.code == "NewConnectionError"
    assert failed.value.passing


def test_a_silent_server_is_given_up() -> None:
    """Within the time-outs, which bound a call whatever the other side does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        aws = Aws("us-east-1", lambda: Keys("k", "s", None), address, lambda _: None, lambda _, most: most)
        aws._pool(address).timeout = urllib3.Timeout(connect=0.1, read=0.1)
        with pytest.raises(AwsError) as failed:
            aws("sqs", "GetQueueUrl", QueueName="q")
    assert failed.value.code == "ReadTimeoutError"


def test_the_emulator_understands_it_and_so_do_we(stage: Stage, aws: dict[str, str]) -> None:
    """Its answers and its errors, of a real call."""
    keys = Keys("k", "s", None)
    call = Aws("us-east-1", lambda: keys, aws["AWS_ENDPOINT_URL"], lambda _: None, lambda a, b: a)
    assert call("sqs", "GetQueueUrl", QueueName=f"payment-events-{stage.name}.fifo")["QueueUrl"]
    with pytest.raises(AwsError) as failed:
        call("sqs", "GetQueueUrl", QueueName="gone.fifo")
    assert (failed.value.code, failed.value.passing) == ("QueueDoesNotExist", False)
    with pytest.raises(AwsError) as failed:
        call("secretsmanager", "GetSecretValue", SecretId="gone")
    assert failed.value.code == "ResourceNotFoundException"
    call.close()


def test_each_region_of_each_partition_has_its_address() -> None:
    """As botocore's own rules have it."""
    session = botocore.session.Session()
    regions = {
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("sqs", partition)
    }
    assert len(regions) > 40
    for region in regions:
        for service in ("dynamodb", "sqs", "secretsmanager", "events"):
            client = session.create_client(service, region, aws_access_key_id="k", aws_secret_access_key="s")
            assert caller._endpoint(service, region) == f"{client.meta.endpoint_url}/", region
