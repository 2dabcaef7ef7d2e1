"""Streams of hidden states: what is to be said follows from them, can be read from the features, and from no simple rule."""

from __future__ import annotations

import numpy as np
import pytest

from serval.data.worlds.codes import hadamard, read
from serval.data.worlds.latent_streams import BLIPS, CODES, HOLD, MOVES, RATE, REPEATS, STATES, THINGS, make, oracle
from serval.data.worlds.said import IGNORED, SILENT, SPEAK, Said, decisions
from serval.evaluation.streaming import Moment, score_triggers

STREAMS = make(0, 80)


def unasked(stream):
    asked = {each.frame for each in stream.said if each.role == "user"}
    return [each for each in stream.said if each.frame not in asked]


def f1(streams, speak):
    """Of a rule from a stream to the frames at which it speaks, exact to the frame."""
    total = None
    for stream in streams:
        happened = [Moment(each.frame) for each in unasked(stream)]
        score = score_triggers(happened, [Moment(frame) for frame in speak(stream)], tolerance=0.1, seconds=30)
        total = score if total is None else total + score
    return total.f1


def decoded(stream):
    """(frames, 4) states read from the features, wherever the camera has moved them."""
    found = read(stream.tokens, CODES.reshape(-1, CODES.shape[-1])).max(1)
    return found.reshape(-1, len(THINGS), len(STATES)).argmax(-1)


def test_the_oracle_is_always_right():
    assert all(oracle(stream) == stream.said for stream in STREAMS)
    assert f1(STREAMS, lambda stream: [each.frame for each in oracle(stream) if each in unasked(stream)]) == 1.0


def test_the_oracle_looks_at_nothing_to_come():
    for stream in STREAMS[:10]:
        for cut in (10, 25, 40):
            short = type(stream)(**{**vars(stream), "states": stream.states[:cut]})
            assert oracle(short) == tuple(each for each in stream.said if each.frame < cut)


@pytest.mark.parametrize("places", [1, 4, 10])
def test_states_can_be_read_from_the_features(places):
    streams = make(1, 10, places=places)
    assert streams[0].tokens.shape == (60, places, 32) and streams[0].tokens.dtype == np.float32
    assert all((decoded(stream) == stream.states).mean() > 0.99 for stream in streams)
    assert all((decoded(stream) == stream.states).all() for stream in make(1, 10, places=places, noise=0.1))


def test_codes_are_at_right_angles():
    codes = CODES.reshape(16, -1)
    assert (codes @ codes.T == 32 * np.eye(16)).all()
    with pytest.raises(ValueError, match="power of two"):
        hadamard(12)


class TestRules:
    """What a gate can do that does not read the instruction, or sees only how much changes."""

    def test_a_rule_of_change_does_badly_at_any_threshold(self):
        def rule(threshold):
            def speak(stream):
                change = np.abs(np.diff(stream.tokens, axis=0)).mean((1, 2))
                return np.flatnonzero(change > threshold) + 1

            return speak

        scores = [f1(STREAMS, rule(threshold)) for threshold in np.linspace(0.4, 1.6, 13)]
        assert 0.1 < max(scores) < 0.45

    def test_so_does_who_sees_every_change_but_does_not_know_which_matters(self):
        score = f1(STREAMS, lambda stream: np.flatnonzero(np.diff(stream.states, axis=0).any(1)) + 1)
        assert 0.15 < score < 0.45

    def test_so_does_who_knows_what_matters_but_not_when(self):
        lasting = [stream for stream in STREAMS if stream.lasting]
        at_once = [stream for stream in STREAMS if not stream.lasting]

        def speak(stream):
            return np.flatnonzero(np.diff(stream.states[:, stream.watched])) + 1

        assert f1(lasting, speak) < 0.1 and f1(at_once, speak) == 1.0

    def test_who_guesses_the_thing_names_it_once_in_four(self):
        named = [each.text.split()[0] for stream in STREAMS for each in unasked(stream)]
        shares = [named.count(thing) / len(named) for thing in THINGS]
        assert max(shares) < 0.45 and sum(shares) == 1.0


