"""What a stage reads from its environment: names and switches, never a secret (but for stage local)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from chalicelib.accounts import ACCOUNTS, flattened
from chalicelib.errors import InvalidSetting
from chalicelib.names import Names, names
from chalicelib.payments.labels import METADATA, Labels
from chalicelib.subscriptions import Terms
from chalicelib.subscriptions.terms import REVERSED
from chalicelib.targets import SLACK, Target, targets

STAGE_LOCAL = "local"
# Credentials by the name that they have in the stage's secret; stage local reads them in upper case
# from its environment instead, separated by commas.
LOCAL_CREDENTIALS = {
    "stripe_webhook_secrets": "whsec_local",
    "paypal_webhook_ids": "LOCAL00000000001",
    "paypal_cert_hosts": "",
    "stripe_api_key": "",
    "paypal_client_id": "",
    "paypal_client_secret": "",
}
# What stage local signs with for its targets, and `daybook tail --forward` for milestones.
LOCAL_TARGET_SECRET = "whsec_bG9jYWwgc2VjcmV0IG9mIGRheWJvb2sncyB0YXJnZXRz"  # noqa: S105 - known to everybody
NAMES = ("client_reference_id", "custom_id", "invoice_id")  # of references, beside metadata's
MOST_SHARDS = 32
CONSUMERS = 20  # at once: a backlog is not to take the concurrency that the routes need
DELIVERERS = 20  # at once, of who sends to targets
# Where each provider's API is; ``STRIPE_API`` and so on say otherwise.
APIS = {"stripe": "https://api.stripe.com", "paypal": "https://api-m.paypal.com"}
CERT_HOSTS = ("api.paypal.com", "api.sandbox.paypal.com")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``apis`` holds the address of each provider's API.

    ``livemode`` is ``None`` where the stage does not declare a mode. ``keep_bodies`` is a number of days.
    ``consumers`` is how many of the consumer run at once at most. ``ca_bundle`` is a file of PEM.

    ``terms``: what a subscription grants beyond what is paid.

    ``log_messages``: a failing handler's own words are logged, which may hold people's.

    ``partial_batches``: the queue's mapping takes the failures that the consumer returns
    (``ReportBatchItemFailures``). Where it does not, they would be lost.

    ``handlers`` is the module whose import registers them.

    ``access_key`` is the process's own, with its secret and its session's token. ``receives``: this is the
    function behind the routes, in Lambda.
    """

    stage: str
    region: str
    aws_endpoint: str | None
    access_key: tuple[str, str, str | None] | None
    receives: bool
    names: Names
    livemode: bool | None
    labels: Labels
    keep_bodies: int | None
    consumers: int
    terms: Terms
    metrics: bool
    log_level: str
    log_messages: bool
    partial_batches: bool
    handlers: str
    event_bus: str | None
    event_bus_raw: bool
    targets: tuple[Target, ...]
    apis: Mapping[str, str]
    paypal_verification: str
    paypal_trust: str
    paypal_chain: str | None
    ca_bundle: str | None
    local_credentials: Mapping[str, tuple[str, ...]]

    @property
    def is_local(self) -> bool:
        return self.stage == STAGE_LOCAL

    @property
    def shards(self) -> int:
        """Of the listing: each takes what some ten consumers write, and costs a page a query."""
        return 1 if self.consumers <= CONSUMERS else min(ceil(self.consumers / 10), MOST_SHARDS)


def read(environ: Mapping[str, str]) -> Settings:
    """The settings in ``environ``. Raises ``InvalidSetting`` that names what is wrong."""
    stage = environ.get("DAYBOOK_STAGE", STAGE_LOCAL)
    if stage == STAGE_LOCAL and "AWS_LAMBDA_FUNCTION_NAME" in environ and "AWS_ENDPOINT_URL" not in environ:
        raise InvalidSetting("DAYBOOK_STAGE must name the stage: local's secrets are known to everybody")
    return Settings(
        stage=stage,
        region=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", "us-east-1"),
        aws_endpoint=environ.get("AWS_ENDPOINT_URL") or None,
        access_key=_access_key(environ),
        receives=environ.get("_HANDLER") == "app.app" and "AWS_LAMBDA_INITIALIZATION_TYPE" in environ,
        names=names(stage, environ),
        livemode=_choice(environ, "DAYBOOK_LIVEMODE", {"": None, "true": True, "false": False}),
        labels=_labels(environ),
        keep_bodies=_whole(environ, "DAYBOOK_KEEP_BODIES", "of days", 1, 3650),
        consumers=_whole(environ, "DAYBOOK_CONSUMERS", "of functions", 2, 1000) or CONSUMERS,
        terms=_terms(environ),
        metrics=stage != STAGE_LOCAL or environ.get("DAYBOOK_METRICS") == "true",
        log_level=_one_of(environ, "DAYBOOK_LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR"),
        handlers=environ.get("DAYBOOK_HANDLERS") or "chalicelib.handlers",
        log_messages=environ.get("DAYBOOK_LOG_MESSAGES", "").lower() == "true",
        partial_batches=environ.get("DAYBOOK_PARTIAL_BATCHES", "").lower() == "true",
        event_bus=environ.get("DAYBOOK_EVENT_BUS") or None,
        event_bus_raw=environ.get("DAYBOOK_EVENT_BUS_RAW", "").lower() == "true",
        targets=targets(environ, stage == STAGE_LOCAL),
        apis={name: environ.get(f"{name.upper()}_API", address) for name, address in APIS.items()},
        paypal_verification=_one_of(environ, "PAYPAL_VERIFICATION", "offline", "postback"),
        paypal_trust=_one_of(environ, "PAYPAL_TRUST", "tls", "chain"),
        paypal_chain=environ.get("PAYPAL_CHAIN") or None,
        ca_bundle=environ.get("PAYPAL_CA_BUNDLE") or None if stage == STAGE_LOCAL else None,
        local_credentials=_credentials(environ) if stage == STAGE_LOCAL else {},
    )


