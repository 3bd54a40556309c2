"""The providers' own APIs, asked from a person's machine with the keys in the stage's secret."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.credentials import Secrets, paypal_client
from chalicelib.paypal_api import PayPalApi
from chalicelib.reconcile import Listing, Reconciler
from chalicelib.stripe_api import StripeApi
from chalicelib.webhooks import Consumer
from ops.stage import Stage

NO_KEYS = (
    "no API keys to ask with: put stripe_api_key, or paypal_client_id and paypal_client_secret,"
    " into the secret daybook/{stage}; for stage local, in upper case into the environment (docs/runbook.md)"
)


@dataclass(frozen=True, slots=True)
class Apis:
    """Those whose keys are set."""

    stripe: StripeApi | None
    paypal: PayPalApi | None


def apis(stage: Stage, secrets: Secrets, environ: Mapping[str, str]) -> Apis:
    """At the addresses in ``STRIPE_API`` and ``PAYPAL_API``, or else the stage's own."""
    told = stage.settings(environ)
    keys, client = secrets.get("stripe_api_key", ()), paypal_client(secrets)
    return Apis(
        StripeApi(keys[0], environ.get("STRIPE_API", told.stripe_api)) if keys else None,
        PayPalApi(environ.get("PAYPAL_API", told.paypal_api), client, _now) if client else None,
    )


def _now() -> int:
    return time.time_ns() // 1_000_000


def listings(stage: Stage, environ: Mapping[str, str]) -> dict[str, Listing]:
    """What can be reconciled with the stage's keys."""
    found = apis(stage, stage.credentials(environ, _now).current(), environ)
    made: dict[str, Listing | None] = {"stripe": found.stripe, "paypal": found.paypal}
    return {name: listing for name, listing in made.items() if listing}


def reconciler(stage: Stage, to: Consumer, environ: Mapping[str, str]) -> Reconciler:
    livemode = stage.settings(environ).livemode
    return Reconciler(to.providers, to.ledger, stage.inbox(), to.telemetry, to.clock, time.sleep, livemode)
