"""What holds of a subscription, in words that are the same for all providers."""

from dataclasses import dataclass
from typing import Any

PENDING, TRIALING, ACTIVE, PAST_DUE, UNPAID, PAUSED, ENDED = STATUSES = (
    "pending",
    "trialing",
    "active",
    "past_due",
    "unpaid",
    "paused",
    "ended",
)
SERVICE, COLLECTION = "service", "collection"  # what is paused


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Instants in milliseconds, ``None`` where nothing is known."""

    status: str = PENDING
    provider_status: str | None = None
    items: tuple[dict[str, Any], ...] = ()
    started_at: int | None = None
    trial_ends_at: int | None = None
    paid_through: int | None = None
    cancel_at: int | None = None
    ended_at: int | None = None
    ended_reason: str | None = None
    provider_reason: str | None = None
    pause: str | None = None
    paused_until: int | None = None
    pending: Any = None
    past_due_since: int | None = None
    failed_attempts: int = 0
    next_attempt_at: int | None = None
    certain: bool = False

    @property
    def period_end(self) -> int | None:
        """The running period's end, as the provider states it: the earliest item's."""
        return min((each["period_end"] for each in self.items if each["period_end"]), default=None)

    @property
    def is_free(self) -> bool:
        return bool(self.items) and all(each["amount"] == 0 for each in self.items)
