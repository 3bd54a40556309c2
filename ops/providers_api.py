"""The providers' own APIs, asked from a person's machine with the keys in the stage's secret."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib import settings
from chalicelib.credentials import Secrets, paypal_client
from chalicelib.paypal_api import PayPalApi
from chalicelib.reconcile import Listing, Reconciler
from chalicelib.stripe_api import StripeApi
from chalicelib.webhooks import Consumer
from ops.stage import Stage

NO_KEYS = (
    "no API keys to ask with: put stripe_api_key, or paypal_client_id and paypal_client_secret,"
    " into the secret daybook/{stage} (docs/runbook.md)"
)


@dataclass(frozen=True, slots=True)
class Apis:
    """Those whose keys are set."""

    stripe: StripeApi | None
    paypal: PayPalApi | None


def apis(secrets: Secrets, environ: Mapping[str, str]) -> Apis:
    """At the addresses in ``STRIPE_API`` and ``PAYPAL_API``, or the providers' own."""
    told = settings.read({"DAYBOOK_STAGE": "local", **_addresses(environ)})
    keys, client = secrets.get("stripe_api_key", ()), paypal_client(secrets)
    return Apis(
        StripeApi(keys[0], told.stripe_api) if keys else None,
        PayPalApi(told.paypal_api, client, _now) if client else None,
    )


def _addresses(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in ("STRIPE_API", "PAYPAL_API") if name in environ}


def _now() -> int:
    return time.time_ns() // 1_000_000


def listings(secrets: Secrets, environ: Mapping[str, str]) -> dict[str, Listing]:
    """What can be reconciled with those keys."""
    found = apis(secrets, environ)
    made: dict[str, Listing | None] = {"stripe": found.stripe, "paypal": found.paypal}
    return {name: listing for name, listing in made.items() if listing}


def reconciler(stage: Stage, to: Consumer) -> Reconciler:
    livemode = stage.settings(os.environ).livemode
    return Reconciler(to.providers, to.ledger, stage.inbox(), to.telemetry, to.clock, time.sleep, livemode)
