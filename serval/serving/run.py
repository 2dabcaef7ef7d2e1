"""Running the service: the socket, and connections that must hurry."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serval.refusal import Refusal
from serval.serving.app import create_app
from serval.serving.hub import Hub
from serval.serving.options import ServeOptions

log = logging.getLogger(__name__)

_HEAD = 10.0  # seconds within which a request's head has to be there
_ARENA_MAX = -8  # of glibc's malloc.h
_STUCK = 60.0  # seconds for which a client may take nothing of what waits for it


class HurriedProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, but whoever connects and does not ask within seconds, or never reads, is cut off."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._hurry = asyncio.get_running_loop().call_later(_HEAD, self._late)
        self._stuck: asyncio.TimerHandle | None = None

    def _late(self) -> None:
        if self._mine and self.cycle is None and not self.transport.is_closing():
            self.transport.close()

    def _give_up(self) -> None:
        if self._mine:
            self.transport.abort()

    @property
    def _mine(self) -> bool:
        """Whether it still speaks HTTP: of a socket which it became others take care."""
        return self.transport.get_protocol() is self

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = asyncio.get_running_loop().call_later(_STUCK, self._give_up)

    def resume_writing(self) -> None:
        self._moves()
        super().resume_writing()

    def _moves(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hurry.cancel()
        self._moves()
        super().connection_lost(exc)


class Server(uvicorn.Server):
    """Tells where it listens as soon as it does, and ends what would go on for ever before it waits for the rest."""

    def __init__(self, config: uvicorn.Config, tell: Callable[[str], None], hub: Hub) -> None:
        super().__init__(config)
        self._tell, self._hub = tell, hub

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        _few_arenas()
        super().run(sockets)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        for each in self.servers:
            for listening in each.sockets:
                host, port = listening.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                self._tell(f"Serval listens at http://{shown}:{port}/ (Ctrl-C ends it)")

    async def shutdown(self, sockets: Any = None) -> None:
        self._hub.news.close()
        await super().shutdown(sockets)


def _few_arenas() -> None:
    """Have glibc keep what is freed where other threads find it: each session has threads of its own, and each thread would
    else leave an arena behind that holds on to memory, a megabyte or so a session, for as long as the service runs."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 2)


def server(options: ServeOptions, tell: Callable[[str], None] = log.info) -> Server:
    """Ready to run. Raises `Refusal` for options that cannot be honoured."""
    limits, app = options.limits, create_app(options)
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        http=HurriedProtocol,
        ws="websockets-sansio",
        ws_max_size=limits.message,
        ws_max_queue=8,
        ws_ping_interval=20.0,
        ws_ping_timeout=limits.idle,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
        limit_concurrency=limits.all_sockets + 1000,
        h11_max_incomplete_event_size=64 * 1024,
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_config=None,
    )
    return Server(config, tell, app.state.service.hub)


def run(options: ServeOptions, tell: Callable[[str], None]) -> None:
    """Serve until it is interrupted. ``tell`` is told where.

    Raises:
        Refusal: options that cannot be honoured, or an address that cannot be listened at.
    """
    listening = _listening(options)
    with listening:
        server(options, tell).run(sockets=[listening])


def _listening(options: ServeOptions) -> socket.socket:
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except (OSError, UnicodeError, OverflowError) as error:
        why = (getattr(error, "strerror", None) or "no such address").casefold()
        raise Refusal(f"{options.host}:{options.port}", why, "choose another --port or --host") from None
    return made
