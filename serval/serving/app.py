"""The application: routes behind the door."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from serval.media.apart import DecoderApart
from serval.serving import problems
from serval.serving.door import Door
from serval.serving.hub import Hub
from serval.serving.keys import Keys
from serval.serving.options import ServeOptions, check
from serval.serving.service import Service
from serval.serving.webhooks import Webhooks

_ROUTES = sorted(path.stem for path in (Path(__file__).parent / "routes").glob("[a-z]*.py"))


def create_app(options: ServeOptions) -> FastAPI:
    """All that `serval serve` serves. Its parts end with its lifespan.

    Raises:
        Refusal: options that cannot be honoured.
    """
    options.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = Keys(options.keys)
    check(options, keys=keys.any)
    webhooks = Webhooks(options.folder, options.webhooks)
    service = Service(options, keys, Hub(options, webhooks.note), DecoderApart(), webhooks)
    for about, started, event in service.hub.past() if webhooks.held() else ():  # told, and not noted before the end came
        webhooks.note(about.owner, about.id, event, said=started.timestamp() + event.said_at)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        webhooks.start()
        try:
            yield
        finally:
            await run_in_threadpool(service.hub.close)
            await run_in_threadpool(webhooks.close)
            service.decoder.close()

    app = FastAPI(
        title="Serval",
        version=version("serval"),
        summary="A proactive watcher: silent while nothing matters, speaking with evidence when something does.",
        lifespan=lifespan,
        docs_url=None,  # its scripts come from elsewhere; /openapi.json is what tools read
        redoc_url=None,
    )
    app.state.service = service
    problems.install(app)
    for name in _ROUTES:
        app.include_router(importlib.import_module(f"serval.serving.routes.{name}").router)

    def door(inner: ASGIApp) -> Door:
        service.door = Door(
            inner,
            keys,
            needed=not options.loopback or keys.any,
            hosts=(*options.hosts, options.host),
            origins=options.origins,
            limits=options.limits,
        )
        return service.door

    app.add_middleware(door)
    return app
