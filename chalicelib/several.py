"""A provider's APIs by account, asked as one about what is recorded.

Where a record's account is known its own API is asked. Of one whose account is not, each is asked in turn:
what one cannot say keeps no other from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from chalicelib.accounts import OWN, named
from chalicelib.errors import NotAllowed, NotFound, Unavailable
from chalicelib.payments import Payment
from chalicelib.providers.protocol import AskedApi, Contents, Difference, Notice, PayoutApi, Postback

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Postbacks:
    """Asks the account that a webhook id is of whether it was sent. ``own`` is the stage's own account's."""

    own: Postback
    by_webhook_id: Mapping[str, Postback]

    def confirms(self, transmission: Mapping[str, str], body: bytes, webhook_id: str) -> bool:
        return self.by_webhook_id.get(webhook_id, self.own).confirms(transmission, body, webhook_id)


@dataclass(frozen=True, slots=True)
class SeveralApis:
    """A provider's APIs by account, asked as one about what is recorded."""

    apis: Mapping[str, AskedApi]

    def of(self, account: str | None) -> AskedApi:
        """That account's alone, if it has one: another could not know it. Else this."""
        return self.apis[account] if account is not None and account in self.apis else self

    def differences(self, ours: Payment) -> list[Difference] | None:
        return self._first(lambda api: api.differences(ours))

    def shown(self, ours: Payment) -> list[bytes]:
        return self._first(lambda api: api.shown(ours))

    def subscription(self, subject: str) -> list[bytes]:
        return self._first(lambda api: api.subscription(subject))

    def endpoints(self) -> list[Notice]:
        return [notice for api in self.apis.values() for notice in api.endpoints()]

    def contents(self, payout: str, cursor: str | None) -> Contents | None:
        """The cursor says whose it is: a list that one account began is not another's."""
        if cursor is not None:
            account, _, own = cursor.partition(" ")
            return _goes_on(account, _payouts(self.apis[account]).contents(payout, own))
        for account, api in self.apis.items():
            try:
                return _goes_on(account, _payouts(api).contents(payout, None))
            except NotFound:
                continue
        raise NotFound("none of the accounts knows it")

    def payout(self, payout: str, sums: list[list[Any]]) -> bytes:
        return self._first(lambda api: _payouts(api).payout(payout, sums))

    def _first(self, ask: Callable[[AskedApi], T]) -> T:
        """What the first says that knows it. Raises ``NotFound``, ``Unavailable`` where one could not say."""
        undecided: Unavailable | None = None
        for api in self.apis.values():
            try:
                return ask(api)
            except NotFound:
                continue
            except Unavailable as error:
                undecided = error
        raise undecided or NotFound("none of the accounts knows it")


def _goes_on(account: str, found: Contents | None) -> Contents | None:
    if found is None or found.next is None:
        return found
    return found._replace(next=f"{account} {found.next}")


def _payouts(api: AskedApi) -> PayoutApi:
    if not isinstance(api, PayoutApi):
        raise NotAllowed("this provider does not say what a payout is made of", reason="payouts")
    return api


def of(api: AskedApi, account: str | None) -> AskedApi:
    """The API to ask about what is recorded as that account's."""
    return api.of(account) if isinstance(api, SeveralApis) else api


Apis = TypeVar("Apis", bound=AskedApi)


def asked(listings: Mapping[str, Apis]) -> dict[str, AskedApi]:
    """By provider what is asked of APIs by their keys: one as it is, several as one."""
    found: dict[str, dict[str, AskedApi]] = {}
    for each, api in listings.items():
        provider, account = named(each)
        found.setdefault(provider, {})[account or OWN] = api
    return {provider: _one(apis) for provider, apis in found.items()}


def _one(apis: Mapping[str, AskedApi]) -> AskedApi:
    return apis[OWN] if list(apis) == [OWN] else SeveralApis(apis)