def _labels(environ: Mapping[str, str]) -> Labels:
    """As the environment has them; a reference to metadata has it kept as well."""
    metadata = listed(environ["DAYBOOK_METADATA"]) if "DAYBOOK_METADATA" in environ else Labels().metadata
    known = (*NAMES, *(METADATA + key for key in metadata))
    references = listed(environ.get("DAYBOOK_REFERENCES", ""))
    for name in references:
        if name not in known:
            raise InvalidSetting(f"DAYBOOK_REFERENCES: {name} is none of {', '.join(known)}")
    return Labels(metadata, references or tuple(name for name in Labels().references if name in known))


def _access_key(environ: Mapping[str, str]) -> tuple[str, str, str | None] | None:
    if "AWS_ACCESS_KEY_ID" not in environ:
        return None
    key, secret = environ["AWS_ACCESS_KEY_ID"], environ.get("AWS_SECRET_ACCESS_KEY", "")
    return key, secret, environ.get("AWS_SESSION_TOKEN")


def _choice(environ: Mapping[str, str], name: str, meaning: Mapping[str, bool | None]) -> bool | None:
    value = environ.get(name, "").lower()
    if value not in meaning:
        raise InvalidSetting(f"{name} must be one of: {', '.join(filter(None, meaning))}, or unset")
    return meaning[value]


def _whole(environ: Mapping[str, str], name: str, unit: str, least: int, most: int) -> int | None:
    text = environ.get(name, "")
    if text and not (re.fullmatch("[0-9]{1,9}", text) and least <= int(text) <= most):
        raise InvalidSetting(f"{name} must be a number {unit} from {least} to {most}, or unset")
    return int(text) if text else None


def _terms(environ: Mapping[str, str]) -> Terms:
    usual = Terms()
    slack = _whole(environ, "DAYBOOK_RENEWAL_SLACK_DAYS", "of days", 0, 365)
    grace = _whole(environ, "DAYBOOK_PAST_DUE_GRACE_DAYS", "of days", 0, 365)
    keeps = _one_of(environ, "DAYBOOK_ENDED_KEEPS_PAID", "true", "false")
    ends = listed(environ.get("DAYBOOK_REVERSED_ENDS_ACCESS", ",".join(usual.reversed_ends)))
    if not set(ends) <= set(REVERSED):
        raise InvalidSetting(
            f"DAYBOOK_REVERSED_ENDS_ACCESS must list some of: {', '.join(REVERSED)}, or nothing"
        )
    return Terms(
        slack=usual.slack if slack is None else slack,
        grace=usual.grace if grace is None else grace,
        paused=_one_of(environ, "DAYBOOK_PAUSED_ACCESS", usual.paused, "paid", "none"),
        ended_keeps_paid=keeps == "true",
        reversed_ends=frozenset(ends),
    )


def _one_of(environ: Mapping[str, str], name: str, default: str, *others: str) -> str:
    value = environ.get(name) or default
    if value not in (default, *others):
        raise InvalidSetting(f"{name} must be one of: {', '.join((default, *others))}")
    return value


def _credentials(environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Of stage local; further accounts' are JSON in ``ACCOUNTS``, as they are in a secret."""
    secrets = {
        each.secret_name: "" if each.kind == SLACK else LOCAL_TARGET_SECRET
        for each in targets(environ, is_local=True)
    }
    known = LOCAL_CREDENTIALS | secrets
    found = {name: listed(environ.get(name.upper(), default)) for name, default in known.items()}
    try:
        further = flattened({ACCOUNTS: json.loads(environ.get("ACCOUNTS") or "{}")})
    except ValueError:
        further = {ACCOUNTS: []}
    if ACCOUNTS in further:
        raise InvalidSetting('ACCOUNTS must be JSON as in a secret: {"shop-us": {"stripe_api_key": "rk_…"}}')
    found |= {name: tuple(each if isinstance(each, list) else [each]) for name, each in further.items()}
    return {name: values for name, values in found.items() if values}


def listed(text: str) -> tuple[str, ...]:
    """``"a, b"`` is ``("a", "b")``."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))
