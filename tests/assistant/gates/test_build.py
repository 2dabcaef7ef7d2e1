"""Gates by name, and what holds for every one of them: the future plays no part, and they keep nothing to themselves."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.assistant.gates import NAMES, build
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.policy import Policy
from serval.assistant.view import Change, ChangeKind, Scene, Track, View
from serval.encoders.percept import Percept
from serval.media.box import Box
from serval.refusal import Refusal

WEIGHTS = np.linspace(0, 0.7, 1000, dtype=np.float32)
EVERY_NAME = ("objects", "novelty", "text", "likeness", "everything", "poll:2", "every:3", "count")


def gate_named(name):
    asked = Understanding(target=Target.OBJECTS, labels=("person", "car"), gate="objects", read_back="", text="taxi")
    if name == "count":
        return build("objects", asked.model_copy(update={"count_op": ">=", "count": 2}))
    return build(name, asked.model_copy(update={"kinds": tuple(ChangeKind)}), likeness_weights=WEIGHTS)


class TestBuild:
    @pytest.mark.parametrize("name", EVERY_NAME[:-1])
    def test_builds_the_gate_it_is_asked_for(self, name):
        gate = gate_named(name)
        assert gate.name == name and 0 < gate.threshold < 1

    def test_names_list_every_kind(self):
        kinds = {each.partition(":")[0] for each in NAMES}
        assert kinds == {each.partition(":")[0] for each in EVERY_NAME[:-1]} | {
            "learned",
            "system",
        }  # have tests of their own

    @pytest.mark.parametrize("name", ["", "object", "Objects", "poll", "../objects", "every\x00", "objects:3", "novelty:"])
    def test_refuses_other_names(self, asks, name):
        with pytest.raises(Refusal) as refused:
            build(name, asks())
        assert refused.value.remedy

    @pytest.mark.parametrize(
        "name",
        ["poll:", "poll:0", "poll:-1", "poll:nan", "poll:inf", "poll:1e9", "poll:x", "every:0", "every:-3", "every:2.5",
         "every:10000000", "every:"],
    )  # fmt: skip
    def test_refuses_numbers_out_of_range(self, asks, name):
        with pytest.raises(Refusal) as refused:
            build(name, asks())
        assert "range" in refused.value.why and "poll:5" in refused.value.remedy

    def test_likeness_needs_the_text_embedding(self, asks):
        with pytest.raises(Refusal) as refused:
            build("likeness", asks("likeness"))
        assert refused.value.remedy == "run: serval weights fetch minilm"


TAGS = [np.random.default_rng(seed).dirichlet(np.full(1000, 0.01)).astype(np.float32) for seed in range(4)]
LUMA = np.zeros((36, 64), np.uint8)
BOX = Box(0.2, 0.2, 0.4, 0.6)
LABELS = st.sampled_from(["person", "car", "vehicle", "truck", "dog", ""])
CHANGES = st.builds(
    lambda kind, label, score, side, text: Change(kind, 0.0, 0.0, label, score, 1, 2, side=side, text=text, track=1),
    st.sampled_from(ChangeKind),
    LABELS,
    st.floats(0, 1),
    st.sampled_from(["", "left", "right"]),
    st.sampled_from(["", "TAXI", "remove all"]),
)
TRACKS = st.builds(
    lambda number, label, score, settled: Track(number, label, score, BOX, 0.0, 0.0, settled, alternatives=(("car", score),)),
    st.integers(1, 5),
    LABELS.filter(bool),
    st.floats(0, 1),
    st.booleans(),
)


@st.composite
def views(draw):
    """Any views in the order of time."""
    time, out = 0.0, []
    for index in range(draw(st.integers(1, 8))):
        time = round(time + draw(st.sampled_from([0.1, 0.5, 1.0, 3.0])), 3)
        tags = draw(st.none() | st.sampled_from(TAGS))
        percept = Percept(
            "door",
            index,
            time,
            LUMA,
            tags=tags,
            text=draw(st.none() | st.just(())),
        )
        changes = tuple(draw(st.lists(CHANGES, max_size=2)))
        tracks = tuple(draw(st.lists(TRACKS, max_size=3)))
        scene = Scene(1, 0.0, novelty=draw(st.floats(0, 1)))
        out.append(View(percept, draw(st.floats(0, 1)), tracks, changes, draw(st.booleans()), scene))
    return out


def decisions(name, stream):
    """Scores and decisions of a fresh gate under a fresh policy."""
    gate = gate_named(name)
    policy = Policy(threshold=gate.threshold)
    state, told, out = gate.start(), policy.start(), []
    for view in stream:
        state, score = gate.step(state, view)
        told, decision = policy.step(told, score, view.time)
        out.append((score, decision))
    return out


@pytest.mark.parametrize("name", EVERY_NAME)
@settings(max_examples=10)
@given(stream=views(), other=views(), data=st.data())
def test_decisions_do_not_depend_on_what_comes_later(name, stream, other, data):
    until = data.draw(st.integers(0, len(stream)))
    full = decisions(name, stream)
    assert decisions(name, stream[:until]) == full[:until]
    assert decisions(name, [*stream[:until], *other])[:until] == full[:until]


@pytest.mark.parametrize("name", EVERY_NAME)
@settings(max_examples=10)
@given(stream=views())
def test_a_gate_keeps_nothing_but_its_state(name, stream):
    gate = gate_named(name)
    before = copy.deepcopy(vars(gate))
    state, states, scores = gate.start(), [], []
    for view in stream:
        states.append(state)
        state, score = gate.step(state, view)
        scores.append(score)
        assert 0 <= score.value <= 1 and set(score.because) <= set(view.changes)
        assert not score.because or score.momentary
    # The same question asked again, in any order, has the same answer.
    again = [gate.step(*question)[1] for question in reversed(list(zip(states, stream, strict=True)))]
    assert again[::-1] == scores
    assert vars(gate).keys() == before.keys()
    assert all(np.array_equal(vars(gate)[key], before[key]) for key in before)
