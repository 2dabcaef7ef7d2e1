"""Two towers with a cue each: both are needed, and so is the CLS token that says whom to believe where."""

from __future__ import annotations

import numpy as np
import pytest

from serval.data.worlds.codes import read
from serval.data.worlds.near_hand import CODES, SIDE, SYMBOLS
from serval.data.worlds.near_hand import make as make_maps
from serval.data.worlds.near_hand import oracle as read_symbol
from serval.data.worlds.two_cues import (
    HALVES,
    KIND_CODES,
    KINDS,
    MOVING,
    NAMES,
    OBJECT_CODES,
    PHASE_CODES,
    PLANTED,
    REST,
    make,
    make_planted,
    oracle,
)

CLIPS = make(0, 80)
PLANTS = make_planted(0, 40)


def objects_in(clip, places):
    """(frames,) objects read from the general tokens of ``places``."""
    return read(clip.general[:, places], OBJECT_CODES).mean(1).argmax(-1)


def moving_in(clip, places):
    return read(clip.ego[:, places], PHASE_CODES).mean(1).argmax(-1).astype(bool)


def ends(moving):
    return [int(each) for each in np.flatnonzero(moving[:-1] & ~moving[1:]) + 1]


def told(clip):
    """What the CLS token says: the misled tower and half."""
    return KINDS[int(read(clip.general[:, 0].mean(0), KIND_CODES).argmax())]


def test_the_oracle_is_always_right():
    assert all(oracle(clip) == clip.said for clip in [*CLIPS, *PLANTS])


def test_each_kind_of_clip_is_there_as_often():
    assert [(clip.misled, clip.misled_half) for clip in CLIPS[:4]] == list(KINDS)


def test_both_cues_can_be_read_where_cls_says_so():
    for clip in CLIPS:
        assert told(clip) == (clip.misled, clip.misled_half)
        general, ego = clip.sound
        assert (objects_in(clip, general) == clip.objects).all() and (moving_in(clip, ego) == clip.moving).all()
        said = [f"{NAMES[objects_in(clip, general)[end]]} put down" for end in ends(moving_in(clip, ego))]
        assert said == [each.text for each in clip.said]


class TestBlind:
    def test_general_features_do_not_know_when(self):
        moving = np.concatenate([clip.moving for clip in CLIPS])
        phases = np.concatenate([read(clip.general[:, 1:], PHASE_CODES).mean(1).argmax(-1) for clip in CLIPS])
        assert abs(np.corrcoef(phases, moving)[0, 1]) < 0.05

    def test_egocentric_features_do_not_know_what(self):
        found = np.concatenate([read(clip.ego[:, 1:], OBJECT_CODES).mean(1).argmax(-1) for clip in CLIPS])
        assert np.mean(found == np.concatenate([clip.objects for clip in CLIPS])) == pytest.approx(1 / len(NAMES), abs=0.03)

    def test_without_cls_the_two_halves_of_a_misled_tower_are_alike(self):
        every = np.r_[1:9]
        for tower, read_off, truth in (("general", objects_in, "objects"), ("ego", moving_in, "moving")):
            clips = [clip for clip in CLIPS if clip.misled == tower]
            first, second = (
                np.mean([(read_off(clip, HALVES[half]) == getattr(clip, truth)).mean() for clip in clips])
                for half in ("first", "second")
            )
            assert first == pytest.approx(second, abs=0.1) and 0.4 < first < 0.85
            both = np.mean([(read_off(clip, every) == getattr(clip, truth)).mean() for clip in clips])
            assert both < 0.85

    def test_the_other_tower_is_right_everywhere(self):
        for clip in CLIPS:
            if clip.misled == "general":
                assert (moving_in(clip, np.r_[1:9]) == clip.moving).all()
            else:
                assert (objects_in(clip, np.r_[1:9]) == clip.objects).all()

    def test_a_misled_half_shows_another_object_or_other_moves(self):
        for clip in CLIPS:
            half = HALVES[clip.misled_half]
            if clip.misled == "general":
                assert not (objects_in(clip, half) == clip.objects).any()
            else:
                assert ends(moving_in(clip, half)) != [each.frame for each in clip.said]

    def test_guidance_does_not_depend_on_the_other_tower(self):
        cls = np.stack([clip.ego[:, 0].mean(0) for clip in CLIPS])
        guesses = read(cls, KIND_CODES).argmax(-1)
        assert np.mean(guesses == np.arange(len(CLIPS)) % 4) < 0.4


