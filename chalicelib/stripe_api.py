"""Stripe's API, for what a webhook does not carry: the object that a thin event is about.

https://docs.stripe.com/event-destinations#fetch-related-object
"""

from dataclasses import dataclass

import stripe as sdk

from chalicelib.errors import Unavailable
from chalicelib.events import Event
from chalicelib.providers import stripe

TIMEOUT = 5  # seconds


@dataclass(frozen=True, slots=True)
class StripeApi:
    """Stripe at ``base``, with a restricted key that may read."""

    key: str
    base: str

    def complete(self, event: Event) -> Event:
        """A thin event with its related object, any other as it is. Raises ``Unavailable``."""
        path = stripe.path_to_fetch(event)
        if path is None:
            return event
        client = sdk.StripeClient(
            self.key,
            base_addresses={"api": self.base},
            http_client=sdk.RequestsClient(timeout=TIMEOUT),
        )
        options = {"stripe_context": event.account} if event.account else {}
        try:
            response = client.raw_request("get", path, **options)
        except sdk.StripeError:
            raise Unavailable("the object cannot be fetched", reason="stripe_api") from None
        return stripe.complete(event, response.data)
