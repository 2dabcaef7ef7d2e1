"""A camera's ``http(s)://`` address, read by ourselves: what comes is sniffed, and playlists are refused."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from serval.media.sniff import HEAD, sniff
from serval.refusal import Refusal

TIMEOUT = 10.0  # seconds for connecting and for each read
_REDIRECTS = 3
_SENT = {301, 302, 303, 307, 308}


@dataclass
class HttpStream:
    """The body of an answer: `demuxer` to read it with, and `read`."""

    demuxer: str
    read: Callable[[int], bytes]
    close: Callable[[], None]


def open_http(address: str, what: str, timeout: float = TIMEOUT) -> HttpStream:
    """Connect and find out what comes.

    Raises:
        Refusal: a playlist or something that is no video; it will not mend itself.
        OSError, http.client.HTTPException: no connection, or the server refuses; it may.
    """
    for _ in range(_REDIRECTS + 1):
        connection, answer = _get(address, timeout)
        if answer.status in _SENT and (target := answer.getheader("Location")):
            connection.close()
            address = _followed(address, target, what)
            continue
        if answer.status != 200:
            connection.close()
            raise ServerRefusedError(answer.status)
        return _stream(connection, answer, what)
    raise Refusal(what, "the server sends us from one address to the next", "give the stream's own address")


class ServerRefusedError(OSError):
    """An HTTP answer that is not the stream. The errno is the status."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"status {status}")


def _get(address: str, timeout: float) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme.lower() == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    headers = {"User-Agent": "serval", "Accept": "*/*"}
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", path, headers=headers)
        return connection, connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _followed(address: str, target: str, what: str) -> str:
    """A redirection stays with the same host, and never goes from https to http: the password goes with it."""
    after, before = urlsplit(urljoin(address, target)), urlsplit(address)
    upgraded = (before.scheme, after.scheme) == ("http", "https")
    if after.hostname != before.hostname or not (after.scheme == before.scheme or upgraded):
        raise Refusal(what, "the server sends us to another host", "give the stream's own address")
    user = before.netloc.rpartition("@")[0]
    return after._replace(netloc=f"{user}@{after.netloc}" if user and "@" not in after.netloc else after.netloc).geturl()


def _stream(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse, what: str) -> HttpStream:
    kind = (answer.getheader("Content-Type") or "").lower()
    try:
        head = b""
        while len(head) < HEAD and (block := answer.read1(HEAD - len(head))):
            head += block
            if kind.startswith("multipart/") and len(head) >= 64:
                break
        demuxer = "mpjpeg" if kind.startswith("multipart/x-mixed-replace") else sniff(head, what)
    except BaseException:
        connection.close()
        raise
    rest = bytearray(head)

    def read(count: int) -> bytes:
        if rest:
            block = bytes(rest[:count])
            del rest[:count]
            return block
        return answer.read1(count)

    return HttpStream(demuxer, read, connection.close)
