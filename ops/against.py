"""Whether the provider itself shows a payment as we have it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chalicelib import access, listing
from chalicelib.errors import NotAllowed, NotFound
from chalicelib.kinds import SUBSCRIPTION, kind_of
from chalicelib.ledger import Ledger
from chalicelib.payments import project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import Difference
from chalicelib.subscriptions import TERMS, Subscription, fold
from chalicelib.subscriptions import project as subscription
from ops.providers_api import Apis

POOL = 10  # times as many recent payments as are asked for, to draw from


@dataclass(frozen=True, slots=True)
class Comparison:
    """Each figure that differs; ``was_asked``: that could be done."""

    subject: str
    was_asked: bool
    differences: list[Difference]


def sample(ledger: Ledger, count: int, rng: random.Random) -> list[str]:
    """The subjects of some of the latest payments that have money, and of as many subscriptions."""
    payments = _latest(ledger, listing.PAYMENTS, count, lambda each: each["captured"] > 0)
    subscriptions = _latest(ledger, access.listed(0, TERMS), count, lambda each: each["status"] != "ended")
    return [
        *rng.sample(payments, min(count, len(payments))),
        *rng.sample(subscriptions, min(count, len(subscriptions))),
    ]


def _latest(
    ledger: Ledger, of: listing.Listed, count: int, is_wanted: Callable[[dict[str, Any]], bool]
) -> list[str]:
    found: list[str] = []
    parameters = {"limit": "100"}
    while len(found) < count * POOL:
        page = listing.page(ledger, listing.parse(parameters), of)
        found += [each["id"] for each in page[of.name] if is_wanted(each)]
        if not page["cursor"]:
            break
        parameters["cursor"] = page["cursor"]
    return found


def compare(ledger: Ledger, subject: str, apis: Apis) -> Comparison:
    """Ask for the payment, or subscription, itself. Raises ``Unavailable``."""
    if kind_of(subject).entry == SUBSCRIPTION:
        return _compare_subscription(ledger, subject, apis)
    ours = project(subject, ledger.payment(subject).facts)
    api = apis.get(ours.provider)
    try:
        found = api.differences(ours) if api and api.can_ask(ours.account) else None
    except NotAllowed:
        return Comparison(subject, False, [])
    except NotFound:
        return Comparison(subject, True, [Difference("payment", "recorded", "unknown")])
    return Comparison(subject, found is not None, found or [])


def _compare_subscription(ledger: Ledger, subject: str, apis: Apis) -> Comparison:
    """What its provider shows of it alone: not until when it is paid, which at Stripe its invoices say."""
    name = subject.partition(":")[0]
    api = apis.get(name)
    recorded = subscription(subject, ledger.subscription(subject).facts)
    if api is None or not api.can_ask(recorded.account):
        return Comparison(subject, False, [])
    try:
        bodies = api.subscription(subject, recorded.account, set())
    except NotAllowed:
        return Comparison(subject, False, [])
    except NotFound:
        return Comparison(subject, True, [Difference("subscription", "recorded", "unknown")])
    provider = PROVIDERS[name]
    proved = (provider.facts(provider.event(body, 0)).get(subject, {}) for body in bodies)
    theirs = _figures(subscription(subject, fold(proved)))
    ours = _figures(recorded)
    pairs = (Difference(name, ours[name], theirs[name]) for name in ours)
    return Comparison(subject, True, [each for each in pairs if each.ours != each.theirs])


def _figures(of: Subscription) -> dict[str, object]:
    return {
        "status": of.status,
        "provider_status": of.provider_status,
        "prices": [[each["price"], each["quantity"]] for each in of.items],
        "period_end": of.period_end,
        "trial_ends_at": of.trial_ends_at,
        "cancel_at": of.cancel_at,
    }
