"""What can go wrong while a webhook is received or a request answered.

    DaybookError
    ├── Refused                  an answer to the caller, with its HTTP status
    │   ├── InvalidSignature     401  not proven genuine
    │   ├── InvalidPayload       400  genuine, but not an event
    │   ├── InvalidParameter     400  a query that cannot be understood
    │   ├── Forbidden            403  this name of this machine is not ours
    │   ├── NotFound             404
    │   │   └── BodyRemoved      404  an event is recorded, what it said was removed
    │   ├── PayloadTooLarge      413
    │   ├── Unavailable          503  cannot be decided or kept now: send it again
    │   │   ├── NotConfigured    503  no secret to verify with
    │   │   ├── Throttled        503  a provider was asked too often
    │   │   ├── NotUnderstood    503  a provider says that what it was asked is malformed
    │   │   ├── NotAllowed       503  a provider does not let us ask
    │   │   ├── NotShown         503  a provider was asked, and does not show it so, or not yet
    │   │   └── NotTaken         503  a target did not take what was sent to it: it is tried again
    │   └── NewerRules           503  a newer version of Daybook wrote this record
    ├── DuplicateEvent           the event is in the ledger already
    ├── Distrusted               genuine by its signature, but not by what else is known: parked at once
    ├── VersionMoved             somebody else wrote the payment first
    ├── HandlerFailed            a handler raised; what is left of the outbox is tried again
    ├── HandlersBusy             somebody else runs this payment's handlers now
    ├── BatchFailed              some records of a batch were not processed
    ├── AwsError                 AWS refused an operation, or did not answer
    └── InvalidSetting           the environment says what cannot be; before anything is received

Messages are written for the caller. They never hold a secret, a payload or another exception's text.
"""

from collections.abc import Mapping, Sequence


class DaybookError(Exception):
    """The root of the tree."""


class Refused(DaybookError):
    """Ends a request with ``status`` and ``{"Code": <class name>, "Message": …}``.

    ``reason`` is a short word for metrics and logs.
    """

    status = 400
    code = "Refused"

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or self.code


class InvalidSignature(Refused):
    status = 401
    code = "InvalidSignature"


class InvalidPayload(Refused):
    status = 400
    code = "InvalidPayload"


class InvalidParameter(Refused):
    status = 400
    code = "InvalidParameter"


class Forbidden(Refused):
    status = 403
    code = "Forbidden"


class NotFound(Refused):
    status = 404
    code = "NotFound"


class BodyRemoved(NotFound):
    """Its event stays recorded, and cannot be read any more; nobody is notified of it."""


class PayloadTooLarge(Refused):
    status = 413
    code = "PayloadTooLarge"


class Unavailable(Refused):
    status = 503
    code = "Unavailable"


class NotConfigured(Unavailable):
    """A missing secret is an outage, never a reason to accept. Answered as any other 503."""


class Throttled(Unavailable):
    """``retry_after`` is how long the provider asks to be left alone, in seconds, if it says so."""

    def __init__(self, message: str, reason: str, retry_after: float | None) -> None:
        super().__init__(message, reason)
        self.retry_after = retry_after


class NotUnderstood(Unavailable):
    pass


class NotAllowed(Unavailable):
    pass


class NotShown(Unavailable):
    """It may be late, or made up: asked again later, it shows."""


class NotTaken(Unavailable):
    """Says how it was answered. ``retry_after`` as the target asks to be left alone, in seconds;
    ``is_silent``: it did not answer at all."""

    def __init__(self, message: str, retry_after: float | None = None, is_silent: bool = False) -> None:
        super().__init__(message, "not_taken")
        self.retry_after = retry_after
        self.is_silent = is_silent


def seconds(text: str | None) -> float | None:
    """What a ``Retry-After`` header says, where it says a number."""
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 6 else None


class DuplicateEvent(DaybookError):
    pass


class NewerRules(Refused):
    """It is left as it is, and unread: by older rules it could say something else."""

    status = 503
    code = "Unavailable"

    def __init__(self, subject: str, rules: int, ours: int) -> None:
        said = f"{subject} was written by a newer version of Daybook (rules {rules}, this one knows {ours})"
        super().__init__(f"{said}: deploy that version again to read it", reason="newer_rules")


TAMPERED, CONTRADICTED, UNCONFIRMED = DISTRUSTED = "tampered", "contradicted", "unconfirmed"


class Distrusted(DaybookError):
    """``reason`` is ``TAMPERED``: another content under a known id; ``CONTRADICTED`` by the provider; or
    ``UNCONFIRMED``: the provider was asked too often about what came by one transmission."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class VersionMoved(DaybookError):
    pass


class HandlerFailed(DaybookError):
    """Says the handler and the exception's class."""


class HandlersBusy(DaybookError):
    pass


class BatchFailed(DaybookError):
    """Raised once the successes are off the queue, so that the rest is delivered again."""


class AwsError(DaybookError):
    """``code`` is AWS's own name for it, or the class of what failed on the way; ``passing``: it may pass;
    ``throttled``: once less is asked.

    ``reasons`` are a canceled transaction's, in the order of its writes.
    """

    def __init__(
        self,
        service: str,
        operation: str,
        code: str,
        passing: bool,
        reasons: Sequence[Mapping[str, str]] = (),
        throttled: bool = False,
    ) -> None:
        super().__init__(f"{service} {operation}: {code}")
        self.code = code
        self.passing = passing
        self.reasons = reasons
        self.throttled = throttled


class InvalidSetting(DaybookError, ValueError):
    """Names the variable, and what it may be."""
