"""What is sent: Stripe events of 2 and 20 kB, a PayPal capture; signed now, and as Lambda gets them."""

import json
import random
from datetime import UTC, datetime
from typing import Any

from bench.stub import CERT_URL
from chalicelib.inbox import Message, queue_id
from chalicelib.providers import PROVIDERS
from ops.local.paypal import Issued, authority, leaf
from ops.sender import PayPalSigner, Signer, StripeSigner
from ops.stories import tell

SECRET = "whsec_BenchBench0123456789abcdefghijklmno"  # of the form that Stripe's have: a stage takes no other
WEBHOOK_ID = "8PTBENCH000000000"
SIZES = {"stripe-2k": 2_000, "stripe-20k": 20_000, "paypal": 0}
# words as metadata has them: bodies must compress as real ones do
WORDS = ["order", "customer", "shipping", "size", "colour", "gift", "note", "campaign", "source", "region"]


def certificate(now: int) -> Issued:
    at = datetime.fromtimestamp(now / 1000, UTC)
    return leaf(authority(at), "messageverificationcerts.paypal.com", at)


class Events:
    """Makes bodies and signs them. No two bodies are of one payment, unless asked."""

    def __init__(self, issued: Issued, seed: int = 1) -> None:
        self._rng = random.Random(seed)
        self._signers: dict[str, Signer] = {
            "stripe": StripeSigner(SECRET),
            "paypal": PayPalSigner(issued.key, CERT_URL, WEBHOOK_ID, random.Random(seed)),
        }

    def body(self, kind: str, now: int) -> bytes:
        """One event of a kind in ``SIZES``, as JSON."""
        provider = kind.partition("-")[0]
        type_ = {"stripe": "charge.succeeded", "paypal": "PAYMENT.CAPTURE.COMPLETED"}[provider]
        _, [event] = tell(provider, self._rng, now, 5000, "EUR", type_=type_)
        if provider == "stripe":
            self._fill(event["data"]["object"], SIZES[kind] - len(json.dumps(event)))
        return json.dumps(event).encode()

    def _fill(self, about: dict[str, Any], bytes_: int) -> None:
        metadata: dict[str, str] = about.setdefault("metadata", {})
        while bytes_ > 0:
            name = f"{self._rng.choice(WORDS)}_{self._rng.randrange(1000)}"
            value = " ".join([*self._rng.choices(WORDS, k=3), f"{self._rng.getrandbits(48):x}"])
            metadata[name] = value
            bytes_ -= len(name) + len(value) + 8

    def request(self, kind: str, now: int) -> dict[str, Any]:
        """A webhook as API Gateway hands it over."""
        provider = kind.partition("-")[0]
        body = self.body(kind, now)
        headers = {name.lower(): value for name, value in self._signers[provider].headers(body, now).items()}
        headers |= {
            "Content-Type": "application/json",
            "Host": "abc123.execute-api.us-east-1.amazonaws.com",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "X-Forwarded-For": "192.0.2.1",
            "X-Forwarded-Proto": "https",
        }
        path = f"/webhooks/{provider}"
        return {
            "resource": path,
            "path": path,
            "httpMethod": "POST",
            "headers": headers,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "pathParameters": None,
            "stageVariables": None,
            "requestContext": {
                "resourcePath": path,
                "path": path,
                "httpMethod": "POST",
                "stage": "api",
                "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
                "identity": {"sourceIp": "192.0.2.1", "userAgent": "Stripe/1.0"},
            },
            "body": body.decode(),
            "isBase64Encoded": False,
        }

    def batch(self, kind: str, now: int, size: int = 10) -> dict[str, Any]:
        """A batch of queued events as the event source hands it over, of one payment each."""
        return {"Records": [self._record(kind, self.body(kind, now), now) for _ in range(size)]}

    def of_one_payment(self, kind: str, now: int, count: int) -> list[dict[str, Any]]:
        """That many batches of one event each, all of one new payment that stays as it is."""
        body = json.loads(self.body(kind, now))
        bodies = (json.dumps({**body, "id": f"evt_{n:024d}"}).encode() for n in range(count))
        return [{"Records": [self._record(kind, each, now)]} for each in bodies]

    def _record(self, kind: str, body: bytes, now: int) -> dict[str, Any]:
        provider = kind.partition("-")[0]
        event = PROVIDERS[provider].event(body, now)
        message = Message(
            provider=provider, event_id=event.id, subject=event.subject, received_at=now, body=body
        )
        return {
            "messageId": event.id,
            "receiptHandle": event.id,
            "body": message.encode(),
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": str(now),
                "MessageGroupId": queue_id(event.subject),
                "MessageDeduplicationId": queue_id(event.key),
            },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "awsRegion": "us-east-1",
        }


def for_daybook(request: dict[str, Any]) -> dict[str, Any]:
    """The same request by the route's name in our API: one route for all providers."""
    route = "/webhooks/{provider}"
    provider = request["path"].rpartition("/")[2]
    context = {**request["requestContext"], "resourcePath": route}
    return {**request, "resource": route, "requestContext": context, "pathParameters": {"provider": provider}}
