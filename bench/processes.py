"""Processes that are measured: warm ones that handle events on request, and cold starts."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bundles import ROOT, Bundle
from ops.local.runtime import Function

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """Nanoseconds of one call."""

    cpu: int
    wall: int


class Warm:
    """A handler in a process of its own that is told what to handle, a block of events at a time."""

    def __init__(self, bundle: Bundle, environ: Mapping[str, str], handler: str | None = None) -> None:
        self._name = bundle.name
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(ROOT / "bench" / "driver.py"), handler or bundle.handler],
            cwd=bundle.folder,
            env={
                **environ,
                **bundle.environ,
                "PYTHONPATH": str(bundle.folder),
                "LAMBDA_TASK_ROOT": str(bundle.folder),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def handle(self, events: list[Event]) -> list[Sample]:
        """What each of them cost. Raises ``RuntimeError`` if any was answered otherwise than with 200."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(events) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"statuses": ["no answer"]}
        if answer["statuses"] != [200]:
            raise RuntimeError(f"{self._name}: answered with {answer['statuses']}")
        return [Sample(*pair) for pair in zip(answer["cpu"], answer["wall"], strict=True)]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()


@dataclass(frozen=True, slots=True)
class Start:
    """From process start to first answer: nanoseconds, and the most memory it had, in bytes."""

    wall: int
    cpu: int
    memory: int


def cold(bundle: Bundle, environ: Mapping[str, str], event: Event) -> Start:
    """One start under Lambda's runtime client."""
    began = time.perf_counter_ns()
    function = Function(bundle.folder, bundle.handler, {**environ, **bundle.environ})
    try:
        answer = function.invoke(event)
        wall = time.perf_counter_ns() - began
        if answer["statusCode"] != 200:
            raise RuntimeError(f"{bundle.name}: {answer} {function.lines}")
        pid = function.process.pid
        tasks = Path(f"/proc/{pid}/task").iterdir()
        cpu = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
        status = Path(f"/proc/{pid}/status").read_text()
        [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        return Start(wall, cpu, int(peak) * 1024)
    finally:
        function.stop()


class Aws:
    """The stub of AWS in a process of its own."""

    def __init__(self, port: int, secret: str, certificate: Path, fuller: int = 0) -> None:
        self.address = f"http://127.0.0.1:{port}"
        command = [
            sys.executable,
            str(ROOT / "bench" / "stub.py"),
            str(port),
            secret,
            str(certificate),
            str(fuller),
        ]
        self._process = subprocess.Popen(command, env={"PATH": os.environ["PATH"]})
        deadline = time.monotonic() + 20
        while True:
            try:
                self.counts()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def counts(self) -> dict[str, int]:
        """The calls since it was last asked, by operation."""
        with urllib.request.urlopen(f"{self.address}/counts") as answer:
            found: dict[str, int] = json.load(answer)
        return found

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
