"""What measurements of gates count."""

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.gates import EachOnce, Tally, f1, gain, merge, watch
from benchmarks.real_clips import TELL
from serval.assistant.instructions.understand import understand
from serval.encoders.percept import Looks, Percept
from serval.evaluation.free_running import FreeRun
from serval.evaluation.streaming import Moment
from serval.media.frame import Frame


def frames(count, source="door"):
    for index in range(count):
        yield Frame.from_rgb(np.full((36, 64, 3), 90, np.uint8), source=source, index=index, time=index / 8)


class Counting:
    """Sees nothing, and counts what it was asked for."""

    def __init__(self):
        self.models, self.asked = {}, []

    def look(self, frame, looks):
        self.asked.append((frame.index, looks))
        seen = {"detections": looks.detect, "hands": looks.hands, "text": looks.text}
        look = {"feature": np.ones(1280, np.float32), "tags": np.zeros(1000, np.float32)} if looks.features else {}
        nothing = {name: () for name, asked in seen.items() if asked}
        return Percept(frame.source, frame.index, frame.time, frame.luma, **look, **nothing)


def test_each_encoder_looks_once_at_each_frame():
    counting = Counting()
    eyes, (first, second) = EachOnce(counting), frames(2)
    assert eyes.look(first, Looks(detect=True)).feature is None
    seen = eyes.look(first, Looks(detect=True, features=True))
    assert seen.detections == () and seen.feature is not None and seen.text is None
    eyes.look(first, Looks(features=True))
    eyes.look(second, Looks(detect=True))
    assert counting.asked == [(0, Looks(detect=True)), (0, Looks(features=True)), (1, Looks(detect=True))]


def run(happened, said):
    return FreeRun(tuple(map(Moment, happened)), tuple(map(Moment, said)), 60.0, 480)


def test_a_gain_is_the_mean_of_seeds_over_the_untaught():
    own, better, same = Tally([run([5.0], []), run([9.0], [9.5])]), Tally([run([5.0], [5.5]), run([9.0], [9.5])]), Tally()
    same.runs = own.runs
    assert f1(own.counts(2.0)) == pytest.approx(2 / 3) and f1(better.counts(2.0)) == 1 and f1(np.zeros((1, 4))) == 1
    interval = gain({"serval": own, "a": better, "b": same}, ["a", "b"])
    assert interval.value == pytest.approx(1 / 6) and interval.low <= interval.value <= interval.high
    assert gain({"serval": own, "a": same}, ["a"]) == (0, 0, 0)
    merge(own, better)
    assert len(own.runs) == 4


def test_watching_counts_what_is_said_about_what_is_due():
    class Clip:
        def frames(self):
            return frames(16)

    asks = [("describe every new scene", "scene", (0.0,)), ("tell me when a person comes in", "appears", (1.0,))]
    tallies = watch([(Clip(), asks)], [None, "poll:1"], EachOnce(Counting()))
    assert tallies["serval"].counts(2.0).tolist() == [[1, 1, 0, 0]]  # the scene is told, and nobody came
    assert list(tallies["serval"].kinds) == ["scene", "appears"] and tallies["poll:1"].answers >= 2
    assert tallies["serval"].instruction_minutes == pytest.approx(2 * 15 / 8 / 60)


def test_what_is_asked_of_the_real_clips_is_understood_and_in_order():
    for asks in TELL.values():
        for text, due in asks.items():
            assert not understand(text).cannot and list(due) == sorted(due)
            assert all(later - earlier >= 1.0 for earlier, later in pairwise(due))
