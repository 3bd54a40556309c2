"""Stripe. Event types: https://docs.stripe.com/api/events/types"""

from collections.abc import Mapping

from chalicelib.events import CLOCK, Event
from chalicelib.kinds import kind_of
from chalicelib.payments import Facts
from chalicelib.providers.protocol import Connection, ProviderApi
from chalicelib.providers.stripe import balance, payouts, subscriptions
from chalicelib.providers.stripe.events import clock, event, path_to_fetch
from chalicelib.providers.stripe.facts import facts as _facts
from chalicelib.providers.stripe.objects import NAME
from chalicelib.providers.stripe.signature import verify

__all__ = ["NAME", "api", "clock", "event", "facts", "needs_asking", "verify"]


def facts(event: Event) -> Mapping[str, Facts]:
    """What it proves, by subject: of a payment, a subscription, a payout; and how they belong together."""
    if event.type == CLOCK:
        return {event.subject: {}}
    proved = _facts(event)
    found = {**({event.subject: proved} if proved else {}), **subscriptions.facts(event)}
    of_money = {**payouts.facts(event), **balance.facts(event)}  # of a payout its entry is by both
    if of_money:
        found[event.subject] = of_money
    for subject, link in subscriptions.links(event):
        found[subject] = kind_of(subject).join(found.get(subject, {}), link)
    return found


def needs_asking(event: Event) -> bool:
    """A thin event's object is left to be fetched."""
    return path_to_fetch(event) is not None


def api(connection: Connection) -> ProviderApi | None:
    """Stripe's API, where there is a key for it."""
    keys = connection.secrets.get("stripe_api_key", ())
    if not keys:
        return None
    from chalicelib.providers.stripe.client import StripeApi  # importing the SDK takes its time

    return StripeApi(keys[0], connection.address(NAME), connection.clock)
