"""`serval serve`: the watcher for browsers and other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at. Beyond this machine, keys are needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 8080,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SOURCE", help="What clients may have watched: a file, camera:0, rtsp://… Repeatable."),
    ] = None,
    answerer: Annotated[str | None, typer.Option(help="As of `serval watch`.")] = None,
    gate: Annotated[str | None, typer.Option(help="As of `serval watch`; otherwise each instruction's own.")] = None,
    chat: Annotated[str, typer.Option(help="The model behind /v1/chat/completions, as of `serval chat`.")] = "smollm2",
    name: Annotated[list[str] | None, typer.Option(help="Host name by which it is reached besides its address.")] = None,
    origin: Annotated[list[str] | None, typer.Option(help="Page of another host that may use it: https://example.org.")] = None,
    webhooks: Annotated[
        list[str] | None, typer.Option(help="Host that may be told of events: https://example.org. Repeatable.")
    ] = None,
    timeline: Annotated[
        str | None, typer.Option(help="postgresql://… for the events of all streams; SQLite in their folders otherwise.")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="Ray cluster that works on answers and taught gates: its address, or local.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where streams and keys are kept. [~/.local/share/serval/serve]")] = None,
    answers: Annotated[int, typer.Option(min=1, max=64, help="Answers worked on at a time, of all streams.")] = 1,
) -> None:
    """Serve the watcher: a page for people, and APIs for programs. It can be reached from this machine alone unless told.

    Examples:

        serval serve

        serval serve --source door=rtsp://door.local/stream --source yard=camera:0

        serval keys add anna && serval serve --host 0.0.0.0 --name serval.local
    """
    import logging

    from serval.refusal import Refusal
    from serval.serving.options import ServeOptions, home
    from serval.serving.run import run
    from serval.systems import offer_gates

    offer_gates()
    sources = {}
    for text in source or []:
        key, equals, address = text.partition("=")
        if not equals or not address:
            raise Refusal(f"--source {key}", "it has no name or no address", "give NAME=SOURCE, as door=camera:0")
        sources[key] = address
    logging.getLogger("serval").setLevel(logging.INFO)
    options = ServeOptions(
        folder=folder or home(),
        host=host,
        port=port,
        hosts=tuple(name or ()),
        origins=tuple(origin or ()),
        sources=sources,
        webhooks=tuple(webhooks or ()),
        timeline=timeline,
        ray=ray,
        answerer=answerer,
        gate=gate,
        chat=chat,
        answers=answers,
    )
    run(options, typer.echo)
