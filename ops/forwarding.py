"""Sending a program on this machine what a stage records, as the providers would: signed with a local secret.

The stage is only read. Nothing goes to another machine: these are customers' payments.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import urllib3

from chalicelib.events import OWN, OWN_IDS
from chalicelib.ledger import Ledger
from ops import stories
from ops.sender import Signer

HERE = ("localhost", "127.0.0.1", "::1")
NOT_SENT = "no provider sent it"
NOT_KEPT = "its body is not kept"
NO_ANSWER = "no answer"
SECONDS = 30.0  # for an answer


def is_here(url: str) -> bool:
    """Whether the address is this machine's, and one that can be sent to."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and parts.hostname in HERE


@dataclass(frozen=True, slots=True)
class Forwarding:
    """To ``url``. ``secret``: Stripe's signing secret, else stage local's; PayPal's are signed as `make run`
    signs them, where that runs, and else not at all. ``clock`` in milliseconds."""

    ledger: Ledger
    url: str
    secret: str | None
    environ: Mapping[str, str]
    clock: Callable[[], int]
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
        sent = {"Content-Type": "application/json", **headers}
        try:
            answer = self.pool.request("POST", self.url, body=stored.body, headers=sent, redirect=False)
        except urllib3.exceptions.HTTPError:
            return NO_ANSWER
        return str(answer.status) if signer else f"{answer.status}, unsigned: `make run` signs PayPal's"

    def _signer(self, provider: str) -> Signer | None:
        if provider not in self.signers:
            rng = random.Random()  # noqa: S311 - transmissions' ids, no secrets
            secret = self.secret if provider == "stripe" else None
            try:
                self.signers[provider] = stories.MADE[provider].signer(secret, self.environ, rng)
            except Exception:  # no emulator, or none of ours: whatever it is, nothing can be signed by it
                self.signers[provider] = None
        return self.signers[provider]
