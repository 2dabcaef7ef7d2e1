import io
import signal
import sqlite3
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serval.assistant.timeline.packing import quantize
from serval.assistant.timeline.picture import Picture
from serval.assistant.timeline.recording import Recording
from serval.encoders.percept import Looks, Percept, TextLine
from serval.media.box import Box
from serval.media.frame import Frame
from serval.refusal import Refusal

NOTHING, DETECT, READ = Looks(), Looks(detect=True), Looks(text=True, hands=True)
NOISE = np.random.default_rng(0).integers(0, 256, (72, 128, 3), np.uint8)


@cache
def noise(size: int) -> np.ndarray:
    return NOISE.repeat(size, axis=0).repeat(size, axis=1)


def frame(index: int, source: str = "door", time: float | None = None, size: int = 1) -> Frame:
    pixels = np.roll(noise(size), index * size, axis=1)
    return Frame.from_rgb(pixels, source=source, index=index, time=index / 10 if time is None else time)


def seen(frame: Frame, text: str = "") -> Percept:
    lines = (TextLine(text, 0.9, Box(0, 0, 1, 1)),) if text else None
    return quantize(
        Percept(frame.source, frame.index, frame.time, frame.luma, frame.sha256, 128, 72, text=lines, detections=())
    )


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


class TestWhatWasSeen:
    def test_comes_back_as_it_was_in_the_order_it_came(self, tmp_path):
        with Recording.open(tmp_path) as recording:
            for index in range(40):
                each = frame(index, "door" if index % 3 else "yard")
                recording.add(each, seen(each), DETECT if index % 4 == 0 else NOTHING)
        with Recording.open(tmp_path, write=False) as recording:
            admitted = list(recording.frames())
            assert [(each.source, each.index) for each in admitted] == [("door" if n % 3 else "yard", n) for n in range(40)]
            for each in admitted:
                original = frame(each.index, each.source)
                assert each.time == original.time
                assert np.array_equal(each.luma, original.luma)
                assert each.examined == (each.index % 4 == 0)
                percept = recording.percept(each.source, each.index)
                assert (percept is not None) == each.examined
                if percept is not None:
                    assert percept.sha256 == original.sha256
                    assert percept.detections == ()
            assert [each.index for each in recording.frames(source="yard", since=1.0, until=2.0)] == [12, 15, 18]

    def test_holds_closer_looks_by_what_they_looked_for(self, tmp_path):
        with Recording.open(tmp_path) as recording:
            each = frame(7)
            recording.add(each, seen(each), DETECT)
            recording.add_deep(each, seen(each, "TAXI"), READ)
            recording.add_deep(each, seen(each, "else"), Looks(text=True))
            assert recording.deep("door", 7, READ).text[0].text == "TAXI"
            assert recording.deep("door", 7, Looks(text=True)).text[0].text == "else"
            assert recording.deep("door", 7, Looks(faces=True)) is None
            assert recording.deep("yard", 7, READ) is None
            assert recording.percept("door", 7).text is None

    def test_has_a_picture_of_every_examined_frame_by_place_and_by_name(self, tmp_path):
        with Recording.open(tmp_path) as recording:
            for index in range(3):
                recording.add(frame(index), seen(frame(index)), DETECT if index else NOTHING)
            assert recording.picture("door", 0) is None
            picture = recording.picture("door", 1)
            assert picture == recording.picture_named(frame(1).sha256) == Picture.of(frame(1))
            image = Image.open(io.BytesIO(picture.jpeg))
            assert image.size == (picture.width, picture.height) == (128, 72)
            assert recording.picture_named("0" * 64) is None
            assert [each.index for each in recording.pictures()] == [1, 2]

    def test_a_large_picture_is_kept_smaller_under_the_name_of_the_whole(self, tmp_path):
        large = frame(0, size=20)
        assert (large.width, large.height) == (2560, 1440)
        picture = Picture.of(large)
        assert (picture.width, picture.height) == (1280, 720)
        assert picture.sha256 == large.sha256
        assert Picture.of(large) is picture  # made once

    def test_keyframes_are_known_whichever_way_they_became_so(self, tmp_path):
        with Recording.open(tmp_path) as recording:
            for index in range(4):
                recording.add(frame(index), seen(frame(index)), DETECT)
            recording.flush()
            recording.add_deep(frame(1), seen(frame(1)), READ)
            recording.keep([frame(3).sha256, "", "unknown"])
            assert [each.index for each in recording.pictures(keyframes=True)] == [1, 3]
            assert [each.index for each in recording.pictures(keyframes=False)] == [0, 2]

    def test_a_frame_noted_again_replaces_what_was_there(self, tmp_path):
        with Recording.open(tmp_path) as recording:
            recording.add(frame(0), seen(frame(0)), DETECT)
            recording.add(frame(0, time=9.0), seen(frame(0, time=9.0)), DETECT)
            assert [each.time for each in recording.frames()] == [9.0]
            assert recording.percept("door", 0).time == 9.0


