"""One source as a whole: when it looks, that asking is free, that nothing grows, and that the future plays no part."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.assistant.perception import Perception
from serval.assistant.perception.perception import AWAKE, CALM, STILL
from serval.encoders.labels import COCO
from serval.encoders.percept import Detection, Hand, Looks, Percept, TextLine
from serval.media.box import Box

OBJECTS = Looks(detect=True, hands=True)
ALL = Looks(detect=True, features=True, hands=True, text=True)


def look_times(views):
    return [view.time for view in views if view.percept.detections is not None]


def plain(view):
    """Everything a view says, in a form that compares by value."""
    scene = view.scene.feature.tobytes() if view.scene.feature is not None else b""
    return replace(view.scene, feature=None), scene, view.change, view.tracks, view.changes, view.unresolved


class TestWhenItLooks:
    def test_at_the_first_frame(self, stage):
        change, looks = Perception(ALL).plan(stage().luma(0.0), 0.0)
        assert change == 1.0 and looks == ALL

    def test_rarely_when_nothing_moves(self, stage):
        times = look_times(stage(noise=1.0).play(60, looks=OBJECTS))
        gaps = np.diff(times)
        assert len(times) <= 60 / STILL + 3
        assert gaps[2:].min() > STILL - 0.2

    @pytest.mark.parametrize("fps", [2.0, 5.0, 10.0, 25.0])
    def test_at_least_every_three_seconds(self, stage, fps):
        times = look_times(stage(noise=1.0).play(30, fps, looks=OBJECTS))
        assert np.diff([*times, 30.0]).max() <= STILL + 1 / fps

    def test_calmly_while_something_moves(self, stage, thing):
        leaf = thing("kite", tuple((n / 2, 0.05, 0.1 + 0.1 * (n % 2)) for n in range(100)), size=(0.05, 0.08), unseen=True)
        gaps = np.diff(look_times(stage([leaf]).play(20, 20, looks=OBJECTS)))
        assert gaps.min() > CALM - 0.05 and np.median(gaps) < CALM + 0.15

    def test_awake_while_something_is_unresolved(self, stage, thing):
        comes = thing("dog", ((5.0, 0.5, 0.5), (99.0, 0.5, 0.5)))
        views = list(stage([comes]).play(9, 20, looks=OBJECTS))
        times = [time for time in look_times(views) if time >= 5.0]
        told = next(view.time for view in views if view.changes)
        assert [time for time in times if time <= told][:2] == pytest.approx([5.0, 5.25], abs=0.051)
        assert max(np.diff([time for time in times if time <= told])) <= AWAKE + 0.051

    def test_asleep_again_when_it_is_settled(self, stage, thing):
        views = list(stage([thing("dog", ((5.0, 0.5, 0.5), (99.0, 0.5, 0.5)))]).play(20, 10, looks=OBJECTS))
        assert not views[-1].unresolved and np.diff(look_times(views))[-2:].min() > STILL - 0.2

    def test_at_a_cut_at_once(self, stage):
        assert 6.0 in look_times(stage(places=((0.0, 0), (6.0, 3))).play(9, 10, looks=OBJECTS))

    def test_with_nothing_when_nothing_is_needed(self, stage):
        _, looks = Perception(Looks()).plan(stage().luma(0.0), 0.0)
        assert not looks

    def test_text_is_read_only_when_the_picture_changed_since_it_was(self, stage):
        views = list(stage(noise=1.0, signs=((0.0, 99.0, "TAXI"),), places=((0.0, 0), (9.0, 3))).play(20))
        assert [view.time for view in views if view.percept.text is not None] == [0.0, 9.0]


class TestAsking:
    def test_is_pure(self, stage, thing):
        scene = stage([thing("dog", ((2.0, 0.5, 0.5), (99.0, 0.5, 0.5)))])
        perception = Perception(ALL)
        for index in range(40):
            time = index / 10
            before = pickle.dumps(perception)
            plans = [perception.plan(scene.luma(time), time) for _ in range(2)]
            perception.plan(255 - scene.luma(time), time + 100.0)
            assert plans[0] == plans[1] and pickle.dumps(perception) == before
            perception.update(scene.percept(time, plans[0][1], index))

    def test_a_frame_that_nobody_looked_at_tells_nothing(self, stage, thing):
        perception = Perception(ALL)
        scene = stage([thing("dog", ((2.0, 0.5, 0.5), (99.0, 0.5, 0.5)))])
        perception.update(scene.percept(0.0))
        for index in range(1, 50):
            view = perception.update(scene.percept(index / 10, Looks(), index))
            assert view.changes == () and view.tracks == ()


def size_of(perception):
    """How many things are remembered, counted through every container of the state."""
    seen, total, stack = set(), 0, [perception]
    while stack:
        each = stack.pop()
        if id(each) in seen or isinstance(each, str | bytes | int | float | type | np.ndarray):
            continue
        seen.add(id(each))
        if isinstance(each, dict):
            total += len(each)
            stack += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset) or type(each).__name__ == "deque":
            total += len(each)
            stack += list(each)
        elif hasattr(each, "__dict__"):
            stack += list(vars(each).values())
    return total


def test_ten_hours_of_anything_take_no_more_room_than_one():
    """Every minute two things stand somewhere for a second and are gone, under other names and at other places."""
    rng = np.random.default_rng(3)
    perception = Perception(ALL)
    places = [rng.integers(0, 190, (36, 64)) for _ in range(2)]
    pictures = [[(place + rng.integers(0, 60, (36, 64))).astype(np.uint8) for _ in range(2)] for place in places]
    features = [rng.normal(size=1280).astype(np.float32) for _ in range(2)]
    kinds = [int(each) for each in rng.integers(0, 80, 40)]
    sizes, tracks, changes = [], set(), 0
    for minute in range(600):
        things = [
            Detection(Box(x, y, x + 0.08, y + 0.1), vector_of({kinds[each]: 0.8}))
            for each, (x, y) in zip(rng.integers(0, 40, 2), rng.uniform(0, 0.9, (2, 2)), strict=True)
        ]
        for after in (0.0, 0.4, 0.8, 10.0, 14.0):
            there = after < 2.0
            percept = Percept(
                source="stage",
                index=0,
                time=60.0 * minute + after,
                luma=pictures[minute // 70 % 2][there],
                feature=features[minute // 70 % 2] if after == 0.0 else None,
                detections=tuple(things) if there else (),
                hands=(Hand(things[0].box, 0.9),) if there else (),
                text=(TextLine(f"{minute * 7919:x}", 0.9, things[0].box),) if after == 10.0 else None,
            )
            view = perception.update(percept)
            tracks |= {track.id for track in view.tracks}
            changes += len(view.changes)
        if minute % 10 == 9:
            sizes.append(size_of(perception))
    assert len(tracks) > 500 and changes > 500  # it did have much to forget
    assert max(sizes[-6:]) <= 1.1 * max(sizes[:6]) + 20


COORDINATE = st.integers(0, 16).map(lambda n: n / 20)
BOXES = st.builds(
    lambda x, y, w, h: Box(x, y, x + w / 20, y + h / 20), COORDINATE, COORDINATE, st.integers(1, 4), st.integers(1, 4)
)
VECTORS = st.dictionaries(st.sampled_from([0, 2, 7, 16, 41, 60]), st.sampled_from([0.2, 0.4, 0.8]), max_size=2)


@st.composite
def streams(draw):
    """Any percepts in the order of time: boxes, hands, text and features at some frames, pictures that change at some."""
    rng = np.random.default_rng(draw(st.integers(0, 5)))
    pictures = [rng.integers(0, 255, (36, 64)).astype(np.uint8) for _ in range(3)]
    features = [rng.normal(size=1280).astype(np.float32) for _ in range(2)]
    time, percepts = 0.0, []
    for index in range(draw(st.integers(4, 16))):
        time += draw(st.sampled_from([0.1, 0.25, 0.25, 0.25, 1.0, 4.0]))
        found = draw(st.none() | st.lists(st.tuples(BOXES, VECTORS), max_size=3))
        detections = None
        if found is not None:
            detections = tuple(Detection(box, vector_of(says)) for box, says in found)
        percepts.append(
            Percept(
                source="stage",
                index=index,
                time=round(time, 3),
                luma=pictures[draw(st.sampled_from([0, 0, 0, 1, 2]))],
                feature=draw(st.none() | st.sampled_from(features)),
                detections=detections,
                hands=None if found is None else tuple(Hand(box, 0.9) for box in draw(st.lists(BOXES, max_size=1))),
                text=draw(
                    st.none()
                    | st.sampled_from(["TAXI", "remove all"]).map(lambda text: (TextLine(text, 0.9, Box(0, 0, 1, 1)),))
                ),
            )
        )
    return percepts


def vector_of(says):
    vector = np.full(len(COCO), 0.01, np.float32)
    for place, score in says.items():
        vector[place] = score
    return vector


def decided(percepts):
    """All that a perception answers on the way: plans before each percept, views after it."""
    perception, out = Perception(ALL), []
    for percept in percepts:
        plan = perception.plan(percept.luma, percept.time)
        out.append((plan, plain(perception.update(percept))))
    return out


@settings(max_examples=30)
@given(streams(), st.data())
def test_what_is_known_now_does_not_depend_on_what_comes_later(percepts, data):
    until = data.draw(st.integers(1, len(percepts)))
    later = data.draw(st.integers(0, 2))
    full = decided(percepts)
    assert decided(percepts[:until]) == full[:until]
    other = [replace(each, luma=255 - each.luma, detections=(), text=None) for each in percepts[until:]][later:]
    assert decided([*percepts[:until], *other])[:until] == full[:until]


@settings(max_examples=20)
@given(streams())
def test_the_same_percepts_give_the_same_views(percepts):
    assert decided(percepts) == decided(percepts)


@settings(max_examples=25)
@given(streams())
def test_every_change_is_settled_after_it_began_and_within_the_picture(percepts):
    perception = Perception(ALL)
    for percept in percepts:
        view = perception.update(percept)
        assert len({track.id for track in view.tracks}) == len(view.tracks)
        for change in view.changes:
            assert percepts[0].time <= change.started <= change.time == percept.time
            assert 0 <= change.score <= 1 and change.before >= 0 and change.after >= 0
