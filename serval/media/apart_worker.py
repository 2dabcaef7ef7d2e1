"""The process of `serval.media.apart`: one job a line, answered with a line of JSON and then with bytes."""

from __future__ import annotations

import ctypes
import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serval.media.image import read_image
from serval.media.limits import MediaLimits
from serval.media.open_video import open_audio, open_video
from serval.refusal import Refusal

_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "ctypes.", "shutil.", "os.remove")


def confine(memory: int) -> None:
    """No network, no other program, no file written, so much memory. Cannot be undone."""
    system = ctypes.CDLL(None, use_errno=True)
    if system.unshare(_NEWUSER | _NEWNET):  # a network without devices, where the system allows that
        system.unshare(_NEWNET)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_guard)


def _guard(event: str, args: tuple[Any, ...]) -> None:
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if event.startswith(_FORBIDDEN) or writes:
        raise PermissionError(event)


def decode(job: dict[str, Any], limits: MediaLimits) -> tuple[list[NDArray[Any]], list[float]]:
    path = Path(job["path"])
    if job["kind"] == "picture":
        return [read_image(path, limits, formats=("JPEG", "PNG", "WEBP"))], []
    if job["kind"] == "sound":
        track = open_audio(path, rate=int(job["rate"]), limits=limits)
        blocks = [block.samples for block in track.blocks()]
        track.close()
        return [np.concatenate(blocks) if blocks else np.zeros(0, np.float32)], []
    pictures: list[NDArray[Any]] = []
    times: list[float] = []
    with open_video(path, limits=limits) as video:
        for frame in video.frames():
            if times and frame.time < times[0] + len(times) / job["fps"] - 1e-3:
                continue
            picture = Image.fromarray(frame.rgb)
            picture.thumbnail((job["side"], job["side"]))
            pictures.append(np.asarray(picture))
            times.append(frame.time)
            if len(times) >= job["most"]:
                break
    return pictures, times


def main() -> None:
    """Read the limits, then jobs."""
    start = json.loads(sys.stdin.buffer.readline())
    limits, seconds = MediaLimits(**start["limits"]), int(start["seconds"]) + 5
    Image.init()
    confine(start["memory"])
    out = sys.stdout.buffer
    out.write(b"{}\n")
    out.flush()
    for line in iter(sys.stdin.buffer.readline, b""):
        signal.alarm(seconds)  # for when nobody is left to end it
        try:
            arrays, times = decode(json.loads(line), limits)
            head: dict[str, Any] = {"arrays": [[each.shape, each.dtype.str] for each in arrays], "times": times}
        except Refusal as refusal:
            arrays, head = [], {"refused": refusal.why}
        except MemoryError:
            arrays, head = [], {"refused": "it needs too much memory"}
        out.write(json.dumps(head).encode() + b"\n")
        for each in arrays:
            out.write(np.ascontiguousarray(each).data)
        out.flush()
        signal.alarm(0)


if __name__ == "__main__":
    main()
