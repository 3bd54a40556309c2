"""``make run``: start everything on 127.0.0.1, say so, and stop without a trace."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import certifi
import watchfiles

from chalicelib import settings
from chalicelib.names import SIMULATOR_SECRET
from chalicelib.settings import LOCAL_CREDENTIALS
from ops import stage
from ops.local.cloudwatch import Agent
from ops.local.paypal import FakePayPal, utc_now

ROOT = Path(__file__).resolve().parents[2]
START = 60.0  # seconds that a part may take to answer
# on this machine nothing is reached through a proxy
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
NO_PROXY = "127.0.0.1,localhost"
STOP = 5.0  # seconds that a part may take to end, before it is killed
# Seconds until a failed message is delivered again: short, so that a person can watch it. A sixth of it is
# the time that handlers have.
VISIBILITY = "12"

READY = """
ready: http://127.0.0.1:{port}

  the console               http://127.0.0.1:{console}
  Stripe's signing secret   {secret}
  PayPal's webhook id       {webhook_id}

  try:  .venv/bin/daybook send stripe --story partial-refunds --repeat 3 --shuffle
        .venv/bin/daybook list
        curl -i -X POST http://127.0.0.1:{port}/webhooks/stripe -d '{{}}'

  Ctrl-C stops everything.
"""


class Stopped(Exception):
    """A part ended by itself, or could not be started; the message says which."""


class Part:
    """One child process, in a process group of its own so that its children end with it."""

    def __init__(
        self, name: str, command: list[str], environ: Mapping[str, str], take: Callable[[str], object] | None
    ) -> None:
        self.name = name
        self._command = command
        self.environ = environ
        self._take = take
        self._start()

    def _start(self) -> None:
        out = subprocess.PIPE if self._take else subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        if self._process.stdout and self._take:
            threading.Thread(target=_read, args=[self._process.stdout, self._take], daemon=True).start()

    def ended(self) -> bool:
        return self._process.poll() is not None

    def ask_to_stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def stop(self) -> None:
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        self.stop()
        self._start()


def _read(lines: IO[str], take: Callable[[str], object]) -> None:
    with lines:
        for line in lines:
            take(line)


def main() -> int:
    """Run until Ctrl-C (0), or until something fails (1)."""
    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stop.set())
    try:
        ports = _ports(os.environ)
        with contextlib.ExitStack() as stack:
            _run(ports, stop, stack)
    except (Stopped, ValueError) as error:
        sys.stderr.write(f"daybook: {error}\n")
        return 1
    return 0


def _ports(environ: Mapping[str, str]) -> dict[str, int]:
    """The ports to use. Raises ``Stopped`` for one that is taken, naming its variable, or taken twice."""
    defaults = {
        "PORT": stage.PORT,
        "CONSOLE_PORT": stage.CONSOLE_PORT,
        "PAYPAL_PORT": stage.PAYPAL_PORT,
        "AWS_PORT": stage.AWS_PORT,
    }
    ports = {name: stage.port(environ, name, default) for name, default in defaults.items()}
    if len({*ports.values()}) < len(ports):
        raise Stopped(f"{', '.join(ports)} must be different ports")
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise Stopped(f"port {port} is in use; set {name} to another one") from None
    return ports


def _run(ports: Mapping[str, int], stop: threading.Event, stack: contextlib.ExitStack) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="daybook-")))
    paypal = FakePayPal(ports["PAYPAL_PORT"], folder, utc_now())
    paypal.start()
    stack.callback(paypal.stop)
    environ = _environ(ports, paypal, folder)
    settings.read(environ)  # what is wrong in it is said in a line, before each part says it
    python = sys.executable

    aws = [python, "-m", "ops.local.emulator", str(ports["AWS_PORT"])]
    parts = [_started(stack, "the AWS emulator", aws, environ)]
    # these ask AWS for nothing until they are asked themselves: they may begin before it is there
    local = stage.connect("local", environ)
    agent = Agent(local, _say)
    console = [str(Path(python).with_name("daybook")), "console", "--stage", "local"]
    parts.append(_started(stack, "the console", console, environ, _say_if_odd))
    command = str(Path(python).with_name("chalice"))
    chalice = [command, "local", "--stage", "local", "--port", str(ports["PORT"]), "--no-autoreload"]
    parts.append(_started(stack, "the app", chalice, environ, partial(agent.take, local.names.log_group())))
    _wait(f"http://127.0.0.1:{ports['AWS_PORT']}/moto-api/", parts, stop)
    if stop.is_set():
        return
    _create_resources(local, environ, paypal)
    agent.start()
    stack.callback(agent.stop)
    consumer = [python, "-m", "ops.local.event_source"]
    of_consumer = partial(agent.take, local.names.log_group("process"))
    parts.append(_started(stack, "the consumer", consumer, environ, of_consumer))
    _wait(f"http://127.0.0.1:{ports['PORT']}/health", parts, stop)
    _wait(f"http://127.0.0.1:{ports['CONSOLE_PORT']}/static/icon.svg", parts, stop)
    if not stop.is_set():
        _say_ready(ports, environ)
    _watch(parts, stop, environ)
    for part in parts:
        part.ask_to_stop()


def _environ(ports: Mapping[str, int], paypal: FakePayPal, folder: Path) -> dict[str, str]:
    """The environment of all parts: what is configured or set here, the emulator's AWS, the local PayPal."""
    configured = stage.connect("local", os.environ).config.get("environment_variables", {})
    set_here = {name: value for name, value in os.environ.items() if name != "AWS_PROFILE"}
    mine: dict[str, str] = {**configured, **set_here}
    named = {name: str(port) for name, port in ports.items()}
    own = mine.get("PAYPAL_CA_BUNDLE") or certifi.where()
    bundle = folder / "authorities.pem"
    bundle.write_bytes(Path(own).read_bytes() + paypal.authority.pem)
    hosts = ",".join(filter(None, (mine.get("PAYPAL_CERT_HOSTS"), paypal.host)))
    return {
        **mine,
        **stage.local_aws(named),
        **named,
        "DAYBOOK_STAGE": "local",
        "DAYBOOK_METRICS": "true",
        "DAYBOOK_PARTIAL_BATCHES": "true",
        "PAYPAL_CERT_HOSTS": hosts,
        "PAYPAL_CA_BUNDLE": str(bundle),
        "NO_PROXY": NO_PROXY,
        "no_proxy": NO_PROXY,
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }


