"""``docs/handlers.md``, taken at its word: its example is packaged and run, and its test passes."""

import http.server
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops.stage import Stage
from ops.stories import tell
from tests.conftest import ROOT
from tests.fakes import as_bytes
from tests.packaged import batch, now, packaged, project, stripe_request, unpacked
from tests.packaged import functions as running


def documented(language: str) -> list[str]:
    """The blocks of a language, from the complete example on."""
    text = (ROOT / "docs" / "handlers.md").read_text().partition("\n## What it needs")[2]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def example() -> tuple[str, str, dict[str, str], dict[str, Any], str]:
    """The handler, its test, the settings, the statement for the policy, and the libraries."""
    handler, test = documented("python")
    settings, statement = (json.loads(each) for each in documented("json"))
    [libraries] = documented("text")
    return handler, test, settings, statement, libraries


@contextmanager
def fake_ses() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address, and the mails that it was sent.

    https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
    """
    mails: list[dict[str, Any]] = []

    class Ses(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            mail = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            mails.append({"path": self.path, **mail})
            self.send_response(200)
            self.send_header("Content-Length", "18")
            self.end_headers()
            self.wfile.write(b'{"MessageId": "1"}')

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing is printed."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", mails
        server.shutdown()


def test_the_handler_ships_an_order_by_mail(tmp_path: Path, template: dict[str, Any], dev: Stage) -> None:
    """Packaged with its library, run with its settings: one mail, with the order's reference."""
    handler, _, settings, statement, libraries = example()
    made = project(tmp_path / "mailing")
    (made / "chalicelib" / "handlers.py").write_text(handler)
    with (made / "requirements.txt").open("a") as file:
        file.write(f"# Yours: what your handlers import.\n{libraries}")
    policy = made / ".chalice" / "policy-dev-process.json"
    granted = json.loads(policy.read_text())
    granted["Statement"].append(statement)
    policy.write_text(json.dumps(granted))
    bundle = unpacked(packaged(made)[0], made)
    _, events = tell("stripe", random.Random(now()), now(), 5000, "EUR", story="checkout")
    with fake_ses() as (address, mails), running(bundle, template, str(dev.endpoint)) as functions:
        api = functions.start("APIHandler")
        for event in events:
            event["data"]["object"] |= {"metadata": {"order_id": "1001"}, "client_reference_id": None}
            assert api.invoke(stripe_request(as_bytes(event)))["statusCode"] == 200, api.lines
        consumer = functions.start("Process", None, **settings, AWS_ENDPOINT_URL_SESV2=address)
        while (records := batch(dev, "payment-events-dev.fifo"))["Records"]:
            consumer.invoke(records)
    [mail] = mails
    assert mail["path"] == "/v2/email/outbound-emails"
    assert mail["Content"]["Simple"]["Subject"]["Data"] == "Ship 1001"
    assert mail["Content"]["Simple"]["Body"]["Text"]["Data"].startswith(
        "Ship order 1001: 50.00 EUR are paid."
    )
    assert mail["Destination"]["ToAddresses"] == [settings["MAIL_TO"]]


def test_its_test_passes_and_shows_what_a_handler_raises(tmp_path: Path) -> None:
    """Next to the handler, with nothing running."""
    handler, test, settings, _, _ = example()
    shutil.copy(ROOT / "app.py", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "chalicelib", tmp_path / "chalicelib", ignore=ignored)
    mine = tmp_path / "chalicelib" / "handlers.py"
    (tmp_path / "test_mine.py").write_text(test)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def tested(code: str) -> "subprocess.CompletedProcess[str]":
        mine.write_text(code)
        command = [sys.executable, "-m", "pytest", "-q", "test_mine.py"]
        environ = {**os.environ, **settings, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)

    passed = tested(handler)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "1 passed" in passed.stdout
    failed = tested(
        handler.replace("    send(\n", '    raise ConnectionError("the mail server is down")\n    send(\n')
    )
    assert failed.returncode == 1
    assert "ConnectionError: the mail server is down" in failed.stdout
