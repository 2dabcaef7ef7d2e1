"""Live pictures over loopback HTTP, with every fault a camera has."""

import io
import itertools
import socket
import threading

import pytest
from PIL import Image

from serval.media.frame import Frame
from serval.refusal import Refusal
from serval.sources import live
from serval.sources.clock import VirtualClock
from serval.sources.open import open_source
from serval.sources.source import NoteKind

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
OK = b"HTTP/1.0 200 OK\r\nContent-Type: %s\r\n\r\n"
MJPEG = OK % b"multipart/x-mixed-replace; boundary=frame"
TS = OK % b"video/mp2t"


class Stepping(VirtualClock):
    """Moves by ``step`` seconds at each look, so that time passes while nobody sleeps."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self._step = step

    def now(self) -> float:
        self.advance(self._step)
        return super().now()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(live, "_LOOK", 0.01)


@pytest.fixture(scope="module")
def shots(pictures):
    return pictures(100)


def jpeg(rgb) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG")
    return buffer.getvalue()


def part(rgb) -> bytes:
    data = jpeg(rgb)
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"


def watch(camera, *, path="/", user="", clock=None):
    port = camera if isinstance(camera, int) else camera.port
    return open_source(f"http://{user}127.0.0.1:{port}{path}", clock=clock or VirtualClock(), fps=5)


def take(source, enough):
    """Items until ``enough(items)``; then the source is closed, and must end."""
    items = []
    for item in (stream := source.items()):
        items.append(item)
        if enough(items):
            break
    source.close()
    stream.close()
    return items


def frames(items):
    return [item for item in items if isinstance(item, Frame)]


def kinds(items):
    return [item.kind for item in items if not isinstance(item, Frame)]


def notes(items):
    return [item for item in items if not isinstance(item, Frame)]


def saw(*wanted):
    return lambda items: set(wanted) <= set(kinds(items))


def count(number):
    return lambda items: len(frames(items)) >= number


# -- what a sound camera sends --------------------------------------------------------------------------------------------


def test_motion_jpeg(serve, shots):
    camera = serve(lambda visit, request, send, closing: send(MJPEG + b"".join(map(part, shots[:40]))))
    items = take(watch(camera, path="/stream?x=1", clock=Stepping(0.05)), count(30))
    assert kinds(items) == [NoteKind.OPENED]
    assert items[0].text == "127.0.0.1 opened: 160x120"
    assert [frame.index for frame in frames(items)] == list(range(30))
    times = [item.time for item in items]
    assert times == sorted(times)
    assert abs(frames(items)[0].rgb.astype(int) - shots[0]).mean() < 12
    assert camera.requests[0].startswith(b"GET /stream?x=1 HTTP/1.1\r\n")


@pytest.mark.parametrize("chunked", [False, True])
def test_transport_stream(serve, encoded, shots, chunked):
    data = encoded(shots[:50], container="mpegts")

    def answer(visit, request, send, closing):
        if not chunked:
            return send(TS + data)
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(data), 1000):
            block = data[at : at + 1000]
            send(b"%x\r\n" % len(block) + block + b"\r\n")
        return send(b"0\r\n\r\n")

    items = take(watch(serve(answer)), saw(NoteKind.LOST))
    assert kinds(items) == [NoteKind.OPENED, NoteKind.LOST]
    assert len(frames(items)) == 50
    assert notes(items)[-1].text == "127.0.0.1 is lost (it ended); trying again"


def test_a_redirection_on_the_same_host_is_followed_with_the_password(serve, encoded, shots):
    data = encoded(shots[:10], container="mpegts")

    def answer(visit, request, send, closing):
        send(TS + data if b"GET /b" in request else b"HTTP/1.0 302 Found\r\nLocation: /b\r\n\r\n")

    camera = serve(answer)
    take(watch(camera, path="/a", user="anna:s%20cret@"), count(1))
    assert [b"Authorization: Basic YW5uYTpzIGNyZXQ=" in request for request in camera.requests[:2]] == [True, True]


# -- lost and back --------------------------------------------------------------------------------------------------------


def test_a_camera_that_closes_after_a_few_pictures(serve, encoded, shots):
    data = encoded(shots[:10], container="mpegts")
    camera = serve(lambda visit, request, send, closing: send(TS + data))
    items = take(watch(camera), count(31))
    assert kinds(items) == [NoteKind.OPENED, *[NoteKind.LOST, NoteKind.BACK] * 3]
    assert [frame.index for frame in frames(items)] == list(range(31))
    times = [item.time for item in items]
    assert times == sorted(times)
    gaps = [back.time - lost.time for lost, back in itertools.pairwise(notes(items)[1:]) if lost.kind is NoteKind.LOST]
    assert all(0 < gap <= 5 for gap in gaps)


@pytest.mark.parametrize("form", ["stream", "snapshot"])
def test_a_camera_that_never_holds_is_told_of_once_a_minute(serve, encoded, shots, form):
    """Whether it hangs up after a few pictures, or its address gives a single picture each time."""
    stream = TS + encoded(shots[:3], container="mpegts")

    def answer(visit, request, send, closing):
        send(stream if form == "stream" else OK % b"image/jpeg" + jpeg(shots[visit % 100]))

    camera = serve(answer)
    items = take(watch(camera), lambda items: items[-1].time > 200)
    often = notes(items)[7:]
    assert kinds(items)[:7] == [NoteKind.OPENED, *[NoteKind.LOST, NoteKind.BACK] * 3]
    assert {note.kind for note in often} == {NoteKind.LOST}
    assert often[0].text == "127.0.0.1 keeps being lost (it ended); from here on this is told once a minute"
    assert len(often) in (3, 4)
    assert all(later.time - earlier.time >= 60 for earlier, later in itertools.pairwise(often))
    assert sum(note.data.get("lost", 0) for note in often) >= len(camera.requests) - 4 - 20  # the last minute is not told yet
    assert len(frames(items)) >= 40


def test_a_camera_that_is_not_there_yet(serve, encoded, shots):
    data = encoded(shots[:10], container="mpegts")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    source = watch(port)
    items = source.items()
    first = next(items)
    assert first.kind is NoteKind.LOST
    assert first.text == "127.0.0.1 cannot be opened (the connection is refused); trying again"
    serve(lambda visit, request, send, closing: send(TS + data), port)
    second = next(items)  # however often it was tried in between, nothing more was told
    assert (second.kind, second.text) == (NoteKind.BACK, "127.0.0.1 is back")
    assert isinstance(next(items), Frame)
    source.close()
    items.close()


def test_an_answer_without_pictures_is_not_back(serve, encoded, shots):
    data = encoded(shots[:10], container="mpegts")

    def answer(visit, request, send, closing):
        send((TS + data, b"HTTP/1.0 503 Busy\r\n\r\n", TS, TS + b"<html>" * 99, b"nonsense\r\n", b"", TS + data)[min(visit, 6)])

    items = take(watch(serve(answer)), count(11))
    assert kinds(items) == [NoteKind.OPENED, NoteKind.LOST, NoteKind.BACK]


def test_what_is_nothing_to_watch_is_told_only_at_the_first_try(serve):
    camera = serve(lambda visit, request, send, closing: send(OK % b"text/html" + b"<html>Log in</html>"))
    with pytest.raises(Refusal, match="text, not video"):
        next(watch(camera).items())


# -- stalled, frozen, sound alone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["mjpeg", "ts"])
def test_a_camera_that_stalls(serve, encoded, shots, form):
    go = threading.Event()
    data = encoded(shots[:50], container="mpegts")
    first, rest = (MJPEG + b"".join(map(part, shots[:20])), b"".join(map(part, shots[20:40]))) if form == "mjpeg" else (
        TS + data[: len(data) // 2], data[len(data) // 2 :]
    )  # fmt: skip

    def answer(visit, request, send, closing):
        send(first)
        go.wait(10)
        send(rest)
        closing.wait(10)

    def enough(items):
        if NoteKind.STALLED in kinds(items):
            go.set()
        return NoteKind.BACK in kinds(items) and isinstance(items[-1], Frame)

    items = take(watch(serve(answer), clock=Stepping(0.1)), enough)
    assert kinds(items) == [NoteKind.OPENED, NoteKind.STALLED, NoteKind.BACK]
    before = [item for item in items if item.time < notes(items)[1].time]
    assert notes(items)[1].time - frames(before)[-1].time <= 20


def test_a_camera_that_freezes_on_one_picture(serve, shots):
    def answer(visit, request, send, closing):
        send(MJPEG + b"".join(map(part, shots[:10])) + part(shots[9]) * 200 + b"".join(map(part, shots[10:30])))
        closing.wait(10)

    items = take(watch(serve(answer), clock=Stepping(0.1)), saw(NoteKind.FROZEN, NoteKind.THAWED))
    assert kinds(items) == [NoteKind.OPENED, NoteKind.FROZEN, NoteKind.THAWED]
    assert 10 <= notes(items)[1].time - frames(items)[9].time <= 20


def test_sound_alone(serve, encoded):
    data = encoded([], container="mpegts", sound=True)

    def answer(visit, request, send, closing):
        send(TS + data * 10)
        closing.wait(10)

    items = take(watch(serve(answer), clock=Stepping(0.1)), saw(NoteKind.AUDIO_ONLY))
    assert kinds(items) == [NoteKind.OPENED, NoteKind.AUDIO_ONLY]
    assert notes(items)[1].time - notes(items)[0].time <= 20
    assert "sound and no picture" in notes(items)[1].text


def test_sound_alone_for_ever_is_tried_again_and_told_once(serve, encoded, shots):
    sound, pictures = encoded([], container="mpegts", sound=True), encoded(shots[:25], container="mpegts")

    def answer(visit, request, send, closing):
        send(TS + (sound * 40 if visit < 3 else pictures))
        closing.wait(10)

    camera = serve(answer)
    items = take(watch(camera, clock=Stepping(0.1)), count(1))
    assert kinds(items) == [NoteKind.OPENED, NoteKind.AUDIO_ONLY, NoteKind.VIDEO_BACK]
    assert len(camera.requests) == 4


def test_pictures_that_stop_while_the_sound_goes_on(serve, encoded, shots):
    both = encoded(shots[:25], container="mpegts", sound=True)  # pictures are packets 0x100, sound is 0x101
    sound = b"".join(
        packet[:1] + bytes([packet[1] & 0xE0 | 1, 1]) + packet[3:]
        for packet in packets(encoded([], container="mpegts", sound=True))
        if packet[1] & 0x1F == 1
    )

    def answer(visit, request, send, closing):
        send(TS + both + sound * 12 + both)
        closing.wait(10)

    items = take(watch(serve(answer), clock=Stepping(0.1)), saw(NoteKind.AUDIO_ONLY, NoteKind.VIDEO_BACK))
    told = [kind for kind in kinds(items) if kind is not NoteKind.CLOCK_JUMP]  # the same stamps come twice
    assert told == [NoteKind.OPENED, NoteKind.AUDIO_ONLY, NoteKind.VIDEO_BACK]


def packets(data):
    return (data[at : at + 188] for at in range(0, len(data), 188))


# -- what changes or breaks in the middle ---------------------------------------------------------------------------------


def test_time_stamps_that_jump_back(serve, encoded, shots):
    late = encoded(shots[:25], container="mpegts", times=[60 + index / 25 for index in range(25)])
    data = late + encoded(shots[25:50], container="mpegts")
    items = take(watch(serve(lambda visit, request, send, closing: send(TS + data))), saw(NoteKind.LOST))
    assert kinds(items) == [NoteKind.OPENED, NoteKind.CLOCK_JUMP, NoteKind.LOST]
    assert notes(items)[1].data["seconds"] < -50


def test_a_new_size(serve, encoded, pictures):
    data = encoded(pictures(50), container="mpegts") + encoded(pictures(20, 320, 240), container="mpegts")
    items = take(watch(serve(lambda visit, request, send, closing: send(TS + data))), saw(NoteKind.LOST))
    assert {(frame.width, frame.height) for frame in frames(items)} == {(160, 120), (320, 240)}
    assert kinds(items).count(NoteKind.RESOLUTION) == 1
    parts = b"".join(map(part, pictures(10))) + b"".join(map(part, pictures(10, 320, 240)))
    items = take(watch(serve(lambda visit, request, send, closing: send(MJPEG + parts))), saw(NoteKind.LOST))
    assert [note.text for note in notes(items) if note.kind is NoteKind.RESOLUTION] == [
        "127.0.0.1: its picture changes from 160x120 to 320x240"
    ]


def test_garbage_in_the_middle(serve, encoded, shots):
    data = bytearray(encoded(shots, container="mpegts"))
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(range(256)) * 11 + bytes(184)
    items = take(watch(serve(lambda visit, request, send, closing: send(TS + data))), saw(NoteKind.LOST))
    assert len(frames(items)) > 60
    assert set(kinds(items)) <= {NoteKind.OPENED, NoteKind.BROKEN, NoteKind.LOST, NoteKind.CLOCK_JUMP}


def test_garbage_between_motion_jpegs_is_survived(serve, shots):
    """Whatever FFmpeg makes of it, the camera is tried again and its pictures come."""

    def answer(visit, request, send, closing):
        send(MJPEG + b"".join(map(part, shots[:5])) + b"\xff\xd8garbage" * 500 + b"".join(map(part, shots[5:10])))

    items = take(watch(serve(answer)), count(20))
    assert set(kinds(items)) <= {NoteKind.OPENED, NoteKind.LOST, NoteKind.BACK, NoteKind.BROKEN}
