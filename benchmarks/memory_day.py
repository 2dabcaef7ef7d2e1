"""A day of watching in a few minutes: does memory stay flat, and does the run folder keep its cap?"""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.footage import Noise, fitted
from benchmarks.table import Result, Table, Target
from benchmarks.timing import steps

if TYPE_CHECKING:
    from serval.assistant.memory import Memory
    from serval.assistant.watcher import Watcher
    from serval.encoders.percept import Looks, Percept
    from serval.media.frame import Frame

NAME = "memory_day"
ABOUT = "Memory over a day at one frame a second"
_TELL = ("tell me when a person, a car or a dog comes in", "tell me when a person leaves", "describe every new scene")
_SIZE = (320, 180)
_HOUR = 3600
_WARM = 4  # hours until every layer of the memory and the recording is full
_MEMORY_MB, _RECORDING_MB, _TRACE_ROWS = 4.0, 16.0, 20_000  # small, to be full after an hour or two


@dataclass(frozen=True)
class Sample:
    """The process after a simulated hour."""

    hour: float
    rss_mb: float
    held_mb: float  # by the count of `Memory`
    files: int  # open
    threads: int
    recording_mb: float  # on the disk, with its log
    timeline_mb: float
    said: int


def run(quick: bool) -> Result:
    hours, real = (2.0, 0.02) if quick else (24.0, 0.5)
    warm = 1.0 if quick else _WARM
    scripted = _day(hours, hours / 24 if quick else 1.0, "scripted")
    with_encoders = _day(real, real / 24, "encoders")
    after = [each for each in scripted if each.hour >= warm]
    growth = 100 * (_mean(after[-3:]) / _mean(after[:3]) - 1)
    own = [each for each in with_encoders if each.hour >= real / 3]
    return Result(
        tables=(
            _table("A day with scripted looks", scripted),
            _table(f"{60 * real:.0f} minutes with the real encoders", with_encoders),
        ),
        method=f"Frames of {_SIZE[0]}x{_SIZE[1]} once a second from two photos with sensor noise, in which people, cars and "
        f"dogs come and go every minute or so and the place changes every hour, for {hours:g} simulated hours through the "
        f"whole watcher in fast pace: perception, gates, answers, timeline, a memory of {_MEMORY_MB:g} MB and a recording of "
        f"{_RECORDING_MB:g} MB, small enough to be full early. Looks are scripted, since the encoders would take a day; a "
        "shorter run with them follows. Resident memory after a collection, every simulated hour. Growth compares the mean of "
        f"the last three samples with that of the three from hour {warm:g} on.",
        targets=(
            Target("growth of resident memory after warm-up", growth, 1.0, "%"),
            Target("the memory's own count", max(each.held_mb for each in scripted), _MEMORY_MB, "MB"),
            Target("the recording on the disk", max(each.recording_mb for each in scripted), _RECORDING_MB, "MB"),
            Target("open files at the end beyond those after warm-up", float(after[-1].files - after[0].files), 0.0, ""),
            Target("threads at the end beyond those after warm-up", float(after[-1].threads - after[0].threads), 0.0, ""),
        ),
        data={
            "scripted": [vars(each) for each in scripted],
            "encoders": [vars(each) for each in with_encoders],
            "encoders_growth_percent": 100 * (own[-1].rss_mb / own[0].rss_mb - 1) if own else None,
        },
    )


def _mean(samples: list[Sample]) -> float:
    return statistics.mean(each.rss_mb for each in samples)


def _table(title: str, samples: list[Sample]) -> Table:
    columns = (
        "hour",
        "resident (MB)",
        "memory's count (MB)",
        "open files",
        "threads",
        "recording (MB)",
        "timeline (MB)",
        "said",
    )
    return Table(title, columns, tuple(tuple(vars(each).values()) for each in samples))


class Street:
    """What is where at a second of the day, the same every time it is asked: the script behind pictures and looks."""

    def __init__(self) -> None:
        from serval.encoders.labels import COCO

        self._labels = {name: COCO.index(name) for name in ("person", "car", "dog")}
        self._random = np.random.default_rng(5)
        self._visits: list[tuple[int, int, str, float]] = []  # from, to, who, where
        second = 40
        while second < 25 * _HOUR:
            stay = int(self._random.integers(8, 40))
            who = str(self._random.choice(list(self._labels)))
            self._visits.append((second, second + stay, who, float(self._random.uniform(0.2, 0.8))))
            second += int(self._random.integers(30, 90))
        self._starts = np.array([each[0] for each in self._visits])

    def here(self, second: int) -> list[tuple[str, int, tuple[float, float, float, float]]]:
        """(label, class, left top right bottom in fractions) of everything there."""
        until = int(np.searchsorted(self._starts, second + 1))
        around = self._visits[max(0, until - 4) : until]
        found = []
        for begin, end, who, x in around:
            if begin <= second < end:
                sway = 0.01 * np.sin(second)
                found.append((who, self._labels[who], (x - 0.1 + sway, 0.4, x + 0.1 + sway, 0.9)))
        return found


