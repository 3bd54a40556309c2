"""``make run`` itself: it starts, tells what to do, does it, and stops without a trace."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ops.local import run
from tests.conftest import ROOT, free_port, wait_until
from tests.running import Running, folder_of, started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(Running(folder_of(tmp_path_factory, "run"))) as made:
        yield made


def test_it_says_what_to_do(running: Running) -> None:
    """The address, the local credentials, and three commands to try."""
    text = running.log.read_text()
    assert f"ready: http://127.0.0.1:{running.ports['PORT']}" in text
    for word in ("whsec_local", "LOCAL00000000001", "daybook send", "daybook list", "curl"):
        assert word in text


@pytest.mark.parametrize(("provider", "events"), [("stripe", 7), ("paypal", 4)])
def test_a_shuffled_story_makes_one_right_payment(running: Running, provider: str, events: int) -> None:
    """Sent by the command, through the app, the queue and the consumer, and shown by the command."""
    sent = running.daybook("send", provider, "--story", "partial-refunds", "--repeat", "3", "--shuffle")
    assert sent.returncode == 0, sent.stderr
    tally = re.fullmatch(r"sent (\d+), accepted (\d+), refused 0, [\d.]+ s: (\S+)\n", sent.stdout)
    assert tally
    assert int(tally[1]) == int(tally[2]) == 3 * events
    payment = running.shown(tally[3], events)
    assert (payment["status"], payment["captured"], payment["refunded"]) == ("partially_refunded", 5000, 1200)
    assert running.shown(payment["events"][0]["id"], events) == payment
    listed = json.loads(running.daybook("list", "--json").stdout)
    assert tally[3] in [each["id"] for each in listed["payments"]]
    for command in (("show", tally[3]), ("list",)):
        text = running.daybook(*command)
        assert tally[3] in text.stdout
        assert "50.00 EUR" in text.stdout


def test_a_forgery_is_a_clean_401(running: Running) -> None:
    """The README's third command."""
    url = f"http://127.0.0.1:{running.ports['PORT']}/webhooks/stripe"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, data=b"{}")
    with refused.value as answer:
        assert answer.code == 401
        assert json.load(answer)["Code"] == "InvalidSignature"


def test_wrong_secrets_are_refused_and_said_so(running: Running) -> None:
    """The command counts the refusals and exits with 1."""
    for provider, type_ in (("stripe", "charge.succeeded"), ("paypal", "PAYMENT.CAPTURE.COMPLETED")):
        sent = running.daybook("send", provider, type_, "--secret", "wrong")
        assert sent.returncode == 1
        assert "accepted 0, refused 1" in sent.stdout


def not_started(environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What `make run` says where it ends by itself."""
    command = [sys.executable, "-m", "ops.local.run"]
    return subprocess.run(
        command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )


def test_a_second_one_names_the_busy_port(running: Running) -> None:
    """In one line, with the variable that changes it."""
    second = not_started(running.environ)
    assert second.returncode == 1
    assert second.stderr == f"daybook: port {running.ports['PORT']} is in use; set PORT to another one\n"


def test_a_setting_that_is_wrong_is_said_in_a_line() -> None:
    """By its name, before anything is started that would say it with a traceback."""
    ports = {name: str(free_port()) for name in ("PORT", "CONSOLE_PORT", "PAYPAL_PORT", "AWS_PORT")}
    done = not_started({**os.environ, **ports, "DAYBOOK_TARGET_SHOP": "slack payment.succeded"})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert (
        "DAYBOOK_TARGET_SHOP: nobody is ever notified of payment.succeded: use one of payment." in done.stderr
    )


def test_the_same_port_twice_is_refused() -> None:
    """Before anything is started."""
    port = str(free_port())
    with pytest.raises(run.Stopped, match="must be different ports"):
        run._ports({"PORT": port, "CONSOLE_PORT": port})


def test_what_was_sent_is_found_by_what_is_printed(running: Running) -> None:
    """Also where it is about something else than a payment."""
    sent = running.daybook("send", "stripe", "customer.created").stdout.split()[-1]
    assert sent.startswith("stripe:cus_")
    wait_until(lambda: running.daybook("show", sent).returncode == 0)


def test_ctrl_c_leaves_nothing_behind(running: Running) -> None:
    """Exit 0, no process, no open port, no temporary file. Runs last: it stops what the others use."""
    group = os.getpgid(running.process.pid)
    assert list(running.folder.iterdir())
    os.killpg(group, signal.SIGINT)
    assert running.process.wait(30) == 0
    assert list(running.folder.iterdir()) == []
    for port in running.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert not processes_with(f"TMPDIR={running.folder}")
    assert tempfile.gettempdir() != str(running.folder)


def processes_with(variable: str) -> list[int]:
    """The processes that were given that environment variable."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found
