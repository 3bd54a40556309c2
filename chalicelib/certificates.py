"""PayPal's signing certificates: fetched from a pinned address over verified TLS, checked, and kept.

A certificate is kept in memory (bounded) and in the ledger, so that a new container needs no call to
PayPal, and an outage of the host does not stop verification. Anybody can post a URL: what is looked up for
one that nobody signed for is bounded too.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature as WrongSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from chalicelib.budget import Budget
from chalicelib.deadline import within
from chalicelib.errors import InvalidSignature, Unavailable
from chalicelib.times import EPOCH, from_seconds

REMEMBERED = 16  # certificates in memory; PayPal has a handful
# As PayPal writes it, in one way only: what is fetched is kept, and must not have many names.
PATH = re.compile(r"/v1/notifications/certs/[A-Za-z0-9-]{1,100}")
LARGEST = 32_768  # bytes of PEM
FETCHES = 30  # in an hour, by one process
SECONDS = 3.0  # by the wall clock, for one of them
LOOKED_UP = 60_000  # milliseconds until the ledger is asked again for what it did not have
REFUSED = 600_000  # milliseconds for which an address is known to hold nothing
REFUSALS = 256  # addresses that are remembered so
REST = 30_000  # milliseconds for which a host that fails is left alone
BUSY = (408, 429)  # answers of a host that say nothing of whether there is a certificate, as 5xx do
SIGNER = "messageverificationcerts.paypal.com"
SIGNER_OF = {"api.sandbox.paypal.com": "messageverificationcerts.sandbox.paypal.com"}


class Shelf(Protocol):
    """Where certificates outlive a container."""

    def certificates(self) -> dict[str, bytes]:
        """All PEM that is kept, by URL."""

    def keep_certificate(self, url: str, pem: bytes) -> None:
        """Keep it."""


class Key:
    """An RSA public key that can say whether it signed something."""

    def __init__(self, key: RSAPublicKey) -> None:
        self._key = key

    def signed(self, signature: bytes, text: bytes) -> bool:
        try:
            self._key.verify(signature, text, PKCS1v15(), SHA256())
        except WrongSignature:
            return False
        return True


class SigningCertificates:
    """The certificates that PayPal signs with, by URL.

    ``hosts`` are exact, ``host`` for port 443 or ``host:port``. ``fetch`` returns the bytes at a URL and
    raises ``Unavailable``, or ``InvalidSignature`` where there is nothing. ``anchors`` are certificates
    in PEM: where given, the chain to one of them is checked on top.
    """

    def __init__(
        self,
        fetch: Callable[[str], bytes],
        shelf: Shelf,
        clock: Callable[[], int],
        hosts: Iterable[str],
        anchors: bytes | None = None,
    ) -> None:
        self._fetch = fetch
        self._shelf = shelf
        self._clock = clock
        self._hosts = frozenset(hosts)
        self._anchors = anchors
        self._memory: OrderedDict[str, x509.Certificate] = OrderedDict()
        self._shelved: dict[str, bytes] = {}
        self._look_again_at = 0
        self._refused: OrderedDict[str, int] = OrderedDict()  # until when, by URL
        self._fetches = Budget(clock, FETCHES)
        self._rests_until: dict[str, int] = {}  # by host

    def key(self, url: str) -> Key:
        """The key of the certificate at ``url``. Raises ``InvalidSignature``, ``Unavailable``."""
        host = self._allowed_host(url)
        certificate = self._remembered(url) or self._kept(url, host) or self._fetched(url, host)
        self._remember(url, certificate)
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            raise _untrusted()
        return Key(key)

    def _allowed_host(self, url: str) -> str:
        """The host of a URL that may be fetched: https, a pinned host and port, PayPal's own path."""
        pinned, slash, path = url.removeprefix("https://").partition("/")
        is_paypals = url.startswith("https://") and PATH.fullmatch(slash + path)
        if not is_paypals or pinned not in self._hosts:
            raise _untrusted()
        return pinned.partition(":")[0]

    def _remembered(self, url: str) -> x509.Certificate | None:
        """The one in memory, unless it is outdated: a new one may be at its URL."""
        found = self._memory.get(url)
        return found if found and self._is_valid(found) else None

    def _kept(self, url: str, host: str) -> x509.Certificate | None:
        if url not in self._shelved and self._clock() >= self._look_again_at:
            self._look_again_at = self._clock() + LOOKED_UP
            self._shelved = self._shelf.certificates()
        if url not in self._shelved:
            return None
        try:
            return self._checked(self._shelved[url], host)
        except InvalidSignature:
            return None  # outdated, or checked more strictly now: fetch it anew

    def _fetched(self, url: str, host: str) -> x509.Certificate:
        """Fetch it, within bounds. Beyond these it is refused: PayPal sends its own again for three days."""
        now = self._clock()
        if now < self._refused.get(url, 0):
            raise _untrusted()
        if now < self._rests_until.get(host, 0):
            raise Unavailable("the certificate's host is left alone for a while", reason="cert_host")
        if self._fetches.is_spent:
            raise InvalidSignature("too many unknown certificates", reason="certificates_spent")
        self._fetches.spend()
        try:
            pem = self._fetch(url)
            certificate = self._checked(pem, host)
        except Unavailable:
            self._rests_until[host] = now + REST
            raise
        except InvalidSignature:
            self._refuse(url, now + REFUSED)
            raise
        self._shelf.keep_certificate(url, pem)
        return certificate

    def _refuse(self, url: str, until: int) -> None:
        self._refused[url] = until
        if len(self._refused) > REFUSALS:
            self._refused.popitem(last=False)

    def _remember(self, url: str, certificate: x509.Certificate) -> None:
        self._memory[url] = certificate
        self._memory.move_to_end(url)
        if len(self._memory) > REMEMBERED:
            self._memory.popitem(last=False)

    def _checked(self, pem: bytes, host: str) -> x509.Certificate:
        """The certificate in ``pem``, if it is one of PayPal's that is valid now."""
        signer = SIGNER_OF.get(host, SIGNER)
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (ValueError, x509.ExtensionNotFound):
            raise _untrusted() from None
        if signer not in names.value.get_values_for_type(x509.DNSName):
            raise _untrusted()
        if not self._is_valid(certificate):
            raise _untrusted()
        if self._anchors is not None:
            self._check_chain(certificate, signer, self._anchors)
        return certificate

    def _is_valid(self, certificate: x509.Certificate) -> bool:
        starts = from_seconds(certificate.not_valid_before_utc.timestamp())
        ends = from_seconds(certificate.not_valid_after_utc.timestamp())
        return starts <= self._clock() <= ends

    def _check_chain(self, leaf: x509.Certificate, signer: str, anchors: bytes) -> None:
        bundle = x509.load_pem_x509_certificates(anchors)
        roots = [each for each in bundle if each.subject == each.issuer]
        between = [each for each in bundle if each.subject != each.issuer]
        when = EPOCH + timedelta(milliseconds=self._clock())
        verifier = PolicyBuilder().store(Store(roots)).time(when.replace(tzinfo=None))
        try:
            verifier.build_server_verifier(x509.DNSName(signer)).verify(leaf, between)
        except VerificationError:
            raise _untrusted() from None


