"""Untrusted video in.

What makes it safe: we open the file ourselves and hand FFmpeg bytes, so that no protocol is involved; the demuxer is the one
that `sniff` named, never probed for; any further file that a demuxer asks for is refused; decoders come from a list; sizes
and durations are checked on headers before anything is decoded; and no text of FFmpeg's leaves this room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import av

from serval.media.explain import explain
from serval.media.limits import MediaLimits
from serval.media.local_file import open_regular, printable
from serval.media.sniff import HEAD, sniff, sniff_sound
from serval.media.sound_track import SoundTrack
from serval.media.video import VIDEO_DECODERS, Video
from serval.refusal import Refusal

_SOUND_DECODERS = (  # known, so that headers are understood and what is heard can be decoded
    "aac mp2 mp2float mp3 mp3float ac3 eac3 opus vorbis flac pcm_s16le pcm_s16be pcm_u8 pcm_alaw pcm_mulaw pcm_s24le pcm_f32le"
).split()
_LIVE = {"analyzeduration": "1000000", "fpsprobesize": "0"}  # be quick: the rate does not matter, the first picture does
_REMEDY = "it may be cut off or damaged: copy or record it again"


class Readable(Protocol):
    def read(self, count: int, /) -> bytes: ...


def open_video(path: Path | str, *, source: str = "", limits: MediaLimits | None = None, threads: int = 1) -> Video:
    """Open a video file and decode its first picture.

    Args:
        path: a plain file on this machine. Never an address: ``concat:``, ``subfile,,`` and the like are but odd file names.
        source: name that the frames will carry.
        limits: caps, checked before decoding.
        threads: of the decoder.

    Raises:
        Refusal: missing, empty, no video container, a playlist or the like, sound alone, beyond the limits, or not decodable.
    """
    limits = limits or MediaLimits()
    with _opened(Path(path), limits) as (container, raw, what):
        return Video(container, what=what, source=source, limits=limits, threads=threads, stored=True, file=raw)


def open_sound(path: Path | str, *, rate: int = 16_000, limits: MediaLimits | None = None) -> SoundTrack | None:
    """The sound of a video file, one channel at ``rate`` samples a second; None where it has none that can be decoded.

    Raises:
        Refusal: see `open_video`.
    """
    limits = limits or MediaLimits()
    with open_video(path, limits=limits) as video:
        origin = 0.0 if video.container_name == "avi" else video.begins  # AVI has no stamps: a decoder's delay shifts them
    with _opened(Path(path), limits) as (container, raw, _):
        streams = [each for each in container.streams.audio if each.codec_context is not None]
        stream = next((each for each in streams if each.codec_context.name in _SOUND_DECODERS), None)
        if stream is not None:
            return SoundTrack(container, raw, stream, origin=origin, rate=rate, limits=limits)
        container.close()
        raw.close()
        return None


def open_audio(path: Path | str, *, rate: int = 16_000, limits: MediaLimits | None = None) -> SoundTrack:
    """The sound of an audio file, or of a video file's first track of sound, from its own beginning.

    Raises:
        Refusal: see `open_video`; no sound in it.
    """
    limits = limits or MediaLimits()
    with _opened(Path(path), limits, sniff_sound) as (container, raw, what):
        streams = [each for each in container.streams.audio if each.codec_context is not None]
        stream = next((each for each in streams if each.codec_context.name in _SOUND_DECODERS), None)
        if stream is None:
            raise Refusal(what, "there is no sound in it that can be decoded", "give WAV, MP3, FLAC, Ogg, MP4 or WebM")
        begins = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
        return SoundTrack(container, raw, stream, origin=begins, rate=rate, limits=limits)


@contextmanager
def _opened(
    path: Path, limits: MediaLimits, kind: Callable[[bytes, str], str] = sniff
) -> Iterator[tuple[av.container.InputContainer, BinaryIO, str]]:
    """The container of a file, the file, and what it is called. Whatever goes wrong closes both, and is a `Refusal`."""
    what = printable(path.name)
    raw, demuxer = open_regular(path, limits), ""
    try:
        demuxer = kind(raw.read(HEAD), what)
        raw.seek(0)
        container = _open(_LocalFile(raw), demuxer, what)
        try:
            yield container, raw, what
        except BaseException:
            container.close()
            raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raw.close()
        no_index = demuxer == "mov" and isinstance(error, av.error.InvalidDataError)
        why = "its index is missing or damaged, as when a recording is cut off" if no_index else explain(error)
        raise Refusal(what, why, "copy or record it again" if no_index else _REMEDY) from None
    except BaseException:
        raw.close()
        raise


def open_stream(
    stream: Readable, demuxer: str, *, what: str, source: str = "", limits: MediaLimits | None = None, threads: int = 1
) -> Video:
    """Open a live stream of bytes. ``demuxer`` is one that `sniff` gave, or "mpjpeg" (JPEG pictures in HTTP parts).

    Raises:
        Refusal: its headers cannot be used, or one piece of it, such as a part without an end, outgrows an image's bytes.
        OSError, av.FFmpegError: from reading.
    """
    limits = limits or MediaLimits()
    file = _Bytes(stream, limits.image_bytes, what)
    return _live(_open(file, demuxer, what, _LIVE, buffer=4096), what, source, limits, threads, file.arrived)


def open_address(
    address: str,
    demuxer: str,
    options: dict[str, str],
    timeouts: tuple[float, float],
    *,
    what: str,
    source: str = "",
    limits: MediaLimits | None = None,
    threads: int = 1,
) -> Video:
    """Open what FFmpeg itself must connect to: a camera device or an RTSP address.

    Args:
        options: of the demuxer; must name its ``protocol_whitelist``.
        timeouts: seconds for opening, and for each read.

    Raises:
        Refusal: its headers cannot be used.
        OSError, av.FFmpegError: no connection.
    """
    container = av.open(address, format=demuxer, options=_options(demuxer) | _LIVE | options, timeout=timeouts)
    return _live(container, what, source, limits, threads)


def _live(
    container: av.container.InputContainer,
    what: str,
    source: str,
    limits: MediaLimits | None,
    threads: int,
    arrived: Callable[[], None] = lambda: None,
) -> Video:
    limits = limits or MediaLimits()
    try:
        return Video(container, what=what, source=source, limits=limits, threads=threads, stored=False, arrived=arrived)
    except BaseException:
        container.close()
        raise


def _options(demuxer: str) -> dict[str, str]:
    options = {
        "protocol_whitelist": "file",  # of no effect where we do the reading; the second bolt on the door
        "format_whitelist": demuxer,
        "codec_whitelist": ",".join([*VIDEO_DECODERS, *_SOUND_DECODERS]),
    }
    return options | {"enable_drefs": "0"} if demuxer == "mov" else options  # QuickTime's references to other files


def _open(
    file: object, demuxer: str, what: str, more: dict[str, str] | None = None, buffer: int = 1 << 18
) -> av.container.InputContainer:
    options = _options(demuxer) | (more or {})
    return av.open(file, format=demuxer, options=options, io_open=_no_other_file, buffer_size=buffer)


def _no_other_file(address: str, flags: int, options: dict[str, str]) -> object:
    raise PermissionError("a container may not open another file")


class _LocalFile:
    """What FFmpeg sees of a file: bytes and positions, no name, and never an exception for an odd position."""

    name = "media"

    def __init__(self, raw: BinaryIO) -> None:
        self.read, self.tell, self._raw = raw.read, raw.tell, raw

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._raw.seek(offset, whence)
        except (OSError, ValueError):
            return -1


class _Bytes:
    """What FFmpeg sees of a live stream. It gathers a piece until its end comes, so what it reads meanwhile is counted."""

    name = "media"

    def __init__(self, stream: Readable, most: int, what: str) -> None:
        self._stream, self._most, self._what, self._taken = stream, most, what, 0

    def read(self, count: int) -> bytes:
        block = self._stream.read(count)
        self._taken += len(block)
        if self._taken > self._most:
            why = f"a single picture of it goes on beyond {self._most:,} bytes"
            raise Refusal(self._what, why, "give the address of a video stream")
        return block

    def arrived(self) -> None:
        """A piece is complete."""
        self._taken = 0
