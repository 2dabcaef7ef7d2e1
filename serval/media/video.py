"""Reading an opened video: pictures with their times, and remarks on whatever is wrong with it.

The way in is `serval.media.open_video`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from math import inf
from typing import Any, BinaryIO, NamedTuple

import av

from serval.media.explain import explain
from serval.media.frame import Frame
from serval.media.limits import MediaLimits
from serval.media.timestamps import Timestamps
from serval.refusal import Refusal

VIDEO_DECODERS = (
    "h264 hevc av1 libdav1d vp8 vp9 mpeg4 mpeg2video mpeg1video mjpeg h263 theora flv gif wmv1 wmv2 wmv3 vc1 "
    "msmpeg4 msmpeg4v2 msmpeg4v3 cinepak prores dnxhd dvvideo ffv1 huffyuv rawvideo"
).split()
_WANDERING = {"mpegts", "mpeg", "flv", "asf"}  # containers whose clocks may leap in the middle
_LEAP = 10.0
_FLAWS_TOLD = 5  # damaged stretches that are told one by one; the rest are summed up at the end


@dataclass(frozen=True)
class VideoInfo:
    """What the headers say; ``None`` where they do not."""

    container: str
    codec: str
    width: int  # upright
    height: int
    duration: float | None  # seconds
    rate: float | None  # pictures a second, on average

    def as_data(self) -> dict[str, Any]:
        """The known fields."""
        return {name: value for name, value in vars(self).items() if value is not None}


class Remark(NamedTuple):
    """Something to know about a stream, at ``time`` seconds of it."""

    kind: str  # "broken", "clock_jump" or "resolution"
    time: float
    text: str
    data: dict[str, Any]


class Tick(Enum):
    """A packet that gave no picture."""

    SOUND = "sound"
    UNDECODED = "undecoded"


class Video:
    """An opened stream of pictures. A stored one has its first picture decoded and kept, so that it is known to have one.

    Attributes:
        info: what the headers and the first picture say; ``None`` where a live stream has sound alone.
        begins: the stamp of the first picture in seconds, which is the 0 of their times; 0 before there was one.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        *,
        what: str,
        source: str,
        limits: MediaLimits,
        threads: int,
        stored: bool,
        file: BinaryIO | None = None,
        arrived: Callable[[], None] = lambda: None,  # called after each packet
    ) -> None:
        self._container, self._file, self._arrived = container, file, arrived
        self._what, self._source, self._limits, self._stored = what, source, limits, stored
        self._stream = self._picture_stream()
        self._undecodable = 0
        self.begins = 0.0
        self._reached = 0.0  # end of the last packet of any stream, on the container's clock
        self.info: VideoInfo | None = None
        if self._stream is None:
            self._items = self._read(Timestamps())
            return
        self._check_headers()
        codec = self._stream.codec_context
        codec.options = {"max_pixels": str(limits.pixels)}
        codec.thread_count = threads
        codec.thread_type = "AUTO" if threads > 1 else "NONE"
        rate = self._stream.average_rate or self._stream.guessed_rate
        indexed = stored and self.container_name not in _WANDERING
        self._items = self._read(Timestamps(float(1 / rate) if rate else 0.04, inf if indexed else _LEAP))
        width, height = self._first_size() if stored else (codec.width, codec.height)
        duration = self._container.duration
        self.info = VideoInfo(
            container=self.container_name,
            codec=codec.name,
            width=width,
            height=height,
            duration=duration / av.time_base if duration else None,
            rate=float(rate) if rate else None,
        )

    @property
    def container_name(self) -> str:
        return self._container.format.name.split(",")[0]

    def items(self) -> Iterator[Frame | Remark | Tick]:
        """Pictures, with remarks and ticks between them; once. Damage to a stored stream is remarked, never raised.

        Raises:
            OSError, av.FFmpegError: a live stream's connection ends.
            Refusal: a live stream's picture grows beyond the limits.
        """
        return self._items

    def frames(self) -> Iterator[Frame]:
        """The pictures alone; once."""
        return (item for item in self.items() if isinstance(item, Frame))

    def close(self) -> None:
        self._container.close()
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _picture_stream(self) -> av.VideoStream | None:
        """The largest stream of pictures that is not a cover."""
        streams = self._container.streams
        pictures = [each for each in streams.video if not each.disposition & av.stream.Disposition.attached_pic]
        if not pictures and self._stored:
            held = "sound and no picture" if streams.audio else "no picture"
            raise Refusal(self._what, f"it holds {held}", "give a file with video in it")
        return max(pictures, key=_area, default=None)

    def _check_headers(self) -> None:
        stream, limits = self._stream, self._limits
        assert stream is not None
        codec = stream.codec_context
        if codec is None or codec.name not in VIDEO_DECODERS:
            raise Refusal(self._what, "its pictures are in a format that is not decoded here", "convert it to H.264 first")
        if self._stored or codec.width:
            limits.check_size(self._what, codec.width, codec.height)
        duration = (self._container.duration or 0) / av.time_base
        if self._stored and duration > limits.duration:
            raise Refusal(self._what, f"it lasts {duration:,.0f} s, and {limits.duration:,.0f} s are the limit", "cut it")
        if self._stored and stream.frames > limits.frames:
            raise Refusal(self._what, f"it has {stream.frames:,} pictures, and {limits.frames:,} are the limit", "cut it")

    def _first_size(self) -> tuple[int, int]:
        """Decode and convert the first picture, and put what was read back in front."""
        before: list[Frame | Remark | Tick] = []
        for item in self._items:
            before.append(item)
            if isinstance(item, Frame):
                item.luma  # noqa: B018 - a pixel format that cannot be converted is found out here
                self._items = chain(before, self._items)
                return item.width, item.height
            del before[:-16]
        raise Refusal(self._what, "no picture in it can be decoded", "it may be cut off or damaged: copy or record it again")

    def _read(self, timestamps: Timestamps) -> Iterator[Frame | Remark | Tick]:
        index, last, size = 0, 0.0, None
        for picture in self._decoded():
            if not isinstance(picture, av.VideoFrame):
                yield picture._replace(time=last, data={"pictures": index}) if isinstance(picture, Remark) else picture
                continue
            stamp = _stamp(picture)
            self.begins = self.begins if index else stamp or 0.0
            time, jump = timestamps.place(stamp)
            frame = Frame(picture, source=self._source, index=index, time=time, rotation=_quarter_turns(picture.rotation))
            if size != (frame.width, frame.height):
                try:
                    self._limits.check_size(self._what, frame.width, frame.height)
                except Refusal as refusal:
                    if not self._stored or index == 0:
                        raise
                    yield Remark("broken", last, f"{refusal.why}; the rest is left out", {"pictures": index})
                    return
                if size is not None:
                    text = f"its picture changes from {size[0]}x{size[1]} to {frame.width}x{frame.height}"
                    yield Remark("resolution", time, text, {"width": frame.width, "height": frame.height})
                size = frame.width, frame.height
            if jump:
                yield Remark("clock_jump", time, f"its time stamps jump by {jump:+.2f} s", {"seconds": round(jump, 3)})
            if self._stored and (index >= self._limits.frames or time > self._limits.duration):
                yield Remark("broken", last, "it goes on beyond the limits; the rest is left out", {"pictures": index})
                return
            index, last = index + 1, time
            yield frame
        if self._stored:
            yield from self._epilogue(index, last)

    def _decoded(self) -> Iterator[av.VideoFrame | Remark | Tick]:
        """Pictures as the decoder gives them. Damaged data is skipped, and told once a stretch."""
        packets, damaged, told = self._container.demux(), False, 0
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                if not self._stored:
                    raise
                yield Remark("broken", 0.0, f"it breaks off here: {explain(error)}", {})
                return
            if packet is None:
                return
            self._arrived()
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None and packet.time_base:
                self._reached = max(self._reached, float((stamp + (packet.duration or 0)) * packet.time_base))
            if packet.stream is not self._stream:
                if packet.size and packet.stream.type == "audio":
                    yield Tick.SOUND
                continue
            pictures: list[av.VideoFrame] = []
            try:
                pictures = [picture for picture in packet.decode() if not picture.is_corrupt]
            except (av.FFmpegError, ValueError):
                self._undecodable += 1
                if not damaged and told < _FLAWS_TOLD:
                    told += 1
                    yield Remark("broken", 0.0, "picture data is damaged here and skipped", {})
                damaged = True
            damaged = damaged and not pictures
            yield from pictures or [Tick.UNDECODED]

    def _epilogue(self, pictures: int, last: float) -> Iterator[Remark]:
        """What was skipped in all, and whether the file held as much as its header promised."""
        if self._undecodable > 1:
            text = f"{self._undecodable} pieces of picture data were damaged and skipped"
            yield Remark("broken", last, text, {"pictures": pictures, "skipped": self._undecodable})
        promised = (self._container.duration or 0) / av.time_base
        stream = self._stream
        if stream is not None and self.container_name == "avi" and stream.average_rate:
            promised = max(promised, float(stream.frames / stream.average_rate))  # its duration is reckoned from its size
        reached = self._reached - (self._container.start_time or 0) / av.time_base
        if promised - reached > max(0.5, 0.02 * promised):
            text = f"it ends at {last:.2f} s, and its header promises {promised:.2f} s"
            yield Remark("broken", last, text, {"pictures": pictures, "promised": round(promised, 3)})


def _area(stream: av.VideoStream) -> int:
    codec = stream.codec_context  # None when no decoder is known, and then the stream has no size either
    return (codec.width or 0) * (codec.height or 0) if codec is not None else 0


def _stamp(picture: av.VideoFrame) -> float | None:
    stamp = picture.pts if picture.pts is not None else picture.dts
    return None if stamp is None or not picture.time_base else float(stamp * picture.time_base)


def _quarter_turns(degrees: float) -> int:
    """The display matrix's counter-clockwise rotation as 0, 90, 180 or 270."""
    return round(degrees / 90) * 90 % 360
