"""Decoding of what strangers send, in processes apart: without a network, within limits of memory and time.

The death of one, for whatever reason, is one clean `Refusal`; the next thing is decoded by a new one.
"""

from __future__ import annotations

import errno
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serval.media.limits import MediaLimits
from serval.refusal import Refusal

NETWORK = MediaLimits(
    pixels=16_000_000, side=8192, aspect=20.0, bytes=256 * 2**20, duration=3600.0, frames=216_000, image_bytes=16 * 2**20
)
"""What strangers may send: less than what a person may open."""

_ALONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # only a process of one thread can leave its network
_MOST = 1 << 30  # bytes of an answer
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Decoded:
    """Arrays of one thing that was sent, and the times of a video's pictures in seconds."""

    arrays: tuple[NDArray[Any], ...]
    times: tuple[float, ...] = ()


class DecoderApart:
    """Processes that decode: one for pictures, and one for videos and sounds, which may take long and hold up no picture.

    Each is started when it is first needed. Safe to share between threads, who take turns with each.

    Args:
        limits: caps, checked in them before anything is decoded.
        seconds: that one thing may take.
        memory: bytes of address space that each may have.
    """

    def __init__(self, limits: MediaLimits = NETWORK, *, seconds: float = 20.0, memory: int = 4 << 30) -> None:
        self._limits = limits
        self._pictures, self._films = (_Process(limits, seconds, memory) for _ in range(2))

    def picture(self, data: bytes) -> NDArray[np.uint8]:
        """A JPEG, PNG or WebP to pixels ``[height, width, 3]`` uint8, upright.

        Raises:
            Refusal: of another kind, beyond the limits, or damaged.
        """
        return self._pictures.decoded("picture", data, self._limits.image_bytes).arrays[0]

    def video(self, data: bytes, *, fps: float = 1.0, most: int = 32, side: int = 1280) -> Decoded:
        """Pictures of a video file at ``fps`` a second, at most so many, none longer than ``side``. Raises as `picture`."""
        return self._films.decoded("video", data, self._limits.bytes, fps=fps, most=most, side=side)

    def sound(self, data: bytes, *, rate: int = 16_000) -> NDArray[np.float32]:
        """The sound of an audio or video file, one channel at ``rate``. Raises as `picture`."""
        return self._films.decoded("sound", data, self._limits.bytes, rate=rate).arrays[0]

    def close(self) -> None:
        """End both processes, whatever they are at; nothing is decoded any more."""
        for each in (self._pictures, self._films):
            each.close()


class _Process:
    """One process, and whose turn it is."""

    def __init__(self, limits: MediaLimits, seconds: float, memory: int) -> None:
        self._limits, self._seconds, self._memory = limits, seconds, memory
        self._turn, self._closed = threading.Lock(), False
        self._process: subprocess.Popen[bytes] | None = None

    def decoded(self, kind: str, data: bytes, limit: int, **options: float) -> Decoded:
        what = f"the {kind}"
        self._limits.check_bytes(what, len(data), limit)
        with self._turn:
            if self._closed:
                raise Refusal(what, "nothing is decoded any more", "send it when the service runs again")
            try:
                with tempfile.NamedTemporaryFile(prefix="serval-", suffix=".media") as file:  # a name that nobody chose
                    file.write(data)
                    file.flush()
                    job = {"kind": kind, "path": file.name, **options}
                    return self._answer(what, json.dumps(job).encode() + b"\n")
            except (OSError, EOFError, ValueError) as error:
                self._end()
                if getattr(error, "errno", None) in _FULL:
                    raise Refusal(what, "there is no room for it now", "send it again later") from None
                raise Refusal(what, "it cannot be decoded", "send another one") from None

    def close(self) -> None:
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()  # whoever waits for it is told so, and makes room
        with self._turn:
            self._end()

    def _answer(self, what: str, job: bytes) -> Decoded:
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(job)
        process.stdin.flush()
        deadline = time.monotonic() + self._seconds
        head = json.loads(self._read_line(process, deadline))
        if "refused" in head:
            raise Refusal(what, str(head["refused"])[:200], "send another one")
        arrays = []
        for shape, dtype in head["arrays"]:
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            if not 0 <= size <= _MOST:
                raise ValueError(size)
            arrays.append(np.frombuffer(self._read(process, size, deadline), dtype).reshape(shape))
        return Decoded(tuple(arrays), tuple(head.get("times", ())))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            package = str(Path(__file__).parents[2])
            self._process = subprocess.Popen(
                [sys.executable, "-m", "serval.media.apart_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": package, "PATH": os.environ.get("PATH", ""), "TMPDIR": tempfile.gettempdir(), **_ALONE},
                bufsize=0,
            )
            assert self._process.stdin is not None
            if self._closed:  # meanwhile
                raise EOFError
            start = {"limits": asdict(self._limits), "memory": self._memory, "seconds": self._seconds}
            self._process.stdin.write(json.dumps(start).encode() + b"\n")
            if self._read_line(self._process, time.monotonic() + 60.0) != b"{}\n":
                raise EOFError
        return self._process

    def _read_line(self, process: subprocess.Popen[bytes], deadline: float) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self._read(process, 1, deadline)
            if len(line) > 1 << 20:
                raise ValueError("too long a line")
        return bytes(line)

    def _read(self, process: subprocess.Popen[bytes], size: int, deadline: float) -> bytes:
        assert process.stdout is not None
        found = bytearray()
        while len(found) < size:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            block = os.read(process.stdout.fileno(), min(size - len(found), 1 << 20)) if ready else b""
            if not block:  # it died, or takes too long
                raise EOFError
            found += block
        return bytes(found)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for end in (self._process.stdin, self._process.stdout):
                if end is not None:
                    end.close()
            self._process = None
