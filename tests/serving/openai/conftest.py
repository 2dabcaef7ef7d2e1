"""One service for all tests of this folder, and OpenAI's own client for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi import FastAPI

from serval.serving.openai.opened import Opened, opened
from serval.serving.options import ServeOptions
from serval.serving.run import server


@dataclass
class Place:
    """Where a service is, and its models."""

    url: str
    app: FastAPI

    @property
    def opened(self) -> Opened:
        return opened(self.app.state.service)

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Place]:
    made = server(ServeOptions(folder=folder, port=0, **options))
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    while not made.started:
        assert thread.is_alive(), "the service did not start"
        time.sleep(0.01)
    port = made.servers[0].sockets[0].getsockname()[1]
    app = made.config.app
    assert isinstance(app, FastAPI)
    yield Place(f"http://127.0.0.1:{port}", app)
    made.should_exit = True
    thread.join(30)
    assert not thread.is_alive(), "the service did not end"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running(tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture(scope="session")
def client(place: Place) -> Iterator[openai.OpenAI]:
    with place.client() as found:
        yield found


@pytest.fixture(scope="session")
def place_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Place]]:
    """A service whose model of chat is this one."""
    made: dict[str, Place] = {}
    with ExitStack() as stack:

        def start(chat: str) -> Place:
            if chat not in made:
                made[chat] = stack.enter_context(running(tmp_path_factory.mktemp("service"), chat=chat))
            return made[chat]

        yield start
