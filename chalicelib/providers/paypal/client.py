"""Asking PayPal itself: whether it sent a webhook, what it shows of the money, and what it has sent of late.

https://developer.paypal.com/docs/api/webhooks/v1/#verify-webhook-signature_post
https://developer.paypal.com/docs/api/payments/v2/
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import certifi
import urllib3

from chalicelib.budget import Budget
from chalicelib.deadline import within
from chalicelib.errors import (
    CONTRADICTED,
    Distrusted,
    NotAllowed,
    NotConfigured,
    NotFound,
    NotShown,
    NotUnderstood,
    Throttled,
    Unavailable,
    seconds,
)
from chalicelib.events import Event, items, mapping
from chalicelib.payments import Payment
from chalicelib.providers.paypal import comparison, endpoints, history, transfers
from chalicelib.providers.paypal.confirmation import (
    SUBSCRIPTIONS,
    confirmed,
    path_to_confirm,
    path_to_subscription,
    with_subscription,
)
from chalicelib.providers.paypal.objects import DISPUTES, REFUNDS, moves_money_unnamed
from chalicelib.providers.protocol import Difference, Expected, Notice, Page
from chalicelib.times import HOUR, to_iso

FIELD_OF = {
    "paypal-transmission-id": "transmission_id",
    "paypal-transmission-time": "transmission_time",
    "paypal-transmission-sig": "transmission_sig",
    "paypal-cert-url": "cert_url",
    "paypal-auth-algo": "auth_algo",
}
EXPIRES_EARLY = 60_000  # milliseconds
SECONDS = 5.0  # by the wall clock, for one question
# Postbacks an hour in a process that PayPal does not confirm: in all, of one transmission; and how many
# transmissions are remembered.
IN_VAIN, IN_VAIN_EACH, REMEMBERED = 100, 3, 1000
WEBHOOKS = "/v1/notifications/webhooks"
EVENTS = "/v1/notifications/webhooks-events"
DISPUTED = "/v1/customer/disputes"
PAGE = 100  # events asked for; PayPal may give fewer


def _name(refusal: object) -> str:
    """What PayPal calls its refusal: https://developer.paypal.com/api/rest/responses/"""
    return str(mapping(refusal).get("name") or "paypal_api")


def _id(event: Mapping[str, Any]) -> object:
    return mapping(event.get("resource")).get("id")


