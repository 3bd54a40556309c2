"""The providers' own APIs, asked from a person's machine with the keys in the stage's secret."""

import time
from collections.abc import Mapping

from chalicelib import accounts, several
from chalicelib.accounts import Secrets
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import Connection, ProviderApi, api_of
from chalicelib.reconcile import Reconciler
from chalicelib.recording import Consumer
from chalicelib.several import SeveralApis
from ops.stage import Stage

NO_KEYS = (
    "no API keys to ask with: put stripe_api_key, or paypal_client_id and paypal_client_secret,"
    " into the secret {secret}; for stage local, in upper case into the environment (docs/runbook.md)"
)

Listings = Mapping[str, ProviderApi]  # by account (accounts.key), those whose keys are set
Apis = Mapping[str, SeveralApis]  # by provider


def listings(stage: Stage, secrets: Secrets, environ: Mapping[str, str]) -> Listings:
    """At the addresses in ``STRIPE_API`` and so on, or else the stage's own."""
    addresses = stage.settings(environ).apis
    here = {name: environ.get(f"{name.upper()}_API", address) for name, address in addresses.items()}
    found = {}
    for key, provider, account in accounts.each_key(PROVIDERS, secrets):
        connection = Connection(accounts.of_account(secrets, account), here, _now)
        found[key] = api_of(PROVIDERS[provider], connection)
    return {key: api for key, api in found.items() if api}


def _now() -> int:
    return time.time_ns() // 1_000_000


def stage_listings(stage: Stage, environ: Mapping[str, str], provider: str | None = None) -> Listings:
    """Those that can be asked with the stage's keys; of one provider, if it is named."""
    found = listings(stage, stage.credentials(environ, _now).current(), environ)
    return {key: api for key, api in found.items() if provider in (None, accounts.named(key)[0])}


def stage_apis(stage: Stage, environ: Mapping[str, str]) -> Apis:
    """The same, asked by provider about what is recorded."""
    return several.asked(stage_listings(stage, environ))


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
