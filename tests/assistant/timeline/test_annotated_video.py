"""Pictures with a square that moves, watched by a detector that knows where it is."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serval.assistant.event import Event, EventKind, Evidence
from serval.assistant.perception import Perception
from serval.assistant.timeline import RunInfo, SourceInfo, Timeline
from serval.assistant.timeline.export.annotated_video import AnnotatedVideo
from serval.assistant.timeline.export.annotator import SIDE, STAYS, Annotator
from serval.assistant.timeline.export.hues import colour
from serval.assistant.timeline.export.motion import Motion, views
from serval.assistant.timeline.export.video import annotated_video
from serval.assistant.timeline.packing import quantize
from serval.assistant.timeline.recording import Recording
from serval.assistant.view import Track, View
from serval.encoders.labels import COCO
from serval.encoders.percept import Detection, Looks, Percept
from serval.media.box import Box
from serval.media.frame import Frame
from serval.media.open_video import open_video
from serval.media.writer import VideoWriter
from serval.refusal import Refusal

WIDTH, HEIGHT, RATE, SECONDS = 320, 240, 10, 6
SCORES = np.eye(len(COCO), dtype=np.float32)[COCO.index("person")] * np.float32(0.9)


def where(time: float) -> Box:
    left = 0.1 + 0.08 * time
    return Box(left, 0.3, left + 0.2, 0.6)


def frame(index: int, source: str = "door") -> Frame:
    pixels = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    left, top, right, bottom = where(index / RATE).pixels(WIDTH, HEIGHT)
    pixels[top:bottom, left:right] = 160
    return Frame.from_rgb(pixels, source=source, index=index, time=index / RATE)


def percept(each: Frame, look: bool) -> Percept:
    if not look:
        return Percept(each.source, each.index, each.time, each.luma)
    seen = (Detection(where(each.time), SCORES),)
    return quantize(Percept(each.source, each.index, each.time, each.luma, each.sha256, WIDTH, HEIGHT, detections=seen))


def spoken(at: float, text: str = "A person crosses.", source: str = "door", **more: object) -> Event:
    times = dict.fromkeys(("t_start", "t_end", "said_at"), at)
    return Event(**{"id": f"{source}{at}", "source": source, "text": text, **times, **more})


def watch(folder: Path, source: str = "door", until: int = SECONDS * RATE) -> None:
    """Every frame admitted, every fifth looked at."""
    with Recording.open(folder) as recording:
        for index in range(until):
            look = index % 5 == 0
            recording.add(each := frame(index, source), percept(each, look), Looks(detect=look))


def pictures(path: Path) -> list[Frame]:
    with open_video(path) as video:
        return list(video.frames())


def captioned(rgb: np.ndarray) -> bool:
    """Whether the bar along the bottom is there."""
    return bool(rgb[-6:, :20].mean() < 60)


def framed(rgb: np.ndarray, box: Box) -> bool:
    """Whether a frame in the colour of persons runs down the box's left edge, give or take two pixels."""
    left, top, _, bottom = box.pixels(WIDTH, HEIGHT)
    column = rgb[top + 8 : bottom - 8, max(0, left - 2) : left + 4].astype(int)
    away = np.abs(column - np.array(colour("person"))).sum(axis=2).min(axis=1)
    return bool(np.median(away) < 120)


class TestAnnotator:
    def test_a_caption_stands_for_its_time_from_the_first_picture_on(self):
        annotator, rgb = Annotator(), frame(0).rgb
        annotator.say(spoken(1.0))
        annotator.say(spoken(1.0, "Opened.", kind=EventKind.SOURCE))
        shown = [time for time in np.arange(0, 8, 0.25) if captioned(annotator.draw(rgb, time))]
        assert shown == list(np.arange(1.0, 1.0 + STAYS, 0.25))

    def test_words_that_come_late_stand_as_long(self):
        annotator, rgb = Annotator(), frame(0).rgb
        annotator.draw(rgb, 5.0)
        annotator.say(spoken(1.0))
        assert [captioned(annotator.draw(rgb, time)) for time in (5.1, 8.0, 8.2)] == [True, True, False]

    def test_long_words_stand_until_they_are_read(self):
        annotator, rgb = Annotator(), frame(0).rgb
        annotator.say(spoken(0.0, "Two people come in from the left and one puts a bottle on the table by the door."))
        assert [captioned(annotator.draw(rgb, time)) for time in (0.0, 4.5, 7.1)] == [True, True, False]

    def test_tells_when_the_captions_change_next(self):
        annotator, rgb = Annotator(), frame(0).rgb
        assert annotator.next_change(0.0) == np.inf
        annotator.say(spoken(2.0))
        assert annotator.next_change(0.0) == 2.0
        annotator.draw(rgb, 2.0)
        assert annotator.next_change(2.0) == 2.0 + STAYS

    def test_text_that_was_read_is_framed_while_it_is_spoken_of(self):
        box = Box(0.6, 0.3, 0.8, 0.5)
        annotator, rgb = Annotator(), frame(0).rgb
        annotator.say(spoken(1.0, evidence=(Evidence(time=1.0, frame="ab", box=box, label="text", text="TAXI"),)))
        left, top, _, bottom = box.pixels(WIDTH, HEIGHT)
        for time, there in ((0.9, False), (1.0, True), (1.9, True), (2.5, False)):
            column = annotator.draw(rgb, time)[top + 5 : bottom - 5, left]
            assert (column == colour("text")).all() == there

    def test_draws_on_a_copy_that_is_not_too_large(self):
        large = np.zeros((2160, 3840, 3), np.uint8)
        drawn = Annotator().draw(large, 0.0)
        assert drawn.shape == (720, SIDE, 3)
        assert not large.any()


