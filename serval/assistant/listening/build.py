"""Ears for a watch: one listener for each source whose sound can be heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from serval.assistant.event import Event
from serval.assistant.listening.activity import best_activity
from serval.assistant.listening.addressed import NamedJudge
from serval.assistant.listening.answering import Questions
from serval.assistant.listening.listener import Listener
from serval.assistant.listening.recogniser import WhisperRecogniser
from serval.media.open_video import open_sound
from serval.refusal import Refusal
from serval.sources.source import Source


def open_listeners(
    sources: Sequence[Source],
    questions: Questions,
    publish: Callable[[Event], None],
    *,
    threaded: bool,
    now: Callable[[], float] | None,
) -> dict[str, Listener]:
    """By the names of the sources that have sound; all share one recogniser.

    Raises:
        Refusal: a live source, whose sound is not taken here; no sound in any of them; or the part that recognises speech is
            not on this machine.
    """
    if live := next((source.name for source in sources if source.live), None):
        raise Refusal(f"--listen to {live}", "the sound of live sources is not heard yet", "give a file, or leave --listen out")
    paths = {source.name: path for source in sources if isinstance(path := getattr(source, "path", None), Path)}
    tracks = {name: track for name, path in paths.items() if path.is_file() and (track := open_sound(path)) is not None}
    if not tracks:
        names = ", ".join(source.name for source in sources)
        raise Refusal(f"--listen to {names}", "there is no sound in it that can be decoded", "leave --listen out")
    try:
        recogniser = WhisperRecogniser()
        return {
            name: Listener(
                track,
                source=name,
                activity=best_activity(),
                recogniser=recogniser,
                judge=NamedJudge(),
                answer=questions.answer,
                publish=publish,
                threaded=threaded,
                now=now,
            )
            for name, track in tracks.items()
        }
    except BaseException:
        for track in tracks.values():
            track.close()
        raise
