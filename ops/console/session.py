"""One run of the console: whose it is, what stage it shows, and what of that is kept for a moment."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chalicelib.recording import Consumer
from chalicelib.telemetry import Telemetry
from ops.console.overview import Overview, overview
from ops.console.sending import Sender
from ops.providers_api import Apis
from ops.stage import Stage

# Seconds after which the overview's figures are read anew. Here that costs nothing, and somebody watches;
# elsewhere CloudWatch asks for money for each figure, and has a new one once a minute.
FRESH, FRESH_HERE = 15.0, 0.4


@dataclass(slots=True)
class Console:
    """All that the pages need. ``clock`` in milliseconds; ``who`` names this person; ``sender``: local's.

    ``apis``: the providers' that the stage can ask.
    """

    stage: Stage
    consumer: Consumer
    telemetry: Telemetry
    clock: Callable[[], int]
    who: Callable[[], str]
    port: int
    may_write: bool
    sender: Sender | None = None
    apis: Callable[[], Apis] = dict
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    kept: dict[str, tuple[float, Overview]] = field(default_factory=dict)

    def fresh(self, range_: str) -> float:
        """For how many seconds the figures of that time are good enough."""
        return FRESH_HERE if self.sender is not None and range_ == "hour" else FRESH

    def overview(self, range_: str) -> Overview:
        """The figures, as fresh as they have to be."""
        at, found = self.kept.get(range_, (0.0, None))
        if found is None or time.monotonic() - at > self.fresh(range_):
            found = overview(self.stage, range_, datetime.fromtimestamp(self.clock() / 1000, UTC))
            self.kept[range_] = time.monotonic(), found
        return found

    def wrote(self, action: str, subject: str | None = None, event_id: str | None = None) -> None:
        """Who did what, to the console's log."""
        fields = {"action": action, "subject": subject, "event_id": event_id}
        self.telemetry.log("console", "WARNING", None, who=self.who(), **fields)
