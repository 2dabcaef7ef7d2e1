"""How long after something happens Serval says its first word, and how long until the event is on the disk."""

from __future__ import annotations

import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.arrivals import PERIOD, TELL, arrivals
from benchmarks.table import Cell, Result, Table, Target
from benchmarks.timing import Samples, in_turns, percentile, steps

NAME = "first_word"
ABOUT = "From the event to the first word"
_ANSWERERS = ("template", "smollm2")
_FPS = 8.0
_EARLY, _LATE = 0.5, 4.0  # seconds before and after an arrival within which a wake is about it


@dataclass(frozen=True)
class Said:
    """One utterance of a real-time watch; seconds on the run's clock."""

    happened: float  # by the script
    woke: float  # the frame at which the gate woke the answerer
    asked: float  # its turn at the desk
    worded: float  # the sentence is there
    durable: float  # it is on the disk, and is shown
    by: str  # whose words


class Listening:
    """An answerer that keeps what it is asked."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.name, self.models = inner, inner.name, inner.models
        self.requests: list[Any] = []

    def answer(self, request: Any, cancelled: Callable[[], bool] = lambda: False) -> Any:
        self.requests.append(request)
        return self._inner.answer(request, cancelled)


def run(quick: bool) -> Result:
    seconds = 30.0 if quick else 450.0  # so that 60 of them are told at the least
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = arrivals(seconds)
        path = folder / "arrivals.mp4"
        _write(world, path)
        happened = [each.time for each in world.truth]
        live: dict[str, list[Said]] = {}
        requests: list[Any] = []
        for answerer in steps(_ANSWERERS, "watching in real time"):
            live[answerer], asked = _watch(path, folder / answerer, answerer, happened)
            requests = requests or asked
    alone = _answer_alone(requests, 4 if quick else max(60, len(requests)))
    rows: list[tuple[Cell, ...]] = []
    for answerer, said in live.items():
        for about, of in _SPANS:
            rows.append((answerer, about, *_spread([of(each) for each in said])))
    table = Table(
        "In real time",
        ("answerer", "from … to", "p50 (s)", "p90 (s)", "p99 (s)", "longest (s)"),
        tuple(rows),
        note="; ".join(
            f"{name}: {len(said)} of {len(happened)} arrivals told, {sum(each.by == name for each in said)} in its own words"
            for name, said in live.items()
        )
        + ". “Event” is when half of what comes in is inside the picture. A wake waits a quarter of a second for company "
        "before it is answered.",
    )
    words = Table(
        "The answerers alone",
        ("answerer", "answers", "p50 (s)", "p90 (s)", "p99 (s)", "longest (s)", "p50 of processor (s)"),
        tuple((name, len(each.wall), *_spread(each.wall), statistics.median(each.cpu)) for name, each in alone.items()),
        note="The requests of the watch, answered again one by one while nothing else runs in the process, answerers in turns.",
    )
    local = [each.worded - each.happened for each in live["smollm2"]] or [float("inf")]
    return Result(
        tables=(table, words),
        method=f"A street of {seconds:.0f} s at 640x360 into which somebody or something comes every {PERIOD:g} s or so, "
        f"watched in real time at {_FPS:g} frames a second with “{TELL}”. Template and local model each watch the whole of it. "
        "The first word is the last one too: nothing is heard before it is checked. A word is shown when its event is durable.",
        targets=(
            Target("event to first word, local model, p50", statistics.median(local), 1.5, "s"),
            Target("event to first word, local model, p99", percentile(local, 99), 4.0, "s"),
        ),
        data={
            "live": {name: [vars(each) for each in said] for name, said in live.items()},
            "alone": {name: vars(each) for name, each in alone.items()},
        },
    )


_SPANS: tuple[tuple[str, Callable[[Said], float]], ...] = (
    ("event to first word", lambda each: each.worded - each.happened),
    ("event to durable and shown", lambda each: each.durable - each.happened),
    ("event to wake", lambda each: each.woke - each.happened),
    ("wake to first word", lambda each: each.worded - each.woke),
    ("turn at the desk to first word", lambda each: each.worded - each.asked),
    ("first word to durable", lambda each: each.durable - each.worded),
)


def _spread(values: Sequence[float]) -> tuple[Cell, ...]:
    if not values:
        return (None,) * 4
    return (statistics.median(values), percentile(values, 90), percentile(values, 99), max(values))


def _write(world: Any, path: Path) -> None:
    from serval.media.writer import VideoWriter

    width, height = world.size
    with VideoWriter(path, width, height, _FPS) as writer:
        for frame in steps(world.frames(_FPS), "making the video", total=world.seconds * _FPS):
            writer.write(frame.rgb, frame.time)


def _watch(path: Path, folder: Path, answerer: str, happened: Sequence[float]) -> tuple[list[Said], list[Any]]:
    """Everything said in a real-time watch that belongs to an arrival, and every request to the answerer."""
    from serval.assistant.answers.build import build_answerer
    from serval.assistant.desk import Desk, Wake
    from serval.assistant.event import Event, EventKind
    from serval.assistant.watch_options import WatchOptions
    from serval.assistant.watching import Watching

    listening = Listening(build_answerer(answerer))
    woke: dict[str, tuple[float, float]] = {}
    shown: list[tuple[Event, float]] = []
    lock = threading.Lock()
    serve = Desk._serve

    def timed(desk: Desk, wake: Wake) -> None:
        woke[wake.id] = (wake.view.time, watching.clock.now())
        serve(desk, wake)

    def hear(event: Event) -> None:
        if event.kind is EventKind.UTTERANCE:
            with lock:
                shown.append((event, watching.clock.now()))

    options = WatchOptions((str(path),), tell=(TELL,), answerer=answerer, fps=_FPS, pace="realtime", run=folder)
    with (
        patch("serval.assistant.watching.build_answerer", lambda name: listening),
        patch.object(Desk, "_serve", timed),
    ):
        watching = Watching(options, on_event=hear)
        watching.run()
    said, open_times = [], list(happened)
    for event, durable in shown:
        before = [each for each in open_times if -_EARLY <= woke[event.id][0] - each <= _LATE]
        if before:
            open_times.remove(before[-1])
            said.append(Said(before[-1], *woke[event.id], event.said_at, durable, event.answerer))
    return said, listening.requests


def _answer_alone(requests: Sequence[Any], count: int) -> dict[str, Samples]:
    from serval.assistant.answers.build import build_answerer

    answerers = {name: build_answerer(name) for name in _ANSWERERS}
    turns = {name: cycle(requests) for name in _ANSWERERS}
    if not requests:
        return {}
    return in_turns({name: partial(_answer_next, answerers[name], turns[name]) for name in _ANSWERERS}, count, "answering")


def _answer_next(answerer: Any, requests: Iterator[Any]) -> None:
    answerer.answer(next(requests))
