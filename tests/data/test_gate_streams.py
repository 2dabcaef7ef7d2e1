"""What the gate is taught with: what is due is what happens, later where it must last, and never of what is held out."""

from dataclasses import replace

import numpy as np
import pytest

from serval.assistant.gates.learned.reader import FRAME, INSTRUCTION
from serval.data import gate_data, gate_streams
from serval.data.gate_streams import (
    CHOOSING_PHRASES,
    FPS,
    MEASURED,
    OTHER_PHRASES,
    PHRASES,
    SHORT,
    STAY,
    TAIL,
    Stream,
    asked,
    streams,
)
from serval.data.worlds.cast import Sprite
from serval.data.worlds.photo_split import CAST, cast_of
from serval.data.worlds.photo_world import Actor, PhotoWorld, Truth
from serval.encoders.percept import Detection, Percept
from serval.media.box import Box

DOG = Sprite("dog", "dog", np.full((20, 12, 4), 200, np.uint8), 0.4)


def world(name, *truth, seconds=30.0, actors=()):
    return PhotoWorld(name, np.full((36, 64, 3), 90, np.uint8), actors, truth, seconds)


def visit(label, comes, leaves):
    return Truth("appears", comes, label, ""), Truth("leaves", leaves, label, "")


def due(stream, kind, label=""):
    return next((each.due for each in asked(stream) if (each.kind, each.label) == (kind, label)), None)


class TestAsked:
    STREAM = Stream("s", (world("street-1", *visit("dog", 4, 14), *visit("car", 8, 11), *visit("dog", 20, 23)),))

    def test_each_thing_when_it_happens(self):
        assert due(self.STREAM, "appears", "dog") == (4, 20) and due(self.STREAM, "leaves", "car") == (11,)
        assert due(self.STREAM, "appears") == (4, 8, 20)

    def test_what_stays_is_due_when_it_has_and_not_if_it_left(self):
        assert due(self.STREAM, "stays", "dog") == (4 + STAY,) and due(self.STREAM, "stays", "car") == ()

    def test_what_comes_again_is_due_from_the_second_time_on(self):
        assert due(self.STREAM, "again", "dog") == (20,) and due(self.STREAM, "again", "car") == ()

    def test_what_is_not_there_is_asked_for_in_vain(self):
        made = asked(self.STREAM, absent=("cat", "dog"))
        assert [each.due for each in made if each.label == "cat"] == [()]
        assert all(each.due for each in made if each.label == "dog" and each.kind in ("appears", "leaves"))

    def test_a_cut_is_a_new_scene_and_ends_a_stay(self):
        standing = Actor(DOG, ((-1.0, 0.5, 0.9), (99.0, 0.5, 0.9)))
        first = world("street-1", *visit("car", 5, 99), seconds=10.0)
        stream = Stream("s", (first, world("nothing-1", actors=(standing,))))
        assert due(stream, "scene") == (0.0, 10.0) and due(stream, "appears", "dog") == (10.0,)
        assert due(stream, "stays", "car") == ()
        frames = list(Stream("s", (replace(first, seconds=1.0),) * 2).frames())
        assert [frame.index for frame in frames] == list(range(16)) and frames[8].time == 1.0

    def test_wordings_are_drawn_by_the_seed_and_tests_have_their_own(self):
        texts = [[each.text for each in asked(self.STREAM, seed=seed)] for seed in (0, 0, 1)]
        assert texts[0] == texts[1] != texts[2]
        for kind in PHRASES.keys() - {"scene"}:
            assert len({*PHRASES[kind], *CHOOSING_PHRASES[kind], *OTHER_PHRASES[kind]}) == sum(
                len(phrases[kind]) for phrases in (PHRASES, CHOOSING_PHRASES, OTHER_PHRASES)
            )


@pytest.mark.usefixtures("photos")
class TestStreams:
    def test_share_nothing_with_the_test(self):
        train = streams("train", street=3, table=2, quiet=2, montage=1)
        test = streams("test", street=2, quiet=1)
        assert len(train) == 8 and len(test) == 3
        for side, made in (("train", train), ("test", test)):
            worlds = [each for stream in made for each in stream.worlds]
            assert all(cast_of(each) <= CAST[side] and each.seed not in MEASURED for each in worlds)
        later = streams("train", street=2, first=10_000)
        assert all(world.seed >= 10_000 for each in later for world in each.worlds)
        assert streams("train", street=3)[1].seconds == 50.0 + TAIL and streams("train", street=3)[0].seconds == 50.0

    def test_a_montage_cuts_from_place_to_place(self):
        (montage,) = streams("train", montage=1)
        assert all(each.seconds == SHORT for each in montage.worlds) and len(montage.worlds) > 3
        assert all(a.background is not b.background for a, b in zip(montage.worlds, montage.worlds[1:], strict=False))


class Looker:
    """Sees a dog wherever it looks."""

    def __init__(self):
        self.models = {}

    def look(self, frame, looks):
        scores = np.full(80, 0.01, np.float32)
        scores[16] = 0.9
        seen = (Detection(Box(0.3, 0.3, 0.6, 0.9), scores),)
        feature = np.ones(1280, np.float32)
        return Percept(frame.source, frame.index, frame.time, frame.luma, feature=feature, detections=seen, hands=(), text=())


def test_a_watched_stream_is_kept_for_all_that_is_asked_of_it(monkeypatch):
    stream = Stream("s", (world("street-1", *visit("dog", 1, 3), seconds=4.0),))
    (kept,) = gate_data.watched([stream], Looker())
    made = asked(stream, absent=gate_data.NOT_THERE)
    moments = len(kept["times"])
    assert 8 <= moments <= 4 * FPS and kept["frames"].shape == (len(made), moments, FRAME)
    assert kept["blank"].shape == (moments, FRAME)
    assert kept["instructions"].shape == (len(made), INSTRUCTION)
    for row, each in zip(kept["due"], made, strict=True):
        assert row[row.isfinite()].tolist() == pytest.approx(each.due)
    assert (kept["times"].diff() > 0).all() and kept["times"].diff().max() <= 0.63


def test_latent_streams_are_due_when_their_oracle_says():
    made = gate_data.latent(3, 2)
    assert [each["due"].shape[0] for each in made] == [1, 1] and made[0]["frames"].shape == (1, 60, 128)
    assert all(moment in made[0]["times"] for moment in made[0]["due"][0])


def test_written_streams_are_read_by_the_recipe(tmp_path):
    from serval.training.recipes.gate import streams as read
    from serval.weights.checkpoint import SafetensorsCheckpoint

    stream = Stream("s", (world("street-1", *visit("dog", 1, 3), seconds=4.0),))
    gate_data.write(
        tmp_path / "data.safetensors",
        {"watched": list(gate_data.watched([stream], Looker())), "latent": gate_data.latent(0, 2)},
    )
    file = SafetensorsCheckpoint(tmp_path / "data.safetensors")
    (watched,) = read(file, "watched")
    assert len(watched) == len(asked(stream, absent=gate_data.NOT_THERE)) and len(list(read(file, "latent"))) == 2
    assert gate_streams.FPS == 8.0
