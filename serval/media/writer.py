"""Video out: pictures with their times into a file that is whole or not there."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from serval.media.local_file import printable
from serval.refusal import Refusal

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_CODECS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"preset": "veryfast", "crf": "23"}),
    ("libopenh264", {}),
    ("mpeg4", {"flags": "+qscale", "global_quality": str(4 * 118)}),
)
_TICKS = 60_000  # a second: all usual rates to the tick, and MPEG-4 counts to 65535 only
_BT709 = 1  # primaries, transfer and matrix of high-definition video, as FFmpeg numbers them
_LIMITED = 1
_WHY = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EFBIG: ("the disk takes no more of it", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EACCES: ("there is no permission to write it", "choose another file"),
    errno.EPERM: ("there is no permission to write it", "choose another file"),
    errno.EROFS: ("the disk is read-only", "choose another file"),
    errno.ENOENT: ("its folder does not exist", "make the folder first"),
    errno.ENOTDIR: ("its folder does not exist", "make the folder first"),
    errno.ENAMETOOLONG: ("its name is too long", "choose a shorter one"),
}


def check_target(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raises `Refusal` when a video cannot be written to ``path``, or when that is one of ``inputs``."""
    what = printable(path.name)
    if path.suffix.lower() not in CONTAINERS:
        raise Refusal(what, "videos are not written with this ending", f"name it {', '.join(CONTAINERS)}")
    with _plainly(path):
        path.parent.stat()
        if not path.exists():
            return
        if any(each.exists() and each.samefile(path) for each in inputs):
            raise Refusal(what, "it is the very video that is being watched", "choose another file")
        if not path.is_file():
            raise Refusal(what, "it is there, and is no file", "choose another name")


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """Turn what the system or FFmpeg raises about ``path`` into a `Refusal` in our own words."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        why, remedy = _WHY.get(error.errno or 0, ("it cannot be written", "choose another file or size"))
        raise Refusal(printable(path.name), why, remedy) from None


class VideoWriter:
    """Writes pictures to ``path`` as H.264, or MPEG-4 where there is no encoder for that.

    Everything goes to a file of another name beside it, which takes its place when the writer is closed; a writer that is
    left by an exception, or that got no picture, leaves nothing.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov`` or ``.mkv``; a file that is there already is replaced.
        width, height: of the video, pixels. Odd sizes are made even by repeating the last row or column.
        fps: the usual pictures a second; each picture still stands at its own time.
        inputs: files that are being read, which must not be written over.
        threads: of the encoder.

    Raises:
        Refusal: the file cannot be written, is one of ``inputs``, or has the wrong ending.
    """

    def __init__(
        self, path: Path, width: int, height: int, fps: float, *, inputs: Iterable[Path] = (), threads: int = 1
    ) -> None:
        if width < 1 or height < 1 or not fps > 0:
            raise ValueError(f"a video of {width}x{height} at {fps} pictures a second cannot be")
        self.path, self.width, self.height = path, width, height
        self.pictures = 0
        self._last = -1
        check_target(path, inputs)
        with _plainly(path):
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".part")
            os.close(handle)
        self._beside: Path | None = Path(name)
        try:
            with _plainly(self.path):
                kind = CONTAINERS[path.suffix.lower()]
                options = {} if kind == "matroska" else {"movflags": "faststart"}  # plays while it is still being fetched
                self._container = av.open(name, "w", format=kind, options=options)
                self._stream = self._add_stream(fps, threads)
        except BaseException:
            self.discard()
            raise

    def write(self, rgb: NDArray[np.uint8], time: float) -> None:
        """Add a picture.

        Args:
            rgb: ``[height, width, 3]`` uint8; one of another size is scaled to fit, its proportions kept.
            time: seconds from the video's start, later than the picture before; one that is not follows it at once.
        """
        if self._beside is None:
            raise ValueError("the writer is closed")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(self._fitted(rgb)), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        frame.pts = self._last = max(round(time * _TICKS), self._last + 1)
        frame.time_base = Fraction(1, _TICKS)
        with _plainly(self.path):
            self._container.mux(self._stream.encode(frame))
        self.pictures += 1

    def close(self) -> None:
        """Finish the file and put it in its place. Safe to call again."""
        if self._beside is None:
            return
        try:
            with _plainly(self.path):
                if self.pictures:
                    self._container.mux(self._stream.encode(None))
                    self._container.close()
                    self._beside.chmod(0o644)
                    self._beside.replace(self.path)
        finally:
            self.discard()

    def discard(self) -> None:
        """Give up what was not closed yet."""
        beside, self._beside = self._beside, None
        if beside is not None:
            if (container := getattr(self, "_container", None)) is not None:
                with suppress(av.FFmpegError, OSError, ValueError):
                    container.close()
            beside.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _add_stream(self, fps: float, threads: int) -> av.VideoStream:
        codec, options = next(each for each in _CODECS if each[0] in av.codecs_available or each[0] == "mpeg4")
        rate = Fraction(fps).limit_denominator(1001)
        stream = self._container.add_stream(codec, rate=max(rate, Fraction(1, 1001)), options=dict(options))
        stream.width, stream.height, stream.pix_fmt = self.width + self.width % 2, self.height + self.height % 2, "yuv420p"
        stream.time_base = Fraction(1, _TICKS)
        context = stream.codec_context
        context.time_base, context.thread_count = Fraction(1, _TICKS), threads
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED
        return stream

    def _fitted(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture at the video's size, made even."""
        height, width = rgb.shape[:2]
        if (width, height) != (self.width, self.height):
            scale = min(self.width / width, self.height / height)
            wide, high = max(1, round(width * scale)), max(1, round(height * scale))
            small = cv2.resize(rgb, (wide, high), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            left, top = (self.width - wide) // 2, (self.height - high) // 2
            rgb = np.zeros((self.height, self.width, 3), np.uint8)
            rgb[top : top + high, left : left + wide] = small
        right, bottom = self.width % 2, self.height % 2
        return np.pad(rgb, ((0, bottom), (0, right), (0, 0)), mode="edge") if right or bottom else rgb
