"""PayPal. Event types: https://developer.paypal.com/api/rest/webhooks/event-names/"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from chalicelib.credentials import paypal_client
from chalicelib.events import CLOCK, Event
from chalicelib.payments import Facts
from chalicelib.providers.paypal import subscriptions, transfers
from chalicelib.providers.paypal.confirmation import needs_asking
from chalicelib.providers.paypal.events import clock, event
from chalicelib.providers.paypal.facts import facts as _facts
from chalicelib.providers.paypal.objects import NAME
from chalicelib.providers.paypal.signature import verify
from chalicelib.providers.paypal.transfers import TRANSFER
from chalicelib.providers.protocol import Connection, Postback, ProviderApi

if TYPE_CHECKING:
    from chalicelib.providers.paypal.client import PayPalApi

__all__ = ["NAME", "api", "clock", "event", "facts", "needs_asking", "postback", "verify"]


def facts(event: Event) -> Mapping[str, Facts]:
    """What it proves, by subject: of payments, of the subscription that it is of, or about; of a transfer."""
    if event.type == CLOCK:
        return {event.subject: {}}
    if event.type == TRANSFER:
        return {event.subject: transfers.facts(event)}
    return {**_facts(event), **subscriptions.facts(event)}


def api(connection: Connection) -> ProviderApi | None:
    """PayPal's API, where there are credentials for it; with half of them it cannot be asked."""
    return None if paypal_client(connection.secrets) is None else _api(connection)


def postback(connection: Connection) -> Postback:
    """PayPal's API; without credentials each question raises ``NotConfigured``."""
    return _api(connection)


def _api(connection: Connection) -> "PayPalApi":
    from chalicelib.providers.paypal.client import PayPalApi

    secrets = connection.secrets
    return PayPalApi(
        connection.address(NAME),
        paypal_client(secrets) or (),
        connection.clock,
        connection.ca_bundle,
        secrets.get("paypal_webhook_ids", ()),
    )
