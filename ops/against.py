"""Whether the provider itself shows the amounts that we have of a payment."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chalicelib import listing
from chalicelib.errors import NotFound
from chalicelib.events import Event, mapping
from chalicelib.ledger import Ledger
from chalicelib.payments import Facts, fold, project
from chalicelib.providers import paypal, stripe
from ops.providers_api import Apis

POOL = 10  # times as many recent payments as are asked for, to draw from
# What PayPal's own status of a capture says of the refunds that we should have.
REFUNDED = {"COMPLETED": "nothing", "PARTIALLY_REFUNDED": "a part", "REFUNDED": "all"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Each figure that differs: its name, ours, the provider's. ``asked``: that could be done."""

    subject: str
    asked: bool
    differences: list[tuple[str, Any, Any]]


def sample(ledger: Ledger, count: int, rng: random.Random) -> list[str]:
    """The subjects of some of the latest payments that have money."""
    found: list[str] = []
    parameters = {"limit": "100"}
    while len(found) < count * POOL:
        page = listing.payments(ledger, listing.parse(parameters))
        found += [each["id"] for each in page["payments"] if each["captured"]]
        if not page["cursor"]:
            break
        parameters["cursor"] = page["cursor"]
    return rng.sample(found, min(count, len(found)))


def compare(ledger: Ledger, subject: str, apis: Apis) -> Comparison:
    """Ask for the payment itself. Raises ``Unavailable``."""
    ours = project(subject, ledger.payment(subject).facts)
    provider, *_, object_id = subject.split(":")
    try:
        if provider == stripe.NAME and apis.stripe and object_id.startswith("pi_"):
            options = {"stripe_account": ours.account} if ours.account else {}
            intent = apis.stripe.get(f"/v1/payment_intents/{object_id}", expand=["latest_charge"], **options)
            theirs = project(subject, _stripe_facts(intent))
            figures = {name: getattr(theirs, name) for name in ("captured", "refunded", "currency")}
            return _comparison(subject, ours, figures)
        if provider == paypal.NAME and apis.paypal:
            return _with_paypal(subject, ours, apis.paypal.get(f"/v2/payments/captures/{object_id}"))
    except NotFound:
        return Comparison(subject, True, [("payment", "recorded", "unknown")])
    return Comparison(subject, False, [])


def _comparison(subject: str, ours: Any, theirs: Mapping[str, Any]) -> Comparison:
    pairs = [(name, getattr(ours, name), value) for name, value in theirs.items()]
    return Comparison(subject, True, [each for each in pairs if each[1] != each[2]])


def _stripe_facts(intent: dict[str, Any]) -> Facts:
    """What the object proves, as events that carried it would."""
    charge = mapping(intent.get("latest_charge"))
    told = [("payment_intent.succeeded", {**intent, "latest_charge": charge.get("id")})]
    if charge:
        told.append(("charge.refunded", dict(charge)))
    return fold(stripe.facts(_event(type_, about)) for type_, about in told)


def _event(type_: str, about: dict[str, Any]) -> Event:
    made = Event("stripe", "evt_asked", type_, "", 0, 0, None, None, None, {})
    return replace(made, payload={"data": {"object": about}})


def _with_paypal(subject: str, ours: Any, capture: Mapping[str, Any]) -> Comparison:
    """PayPal shows what was captured, and whether nothing, a part or all of it was refunded."""
    if not capture:
        return Comparison(subject, True, [("payment", "recorded", "unknown")])
    event = Event("paypal", "WH-asked", "PAYMENT.CAPTURE.COMPLETED", "", 0, 0, None, None, None, {})
    theirs = project(subject, paypal.facts(replace(event, payload={"resource": dict(capture)})))
    found = _comparison(subject, ours, {"captured": theirs.captured, "currency": theirs.currency})
    refunded = "nothing" if not ours.refunded else "all" if ours.refunded >= ours.captured else "a part"
    says = REFUNDED.get(str(capture.get("status")), refunded)
    if says != refunded:
        found.differences.append(("refunded", refunded, says))
    return found
