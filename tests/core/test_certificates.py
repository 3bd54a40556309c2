"""PayPal's certificates: which URLs are fetched, which certificates are believed, and for how long."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from chalicelib.certificates import REMEMBERED, SigningCertificates, fetcher
from chalicelib.errors import InvalidSignature, Unavailable
from ops.local.paypal import FakePayPal, authority, leaf
from tests.fakes import CERT_URL, NOW, SIGNER, Clock, Shelf, paypal_authority, paypal_leaf

MOMENT = datetime.fromtimestamp(NOW / 1000, UTC)
DAY = 24 * 3600 * 1000


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
        "https://api.paypal.com:443/v1/notifications/certs/CERT-test",
        "https://localhost:8002/v1/notifications/certs/CERT-test",
    ],
)
def test_a_pinned_host_is_asked(url: str) -> None:
    """Exactly the hosts that are configured, on port 443 unless another one is named."""
    host = Host(paypal_leaf().pem)
    certificates(host).key(url)
    assert host.fetched == [url]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "CERT-test",
        "http://api.paypal.com/x",
        "HTTPS://api.paypal.com/x",
        "https://api.paypal.com",
        "https://API.paypal.com/x",
        "https://api.paypal.com./x",
        "https://api.paypal.com.evil.example/x",
        "https://evil.example/api.paypal.com/x",
        "https://evilapi.paypal.com/x",
        "https://sub.api.paypal.com/x",
        "https://api.paypal.com@evil.example/x",
        "https://user@api.paypal.com/x",
        "https://user:pass@api.paypal.com/x",
        "https://api.paypal.com:444/x",
        "https://api.paypal.com:0443/x",
        "https://api.paypal.com:/x",
        "https://api.paypal.com:99999/x",
        "https://localhost/x",
        "https://api.paypal.com/x?y=1",
        "https://api.paypal.com/x#y",
        "https://api.paypal.com/../x",
        "https://api.paypal.com/%2e%2e/x",
        "https://api.paypal.com/./x",
        "https://api.paypal.com//x",
        "https://api.paypal.com/x/",
        "https://api.paypal.com/x;y",
        "https://api.paypal.com/x/./y",
        "https://api.paypal.com/.x",
        "https://api.paypal.com/",
        "https://api.paypal.com\\@evil.example/x",
        "https://api.paypal.com\t/x",
        "https://[::1]/x",
        "https://[::1",
        "file:///etc/passwd",
        "https://api.paypal.com/" + "x" * 400,
    ],
)
def test_no_other_url_is_fetched(url: str) -> None:
    """Look-alikes, user info, ports, encodings and other schemes: refused before anything is asked."""
    host = Host(paypal_leaf().pem)
    with pytest.raises(InvalidSignature):
        certificates(host).key(url)
    assert host.fetched == []


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
    believed = certificates(Host(paypal_leaf().pem))
    for n in range(3 * REMEMBERED):
        believed.key(f"{CERT_URL}-{n}")
    assert len(believed._memory) == REMEMBERED


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
        (302, b"", Unavailable),
        (500, b"", Unavailable),
        (200, b"x" * 40_000, Unavailable),
        (403, b"", Unavailable),
        (401, b"", InvalidSignature),
        (404, b"", InvalidSignature),
    ],
    ids=str,
)
def test_what_the_host_answers_is_bounded(status: int, body: bytes, refusal: type[Exception]) -> None:
    """No redirect is followed, nothing large is read, a broken host is an outage; a path of another API's is
    none."""

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