class TestStatistics:
    LONG = make(2, 12, frames=600, places=1)

    def runs(self):
        """(lengths, states) of the runs of every thing."""
        for stream in self.LONG:
            for thing in range(len(THINGS)):
                own = stream.states[:, thing]
                edges = np.flatnonzero(np.diff(own)) + 1
                yield np.diff([0, *edges, 600]), own[[0, *edges]]

    def test_changes_come_as_often_as_documented(self):
        happenings = blips = 0
        for lengths, _ in self.runs():
            short = int((lengths[1:-1] < HOLD).sum())
            blips += short
            happenings += len(lengths) - 1 - short  # a blip and its end are one happening
        assert blips / happenings == pytest.approx(BLIPS, abs=0.05)
        frames = 600 * len(THINGS) * len(self.LONG)
        assert frames / happenings == pytest.approx(HOLD + 1 / RATE + BLIPS * 1.5, rel=0.05)

    def test_some_lasting_changes_go_back_to_the_state_before(self):
        back = total = 0
        for lengths, states in self.runs():
            settled = [int(state) for length, state in zip(lengths, states, strict=True) if length >= HOLD]
            settled = [state for place, state in enumerate(settled) if not place or state != settled[place - 1]]
            back += sum(one == other for one, other in zip(settled[2:], settled, strict=False))
            total += len(settled) - 2
        assert back / total == pytest.approx(REPEATS, abs=0.05)

    def test_camera_and_light(self):
        moves = np.concatenate([np.diff(stream.shift) for stream in self.LONG])
        assert np.mean(moves != 0) == pytest.approx(MOVES, abs=0.01) and set(moves) == {-1, 0, 1}
        gains = np.concatenate([stream.gain for stream in self.LONG])
        assert gains.min() == pytest.approx(0.6, abs=0.01) and gains.max() == pytest.approx(1.4, abs=0.01)
        assert max(np.abs(np.diff(stream.gain)).max() for stream in self.LONG) < 0.13

    def test_instructions_are_of_all_kinds(self):
        assert len({stream.instruction for stream in STREAMS}) == 2 * len(THINGS)
        assert 0.3 < np.mean([stream.lasting for stream in STREAMS]) < 0.7

    def test_four_changes_in_five_or_more_are_not_to_be_spoken_at(self):
        changes = sum(int(np.diff(stream.states, axis=0).any(1).sum()) for stream in STREAMS)
        due = sum(len(unasked(stream)) for stream in STREAMS)
        assert 0.15 < due / changes < 0.27

    def test_questions(self):
        texts = [each.text for stream in STREAMS for each in stream.said if each.role == "user"]
        assert len(texts) == 2 * len(STREAMS) and 0.2 < np.mean(["before" in text for text in texts]) < 0.5
        assert all(len(each.text.split()) == 3 for stream in STREAMS for each in stream.said if each.role == "assistant")
        assert not [each for stream in make(0, 5, queries=0) for each in stream.said if each.role == "user"]


class TestPictures:
    def test_they_show_the_states(self):
        stream = make(3, 1)[0]
        pictures = stream.pictures(noise=0)
        assert pictures.shape == (60, 32, 32, 3) and pictures.dtype == np.uint8
        brightest = {0: 0, 1: 2, 2: 1}  # red, blue and green; white has none
        for picture, shift, gain, states in zip(pictures, stream.shift, stream.gain, stream.states, strict=True):
            middles = (np.roll(picture, -2 * int(shift), axis=1) / gain)[[8, 8, 24, 24], [8, 24, 8, 24]]
            for state, colour in zip(states, middles, strict=True):
                assert np.argmax(colour) == brightest[int(state)] if state in brightest else np.ptp(colour) < 60

    def test_the_camera_turns_them_round(self):
        stream = make(3, 1, frames=200)[0]
        still = np.flatnonzero((np.diff(stream.shift) != 0) & ~np.diff(stream.states, axis=0).any(1))
        assert len(still)
        before, after = stream.pictures(noise=0)[still[0] : still[0] + 2].astype(float)
        before, after = (each / stream.gain[still[0] + more] for more, each in enumerate((before, after)))
        step = 2 * int(stream.shift[still[0] + 1] - stream.shift[still[0]])
        assert np.abs(np.roll(before, step, axis=1) - after).max() < 60 < np.abs(before - after).max()


class TestDecisions:
    def test_one_for_each_frame(self):
        said = (Said(2, "a"), Said(4, "q", "user"), Said(4, "b"), Said(5, "c"))
        assert decisions(7, said).tolist() == [SILENT, SILENT, SPEAK, SILENT, IGNORED, SPEAK, SILENT]
