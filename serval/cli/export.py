"""`serval export`: a run as subtitles, JSON Lines, a web page or an annotated video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    run: Annotated[str, typer.Argument(help="Folder of the run, or postgresql://…?run=NAME.")],
    to: Annotated[Literal["srt", "vtt", "jsonl", "html", "video"], typer.Option(help="What to make of it.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; - for standard output. Default: in the run folder.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    video: Annotated[Path | None, typer.Option(help="The file that was watched, to draw on every picture of it.")] = None,
) -> None:
    """Hand a run on: as captions (srt, vtt), JSON Lines, a self-contained web page, or a video with boxes and captions.

    Examples:

        serval export runs/door --to html

        serval export runs/door --to vtt -o - | head

        serval export runs/door --to video --video door.mp4 -o said.mp4
    """
    import sys
    import tempfile

    from serval.assistant.timeline.export.formats import export as write
    from serval.refusal import Refusal

    if video is not None and to != "video":
        raise Refusal("--video", f"{to} has no use for it", "leave it out, or export --to video")
    if str(out) == "-":
        if to == "video":
            raise Refusal("-", "a video cannot go to standard output", "name a file with -o")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "export"
            write(run, to, path, source=source)
            with path.open("rb") as file:
                while block := file.read(1 << 16):
                    sys.stdout.buffer.write(block)
        return
    if out is None:
        if "://" in run:
            raise Refusal(f"export to {to}", "a run by address has no folder", "name a file with -o")
        out = Path(run) / f"timeline.{'mp4' if to == 'video' else to}"
    write(run, to, out, source=source, video=video)
    typer.echo(str(out))
