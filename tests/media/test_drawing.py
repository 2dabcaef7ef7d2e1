import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serval.media.box import Box
from serval.media.drawing import (
    CAPTIONS_SHARE,
    WHITE,
    Marked,
    draw_boxes,
    draw_captions,
    draw_note,
    letter_height,
    text_width,
    wrap,
)

ORANGE = (255, 180, 84)
SIZES = [(320, 240), (640, 480), (1280, 720), (720, 1280), (1920, 1080), (3840, 2160)]


def grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def changed(picture: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of all that is no longer grey."""
    ys, xs = np.nonzero((picture != 128).any(axis=2))
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


@pytest.mark.parametrize("width, height", SIZES)
def test_a_box_lies_on_its_edges_and_leaves_what_is_inside(width, height):
    picture = grey(width, height)
    box = Box(0.25, 0.25, 0.75, 0.75)
    draw_boxes(picture, [Marked(box, "", ORANGE)])
    left, top, right, bottom = box.pixels(width, height)
    middle_x, middle_y = width // 2, height // 2
    for x, y in ((left, middle_y), (right - 1, middle_y), (middle_x, top), (middle_x, bottom - 1)):
        assert tuple(picture[y, x]) == ORANGE
    margin = min(width, height) // 20
    assert (picture[top + margin : bottom - margin, left + margin : right - margin] == 128).all()
    assert (picture[: top - margin] == 128).all()


@pytest.mark.parametrize("box", [Box(0.3, 0.5, 0.6, 0.9), Box(0.0, 0.0, 1.0, 1.0), Box(0.9, 0.0, 1.0, 0.2)])
@pytest.mark.parametrize("width, height", SIZES)
def test_a_label_stays_in_the_picture_and_can_be_read(width, height, box):
    with_label, without = grey(width, height), grey(width, height)
    draw_boxes(with_label, [Marked(box, "person 0.93", ORANGE)])
    draw_boxes(without, [Marked(box, "", ORANGE)])
    ys, xs = np.nonzero((with_label != without).any(axis=2))
    assert np.ptp(ys) + 1 >= 9
    assert np.ptp(xs) + 1 >= text_width("person 0.93", letter_height(with_label, 0.03)) * 0.9
    ink = (with_label < 60).all(axis=2) & (without >= 60).any(axis=2)
    assert ink.sum() > 60  # dark letters on the plate


def test_a_label_is_not_hidden_by_the_frame_of_another_box():
    one, two = Marked(Box(0.2, 0.5, 0.6, 0.9), "person", ORANGE), Marked(Box(0.1, 0.2, 0.7, 0.48), "", (1, 2, 3))
    picture, alone = grey(640, 480), grey(640, 480)
    draw_boxes(picture, [one, two])
    draw_boxes(alone, [one])
    plate = (alone[: int(0.49 * 480)] == ORANGE).all(axis=2)
    assert plate.sum() > 300
    assert (picture[: int(0.49 * 480)][plate] == ORANGE).all()


@pytest.mark.parametrize("width, height", SIZES)
def test_captions_are_large_enough_white_and_keep_to_the_bottom(width, height):
    picture = grey(width, height)
    draw_captions(picture, ["Two people come in from the left; one puts a bottle on the table.", "A person leaves."])
    left, top, right, bottom = changed(picture)
    assert (left, right, bottom) == (0, width, height)
    assert top >= height * (1 - CAPTIONS_SHARE) - 1
    assert (picture == WHITE).all(axis=2).sum() > width * height / 2000
    assert letter_height(picture, 0.05) >= max(12, min(width, height) * 0.0499 - 1)


def test_when_there_are_too_many_captions_the_oldest_go():
    last, all_ = grey(320, 240), grey(320, 240)
    draw_captions(last, ["the newest of them"])
    draw_captions(all_, [f"number {number} " * 12 for number in range(6)] + ["the newest of them"])
    size = letter_height(last, 0.05)
    assert (last[-size:] == all_[-size:]).all()
    assert changed(all_)[1] >= 240 * (1 - CAPTIONS_SHARE) - 1


def test_a_caption_without_end_is_cut():
    picture = grey(320, 240)
    draw_captions(picture, ["word " * 100_000])
    assert changed(picture)[1] >= 240 * (1 - CAPTIONS_SHARE) - 1


def test_nothing_to_say_draws_nothing():
    picture = grey(64, 64)
    draw_captions(picture, ["", " \n\t", "\x1b"])
    draw_note(picture, "")
    assert (picture == 128).all()


@given(st.text(max_size=120), st.integers(20, 900), st.sampled_from([12, 20, 36]))
@example("x" * 120, 30, 12)
@settings(max_examples=80)
def test_lines_fit_and_lose_no_letter(text, width, size):
    lines = wrap(" ".join(text.split()), width, size)
    assert all(text_width(line, size) <= width or len(line) == 1 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_markup_and_orders_are_only_pixels():
    plain, marked = grey(640, 120), grey(640, 120)
    draw_captions(plain, ["stop"])
    draw_captions(marked, ["<b>stop</b> %n {0} \\N"])
    assert (plain != marked).any()
    hidden = grey(640, 120)
    draw_captions(hidden, ["\x1b\u202e st\u2060op \x00\n".replace(" st\u2060op", "stop")])
    assert (hidden == plain).all()


edges = st.floats(-0.5, 1.5)


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.text(max_size=40),
    st.tuples(edges, edges, edges, edges),
)
@example(1, 1, "person", (0.0, 0.0, 1.0, 1.0))
@example(2, 90, "你好 Grüße שלום \U0001f695 \ud800", (1.4, 1.4, -0.4, -0.4))
@settings(max_examples=120)
def test_any_size_text_and_box_can_be_drawn(width, height, text, corners):
    guard = np.full((height + 20, width, 3), 7, np.uint8)  # rows of memory before and after, which must stay
    picture = guard[10:-10]
    draw_boxes(picture, [Marked(Box(*corners), text, ORANGE)])
    draw_captions(picture, [text, text])
    draw_note(picture, text)
    assert (guard[:10] == 7).all()
    assert (guard[-10:] == 7).all()
