"""Sending stories to stage local's own app, in the background, so that the page can be watched meanwhile."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import urllib3

from ops import sender, stories

STORM = "storm"
IN_STORM = 30  # payments
MOST = 20  # times each
MEANS = {0: "no answer", 200: "200 accepted", 401: "401 refused", 503: "503 unavailable"}
ALREADY = 60_000  # milliseconds that a story began before now


@dataclass(frozen=True, slots=True)
class Order:
    """What to send: a story of a provider, or a storm of all; ``broken`` signs with a wrong secret."""

    provider: str
    story: str
    repeat: int = 1
    shuffle: bool = False
    broken: bool = False


@dataclass(slots=True)
class Sent:
    """What an order has come to so far, of ``of`` deliveries. ``answers`` counts statuses; 0 is no answer."""

    order: Order
    subjects: list[str]
    of: int
    answers: Counter[int] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.answers.total()

    @property
    def is_done(self) -> bool:
        return self.count == self.of

    @property
    def in_words(self) -> str:
        """How it was answered."""
        return ", ".join(f"{MEANS.get(status, status)} {count}" for status, count in self.answers.items())


@dataclass(slots=True)
class Sender:
    """Sends to the app at ``url``. ``signer`` makes a provider's signer, right or wrong."""

    url: str
    signer: Callable[[str, bool], sender.Signer]
    clock: Callable[[], int]
    rng: random.Random
    sent: list[Sent] = field(default_factory=list)
    pool: urllib3.PoolManager = field(default_factory=sender.pool)

    def send(self, order: Order) -> list[str]:
        """Begin to send; the subjects of what is sent."""
        bodies, subjects = self._bodies(order)
        sent = Sent(order, subjects, len(bodies))
        self.sent.insert(0, sent)
        del self.sent[10:]
        threading.Thread(target=self._send, args=[sent, bodies], daemon=True).start()
        return subjects

    def _bodies(self, order: Order) -> tuple[list[tuple[str, bytes]], list[str]]:
        made = [self._story(order.provider, order.story)]
        if order.story == STORM:
            kinds = [(provider, story) for provider in stories.MADE for story in stories.STORIES]
            made = [self._story(*self.rng.choice(kinds)) for _ in range(IN_STORM)]
        bodies = [
            (provider, body) for provider, _, events in made for body in events for _ in range(order.repeat)
        ]
        if order.shuffle or order.story == STORM:
            self.rng.shuffle(bodies)
        return bodies, [subject for _, subject, _ in made]

    def _story(self, provider: str, story: str) -> tuple[str, str, list[bytes]]:
        if story == STORM:
            return provider, "", []
        amount = self.rng.randrange(500, 20_000)
        currency = self.rng.choice(["EUR", "USD"])
        start = self.clock() - ALREADY
        subject, events = stories.tell(provider, self.rng, start, amount, currency, story=story)
        return provider, subject, [json.dumps(each).encode() for each in events]

    def _send(self, to: Sent, bodies: list[tuple[str, bytes]]) -> None:
        signers: Mapping[str, sender.Signer] = {
            provider: self.signer(provider, to.order.broken) for provider in {each for each, _ in bodies}
        }
        for provider, body in bodies:
            url = f"{self.url}/webhooks/{provider}"
            status = sender.post(self.pool, url, body, signers[provider].headers(body, self.clock()))
            to.answers[status or 0] += 1