def _untrusted() -> InvalidSignature:
    return InvalidSignature("the certificate is not trusted", reason="certificate")


def fetcher(ca_bundle: str | None, seconds: float = SECONDS) -> Callable[[str], bytes]:
    """Get a URL over verified TLS: no redirects, no retries, so many seconds in all, 32 kB.

    ``ca_bundle`` is a file of PEM; ``None`` means the public authorities of ``certifi``.
    """
    import certifi
    import urllib3

    pool = urllib3.PoolManager(
        cert_reqs="CERT_REQUIRED",
        ca_certs=ca_bundle or certifi.where(),
        retries=False,
        timeout=urllib3.Timeout(total=seconds),
    )

    def get(url: str) -> tuple[int, bytes]:
        response = pool.request("GET", url, redirect=False, preload_content=False)
        content = response.read(LARGEST + 1)
        response.release_conn()
        return response.status, content

    def fetch(url: str) -> bytes:
        try:
            status, content = within(seconds, lambda: get(url))
        except (urllib3.exceptions.HTTPError, TimeoutError):
            raise Unavailable("the certificate cannot be fetched", reason="cert_host") from None
        if status in BUSY or status >= 500:
            raise Unavailable("the certificate cannot be fetched", reason="cert_host")
        if status != 200 or len(content) > LARGEST:
            raise _untrusted()
        return content

    return fetch
