"""Stripe's API, for what no webhook carries: the object that a thin event is about, events that never came.

https://docs.stripe.com/event-destinations#fetch-related-object
https://docs.stripe.com/api/events/list
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import stripe as sdk

from chalicelib.errors import NotAllowed, NotFound, Throttled, Unavailable, seconds
from chalicelib.events import Event, items, mapping
from chalicelib.payments import Payment
from chalicelib.providers.protocol import Difference, Notice, Page
from chalicelib.providers.stripe import comparison, endpoints
from chalicelib.providers.stripe.events import completed, path_to_fetch

TIMEOUT = 5  # seconds
PAGE = 100  # events, Stripe's largest


@dataclass(frozen=True, slots=True)
class StripeApi:
    """Stripe at ``base``, with a restricted key that may read."""

    key: str
    base: str
    clock: Callable[[], int]

    def complete(self, event: Event) -> Event:
        """A thin event with its related object, any other as it is. Raises ``Unavailable``."""
        path = path_to_fetch(event)
        if path is None:
            return event
        options = {"stripe_context": event.account} if event.account else {}
        try:
            return completed(event, self.get(path, **options), self.clock())
        except NotFound:
            raise Unavailable("the object cannot be fetched", reason="stripe_api") from None

    def page(self, since: int, until: int, cursor: str | None) -> Page:
        """A page of the account's own events. Raises ``Throttled``, ``Unavailable``."""
        after = {"starting_after": cursor} if cursor else {}
        created = {"gte": since // 1000, "lte": until // 1000}
        try:
            listed = mapping(self.get("/v1/events", limit=PAGE, created=created, **after))
        except NotFound:
            listed = {}
        events, more = items(listed.get("data")), bool(listed.get("has_more"))
        if not isinstance(listed.get("data"), list) or (more and not events):
            raise Unavailable("Stripe lists no events", reason="stripe_api")
        return Page([json.dumps(each).encode() for each in events], str(events[-1]["id"]) if more else None)

    def differences(self, ours: Payment) -> list[Difference] | None:
        return comparison.differences(ours, self.get, self.clock())

    def shown(self, ours: Payment) -> list[bytes]:
        found = comparison.bodies(ours, self.get, self.clock())
        return [json.dumps(each).encode() for each in found]

    def subscription(self, subject: str) -> list[bytes]:
        now = self.clock()
        _, *account, id_ = subject.split(":")
        options = {"stripe_account": account[0]} if account else {}
        about = self.get(f"/v1/subscriptions/{id_}", **options)
        shown = comparison.as_fetched("customer.subscription.shown", about, account, now)
        return [json.dumps(shown).encode()]

    def endpoints(self) -> list[Notice]:
        return list(endpoints.notices(items(self.get("/v1/webhook_endpoints", limit=100).get("data"))))

    def get(self, path: str, **parameters: Any) -> Any:
        """What is at a path of the API. Raises ``NotFound``, ``Throttled``, ``Unavailable``."""
        client = sdk.StripeClient(
            self.key,
            base_addresses={"api": self.base},
            http_client=sdk.RequestsClient(timeout=TIMEOUT),
        )
        try:
            return client.raw_request("get", path, **parameters).data
        except sdk.StripeError as error:
            raise _refusal(error) from None


def _refusal(error: sdk.StripeError) -> Unavailable | NotFound:
    if error.http_status == 404:
        return NotFound("Stripe does not know it")
    if error.http_status == 429:
        asked = {name.lower(): value for name, value in dict(error.headers or {}).items()}
        wait = seconds(asked.get("retry-after"))
        return Throttled("Stripe was asked too often", reason="stripe_api", retry_after=wait)
    if error.http_status == 403:
        return NotAllowed("the key may not read this at Stripe", reason="stripe_key")
    return Unavailable("Stripe cannot be asked", reason="stripe_api")
