"""`serval export`: a run as subtitles, JSON Lines, a web page or an annotated video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    run: Annotated[str, typer.Argument(help="Folder of the run, or postgresql://…?run=NAME.")],
    form: Annotated[Literal["srt", "vtt", "jsonl", "html", "video"], typer.Argument(metavar="FORM", help="srt, vtt, jsonl, html or video.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; - for standard output. Default: in the run folder.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    video: Annotated[Path | None, typer.Option(help="The file that was watched, to draw on it at full rate.")] = None,
) -> None:
    """Hand a run on: as captions (srt, vtt), JSON Lines, a self-contained web page, or a video with boxes and captions.

    Examples:

        serval export runs/door html --out door.html

        serval export runs/door vtt --out - | head

        serval export runs/door video --video door.mp4 --out said.mp4
    """
    import sys
    import tempfile

    from serval.assistant.timeline.export.formats import export as write
    from serval.refusal import Refusal

    if out is not None and str(out) == "-":
        if form == "video":
            raise Refusal("-", "a video cannot go to standard output", "name a file with --out")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "export"
            write(run, form, path, source=source, video=video)
            with path.open("rb") as file:
                while block := file.read(1 << 16):
                    sys.stdout.buffer.write(block)
        return
    if out is None:
        if "://" in run:
            raise Refusal(f"export of {form}", "a run by address has no folder", "name a file with --out")
        out = Path(run) / f"timeline.{'mp4' if form == 'video' else form}"
    write(run, form, out, source=source, video=video)
    typer.echo(str(out))
