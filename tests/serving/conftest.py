"""A service that runs, on a real socket of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from serval.serving.hub import Hub
from serval.serving.keys import Keys, Scope
from serval.serving.options import ServeOptions
from serval.serving.run import server
from serval.serving.service import Service


@dataclass
class Running:
    """Where it is, and what it is made of."""

    url: str
    folder: Path
    server: uvicorn.Server
    thread: threading.Thread
    clients: list[httpx2.Client] = field(default_factory=list)

    @property
    def app(self) -> FastAPI:
        app = self.server.config.app
        assert isinstance(app, FastAPI)
        return app

    @property
    def parts(self) -> Service:
        found: Service = self.app.state.service
        return found

    @property
    def hub(self) -> Hub:
        return self.parts.hub

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, key: str | None = None, **more: Any) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.clients.append(httpx2.Client(base_url=self.url, headers=headers, timeout=60, **more))
        return self.clients[-1]

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive(), "the service did not end"


Serve = Callable[..., Running]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start services with these `ServeOptions`; all end with the test."""
    started: list[Running] = []

    def start(**options: Any) -> Running:
        options = {"folder": tmp_path / "service", "port": 0, **options}
        made = server(ServeOptions(**options))
        thread = threading.Thread(target=made.run, daemon=True)
        thread.start()
        while not made.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.01)
        port = made.servers[0].sockets[0].getsockname()[1]
        started.append(Running(f"http://127.0.0.1:{port}", options["folder"], made, thread))
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def service(serve: Serve) -> Running:
    """A service of this machine alone, without keys."""
    return serve()


@pytest.fixture
def key(tmp_path: Path) -> Callable[..., str]:
    """Make a key of the service to come: ``key("anna", "watch", "ask")``."""
    folder = tmp_path / "service"
    folder.mkdir(exist_ok=True)

    def made(name: str, *scopes: str) -> str:
        return Keys(folder / "keys.json").add(name, tuple(map(Scope, scopes or ("watch", "ask", "instruct"))))

    return made
