"""What Stripe's API has of a time, object by object, as events of our own making: for what no webhook told.

Each is as of when it was fetched, and dated by its own creation. https://docs.stripe.com/api/pagination
"""

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.events import IMPORTED
from chalicelib.providers.stripe.comparison import SAYS, as_fetched
from chalicelib.providers.stripe.objects import Object, id_of, instant

# In this order, what is listed and how; a canceled subscription is left out unless it is asked for.
# https://docs.stripe.com/api/subscriptions/list#list_subscriptions-status
KINDS: Mapping[str, dict[str, Any]] = {
    "payment_intents": {"expand": ["data.latest_charge"]},
    "charges": {},
    "refunds": {},
    "disputes": {},
    "subscriptions": {"status": "all"},
    "invoices": {"status": "paid"},
    "invoice_payments": {"status": "paid"},
}
TYPES = {
    "refund": "refund.updated",
    "dispute": "charge.dispute.updated",
    "subscription": "customer.subscription.shown",
    "invoice": "invoice.paid",
    "invoice_payment": "invoice_payment.paid",
}


def body(about: Object, now: int) -> bytes:
    """The event of one object: whenever it is listed, the same one."""
    made = about.get("canceled_at") or _paid_at(about) or about.get("created")
    # a subscription is what it is now; all else came to be so when it was made
    at = now if about.get("object") == "subscription" else instant(made, now)
    shown = as_fetched(_type(about), _plain(about), [], now, at)
    return json.dumps({**shown, "id": f"{IMPORTED}{about['id']}"}).encode()


def is_from_before(about: Object, until: int) -> bool:
    """Whether it came to be as it is before that instant: what changed since is left to its webhooks.

    https://docs.stripe.com/api/payment_intents/object, https://docs.stripe.com/api/subscriptions/object
    """
    charge = about.get("latest_charge")
    changes = (
        about.get("canceled_at"),
        about.get("ended_at"),
        _paid_at(about),
        charge.get("created") if isinstance(charge, Mapping) else None,
    )
    return all(instant(each, 0) < until for each in changes if each)


def _type(about: Object) -> str:
    """The event that says of it what it shows; of a charge its amounts do."""
    kind = str(about.get("object"))
    if kind == "payment_intent":
        return SAYS.get(str(about.get("status")), "payment_intent.shown")
    if kind == "charge":
        return "charge.failed" if about.get("status") == "failed" else "charge.shown"
    return TYPES.get(kind, f"{kind}.shown")


def _paid_at(about: Object) -> Any:
    transitions = about.get("status_transitions")
    return transitions.get("paid_at") if isinstance(transitions, Mapping) else None


def _plain(about: Object) -> Object:
    if about.get("object") != "payment_intent":
        return about
    return {**about, "latest_charge": id_of(about.get("latest_charge"))}
