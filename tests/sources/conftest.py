"""Sources that do as they are told."""

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from serval.media.frame import Frame
from serval.sources.clock import VirtualClock
from serval.sources.source import NoteKind, SourceNote


def frame(source: str, index: int, time: float) -> Frame:
    return Frame.from_rgb(np.full((36, 64, 3), index * 7 % 256, np.uint8), source=source, index=index, time=time)


class Scripted:
    """A source that gives what its script yields; the script may wait, raise, or never end."""

    def __init__(self, name: str, script: Callable[["Scripted"], Iterator[Any]], *, live: bool = False) -> None:
        self.name, self.kind, self.live = name, "http" if live else "file", live
        self._script, self.closed = script, threading.Event()

    def items(self) -> Iterator[Frame | SourceNote]:
        return self._script(self)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture(scope="session")
def scripted():
    return Scripted


@pytest.fixture(scope="session")
def at_times():
    """A source with pictures at the given times, and its opening and end."""

    def make(name: str, times, *, live: bool = False) -> Scripted:
        def script(source: Scripted) -> Iterator[Any]:
            times_ = list(times)
            yield SourceNote(NoteKind.OPENED, name, 0.0, f"{name} opened")
            for index, time in enumerate(times_):
                yield frame(name, index, time)
            yield SourceNote(NoteKind.ENDED, name, (times_[-1] if times_ else 0.0) + 0.001, f"{name} ended")

        return Scripted(name, script, live=live)

    return make


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def threads_end() -> Iterator[None]:
    """Every thread that a test starts has ended after it."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(5.0)
    assert not [thread.name for thread in left if thread.is_alive()]


def encode(pictures, *, container: str, codec: str = "libx264", fps: int = 25, times=None, sound: bool = False) -> bytes:
    """RGB arrays (perhaps none) as a video file's bytes; ``times`` in seconds where the rate is not constant."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=fps, options={"g": "10"}) if len(pictures) else None
        if stream is not None:
            stream.height, stream.width = pictures[0].shape[:2]
            odd = stream.width % 2 or stream.height % 2
            stream.pix_fmt = "yuv444p" if odd else {"mjpeg": "yuvj420p"}.get(codec, "yuv420p")
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
        voice = out.add_stream("mp2", rate=16000, layout="mono") if sound else None
        for index, rgb in enumerate(pictures):
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            if times is not None:
                shown.pts, shown.time_base = round(times[index] * 1000), Fraction(1, 1000)
            out.mux(stream.encode(shown))
        if stream is not None:
            out.mux(stream.encode())
        if voice is not None:
            for index in range(20):
                hum = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
                hum.sample_rate, hum.pts = 16000, index * 1600
                out.mux(voice.encode(hum))
            out.mux(voice.encode())
    return buffer.getvalue()


def moving(count: int, width: int = 160, height: int = 120) -> list[Any]:
    """Pictures of which none is like the one before."""
    ramp = np.linspace(0, 200, width)[None, :, None]
    return [np.broadcast_to((ramp + 20 * index) % 256, (height, width, 3)).astype(np.uint8) for index in range(count)]


@pytest.fixture(scope="session")
def encoded():
    return encode


@pytest.fixture(scope="session")
def pictures():
    return moving


class HttpCamera:
    """A server on loopback; ``answer(visit, request, send, closing)`` says what each connection, counted from 0, gets."""

    def __init__(self, answer: Callable[..., None], port: int = 0) -> None:
        self._answer, self.closing, self.requests = answer, threading.Event(), []
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.02)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self.closing.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection, len(self._threads) - 1), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket, visit: int) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            request = b""
            while b"\r\n\r\n" not in request and (block := connection.recv(4096)):
                request += block
            self.requests.append(request)
            self._answer(visit, request, connection.sendall, self.closing)

    def close(self) -> None:
        self.closing.set()
        for thread in self._threads:
            thread.join(5.0)
        self._listener.close()


@pytest.fixture
def serve(threads_end) -> Iterator[Callable[..., HttpCamera]]:
    """Start cameras that end with the test."""
    cameras = []

    def start(answer: Callable[..., None], port: int = 0) -> HttpCamera:
        cameras.append(HttpCamera(answer, port))
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.close()
