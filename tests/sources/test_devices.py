"""Cameras by number and RTSP: how they are asked for, and what is said when they do not answer. Neither is needed here."""

import io
import logging

import av
import pytest

from serval.media.frame import Frame
from serval.media.open_video import open_stream
from serval.refusal import Refusal
from serval.sources import live
from serval.sources.clock import VirtualClock
from serval.sources.feed import Feed
from serval.sources.open import open_source
from serval.sources.source import NoteKind

pytestmark = pytest.mark.usefixtures("threads_end")
ADDRESS = "rtsp://anna:hunter2@camera.lan:8554/key/hunter2?token=hunter2"


def opened(text, clock=None):
    return open_source(text, clock=clock or VirtualClock(), fps=5)


def first(source, count):
    items = []
    for item in (stream := source.items()):
        items.append(item)
        if len(items) == count:
            break
    source.close()
    stream.close()
    return items


@pytest.fixture
def asked(monkeypatch):
    """Every call of `open_address`; ``answers`` are given one after the other, the last for ever."""
    calls, answers = [], []

    def open_address(address, demuxer, options, timeouts, *, what, source, limits):
        calls.append({"address": address, "demuxer": demuxer, "options": options, "timeouts": timeouts, "what": what})
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return open_stream(io.BytesIO(answer), "mpegts", what=what, source=source, limits=limits)

    monkeypatch.setattr(live, "open_address", open_address)
    return calls, answers


def test_a_camera_that_never_existed_is_told_plainly_once_and_tried_for_ever():
    """The true way in, down to FFmpeg; there are no thousand cameras."""
    clock = VirtualClock()
    source = opened("camera:999", clock)
    items = source.items()
    note = next(items)
    assert (note.kind, note.source) == (NoteKind.LOST, "camera-999")
    assert note.text == "camera-999 cannot be opened (there is no such device); trying again"
    tries = []
    sleep = clock.sleep

    def counted(seconds, stop=None):
        tries.append(seconds)
        if len(tries) == 30:
            source.close()
        return sleep(seconds, stop)

    clock.sleep = counted
    assert list(items) == []  # thirty more tries, and nothing told
    assert max(tries) <= 5


def test_a_camera_without_a_device_in_the_feed():
    clock = VirtualClock()
    feed = Feed([opened("camera:998", clock)], pace="realtime", fps=5, clock=clock)
    items = feed.items()
    assert next(items).kind is NoteKind.LOST
    feed.close()
    assert list(items) == []


def test_a_camera_is_opened_by_its_device_alone(asked):
    calls, answers = asked
    answers.append(av.error.OSError(16, "Device or resource busy", "/dev/video7"))
    (note,) = first(opened("camera:007"), 1)
    assert note.text == "camera-007 cannot be opened (another program is using it); trying again"
    assert (calls[0]["address"], calls[0]["demuxer"]) == ("/dev/video7", "v4l2")
    assert calls[0]["options"]["protocol_whitelist"] == "file"


def test_a_camera_where_the_system_knows_none(asked):
    asked[1].append(ValueError("no container format 'v4l2'"))
    with pytest.raises(Refusal, match="Linux"):
        next(opened("camera:0").items())


def test_rtsp_is_asked_for_over_tcp_and_may_use_the_network_only(asked):
    calls, answers = asked
    answers.append(ConnectionRefusedError())
    first(opened(ADDRESS), 1)
    call = calls[0]
    assert (call["address"], call["demuxer"], call["what"]) == (ADDRESS, "rtsp", "camera.lan")
    assert call["options"]["rtsp_transport"] == "tcp"
    allowed = set(call["options"]["protocol_whitelist"].split(","))
    assert allowed.isdisjoint({"file", "http", "https", "concat", "subfile", "data", "pipe", "crypto", "ftp"})
    assert set(call["options"]["format_whitelist"].split(",")).isdisjoint({"hls", "concat", "dash", "image2"})
    assert all(0 < seconds <= 10 for seconds in call["timeouts"])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            av.error.HTTPUnauthorizedError(-825242872, "Server returned 401", ADDRESS),
            "the user name or password is not accepted",
        ),
        (av.error.HTTPNotFoundError(-875574520, "Server returned 404", ADDRESS), "there is no such stream"),
        (av.error.InvalidDataError(1094995529, f"Invalid data in {ADDRESS}", ADDRESS), "its data is damaged"),
        (av.error.ConnectionRefusedError(111, "refused", ADDRESS), "the connection is refused"),
        (av.error.TimeoutError(110, "timed out", ADDRESS), "no data came in time"),
        (av.error.OSError(113, "No route to host", ADDRESS), "the host cannot be reached"),
        (OSError(f"something else about {ADDRESS}"), "it cannot be read"),
    ],
)
def test_no_error_of_rtsp_shows_the_address(asked, caplog, error, words):
    asked[1].append(error)
    with caplog.at_level(logging.DEBUG):
        (note,) = first(opened(ADDRESS), 1)
    assert note.text.startswith(f"camera.lan cannot be opened ({words}")
    for text in (note.text, str(note.data), caplog.text):
        assert "hunter2" not in text
        assert "anna" not in text


def test_rtsp_that_is_lost_comes_back(asked, encoded, pictures):
    calls, answers = asked
    data = encoded(pictures(5), container="mpegts")
    answers += [data, ConnectionResetError(), TimeoutError(), data, data]
    items = first(opened(ADDRESS), 13)
    told = [item.kind for item in items if not isinstance(item, Frame)]
    assert told == [NoteKind.OPENED, NoteKind.LOST, NoteKind.BACK]
    assert len(calls) == 4


def test_a_defect_while_decoding_is_logged_without_its_words_and_the_camera_tried_again(
    asked, encoded, pictures, monkeypatch, caplog
):
    asked[1].append(encoded(pictures(5), container="mpegts"))
    real, broken = live.open_address, []

    def open_address(*args, **options):
        video = real(*args, **options)
        if not broken:
            broken.append(True)
            monkeypatch.setattr(video, "items", lambda: (_ for _ in ()).throw(RuntimeError(ADDRESS)))
        return video

    monkeypatch.setattr(live, "open_address", open_address)
    items = first(opened(ADDRESS), 4)
    assert [item.kind for item in items[:3]] == [NoteKind.OPENED, NoteKind.LOST, NoteKind.BACK]
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


def test_sources_wait_each_in_its_own_rhythm(asked):
    asked[1].append(ConnectionRefusedError())

    def waits(host):
        clock, slept = VirtualClock(), []
        source = opened(f"rtsp://{host}/", clock)

        def sleep(seconds, stop=None):
            slept.append(seconds)
            if len(slept) == 5:
                source.close()
            return False

        clock.sleep = sleep
        list(source.items())
        return slept

    assert len(set(waits("north")) & set(waits("south"))) == 0
    assert waits("north") == waits("north")