def _started(
    stack: contextlib.ExitStack,
    name: str,
    command: list[str],
    environ: Mapping[str, str],
    take: Callable[[str], object] | None = None,
) -> Part:
    """A part whose lines go to ``take``, or nowhere."""
    part = Part(name, command, environ, take)
    stack.callback(part.stop)
    return part


def _wait(url: str, parts: list[Part], stop: threading.Event) -> None:
    """Return when ``url`` answers. Raises ``Stopped`` if a part ended, or none answers in time."""
    for _ in _until(time.monotonic() + START, stop):
        _check(parts)
        with contextlib.suppress(OSError), DIRECT.open(url, timeout=2):
            return
    if not stop.is_set():
        raise Stopped(f"no answer from {url} after {START:.0f} s")


def _until(deadline: float, stop: threading.Event) -> Iterator[None]:
    while time.monotonic() < deadline and not stop.wait(0.1):
        yield


def _check(parts: list[Part]) -> None:
    ended = [part for part in parts if part.ended()]
    if ended:
        fault = import_fault(ended[0].environ)
        why = f"stopped: {fault}" if fault else "stopped by itself; its last lines above say why"
        raise Stopped(f"{ended[0].name} {why}")


def _create_resources(local: stage.Stage, environ: Mapping[str, str], paypal: FakePayPal) -> None:
    """Deploy the same template as any stage's, and leave what ``daybook send paypal`` signs with."""
    create_stack(local, VISIBILITY)
    webhook_id = _first(environ, "paypal_webhook_ids")
    local.client("secretsmanager").create_secret(
        Name=SIMULATOR_SECRET, SecretString=paypal.simulator(webhook_id)
    )


def create_stack(to: stage.Stage, visibility: str) -> None:
    """The stage's table and queues, from ``infra/resources.yaml``."""
    cloudformation: Any = to.client("cloudformation")
    cloudformation.create_stack(
        StackName=to.names.stack,
        TemplateBody=(ROOT / "infra" / "resources.yaml").read_text(),
        Parameters=[
            {"ParameterKey": "Stage", "ParameterValue": to.name},
            {"ParameterKey": "VisibilityTimeout", "ParameterValue": visibility},
        ],
    )


def _first(environ: Mapping[str, str], credential: str) -> str:
    return environ.get(credential.upper(), LOCAL_CREDENTIALS[credential]).split(",")[0].strip()


def _say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _say_if_odd(line: str) -> None:
    """What the console says, but for its address, which is shown with the others'."""
    if not line.startswith("console of stage"):
        _say(line)


def _say_ready(ports: Mapping[str, int], environ: Mapping[str, str]) -> None:
    secret = _first(environ, "stripe_webhook_secrets")
    webhook_id = _first(environ, "paypal_webhook_ids")
    sys.stdout.write(
        READY.format(port=ports["PORT"], console=ports["CONSOLE_PORT"], secret=secret, webhook_id=webhook_id)
    )
    sys.stdout.flush()


def _watch(parts: list[Part], stop: threading.Event, environ: Mapping[str, str]) -> None:
    """Until told to stop: restart all but the emulator when code changes: the console runs handlers too.

    ``chalice local`` would restart itself, but at every file that is written below the project's folder: a
    commit, a test's output; and looks at all of them, an environment's too, every second.
    """
    changes = watchfiles.watch(
        ROOT / "app.py",
        ROOT / "chalicelib",
        watch_filter=watchfiles.PythonFilter(),
        stop_event=stop,
        rust_timeout=500,
        yield_on_timeout=True,
    )
    for changed in changes:
        if stop.is_set():
            return
        if changed:
            _restart(parts[1:], environ)
        _check(parts)


def _restart(parts: list[Part], environ: Mapping[str, str]) -> None:
    """With what was saved, if it can be imported; until then the old code goes on, and the data stay."""
    fault = import_fault(environ)
    if fault:
        _say(f"daybook: not restarted, the code before goes on: {fault}\n")
        return
    for part in parts:
        part.restart()


def import_fault(environ: Mapping[str, str]) -> str | None:
    """Why the app and its handlers cannot be imported, in a line that says where; ``None`` if they can."""
    command = [sys.executable, "-m", "ops.local.imports"]
    tried = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, errors="replace")
    lines = tried.stderr.strip().splitlines()
    return (lines[-1] if lines else f"it ends Python with {tried.returncode}") if tried.returncode else None


if __name__ == "__main__":
    sys.exit(main())
