"""The two sides of the photo world share nothing that can be seen. Plain stand-ins take the photographs' places here."""

from __future__ import annotations

from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from serval.data.worlds import photo_split, scripts
from serval.data.worlds.cast import STREET, STREET_BACKGROUNDS, TABLE, TABLE_BACKGROUNDS, Sprite
from serval.data.worlds.photo_split import CAST, PLACES, cast_of, make, place_of, scenes, tasks


@pytest.fixture(autouse=True, scope="module")
def stand_ins():
    """Every cut-out a plain rectangle, and every place a plain wall, each of a colour of its own."""
    stamps = [*STREET, *TABLE]

    @cache
    def sprite(stamp):
        label, height = {**STREET, **TABLE}[stamp]
        return Sprite(Path(stamp).stem, label, np.full((20, 12, 4), (9 * stamps.index(stamp), 99, 0, 255), np.uint8), height)

    @cache
    def background(name, width, height):
        number = [*STREET_BACKGROUNDS, *TABLE_BACKGROUNDS].index(name)
        return np.full((height, width, 3), 30 * number, np.uint8)

    @cache
    def hand():
        return Sprite("hand", "hand", np.full((10, 30, 4), (230, 180, 150, 255), np.uint8), 0.38)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts, "sprite", sprite)
        patch.setattr(scripts, "hand", hand)
        patch.setattr(scripts, "background", background)
        patch.setattr(photo_split, "background", background)
        yield


@pytest.fixture(scope="module")
def made():
    """Thirty scenes of each kind and side."""
    kinds = {"train": ("street", "table", "nothing"), "test": ("street", "nothing")}
    return {side: {kind: list(islice(scenes(side, kind), 30)) for kind in its} for side, its in kinds.items()}


def everything(made, side):
    return [world for worlds in made[side].values() for world in worlds]


def seen(worlds):
    """Everything in scenes that was cut out or photographed, by its pixels."""
    cut_outs = {actor.sprite.rgba.tobytes() for world in worlds for actor in world.actors if actor.sprite.name != "pillar"}
    return cut_outs, {world.background.tobytes() for world in worlds}


def test_no_cut_out_and_no_place_is_on_both_sides(made):
    train, test = everything(made, "train"), everything(made, "test")
    for one, other in zip(seen(train), seen(test), strict=True):
        assert one and other and not one & other


def test_the_lists_share_nothing_and_leave_nothing_out():
    assert not CAST["train"] & CAST["test"] and not set(PLACES["train"]) & set(PLACES["test"])
    words = {f"sign {word}" for word in scripts.WORDS}
    assert CAST["train"] | CAST["test"] == {Path(stamp).stem for stamp in (*STREET, *TABLE)} | words | {"hand"}
    assert set(PLACES["train"]) | set(PLACES["test"]) == {*STREET_BACKGROUNDS, *TABLE_BACKGROUNDS}


def test_views_of_one_street_are_on_one_side():
    assert ("leuvenA.jpg" in PLACES["train"]) == ("leuvenB.jpg" in PLACES["train"])


def test_each_scene_is_of_its_side_and_kinds_take_turns(made):
    for side in ("train", "test"):
        assert all(cast_of(world) <= CAST[side] and place_of(world) in PLACES[side] for world in everything(made, side))
        expected = [world.name for turn in zip(*made[side].values(), strict=True) for world in turn]
        assert [world.name for world in make(side, 6)] == expected[:6]


def test_the_whole_cast_of_each_side_appears(made):
    for side in ("train", "test"):
        assert set().union(*map(cast_of, everything(made, side))) == CAST[side]


def test_something_happens_nearly_as_often_as_in_the_scripts(made):
    free = np.mean([len(scripts.street(seed, 60.0).truth) for seed in range(60)])
    for side in ("train", "test"):
        kept = np.mean([len(world.truth) for world in made[side]["street"]])
        assert 0.6 * free < kept < 1.1 * free


def test_the_same_scenes_every_time_and_others_from_another_start():
    names = [[world.name for world in make("train", 9, start=start)] for start in (0, 0, 1000)]
    assert names[0] == names[1] and not set(names[0]) & set(names[2])
    times = [truth.time for world in make("train", 9) for truth in world.truth]
    assert times == [truth.time for world in make("train", 9) for truth in world.truth] and times


def test_what_one_side_cannot_have():
    with pytest.raises(ValueError, match="kind"):
        next(scenes("test", "table"))


def test_a_place_that_nobody_knows():
    [world] = make("train", 1)
    strange = type(world)("room", np.zeros((9, 9, 3), np.uint8), (), (), 1.0)
    with pytest.raises(ValueError, match="room"):
        place_of(strange)


class TestTasks:
    def test_each_is_worth_saying_what_it_asks_for(self, made):
        for world in everything(made, "train"):
            asked = tasks(world, absent=("zebra",))
            assert asked[0].due == world.truth and asked[-1].due == tuple(t for t in world.truth if t.kind == "text")
            inner = [task for task in asked[1:-1] if "zebra" not in task.instruction]
            assert all(task.due for task in inner)
            covered = [truth for task in asked[1:] for truth in task.due]
            assert sorted(covered, key=lambda truth: truth.time) == list(world.truth)

    def test_what_is_not_there_makes_silence_right(self):
        [world] = make("train", 1)
        [silent] = [task for task in tasks(world, absent=("zebra",)) if "zebra" in task.instruction]
        assert silent.instruction == "tell me when a zebra comes in" and silent.due == ()

    def test_irrelevant_things_happen_beside_relevant_ones(self, made):
        worlds = [world for world in everything(made, "train") if world.truth]
        shares = [len(task.due) / len(world.truth) for world in worlds for task in tasks(world)[1:]]
        assert np.mean(shares) < 0.6
