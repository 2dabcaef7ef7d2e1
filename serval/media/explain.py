"""Plain words for what went wrong while reading, chosen by kind of error.

The error's own text is never used: a decoder's may carry memory addresses, a network library's the password in a URL.
"""

from __future__ import annotations

import errno
import socket
import ssl
import urllib.error

import av

_KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (av.error.HTTPUnauthorizedError, "the user name or password is not accepted"),
    (av.error.HTTPForbiddenError, "access is forbidden"),
    (av.error.HTTPNotFoundError, "there is no such stream"),
    (av.error.HTTPError, "the server refuses"),
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "no secure connection can be made"),
    (socket.gaierror, "the host name is not known"),
    ((TimeoutError, av.error.ExitError), "no data came in time"),
    (ConnectionRefusedError, "the connection is refused"),
    (ConnectionError, "the connection was closed"),
    (EOFError, "it ended"),
    ((FileNotFoundError, NotADirectoryError), "there is no such file"),
    (PermissionError, "there is no permission to read it"),
    (IsADirectoryError, "it is a directory"),
    (MemoryError, "it asks for more memory than there is"),
    ((av.error.ProtocolNotFoundError, av.error.DecoderNotFoundError), "it needs something that is not allowed here"),
    (av.error.InvalidDataError, "its data is damaged or not what it says it is"),
)
_HTTP = {401: "the user name or password is not accepted", 403: "access is forbidden", 404: "there is no such stream"}
_CODES = {
    errno.EHOSTUNREACH: "the host cannot be reached",
    errno.ENETUNREACH: "the network cannot be reached",
    errno.EBUSY: "another program is using it",
    errno.ENODEV: "there is no such device",
    errno.EIO: "reading failed",
}


def explain(error: BaseException) -> str:
    """A few words on ``error`` that are safe to show, without a full stop."""
    if isinstance(error, urllib.error.HTTPError):
        return _HTTP.get(error.code, f"the server answers {error.code}")
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return explain(error.reason)
    code = getattr(error, "errno", None)
    if code in _CODES:
        return _CODES[code]
    return next((words for kinds, words in _KINDS if isinstance(error, kinds)), "it cannot be read")
