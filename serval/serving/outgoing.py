"""The only way out of the service: to addresses that its owner has allowed, dialled as they were checked, no further hop."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from serval.refusal import Refusal

_MOST = 64 * 1024  # bytes of an answer that are read
_PORTS = {"http": 80, "https": 443}
_TRANSLATED = [ipaddress.IPv6Network(each) for each in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")]

Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True)
class Target:
    """An address that may be called, and the one IP address that it will be called at."""

    scheme: str
    host: str
    port: int
    path: str
    address: str

    @property
    def origin(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{shown}" + (f":{self.port}" if self.port != _PORTS[self.scheme] else "")


def resolved(host: str, port: int) -> list[str]:
    """What the system knows of a name."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def target(url: str, allowed: Collection[str], resolve: Resolve = resolved) -> Target:
    """Check an address, and look its name up, once.

    Args:
        allowed: origins, as ``https://example.org``. One whose host is an IP address may be on this network; a name has to
            belong to the Internet, whatever its owner lets it point to later.

    Raises:
        Refusal: malformed, not allowed, or of an address that is not to be called.
    """
    split = _split(url)
    host, scheme = split.host, split.scheme
    if split.origin not in {_split(each).origin for each in allowed}:
        raise Refusal("the address", "its host is not one that may be called", "ask the service's owner to allow it")
    literal = _ip(host)
    if literal is not None:
        return Target(scheme, host, split.port, split.path, str(literal))
    try:
        addresses = resolve(host, split.port)
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        raise Refusal("the address", "its host is not known", "see how it is written")
    if any((found := _ip(each)) is None or not _public(found) for each in addresses):
        raise Refusal("the address", "its host is not on the Internet", "ask the service's owner to allow it by number")
    return Target(scheme, host, split.port, split.path, addresses[0])


def post(to: Target, body: bytes, headers: Mapping[str, str], *, seconds: float = 10.0) -> int:
    """The status of the answer. Redirects are answers, too. Raises ``OSError`` where it is not there, whole, in time."""
    made = socket.create_connection((to.address, to.port), timeout=seconds)
    over = threading.Event()

    def cut() -> None:
        over.set()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(made, socket.SHUT_RDWR)  # of the socket itself, under any TLS

    late = threading.Timer(seconds, cut)  # however many bytes come meanwhile, one by one
    late.daemon = True
    late.start()
    try:
        if to.scheme == "https":
            made = ssl.create_default_context().wrap_socket(made, server_hostname=to.host)
        connection = http.client.HTTPConnection(to.host, to.port, timeout=seconds)
        connection.sock = made
        connection.request("POST", to.path, body, {"Connection": "close", **headers})
        answer = connection.getresponse()
        answer.read(_MOST)
        if over.is_set():
            raise TimeoutError
        return answer.status
    except http.client.HTTPException as error:
        raise OSError(type(error).__name__) from None
    finally:
        late.cancel()
        made.close()


def _split(url: str) -> Target:
    refusal = Refusal("the address", "it is no http(s) address", "give one as https://example.org/path")
    if not url.isascii() or len(url) > 2000 or any(char <= " " or char in "\\\x7f" for char in url):  # some read \\ as /
        raise refusal
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise refusal from None
    odd = "@" in parts.netloc or "%" in host or host.endswith(".") or parts.fragment
    if parts.scheme not in _PORTS or not host or odd or port == 0 or (_ip(host) is None and _numeric(host)):
        raise refusal
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path, "")


def _numeric(host: str) -> bool:
    """Whether it is an IP address in one of the ways that only some programs read: 2130706433, 0x7f.1, 0177.0.0.1."""
    last = host.rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    inner = [] if isinstance(address, ipaddress.IPv4Address) else _within(address)
    return all(each.is_global and not each.is_multicast for each in (address, *inner))


def _within(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Where packets to an address of IPv6 end on a network that translates."""
    known = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in each for each in _TRANSLATED):
        known.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in known if each is not None]
