"""A provider's APIs by account, asked as one about what is recorded.

Where a record's account is known its own API is asked. Of one whose account is not, each is asked in turn:
what one cannot say keeps no other from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from chalicelib.accounts import NAME, OWN, named
from chalicelib.errors import NotAllowed, NotFound, Unavailable
from chalicelib.payments import Payment
from chalicelib.providers.protocol import AskedApi, Contents, Difference, PayoutApi, Postback

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
    """One provider's APIs by account. Each question is about what is recorded as some ``account``'s.

    That is one of the stage's own, whose API alone is asked; a connected account's id, or ``None``: then each
    is asked in turn. Raises ``NotFound``, ``Unavailable`` where one could not say; ``NotAllowed`` where the
    account has no key. Whose API could not be reached joins ``down``, and is not waited for again.
    """

    apis: Mapping[str, AskedApi]

    def can_ask(self, account: str | None) -> bool:
        return bool(self._of(account))

    def can_complete(self, via: str | None) -> bool:
        """Whether an event can be asked about that came by that account, or the stage's own."""
        return (via or OWN) in self.apis

    def via(self, account: str | None) -> str | None:
        """The name of the account that is asked, for what it shows; ``None``: the stage's own, or any."""
        return account if account and account in self.apis else None

    @property
    def says_contents(self) -> bool:
        """Whether payouts can be asked about."""
        return any(isinstance(api, PayoutApi) for api in self.apis.values())

    def differences(self, ours: Payment) -> list[Difference] | None:
        return self._first(ours.account, lambda api: api.differences(ours))

    def shown(self, ours: Payment) -> list[bytes]:
        return self._first(ours.account, lambda api: api.shown(ours))

    def subscription(self, subject: str, account: str | None, down: set[str]) -> list[bytes]:
        return self._first(account, lambda api: api.subscription(subject), down)

    def contents(
        self, payout: str, account: str | None, cursor: str | None, down: set[str]
    ) -> Contents | None:
        """The cursor says whose it is: a list that one account began is not another's.

        Where that account is not there any more, it begins anew.
        """
        begun, _, own = (cursor or "").partition(" ")
        if own and begun in self.apis:
            of, place = {begun: self.apis[begun]}, own
        else:
            of, place = dict(self._of(account)), None

        def ask(name: str) -> Contents | None:
            return _goes_on(name, _payouts(of[name]).contents(payout, place))

        return _first_of({name: partial(ask, name) for name in of}, down)

    def payout(self, payout: str, account: str | None, sums: list[list[Any]], down: set[str]) -> bytes:
        return self._first(account, lambda api: _payouts(api).payout(payout, sums), down)

    def _of(self, account: str | None) -> Mapping[str, AskedApi]:
        if account is not None and (account in self.apis or NAME.fullmatch(account)):
            return {name: api for name, api in self.apis.items() if name == account}
        return self.apis

    def _first(self, account: str | None, ask: Callable[[AskedApi], T], down: set[str] | None = None) -> T:
        questions = {name: partial(ask, api) for name, api in self._of(account).items()}
        try:
            return _first_of(questions, set() if down is None else down)
        except NotFound:
            if account is None and OWN not in self.apis:  # it may be the stage's own, which has no key
                raise NotAllowed("this account has no key to ask with", reason="no_key") from None
            raise


def _first_of(questions: Mapping[str, Callable[[], T]], down: set[str]) -> T:
    """What the first says that knows it."""
    if not questions:
        raise NotAllowed("this account has no key to ask with", reason="no_key")
    undecided: Unavailable | None = None
    for name, ask in questions.items():
        if name in down:
            undecided = undecided or Unavailable("it could not be asked just now", reason="down")
            continue
        try:
            return ask()
        except NotFound:
            continue
        except NotAllowed as error:  # it answered
            undecided = error
        except Unavailable as error:
            down.add(name)
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


def asked(listings: Mapping[str, AskedApi]) -> dict[str, SeveralApis]:
    """By provider what is asked of APIs by their keys."""
    found: dict[str, dict[str, AskedApi]] = {}
    for each, api in listings.items():
        provider, account = named(each)
        found.setdefault(provider, {})[account or OWN] = api
    return {provider: SeveralApis(apis) for provider, apis in found.items()}
