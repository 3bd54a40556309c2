"""Posting to an address that somebody configured: by verified TLS, and only to what is public.

A name is looked up here, and what it leads to is connected to as it was looked at: a second look could lead
elsewhere. What leads into a private network, to this machine, or to what a cloud tells its own about
(169.254.169.254), is refused; so are redirects, which could lead there.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#server-side-request-forgery-ssrf
"""

import http.client
import ipaddress
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

import urllib3
import urllib3.connection

from chalicelib.deadline import within
from chalicelib.errors import NotTaken, seconds

SECONDS = 15.0  # by the wall clock, for an answer
TRIED = 3  # of a name's addresses, until one can be connected to
# What is no address of the Internet's for one receiver, though Python may call it global; some of it embeds
# an address of IPv4, which could be any: RFC 6052, 8215, 3056, 4380, 4291, 2765, 3879, 9602, 7526.
REFUSED = tuple(
    map(
        ipaddress.ip_network,
        (
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "2002::/16",
            "2001::/32",
            "::/96",
            "::ffff:0:0:0/96",
            "fec0::/10",
            "5f00::/16",
            "192.88.99.0/24",
        ),
    )
)
Resolve = Callable[[str, int], list[str]]
Connection = urllib3.connection.HTTPConnection


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name. Raises ``OSError``."""
    return [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: str) -> bool:
    """Whether it is one of the Internet's, for one receiver."""
    it = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(it, "ipv4_mapped", None)
    if mapped is not None:
        return is_public(str(mapped))
    return it.is_global and not it.is_multicast and not any(it in each for each in REFUSED)


class Poster:
    """``is_local``: this machine's own addresses are let through, by http too. ``ca_bundle``: a file of PEM,
    else the public authorities of ``certifi``. ``seconds`` that an answer may take."""

    def __init__(
        self,
        resolve: Resolve = resolve,
        is_local: bool = False,
        ca_bundle: str | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._resolve = resolve
        self._is_local = is_local
        self._ca_bundle = ca_bundle
        self._seconds = seconds

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Return once it is answered with 2xx. Raises ``NotTaken``, without any of the answer's content."""
        opened: list[Connection] = []
        try:
            status, after = within(self._seconds, lambda: self._post(url, body, headers, opened))
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise NotTaken(f"no answer: {type(error).__name__}", is_silent=True) from None
        finally:
            _hang_up(opened)
        if 300 <= status < 400:
            raise NotTaken(f"answered {status}: redirects are not followed")
        if not 200 <= status < 300:
            raise NotTaken(f"answered {status}", seconds(after))

    def _post(
        self, url: str, body: bytes, headers: Mapping[str, str], opened: list[Connection]
    ) -> tuple[int, str | None]:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection = self._connected(parts.scheme, host, port, opened)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Host": parts.netloc, "User-Agent": "Daybook", **headers}
        connection.request("POST", target, body, sent, preload_content=False)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Retry-After")

    def _connected(self, scheme: str, host: str, port: int, opened: list[Connection]) -> Connection:
        """To the first of its addresses that can be. Raises ``NotTaken`` where any of them is not public."""
        addresses = self._resolve(host, port)
        for each in addresses:
            is_here = self._is_local and ipaddress.ip_address(each).is_loopback
            if not is_here and not is_public(each):
                raise NotTaken(f"{host} is at a private address, which is refused")
        *first, last = addresses[:TRIED]
        for each in first:
            try:
                return self._connect(scheme, each, host, port, opened)
            except urllib3.exceptions.NewConnectionError:
                continue
        return self._connect(scheme, last, host, port, opened)

    def _connect(
        self, scheme: str, address: str, host: str, port: int, opened: list[Connection]
    ) -> Connection:
        if scheme == "http":
            made = Connection(address, port, timeout=self._seconds)
        else:
            import certifi

            made = urllib3.connection.HTTPSConnection(
                address,
                port,
                timeout=self._seconds,
                cert_reqs="CERT_REQUIRED",
                ca_certs=self._ca_bundle or certifi.where(),
                server_hostname=host,
                assert_hostname=host,
            )
        opened.append(made)
        made.connect()
        return made


def _hang_up(opened: list[Connection]) -> None:
    """Also on who drips its answer: a thread that still reads it ends by that."""
    for each in opened:
        if each.sock:
            with suppress(OSError):
                each.sock.shutdown(socket.SHUT_RDWR)
        each.close()
