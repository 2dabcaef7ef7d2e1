"""One door to every form a run is handed on in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, get_args

from serval.assistant.timeline.export.json_lines import json_lines
from serval.assistant.timeline.export.page import page
from serval.assistant.timeline.export.subtitles import srt, webvtt
from serval.assistant.timeline.export.video import annotated_video
from serval.assistant.timeline.plain import one_line
from serval.assistant.timeline.recording import FILE as RECORDING
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.timeline import FILE as TIMELINE
from serval.assistant.timeline.timeline import Timeline
from serval.refusal import Refusal

Form = Literal["srt", "vtt", "jsonl", "html", "video"]


def export(run: Path | str, form: Form, out: Path, *, source: str | None = None, video: Path | None = None) -> None:
    """Write a run as ``form`` to the file ``out``, which is whole or not there.

    Args:
        run: run folder, or the address of its timeline in PostgreSQL.
        source: only this source; needed for a video of a run with several.
        video: the file that was watched, to draw on; without it the video is made of the recorded pictures.

    Raises:
        Refusal: the run or ``video`` cannot be read, ``out`` cannot be written, the name of the source is wrong.
    """
    if form not in get_args(Form):
        raise Refusal(f"form {form!r}", "there is no such export", f"choose one of {', '.join(get_args(Form))}")
    _spare(run, out)
    with ExitStack() as stack:
        timeline = stack.enter_context(Timeline.open(run, write=False))
        recorded = "://" not in str(run) and (Path(run) / RECORDING).exists()
        recording = stack.enter_context(Recording.open(run, write=False)) if recorded else None
        if source is not None and source not in (names := timeline.sources()):
            known = ", ".join(one_line(name) for name in names) or "none"
            raise Refusal(f"source {one_line(source)!r}", "the run has none of this name", f"it has {known}")
        if form == "video":
            annotated_video(timeline, recording, out, source=source, video=video)
            return
        events = timeline.events(source=source)
        pieces = {
            "srt": lambda: srt(events),
            "vtt": lambda: webvtt(events),
            "jsonl": lambda: json_lines(events),
            "html": lambda: page(timeline, recording, source=source),
        }[form]()
        _write(out, pieces)


def _spare(run: Path | str, out: Path) -> None:
    """Raises `Refusal` when ``out`` is a part of the run itself."""
    if "://" not in str(run) and out.exists():
        for name in (TIMELINE, RECORDING):
            own = Path(run) / name
            if own.exists() and own.samefile(out):
                raise Refusal(str(out), "it is the run itself", "name another file")


def _write(out: Path, pieces: Iterable[str]) -> None:
    """Write beside the file and put it in its place at the end."""
    try:
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise Refusal(str(out), "it cannot be written", (error.strerror or "").casefold()) from None
    beside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
        beside.chmod(0o644)
        beside.replace(out)
    except OSError as error:
        raise Refusal(str(out), "it cannot be written", (error.strerror or "").casefold()) from None
    finally:
        beside.unlink(missing_ok=True)
