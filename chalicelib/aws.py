"""Calling AWS: JSON over HTTPS, signed by botocore's signer, over kept connections.

Every service that Daybook needs at run time speaks the same protocol: a POST of JSON that names its operation
in a header. So one small caller does for all of them what boto3's clients do, at half the time a call and
without the time that importing and building them takes (docs/decisions.md, docs/performance.md).
https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple, Protocol

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from chalicelib.errors import AwsError

ATTEMPTS = 3
# what addresses end with, by how a region begins; elsewhere amazonaws.com
DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "us-isof-": "csp.hci.ic.gov",
}
PAUSE = 0.05  # seconds before the second attempt at the most; doubled for each one after
LONGEST = 8.0  # seconds between two attempts of who is patient
PATIENT = "dynamodb"  # with whom: a handler that is throttled elsewhere fails, and is run again
CONNECT, READ = 2.0, 5.0  # seconds
# What passes once less is asked; of a canceled transaction, where each reason is one of the second.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
THROTTLES = frozenset(
    {
        "KmsThrottled",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
THROTTLED = {"ThrottlingError", "ProvisionedThroughputExceeded"}
# What else may pass if it is tried again, beside every 5xx.
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
PASSING = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InternalError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "TransactionConflictException",
    }
)


class Service(NamedTuple):
    """How a service is called: the name of its API in ``X-Amz-Target``, and its JSON's version."""

    target: str
    json: str


