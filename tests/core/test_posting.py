"""Posting to an address: only to what is public, by verified TLS, without following anything."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from chalicelib import standard_webhooks
from chalicelib.errors import AwsError, NotTaken
from chalicelib.payments import Milestone, project
from chalicelib.posting import Poster, is_public
from chalicelib.reactions import Task
from chalicelib.senders import by_kind
from chalicelib.settings import LOCAL_TARGET_SECRET
from chalicelib.slack import text
from chalicelib.targets import Target
from ops.local.paypal import authority, leaf
from tests.conftest import wait_until
from tests.fakes import NOW, Clock, an_event
from tests.packaged import now

OTHER_SECRET = "whsec_b3RoZXIgc2VjcmV0IG9mIGRheWJvb2sncyB0YXJnZXRz"


class Receiver:
    """An endpoint on loopback. ``answers`` with these statuses in turn, then with 200."""

    def __init__(
        self, *answers: int, context: ssl.SSLContext | None = None, port: int = 0, **headers: str
    ) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        left = list(answers)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(left.pop(0) if left else 200)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(b"a secret of the receiver")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"

    @contextmanager
    def running(self) -> Iterator["Receiver"]:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


def here(*addresses: str) -> Any:
    """A name that leads there, once: a second look-up would be told otherwise."""
    looked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        looked.append(host)
        assert looked == [host], "it was looked up twice"
        return list(addresses)

    return resolve


# ── where it may go ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.5.4",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:a9fe:a9fe::1",
        "2001:db8::1",
        "::ffff:0:169.254.169.254",
        "fec0::1",
        "5f00::1",
        "192.88.99.1",
    ],
)
def test_no_private_address_is_posted_to(address: str) -> None:
    """In whatever way it is written; also where the name has a public one beside it."""
    assert not is_public(address)
    for addresses in ((address,), ("93.184.215.14", address)):
        with pytest.raises(NotTaken, match="private address"):
            Poster(here(*addresses)).post("https://hooks.example.com/x", b"{}", {})


def test_public_ones_are() -> None:
    """Of both families."""
    assert is_public("93.184.215.14")
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


def test_a_cloud_that_is_named_by_its_number_is_refused() -> None:
    """Without a look-up too; so is this machine, by any of its names."""
    for url in ("https://169.254.169.254/latest", "https://[::1]/", "https://127.1/", "https://localhost/"):
        with pytest.raises(NotTaken, match="private address"):
            Poster().post(url, b"{}", {})


def test_stage_local_may_post_to_this_machine_and_no_other() -> None:
    """Its neighbours are private too."""
    with Receiver().running() as receiver:
        Poster(is_local=True).post(receiver.url, b"{}", {})
        assert len(receiver.got) == 1
        with pytest.raises(NotTaken, match="private address"):
            Poster(here("10.0.0.1"), is_local=True).post(receiver.url, b"{}", {})


# ── how it is answered ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    """They could lead where nothing may go."""
    with Receiver(status, Location="http://127.0.0.1:1/elsewhere").running() as receiver:
        with pytest.raises(NotTaken, match=f"answered {status}: redirects are not followed"):
            Poster(is_local=True).post(receiver.url, b"{}", {})
        assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
def test_whatever_is_not_2xx_is_not_taken(status: int) -> None:
    """It says the status, never the content; and how long to wait, where that is said."""
    with Receiver(status, Retry_After="120").running() as receiver, pytest.raises(NotTaken) as refused:
        Poster(is_local=True).post(receiver.url, b"{}", {})
    assert str(refused.value) == f"answered {status}"
    assert refused.value.retry_after == 120


def test_nobody_there() -> None:
    """The exception's class, and no address of anybody."""
    with Receiver().running() as receiver:
        url = receiver.url
    with pytest.raises(NotTaken, match="no answer: NewConnectionError"):
        Poster(is_local=True).post(url, b"{}", {})


