"""Signing what is sent to an endpoint, by the Standard Webhooks scheme, whose libraries verify it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # bytes of a secret
SECRET_FORM = f"{PREFIX} and the base64 of {SHORTEST} to {LONGEST} random bytes"


def key(secret: str) -> bytes:
    """The bytes to sign with. Raises ``ValueError`` for what is no secret of this scheme."""
    try:
        found = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not secret.startswith(PREFIX) or not SHORTEST <= len(found) <= LONGEST:
        raise ValueError(f"not {SECRET_FORM}")
    return found


def message_id(text: str) -> str:
    """The same for the same ``text``, and without the full stop that separates what is signed."""
    return f"msg_{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def headers(secrets: Iterable[str], id: str, body: bytes, now: int) -> dict[str, str]:
    """The three headers of one attempt at ``now``, in milliseconds; signed with each secret, so that one can
    be replaced by another. Raises ``ValueError``."""
    at = str(now // 1000)
    signed = f"{id}.{at}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key(each), signed, hashlib.sha256)) for each in secrets)
    return {
        "webhook-id": id,
        "webhook-timestamp": at,
        "webhook-signature": " ".join(f"v1,{each.decode()}" for each in signatures),
    }
