"""Lambda's runtime API on one machine: runs a packaged function with Lambda's own runtime client.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import files
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
UNSAMPLED = "Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=0"
START = 60.0  # seconds that a function may take to ask for its first event


class FunctionFailed(Exception):
    """The function raised, or could not be started; holds what it reported."""


class Invocation(NamedTuple):
    id: str
    event: Any
    trace: str
    deadline: int  # milliseconds


class Function:
    """One handler of an unpacked package, in a process that can import nothing else.

    ``environ`` is the function's whole environment. ``timeout`` in seconds.
    """

    def __init__(self, folder: Path, handler: str, environ: Mapping[str, str], timeout: float = 60.0) -> None:
        self.name = environ.get("AWS_LAMBDA_FUNCTION_NAME", "function")
        self._timeout = timeout
        self._waiting: queue.Queue[Invocation] = queue.Queue()
        self._answers: queue.Queue[tuple[bool, Any]] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()
        self.process = subprocess.Popen(  # noqa: S603 - runs the package, which is what it is for
            [sys.executable, "-S", "-m", "awslambdaric", handler],
            cwd=folder,
            env={
                "AWS_LAMBDA_FUNCTION_NAME": self.name,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                **environ,
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_address[1]}",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "LAMBDA_TASK_ROOT": str(folder),
                "_HANDLER": handler,
                "PYTHONPATH": f"{folder}:{environ['DAYBOOK_RUNTIME_CLIENT']}",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        self.lines.extend(self.process.stdout or ())

    def invoke(self, event: Any, trace: str = UNSAMPLED) -> Any:
        """What the handler returns. Raises ``FunctionFailed``."""
        deadline = int((time.time() + self._timeout) * 1000)
        self._waiting.put(Invocation(str(uuid4()), event, trace, deadline))
        limit = time.monotonic() + START + self._timeout
        while True:
            try:
                good, answer = self._answers.get(timeout=0.2)
            except queue.Empty:
                if self.process.poll() is None and time.monotonic() < limit:
                    continue
                raise FunctionFailed("".join(self.lines)) from None
            if not good:
                raise FunctionFailed(json.dumps(answer))
            return answer

    def next(self) -> Invocation:
        return self._waiting.get()

    def answer(self, good: bool, content: bytes) -> None:
        self._answers.put((good, json.loads(content or b"null")))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stdout:
            self.process.stdout.close()
        self._server.shutdown()
        self._server.server_close()


def _handler(function: Function) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and content in one packet

        def do_GET(self) -> None:
            invocation = function.next()
            content = json.dumps(invocation.event).encode()
            arn = f"arn:aws:lambda:us-east-1:123456789012:function:{function.name}"
            self.send_response(200)
            for name, value in (
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(content))),
                ("Lambda-Runtime-Aws-Request-Id", invocation.id),
                ("Lambda-Runtime-Deadline-Ms", str(invocation.deadline)),
                ("Lambda-Runtime-Invoked-Function-Arn", arn),
                ("Lambda-Runtime-Trace-Id", invocation.trace),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                content = _chunks(self.rfile)
            else:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            function.answer(self.path.endswith("/response"), content)
            self.send_response(202)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the function was stopped
                super().handle()

    return Handler


def _chunks(stream: Any) -> bytes:
    content = b""
    while size := int(stream.readline(), 16):
        content += stream.read(size)
        stream.readline()
    stream.readline()
    return content


def runtime_client(folder: Path) -> Path:
    """A folder with Lambda's runtime client alone, as this environment has it installed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CLIENT:
        for file in files(name) or ():
            source = Path(str(file.locate()))
            top = file.parts[0]
            if not top.startswith("..") and not (folder / top).exists():
                root = source.parents[len(file.parts) - 1]
                (folder / top).symlink_to(root / top)
    return folder
