"""What it costs to watch four cameras in front of which nothing happens."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.footage import HEIGHT, WIDTH, quiet_video
from benchmarks.table import Result, Table, Target
from benchmarks.timing import steps

NAME = "quiet_cameras"
ABOUT = "Four quiet 720p cameras at 5 frames a second"
_FPS = 5.0
_FRAMES = (12, 70, 120, 200)  # of the clip: a man, a bicycle, a street …
_START = 10.0  # seconds after which the first scenes are told and it is quiet
_TELL = ("tell me when a person comes in", "describe every new scene", "tell me when someone puts something on the table")


@dataclass(frozen=True)
class Share:
    """Of one core, in %."""

    whole: float
    detail: dict[str, float]
    looked: float  # looks of each camera a minute
    events: int


def run(quick: bool) -> Result:
    seconds, rounds = (20.0, 1) if quick else (70.0, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [
            quiet_video(folder / f"camera{place}.mp4", which, seconds, _FPS)
            for place, which in enumerate(steps(_FRAMES, "making videos"), 1)
        ]
        watched, decoded = [], []
        for turn in steps(range(rounds), "watching in real time"):
            order = (True, False) if turn % 2 == 0 else (False, True)
            for watches in order:
                if watches:
                    watched.append(_watch(paths, folder / f"run{turn}", seconds))
                else:
                    decoded.append(_decode(paths, seconds))
        size = sum(path.stat().st_size for path in paths) / len(paths) / seconds / 1000
    whole = statistics.median(each.whole for each in watched)
    alone = statistics.median(decoded)
    names = sorted({name for each in watched for name in each.detail})
    parts = {name: statistics.median(each.detail.get(name, 0.0) for each in watched) for name in names}
    rows = (
        ("the whole watch", whole),
        ("decoding the four alone", alone),
        *((f"of the watch: {name}", share) for name, share in sorted(parts.items(), key=lambda each: -each[1])),
    )
    return Result(
        tables=(
            Table(
                "Share of one core",
                ("what", "% of a core (median)"),
                rows,
                note=f"Each camera was looked at {statistics.median(each.looked for each in watched):.1f} times a minute; "
                f"{max(each.events for each in watched)} things were said in the quiet time of the noisiest round.",
            ),
        ),
        method=f"Four H.264 videos of {WIDTH}x{HEIGHT} at {_FPS:g} frames a second ({size:.0f} kB a second each), each one "
        f"picture with fresh sensor noise in every frame, watched in real time with the instructions "
        f"{', '.join(f'“{text}”' for text in _TELL)}: decoding, perception, recording, timeline and memory. Processor time of "
        f"all threads of the process from second {_START:g}, when the first scenes are told, to second {seconds - 2:g}, over "
        f"the clock's; {rounds} round(s), in turns with decoding alone. The encoders' share is their own processor time.",
        targets=(Target("four quiet cameras", whole, 50.0, "% of one core"),),
        data={"watch": [vars(each) for each in watched], "decoding": decoded},
    )


def _watch(paths: list[Path], folder: Path, seconds: float) -> Share:
    """Share of a core in the quiet part of a real-time watch, by stage."""
    from benchmarks.stages import Stages
    from serval.assistant.event import Event, EventKind
    from serval.assistant.watch_options import WatchOptions
    from serval.assistant.watching import Watching

    said: list[Event] = []
    options = WatchOptions(tuple(map(str, paths)), tell=_TELL, fps=_FPS, pace="realtime", run=folder)
    stages = Stages()
    marks: list[tuple[float, float, dict[str, float], int]] = []

    def mark() -> None:
        looked = sum(watching.watcher.status().looked.values())
        marks.append((time.monotonic(), time.process_time(), dict(stages.cpu), looked))

    with stages.on():  # before the videos are opened, whose decoding is one of them
        watching = Watching(options, on_event=lambda event: said.append(event) if event.kind is EventKind.UTTERANCE else None)
        for at in (_START, seconds - 2):  # by the run's clock, which began before the encoders were loaded
            threading.Timer(at - watching.clock.now(), mark).start()
        watching.run()
    (wall, cpu, before, looks), (wall_end, cpu_end, after, looks_end) = marks
    took = wall_end - wall
    return Share(
        whole=100 * (cpu_end - cpu) / took,
        detail={
            name: 100 * (used - before.get(name, 0.0)) / took for name, used in after.items() if used > before.get(name, 0.0)
        },
        looked=(looks_end - looks) / len(paths) / took * 60,
        events=sum(event.t_end > _START for event in said),
    )


def _decode(paths: list[Path], seconds: float) -> float:
    """Share of a core that decoding the four videos in real time takes, by their length; no conversion."""
    from serval.media.open_video import open_video

    began = time.process_time()
    for path in paths:
        with open_video(path, source="") as video:
            for _ in video.frames():
                pass
    return 100 * (time.process_time() - began) / seconds
