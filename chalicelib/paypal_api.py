"""Asking PayPal itself: whether it sent a webhook, and what it shows of the money that an event tells of.

https://developer.paypal.com/docs/api/webhooks/v1/#verify-webhook-signature_post
https://developer.paypal.com/docs/api/payments/v2/
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import certifi
import urllib3

from chalicelib.errors import Distrusted, NotConfigured, Unavailable
from chalicelib.events import Event
from chalicelib.providers import paypal

FIELD_OF = {
    "paypal-transmission-id": "transmission_id",
    "paypal-transmission-time": "transmission_time",
    "paypal-transmission-sig": "transmission_sig",
    "paypal-cert-url": "cert_url",
    "paypal-auth-algo": "auth_algo",
}
EXPIRES_EARLY = 60_000  # milliseconds


class PayPalApi:
    """PayPal's API at ``api``, with an OAuth token that is kept until shortly before its end."""

    def __init__(
        self,
        api: str,
        client: tuple[str, ...],
        clock: Callable[[], int],
        ca_bundle: str | None = None,
    ) -> None:
        self._api = api
        self._client = client
        self._clock = clock
        self._token = ""
        self._token_ends = 0
        self._pool = urllib3.PoolManager(
            cert_reqs="CERT_REQUIRED",
            ca_certs=ca_bundle or certifi.where(),
            retries=False,
            timeout=urllib3.Timeout(total=5.0),
        )

    def confirms(self, transmission: Mapping[str, str], body: bytes, webhook_id: str) -> bool:
        """Whether PayPal says SUCCESS. The body goes in as it came: parsed and written anew it may differ."""
        fields = {FIELD_OF[name]: value for name, value in transmission.items()}
        start = json.dumps({**fields, "webhook_id": webhook_id})[:-1].encode()
        answer = self._ask(
            "POST",
            "/v1/notifications/verify-webhook-signature",
            start + b', "webhook_event": ' + body + b"}",
            {"Authorization": f"Bearer {self._access_token()}", "Content-Type": "application/json"},
        )
        return answer.get("verification_status") == "SUCCESS"

    def confirm(self, event: Event) -> None:
        """Return if PayPal shows the money as the event tells it, or the event tells of none.

        Raises ``Distrusted`` where it does not, ``Unavailable`` where it cannot be asked.
        """
        path = paypal.path_to_confirm(event)
        if path is None:
            return
        shown = self._ask("GET", path, None, {"Authorization": f"Bearer {self._access_token()}"})
        if not shown:  # it may not be readable yet; what stays so is parked after its last try
            raise Unavailable("PayPal does not show it", reason="paypal_api")
        if paypal.contradicts(event, shown):
            raise Distrusted("contradicted")

    def _access_token(self) -> str:
        if self._clock() < self._token_ends:
            return self._token
        if len(self._client) != 2:
            raise NotConfigured("this endpoint is not configured", reason="no_paypal_client")
        basic = urllib3.make_headers(basic_auth=":".join(self._client))
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._ask("POST", "/v1/oauth2/token", b"grant_type=client_credentials", {**basic, **form})
        self._token = str(answer.get("access_token", ""))
        self._token_ends = self._clock() + int(answer.get("expires_in", 0)) * 1000 - EXPIRES_EARLY
        return self._token

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> dict[str, Any]:
        try:
            response = self._pool.request(
                method, self._api + path, body=body, headers=headers, redirect=False
            )
            answer = response.json()
        except (urllib3.exceptions.HTTPError, ValueError):
            raise Unavailable("PayPal cannot be asked", reason="paypal_api") from None
        if response.status == 401:
            self._token_ends = 0  # revoked before its time: the next try has a new one
        if response.status == 404 and method == "GET":
            return {}
        if response.status != 200 or not isinstance(answer, dict):
            raise Unavailable("PayPal cannot be asked", reason="paypal_api")
        return answer
