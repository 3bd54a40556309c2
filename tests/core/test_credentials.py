"""Secrets: read once in a while, in time when one is rolled, and not lost when the store is down."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chalicelib.credentials import (
    EARLY,
    KEPT,
    SIMULATOR,
    SecretsManagerCredentials,
    paypal_client,
    refused,
    usable,
)
from chalicelib.errors import AwsError, NotConfigured, Unavailable
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.settings import read
from tests.fakes import DEV_SECRET, Clock


class Store:
    """A Secrets Manager with one secret; ``None`` means that it fails, with ``code``."""

    def __init__(self, **secrets: list[Any]) -> None:
        self.text: str | None = json.dumps(secrets)
        self.reads = 0
        self.code = "ConnectTimeoutError"

    def __call__(self, service: str, operation: str, /, **request: Any) -> dict[str, str]:
        assert (service, operation, request) == (
            "secretsmanager",
            "GetSecretValue",
            {"SecretId": "daybook/dev"},
        )
        self.reads += 1
        if self.text is None:
            raise AwsError(service, operation, self.code, passing=False)
        return {"SecretString": self.text}


def credentials(store: Any, clock: Clock) -> SecretsManagerCredentials:
    return SecretsManagerCredentials(store, "daybook/dev", clock)


def test_a_secret_is_kept_for_five_minutes() -> None:
    """One read, however many webhooks; then another."""
    store, clock = Store(stripe_webhook_secrets=["a"]), Clock()
    found = credentials(store, clock)
    for _ in range(3):
        assert found.current() == {"stripe_webhook_secrets": ("a",)}
    assert store.reads == 1
    clock.now += KEPT
    found.current()
    assert store.reads == 2


def test_an_empty_value_is_no_secret() -> None:
    """Nor is null, or what is no text: anybody could sign with it."""
    store = Store(stripe_webhook_secrets=["a", "", " ", None, 0, ["b"]], paypal_webhook_ids=[""])
    found = credentials(store, Clock()).current()
    assert found == {"stripe_webhook_secrets": ("a",), "paypal_webhook_ids": ()}


def test_a_rolled_secret_is_seen_at_once() -> None:
    """A failed signature has it read again, but not more than once in 30 s."""
    store, clock = Store(stripe_webhook_secrets=["a"]), Clock()
    found = credentials(store, clock)
    found.current()
    store.text = json.dumps({"stripe_webhook_secrets": ["a", "b"]})
    assert not found.reread()
    clock.now += EARLY
    assert found.reread()
    assert found.current() == {"stripe_webhook_secrets": ("a", "b")}
    assert not found.reread()
    clock.now += EARLY
    assert not found.reread()
    assert store.reads == 3


def test_an_outage_of_the_store_is_survived_with_what_is_known() -> None:
    """Warm, the last value goes on; it is asked for again now and then."""
    store, clock = Store(stripe_webhook_secrets=["a"]), Clock()
    found = credentials(store, clock)
    found.current()
    store.text = None
    clock.now += KEPT
    for _ in range(5):
        assert found.current() == {"stripe_webhook_secrets": ("a",)}
    assert store.reads == 2


def test_whether_a_secret_was_rolled_is_not_guessed() -> None:
    """While the store fails, a signature that does not match is undecided; then it is seen at once."""
    store, clock = Store(stripe_webhook_secrets=["a"]), Clock()
    found = credentials(store, clock)
    found.current()
    store.text = None
    clock.now += EARLY
    for _ in range(3):
        with pytest.raises(Unavailable):
            found.reread()
    assert store.reads == 2, "no more often than every 30 s"
    assert found.current() == {"stripe_webhook_secrets": ("a",)}
    store.text = json.dumps({"stripe_webhook_secrets": ["b"]})
    clock.now += EARLY
    assert found.reread()


@pytest.mark.parametrize("text", [None, "", "not json", "[]", '"x"'])
def test_without_any_value_nothing_is_decided(text: str | None) -> None:
    """Cold, or with a secret that is no JSON object: unavailable, never open."""
    store = Store()
    store.text = text
    with pytest.raises(Unavailable):
        credentials(store, Clock()).current()


def test_a_secret_that_is_not_filled_yet_is_said_to_be_so() -> None:
    """Deployed and forgotten is an outage with a name of its own."""
    store = Store()
    store.text, store.code = None, "ResourceNotFoundException"
    with pytest.raises(NotConfigured) as refused:
        credentials(store, Clock()).current()
    assert refused.value.reason == "no_secret"


def test_the_simulators_webhook_id_counts_in_stage_local_only() -> None:
    """PayPal signs for it with its live key, for anyone."""
    secrets = {"paypal_webhook_ids": ("8PT", SIMULATOR)}
    assert usable(secrets, is_local=True) == secrets
    for _ in ("dev", "prod"):
        assert usable(secrets, is_local=False) == {"paypal_webhook_ids": ("8PT",)}


@pytest.mark.parametrize(
    "placeholder",
    [
        "whsec_…",
        "whsec_local",
        "a",
        "whsec_",
        "whsec_" + "x" * 32,
        "whsec_short",
        DEV_SECRET[6:],
        DEV_SECRET + "!",
    ],
)
def test_a_placeholder_is_no_secret(placeholder: str) -> None:
    """Our own documentation's, stage local's, what is typed to fill a form: anybody could sign with them."""
    secrets = {"stripe_webhook_secrets": (placeholder, DEV_SECRET)}
    assert list(refused(secrets)) == [("stripe_webhook_secrets", placeholder)]
    assert usable(secrets, is_local=False) == {"stripe_webhook_secrets": (DEV_SECRET,)}
    assert usable(secrets, is_local=True) == secrets


def test_what_is_known_is_not_waited_for_long() -> None:
    """A store that hangs would hold up a webhook that it is not needed for; only the first read waits."""
    store, clock, hasty = Store(stripe_webhook_secrets=["a"]), Clock(), []

    @contextmanager
    def failing_fast() -> Iterator[None]:
        hasty.append(store.reads)
        yield

    found = SecretsManagerCredentials(store, "daybook/dev", clock, failing_fast)
    found.current()
    assert hasty == []
    clock.now += KEPT
    found.current()
    clock.now += EARLY
    found.reread()
    assert (hasty, store.reads) == ([1, 2], 3)


def test_half_of_paypals_client_is_not_none() -> None:
    """With neither nothing is asked; with one of the two what asks has to fail. Of lists the first counts."""
    assert paypal_client({"stripe_api_key": ("rk",)}) is None
    assert paypal_client({"paypal_client_id": ("a", "old"), "paypal_client_secret": ("b", "old")}) == (
        "a",
        "b",
    )
    for text in (
        '{"paypal_client_id": ["a", "old"]}',
        '{"paypal_client_secret": "b"}',
        '{"paypal_client_id": "", "paypal_client_secret": " "}',
        '{"paypal_client_id": null, "paypal_client_secret": 7}',
        '{"PAYPAL_CLIENT_ID": "", "PayPal_Client_Secret": "b"}',
    ):
        store = Store()
        store.text = text
        unusable = paypal_client(credentials(store, Clock()).current())
        assert unusable is not None
        with pytest.raises(NotConfigured):
            PayPalApi("http://127.0.0.1:9", unusable, Clock()).get("/x")


def test_a_function_without_a_stage_does_not_start() -> None:
    """It would be stage local, whose secrets are in the documentation."""
    with pytest.raises(ValueError, match="DAYBOOK_STAGE must name the stage"):
        read({"AWS_LAMBDA_FUNCTION_NAME": "daybook-dev"})


def test_only_stage_local_takes_credentials_from_the_environment() -> None:
    """Elsewhere they are in the secret, whatever the environment says."""
    environ = {"STRIPE_WEBHOOK_SECRETS": "a, b", "PAYPAL_CA_BUNDLE": "/tmp/ca.pem"}
    local, dev = read({**environ, "DAYBOOK_STAGE": "local"}), read({**environ, "DAYBOOK_STAGE": "dev"})
    assert local.local_credentials["stripe_webhook_secrets"] == ("a", "b")
    assert local.ca_bundle == "/tmp/ca.pem"
    assert (dev.local_credentials, dev.ca_bundle) == ({}, None)


@pytest.mark.parametrize("name", ["DAYBOOK_LIVEMODE", "PAYPAL_VERIFICATION", "PAYPAL_TRUST"])
def test_a_wrong_setting_is_named(name: str) -> None:
    """With what it may be."""
    with pytest.raises(ValueError, match=f"{name} must be one of"):
        read({name: "maybe"})
