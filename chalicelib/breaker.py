"""Not waiting for a provider again that was just waited for in vain."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chalicelib.errors import NotAllowed, NotShown, NotUnderstood, Unavailable

SLOW = 1_000  # milliseconds: what fails sooner holds nobody up
REST = 30_000  # milliseconds


class CircuitBreaker:
    """Keeps a provider that hangs from holding up a batch once for each of its events.

    ``clock`` in milliseconds. What fails for this is delivered again, as if the provider had been asked.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._rests_until: dict[str, int] = {}

    @contextmanager
    def asking(self, provider: str) -> Iterator[None]:
        """Ask inside. Raises ``Unavailable`` without asking while the provider is left alone."""
        began = self._clock()
        if began < self._rests_until.get(provider, 0):
            raise Unavailable(f"{provider} is left alone for a while", reason="provider_rests")
        try:
            yield
        except (NotAllowed, NotShown, NotUnderstood):
            raise  # it answered
        except Unavailable:
            if self._clock() - began >= SLOW:
                self._rests_until[provider] = self._clock() + REST
            raise
