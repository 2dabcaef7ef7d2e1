"""Thumbs: bounded steps, exact undo, and less regret where there is something to learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.gates.gate import Score
from serval.assistant.teaching import thumbs
from serval.assistant.teaching.taste import DOUBT, MOST, STEP, Taste, words_of
from serval.assistant.teaching.thumbs import Thumb
from serval.assistant.view import Change, ChangeKind, View
from serval.encoders.percept import Percept
from serval.media.box import Box
from serval.refusal import Refusal

WORDS = ("appears", "dog", "appears dog", "left edge", "small", "sure", "leaves", "person")
moments = st.tuples(
    st.booleans(), st.floats(0, 1), st.lists(st.sampled_from(WORDS), max_size=6, unique=True).map(tuple)
)  # fmt: skip


def view(score=0.9, side="left"):
    box = Box(0.1, 0.4, 0.2, 0.6)
    change = Change(ChangeKind.APPEARS, 1.0, 0.5, "dog", score, 0, 1, box, side=side, track=1)
    percept = Percept("s", 0, 1.0, np.zeros((36, 64), np.uint8))
    return View(percept, 0.1, changes=(change,)), Score(score, "dog appears", (change,), momentary=True)


def thumb(number, up=False, **other):
    given = {"up": up, "run": "/runs/a", "event": f"e{number}", "asked": "say what happens", "said": "A dog.", "score": 0.9,
             "threshold": 0.35, "words": ("appears", "dog")}  # fmt: skip
    return Thumb(**{**given, **other})


def test_without_thumbs_it_is_the_gate_itself():
    seen, score = view()
    judged = Taste().judged(score, seen, 0.35)
    assert (judged.value, judged.why, judged.because, judged.untuned) == (score.value, score.why, score.because, None)
    assert judged.words == words_of(seen, score.because) and {"appears", "dog", "left edge"} <= set(judged.words)


@given(st.lists(moments, max_size=40), st.lists(st.sampled_from(WORDS), max_size=6, unique=True))
def test_no_thumb_moves_more_than_a_step_and_all_together_no_more_than_the_most(given_thumbs, probe):
    taste = Taste()
    for up, score, words in given_thumbs:
        before = taste.shift(probe)
        taste = taste.after(up, score, 0.35, words)
        assert abs(taste.shift(probe) - before) <= STEP + 1e-9
        assert abs(taste.shift(probe)) <= MOST + 1e-9


@given(st.floats(0, 1), st.lists(st.sampled_from(WORDS), max_size=6, unique=True))
def test_a_thumb_moves_its_own_moment_its_way(score, words):
    assert Taste().after(True, score, 0.35, words).shift(words) > 0 > Taste().after(False, score, 0.35, words).shift(words)


def test_what_hardly_happened_is_not_said_whatever_somebody_likes():
    taste = Taste()
    for _ in range(50):
        taste = taste.after(True, 0.0, 0.35, ())
    seen, _ = view()
    quiet = Score(DOUBT * 0.35 - 0.01, "nothing")
    assert taste.shift(()) > 0.35 and taste.judged(quiet, seen, 0.35) == quiet


def test_a_kind_of_thing_is_silenced_and_the_others_go_on():
    rng, taste = np.random.default_rng(0), Taste()
    mistakes = []
    for _ in range(100):
        dog = bool(rng.integers(2))
        words = ("appears", "dog" if dog else "person", "small" if rng.integers(2) else "large")
        mistakes.append((0.9 + taste.shift(words) >= 0.35) is dog)
        taste = taste.after(not dog, 0.9, 0.35, words)
    assert sum(mistakes[:20]) > 2 >= sum(mistakes[40:])
    assert 0.9 + taste.shift(("appears", "dog", "large")) < 0.35 <= 0.9 + taste.shift(("appears", "person", "large"))


def test_regret_is_sublinear_against_the_best_fixed_taste():
    """Online gradient descent: the mean extra loss over the best weights in hindsight falls like 1/√n."""
    rng = np.random.default_rng(1)
    stream = [(bool(rng.random() < 0.8) is ("dog" not in words), 0.9, words)
              for words in ((rng.choice(["dog", "person"]), rng.choice(["small", "large"])) for _ in range(2000))]  # fmt: skip

    def loss(taste, up, score, words):
        z = 4.0 * (score - 0.35 + taste.shift(words))
        return float(np.log1p(np.exp(-z if up else z)))

    taste, paid = Taste(), []
    for up, score, words in stream:
        paid.append(loss(taste, up, score, words))
        taste = taste.after(up, score, 0.35, words)
    hindsight = taste
    for _ in range(3):
        for up, score, words in stream:
            hindsight = hindsight.after(up, score, 0.35, words)
    best = [loss(hindsight, *each) for each in stream]
    regret = np.cumsum(np.array(paid) - np.array(best))
    assert regret[1999] / 2000 < 0.5 * max(regret[99] / 100, 0.05)


class TestKept:
    def test_undo_restores_bit_for_bit(self, tmp_path):
        states = []
        for number in range(4):
            assert thumbs.add(tmp_path, thumb(number, number % 2 == 0))
            states.append((tmp_path / "thumbs.json").read_bytes())
        for number in (3, 2, 1):
            assert thumbs.undo(tmp_path) == thumb(number, number % 2 == 0)
            assert (tmp_path / "thumbs.json").read_bytes() == states[number - 1]
        thumbs.undo(tmp_path)
        with pytest.raises(Refusal, match="no thumb"):
            thumbs.undo(tmp_path)

    def test_the_same_thumb_counts_once_and_another_mind_replaces_it(self, tmp_path):
        assert thumbs.add(tmp_path, thumb(1)) and not thumbs.add(tmp_path, thumb(1))
        once = thumbs.tastes(thumbs.load(tmp_path))
        assert thumbs.add(tmp_path, thumb(1, up=True))
        assert thumbs.tastes(thumbs.load(tmp_path)) == thumbs.tastes([thumb(1, up=True)])
        thumbs.undo(tmp_path)
        assert thumbs.tastes(thumbs.load(tmp_path)) == once

    def test_instructions_are_told_apart_by_their_words(self):
        assert thumbs.asked_as(" Say  what happens. ") == "say what happens"
        found = thumbs.tastes([thumb(1), thumb(2, asked="tell me when a dog appears", up=True)])
        assert found["say what happens"].shift(("dog",)) < 0 < found["tell me when a dog appears"].shift(("dog",))

    @pytest.mark.parametrize("damage", [b"", b"{", b"\x80\x04K\x01.", b'{"version":1,"thumbs":[{"up":1}]}'])
    def test_damage_is_refused_in_one_line(self, tmp_path, damage):
        thumbs.add(tmp_path, thumb(1))
        (tmp_path / "thumbs.json").write_bytes(damage)
        with pytest.raises(Refusal) as refused:
            thumbs.load(tmp_path)
        assert "\n" not in str(refused.value)

    def test_the_list_is_bounded(self, tmp_path, monkeypatch):
        monkeypatch.setattr(thumbs, "MOST", 2)
        thumbs.add(tmp_path, thumb(1))
        thumbs.add(tmp_path, thumb(2))
        with pytest.raises(Refusal, match="limit"):
            thumbs.add(tmp_path, thumb(3))