class PayPalApi:
    """PayPal's API at ``api``, with an OAuth token that is kept until shortly before its end."""

    def __init__(
        self,
        api: str,
        client: tuple[str, ...],
        clock: Callable[[], int],
        ca_bundle: str | None = None,
        webhook_ids: tuple[str, ...] = (),
    ) -> None:
        self._api = api
        self._webhook_ids = webhook_ids
        self._client = client
        self._clock = clock
        self._token = ""
        self._token_ends = 0
        self._owns = False
        self._history = history.History(self.get, api, clock)
        self._in_vain = Budget(clock, IN_VAIN)
        self._in_vain_each: dict[str, Budget] = {}
        self._pool = urllib3.PoolManager(
            cert_reqs="CERT_REQUIRED",
            ca_certs=ca_bundle or certifi.where(),
            retries=False,
            timeout=urllib3.Timeout(total=SECONDS),
        )

    def confirms(self, transmission: Mapping[str, str], body: bytes, webhook_id: str) -> bool:
        """Whether PayPal says SUCCESS. The body goes in as it came: parsed and written anew it may differ.

        Raises ``Unavailable``, also where PayPal has said no too often of late: of this transmission, or of
        all that it has said no of before.
        """
        of_this = self._in_vain_of(transmission["paypal-transmission-id"])
        if of_this.is_spent or (of_this.count and self._in_vain.is_spent):
            raise Unavailable("asked too much in vain", reason="questions_spent")
        fields = {FIELD_OF[name]: value for name, value in transmission.items()}
        start = json.dumps({**fields, "webhook_id": webhook_id})[:-1].encode()
        question = start + b', "webhook_event": ' + body + b"}"
        headers = {"Authorization": f"Bearer {self._access_token()}", "Content-Type": "application/json"}
        try:
            answer = self._ask("POST", "/v1/notifications/verify-webhook-signature", question, headers)
        except NotUnderstood:
            answer = {}
        is_genuine = answer.get("verification_status") == "SUCCESS"
        if not is_genuine:
            of_this.spend()
            self._in_vain.spend()
        return is_genuine

    def _in_vain_of(self, transmission: str) -> Budget:
        found = self._in_vain_each.setdefault(transmission, Budget(self._clock, IN_VAIN_EACH))
        if len(self._in_vain_each) > REMEMBERED:
            self._in_vain_each.pop(next(iter(self._in_vain_each)))
        return found

    def complete(self, event: Event) -> Event:
        """The event as far as PayPal bears it out, if money moves by it, or access; else as it is.

        Raises ``Distrusted`` where PayPal shows otherwise, ``NotShown`` where it may only be late: what stays
        so is parked after its last try; ``Unavailable`` where it cannot be asked. An application that may
        not read disputes is answered 403: those are as good as their signature, and ``doctor`` says so.
        """
        path = path_to_confirm(event)
        if path is None:
            if moves_money_unnamed(event):
                raise Distrusted(CONTRADICTED)
            return self._with_subscription(event)
        try:
            shown = self.get(path)
        except NotAllowed:
            if event.type not in DISPUTES or self._may_read_disputes():
                raise
            return event
        if not shown:
            raise NotShown("PayPal does not show it", reason="not_shown")
        if event.type in REFUNDS:
            self._confirm_type(event)
        return self._with_subscription(confirmed(event, shown, self._api + path))

    def _with_subscription(self, event: Event) -> Event:
        """The event with the subscription that it is about, or its sale is of, as PayPal shows that now.

        A sale counts without it too, as where its agreement is older than PayPal's subscriptions. Where the
        application may not read them, an event of one is as good as its signature.
        """
        path = path_to_subscription(event)
        if path is None:
            return event
        try:
            shown = self.get(path)
        except NotAllowed:
            return event
        if not shown:
            if event.is_confirmed:  # as a sale
                return event
            raise NotShown("PayPal does not show this subscription", reason="not_shown")
        return with_subscription(event, shown, self._api + path)

    def _confirm_type(self, event: Event) -> None:
        """A refund and a reversal look the same at PayPal's API: its own copy of the event says which it was.

        An application is shown the events of its own webhooks.
        """
        copy = self.get(f"{EVENTS}/{quote(event.id, safe='')}")
        if not copy and self._owns_webhook():
            raise NotShown("PayPal does not show this event", reason="not_shown")
        if copy and (copy.get("event_type"), _id(copy)) != (event.type, _id(event.payload)):
            raise Distrusted(CONTRADICTED)

    def _owns_webhook(self) -> bool:
        """Whether the webhook is this application's; that it is does not change."""
        if not self._owns:
            listed = items(self.get(WEBHOOKS).get("webhooks"))
            self._owns = any(each.get("id") in self._webhook_ids for each in listed)
        return self._owns

    def page(self, since: int, until: int, cursor: str | None) -> Page:
        """A page of the application's events. Raises ``Throttled``, ``Unavailable``.

        ``cursor`` is the path of the page: of the link that PayPal gives only that is followed.
        """
        asked = {"page_size": PAGE, "start_time": to_iso(since), "end_time": to_iso(until)}
        answer = self.get(cursor or f"{EVENTS}?{urlencode(asked)}")
        if not isinstance(answer.get("events"), list):
            raise Unavailable("PayPal lists no events", reason="paypal_api")
        links = [str(link.get("href")) for link in items(answer.get("links")) if link.get("rel") == "next"]
        following = urlsplit(links[0]) if links else None
        if following and following.path != EVENTS:
            raise Unavailable("PayPal's listing leads elsewhere", reason="paypal_api")
        bodies = [json.dumps(each).encode() for each in items(answer["events"])]
        return Page(bodies, f"{EVENTS}?{following.query}" if following and bodies else None)

    def differences(self, ours: Payment) -> list[Difference] | None:
        return list(comparison.differences(ours, self._capture(ours)))

    def shown(self, ours: Payment) -> list[bytes]:
        found = comparison.bodies(self._capture(ours), self._clock())
        return [json.dumps(each).encode() for each in found]

    def subscription(self, subject: str) -> list[bytes]:
        now, id_ = self._clock(), subject.rpartition(":")[2]
        shown = self.get(f"{SUBSCRIPTIONS}{quote(id_, safe='')}?fields=plan")
        if not shown:
            raise NotFound("PayPal does not know it")
        told = {"event_type": "BILLING.SUBSCRIPTION.UPDATED", "create_time": to_iso(now), "resource": shown}
        return [json.dumps({"id": f"asked-{id_}-{now}", "resource_version": "2.0", **told}).encode()]

    def _capture(self, ours: Payment) -> dict[str, Any]:
        capture = self.get(f"/v2/payments/captures/{ours.id.rpartition(':')[2]}")
        if not capture:
            raise NotFound("PayPal does not know it")
        return capture

    def balance(self, since: int, until: int, cursor: str | None) -> Page:
        """A page of the transfers to the bank; an application needs the feature Transaction Search for it."""
        return transfers.page(self.get, since, until, cursor)

    def kinds(self) -> Iterable[str]:
        return history.KINDS

    def history(self, kind: str, since: int, until: int, cursor: str | None) -> Page:
        return self._history.page(kind, since, until, cursor)

    def expected(self, kind: str, since: int, until: int) -> Expected:
        return self._history.expected(kind, since, until)

    def endpoints(self) -> list[Notice]:
        listed = items(self.get(WEBHOOKS).get("webhooks"))
        return [*endpoints.notices(listed, self._webhook_ids), *self._disputes(), *self._transfers()]

    def _transfers(self) -> Iterator[Notice]:
        now = self._clock()
        try:
            self.balance(now - HOUR, now, None)
        except NotAllowed:
            yield Notice(
                "this application may not search transactions: transfers to the bank are not known",
                "allow Transaction Search among the application's features at PayPal",
            )

    def _disputes(self) -> Iterator[Notice]:
        if not self._may_read_disputes():
            yield Notice(
                "this application may not read disputes: each is as good as its signature",
                "allow Disputes among the application's features at PayPal",
            )

    def _may_read_disputes(self) -> bool:
        """Any at all: one of them may be somebody else's. Raises ``Unavailable``."""
        try:
            self.get(f"{DISPUTED}?page_size=1")
        except NotAllowed:
            return False
        return True

    def get(self, path: str) -> dict[str, Any]:
        """What is at a path of the API, empty if nothing is. Raises ``Throttled``, ``Unavailable``."""
        return self._ask("GET", path, None, {"Authorization": f"Bearer {self._access_token()}"})

    def _access_token(self) -> str:
        if self._clock() < self._token_ends:
            return self._token
        if len(self._client) != 2:
            raise NotConfigured("this endpoint is not configured", reason="no_paypal_client")
        try:
            basic = urllib3.make_headers(basic_auth=":".join(self._client))
        except UnicodeEncodeError:  # such as an ellipsis that was copied with it
            raise NotConfigured("PayPal's credentials are none", reason="paypal_client") from None
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._ask("POST", "/v1/oauth2/token", b"grant_type=client_credentials", {**basic, **form})
        self._token = str(answer.get("access_token", ""))
        self._token_ends = self._clock() + int(answer.get("expires_in", 0)) * 1000 - EXPIRES_EARLY
        return self._token

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> dict[str, Any]:
        try:
            response = self._request(method, self._api + path, body, headers)
            answer = response.json()
        except (urllib3.exceptions.HTTPError, ValueError, TimeoutError):
            raise Unavailable("PayPal cannot be asked", reason="paypal_api") from None
        if response.status == 401:
            self._token_ends = 0  # revoked before its time: the next try has a new one
        if response.status == 429:
            wait = seconds(response.headers.get("retry-after"))
            raise Throttled("PayPal was asked too often", reason="paypal_api", retry_after=wait)
        if response.status == 404 and method == "GET":
            return {}
        if response.status == 400:
            raise NotUnderstood("PayPal does not understand it", reason=_name(answer))
        if response.status == 403:
            raise NotAllowed("PayPal does not let this application ask", reason="paypal_api")
        if response.status != 200 or not isinstance(answer, dict):
            raise Unavailable("PayPal cannot be asked", reason="paypal_api")
        return answer

    def _request(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Any:
        """Asked once more where a kept connection broke, which PayPal may have closed meanwhile."""
        request = partial(self._pool.request, method, url, body=body, headers=headers, redirect=False)
        try:
            return within(SECONDS, request)
        except urllib3.exceptions.ProtocolError:
            return within(SECONDS, request)
