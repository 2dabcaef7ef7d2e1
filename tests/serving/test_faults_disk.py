"""A disk that is full: streams end and say so, the service goes on, and with room again so does everything."""

import contextlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from serval.assistant.timeline.timeline import Timeline
from tests.serving.clip import ready

FULL = "what happens cannot be kept: the disk is full"
MADE = 'mount -t tmpfs -o size="$2" tmpfs "$1" && cd "$1" && shift 2 && exec "$@"'
NOISE = np.random.default_rng(0)


def jpeg():
    file = io.BytesIO()
    Image.fromarray(NOISE.integers(0, 255, (240, 320, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def confined(folder, size, *command):
    """What runs a command in a folder that is a disk of so many bytes, of its own."""
    return [
        "unshare",
        "--mount",
        *(["--map-root-user"] if os.geteuid() else []),
        "sh",
        "-c",
        MADE,
        "sh",
        folder,
        str(size),
        *command,
    ]


@pytest.fixture
def small(tmp_path):
    """A service whose disk has 3 MB, and that disk as it sees it."""
    if shutil.which("unshare") is None or subprocess.run(confined(tmp_path, 4096, "true"), capture_output=True).returncode:
        pytest.skip("this system gives no disk of one's own")
    serve = [sys.executable, "-m", "serval", "serve", "--port", "0", "--folder", tmp_path / "service"]
    process = subprocess.Popen(
        confined(tmp_path, 3 << 20, *serve),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": "/tmp"},
    )
    try:
        url = process.stdout.readline().split()[3].rstrip("/")
        with httpx2.Client(base_url=url, timeout=60) as client:
            yield client, Path(f"/proc/{process.pid}/root{tmp_path}")
    finally:
        process.terminate()
        assert process.wait(60) in (0, -15)
        process.stdout.close()


def opened(client, **more):
    stream = client.post("/v1/streams", json={"instructions": [], **more}).json()["id"]
    ready(client, stream)
    return stream


def hand_in(client, stream):
    return client.post(f"/v1/streams/{stream}/frames", content=jpeg())


def until_it_fails(service, stream):
    found, deadline = service.hub.alive(stream), time.monotonic() + 60
    while not found.over:
        assert time.monotonic() < deadline
        found.push(NOISE.integers(0, 255, (240, 320, 3), np.uint8))
        time.sleep(0.01)
    assert found.about.state == "failed"


def test_a_full_disk(small):
    client, disk = small
    streams = [opened(client) for _ in range(2)]
    said = {}
    with client.stream("GET", "/v1/events") as lines, (disk / "filler").open("wb", 0) as filler:
        came = lines.iter_lines()
        next(came)
        with contextlib.suppress(OSError):
            while filler.write(b"x" * 4096):
                pass
        assert client.post("/v1/streams", json={}).status_code == 503
        deadline = time.monotonic() + 60
        while {client.get(f"/v1/streams/{each}").json()["state"] for each in streams} != {"failed"}:
            assert time.monotonic() < deadline
            for each in streams:
                assert hand_in(client, each).status_code == 200
        while len(said) < 2:
            line = next(came)
            told = json.loads(line[6:]) if line.startswith("data: ") else {}
            if told.get("state") == "failed":
                said[told["stream"]] = told["why"]
    assert said == dict.fromkeys(streams, FULL)
    assert client.get("/health").status_code == client.get("/metrics").status_code == 200
    assert [hand_in(client, each).json()["dropped"] for each in streams] == ["closed"] * 2
    assert len(client.get("/v1/streams").json()) == 2
    for path in ("timeline", "timeline/export?to=vtt", "why?time=1"):
        assert client.get(f"/v1/{path}{'&' if '?' in path else '?'}stream={streams[0]}").status_code in (200, 404, 503)

    (disk / "filler").unlink()
    kept = client.get("/v1/timeline", params={"stream": streams[0]}).json()
    assert [each["data"]["note"] for each in kept][:1] == ["opened"]
    again = opened(client)
    while client.get(f"/v1/streams/{again}").json()["frames"] < 3:
        hand_in(client, again)
    assert client.post(f"/v1/streams/{again}/stop").json()["state"] == "ended"
    assert [client.delete(f"/v1/streams/{each}").status_code for each in streams] == [204] * 2
    assert [each["id"] for each in client.get("/v1/streams").json()] == [again]


def test_one_stream_that_cannot_be_kept_is_no_others_trouble(service):
    client = service.client()
    ill, well = (opened(client, name=name) for name in ("ill", "well"))
    recording = service.hub.alive(ill)._watching.recording
    with recording._lock:  # so that its connection is at hand
        raw = recording._engine.raw_connection()
        raw.execute("PRAGMA query_only = ON")
        raw.close()
    until_it_fails(service, ill)
    assert service.hub.alive(ill).about.why == "what happens cannot be kept: it cannot be written to"
    while client.get(f"/v1/streams/{well}").json()["frames"] < 3:
        hand_in(client, well)
    assert client.get("/v1/timeline", params={"stream": ill}).json()[0]["data"]["note"] == "opened"
    assert client.post(f"/v1/streams/{ill}/stop").json()["state"] == "failed"
    assert not [each for each in threading.enumerate() if ill in each.name]
    open_files = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert not [each for each in open_files if ill in each], "nothing of it is left open"


def test_what_is_written_before_the_disk_is_full_is_there_after(service):
    client = service.client()
    stream = opened(client)
    hand_in(client, stream)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        until_it_fails(service, stream)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert service.hub.alive(stream).about.why.startswith("what happens cannot be kept: the disk")
    with Timeline.open(service.folder / "streams" / stream / "run", write=False) as timeline:
        assert [each.data["note"] for each in timeline.events()][:1] == ["opened"]