def test_tls_is_verified_by_the_name_though_the_address_was_looked_up(tmp_path: Path) -> None:
    """A certificate of another name, and one that nobody known has signed, are not spoken to."""
    now = datetime.now(UTC)
    root = authority(now)
    issued = leaf(root, "hooks.example.com", now)
    (tmp_path / "chain.pem").write_bytes(issued.pem)
    (tmp_path / "key.pem").write_bytes(issued.key_pem)
    (tmp_path / "ca.pem").write_bytes(root.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    bundle = str(tmp_path / "ca.pem")
    with Receiver(context=context).running() as receiver:

        def post(host: str, ca: str | None) -> None:
            url = f"https://{host}:{receiver.port}/hook"
            Poster(here("127.0.0.1"), is_local=True, ca_bundle=ca).post(url, b"{}", {})

        post("hooks.example.com", bundle)
        assert receiver.got[0][0]["host"] == f"hooks.example.com:{receiver.port}"
        for host, ca in (("other.example.com", bundle), ("hooks.example.com", None)):
            with pytest.raises(NotTaken, match=r"no answer: .*(SSL|Certificate)"):
                post(host, ca)
        assert len(receiver.got) == 1


# ── the kinds of targets ────────────────────────────────────────────────────────────────────────────


def target(kind: str, address: str = "") -> Target:
    return Target(name="shop", kind=kind, address=address, patterns=("payment.*",))


def notified(**changed: Any) -> tuple[str, Task, tuple[Any, ...]]:
    """A payment's milestone, as a handler would be called with it."""
    subject = "stripe:pi_1"
    milestone = Milestone(
        id=f"{subject}/dispute.opened/dp_1",
        type="dispute.opened",
        at="2026-11-24T10:00:00Z",
        amount=5000,
        **changed,
    )
    payment = replace(project(subject, {}), currency="EUR", reference="order-<1001>")
    return subject, Task.of_milestone(milestone), (payment, milestone)


def send(
    kind: str,
    address: str,
    secrets: dict[str, tuple[str, ...]],
    aws: Any = None,
    at: int = NOW,
    **changed: Any,
) -> None:
    senders = by_kind(aws, "eu-central-1", lambda: secrets, Poster(is_local=True), Clock(at), is_local=True)
    senders[kind](target(kind, address), *notified(**changed))


def test_the_reference_library_verifies_what_is_sent() -> None:
    """With either of two secrets, so that one can be replaced; not with another, nor what was altered."""
    with Receiver().running() as receiver:
        send("https", receiver.url, {"target_shop": (LOCAL_TARGET_SECRET, OTHER_SECRET)}, at=now())
    [(headers, body)] = receiver.got
    for secret in (LOCAL_TARGET_SECRET, OTHER_SECRET):
        read = Webhook(secret).verify(body, headers)
        assert read == json.loads(body)
        assert read["type"] == "dispute.opened"
        assert read["timestamp"] == "2026-11-24T10:00:00Z"
        assert read["data"]["milestone"]["amount"] == 5000
    wrong = standard_webhooks.PREFIX + "d3Jvbmcgc2VjcmV0IG9mIGRheWJvb2sncyB0YXJnZXRz"
    for tried, altered in ((wrong, body), (OTHER_SECRET, body.replace(b"5000", b"9000"))):
        with pytest.raises(WebhookVerificationError):
            Webhook(tried).verify(altered, headers)
    assert "." not in headers["webhook-id"]


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "sk_" + "a" * 32, "whsec_!" + "a" * 32, "whsec_" + "YWFh" * 30]
)
def test_a_secret_that_is_none_signs_nothing(secret: str) -> None:
    """It says what it should be; nothing is sent unsigned."""
    with Receiver().running() as receiver:
        with pytest.raises(NotTaken, match="target_shop in the stage's secret"):
            send("https", receiver.url, {"target_shop": (secret,) if secret else ()})
        assert receiver.got == []


def test_the_same_milestone_has_the_same_id() -> None:
    """At every attempt, whatever else is sent by then."""
    with Receiver().running() as receiver:
        for _ in range(2):
            send("https", receiver.url, {"target_shop": (LOCAL_TARGET_SECRET,)})
    assert receiver.got[0][0]["webhook-id"] == receiver.got[1][0]["webhook-id"]


