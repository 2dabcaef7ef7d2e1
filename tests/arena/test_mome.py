"""How answers about pictures are scored, and which tower was needed."""

import pytest
import torch

from serval.arena.mome import CODES, GROUPS, _codes, _needed, _new
from serval.arena.questions import score_answers
from serval.data.worlds.shapes import make
from serval.systems.experts.shape_questions import from_views, pieces, words

ITEMS = make(1, 6, GROUPS, (2, 3))


def ids(text):
    return words().encode(pieces(text))


def of(group):
    return [each for each in ITEMS if each.group == group]


def test_right_answers_are_all_of_it():
    found = score_answers(ITEMS, [ids(each.answer) for each in ITEMS])
    assert found == dict.fromkeys((*GROUPS, "mean"), pytest.approx(100))


def test_wrong_answers_are_none_of_it_and_half_right_ones_half():
    assert score_answers(ITEMS, [ids("Which")] * len(ITEMS))["mean"] == 0
    assert score_answers(ITEMS, [[]] * len(ITEMS))["mean"] == 0
    some = of("general")
    first = [ids(each.answer.split(",")[0]) for each in some]
    expected = sum(200 / (1 + len(each.scene.things)) for each in some) / len(some)
    assert score_answers(some, first)["general"] == pytest.approx(expected)
    lines = of("document")
    begun = [ids(each.answer[:1]) for each in lines]
    expected = sum(100 / len(each.answer) for each in lines) / len(lines)
    assert score_answers(lines, begun)["document"] == pytest.approx(expected)
    longer = [ids(each.answer + "A") for each in lines]
    assert score_answers(lines, longer)["document"] < 100


def test_a_box_in_another_cell_is_wrong():
    asked = of("rec")
    boxes = [ids(each.answer) for each in asked]
    elsewhere = [next(other for other in boxes if other != each) for each in boxes]
    assert score_answers(asked, elsewhere)["rec"] == 0


def test_codes_contradict_each_other():
    items = _codes(0, 1)[: 2 * CODES]
    assert len({each.answer for each in items[:CODES]}) == CODES and len({each.scene for each in items[:CODES]}) == 1
    said = [ids(items[0].answer)] * CODES
    assert score_answers(items[:CODES], said)["mean"] == pytest.approx(100 / CODES)


def test_the_needed_tower_is_the_one_that_adds_most():
    model = _new(0, {})
    with torch.no_grad():
        model.bank.mixer.layers[2].weight.zero_()
        model.bank.mixer.layers[2].bias.copy_(torch.tensor([0.0, 60.0, 0.0]))  # always the second
    questions = [from_views(each) for each in ITEMS]
    assert _needed(model, ITEMS, questions) == pytest.approx(100 / 3)
    assert _needed(model, of("rec"), [from_views(each) for each in of("rec")]) == 100
