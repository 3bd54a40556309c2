"""PayPal's certificates: which URLs are fetched, which certificates are believed, and for how long."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from chalicelib.budget import HOUR
from chalicelib.certificates import FETCHES, REFUSALS, REMEMBERED, REST, SigningCertificates, fetcher
from chalicelib.errors import InvalidSignature, Unavailable
from ops.local.paypal import FakePayPal, authority, leaf
from tests.fakes import CERT_URL, NOW, SIGNER, Clock, Shelf, paypal_authority, paypal_leaf

MOMENT = datetime.fromtimestamp(NOW / 1000, UTC)
DAY = 24 * 3600 * 1000
PATH = "/v1/notifications/certs/CERT-test"


class Host:
    """Counts what is fetched from it; ``pem`` is what it has, ``None`` that it is down."""

    def __init__(self, pem: bytes | None) -> None:
        self.pem = pem
        self.fetched: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.fetched.append(url)
        if self.pem is None:
            raise Unavailable("down")
        return self.pem


def certificates(host: Host, shelf: Shelf | None = None, **options: object) -> SigningCertificates:
    usual = {"clock": Clock(), "hosts": ["api.paypal.com", "localhost:8002"]}
    return SigningCertificates(host, shelf or Shelf(), **{**usual, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        CERT_URL,
        "https://localhost:8002/v1/notifications/certs/CERT-test",
    ],
)
def test_a_pinned_host_is_asked(url: str) -> None:
    """Exactly the hosts that are configured, on port 443 unless another one is named, at PayPal's path."""
    host = Host(paypal_leaf().pem)
    certificates(host).key(url)
    assert host.fetched == [url]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "CERT-test",
        f"http://api.paypal.com{PATH}",
        f"HTTPS://api.paypal.com{PATH}",
        "https://api.paypal.com",
        f"https://API.paypal.com{PATH}",
        f"https://api.paypal.com.{PATH}",
        f"https://api.paypal.com.evil.example{PATH}",
        f"https://evil.example/api.paypal.com{PATH}",
        f"https://evilapi.paypal.com{PATH}",
        f"https://sub.api.paypal.com{PATH}",
        f"https://api.paypal.com@evil.example{PATH}",
        f"https://user@api.paypal.com{PATH}",
        f"https://user:pass@api.paypal.com{PATH}",
        f"https://api.paypal.com:443{PATH}",
        f"https://api.paypal.com:444{PATH}",
        f"https://api.paypal.com:0443{PATH}",
        f"https://api.paypal.com:{PATH}",
        f"https://api.paypal.com:99999{PATH}",
        f"https://localhost{PATH}",
        f"https://api.paypal.com{PATH}?y=1",
        f"https://api.paypal.com{PATH}#y",
        f"https://api.paypal.com{PATH}/",
        f"https://api.paypal.com{PATH};y",
        f"https://api.paypal.com{PATH}.pem",
        f"https://api.paypal.com{PATH}%20",
        f"https://api.paypal.com{PATH}:443/x",
        f"https://api.paypal.com{PATH}" + "x" * 400,
        f"https://api.paypal.com/{PATH}",
        f"https://api.paypal.com/x{PATH}",
        f"https://api.paypal.com/v1/notifications/certs/../certs{PATH}",
        "https://api.paypal.com/v1/notifications/certs/",
        "https://api.paypal.com/v1/notifications/certs/../webhooks",
        "https://api.paypal.com/v1/oauth2/token",
        "https://api.paypal.com/",
        f"https://api.paypal.com\\@evil.example{PATH}",
        f"https://api.paypal.com\t{PATH}",
        f"https://[::1]{PATH}",
        "https://[::1",
        "file:///etc/passwd",
    ],
)
def test_no_other_url_is_fetched(url: str) -> None:
    """Look-alikes, user info, ports, other paths and schemes: refused before anything is asked."""
    host, shelf = Host(paypal_leaf().pem), Shelf()
    with pytest.raises(InvalidSignature):
        certificates(host, shelf).key(url)
    assert (host.fetched, shelf.reads) == ([], 0)


def test_a_certificate_is_fetched_once() -> None:
    """Then it is in memory; and in the ledger, for the next container, also while the host is down."""
    host, shelf = Host(paypal_leaf().pem), Shelf()
    first = certificates(host, shelf)
    first.key(CERT_URL)
    first.key(CERT_URL)
    assert len(host.fetched) == 1
    host.pem = None
    certificates(host, shelf).key(CERT_URL)
    assert len(host.fetched) == 1


def test_memory_is_bounded() -> None:
    """However many URLs somebody makes up."""
    clock, host = Clock(), Host(paypal_leaf().pem)
    believed = certificates(host, clock=clock)
    for n in range(2 * REFUSALS):
        clock.now += HOUR
        host.pem = b"" if n >= 2 * REMEMBERED else host.pem
        with suppress(InvalidSignature):
            believed.key(f"{CERT_URL}-{n}")
    assert (len(believed._memory), len(believed._refused)) == (REMEMBERED, REFUSALS)


def test_unsigned_posts_make_us_fetch_little() -> None:
    """Whatever they name: so many an hour, each address once in a while, and the ledger once a minute."""
    clock, host, shelf = Clock(), Host(b"garbage"), Shelf()
    believed = certificates(host, shelf, clock=clock)
    for n in range(200):
        with pytest.raises(InvalidSignature):
            believed.key(f"{CERT_URL}-{n}")
    assert (len(host.fetched), shelf.reads) == (FETCHES, 1)
    clock.now += HOUR
    for _ in range(200):
        with pytest.raises(InvalidSignature):
            believed.key(CERT_URL)
    assert (len(host.fetched), shelf.reads) == (FETCHES + 1, 2)