class TestLive:
    def test_boxes_and_captions_are_in_the_video_when_they_were_seen_and_said(self, tmp_path):
        perception = Perception(Looks(detect=True))
        with AnnotatedVideo(tmp_path / "out.mp4", ["door"]) as video:
            for index in range(SECONDS * RATE):
                each = frame(index)
                view = perception.update(percept(each, index % 2 == 0))
                if index == 10:
                    video.say(spoken(1.0))
                video.see(each, view)
        out = pictures(tmp_path / "out.mp4")
        assert [each.time for each in out] == pytest.approx([index / RATE for index in range(SECONDS * RATE)], abs=0.002)
        assert [each.index for each in out if captioned(each.rgb)] == list(range(10, 40))
        settled = out[25:]
        assert sum(framed(each.rgb, where(each.time)) for each in settled) >= 0.9 * len(settled)
        assert not framed(out[30].rgb, where(0.0))

    def test_objects_that_a_look_no_longer_sees_are_not_drawn(self, tmp_path):
        track = Track(1, "person", 0.9, where(0.0), 0.0, 0.0, settled=True)
        unsettled = replace(track, id=2, box=Box(0.6, 0.3, 0.8, 0.6), settled=False)
        with AnnotatedVideo(tmp_path / "out.mp4", ["door"]) as video:
            for index in range(15):
                video.see(each := frame(index), View(percept(each, look=True), 0.0, tracks=(track, unsettled)))
        shown = [each.index for each in pictures(tmp_path / "out.mp4") if framed(each.rgb, where(0.0))]
        assert shown == list(range(7))
        assert not any(framed(each.rgb, unsettled.box) for each in pictures(tmp_path / "out.mp4"))

    def test_several_sources_have_a_file_each(self, tmp_path):
        names = ["front door", "front/door", "yard", ""]
        with AnnotatedVideo(tmp_path / "out.mp4", names) as video:
            for name in names[:3]:
                video.see(each := frame(0, name), View(percept(each, look=True), 0.0))
        made = sorted(path.name for path in tmp_path.iterdir())
        assert made == ["out-1-front-door.mp4", "out-2-front-door.mp4", "out-3-yard.mp4"]
        assert video.paths["yard"].name == "out-3-yard.mp4"

    def test_what_cannot_be_written_is_refused_before_anything_is_watched(self, tmp_path):
        (tmp_path / "in.mp4").write_bytes(b"video")
        with pytest.raises(Refusal, match="very video that is being watched"):
            AnnotatedVideo(tmp_path / "in.mp4", ["door"], inputs=[tmp_path / "in.mp4"])
        with pytest.raises(Refusal, match=r"name it \.mp4"):
            AnnotatedVideo(tmp_path / "out.txt", ["door"])

    def test_a_video_that_breaks_is_given_up_and_the_watch_goes_on(self, tmp_path, monkeypatch, caplog):
        def full(*_: object) -> None:
            raise Refusal("out.mp4", "the disk is full", "free some space")

        with AnnotatedVideo(tmp_path / "out.mp4", ["door"]) as video:
            view = View(percept(frame(0), look=True), 0.0)
            video.see(frame(0), view)
            monkeypatch.setattr(VideoWriter, "write", full)
            for index in range(1, 5):
                video.see(frame(index), view)
        assert caplog.messages == ["the video is given up: out.mp4: the disk is full; free some space"]
        assert list(tmp_path.iterdir()) == []


