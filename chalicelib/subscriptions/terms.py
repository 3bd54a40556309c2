"""What a stage grants beyond what is paid: its own settings."""

from dataclasses import dataclass

REFUNDED, DISPUTED, LOST = REVERSED = ("refunded", "disputed", "lost")  # what becomes of a payment


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """``slack`` and ``grace`` in days. ``reversed_ends``: which of ``REVERSED`` end access."""

    slack: int = 3
    grace: int = 7
    paused: str = "provider"
    ended_keeps_paid: bool = True
    reversed_ends: frozenset[str] = frozenset({LOST})


TERMS = Terms()  # where a stage says nothing else
