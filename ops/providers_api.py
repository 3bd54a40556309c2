"""The providers' own APIs, asked from a person's machine with the keys in the stage's secret."""

import time
from collections.abc import Mapping

from chalicelib.credentials import Secrets
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import Connection, ProviderApi, api_of
from chalicelib.reconcile import Reconciler
from chalicelib.recording import Consumer
from ops.stage import Stage

NO_KEYS = (
    "no API keys to ask with: put stripe_api_key, or paypal_client_id and paypal_client_secret,"
    " into the secret {secret}; for stage local, in upper case into the environment (docs/runbook.md)"
)

Apis = Mapping[str, ProviderApi]  # by provider, those whose keys are set


def apis(stage: Stage, secrets: Secrets, environ: Mapping[str, str]) -> Apis:
    """At the addresses in ``STRIPE_API`` and so on, or else the stage's own."""
    addresses = stage.settings(environ).apis
    here = {name: environ.get(f"{name.upper()}_API", address) for name, address in addresses.items()}
    connection = Connection(secrets, here, _now)
    found = {name: api_of(provider, connection) for name, provider in PROVIDERS.items()}
    return {name: api for name, api in found.items() if api}


def _now() -> int:
    return time.time_ns() // 1_000_000


def stage_apis(stage: Stage, environ: Mapping[str, str]) -> Apis:
    """Those that can be asked with the stage's keys."""
    return apis(stage, stage.credentials(environ, _now).current(), environ)


def reconciler(stage: Stage, to: Consumer, environ: Mapping[str, str]) -> Reconciler:
    return Reconciler(
        providers=to.providers,
        ledger=to.ledger,
        inbox=stage.inbox(),
        telemetry=to.telemetry,
        clock=to.clock,
        pause=time.sleep,
        livemode=stage.settings(environ).livemode,
        began=to.began,
    )
