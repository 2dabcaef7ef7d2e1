"""A camera's ``http(s)://`` address, read by ourselves: what comes is sniffed, and playlists are refused."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote, unquote, urljoin, urlsplit

from serval.media.sniff import HEAD, sniff
from serval.refusal import Refusal

CONNECT, READ, OPEN = 4.0, 10.0, 20.0  # seconds for connecting, for each read, and until the stream's headers are complete
_REDIRECTS = 3
_PORTS = {"http": 80, "https": 443}
_SENT = {301, 302, 303, 307, 308}
_WRITTEN = "".join(chr(code) for code in range(0x21, 0x7F))  # what is plain in an address stays as the person wrote it


class ServerRefusedError(OSError):
    """An HTTP answer that is not the stream."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"status {status}")


class HttpStream:
    """The body of an answer.

    Attributes:
        demuxer: to read it with; known after `connect`.
    """

    def __init__(self, address: str, what: str) -> None:
        self._address, self._what = address, what
        self._socket: socket.socket | None = None
        self._answer: http.client.HTTPResponse | None = None
        self._closed, self._in_use = False, threading.Lock()
        self._until: float | None = None
        self._alarm: threading.Timer | None = None  # for what no single read's time limit catches: headers sent byte by byte
        self._rest = bytearray()
        self.demuxer = ""

    def connect(self) -> None:
        """Connect and find out what comes.

        Raises:
            Refusal: a playlist or something that is no video; it will not mend itself.
            OSError, http.client.HTTPException: no connection, or the server refuses; it may.
        """
        self._until = time.monotonic() + OPEN
        self._alarm = threading.Timer(OPEN, self._wake)
        self._alarm.daemon = True
        self._alarm.start()
        try:
            with self._use():
                self._follow()
        except (OSError, EOFError, http.client.HTTPException):
            if self._is_late() and not self._closed:
                raise TimeoutError from None
            raise

    def _follow(self) -> None:
        for _ in range(_REDIRECTS + 1):
            answer = self._get()
            if answer.status in _SENT and (target := answer.getheader("Location")):
                self._release()
                self._address = followed(self._address, target, self._what)
                continue
            if answer.status != 200:
                raise ServerRefusedError(answer.status)
            self._begin(answer)
            return
        raise Refusal(self._what, "the server sends us from one address to the next", "give the stream's own address")

    def opened(self) -> None:
        """The headers are complete: from now on only single reads are timed."""
        self._until = None
        self._calm()

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes as soon as there are any; none at the end."""
        if self._rest:
            block = bytes(self._rest[:count])
            del self._rest[:count]
            return block
        with self._use():
            return self._receive(count)

    def _receive(self, count: int) -> bytes:
        block = b"" if self._closed or self._answer is None else self._answer.read1(count)
        if self._is_late():
            raise TimeoutError
        return block

    def close(self) -> None:
        """End it, and a read that is waiting in another thread."""
        self._closed = True
        self._calm()
        self._wake()
        if self._in_use.acquire(blocking=False):
            self._release()
            self._in_use.release()

    def _wake(self) -> None:
        """Make a read that is waiting, in whichever thread, come back."""
        if (waiting := self._socket) is not None:
            with contextlib.suppress(OSError):
                # Not the method of a TLS socket, which would pull its state from under the reader.
                socket.socket.shutdown(waiting, socket.SHUT_RDWR)

    def _calm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def _is_late(self) -> bool:
        return self._until is not None and time.monotonic() >= self._until

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        """While a thread is inside, `close` only makes it come out, and it clears up itself."""
        with self._in_use:
            try:
                yield
            finally:
                if self._closed:
                    self._release()

    def _release(self) -> None:
        answer, self._answer = self._answer, None
        connected, self._socket = self._socket, None
        if connected is not None:
            connected.close()
        if answer is not None:
            answer.close()

    def _get(self) -> http.client.HTTPResponse:
        parts = urlsplit(self._address)
        host, port = parts.hostname or "", parts.port
        connection: http.client.HTTPConnection
        if parts.scheme.lower() == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=CONNECT, context=ssl.create_default_context())
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT)
        headers = {"User-Agent": "serval", "Accept": "*/*"}
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
        path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_WRITTEN)
        connection.connect()
        self._socket = connection.sock  # kept: http.client lets go of it when the answer has no length
        self._socket.settimeout(READ)
        if self._closed:
            raise ConnectionAbortedError
        connection.request("GET", path, headers=headers)
        self._answer = connection.getresponse()
        return self._answer

    def _begin(self, answer: http.client.HTTPResponse) -> None:
        kind = (answer.getheader("Content-Type") or "").lower()
        parted = kind.startswith("multipart/x-mixed-replace")
        head = b""
        while len(head) < (64 if parted else HEAD) and (block := self._receive(HEAD - len(head))):
            head += block
        if not head:
            raise EOFError
        self.demuxer = "mpjpeg" if parted else sniff(head, self._what)
        self._rest += head


def followed(address: str, target: str, what: str) -> str:
    """A redirection stays with the same host and port, or goes from http to https: the password goes with it."""
    try:
        after, before = urlsplit(urljoin(address, target)), urlsplit(address)
        usable = (after.port is None or after.port > 0) and "\\" not in target  # which others read as a slash
        ports = before.port or _PORTS[before.scheme.lower()], after.port or _PORTS.get(after.scheme.lower())
    except ValueError:
        usable = False
    if not usable:
        raise Refusal(what, "the server sends us to a malformed address", "give the stream's own address")
    upgraded = (before.scheme, after.scheme) == ("http", "https")
    if after.hostname != before.hostname or not (after.scheme == before.scheme or upgraded):
        raise Refusal(what, "the server sends us to another host", "give the stream's own address")
    if ports[0] != ports[1] and not (upgraded and ports == (80, 443)):  # another port may be another's server
        raise Refusal(what, "the server sends us to another port", "give the stream's own address")
    user = before.netloc.rpartition("@")[0]
    return after._replace(netloc=f"{user}@{after.netloc}" if user and "@" not in after.netloc else after.netloc).geturl()
