"""Cameras and network streams: watched for ever, reconnected whenever they are lost."""

from __future__ import annotations

import http.client
import logging
import queue
import re
import threading
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
from serval.sources.health import Health
from serval.sources.http_stream import ServerRefusedError, open_http
from serval.sources.reconnect import Backoff
from serval.sources.source import NoteKind, SourceNote

log = logging.getLogger(__name__)

_CAMERA = re.compile(r"^camera:(\d{1,3})$")
_OPEN, _READ = 10.0, 10.0  # seconds
_LOOK = 1.0  # seconds between two looks at the health of a source from which nothing comes
_RTSP = {
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls",
    "format_whitelist": "rtsp,rtp,sdp,h264,hevc,mpegts,mjpeg",
    "rtsp_transport": "tcp",
    "allowed_media_types": "video+audio",
}
_LOST = (OSError, EOFError, av.FFmpegError, http.client.HTTPException)
Opened = tuple[Video, Callable[[], None]]


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
        else:  # a password with one of / ? # in it, so that half of it would pass for the path
            usable = usable and not ("@" in address and "@" not in parts.netloc and ":" in parts.netloc)
        if not usable or any(ord(char) <= 32 for char in address):
            remedy = "write it as rtsp://host[:port]/path or http(s)://host[:port]/path, with %2F for / in a password"
            raise Refusal(name, "its address is malformed", remedy)
    return LiveSource(name, kind, _opener(address, kind, name, limits or MediaLimits()), clock)


def _opener(address: str, kind: str, name: str, limits: MediaLimits) -> Callable[[], Opened]:
    def opened() -> Opened:
        if kind == "http":
            stream = open_http(address, name)
            video = open_stream(stream, stream.demuxer, what=name, source=name, limits=limits)
            return video, stream.close
        if kind == "rtsp":
            video = open_address(address, "rtsp", _RTSP, (_OPEN, _READ), what=name, source=name, limits=limits)
        else:
            number = _CAMERA.match(address)
            assert number is not None
            device = f"/dev/video{int(number[1])}"
            options = {"protocol_whitelist": "file"}
            video = open_address(device, "v4l2", options, (_OPEN, _READ), what=name, source=name, limits=limits)
        return video, lambda: None

    return opened


class LiveSource:
    """A source that is tried for ever. Its pictures carry the clock's time at their arrival.

    A reader thread decodes, so that silence can be noticed while a read waits; at most a few items stand between it and
    `items`, and pictures beyond that are replaced by newer ones.
    """

    live = True

    def __init__(self, name: str, kind: str, opener: Callable[[], Opened], clock: Clock, *, seed: int = 0) -> None:
        self.name, self.kind = name, kind
        self._opener, self._clock = opener, clock
        self._stop = threading.Event()
        self._backoff = Backoff(seed=seed)
        self._arrived: queue.Queue[Frame | Remark | Tick | BaseException] = queue.Queue(maxsize=8)
        self._index = 0
        self._undo: Callable[[], None] = lambda: None

    def close(self) -> None:
        self._stop.set()
        self._undo()

    def items(self) -> Iterator[Frame | SourceNote]:
        """Pictures and notes until `close`.

        Raises:
            Refusal: at the first connection, what comes is nothing that can be watched.
        """
        connected = lost = False
        while not self._stop.is_set():
            try:
                video, self._undo = self._opener()
            except Refusal:
                if not connected:
                    raise
                error: BaseException = EOFError()
            except _LOST as failure:
                error = failure
            else:
                kind, words = (NoteKind.BACK, "back") if lost else (NoteKind.OPENED, "opened")
                yield self._note(kind, f"{self.name} is {words}" if lost else f"{self.name} {words}")
                connected, lost = True, False
                self._backoff.reset()
                error = yield from self._pictures(video)
            if self._stop.is_set():
                return
            if not lost:
                lost = True
                yield self._note(NoteKind.LOST, f"{self.name} is lost ({_words(error)}); trying again")
            self._clock.sleep(self._backoff.next(), self._stop)

    def _pictures(self, video: Video) -> Generator[Frame | SourceNote, None, BaseException]:
        health = Health(self.name, start=self._clock.now())
        self._arrived = queue.Queue(maxsize=8)  # nothing of the connection before
        reader = threading.Thread(target=self._decode, args=(video,), name=f"serval-decode-{self.name}", daemon=True)
        reader.start()
        while not self._stop.is_set():
            try:
                item = self._arrived.get(timeout=_LOOK)
            except queue.Empty:
                yield from health.tick(self._clock.now())
                continue
            now = self._clock.now()
            if isinstance(item, BaseException):
                reader.join(1.0)
                return item
            if isinstance(item, Frame):
                item.index, item.time = self._index, now
                self._index += 1
                yield from health.picture(item.luma, now)
                yield item
            elif isinstance(item, Remark):
                yield self._note(NoteKind(item.kind), f"{self.name}: {item.text}", item.data)
            elif item is Tick.SOUND:
                health.sound(now)
                yield from health.tick(now)
        return EOFError()

    def _decode(self, video: Video) -> None:
        end: BaseException = EOFError()
        try:
            for item in video.items():
                if self._stop.is_set():
                    return
                self._hand_on(item)
        except (*_LOST, Refusal, ValueError) as error:
            end = error
        finally:
            self._undo()
            video.close()
            self._hand_on(end)

    def _hand_on(self, item: Frame | Remark | Tick | BaseException) -> None:
        """Never wait: when nobody takes them, the oldest goes."""
        while True:
            try:
                self._arrived.put_nowait(item)
                return
            except queue.Full:
                try:
                    self._arrived.get_nowait()
                except queue.Empty:
                    continue

    def _note(self, kind: NoteKind, text: str, data: dict[str, object] | None = None) -> SourceNote:
        return SourceNote(kind, self.name, self._clock.now(), text, data or {})


def _words(error: BaseException) -> str:
    if isinstance(error, ServerRefusedError):
        known = {401: "the user name or password is not accepted", 403: "access is forbidden", 404: "there is no such stream"}
        return known.get(error.status, f"the server answers {error.status}")
    if isinstance(error, Refusal):
        return error.why
    return explain(error)