def test_moves_are_as_long_as_documented():
    spans, rests = [], []
    for clip in make(1, 20, frames=200):
        edges = np.flatnonzero(np.diff(clip.moving.astype(int))) + 1
        lengths = np.diff(edges)
        spans += lengths[::2].tolist()
        rests += (lengths[1::2] - 1).tolist()  # less the frame at which the last thing is put down
        assert not clip.moving[0]
    assert (min(spans), max(spans)) == (MOVING[0], MOVING[1] - 1) and (min(rests), max(rests)) == (REST[0], REST[1] - 1)
    assert np.mean(spans) == pytest.approx(5, abs=0.2)


class TestPlanted:
    def test_three_of_ten_tokens_are_informative_in_new_places(self):
        for clip in PLANTS:
            assert (clip.informative.sum(1) == PLANTED).all()
        places = np.mean([clip.informative for clip in PLANTS], (0, 1))
        assert places == pytest.approx(np.full(10, 0.3), abs=0.05)
        assert make_planted(0, 1, planted=5)[0].informative.sum(1).tolist() == [5] * 40

    def test_they_hold_both_cues_and_the_others_none(self):
        for clip in PLANTS[:10]:
            cue = read(clip.tokens, OBJECT_CODES).max(-1) + read(clip.tokens, PHASE_CODES).max(-1)
            assert ((cue > 1.0) == clip.informative).mean() > 0.995
            mine = clip.tokens[clip.informative].reshape(40, PLANTED, -1).mean(1)
            assert (read(mine, OBJECT_CODES).argmax(-1) == clip.objects).all()
            assert (read(mine, PHASE_CODES).argmax(-1) == clip.moving).all()

    def test_length_does_not_give_them_away(self):
        lengths = [np.linalg.norm(clip.tokens, axis=-1) for clip in PLANTS]
        informative, clutter = (
            np.mean([each[clip.informative == way].mean() for each, clip in zip(lengths, PLANTS, strict=True)])
            for way in (True, False)
        )
        assert informative == pytest.approx(clutter, rel=0.01)

    def test_five_tokens_at_random_keep_half(self):
        rng = np.random.default_rng(0)
        chosen = rng.permuted(np.arange(10) < 5 * np.ones((1600, 1)), axis=1)
        informative = np.concatenate([clip.informative for clip in PLANTS])
        assert (chosen & informative).sum() / informative.sum() == pytest.approx(0.5, abs=0.03)


class TestNearHand:
    MAPS = make_maps(0, 150)

    def test_the_oracle_is_always_right(self):
        assert all(read_symbol(item) == item.answer for item in self.MAPS)
        assert {item.answer for item in self.MAPS} == set(SYMBOLS)

    def test_the_symbol_is_at_the_hand_and_the_others_are_not(self):
        for item in self.MAPS:
            assert item.symbol.left in (item.hand.right, pytest.approx(item.hand.left - 2 / SIDE))
            around = type(item.hand)(*(edge + step * 3 / SIDE for edge, step in zip(item.hand, (-1, -1, 1, 1), strict=True)))
            assert all(around.intersection(box) < 1e-9 for _, box in item.others)
            assert len({name for name, _ in item.others} | {item.answer}) == 4

    def test_all_symbols_alike_is_chance_of_four(self):
        def strongest(item):
            return SYMBOLS[int(read(item.patches, CODES).reshape(-1, len(SYMBOLS)).mean(0).argmax())]

        assert np.mean([strongest(item) == item.answer for item in self.MAPS]) == pytest.approx(0.25, abs=0.12)

    def test_finer_features_hold_more_of_the_symbol(self):
        """What is left of the symbol's code after pooling: LION-FS's 3 x 3 tokens, its grid of 6 x 6, and its box."""
        left = {3: [], 6: [], 24: []}
        for item in self.MAPS:
            for cells, found in left.items():
                pooled = item.patches.reshape(cells, SIDE // cells, cells, SIDE // cells, -1).mean((1, 3))
                found.append(read(pooled, CODES)[..., SYMBOLS.index(item.answer)].max())
        means = {cells: np.mean(found) for cells, found in left.items()}
        assert means[3] < 0.15 < means[6] < 0.5 < means[24]
