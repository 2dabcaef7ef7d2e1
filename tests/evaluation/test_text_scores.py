from __future__ import annotations

import math

import pytest

from serval.evaluation.text_scores import cider_d, exact_match, token_f1, words


def test_words_without_articles_case_and_punctuation() -> None:
    assert words("The  red square, and a Blue-ring!") == ["red", "square", "and", "bluering"]


def test_exact_match() -> None:
    assert exact_match("A red square.", ["blue ring", "red square"]) == 1.0
    assert exact_match("red squares", ["red square"]) == 0.0


@pytest.mark.parametrize(
    ("text", "references", "score"),
    [
        ("red square", ["square red"], 1.0),
        ("red red square", ["red square"], 2 * 2 / 5),
        ("red", ["blue ring", "red square"], 2 / 3),
        ("ring", ["red square"], 0.0),
        ("", ["the"], 1.0),
        ("", ["red"], 0.0),
    ],
)
def test_token_f1(text: str, references: list[str], score: float) -> None:
    assert token_f1(text, references) == pytest.approx(score)


class TestCiderD:
    REFERENCES = (["a red square is here now"], ["two blue rings lie over there"])

    def test_the_reference_itself_is_ten(self) -> None:
        assert cider_d([each[0] for each in self.REFERENCES], self.REFERENCES) == pytest.approx([10.0, 10.0])

    def test_nothing_shared_is_nothing(self) -> None:
        assert cider_d(["green", "purple"], self.REFERENCES) == [0.0, 0.0]

    def test_by_hand(self) -> None:
        # Only unigrams and bigrams exist. "red" is in both references of two: weight log(2 / 2) = 0; others log 2.
        said, references = ["red ring"], ["red square", "red ring"]
        scores = cider_d([*said, "x"], [[references[0]], [references[1]]])
        # unigrams: said {red: 0, ring: log 2}, right {red: 0, square: log 2}: nothing shared has weight; bigrams differ
        assert scores == [0.0, 0.0]
        # against its own reference beside another: both orders are whole, of four
        scores = cider_d(["red ring", "blue box"], [["red ring"], ["red square"]])
        assert scores[0] == pytest.approx(10 * 2 / 4)

    def test_longer_texts_lose_by_the_gaussian_and_clipping(self) -> None:
        whole, longer = cider_d(["p q", "z"], [["p q"], ["r s"]])[0], cider_d(["p q p q", "z"], [["p q"], ["r s"]])[0]
        assert whole == pytest.approx(5.0)
        # unigrams: min(2, 1) of each against 1: 2 / (√8 · √2) = 1/2; bigrams: {p q: 2, q p: 1}: q p has df 0 → log 2 as well:
        # 1 / √5; then exp(-2² / 72)
        expected = 10 * (1 / 2 + 1 / math.sqrt(5)) / 4 * math.exp(-4 / 72)
        assert longer == pytest.approx(expected)

    def test_several_references_are_averaged(self) -> None:
        both = cider_d(["p q", "z"], [["p q", "t u"], ["r s"]])[0]
        assert both == pytest.approx(5.0 / 2)

    def test_a_text_needs_references(self) -> None:
        with pytest.raises(ValueError, match="references"):
            cider_d(["p"], [[]])
