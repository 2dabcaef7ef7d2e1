"""Cameras and network streams: watched for ever, reconnected whenever they are lost."""

from __future__ import annotations

import contextlib
import errno
import http.client
import logging
import queue
import re
import threading
import zlib
from collections.abc import Callable, Generator, Iterator
from urllib.parse import urlsplit

import av

from serval.media.explain import explain
from serval.media.frame import Frame
from serval.media.limits import MediaLimits
from serval.media.open_video import open_address, open_stream
from serval.media.video import Remark, Tick, Video
from serval.refusal import Refusal
from serval.sources.clock import Clock
from serval.sources.flapping import Flapping
from serval.sources.health import Health
from serval.sources.http_stream import HttpStream, ServerRefusedError
from serval.sources.reconnect import Backoff
from serval.sources.source import NoteKind, SourceNote

log = logging.getLogger(__name__)

_CAMERA = re.compile(r"^camera:(\d{1,3})$")
_OPEN, _READ = 10.0, 10.0  # seconds
_SETTLED = 5.0  # seconds of pictures after which a connection counts as sound again
_LOOK = 1.0  # seconds between two looks at the health of a source from which nothing comes
_RTSP = {
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls",
    "format_whitelist": "rtsp,rtp,sdp,h264,hevc,mpegts,mjpeg",
    "rtsp_transport": "tcp",
    "allowed_media_types": "video+audio",
}
_LOST = (OSError, EOFError, av.FFmpegError, http.client.HTTPException)


class _BlindError(EOFError):
    """Connected for long, and no picture: it may be there on another try."""


Hold = Callable[[Callable[[], None]], None]  # takes what ends the connection, as soon as there is one
Opener = Callable[[Hold], Video]


def address_kind(text: str) -> str | None:
    """ "camera", "rtsp" or "http" for what names a live source, else None."""
    if _CAMERA.match(text):
        return "camera"
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    return {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}.get(scheme)


def safe_name(address: str) -> str:
    """What a live source may be called in public: the camera's number, or the host; never user, password, path or query."""
    if camera := _CAMERA.match(address):
        return f"camera-{camera[1]}"
    try:
        return urlsplit(address).hostname or "stream"
    except ValueError:
        return "stream"


def open_live(address: str, name: str, *, clock: Clock, limits: MediaLimits | None = None) -> LiveSource:
    """The live source at ``address``; it is connected when its items are asked for.

    Raises:
        Refusal: an address that cannot be one.
    """
    kind = address_kind(address)
    if kind is None:
        raise Refusal(name, "it is no camera and no network stream", "give camera:0, rtsp://… or http(s)://…")
    if kind != "camera":
        try:
            parts = urlsplit(address)
            usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            usable = False
        else:  # a password with one of / ? # in it, so that half of it would pass for host or path
            usable = usable and not ("@" in address.partition(parts.netloc)[2] and ":" in parts.netloc)
        if not usable or any(ord(char) <= 32 or char in "\\\x7f" for char in address):  # some read \\ as /
            remedy = "write it as rtsp://host[:port]/path or http(s)://host[:port]/path, with %2F for / in a password"
            raise Refusal(f"{kind}://…", "its address is malformed", remedy)  # even the name may be half a password
    return LiveSource(name, kind, _opener(address, kind, name, limits or MediaLimits()), clock)


def _opener(address: str, kind: str, name: str, limits: MediaLimits) -> Opener:
    def opened(hold: Hold) -> Video:
        if kind == "http":
            stream = HttpStream(address, name)
            hold(stream.close)
            stream.connect()
            video = open_stream(stream, stream.demuxer, what=name, source=name, limits=limits)
            stream.opened()
            return video
        if kind == "rtsp":
            return open_address(address, "rtsp", _RTSP, (_OPEN, _READ), what=name, source=name, limits=limits)
        number = _CAMERA.match(address)
        assert number is not None
        device, options = f"/dev/video{int(number[1])}", {"protocol_whitelist": "file"}
        try:
            return open_address(device, "v4l2", options, (_OPEN, _READ), what=name, source=name, limits=limits)
        except FileNotFoundError:
            raise OSError(errno.ENODEV, "no device") from None
        except ValueError:  # this system's FFmpeg knows no such demuxer
            raise Refusal(name, "cameras by number are read on Linux only", "give the camera's rtsp:// address") from None

    return opened


