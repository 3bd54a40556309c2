"""Calls of AWS that fail."""

import random

from tests.proxy import FAULTS, Call

RATE = 0.1


class Faults:
    """Fails a part of all calls, each kind in turn, by a seed; none once told so."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.rate = RATE

    def __call__(self, call: Call) -> str | None:
        return self._rng.choice(FAULTS) if self._rng.random() < self.rate else None
