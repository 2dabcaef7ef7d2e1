"""Scenes of shapes: the picture shows what the notes say, each view keeps one thing, and each question needs it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serval.data.boxes import parse_box
from serval.data.worlds.shapes import (
    CELL,
    COLOURS,
    GLYPH,
    GLYPHS,
    GRID,
    GROUPS,
    HEIGHT,
    SHAPES,
    WIDTH,
    Thing,
    corrupt_tags,
    make,
    make_contradictory,
    oracle,
)

ITEMS = make(0, 100)
SCENES = [item.scene for item in ITEMS[:: len(GROUPS)]]


def test_the_oracle_is_always_right():
    assert all(oracle(item) == item.answer for item in [*ITEMS, *make_contradictory(0, 50)])


def test_every_scene_is_asked_once_in_each_group():
    assert [item.group for item in ITEMS] == list(GROUPS) * 100
    assert all(len({id(item.scene) for item in ITEMS[start : start + 4]}) == 1 for start in range(0, 400, 4))
    assert [item.group for item in make(0, 2, ("rec", "document"))] == ["rec", "document"] * 2
    with pytest.raises(ValueError, match="group"):
        make(0, 1, ("captions",))


def test_scenes_are_what_they_are_said_to_be():
    assert {len(scene.things) for scene in SCENES} == {2, 3, 4}
    for scene in SCENES:
        assert len({thing.shape for thing in scene.things}) == len(scene.things)
        assert len({(thing.row, thing.column) for thing in scene.things}) == len(scene.things)
        assert len(scene.lines) in (1, 2) and len({len(line) for line in scene.lines}) == 1
        assert len(scene.lines) != len(scene.lines[0]) and 3 <= len(scene.lines[0]) <= 8
    counts = [sum(thing.colour == colour for scene in SCENES for thing in scene.things) for colour in COLOURS]
    assert min(counts) > 25 and sum(counts) > 250


class TestPictures:
    def test_things_fill_their_boxes_to_the_pixel_in_their_colours(self):
        for scene in SCENES[:30]:
            picture = scene.picture(noise=0)
            assert picture.shape == (HEIGHT, WIDTH, 3)
            seen = np.zeros((HEIGHT, WIDTH), bool)
            for thing in scene.things:
                cell = np.zeros_like(seen)
                cell[thing.row * CELL : (thing.row + 1) * CELL, thing.column * CELL : (thing.column + 1) * CELL] = True
                mine = cell & (picture == COLOURS[thing.colour]).all(-1)
                rows, columns = np.where(mine)
                found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                assert found == pytest.approx([each * side for each, side in zip(thing.box, (WIDTH, HEIGHT) * 2, strict=True)])
                seen |= mine
            assert (picture[: GRID * CELL][~seen[: GRID * CELL]] == 128).all()

    def test_shapes_can_be_told_apart_by_their_outlines(self):
        outlines = {}
        for shape in SHAPES:
            scene = replace(SCENES[0], things=(Thing(shape, "red", 0, 0, 12),))
            outlines[shape] = (scene.picture(0)[:CELL, :CELL] == COLOURS["red"]).all(-1)
        for one in SHAPES:
            for other in SHAPES:
                assert one == other or (outlines[one] ^ outlines[other]).sum() >= 12, (one, other)

    def test_the_lines_can_be_read_from_the_pixels(self):
        known = {}
        for letter, rows in GLYPHS.items():
            known[tuple(f"{bits:03b}" for bits in rows)] = letter
        assert len(known) == len(GLYPHS) == 12
        for scene in SCENES[:30]:
            dark = (scene.picture(0)[GRID * CELL :] == 0).all(-1)
            for row, line in enumerate(scene.lines):
                read = ""
                for column in range(len(line)):
                    cell = dark[row * GLYPH : row * GLYPH + 5, column * GLYPH + 1 : column * GLYPH + 4]
                    read += known[tuple("".join(map(str, bits)) for bits in cell.astype(int))]
                assert read == line

    def test_noise_is_as_strong_as_asked(self):
        still, noisy = SCENES[0].picture(0).astype(float), SCENES[0].picture(6.0).astype(float)
        grey = (still == 128).all(-1)
        assert np.std((noisy - still)[grey]) == pytest.approx(6.0, rel=0.05)


class TestViews:
    """Each of MoME's three towers knows what one group needs, and nothing of what the others need."""

    def test_things_can_be_named_from_what_alone(self):
        for scene in SCENES[:40]:
            what = scene.views()["what"].reshape(-1, len(COLOURS) + len(SHAPES))
            things = what[what[:, : len(COLOURS)].max(1) > 0.5]
            colours, shapes = things[:, : len(COLOURS)].argmax(1), things[:, len(COLOURS) :].argmax(1)
            names = sorted(f"{list(COLOURS)[c]} {SHAPES[s]}" for c, s in zip(colours, shapes, strict=True))
            assert tuple(names) == scene.tags

    def test_what_does_not_know_where(self):
        scene = SCENES[0]
        elsewhere = tuple(replace(thing, row=GRID - 1 - thing.row, column=(thing.column + 1) % GRID) for thing in scene.things)
        moved = replace(scene, things=elsewhere)
        assert (moved.views()["what"] == scene.views()["what"]).all()
        assert not np.allclose(moved.views()["where"], scene.views()["where"])

    def test_what_stands_in_cells_that_say_nothing(self):
        same = agreed = 0
        for scene in SCENES:
            what = scene.views()["what"]
            for thing in scene.things:
                agreed += what[thing.row, thing.column, len(COLOURS) + SHAPES.index(thing.shape)] > 0.5
                same += 1
        assert agreed / same < 3 / 16  # chance is one cell of sixteen

    def test_boxes_can_be_found_from_where_alone(self):
        for item in ITEMS:
            if item.group == "rec":
                where = item.scene.views()["where"]
                rows, columns = np.where(where[..., SHAPES.index(item.instruction.rstrip("?").split()[-1])] > 0.5)
                thing = next(each for each in item.scene.things if each.box == item.box)
                assert (rows.min() // 2, columns.min() // 2) == (thing.row, thing.column) and len(rows) == 4
                assert parse_box(item.answer).iou(item.box) > 0.99

    def test_where_does_not_know_colours(self):
        scene = SCENES[0]
        painted = replace(scene, things=tuple(replace(thing, colour="red") for thing in scene.things))
        assert (painted.views()["where"] == scene.views()["where"]).all()
        assert not np.allclose(painted.views()["what"], scene.views()["what"])

    def test_lines_can_be_read_from_glyphs_alone_on_a_grid_of_their_shape(self):
        for scene in SCENES[:40]:
            glyphs = scene.views()["glyphs"]
            assert glyphs.shape == (len(scene.lines), len(scene.lines[0]), len(GLYPHS) + 2)
            read = tuple("".join(list(GLYPHS)[each] for each in row) for row in glyphs[..., : len(GLYPHS)].argmax(-1))
            assert read == scene.lines

    def test_only_glyphs_knows_the_lines(self):
        scene = SCENES[0]
        other = replace(scene, lines=tuple(line[::-1] for line in scene.lines))
        assert all((other.views()[name] == scene.views()[name]).all() for name in ("what", "where"))
        assert not np.allclose(other.views()["glyphs"], scene.views()["glyphs"])


class TestBlind:
    def test_who_cannot_see_positions_finds_no_boxes(self):
        from serval.evaluation.referring import score_boxes

        asked = [item for item in ITEMS if item.group == "rec"]
        always = score_boxes([asked[0].answer] * len(asked), [item.box for item in asked])
        assert always.accuracy < 0.2 and score_boxes([oracle(item) for item in asked], [i.box for i in asked]).accuracy == 1.0

    def test_who_does_not_read_the_instruction_is_right_once_in_three(self):
        items = make_contradictory(1, 60)
        assert all(len({item.answer for item in items[start : start + 3]}) == 3 for start in range(0, 180, 3))
        seen = [max(SHAPES, key=lambda shape, of=item: shape == of.scene.things[0].shape) for item in items]
        assert np.mean([guess == item.answer for guess, item in zip(seen, items, strict=True)]) == pytest.approx(1 / 3)


class TestTags:
    def test_none_and_all(self):
        for scene in SCENES:
            assert corrupt_tags(scene, 0.0) == scene.tags
            assert not set(corrupt_tags(scene, 1.0)) & set(scene.tags) and len(corrupt_tags(scene, 1.0)) == len(scene.tags)

    def test_the_share_is_as_asked_and_grows_by_more_of_the_same(self):
        wrong = {share: [] for share in (0.3, 0.6)}
        for scene in SCENES:
            for share, found in wrong.items():
                found += [(tag, new) for tag, new in zip(scene.tags, corrupt_tags(scene, share), strict=True)]
        for share, found in wrong.items():
            assert np.mean([tag != new for tag, new in found]) == pytest.approx(share, abs=0.08)
        assert all(few in (many, (few[0], few[0])) for few, many in zip(wrong[0.3], wrong[0.6], strict=True))
