"""Posting to an address that somebody configured: by verified TLS, and only to what is public.

A name is looked up here, and what it leads to is connected to as it was looked at: a second look could lead
elsewhere. What leads into a private network, to this machine, or to what a cloud tells its own about
(169.254.169.254), is refused; so are redirects, which could lead there.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#server-side-request-forgery-ssrf
"""

import ipaddress
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import urllib3

from chalicelib.deadline import within
from chalicelib.errors import NotTaken, seconds

SECONDS = 15.0  # by the wall clock, for an answer
# what holds an address of IPv4 that its own is not: RFC 6052, RFC 8215, RFC 3056, RFC 4380, RFC 4291
EMBEDDING = tuple(
    map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96"))
)
Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name. Raises ``OSError``."""
    return [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: str) -> bool:
    """Whether it is one of the Internet's, for one receiver."""
    it = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(it, "ipv4_mapped", None)
    if mapped is not None:
        return is_public(str(mapped))
    return it.is_global and not it.is_multicast and not any(it in each for each in EMBEDDING)


class Poster:
    """``is_local``: this machine's own addresses are let through, by http too. ``ca_bundle``: a file of PEM,
    else the public authorities of ``certifi``."""

    def __init__(
        self, resolve: Resolve = resolve, is_local: bool = False, ca_bundle: str | None = None
    ) -> None:
        self._resolve = resolve
        self._is_local = is_local
        self._ca_bundle = ca_bundle

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Return once it is answered with 2xx. Raises ``NotTaken``, without any of the answer's content."""
        try:
            status, after = within(SECONDS, lambda: self._post(url, body, headers))
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NotTaken(f"no answer: {type(error).__name__}") from None
        if 300 <= status < 400:
            raise NotTaken(f"answered {status}: redirects are not followed")
        if not 200 <= status < 300:
            raise NotTaken(f"answered {status}", seconds(after))

    def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str | None]:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = self._address(host, port)
        sent = {"Host": parts.netloc, "User-Agent": "Daybook", **headers}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with self._pool(parts.scheme, address, host, port) as pool:
            answer = pool.urlopen("POST", target, body, sent, redirect=False, preload_content=False)
            answer.close()
            return answer.status, answer.headers.get("Retry-After")

    def _address(self, host: str, port: int) -> str:
        """Where it is sent to. Raises ``NotTaken`` where any of its addresses is not public."""
        addresses = self._resolve(host, port)
        for each in addresses:
            is_here = self._is_local and ipaddress.ip_address(each).is_loopback
            if not is_here and not is_public(each):
                raise NotTaken(f"{host} is at a private address, which is refused")
        return addresses[0]

    def _pool(self, scheme: str, address: str, host: str, port: int) -> urllib3.HTTPConnectionPool:
        timeout = urllib3.Timeout(total=SECONDS)
        if scheme == "http":
            return urllib3.HTTPConnectionPool(address, port, timeout=timeout, retries=False)
        import certifi

        return urllib3.HTTPSConnectionPool(
            address,
            port,
            timeout=timeout,
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=self._ca_bundle or certifi.where(),
            server_hostname=host,
            assert_hostname=host,
        )
