"""A ``make run`` of a test's own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, free_port

PORTS = ("PORT", "CONSOLE_PORT", "PAYPAL_PORT", "AWS_PORT")


DAYBOOK = str(Path(sys.executable).with_name("daybook"))


class Running:
    """A ``make run`` on ports of its own, with its temporary files in a folder of its own."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.ports = {name: free_port() for name in PORTS}
        self.folder = folder
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),  # the tests' own handlers are not installed
            **{name: str(port) for name, port in self.ports.items()},
            "TMPDIR": str(folder),
            # neither a proxy nor a profile of the person's may get in the way
            "HTTP_PROXY": "http://127.0.0.1:9",
            "http_proxy": "http://127.0.0.1:9",
            "AWS_PROFILE": "nonexistent",
            **environ,
        }
        self.log = folder.parent / "run.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops.local.run"],
                cwd=ROOT,
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            text = self.log.read_text()
            if "Ctrl-C" in text:
                return text
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def daybook(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [DAYBOOK, *arguments], env=self.environ, capture_output=True, text=True, check=False, cwd=ROOT
        )

    def shown(self, id_: str, events: int) -> dict[str, Any]:
        """``daybook show --json``, once that many events are recorded."""
        deadline = time.monotonic() + 30
        while True:
            found = self.daybook("show", id_, "--json")
            if found.returncode == 0:
                payment: dict[str, Any] = json.loads(found.stdout)
                if len(payment["events"]) == events:
                    return payment
            assert time.monotonic() < deadline, (found, self.log.read_text())
            time.sleep(0.2)


@contextmanager
def started(made: Running) -> Iterator[Running]:
    """Ready inside, and gone afterwards."""
    try:
        made.wait_until_ready()
        yield made
    finally:
        made.process.send_signal(signal.SIGINT)
        made.process.wait(30)


def folder_of(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """An empty folder, with room for the log beside it."""
    folder = tmp_path_factory.mktemp(name) / "tmp"
    folder.mkdir()
    return folder