class TestCap:
    def test_is_never_passed_and_the_oldest_goes_first_and_on_account(self, tmp_path):
        largest, count, size = 0, 300, 5
        with Recording.open(tmp_path, megabytes=8) as recording:
            for index in range(count):
                each = frame(index, "door" if index % 2 else "yard", size=size)
                recording.add(each, seen(each), DETECT if index % 2 else NOTHING)
                largest = max(largest, folder_bytes(tmp_path))
            recording.flush()
            kept = [each.index for each in recording.frames()]
            pictures = [each.index for each in recording.pictures()]
            evicted = {each.source: each for each in recording.evicted()}
        assert max(largest, folder_bytes(tmp_path)) <= 8 << 20
        assert largest > 4 << 20  # and the cap is made use of
        assert kept == list(range(kept[0], count))
        assert kept[0] > 0
        assert set(pictures) <= set(kept)
        gone = kept[0]
        assert evicted["yard"].frames + evicted["door"].frames == gone
        assert evicted["yard"].pictures == 0
        assert evicted["door"].pictures == evicted["door"].percepts == gone // 2
        assert evicted["yard"].since == 0.0
        assert max(each.until for each in evicted.values()) == (gone - 1) / 10

    def test_lets_pictures_of_events_go_last(self, tmp_path):
        with Recording.open(tmp_path, megabytes=8) as recording:
            for index in range(300):
                each = frame(index, size=5)
                recording.add(each, seen(each), DETECT)
                if index in (3, 100):
                    recording.keep([each.sha256])
            assert [each.index for each in recording.pictures(keyframes=True)] == [3, 100]
            assert next(recording.frames()).index > 100

    def test_holds_even_when_every_picture_is_a_keyframe(self, tmp_path):
        largest = 0
        with Recording.open(tmp_path, megabytes=8) as recording:
            for index in range(260):
                each = frame(index, size=5)
                recording.add_deep(each, seen(each), READ)
                largest = max(largest, folder_bytes(tmp_path))
            kept = [each.index for each in recording.pictures()]
            assert kept == list(range(kept[0], 260))
            assert recording.evicted()[0].pictures == kept[0] > 0
        assert largest <= 8 << 20

    def test_goes_on_in_a_recording_taken_up_again(self, tmp_path):
        for start in (0, 150):
            with Recording.open(tmp_path, megabytes=8) as recording:
                for index in range(start, start + 150):
                    recording.add(each := frame(index, size=5), seen(each), DETECT)
        with Recording.open(tmp_path, write=False) as recording:
            kept = [each.index for each in recording.frames()]
            assert kept == list(range(kept[0], 300))
            assert recording.evicted()[0].frames == kept[0]

    def test_too_small_is_refused(self, tmp_path):
        with pytest.raises(Refusal, match="at least 8 MB"):
            Recording.open(tmp_path, megabytes=1)

    def test_waiting_rows_are_bounded_by_bytes_too(self, tmp_path):
        with Recording.open(tmp_path, megabytes=8, flush_seconds=1e9) as recording:
            for index in range(40):
                recording.add(frame(index, size=10), seen(frame(index)), DETECT)
                assert recording._waiting <= (1 << 20) + 300_000  # a batch and one more picture


WRITER = """
import sys
import numpy as np
from serval.assistant.timeline.recording import Recording
from serval.encoders.percept import Looks, Percept
from serval.media.frame import Frame
recording = Recording.open(sys.argv[1], flush_seconds=0.0)
for index in range(100_000):
    frame = Frame.from_rgb(np.full((36, 64, 3), index % 256, np.uint8), source="door", index=index, time=index / 10)
    recording.add(frame, Percept("door", index, frame.time, frame.luma, frame.sha256), Looks(detect=True))
    print(index, flush=True)
"""


def test_whatever_kills_the_process_the_file_is_whole_up_to_the_last_batch(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    last = -1
    for line in writer.stdout:
        last = int(line)
        if last >= 40:
            writer.send_signal(signal.SIGKILL)
            break
    last = max([last, *map(int, writer.stdout.read().split())])
    writer.wait()
    with Recording.open(tmp_path) as recording:
        frames = list(recording.frames())
        assert [each.index for each in frames] == list(range(len(frames)))
        assert len(frames) > last
        for each in frames:
            assert int(each.luma[0, 0]) == int(recording.percept("door", each.index).luma[0, 0])
            assert recording.picture("door", each.index) is not None
    assert sqlite3.connect(tmp_path / "recording.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("table, column", [("frames", "luma"), ("percepts", "body")])
def test_a_damaged_entry_is_refused_in_one_line(tmp_path, table, column):
    with Recording.open(tmp_path) as recording:
        recording.add(frame(0), seen(frame(0)), DETECT)
    with sqlite3.connect(tmp_path / "recording.sqlite") as other:
        other.execute(f"UPDATE {table} SET {column} = zeroblob(20)")
    with pytest.raises(Refusal, match="damaged") as caught, Recording.open(tmp_path, write=False) as recording:
        assert [recording.percept("door", each.index) for each in recording.frames()]
    assert "\n" not in str(caught.value)


def test_a_timeline_is_no_recording(tmp_path):
    from serval.assistant.timeline import Timeline

    Timeline.open(tmp_path).close()
    (tmp_path / "timeline.sqlite").rename(tmp_path / "recording.sqlite")
    with pytest.raises(Refusal, match=r"tables are missing|not written by Serval"):
        Recording.open(tmp_path, write=False)


@pytest.mark.parametrize("size", [(1281, 10), (10, 1281), (12, 10)])
def test_a_picture_is_opened_only_when_it_is_of_the_size_it_is_said_to_be(size):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "JPEG")
    said = (10, 10) if size == (12, 10) else size
    with pytest.raises(ValueError, match="size"):
        Picture("door", 0, 0.0, "ab", *said, file.getvalue()).open()
    with pytest.raises(ValueError, match="damaged"):
        Picture("door", 0, 0.0, "ab", *said, b"not a picture").open()
