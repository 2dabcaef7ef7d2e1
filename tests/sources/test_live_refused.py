"""What a live address may not make us do, and what is left when it is closed."""

import io
import logging
import threading

import pytest
from PIL import Image

from serval.media.frame import Frame
from serval.media.limits import MediaLimits
from serval.refusal import Refusal
from serval.sources import http_stream
from serval.sources.clock import RealClock, VirtualClock
from serval.sources.feed import Feed
from serval.sources.open import open_source
from serval.sources.source import NoteKind

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
OK = b"HTTP/1.0 200 OK\r\nContent-Type: %s\r\n\r\n"
MJPEG = OK % b"multipart/x-mixed-replace; boundary=frame"
TS = OK % b"video/mp2t"


def watch(camera, *, path="/", user="", clock=None):
    return open_source(f"http://{user}127.0.0.1:{camera.port}{path}", clock=clock or VirtualClock(), fps=5)


@pytest.mark.parametrize("kind", [b"application/vnd.apple.mpegurl", b"video/mp2t"])
def test_a_playlist_reaches_nothing(serve, kind):
    canary = serve(lambda *_: None)
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:{canary.port}/a.ts\n#EXT-X-ENDLIST\n".encode()
    camera = serve(lambda visit, request, send, closing: send(OK % kind + text))
    with pytest.raises(Refusal, match="playlist"):
        next(watch(camera).items())
    assert canary.requests == []


@pytest.mark.parametrize(
    "target",
    ["http://localhost:{0}/", "https://localhost:{0}/", "ftp://127.0.0.1:{0}/", "file:///etc/passwd", "http://[::1/", "http://127.0.0.1:x/",
     "//localhost:{0}/", "http://127.0.0.1@localhost:{0}/", "http://2130706433:{0}/", "http://127.0.0.1:{0}/",
     "//127.0.0.1:{0}/", "https://127.0.0.1:{0}/", "http://127.0.0.1/", "http://127.0.0.1\\@localhost:{0}/"],
)  # fmt: skip
def test_a_redirection_elsewhere_is_refused(serve, target):
    canary = serve(lambda *_: None)
    location = target.format(canary.port).encode()
    camera = serve(lambda visit, request, send, closing: send(b"HTTP/1.0 302 Found\r\nLocation: " + location + b"\r\n\r\n"))
    with pytest.raises(Refusal, match="the server sends us to"):
        next(watch(camera, user="anna:secret@").items())
    assert canary.requests == []


def test_redirections_in_a_circle(serve):
    camera = serve(lambda visit, request, send, closing: send(b"HTTP/1.0 302 Found\r\nLocation: /again\r\n\r\n"))
    with pytest.raises(Refusal, match="from one address to the next"):
        next(watch(camera).items())
    assert len(camera.requests) <= 5


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "the user name or password is not accepted"), (403, "forbidden"), (404, "no such stream"), (500, "answers 500")],
)
def test_a_server_that_refuses_and_a_password_that_stays_secret(serve, caplog, status, words):
    answer = b"HTTP/1.0 %d anna:hunter2\r\nWWW-Authenticate: Basic realm=anna:hunter2\r\n\r\n" % status
    camera = serve(lambda visit, request, send, closing: send(answer))
    with caplog.at_level(logging.DEBUG):
        source = watch(camera, path="/straße ä/hunter2?token=hunter2".replace(" ", ""), user="anna:hunter2@")
        items = source.items()
        note = next(items)
        source.close()
        assert list(items) == []
    assert note.kind is NoteKind.LOST
    assert words in note.text
    for text in (note.text, str(note.data), caplog.text, source.name):
        assert "hunter2" not in text
        assert "anna" not in text
    assert b"Basic YW5uYTpodW50ZXIy" in camera.requests[0]
    assert b"/stra%C3%9Fe%C3%A4/hunter2?token=hunter2 " in camera.requests[0]


# -- closing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.0 200 OK\r\n", TS, MJPEG])
def test_close_while_the_server_keeps_silent(serve, sent):
    """No thread outlives it; the fixture waits for them, and far less than a read's time limit."""
    silent = threading.Event()

    def answer(visit, request, send, closing):
        send(sent)
        silent.set()
        closing.wait(20)

    source = watch(serve(answer))
    reader = threading.Thread(target=lambda: list(source.items()), daemon=True)
    reader.start()
    assert silent.wait(10)
    source.close()
    reader.join(5)
    assert not reader.is_alive()


def test_a_feed_over_a_live_camera_ends_with_all_its_threads(serve, encoded, pictures):
    data = encoded(pictures(50), container="mpegts")

    def answer(visit, request, send, closing):
        send(TS + data)
        closing.wait(20)

    clock = RealClock()
    feed = Feed([watch(serve(answer), clock=clock)], pace="realtime", fps=100, clock=clock)
    items = feed.items()
    assert next(items).kind is NoteKind.OPENED
    assert next(items).width == 160
    feed.close()
    assert all(getattr(item, "kind", None) is NoteKind.DROPPED for item in items)


