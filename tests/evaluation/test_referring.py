from __future__ import annotations

import pytest

from serval.evaluation.referring import first_box, score_boxes
from serval.media.box import Box

BOX = Box(0.2, 0.2, 0.6, 0.6)


def test_half_of_the_union_is_enough() -> None:
    whole, half, less = Box(0.0, 0.0, 0.5, 1.0), "[0.000,0.000,0.250,1.000]", "[0.000,0.000,0.249,1.000]"
    assert score_boxes([half], [whole]).accuracy == 1.0
    assert score_boxes([less], [whole]).accuracy == 0.0
    assert score_boxes([less], [whole], threshold=0.4).accuracy == 1.0


def test_means_over_right_near_far_and_unreadable() -> None:
    texts = ["[0.200,0.200,0.600,0.600]", "It is at [0.2,0.2,0.6,0.5].", "[0.700,0.700,0.900,0.900]", "in the middle"]
    score = score_boxes(texts, [BOX] * 4)
    assert score.accuracy == 0.5 and score.unreadable == 0.25
    assert score.overlap == pytest.approx((1 + 0.75) / 4)


@pytest.mark.parametrize("text", ["", "[]", "[a,b,c,d]", "[0.1,0.2,0.3]", "[0.9,0.1,0.2,0.3]", "[1,2,3,4]", "0.1,0.2,0.3,0.4"])
def test_what_is_no_box(text: str) -> None:
    assert first_box(text) is None


def test_the_first_of_several_counts() -> None:
    assert first_box("Answer: [0.1,0.1,0.2,0.2] or [0.5,0.5,0.6,0.6]") == Box(0.1, 0.1, 0.2, 0.2)


def test_every_box_needs_a_text() -> None:
    with pytest.raises(ValueError, match="one for each"):
        score_boxes([], [BOX])
    with pytest.raises(ValueError, match="at least one"):
        score_boxes([], [])
