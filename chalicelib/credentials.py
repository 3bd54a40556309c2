"""The one place where secrets are read: a Secrets Manager secret, or the environment in stage local.

The secret is a JSON object of lists, so that an old and a new value can be valid together::

    {"stripe_webhook_secrets": ["whsec_…"], "paypal_webhook_ids": ["8PT597110X687430L"],
     "accounts": {"shop-us": {"stripe_webhook_secrets": ["whsec_…"], "stripe_api_key": "rk_…"}}}

What everybody knows, or could guess, is no secret: outside stage local it is as if it were not there.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from chalicelib.accounts import AT, Secrets, flattened
from chalicelib.aws import Caller
from chalicelib.errors import AwsError, NotConfigured, Unavailable

KEPT = 300_000  # milliseconds until the secret is read again
EARLY = 30_000  # at most this often when a signature fails, or the secret cannot be read
# PayPal's simulator signs for this webhook id with PayPal's live key, for anyone who asks.
SIMULATOR = "WEBHOOK_ID"
# As Stripe makes them: 32 characters in the dashboard, 64 in its command.
STRIPES = re.compile(r"whsec_[A-Za-z0-9]{32,}")
LEAST_LETTERS = 10  # different ones: what is typed to fill a form has fewer


class Credentials(Protocol):
    def current(self) -> Secrets:
        """The stage's credentials by name. Raises ``Unavailable`` while they cannot be read."""

    def reread(self) -> bool:
        """Whether they changed, when read anew; not more often than every 30 s.

        Raises ``Unavailable`` where the last reading failed: whether they changed is not known.
        """


class FixedCredentials:
    """Credentials that do not change while the process lives: stage local's."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def current(self) -> Secrets:
        return self._secrets

    def reread(self) -> bool:
        return False


class SecretsManagerCredentials:
    """One secret, kept in memory for five minutes; while it cannot be read, the last value goes on.

    ``failing_fast`` makes calls of AWS give up early: a webhook does not wait long for what is known already.
    """

    def __init__(
        self,
        aws: Caller,
        name: str,
        clock: Callable[[], int],
        failing_fast: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._aws = aws
        self._failing_fast = failing_fast
        self._name = name
        self._clock = clock
        self._secrets: Secrets | None = None
        self._read_at = 0
        self._tried_at = 0

    def current(self) -> Secrets:
        now = self._clock()
        if self._secrets is None:
            self._read(now)
        elif now - self._read_at >= KEPT and now - self._tried_at >= EARLY:
            self._try_to_read(now)
        if self._secrets is None:
            raise Unavailable("the credentials cannot be read", reason="secret_store")
        return self._secrets

    def reread(self) -> bool:
        now = self._clock()
        before = self._secrets
        if now - self._tried_at >= EARLY:
            self._try_to_read(now)
        if self._read_at < self._tried_at:
            raise Unavailable("the credentials cannot be read", reason="secret_store")
        return self._secrets != before

    def _try_to_read(self, now: int) -> None:
        try:
            with self._failing_fast():
                self._read(now)
        except Unavailable:
            return  # what was read before still verifies

    def _read(self, now: int) -> None:
        self._tried_at = now
        try:
            answer = self._aws("secretsmanager", "GetSecretValue", SecretId=self._name)
        except AwsError as error:
            if error.code == "ResourceNotFoundException":  # deployed, and not filled yet
                raise NotConfigured("this endpoint is not configured", reason="no_secret") from None
            raise Unavailable("the credentials cannot be read", reason="secret_store") from None
        self._secrets = _parse(answer["SecretString"])
        self._read_at = now


def _parse(text: str) -> Secrets:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise Unavailable("the stage's secret is not a JSON object", reason="secret_store")
    return parsed(values)


def parsed(values: Mapping[str, Any]) -> Secrets:
    """Credentials by name, whatever case they are in; those of further accounts too."""
    plain = {name.strip().lower(): value for name, value in values.items()}
    listed = {
        name.strip().lower(): value if isinstance(value, list) else [value]
        for name, value in flattened(plain).items()
    }
    # an empty one would be a key that everybody knows; its name stays: something was meant to be there
    return {name: tuple(filter(None, map(_text, value))) for name, value in listed.items()}


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


PAYPAL_CLIENT = ("paypal_client_id", "paypal_client_secret")


def paypal_client(secrets: Secrets) -> tuple[str, ...] | None:
    """PayPal's client id and secret, the first of each; ``None`` where nobody named either.

    With less than two nothing can be asked: that is an outage, never a reason not to ask.
    """
    if not any(name in secrets for name in PAYPAL_CLIENT):
        return None
    return tuple(value for name in PAYPAL_CLIENT for value in secrets.get(name, ())[:1])


def refused(secrets: Secrets) -> Iterator[tuple[str, str]]:
    """What must not count outside stage local: the credential's name and the value.

    A Stripe secret that has not Stripe's form is a placeholder, and anybody could sign with it.
    """
    for name, values in secrets.items():
        plain = name.partition(AT)[0]
        for value in values if plain == "stripe_webhook_secrets" else ():
            if not STRIPES.fullmatch(value) or len({*value}) < LEAST_LETTERS:
                yield name, value
        if plain == "paypal_webhook_ids" and SIMULATOR in values:
            yield name, SIMULATOR


def usable(secrets: Secrets, is_local: bool) -> Secrets:
    """The credentials without those that only stage local may accept."""
    without = set() if is_local else set(refused(secrets))
    return {
        name: tuple(value for value in values if (name, value) not in without)
        for name, values in secrets.items()
    }
