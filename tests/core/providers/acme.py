"""A made-up provider: signs with HMAC over ``time.body``, and knows payments that are paid."""

import hashlib
import hmac
from collections.abc import Mapping

from chalicelib.accounts import fingerprint
from chalicelib.errors import InvalidSignature
from chalicelib.events import Delivery, Event, mapping, parse, required_id, safe_id
from chalicelib.payments import Facts, fact
from chalicelib.providers.protocol import Proof, Trust

NAME = "acme"


def sign(secret: str, body: bytes, at: int) -> str:
    return f"{at}:{hmac.new(secret.encode(), b'%d.' % at + body, hashlib.sha256).hexdigest()}"


def verify(delivery: Delivery, trust: Trust) -> Proof:
    secrets = trust.required("acme_secrets")
    header = delivery.headers.get("acme-signature", "")
    at = header.partition(":")[0]
    if not (at.isascii() and at.isdigit() and len(at) < 15):
        raise InvalidSignature("malformed header", reason="malformed")
    if abs(int(at) - delivery.received_at) > 300_000:
        raise InvalidSignature("the timestamp is too far from now", reason="timestamp")
    given = header.encode("utf-8", "replace")
    for secret in secrets:
        if hmac.compare_digest(sign(secret, delivery.body, int(at)).encode(), given):
            return Proof(fingerprint(secret))
    raise InvalidSignature("no signature matches", reason="signature")


def event(body: bytes, received_at: int) -> Event:
    payload = parse(body)
    event_id = required_id(payload.get("id"))
    subject = safe_id(mapping(payload.get("payment")).get("id")) or event_id
    return Event(
        provider=NAME,
        id=event_id,
        type=safe_id(payload.get("type")) or "unknown",
        subject=f"{NAME}:{subject}",
        created_at=received_at,
        received_at=received_at,
        as_of=received_at,
        livemode=None,
        account=None,
        api_version=None,
        payload=payload,
    )


def facts(event: Event) -> Mapping[str, Facts]:
    if event.type != "paid":
        return {}
    payment, at = event.payload["payment"], event.created_at
    amount, currency = int(payment["cents"]), payment["currency"]
    paid = fact(
        "payment",
        created_at=at,
        updated_at=at,
        captured=[[amount, at]],
        priced=[1, at, amount, currency],
    )
    return {event.subject: paid}
