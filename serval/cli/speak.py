"""`serval speak`: text as speech."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, cast

import typer

_KINDS = ("wav", "mp3", "opus", "flac", "aac")


def speak(
    text: Annotated[str, typer.Argument(help="What is said; - reads it from standard input.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file: .wav, .mp3, .opus, .flac or .aac.")],
    speed: Annotated[float, typer.Option(min=0.25, max=4.0, help="1 is the voice's own pace, 2 twice as fast.")] = 1.0,
) -> None:
    """Say English text aloud, into a file. It needs the part hibari: serval weights fetch hibari.

    Examples:

        serval speak "a person comes in" -o person.wav

        serval ask runs/today "what happened?" | serval speak - -o told.mp3
    """
    import numpy as np

    from serval.assistant.voice.sound_file import Kind, sound_file
    from serval.assistant.voice.voice import RATE, Voice
    from serval.refusal import Refusal

    kind = out.suffix.lower().removeprefix(".")
    if kind not in _KINDS:
        raise Refusal(out.name, "its ending names no kind of sound that is written here", f"use .{', .'.join(_KINDS)}")
    said = list(Voice.open().speak(sys.stdin.read().strip() if text == "-" else text, speed=speed))
    if not said:
        raise Refusal("the text", "there is nothing in it that can be said", "give some words")
    sound = np.concatenate(said)
    try:
        out.write_bytes(sound_file(sound, cast(Kind, kind)))
    except OSError as error:
        raise Refusal(str(out), f"it cannot be written ({error.strerror})", "name another file") from None
    typer.echo(f"{out}: {len(sound) / RATE:.1f} s")
