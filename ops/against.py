"""Whether the provider itself shows a payment as we have it."""

import random
from dataclasses import dataclass

from chalicelib import listing
from chalicelib.errors import NotFound
from chalicelib.ledger import Ledger
from chalicelib.payments import project
from chalicelib.providers.protocol import Difference
from ops.providers_api import Apis

POOL = 10  # times as many recent payments as are asked for, to draw from


@dataclass(frozen=True, slots=True)
class Comparison:
    """Each figure that differs; ``was_asked``: that could be done."""

    subject: str
    was_asked: bool
    differences: list[Difference]


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
    api = apis.get(ours.provider)
    try:
        found = api.differences(ours) if api else None
    except NotFound:
        return Comparison(subject, True, [Difference("payment", "recorded", "unknown")])
    return Comparison(subject, found is not None, found or [])