def test_what_is_kept_serves_however_much_was_fetched() -> None:
    """Posts of a certificate that does not exist do not keep a new container from verifying."""
    shelf = Shelf()
    certificates(Host(paypal_leaf().pem), shelf).key(CERT_URL)
    believed = certificates(Host(b"garbage"), shelf)
    for n in range(200):
        with pytest.raises(InvalidSignature):
            believed.key(f"{CERT_URL}-{n}")
    believed.key(CERT_URL)


def test_a_host_that_fails_is_left_alone() -> None:
    """Each post would wait for it, and each is sent again."""
    clock, host = Clock(), Host(None)
    believed = certificates(host, clock=clock)
    for n in range(20):
        with pytest.raises(Unavailable):
            believed.key(f"{CERT_URL}-{n}")
    assert len(host.fetched) == 1
    clock.now += REST
    host.pem = paypal_leaf().pem
    believed.key(CERT_URL)


def test_a_certificate_that_expires_is_no_longer_believed() -> None:
    """Whether it is in memory or in the ledger."""
    clock, shelf, host = Clock(), Shelf(), Host(paypal_leaf().pem)
    believed = certificates(host, shelf, clock=clock)
    believed.key(CERT_URL)
    clock.now += 60 * DAY
    with pytest.raises(InvalidSignature):
        believed.key(CERT_URL)
    with pytest.raises(InvalidSignature):
        certificates(host, shelf, clock=clock).key(CERT_URL)


def test_a_certificate_that_was_renewed_at_its_url_is_fetched_anew() -> None:
    """Also by a container that remembers the one before."""
    clock, host = Clock(), Host(paypal_leaf().pem)
    believed = certificates(host, clock=clock)
    believed.key(CERT_URL)
    clock.now += 60 * DAY
    later = datetime.fromtimestamp(clock.now / 1000, UTC)
    host.pem = leaf(paypal_authority(), SIGNER, later).pem
    believed.key(CERT_URL)
    assert len(host.fetched) == 2


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"garbage",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        leaf(paypal_authority(), "messageverificationcerts.paypal.com.evil.example", MOMENT).pem,
        leaf(paypal_authority(), "messageverificationcerts.sandbox.paypal.com", MOMENT).pem,
        leaf(paypal_authority(), SIGNER, MOMENT, days=0).pem,
        paypal_authority().pem,
    ],
)
def test_no_other_certificate_is_believed(pem: bytes) -> None:
    """Garbage, another name, the sandbox's name on the live host, an expired one, an authority's own."""
    with pytest.raises(InvalidSignature):
        certificates(Host(pem), clock=Clock(NOW + 1)).key(CERT_URL)


def test_the_chain_is_checked_where_anchors_are_given() -> None:
    """A certificate of another authority with the right name does not pass then."""
    other = authority(MOMENT, "Somebody else's authority")
    anchors = paypal_authority().pem
    certificates(Host(paypal_leaf().pem), anchors=anchors).key(CERT_URL)
    with pytest.raises(InvalidSignature):
        certificates(Host(leaf(other, SIGNER, MOMENT).pem), anchors=anchors).key(CERT_URL)


# ── over the wire ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def paypal(tmp_path: Path) -> Iterator[FakePayPal]:
    server = FakePayPal(0, tmp_path, datetime.now(UTC))
    server.start()
    yield server
    server.stop()


def test_fetching_needs_tls_that_verifies(paypal: FakePayPal, tmp_path: Path) -> None:
    """With its authority the certificate comes; with the public authorities nothing does."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(paypal.authority.pem)
    assert fetcher(str(bundle))(paypal.cert_url) == paypal.signer.pem
    with pytest.raises(Unavailable):
        fetcher(None)(paypal.cert_url)
    with pytest.raises(InvalidSignature):
        fetcher(str(bundle))(paypal.cert_url + "-unknown")


@pytest.mark.parametrize(
    ("status", "body", "refusal"),
    [
        (302, b"", InvalidSignature),
        (500, b"", Unavailable),
        (200, b"x" * 40_000, InvalidSignature),
        (403, b"", InvalidSignature),
        (406, b"", InvalidSignature),
        (415, b"", InvalidSignature),
        (429, b"", Unavailable),
        (401, b"", InvalidSignature),
        (404, b"", InvalidSignature),
    ],
    ids=str,
)
def test_what_the_host_answers_is_bounded(status: int, body: bytes, refusal: type[Exception]) -> None:
    """No redirect is followed, nothing large is read; a broken host is an outage, one without it is none."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", "https://evil.example/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    try:
        with pytest.raises(refusal):
            fetcher(None)(f"http://127.0.0.1:{server.server_address[1]}/cert")
    finally:
        server.shutdown()
        server.server_close()


def test_a_host_that_is_down_is_an_outage() -> None:
    """Nothing can be decided: the provider is to send it again."""
    with pytest.raises(Unavailable):
        fetcher(None)("https://127.0.0.1:9/cert")


def test_a_host_that_drips_holds_nobody_up() -> None:
    """Each byte begins a socket's timeout anew: the wall clock ends it."""
    stop = threading.Event()

    def drip(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            while not stop.wait(0.02):
                peer.send(b"H")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=[server], daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(Unavailable):
            fetcher(None, seconds=0.2)(address)
        stop.set()