class ScriptedLooker:
    """Sees what the script says, as a detector and a tagger would tell it."""

    models = {"objects": "script", "tags": "script"}  # noqa: RUF012 - as the protocol has it

    def __init__(self, street: Street) -> None:
        self._street, self._random = street, np.random.default_rng(6)
        self._places = self._random.normal(size=(24, 1280)).astype(np.float16).astype(np.float32)

    def look(self, frame: Frame, looks: Looks) -> Percept:
        from serval.encoders.percept import Detection, Percept
        from serval.media.box import Box

        second = round(frame.time)
        found = []
        for _, index, box in self._street.here(second):
            scores = np.full(80, 0.01, np.float16)
            scores[index] = 0.7 + 0.2 * self._random.random()
            found.append(Detection(Box(*(float(np.float32(each)) for each in box)), scores.astype(np.float32)))
        tags = np.full(1000, 1e-4, np.float32)
        tags[second // _HOUR * 7 % 1000] = 0.8
        return Percept(
            source=frame.source,
            index=frame.index,
            time=frame.time,
            luma=frame.luma,
            sha256=frame.sha256,
            width=frame.width,
            height=frame.height,
            feature=self._places[second // _HOUR % 24] if looks.features else None,
            tags=tags.astype(np.float16).astype(np.float32) if looks.features else None,
            detections=tuple(found) if looks.detect else None,
            hands=() if looks.hands else None,
            text=() if looks.text else None,
        )


def _frames(street: Street, seconds: int) -> Iterator[Frame]:
    """The pictures: a photo that changes every hour, noise, and patches of real pictures where somebody is."""
    from serval.data.worlds.cast import background, sprite
    from serval.media.frame import Frame

    width, height = _SIZE
    places = [fitted(background(name, width, height), width, height) for name in ("leuvenA.jpg", "building.jpg")]
    stamps = {"person": "people/fireman240a.png", "car": "vehicles/auto/beetle.png", "dog": "animals/mammals/dogs/dog.png"}
    patches = {label: sprite(stamp).rgba for label, stamp in stamps.items()}
    noise = Noise(1, width, height)
    for second in range(seconds):
        picture = places[second // _HOUR % 2].copy()
        for label, _, (left, top, right, bottom) in street.here(second):
            x, y = max(0, round(left * width)), round(top * height)
            patch = cv2.resize(patches[label], (min(round(right * width), width) - x, round(bottom * height) - y))
            alpha = patch[..., 3:].astype(np.float32) / 255
            there = picture[y : y + patch.shape[0], x : x + patch.shape[1]]
            there[:] = (patch[..., :3] * alpha + there * (1 - alpha)).astype(np.uint8)
        yield Frame.from_rgb(noise.on(picture), source="street", index=second, time=float(second))


def _day(hours: float, every: float, which: str) -> list[Sample]:
    """Watch for ``hours`` simulated ones; a sample every ``every`` of them."""
    import psutil

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        street = Street()
        watcher, memory, close = _watcher(folder, ScriptedLooker(street) if which == "scripted" else None)
        process, samples, seconds = psutil.Process(), [], round(hours * _HOUR)
        period = max(1, round(every * _HOUR))
        for frame in steps(_frames(street, seconds), which, total=seconds):
            watcher.observe(frame)
            if (frame.index + 1) % period == 0:
                gc.collect()
                samples.append(
                    Sample(
                        hour=(frame.index + 1) / _HOUR,
                        rss_mb=process.memory_info().rss / 2**20,
                        held_mb=memory.size_bytes / 2**20,
                        files=process.num_fds(),
                        threads=process.num_threads(),
                        recording_mb=_disk_mb(folder, "recording"),
                        timeline_mb=_disk_mb(folder, "timeline"),
                        said=watcher.status().said,
                    )
                )
        close()
    return samples


def _disk_mb(folder: Path, kind: str) -> float:
    return sum(each.stat().st_size for each in folder.glob(f"{kind}.*")) / 2**20


def _watcher(folder: Path, looker: ScriptedLooker | None) -> tuple[Watcher, Memory, Callable[[], None]]:
    """A watcher as `Watching` makes it, answering inline; what it looks with, its memory, and how to end it."""
    from serval.assistant.answers.template import TemplateAnswerer
    from serval.assistant.assembly import Understood, assemble
    from serval.assistant.instructions.instruction import Instruction
    from serval.assistant.instructions.understand import understand
    from serval.assistant.meaning import embedder
    from serval.assistant.memory import Memory
    from serval.assistant.timeline.recording import Recording
    from serval.assistant.timeline.timeline import Timeline
    from serval.encoders.eyes import Eyes, available
    from serval.encoders.percept import Looks

    embed, at_hand = embedder(), available()
    standing = [
        Understood(
            Instruction.model_validate({"id": f"tell-{number}", "text": text}), understand(text, embed=embed, abilities=at_hand)
        )
        for number, text in enumerate(_TELL)
    ]
    timeline, memory = Timeline.open(folder, trace_rows=_TRACE_ROWS), Memory(_MEMORY_MB)
    recording = Recording.open(folder, megabytes=_RECORDING_MB)
    watcher = assemble(
        standing,
        looker=looker or Eyes.open(Looks(detect=True, features=True, hands=True, text=True)),
        answerer=TemplateAnswerer(),
        timeline=timeline,
        memory=memory,
        recording=recording,
        started=datetime(2026, 1, 1, tzinfo=UTC),
    )

    def close() -> None:
        watcher.finish()
        recording.close()
        timeline.close()

    return watcher, memory, close
