"""A consumer that kills itself at the n-th gap between two side effects; with 0 it says which there are.

python -m tests.crash N FILE      (a line in FILE for each milestone that its handler hears)
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from ops.local.event_source import EventSource
from ops.stage import connect


def main(n: int, heard: Path) -> None:
    """Poll once: before each call of AWS, before and after the handler is a gap."""
    import app
    from chalicelib.reactions import on

    gaps: list[str] = []

    def gap(service: str, what: str, request: bytes = b"") -> None:
        gaps.append(f"{service} {what}")
        if len(gaps) == n:
            os.kill(os.getpid(), signal.SIGKILL)

    @on("payment.*")
    def listen(payment: Any, milestone: Any) -> None:
        gap("handler", "begins")
        with heard.open("a") as file:
            file.write(milestone.id + "\n")
        gap("handler", "ended")

    app._aws().listeners.append(gap)
    sqs = connect(app.SETTINGS.stage, os.environ).client("sqs")
    EventSource(sqs, app.SETTINGS.queue, app.process).poll(0)
    gap("batch", "ended")
    sys.stderr.write(f"gaps: {', '.join(gaps)}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
