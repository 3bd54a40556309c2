"""Targets on a running stage: the receivers of ``examples/``, a queue, and one where nobody answers."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from chalicelib.settings import LOCAL_TARGET_SECRET
from chalicelib.times import to_iso
from ops.stage import connect
from tests.conftest import ROOT, free_port, wait_until
from tests.core.test_posting import Receiver
from tests.running import Running, folder_of, started

PORTS = {name: free_port() for name in ("typescript", "php", "late")}
BOOKS = "arn:aws:sqs:us-east-1:123456789012:books.fifo"
NEEDED = {"typescript": ("node", "npm"), "php": ("php",)}
BUILD = {"typescript": (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "build"]), "php": ()}
START = {
    "typescript": ["node", "build/receiver.js"],
    "php": ["php", "-S", f"127.0.0.1:{PORTS['php']}", "receiver.php"],
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A `make run` with four targets."""
    hooks = {name: f"http://127.0.0.1:{port}/hook payment.succeeded" for name, port in PORTS.items()}
    targets = {f"DAYBOOK_TARGET_{name.upper()}": hook for name, hook in hooks.items()}
    folder = folder_of(tmp_path_factory, "targets")
    with started(Running(folder, **targets, DAYBOOK_TARGET_BOOKS=BOOKS)) as made:
        local = connect("local", made.environ)
        local.client("sqs").create_queue(QueueName="books.fifo", Attributes={"FifoQueue": "true"})
        yield made


def send(stage: Running, story: str = "checkout") -> str:
    """A story is sent and recorded; its payment's subject."""
    sent = stage.daybook("send", "stripe", "--story", story)
    assert sent.returncode == 0, sent.stderr
    return sent.stdout.split()[-1]


@contextmanager
def running(language: str, folder: Path) -> Iterator[Path]:
    """The receiver of that language, built and started where its runtime is; its log."""
    for name in NEEDED[language]:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not on this machine")
    shutil.copytree(ROOT / "docs" / "schemas", folder / "docs" / "schemas")
    built = shutil.ignore_patterns("node_modules", "build")
    own = shutil.copytree(ROOT / "examples" / language, folder / "examples" / language, ignore=built)
    for step in BUILD[language]:
        made = subprocess.run(step, cwd=own, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
    log = folder / "log"
    environ = {
        **os.environ,
        "SECRET": LOCAL_TARGET_SECRET,
        "PORT": str(PORTS[language]),
        "TMPDIR": str(folder),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            START[language], cwd=own, env=environ, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            wait_until(lambda: any(word in log.read_text() for word in ("ready", "started")))
            yield log
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.parametrize("language", ["typescript", "php"])
def test_a_receiver_in_any_language(stage: Running, language: str, tmp_path: Path) -> None:
    """It ships once what is sent twice, and takes nothing that Daybook did not sign."""
    with running(language, tmp_path) as log:
        subject = send(stage)
        order = f"order-{subject[-6:].lower()}"
        wait_until(lambda: f"ship {order}: 5000 EUR are paid" in log.read_text())
        again = stage.daybook("replay", subject, "--again", "--yes")
        assert again.returncode == 0, again.stderr
        wait_until(lambda: "left" not in _of(stage, subject, language))
        assert log.read_text().count(f"ship {order}") == 1
        for headers in (
            {},
            {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,eA=="},
        ):
            forged = urllib.request.Request(f"http://127.0.0.1:{PORTS[language]}/hook", b"{}", headers)
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(forged)


def _of(stage: Running, subject: str, target: str) -> str:
    """What `daybook show` says is left for a target."""
    lines = stage.daybook("show", subject).stdout.splitlines()
    return "\n".join(line for line in lines if f"target:{target} " in line)


def test_a_queue_has_them_in_order(stage: Running) -> None:
    """In one group for each payment, all that it reached, the payment as it is with it."""
    subject = send(stage, "partial-refunds")
    sqs = connect("local", stage.environ).client("sqs")
    url = sqs.get_queue_url(QueueName="books.fifo")["QueueUrl"]
    got: list[Any] = []

    def take() -> bool:
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"]
        )
        for each in answer.get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
            if each["Attributes"]["MessageGroupId"] == subject:
                got.append(json.loads(each["Body"]))
        return len(got) >= 4

    wait_until(take)
    reached = json.loads(stage.daybook("show", subject, "--json").stdout)["milestones"]
    assert [each["data"]["milestone"]["id"] for each in got] == [each["id"] for each in reached]
    assert {each["data"]["payment"]["id"] for each in got} == {subject}


def test_tail_forwards_what_was_notified(stage: Running) -> None:
    """To a program here, as it comes; the stage is only read."""
    began = to_iso(time.time_ns() // 1_000_000)
    subject = send(stage)
    receiver = Receiver()
    with receiver.running():
        options = ("--notified", "--since", began, "--count", "1", "--forward", receiver.url)
        done = stage.daybook("tail", *options, "--json")
    line = json.loads(done.stdout)
    assert (line["subject"], line["type"], line["answer"]) == (subject, "payment.succeeded", "200")
    [(headers, body)] = receiver.got
    assert Webhook(LOCAL_TARGET_SECRET).verify(body, headers)["data"]["payment"]["id"] == subject


def test_where_nobody_answers_it_is_said_and_sent_once_somebody_does(stage: Running) -> None:
    """By show, with what to do; by doctor; and replay sends it at once."""
    subject = send(stage)
    wait_until(lambda: "failed" in _of(stage, subject, "late"))
    assert "by no answer: NewConnectionError; tried again 20" in _of(stage, subject, "late")
    assert "late, " in stage.daybook("doctor").stdout
    receiver = Receiver(port=PORTS["late"])
    with receiver.running():
        replayed = stage.daybook("replay", subject)
        assert "what waits is sent anew to " in replayed.stdout
        assert "late" in replayed.stdout
        wait_until(lambda: len(receiver.got) > 0)
        wait_until(lambda: "left" not in _of(stage, subject, "late"))
