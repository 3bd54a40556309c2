"""Realistic events of each provider: single ones by type, and whole stories of a payment or subscription.

An event is made as the provider makes it: with the object as it was at that moment. Ids and times follow
from the seed and the start alone, so that the same story can be sent again as the same events. A provider is
one module here and its line.
"""

import difflib
import random
from collections.abc import Mapping
from typing import Any

from ops.stories import paypal_subscriptions, stripe_subscriptions
from ops.stories.made import Json, Maker, UnknownType
from ops.stories.paypal import PAYPAL
from ops.stories.paypal_subscriptions import PayPalSubscription
from ops.stories.stripe import STRIPE
from ops.stories.stripe_subscriptions import StripeSubscription

__all__ = ["MADE", "STORIES", "SUBSCRIPTIONS", "Json", "Maker", "UnknownType", "tell"]


MADE: Mapping[str, Maker[Any]] = {
    "stripe": STRIPE,
    "paypal": PAYPAL,
}
NEAR = 0.85  # of a type that is misspelled: the share of it that is right
STORIES = tuple(STRIPE.stories)  # the same of each
OF_SUBSCRIPTIONS: Mapping[str, tuple[type[Any], Mapping[str, Any]]] = {
    "stripe": (StripeSubscription, stripe_subscriptions.STORIES),
    "paypal": (PayPalSubscription, paypal_subscriptions.STORIES),
}
SUBSCRIPTIONS = tuple(stripe_subscriptions.STORIES)  # the same of each


def tell(
    provider: str,
    rng: random.Random,
    start: int,
    amount: int,
    currency: str,
    *,
    id: str | None = None,
    story: str | None = None,
    type_: str | None = None,
) -> tuple[str, list[Json]]:
    """The subject of the payment, or subscription, and its events in order: a story's, or one of a type.

    ``start`` in milliseconds; of a subscription it is the end. Raises ``UnknownType``.
    """
    if story in SUBSCRIPTIONS:
        made_of, told = OF_SUBSCRIPTIONS[provider]
        subscription = made_of(rng, start, amount, currency, id)
        return subscription.subject, list(told[story](subscription))
    made = MADE[provider]
    stories, types = made.stories, made.types
    payment = made.payment(rng, start, amount, currency, id)
    if story is not None:
        if story not in stories:
            raise UnknownType(f"no story {story}; there are {', '.join(stories)}")
        return payment.subject, list(stories[story](payment))
    if type_ and type_ in types:
        return payment.subject, [types[type_](payment)]
    if not type_ or "." not in type_:
        raise UnknownType(f"no event type {type_}; try one of {', '.join(types)}")
    known = made.known()
    near = difflib.get_close_matches(type_, {*types, *known}, 1, NEAR)
    if type_ not in known and (known or near):
        hint = f"; {near[0]} is near" if near else ""
        raise UnknownType(f"{provider} sends no event of type {type_}{hint}")
    return payment.subject, [payment.other(type_)]
