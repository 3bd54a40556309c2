"""A consumer or a receiver that kills itself at the n-th gap between two side effects.

python -m tests.crash consume N FILE      (a line in FILE for each milestone that its handler hears)
python -m tests.crash receive N FILE      (FILE holds the request as API Gateway hands it over)

With 0 for N it says which gaps there are.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ops.local.event_source import EventSource
from ops.stage import connect


class Gaps:
    """The gaps passed so far; a call at each one, the last one at the n-th."""

    def __init__(self, last: int) -> None:
        self._last = last
        self.passed: list[str] = []

    def __call__(self, service: str, what: str, request: bytes = b"") -> None:
        self.passed.append(f"{service} {what}")
        if len(self.passed) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def consume(app: Any, gap: Gaps, heard: Path) -> None:
    """Poll once: before each call of AWS, before and after the handler is a gap."""
    from chalicelib.reactions import on

    @on("payment.succeeded")
    def listen(payment: Any, milestone: Any) -> None:
        hear(milestone)

    @on("dispute.*")
    def listen_too(payment: Any, milestone: Any) -> None:
        hear(milestone)

    def hear(milestone: Any) -> None:
        gap("handler", "begins")
        with heard.open("a") as file:
            file.write(milestone.id + "\n")
        gap("handler", "ended")

    sqs = connect(app.SETTINGS.stage, os.environ).client("sqs")
    EventSource(sqs, app.SETTINGS.names.queue, app.process).poll(0)
    gap("batch", "ended")


def receive(app: Any, gap: Gaps, request: Path) -> None:
    """Answer one request: before each call of AWS, and before the answer leaves, is a gap."""
    answer = app.app(json.loads(request.read_text()), None)
    gap("request", "answered")
    sys.stdout.write(f"status: {answer['statusCode']}\n")


def attempt(role: str, environ: dict[str, str], n: int, file: Path) -> "subprocess.CompletedProcess[str]":
    """That in a process of its own; what it writes is written here too, where it is searched for marks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", role, str(n), str(file)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    sys.stdout.write(done.stdout + done.stderr)
    return done


def main(role: str, n: int, file: Path) -> None:
    import app

    gap = Gaps(n)
    app._aws().listeners.append(gap)
    {"consume": consume, "receive": receive}[role](app, gap, file)
    sys.stderr.write(f"gaps: {', '.join(gap.passed)}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
