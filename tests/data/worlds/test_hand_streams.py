"""A hand rests at a symbol: egocentric tokens say when, the map what, and the coarse grid shows hardly any of it."""

import numpy as np

from serval.data.worlds.hand_streams import make, oracle
from serval.data.worlds.near_hand import CODES, HAND
from serval.data.worlds.said import SPEAK
from serval.data.worlds.streams import from_hands, hand_words
from serval.training.objectives.balance import SILENT

STREAMS = make(3, 24)


def test_the_oracle_is_right_about_all_that_is_said_unasked():
    for stream in STREAMS:
        asked = {said.frame for said in stream.said if said.role == "user"}
        assert oracle(stream) == tuple(said for said in stream.said if said.frame not in asked)


def test_nobody_is_taught_when_a_person_will_ask():
    for stream in STREAMS:
        decided = from_hands(stream, hand_words(), end=0).decisions.numpy()
        assert (decided[stream.untaught] < 0).all() and set(decided[~stream.untaught]) <= {SILENT, SPEAK}
        assert sorted(np.flatnonzero(decided == SPEAK)) == sorted(stream.maps)


def test_a_symbol_is_faint_in_its_cell_and_plain_in_its_box():
    for stream in make(4, 8, closer=0.0):
        for frame, map_ in stream.maps.items():
            left, top, right, bottom = stream.boxes[frame][1].pixels(24, 24)
            in_box = (map_[top:bottom, left:right].mean((0, 1)) @ CODES.T).max() / len(HAND)
            in_cells = (stream.general[frame, 1:] @ CODES.T).max() / len(HAND)
            assert in_box > 0.6 and in_cells < 0.3