class LiveSource:
    """A source that is tried for ever. Its pictures carry the clock's time at their arrival.

    A reader thread decodes, so that silence can be noticed while a read waits. A few items may stand between it and `items`;
    then it waits, so whoever asks for the items must be quick, and drop what cannot be used.
    """

    live = True

    def __init__(self, name: str, kind: str, opener: Opener, clock: Clock) -> None:
        self.name, self.kind = name, kind
        self._opener, self._clock = opener, clock
        self._stop = threading.Event()
        self._backoff = Backoff(seed=zlib.crc32(name.encode()))  # each source has its own jitter, the same every time
        self._health, self._flapping = Health(name, start=clock.now()), Flapping(name)
        self._arrived: queue.Queue[Frame | Remark | Tick | BaseException] = queue.Queue(maxsize=8)
        self._index, self._last = 0, 0.0  # pictures so far, and when the last one came
        self._undo: Callable[[], None] = _nothing
        self._lost = False

    def close(self) -> None:
        self._stop.set()
        self._undo()
        with contextlib.suppress(queue.Full):
            self._arrived.put_nowait(EOFError())  # wakes whoever waits for the next item

    def items(self) -> Iterator[Frame | SourceNote]:
        """Pictures and notes until `close`.

        Raises:
            Refusal: at the first try, what comes is nothing that can be watched.
        """
        opened, error = False, BaseException()
        while not self._stop.is_set():
            self._undo, blind = _nothing, isinstance(error, _BlindError)
            try:
                video = self._opener(self._hold)
            except (*_LOST, Refusal) as failure:
                self._undo()
                if isinstance(failure, Refusal) and not (opened or self._lost):
                    raise
                error = failure
            else:
                if not (opened or self._lost):
                    size = f": {video.info.width}x{video.info.height}" if video.info and video.info.width else ""
                    yield self._note(NoteKind.OPENED, f"{self.name} opened{size}", video.info.as_data() if video.info else {})
                opened = True
                error = yield from self._pictures(video, blind)
            if self._stop.is_set():
                return
            if self._lost:
                yield from self._flapping.passing(self._clock.now())
            elif not isinstance(error, _BlindError):  # of that it was told what is missing
                self._lost = True
                what = "is lost" if opened else "cannot be opened"
                yield from self._flapping.lost(self._clock.now(), what, _words(error))
            self._clock.sleep(self._backoff.next(), self._stop)

    def _hold(self, undo: Callable[[], None]) -> None:
        self._undo = undo
        if self._stop.is_set():
            undo()

    def _pictures(self, video: Video, blind: bool) -> Generator[Frame | SourceNote, None, BaseException]:
        since = self._clock.now()
        self._health.connected(since, blind=blind)
        self._arrived, over = queue.Queue(maxsize=8), threading.Event()  # nothing of the connection before
        reader = threading.Thread(target=self._decode, args=(video, over), name=f"serval-decode-{self.name}", daemon=True)
        reader.start()
        try:
            while not self._stop.is_set():
                try:
                    item = self._arrived.get(timeout=_LOOK)
                except queue.Empty:
                    yield from self._health.tick(self._clock.now())
                    if self._health.is_blind(self._clock.now()):
                        return _BlindError()
                    continue
                if isinstance(item, BaseException):
                    return item
                yield from self._seen(item)
                if isinstance(item, Frame) and item.time - since >= _SETTLED:
                    self._backoff.reset()
                if item is Tick.SOUND and self._health.is_blind(self._clock.now()):
                    return _BlindError()
            return EOFError()
        finally:
            over.set()
            self._undo()
            reader.join(2.0)

    def _seen(self, item: Frame | Remark | Tick) -> Iterator[Frame | SourceNote]:
        """Take note of an item, and pass a picture on."""
        now = self._clock.now()
        if isinstance(item, Frame):
            yield from self._flapping.picture(item.time, first=self._lost)
            self._lost = False
            item.index = self._index
            self._index, self._last = self._index + 1, item.time
            yield from self._health.picture(item.luma, item.time)
            yield item
        elif isinstance(item, Remark):
            # Time stamps that leap by as much as nothing came are right.
            if item.kind != "clock_jump" or item.data["seconds"] < 0 or now - self._last < item.data["seconds"] / 2:
                yield self._note(NoteKind(item.kind), f"{self.name}: {item.text}", item.data)
        elif item is Tick.SOUND:
            self._health.sound(now)
            yield from self._health.tick(now)

    def _decode(self, video: Video, over: threading.Event) -> None:
        end: BaseException = EOFError()
        try:
            for item in video.items():
                if isinstance(item, Frame):
                    item.time = self._clock.now()
                if not self._hand_on(item, over):
                    return
        except Exception as error:
            end = error
            if not isinstance(error, (*_LOST, Refusal)):
                log.error("decoding %s failed: %s", self.name, type(error).__name__)  # its text may hold an address
        finally:
            video.close()
            self._hand_on(end, over)

    def _hand_on(self, item: Frame | Remark | Tick | BaseException, over: threading.Event) -> bool:
        while not (over.is_set() or self._stop.is_set()):
            try:
                self._arrived.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _note(self, kind: NoteKind, text: str, data: dict[str, object] | None = None) -> SourceNote:
        return SourceNote(kind, self.name, self._clock.now(), text, data or {})


def _nothing() -> None:
    pass


def _words(error: BaseException) -> str:
    if isinstance(error, ServerRefusedError):
        known = {401: "the user name or password is not accepted", 403: "access is forbidden", 404: "there is no such stream"}
        return known.get(error.status, f"the server answers {error.status}")
    if isinstance(error, Refusal):
        return error.why
    return explain(error)