class TestMotion:
    def test_between_two_looks_a_box_goes_straight_from_one_to_the_other(self, tmp_path):
        watch(tmp_path)
        with Recording.open(tmp_path, write=False) as recording:
            motion = Motion(views(recording, "door"))
            for time in np.arange(0, SECONDS - 0.5, 0.1):
                tracks = motion.at(float(time))
                assert len(tracks) == 1 or time < 1.5
                for track in tracks:
                    assert track.box == pytest.approx(where(time), abs=0.004)
                    assert track.label == "person"


class TestExport:
    @pytest.fixture
    def run(self, tmp_path):
        watch(tmp_path)
        with Timeline.open(tmp_path) as timeline, Recording.open(tmp_path, write=False) as recording:
            timeline.add(spoken(2.2))
            yield timeline, recording, tmp_path

    def test_is_made_of_the_recorded_pictures_each_standing_until_the_next(self, run):
        timeline, recording, folder = run
        annotated_video(timeline, recording, folder / "out.mp4")
        out = pictures(folder / "out.mp4")
        looked = [index / 2 for index in range(2 * SECONDS)]
        changes = [2.2, 2.5 + STAYS - 0.3]  # the caption comes and goes between two looks
        assert [each.time for each in out] == pytest.approx(sorted({*looked, *changes}), abs=0.002)
        assert [each.time for each in out if captioned(each.rgb)] == pytest.approx([2.2, 2.5, 3, 3.5, 4, 4.5, 5], abs=0.002)
        late = [each for each in out if each.time in looked and each.time >= 2]
        assert all(framed(each.rgb, where(each.time)) for each in late)

    def test_is_drawn_on_the_watched_file_at_its_full_rate(self, run):
        timeline, recording, folder = run
        with VideoWriter(folder / "in.mp4", WIDTH, HEIGHT, RATE) as writer:
            for index in range(SECONDS * RATE):
                writer.write(frame(index).rgb, index / RATE)
        info = RunInfo(sources=(SourceInfo.of_file("door", folder / "in.mp4"),), started="2026-01-01T00:00:00Z")
        timeline.start(info)
        annotated_video(timeline, recording, folder / "out.mp4", video=folder / "in.mp4")
        out = pictures(folder / "out.mp4")
        assert len(out) == SECONDS * RATE
        settled = out[20:56]
        assert sum(framed(each.rgb, where(each.time)) for each in settled) >= 0.9 * len(settled)
        assert [each.index for each in out if captioned(each.rgb)] == list(range(22, 52))
        with pytest.raises(Refusal, match="very video that is being watched"):
            annotated_video(timeline, recording, folder / "in.mp4", video=folder / "in.mp4")
        (folder / "other.mp4").write_bytes((folder / "in.mp4").read_bytes() + b"x")
        with pytest.raises(Refusal, match="not the file that door was watched from"):
            annotated_video(timeline, recording, folder / "out.mp4", video=folder / "other.mp4")

    def test_words_after_the_last_picture_are_still_shown(self, run):
        timeline, recording, folder = run
        timeline.add(spoken(8.0, "The end."))
        annotated_video(timeline, recording, folder / "out.mp4")
        assert [captioned(each.rgb) for each in pictures(folder / "out.mp4")[-2:]] == [True, False]

    def test_a_damaged_picture_is_refused_in_one_line(self, run):
        timeline, recording, folder = run
        with sqlite3.connect(folder / "recording.sqlite") as other:
            other.execute("UPDATE pictures SET jpeg = substr(jpeg, 1, 300) WHERE time = 2.0")
        with pytest.raises(Refusal, match=r"the picture of door at 0:02\.0 is damaged; name the file"):
            annotated_video(timeline, recording, folder / "out.mp4")
        assert not (folder / "out.mp4").exists()

    def test_one_source_must_be_named_when_there_are_several(self, run):
        timeline, recording, folder = run
        timeline.add(spoken(1.0, source="yard"))
        with pytest.raises(Refusal, match="door, yard; name one with --source"):
            annotated_video(timeline, recording, folder / "out.mp4")
        with pytest.raises(Refusal, match="no picture of yard is kept"):
            annotated_video(timeline, recording, folder / "out.mp4", source="yard")
        with pytest.raises(Refusal, match="no pictures were recorded"):
            annotated_video(timeline, None, folder / "out.mp4", source="door")
        assert not (folder / "out.mp4").exists()
        annotated_video(timeline, recording, folder / "out.mp4", source="door")
        assert (folder / "out.mp4").exists()