def test_a_queue() -> None:
    """In the record's group, once by the milestone; a replay is not dropped as one of the last minutes."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def aws(service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        asked.append((operation, request))
        return {"QueueUrl": "http://queue/books.fifo"}

    arn = "arn:aws:sqs:eu-central-1:123456789012:books.fifo"
    send("sqs", arn, {}, aws)
    send("sqs", arn, {}, aws, replay=True)
    assert asked[0] == ("GetQueueUrl", {"QueueName": "books.fifo", "QueueOwnerAWSAccountId": "123456789012"})
    first, again = (request for operation, request in asked if operation == "SendMessage")
    assert first["MessageGroupId"] == again["MessageGroupId"] == "stripe:pi_1"
    assert first["MessageDeduplicationId"] != again["MessageDeduplicationId"]
    assert json.loads(first["MessageBody"])["data"]["milestone"]["type"] == "dispute.opened"


def test_a_queue_that_refuses() -> None:
    """By AWS's own name for it."""

    def aws(*_: Any, **__: Any) -> dict[str, Any]:
        raise AwsError("sqs", "SendMessage", "AccessDenied", passing=False)

    with pytest.raises(NotTaken, match="SQS: AccessDenied"):
        send("sqs", "arn:aws:sqs:eu-central-1:123456789012:books.fifo", {}, aws)


def test_a_channel() -> None:
    """One line; what a shop wrote mentions nobody and links nowhere."""
    with Receiver().running() as receiver:
        send("slack", "", {"target_shop": (receiver.url,)})
        with pytest.raises(NotTaken, match="no https:// address"):
            send("slack", "", {"target_shop": ("ftp://example.com",)})
        with pytest.raises(NotTaken, match="there is no target_shop"):
            send("slack", "", {})
    [(_, body)] = receiver.got
    assert json.loads(body) == {"text": "*dispute.opened* 50.00 EUR · `order-&lt;1001&gt;` · `stripe:pi_1`"}


def test_a_raw_event_in_a_channel() -> None:
    """Its type and its subject."""
    assert text(an_event(type="invoice.paid")) == "*stripe.invoice.paid* `stripe:pi_1`"


@pytest.mark.parametrize("drop", [b"X-A: 1\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_who_drips_its_answer_is_hung_up_on(drop: bytes) -> None:
    """By the wall clock, whatever each byte takes; and no thread is left that reads on."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    ended = threading.Event()

    def drip() -> None:
        taken, _ = listener.accept()
        with taken, suppress(OSError):
            taken.sendall(b"HTTP/1.1 200 OK\r\n" if b"X-A" in drop else b"")
            while True:
                taken.sendall(drop)
                time.sleep(0.01)
        ended.set()

    threading.Thread(target=drip, daemon=True).start()
    before = threading.active_count()
    with pytest.raises(NotTaken, match="no answer: TimeoutError") as refused:
        Poster(is_local=True, seconds=0.3).post(f"http://127.0.0.1:{port}/", b"{}", {})
    assert refused.value.is_silent
    assert ended.wait(10)
    wait_until(lambda: threading.active_count() < before)
    listener.close()


def test_a_second_address_is_tried_where_the_first_cannot_be_reached() -> None:
    """Of a name with several."""
    with Receiver().running() as receiver:
        url = f"http://localhost:{receiver.port}/hook"
        Poster(lambda host, port: ["127.0.0.2", "127.0.0.1"], is_local=True).post(url, b"{}", {})
        assert len(receiver.got) == 1


def test_a_queue_of_another_region_is_not_asked_for() -> None:
    """There may be one of that name in this one."""
    with pytest.raises(NotTaken, match="not in the stage's region, eu-central-1"):
        send("sqs", "arn:aws:sqs:us-west-2:123456789012:books.fifo", {})


def test_what_was_written_by_a_shop_is_one_line_of_code_in_a_channel() -> None:
    """Whatever is in it, nobody is mentioned and nothing is on a line of its own."""
    _, _, (payment, milestone) = notified()
    said = text(replace(payment, reference="`@everyone\n<https://evil.example|x>"), milestone)
    assert "`'@everyone &lt;https://evil.example|x&gt;`" in said
    assert "\n" not in said
