"""What the palm and face detectors share: the padded square and the way back, anchors, weighted suppression."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.encoders.ssd import Letterbox, anchors, clipped, decode
from serval.media.box import Box


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([128, 192]))
def test_the_square_holds_the_picture_in_its_middle_and_knows_the_way_back(width, height, size):
    square = Letterbox.of(np.full((height, width, 3), 255, np.uint8), size)
    assert square.picture.shape == (size, size, 3)
    rows, columns = np.flatnonzero(square.picture.any((1, 2))), np.flatnonzero(square.picture.any((0, 2)))
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float32) / size
    back = square.back(corners)
    half_a_pixel = 0.51 * square.scale / size  # the picture may lie half a pixel off the middle
    assert (np.abs(back - [[0, 0], [1, 1]]) <= half_a_pixel).all()


def test_a_wide_picture_keeps_its_proportions():
    square = Letterbox.of(np.full((90, 160, 3), 255, np.uint8), 192)
    assert square.picture.any(2).sum() == 192 * 108
    assert square.scale == pytest.approx([1, 192 / 108])


def test_anchors_are_the_centres_of_the_cells_row_by_row():
    centers = anchors(((2, 2), (1, 1)))
    expected = [(0.25, 0.25)] * 2 + [(0.75, 0.25)] * 2 + [(0.25, 0.75)] * 2 + [(0.75, 0.75)] * 2 + [(0.5, 0.5)]
    assert centers.tolist() == [list(each) for each in expected]
    assert len(anchors(((24, 2), (12, 6)))) == 2016 and len(anchors(((48, 1),))) == 2304


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def test_overlapping_candidates_are_averaged_by_score_and_others_kept_apart():
    centers = np.array([[0.3, 0.5], [0.3, 0.5], [0.8, 0.5], [0.5, 0.5]], np.float32)
    regressors = np.array(  # pixels of 100: centre offset, size, one point
        [[0, 0, 20, 20, 1, 2], [4, 0, 20, 20, 5, 2], [0, 0, 10, 10, 0, 0], [0, 0, 20, 20, 0, 0]], np.float32
    )
    logits = np.array([[logit(0.9)], [logit(0.6)], [logit(0.7)], [logit(0.4)]], np.float32)
    first, second = decode(regressors, logits, centers, 100, enter=0.5)
    assert first.score == pytest.approx(0.9) and second.score == pytest.approx(0.7)
    middle = 0.30 + 0.04 * 0.6 / 1.5
    assert first.box == pytest.approx([middle - 0.1, 0.4, middle + 0.1, 0.6])
    assert first.points == pytest.approx(np.array([[middle + 0.01, 0.52]]))
    assert second.box == pytest.approx([0.75, 0.45, 0.85, 0.55])


def test_no_candidate_and_extreme_numbers_are_no_error():
    centers, regressors = anchors(((2, 1),)), np.zeros((4, 6), np.float32)
    assert decode(regressors, np.full((4, 1), -1e9, np.float32), centers, 100, enter=0.5) == []
    with np.errstate(all="raise"):
        found = decode(regressors, np.full((4, 1), 1e9, np.float32), centers, 100, enter=0.5)
    assert [each.score for each in found] == [1.0] * 4  # boxes without area overlap with nothing


def test_boxes_end_at_the_picture():
    assert clipped(np.array([[-0.5, 0.25], [1.5, 0.75]], np.float32)) == Box(0.0, 0.25, 1.0, 0.75)
