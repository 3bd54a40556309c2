"""AWS as boto3 reaches it: by the proxies, certificates and endpoints that a person's machine is set up for.

The app's own caller knows none of these: a function needs none. Here the answers have the same shape as its.
"""

import base64
import threading
from collections.abc import Callable
from typing import Any

from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from chalicelib.aws import error_of
from chalicelib.errors import AwsError


class ByBoto3:
    """A ``Caller``. ``client`` makes boto3's of a service; each is made once."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()

    def __call__(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        """The answer to an AWS operation. Raises ``AwsError``; what may pass boto3 has tried again."""
        try:
            answer = getattr(self._of(service), xform_name(operation))(**_sent(request))
        except ClientError as error:
            raise _error(service, operation, error.response) from None
        except BotoCoreError as error:
            passing = not isinstance(error, ParamValidationError)
            raise AwsError(service, operation, type(error).__name__, passing) from None
        answer.pop("ResponseMetadata", None)
        shown: dict[str, Any] = _as_json(answer)
        return shown

    def _of(self, service: str) -> Any:
        with self._making:  # a session makes one client at a time
            if service not in self._clients:
                self._clients[service] = self._client(service)
            return self._clients[service]


def _sent(value: Any) -> Any:
    """A request as boto3 takes it: binary attributes as bytes, also those that were read before."""
    if isinstance(value, dict):
        if isinstance(value.get("B"), str):
            return {**value, "B": base64.b64decode(value["B"])}
        return {name: _sent(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_sent(each) for each in value]
    return value


def _as_json(value: Any) -> Any:
    """An answer as it travelled: binary attributes as base64."""
    if isinstance(value, dict):
        return {name: _as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _error(service: str, operation: str, response: Any) -> AwsError:
    status = int(response["ResponseMetadata"]["HTTPStatusCode"])
    reasons = response.get("CancellationReasons", ())
    return error_of(service, operation, status, str(response["Error"]["Code"]), reasons)
