"""Running the service: the socket, and connections that must hurry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serval.refusal import Refusal
from serval.serving.app import create_app
from serval.serving.options import ServeOptions

log = logging.getLogger(__name__)

_HEAD = 10.0  # seconds within which a request's head has to be there


class HurriedProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, but whoever connects and does not ask within seconds is cut off."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._hurry = asyncio.get_running_loop().call_later(_HEAD, self._late)

    def _late(self) -> None:
        mine = self.transport.get_protocol() is self  # and not that of a socket which it became
        if mine and self.cycle is None and not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hurry.cancel()
        super().connection_lost(exc)


class Server(uvicorn.Server):
    """Tells where it listens as soon as it does."""

    def __init__(self, config: uvicorn.Config, tell: Callable[[str], None]) -> None:
        super().__init__(config)
        self._tell = tell

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        for each in self.servers:
            for socket in each.sockets:
                host, port = socket.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                self._tell(f"Serval listens at http://{shown}:{port}/ (Ctrl-C ends it)")


def server(options: ServeOptions, tell: Callable[[str], None] = log.info) -> Server:
    """Ready to run. Raises `Refusal` for options that cannot be honoured."""
    limits = options.limits
    config = uvicorn.Config(
        create_app(options),
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
    return Server(config, tell)


def run(options: ServeOptions, tell: Callable[[str], None]) -> None:
    """Serve until it is interrupted. ``tell`` is told where."""
    made = server(options, tell)
    made.run()
    if not made.started:
        raise Refusal(f"--port {options.port}", "it is taken, or may not be listened at", "choose another one")
