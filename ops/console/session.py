"""One run of the console: whose it is, what stage it shows, and what of that is kept for a moment."""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chalicelib.recording import Consumer
from chalicelib.subscriptions import Terms
from chalicelib.telemetry import Telemetry
from ops.console.overview import Overview, overview
from ops.console.sending import Sender
from ops.providers_api import Apis
from ops.signals import Alarm, Signals
from ops.stage import Stage

# Seconds after which the overview's figures are read anew. Here that costs nothing, and somebody watches;
# elsewhere CloudWatch asks for money for each figure, and has a new one once a minute.
FRESH, FRESH_HERE = 15.0, 0.4


def _random() -> str:
    return secrets.token_urlsafe(24)


@dataclass(slots=True)
class Console:
    """All that the pages need. ``clock`` in milliseconds; ``who`` names this person; ``sender``: local's.

    ``apis``: the providers' that the stage can ask. ``say`` tells the person at the terminal which address
    lets a browser in; where it is ``None`` everybody on this machine may look, at what is made up.
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
    say: Callable[[str], object] | None = None
    key: str = field(default_factory=_random)
    place: str = field(default_factory=_random)
    token: str = field(default_factory=_random)
    kept: dict[str, tuple[float, Overview]] = field(default_factory=dict)
    alarmed: tuple[float, list[Alarm]] = (0.0, [])

    @property
    def address(self) -> str:
        """What lets a browser in, once."""
        page = f"http://127.0.0.1:{self.port}"
        return f"{page}/login?key={self.key}" if self.say else page

    def let_in(self, key: str) -> str | None:
        """Where the pages are, for a browser that has the key, which is good once; ``None`` for any other."""
        if not hmac.compare_digest(key.encode(), self.key.encode()):
            return None
        self.key = _random()
        if self.say:
            self.say(f"a browser was let in; for another one: {self.address}")
        return f"/{self.place}"

    def is_place(self, segment: str) -> bool:
        """Whether that is where the pages are."""
        return hmac.compare_digest(segment.encode(), self.place.encode())

    def fresh(self, range_: str) -> float:
        """For how many seconds the figures of that time are good enough."""
        return FRESH_HERE if self.sender is not None and range_ == "hour" else FRESH

    @property
    def terms(self) -> Terms:
        """What the stage's subscriptions grant."""
        return self.consumer.terms

    def overview(self, range_: str) -> Overview:
        """The figures, as fresh as they have to be."""
        at, found = self.kept.get(range_, (0.0, None))
        if found is None or time.monotonic() - at > self.fresh(range_):
            now = datetime.fromtimestamp(self.clock() / 1000, UTC)
            found = overview(self.stage, range_, now, self.terms, self.alarms())
            self.kept[range_] = time.monotonic(), found
        return found

    def alarms(self) -> list[Alarm]:
        """The stage's, as fresh as other figures: in stage local each of them is worked out by a question."""
        at, found = self.alarmed
        if not found or time.monotonic() - at > FRESH:
            found = Signals(self.stage).alarms()
            self.alarmed = time.monotonic(), found
        return found

    def wrote(self, action: str, subject: str | None = None, event_id: str | None = None) -> None:
        """Who did what, to the console's log."""
        fields = {"action": action, "subject": subject, "event_id": event_id}
        self.telemetry.log("console", "WARNING", None, who=self.who(), **fields)
