"""Files from what a person types to what the watch is given: a correct result, or one clear line."""

import struct

import numpy as np
import pytest

from serval.media.frame import Frame
from serval.media.limits import MediaLimits
from serval.refusal import Refusal
from serval.sources.clock import VirtualClock
from serval.sources.feed import Feed
from serval.sources.open import open_source
from serval.sources.source import NoteKind


def watch(path, *, fps=25, pace="fast", **options):
    """All frames, and all notes as (kind, text)."""
    clock = VirtualClock()
    source = open_source(str(path), clock=clock, fps=fps, **options)
    items = list(Feed([source], pace=pace, fps=fps, clock=clock).items())
    assert [item.time for item in items] == sorted(item.time for item in items)
    assert {item.source for item in items} == {source.name}
    frames = [item for item in items if isinstance(item, Frame)]
    return frames, [(item.kind, item.text) for item in items if not isinstance(item, Frame)]


def refused(path, **options) -> str:
    with pytest.raises(Refusal) as caught:
        open_source(str(path), clock=VirtualClock(), fps=5, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.remedy
    return text


@pytest.fixture(scope="module")
def clip(tmp_path_factory, encoded, pictures):
    path = tmp_path_factory.mktemp("clip") / "Front Door.mkv"
    path.write_bytes(encoded(pictures(50), container="matroska"))
    return path


def test_a_whole_file(clip):
    frames, notes = watch(clip)
    assert len(frames) == 50
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(50)], abs=0.001)
    assert [kind for kind, _ in notes] == [NoteKind.OPENED, NoteKind.ENDED]
    assert notes[0][1] == "Front-Door opened: 160x120, 2.0 s"
    frames, _ = watch(clip, fps=5)
    assert [round(frame.time, 2) for frame in frames] == [index / 5 for index in range(10)]


def test_every_run_is_alike(clip):
    once, again = watch(clip, fps=5), watch(clip, fps=5)
    assert [frame.sha256 for frame in once[0]] == [frame.sha256 for frame in again[0]]
    assert once[1] == again[1]


def test_real_time_shows_a_file_as_well(clip):
    """With a clock that never waits there may be drops, and still order, an opening and an end."""
    frames, notes = watch(clip, pace="realtime")
    assert frames
    kinds = [kind for kind, _ in notes]
    assert (kinds[0], kinds.count(NoteKind.ENDED)) == (NoteKind.OPENED, 1)


def test_what_is_no_video(tmp_path, encoded):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "note.mp4").write_text("Dear diary,\n" * 400)
    (tmp_path / "song.mkv").write_bytes(encoded([], container="matroska", sound=True))
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:2,\nsecret.mp4\n")
    (tmp_path / "script.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    assert "no such file" in refused(tmp_path / "gone.mp4")
    assert "empty" in refused(tmp_path / "empty.mp4")
    assert "text, not video" in refused(tmp_path / "note.mp4")
    assert "sound and no picture" in refused(tmp_path / "song.mkv")
    assert "other" in refused(tmp_path / "list.mp4")
    assert "other" in refused(tmp_path / "script.mp4")
    assert "device" in refused("/dev/zero")


def test_zero_size_and_beyond_the_limits(tmp_path, clip):
    path = tmp_path / "zero.y4m"
    for header in (b"W0 H0", b"W60000 H60000"):
        path.write_bytes(b"YUV4MPEG2 " + header + b" F25:1\nFRAME\n" + bytes(1000))
        refused(path)
    assert "160x120" in refused(clip, limits=MediaLimits(pixels=1000))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (161, 121)])
def test_tiny_and_odd_sizes(tmp_path, encoded, width, height):
    path = tmp_path / "odd.mkv"
    shades = [np.full((height, width, 3), 40 * index, np.uint8) for index in range(3)]
    path.write_bytes(encoded(shades, container="matroska", codec="ffv1"))
    frames, notes = watch(path)
    assert [frame.rgb.shape for frame in frames] == [(height, width, 3)] * 3
    assert f"{width}x{height}" in notes[0][1]


def test_variable_rate(tmp_path, encoded, pictures):
    path, times = tmp_path / "v.mkv", [0.0, 0.04, 0.5, 0.54, 3.0, 30.0]
    path.write_bytes(encoded(pictures(6), container="matroska", times=times))
    assert [frame.time for frame in watch(path)[0]] == pytest.approx(times, abs=0.002)
    assert [frame.time for frame in watch(path, fps=5)[0]] == pytest.approx([0.0, 0.5, 3.0, 30.0], abs=0.002)


def test_rotated(tmp_path, encoded):
    upright = np.zeros((120, 160, 3), np.uint8)
    upright[:60, :80] = (220, 30, 30)
    data = encoded([np.rot90(upright, 1)] * 3, container="mp4")
    at = data.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), data.index(b"tkhd"))
    path = tmp_path / "phone.mp4"
    path.write_bytes(data[:at] + struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30) + data[at + 36 :])
    frames, notes = watch(path)
    assert "160x120" in notes[0][1]
    assert np.abs(frames[0].rgb.astype(int) - upright).mean() < 6


def test_a_file_that_breaks_off_keeps_everything_up_to_there_and_says_so(tmp_path, clip):
    data, path = clip.read_bytes(), tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) * 6 // 10])
    whole, (frames, notes) = watch(clip)[0], watch(path)
    assert 5 < len(frames) < 50
    assert [frame.sha256 for frame in frames[:-1]] == [frame.sha256 for frame in whole[: len(frames) - 1]]
    kinds = [kind for kind, _ in notes]
    assert (kinds[0], kinds[-2:]) == (NoteKind.OPENED, [NoteKind.BROKEN, NoteKind.ENDED])
    assert "its header promises" in notes[-2][1]


def test_a_file_that_is_damaged_in_the_middle_goes_on_after_it(tmp_path, clip):
    data, path = bytearray(clip.read_bytes()), tmp_path / "bad.mkv"
    middle = len(data) // 2
    data[middle : middle + 300] = b"\xff" * 300
    path.write_bytes(data)
    frames, notes = watch(path)
    assert NoteKind.BROKEN in [kind for kind, _ in notes]
    assert frames[0].time == 0
    assert frames[-1].time > 1.8
    assert notes[-1][0] is NoteKind.ENDED


def test_a_new_size_in_the_middle(tmp_path, encoded, pictures):
    path = tmp_path / "both.ts"
    path.write_bytes(encoded(pictures(50), container="mpegts") + encoded(pictures(10, 320, 240), container="mpegts"))
    frames, notes = watch(path)
    assert {(frame.width, frame.height) for frame in frames} == {(160, 120), (320, 240)}
    assert "both: its picture changes from 160x120 to 320x240" in [text for kind, text in notes if kind is NoteKind.RESOLUTION]


def test_time_stamps_that_jump_back(tmp_path, encoded, pictures):
    path = tmp_path / "jump.ts"
    late = encoded(pictures(25), container="mpegts", times=[60 + index / 25 for index in range(25)])
    path.write_bytes(late + encoded(pictures(25), container="mpegts"))
    frames, notes = watch(path)
    assert [kind for kind, _ in notes] == [NoteKind.OPENED, NoteKind.CLOCK_JUMP, NoteKind.ENDED]
    assert frames[-1].time == pytest.approx(2, abs=0.2)


def test_closing_in_the_middle_ends_it(clip):
    source = open_source(str(clip), clock=VirtualClock(), fps=5)
    items = source.items()
    next(items), next(items)
    source.close()
    source.close()
    assert list(items) == []
