"""Sending a program on this machine what a stage records, as the providers would, or what it notifies of, as
targets are sent it: signed with a local secret.

The stage is only read. Nothing goes to another machine: these are customers' payments.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.util import parse_url

from chalicelib import notification, standard_webhooks
from chalicelib.events import OWN, OWN_IDS
from chalicelib.ledger import Ledger
from chalicelib.outbox import shown_of
from chalicelib.settings import LOCAL_TARGET_SECRET
from chalicelib.subscriptions import TERMS, Terms
from ops import replay, stories
from ops.sender import Signer

HERE = ("localhost", "127.0.0.1", "::1")
NOT_SENT = "no provider sent it"
NOT_KEPT = "its body is not kept"
NO_ANSWER = "no answer"
NOT_THERE = "its record does not have it any more"
SECONDS = 30.0  # for an answer


def is_here(url: str) -> bool:
    """Whether the address is this machine's, and one that can be sent to; as who sends reads it, too."""
    parts = urlsplit(url)
    try:
        sent_to = (parse_url(url).host or "").strip("[]")
    except urllib3.exceptions.LocationParseError:
        return False
    return parts.scheme in ("http", "https") and parts.hostname == sent_to and sent_to in HERE


@dataclass(frozen=True, slots=True)
class Forwarding:
    """To ``url``. ``secret``: Stripe's signing secret, or of milestones a target's, else stage local's;
    PayPal's events are signed as `make run` signs them, where that runs, and else not at all. ``clock`` in
    milliseconds."""

    ledger: Ledger
    url: str
    secret: str | None
    environ: Mapping[str, str]
    clock: Callable[[], int]
    terms: Terms = TERMS
    pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(retries=False, timeout=SECONDS)
    )
    signers: dict[str, Signer | None] = field(default_factory=dict)

    def send(self, line: Mapping[str, Any]) -> str:
        """One event, by the line that tells of it; how it was answered, or why it was not sent."""
        subject, id_, type_ = str(line["subject"]), str(line["event_id"]), str(line["type"])
        if type_.startswith(OWN) or id_.startswith(OWN_IDS):
            return NOT_SENT
        stored = self.ledger.event(subject, id_)
        if stored is None or stored.body is None:
            return NOT_KEPT
        signer = self._signer(str(line["provider"]))
        headers = signer.headers(stored.body, self.clock()) if signer else {}
        answer = self._post(stored.body, headers)
        if answer is None or signer:
            return answer or NO_ANSWER
        return f"{answer}, unsigned: `make run` signs PayPal's"

    def send_milestone(self, line: Mapping[str, Any]) -> str:
        """One milestone, by the line that tells of it, its record as it is now; how it was answered."""
        subject = str(line["subject"])
        all_of_it = replay.reached(subject, self.ledger.record(subject))
        milestone = next((each for each in all_of_it if each.id == line["id"]), None)
        if milestone is None:
            return NOT_THERE
        record = shown_of(self.ledger, subject, self.terms)
        body = json.dumps(notification.webhook(record, milestone)).encode()
        id_ = standard_webhooks.message_id(milestone.id)
        secret = self.secret or LOCAL_TARGET_SECRET
        return self._post(body, standard_webhooks.headers([secret], id_, body, self.clock())) or NO_ANSWER

    def _post(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        sent = {"Content-Type": "application/json", **headers}
        try:
            return str(self.pool.request("POST", self.url, body=body, headers=sent, redirect=False).status)
        except urllib3.exceptions.HTTPError:
            return None

    def _signer(self, provider: str) -> Signer | None:
        if provider not in self.signers:
            rng = random.Random()  # noqa: S311 - transmissions' ids, no secrets
            secret = self.secret if provider == "stripe" else None
            try:
                self.signers[provider] = stories.MADE[provider].signer(secret, self.environ, rng)
            except Exception:  # no emulator, or none of ours: whatever it is, nothing can be signed by it
                self.signers[provider] = None
        return self.signers[provider]