SERVICES = {
    "dynamodb": Service("DynamoDB_20120810", "1.0"),
    "events": Service("AWSEvents", "1.1"),
    "secretsmanager": Service("secretsmanager", "1.1"),
    "sqs": Service("AmazonSQS", "1.0"),
}


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key, as the signer takes it."""

    access_key: str
    secret_key: str
    token: str | None


def keys_of(credentials: Any) -> Callable[[], Keys]:
    """The keys of what botocore found, which renews them where they expire.

    Where it found none (``None``), the first call that needs them raises ``AwsError``.
    """

    def keys() -> Keys:
        if credentials is None:
            raise AwsError("aws", "sign", "NoCredentials", passing=False)
        frozen = credentials.get_frozen_credentials()
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)

    return keys


class Caller(Protocol):
    def __call__(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        """The answer to an AWS operation. Raises ``AwsError``."""


class Aws:
    """AWS in one region, or the emulator at ``endpoint``.

    ``keys`` returns the access key to sign with, and renews it by itself where it can expire. ``pause`` waits
    some seconds; ``uniform`` is ``random.uniform``. ``listeners`` are called at every attempt, with
    the service, the operation and the request.
    """

    def __init__(
        self,
        region: str,
        keys: Callable[[], Keys],
        endpoint: str | None,
        pause: Callable[[float], object],
        uniform: Callable[[float, float], float],
    ) -> None:
        self._region = region
        self._keys = keys
        self._endpoint = endpoint
        self._pause = pause
        self._uniform = uniform
        self._attempts = ATTEMPTS
        self._left: Callable[[], float] = lambda: 0.0
        self.listeners: list[Callable[[str, str, bytes], None]] = []
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}

    @contextmanager
    def failing_fast(self) -> Iterator[None]:
        """One attempt a call inside: for what has another chance later, and little time now."""
        before = self._attempts, self._left
        self._attempts, self._left = 1, lambda: 0.0
        try:
            yield
        finally:
            self._attempts, self._left = before

    @contextmanager
    def patient(self, left: Callable[[], float]) -> Iterator[None]:
        """What the table throttles inside is tried again as long as seconds are ``left``, ever less often.

        All that is done in there waits together: trying the rest of it meanwhile would be asking for more.
        """
        before, self._left = self._left, left
        try:
            yield
        finally:
            self._left = before

    def close(self) -> None:
        """Close all connections; the next call makes new ones."""
        while self._pools:
            self._pools.popitem()[1].close()

    def __call__(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        """The answer to an operation, tried three times where the failure may pass. Raises ``AwsError``.

        A request that failed may have been carried out: what is asked must bear to be asked twice.
        """
        body = json.dumps(request, default=_base64).encode()
        others = 0  # attempts that failed by something else than a throttle
        for attempt in count(1):
            try:
                return self._attempt(service, operation, body)
            except AwsError as error:
                others += not error.throttled
                left = self._left() if service == PATIENT else 0.0
                seconds = self._rest(error, attempt, others, left)
                if seconds is None:
                    raise
            self._pause(seconds)
        raise AssertionError("unreachable")

    def _rest(self, error: AwsError, attempt: int, others: int, left: float) -> float | None:
        """Seconds until the next attempt; ``None`` where there is none."""
        most = min(PAUSE * 2 ** min(attempt, 30), LONGEST)
        if error.passing and attempt < self._attempts:
            return self._uniform(0, most)
        is_patient = left > 0 and (error.throttled or (error.passing and others < self._attempts))
        return min(left, self._uniform(most / 2, most)) if is_patient else None

    def _attempt(self, service: str, operation: str, body: bytes) -> dict[str, Any]:
        for listen in self.listeners:
            listen(service, operation, body)
        name = SERVICES[service]
        url = self._endpoint or _endpoint(service, self._region)
        request = AWSRequest(
            method="POST",
            url=url,
            data=body,
            headers={
                "Content-Type": f"application/x-amz-json-{name.json}",
                "X-Amz-Target": f"{name.target}.{operation}",
            },
        )
        keys: Any = self._keys()
        SigV4Auth(keys, service, self._region).add_auth(request)
        try:
            response = self._send(url, body, dict(request.headers))
            answer = json.loads(response.data or b"{}")
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise AwsError(service, operation, type(error).__name__, passing=True) from None
        if response.status != 200:
            raise _error(service, operation, response.status, answer)
        return answer  # type: ignore[no-any-return]

    def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Once more where a kept connection turns out to be broken: that says nothing about the service.

        A function that was frozen finds its connections closed at the other end.
        """
        pool = self._pool(url)
        made = pool.num_connections
        try:
            return pool.urlopen("POST", "/", body, headers, redirect=False)
        except urllib3.exceptions.ProtocolError:
            if pool.num_connections != made:
                raise
            return pool.urlopen("POST", "/", body, headers, redirect=False)

    def _pool(self, url: str) -> urllib3.HTTPConnectionPool:
        """The connections to one service, made when it is first called."""
        if url not in self._pools:
            timeout = urllib3.Timeout(connect=CONNECT, read=READ)
            self._pools[url] = urllib3.connection_from_url(url, timeout=timeout, retries=False, maxsize=4)
        return self._pools[url]


def _endpoint(service: str, region: str) -> str:
    return f"https://{service}.{region}.{domain(region)}/"


def domain(region: str) -> str:
    """What addresses of AWS end with there."""
    return next((name for prefix, name in DOMAINS.items() if region.startswith(prefix)), "amazonaws.com")


def _base64(value: bytes) -> str:
    """Binary attributes travel as base64."""
    return base64.b64encode(value).decode()


def _error(service: str, operation: str, status: int, answer: Any) -> AwsError:
    fields = answer if isinstance(answer, dict) else {}
    code = str(fields.get("__type", status)).rpartition("#")[2]
    return error_of(service, operation, status, code, fields.get("CancellationReasons", ()))


def error_of(
    service: str, operation: str, status: int, code: str, reasons: Sequence[Mapping[str, str]]
) -> AwsError:
    """What AWS refused, and whether it may pass."""
    why = {reason.get("Code") for reason in reasons} - {"None", None}
    throttled = status == 429 or code in THROTTLES or (bool(why) and why <= THROTTLED)
    passing = throttled or status >= 500 or code in PASSING
    return AwsError(service, operation, code, passing, reasons, throttled)
