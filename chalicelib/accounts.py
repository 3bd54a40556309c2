"""Several accounts of one provider in one stage: each with credentials of its own, under a name.

In the stage's secret they are below ``accounts``; what is beside that is the stage's own account, which has
no name. Among all credentials the name follows theirs: ``stripe_api_key@shop-us``. An event is of the account
whose secret it was signed with, and asked about with that account's key alone. Of a record whose account is
not known each account is asked in turn: what one cannot say keeps no other from it.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

ACCOUNTS = "accounts"
AT = "@"
# Not as the providers' own ids look, which name connected accounts.
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
OWN = ""  # the stage's own account
TAKEN = ("own",)  # what commands call that one
Secrets = Mapping[str, tuple[str, ...]]


# ── credentials ─────────────────────────────────────────────────────────────────────────────────────


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is below ``accounts`` under names with the account's.

    What is malformed there is left out, and named under ``accounts``: the others go on.
    """
    found = {name: value for name, value in values.items() if name != ACCOUNTS}
    given = values.get(ACCOUNTS, {})
    if not isinstance(given, dict):
        return {**found, ACCOUNTS: ["all"]}
    malformed = []
    for account, credentials in given.items():
        if NAME.fullmatch(account) and account not in TAKEN and isinstance(credentials, dict):
            found |= {f"{name}{AT}{account}": value for name, value in credentials.items()}
        else:
            malformed.append(account)
    return {**found, ACCOUNTS: malformed} if malformed else found


def accounts(secrets: Iterable[str]) -> list[str]:
    """The accounts that have credentials, the stage's own first."""
    return [OWN, *sorted({name.partition(AT)[2] for name in secrets} - {OWN})]


def of_account(secrets: Secrets, account: str) -> Secrets:
    """That account's credentials, under their plain names."""
    named = ((name.partition(AT), values) for name, values in secrets.items())
    return {plain: values for (plain, _, of), values in named if of == account}


def together(secrets: Secrets) -> Secrets:
    """All accounts' credentials, under their plain names: what a delivery may be signed with."""
    found: dict[str, tuple[str, ...]] = {}
    for account in accounts(secrets):
        for name, values in of_account(secrets, account).items():
            found[name] = (*found.get(name, ()), *values)
    return found


def fingerprint(secret: str) -> str:
    """What a secret is called in metrics: it tells two apart, and nothing of either."""
    return hashlib.sha256(secret.encode()).hexdigest()[:6]


def signed_by(secrets: Secrets, secret: str) -> str | None:
    """The name of the account that a secret is of, by its fingerprint; ``None``: the stage's own."""
    for account in accounts(secrets):
        for values in of_account(secrets, account).values():
            if secret in map(fingerprint, values):
                return account or None
    return None


# ── what each is called ─────────────────────────────────────────────────────────────────────────────


def key(provider: str, account: str) -> str:
    """What a provider's account is called where each has a place of its own: ``stripe``, ``stripe eu``."""
    return f"{provider} {account}" if account else provider


def named(key: str) -> tuple[str, str | None]:
    """The provider and the account's name."""
    provider, _, account = key.partition(" ")
    return provider, account or None


def each_key(providers: Iterable[str], secrets: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Of each provider and account the key, the provider and the account."""
    names = accounts(secrets)
    return ((key(provider, account), provider, account) for provider in providers for account in names)