def test_a_feed_hands_on_what_cannot_be_watched(serve):
    camera = serve(lambda visit, request, send, closing: send(OK % b"video/mp2t" + b"#EXTM3U\n"))
    with pytest.raises(Refusal, match="playlist"):
        list(Feed([watch(camera)], pace="realtime", fps=5, clock=VirtualClock()).items())


def test_a_server_that_keeps_silent_or_dribbles_is_given_up_in_time(serve, monkeypatch):
    monkeypatch.setattr(http_stream, "READ", 0.05)
    silent = serve(lambda visit, request, send, closing: (send(TS), closing.wait(10)))
    source = watch(silent)
    assert next(source.items()).text == "127.0.0.1 cannot be opened (no data came in time); trying again"
    source.close()
    monkeypatch.setattr(http_stream, "READ", 5)
    monkeypatch.setattr(http_stream, "OPEN", 0.1)  # for the whole opening, however often a byte comes

    def dribble(visit, request, send, closing):
        send(TS)
        while not closing.wait(0.02):
            send(b"\x47")

    source = watch(serve(dribble))
    assert next(source.items()).text == "127.0.0.1 cannot be opened (no data came in time); trying again"
    source.close()


@pytest.mark.parametrize(
    "head", [b"HTTP/1.0 200 OK\r\n", OK % b"video/mp2t", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
)
def test_headers_that_come_byte_by_byte_are_given_up_in_time(serve, monkeypatch, head):
    monkeypatch.setattr(http_stream, "OPEN", 0.2)

    def dribble(visit, request, send, closing):
        send(head)
        while not closing.wait(0.02):
            send(b"0")  # never a line's end

    source = watch(serve(dribble))
    assert next(source.items()).text == "127.0.0.1 cannot be opened (no data came in time); trying again"
    source.close()


def test_a_redirection_from_http_to_https_keeps_to_the_usual_ports():
    def led(before, after):
        return http_stream.followed(before, after, "cam")

    assert led("http://anna:s@cam/a", "https://cam/b") == "https://anna:s@cam/b"
    assert led("http://anna:s@cam:80/a", "http://cam/b") == "http://anna:s@cam/b"
    assert led("http://anna:s@cam:8080/a", "/b") == "http://anna:s@cam:8080/b"
    for before, after in [
        ("http://cam:8080/", "https://cam/"),
        ("http://cam/", "https://cam:8443/"),
        ("https://cam/", "http://cam/"),
    ]:
        with pytest.raises(Refusal, match="the server sends us to another"):
            led(before, after)


def test_a_picture_that_grows_beyond_the_limits_is_never_shown(serve):
    def part(size):
        buffer = io.BytesIO()
        Image.new("L", size, 99).save(buffer, "JPEG")
        data = buffer.getvalue()
        return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"

    small, bomb = part((64, 48)), part((6000, 6000))
    source = watch(serve(lambda visit, request, send, closing: send(MJPEG + small * 20 + bomb + small * 5)))
    kinds = []
    for item in (items := source.items()):
        if isinstance(item, Frame):
            assert item.width == 64
        else:
            kinds.append(item.kind)
            if item.kind is NoteKind.LOST:
                break
    source.close()
    items.close()
    assert kinds[0] is NoteKind.OPENED
    assert kinds[-1] is NoteKind.LOST
    with pytest.raises(Refusal, match="6000x6000"):
        next(watch(serve(lambda visit, request, send, closing: send(MJPEG + bomb * 2))).items())


def test_a_part_that_never_ends_is_cut_off(serve, pictures):
    """Without a length FFmpeg would gather it in memory until the boundary comes, which is never."""

    def jpeg():
        buffer = io.BytesIO()
        Image.fromarray(pictures(1)[0]).save(buffer, "JPEG")
        return b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + buffer.getvalue() + b"\r\n"

    sent = []

    def answer(visit, request, send, closing):
        send(MJPEG + (jpeg() * 50 if visit == 0 else b"") + b"--frame\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8")
        while not closing.is_set():
            send(b"x" * 10_000)
            sent.append(10_000)

    source = open_source(
        f"http://127.0.0.1:{serve(answer).port}/", clock=VirtualClock(), fps=5, limits=MediaLimits(image_bytes=300_000)
    )
    notes = []
    for item in (items := source.items()):
        notes += [] if isinstance(item, Frame) else [item]
        if notes[-1].kind is NoteKind.LOST:
            break
    source.close()
    items.close()
    assert [note.kind for note in notes] == [NoteKind.OPENED, NoteKind.LOST]
    assert "a single picture of it goes on beyond 300,000 bytes" in notes[-1].text
    assert sum(sent) < 10_000_000  # what the network's buffers hold
