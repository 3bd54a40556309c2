"""Not asking somebody else too often: what others make up is to be their work, not ours or a provider's."""

from collections import deque
from collections.abc import Callable

HOUR = 3_600_000  # milliseconds


class Budget:
    """At most ``most`` in any hour, in this process. ``clock`` in milliseconds."""

    def __init__(self, clock: Callable[[], int], most: int) -> None:
        self._clock = clock
        self._spent: deque[int] = deque(maxlen=most)
        self._most = most

    @property
    def count(self) -> int:
        """How much was spent of late, an hour ago or longer too."""
        return len(self._spent)

    @property
    def is_spent(self) -> bool:
        return len(self._spent) == self._most and self._clock() - self._spent[0] < HOUR

    def spend(self) -> None:
        self._spent.append(self._clock())
