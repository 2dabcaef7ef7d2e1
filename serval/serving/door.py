"""The door: nothing reaches a route or a socket but with the right host, from the right page, with a key, and not too often.
Everything is shut but `/health`.

It stands before the application as plain ASGI, so that a route cannot be forgotten.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from serval.refusal import Refusal
from serval.serving.keys import NEIGHBOUR, Keys, Person
from serval.serving.limits import Limits, Places, Rate
from serval.serving.problems import response

ASGIScope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[ASGIScope, Receive, Send], Awaitable[None]]

OPEN: Final = frozenset({"/health"})
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
SUBPROTOCOL: Final = "openai-insecure-api-key."  # how pages of OpenAI's clients give a key to a socket
_PAGES: Final = ("/", "/page/")  # what a browser asks for before any script can add a header
_MARK: Final = "serval-page"  # a header of the page's scripts; pages of other origins would first have to ask, and are told no


class Door:
    """See the module.

    Args:
        keys: who may come in.
        needed: whether a key is; without, everybody is `NEIGHBOUR`.
        hosts: names under which the service is reached, besides those of loopback.
        origins: pages of other hosts that may use it, as ``https://example.org``.
    """

    def __init__(
        self, app: App, keys: Keys, *, needed: bool, hosts: Collection[str] = (), origins: Collection[str] = (), limits: Limits
    ) -> None:
        self._app, self._keys, self._needed, self._limits = app, keys, needed, limits
        self._hosts, self._origins = LOOPBACK | {each.lower() for each in hosts}, frozenset(origins)
        self._requests, self._refused = Rate(limits.requests), Rate(limits.refused)
        self.sockets = Places(limits.sockets, limits.all_sockets)
        self.feeds = Places(limits.sockets, limits.all_sockets)  # answers that go on for as long as somebody reads

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        answer = self._stopped(scope, headers)
        if answer is None:
            scope.setdefault("state", {})["person"] = person = self._person(scope, headers)
            answer = self._barred(scope, headers, person)
        if answer is not None:
            await _refuse(scope, receive, send, *answer)
        elif scope["type"] == "http":
            await self._app(scope, self._counted(receive), send)
        else:
            assert person is not None
            with self.sockets.place(person.id) as free:
                if free:
                    await self._app(scope, receive, send)
                else:
                    await _refuse(scope, receive, send, 429, "too many sockets are open")

    def _stopped(self, scope: ASGIScope, headers: dict[str, str]) -> tuple[int, str] | None:
        """What is wrong with where it came to, or from."""
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return 421, "this host is not known here"
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and not _own(origin, host):
            return 403, "pages of this origin may not use the service"
        if origin is None and headers.get("sec-fetch-site") == "cross-site":
            return 403, "pages of other sites may not use the service"
        if not headers.get("content-length", "0").isdigit() or int(headers.get("content-length", "0")) > self._limits.body:
            return 413, f"a request has at most {self._limits.body:,} bytes"
        return None

    def _person(self, scope: ASGIScope, headers: dict[str, str]) -> Person | None:
        if not self._needed:
            return NEIGHBOUR
        try:
            return self._keys.person(_key(scope, headers))
        except Refusal:  # the file of keys cannot be read: nobody comes in
            return None

    def _barred(self, scope: ASGIScope, headers: dict[str, str], person: Person | None) -> tuple[int, str] | None:
        """What keeps this person, or nobody, from coming in."""
        address = (scope.get("client") or ("nobody", 0))[0]
        if scope["type"] == "http" and scope["path"] in OPEN:
            return None if self._requests.take(f"open {address}") else (429, "too many requests; wait a moment")
        if self._refused.left(address) < 1:
            return 429, "too many wrong keys came from this address; wait a moment"
        if person is None:
            if "authorization" in headers or "sec-websocket-protocol" in headers:
                self._refused.take(address)
            return 401, "a key is needed: Authorization: Bearer KEY"
        if not self._requests.take(f"{person.id} {address}" if person is NEIGHBOUR else person.id):
            return 429, "too many requests; wait a moment"
        return None

    def _counted(self, receive: Receive) -> Receive:
        """No body is larger than its limit, said or not, and none is waited for for ever."""
        taken, whole = 0, False

        async def counted() -> Message:
            nonlocal taken, whole
            if whole:  # what comes now is that the client went away
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._limits.idle)
            except TimeoutError:
                raise HTTPException(408, "the request took too long to come") from None
            taken += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if taken > self._limits.body:
                raise HTTPException(413, f"a request has at most {self._limits.body:,} bytes")
            return message

        return counted


def _name(host: str) -> str:
    """A Host header without its port: ``[::1]:80`` -> ``::1``."""
    try:
        return (urlsplit(f"//{host}").hostname or "") if "@" not in host else ""
    except ValueError:
        return ""


def _own(origin: str, host: str) -> bool:
    """Whether a page is the service's own: of the same host and port that was asked."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _key(scope: ASGIScope, headers: dict[str, str]) -> str:
    """The key that came along. A browser's own password box counts for the page and its scripts, and for nothing else."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return given.strip()
    if scope["type"] == "websocket":
        offered = [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",")]
        return next((each.removeprefix(SUBPROTOCOL) for each in offered if each.startswith(SUBPROTOCOL)), "")
    if kind.lower() == "basic" and (_page(scope) or _script(headers)):
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _page(scope: ASGIScope) -> bool:
    return scope["method"] in ("GET", "HEAD") and (scope["path"] == _PAGES[0] or scope["path"].startswith(_PAGES[1]))


def _script(headers: dict[str, str]) -> bool:
    """Whether a script of the page asks. Browsers send what their password box was given by themselves, whoever makes them
    ask; this header they send for other origins only with a permission, which nobody is given here."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    return _MARK in headers and site == "same-origin" and (origin is None or _own(origin, headers.get("host", "")))


async def _refuse(scope: ASGIScope, receive: Receive, send: Send, status: int, text: str) -> None:
    answer = response(status, text)
    if status == 401 and scope["type"] == "http" and _page(scope):
        answer.headers["WWW-Authenticate"] = 'Basic realm="Serval: any name, and a key as password"'
    if scope["type"] == "http":
        await answer(scope, receive, send)
        return
    await receive()  # the client's wish to connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await answer({**scope, "type": "websocket"}, receive, send)
    else:
        await send({"type": "websocket.close", "code": 4000 + min(status, 999)})
