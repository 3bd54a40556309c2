"""Stripe's API, for what no webhook carries: the object that a thin event is about, events that never came.

https://docs.stripe.com/event-destinations#fetch-related-object
https://docs.stripe.com/api/events/list
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import stripe as sdk

from chalicelib.errors import NotAllowed, NotFound, Throttled, Unavailable, seconds
from chalicelib.events import Event, items, mapping
from chalicelib.payments import Payment
from chalicelib.providers.protocol import Contents, Difference, Expected, Notice, Page
from chalicelib.providers.stripe import balance, comparison, endpoints, history
from chalicelib.providers.stripe.events import completed, path_to_fetch
from chalicelib.providers.stripe.objects import Object, instant
from chalicelib.providers.stripe.payouts import LISTED

TIMEOUT = 5  # seconds
PAGE = 100  # events, Stripe's largest


@dataclass(frozen=True, slots=True)
class StripeApi:
    """Stripe at ``base``, with a restricted key that may read."""

    key: str
    base: str
    clock: Callable[[], int]

    def complete(self, event: Event) -> Event:
        """A thin event with its related object, any other as it is. Raises ``Unavailable``."""
        path = path_to_fetch(event)
        if path is None:
            return event
        options = {"stripe_context": event.account} if event.account else {}
        try:
            return completed(event, self.get(path, **options), self.clock())
        except NotFound:
            raise Unavailable("the object cannot be fetched", reason="stripe_api") from None

    def page(self, since: int, until: int, cursor: str | None) -> Page:
        """A page of the account's own events. Raises ``Throttled``, ``Unavailable``."""
        try:
            events, following = self._listed("events", cursor, created=_created(since, until))
        except NotFound:
            raise Unavailable("Stripe lists no events", reason="stripe_api") from None
        return Page([json.dumps(each).encode() for each in events], following)

    def differences(self, ours: Payment) -> list[Difference] | None:
        return comparison.differences(ours, self.get, self.clock())

    def shown(self, ours: Payment) -> list[bytes]:
        found = comparison.bodies(ours, self.get, self.clock())
        return [json.dumps(each).encode() for each in found]

    def subscription(self, subject: str) -> list[bytes]:
        now = self.clock()
        id_, options = _place(subject)
        about = self.get(f"/v1/subscriptions/{id_}", **options)
        shown = comparison.as_fetched("customer.subscription.shown", about, list(options.values()), now)
        return [json.dumps(shown).encode()]

    def balance(self, since: int, until: int, cursor: str | None) -> Page:
        """A page of the account's own balance transactions: https://docs.stripe.com/api/balance_transactions/list"""
        found, following = self._transactions(cursor, created=_created(since, until))
        bodies = [self._shown_entry(balance.kept(each)) for each in found]
        return Page(bodies, following)

    def _shown_entry(self, transaction: Object) -> bytes:
        """One event of each, whenever it is listed: it is recorded once."""
        now = self.clock()
        at = instant(transaction.get("created"), now)
        shown = comparison.as_fetched("balance_transaction.shown", transaction, [], now, at)
        own = {"id": f"balance_{transaction['id']}", "livemode": self._livemode}
        return json.dumps({**shown, **own}).encode()

    @property
    def _livemode(self) -> bool | None:
        """Which mode's balance a key reads: https://docs.stripe.com/keys"""
        modes = {"live": True, "test": False}
        return modes.get(self.key.split("_")[1]) if self.key.count("_") > 1 else None

    def kinds(self) -> Iterable[str]:
        return history.KINDS

    def history(self, kind: str, since: int, until: int, cursor: str | None) -> Page:
        """https://docs.stripe.com/api/charges/list, and the others alike"""
        found, following = self._made(kind, since, until, cursor)
        kept = [each for each in found if history.is_from_before(each, until)]
        return Page([history.body(each, self.clock()) for each in kept], following)

    def expected(self, kind: str, since: int, until: int) -> Expected:
        """By the time that the first page takes up: Stripe does not say how many there are."""
        found, following = self._made(kind, since, until, None)
        if following is None:
            return Expected(len(found), True, 1, since)
        oldest = instant(found[-1].get("created"), since)
        objects = round(len(found) * (until - since) / max(1, until - oldest))
        return Expected(objects, False, -(-objects // PAGE), since)

    def _made(self, kind: str, since: int, until: int, cursor: str | None) -> tuple[list[Object], str | None]:
        return self._listed(kind, cursor, created=_created(since, until), **history.KINDS[kind])

    def contents(self, subject: str, cursor: str | None) -> Contents | None:
        """https://docs.stripe.com/payouts/reconciliation: of automatic payouts, once Stripe has done it."""
        id_, options = _place(subject)
        if cursor is None:
            about = self.get(f"/v1/payouts/{id_}", **options)
            if about.get("reconciliation_status", "completed") != "completed":
                return None
        found, following = self._transactions(cursor, payout=id_, **options)
        parts = [balance.part(each, subject) for each in found if not balance.is_payout_itself(each, subject)]
        return Contents(parts, following)

    def payout(self, subject: str, sums: list[list[Any]]) -> bytes:
        now = self.clock()
        id_, options = _place(subject)
        about = {**self.get(f"/v1/payouts/{id_}", **options), LISTED: sums}
        account = list(options.values())
        return json.dumps(comparison.as_fetched("payout.shown", about, account, now)).encode()

    def _transactions(self, cursor: str | None, **wanted: Any) -> tuple[list[Object], str | None]:
        """A page of them, each with the object that it is of; and where the next one begins."""
        return self._listed("balance_transactions", cursor, expand=["data.source"], **wanted)

    def _listed(self, what: str, cursor: str | None, **wanted: Any) -> tuple[list[Object], str | None]:
        """A page of a list, and where the next one begins: https://docs.stripe.com/api/pagination"""
        after = {"starting_after": cursor} if cursor else {}
        listed = mapping(self.get(f"/v1/{what}", limit=PAGE, **after, **wanted))
        found, more = items(listed.get("data")), bool(listed.get("has_more"))
        if not isinstance(listed.get("data"), list) or (more and not found):
            raise Unavailable(f"Stripe lists no {what}", reason="stripe_api")
        return found, str(found[-1]["id"]) if more else None

    def endpoints(self) -> list[Notice]:
        listed = items(self.get("/v1/webhook_endpoints", limit=100).get("data"))
        return [*endpoints.notices(listed), *self._balance_notices()]

    def _balance_notices(self) -> Iterator[Notice]:
        try:
            self.get("/v1/balance_transactions", limit=1)
        except NotAllowed:
            yield Notice(
                "this key may not read the balance: fees, net and payouts' parts are not known",
                "allow Balance and Payouts, to be read, among the key's permissions at Stripe",
            )

    def get(self, path: str, **parameters: Any) -> Any:
        """What is at a path of the API. Raises ``NotFound``, ``Throttled``, ``Unavailable``."""
        client = sdk.StripeClient(
            self.key,
            base_addresses={"api": self.base},
            http_client=sdk.RequestsClient(timeout=TIMEOUT),
        )
        try:
            return client.raw_request("get", path, **parameters).data
        except sdk.StripeError as error:
            raise _refusal(error) from None


def _created(since: int, until: int) -> dict[str, int]:
    return {"gte": since // 1000, "lte": until // 1000}


def _place(subject: str) -> tuple[str, dict[str, str]]:
    """The object's id, and the connected account that it is asked for in, if it is in one."""
    _, *account, id_ = subject.split(":")
    return id_, {"stripe_account": account[0]} if account else {}


def _refusal(error: sdk.StripeError) -> Unavailable | NotFound:
    if error.http_status == 404:
        return NotFound("Stripe does not know it")
    if error.http_status == 429:
        asked = {name.lower(): value for name, value in dict(error.headers or {}).items()}
        wait = seconds(asked.get("retry-after"))
        return Throttled("Stripe was asked too often", reason="stripe_api", retry_after=wait)
    if error.http_status == 403:
        return NotAllowed("the key may not read this at Stripe", reason="stripe_key")
    return Unavailable("Stripe cannot be asked", reason="stripe_api")
