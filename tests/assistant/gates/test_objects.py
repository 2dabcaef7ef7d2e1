"""The gate of object events: which changes an instruction asks for, and what each is worth."""

import pytest

from serval.assistant.gates.objects import ObjectsGate
from serval.assistant.policy import Policy


def score(gate, view):
    state, found = gate.step(gate.start(), view)
    assert state is None
    return found


class TestLabelsAndKinds:
    def test_what_is_asked_for_wakes(self, asks, view, happened):
        change = happened("appears", "person")
        found = score(ObjectsGate(asks(kinds=["appears"], labels=("person",))), view(5.0, change))
        assert found.value == 0.8 and found.momentary and found.because == (change,)
        assert "person appears" in found.why

    @pytest.mark.parametrize(("kind", "label"), [("leaves", "person"), ("appears", "dog"), ("moves", "person"), ("scene", "")])
    def test_nothing_else_does(self, asks, view, happened, kind, label):
        gate = ObjectsGate(asks(kinds=["appears"], labels=("person",)))
        found = score(gate, view(5.0, happened(kind, label)))
        assert found.value < gate.threshold and found.because == () and not found.momentary

    def test_without_a_label_anything_fits(self, asks, view, happened):
        gate = ObjectsGate(asks(kinds=["appears"]))
        assert [score(gate, view(5.0, happened("appears", label))).value for label in ("dog", "cup")] == [0.8, 0.8]

    def test_only_the_fitting_ones_of_several_are_told(self, asks, view, happened):
        dog, cat = happened("appears", "dog"), happened("appears", "cat")
        assert score(ObjectsGate(asks(kinds=["appears"], labels=("dog",))), view(5.0, cat, dog)).because == (dog,)

    @pytest.mark.parametrize(("asked", "kind"), [("appears", "put"), ("leaves", "taken")])
    def test_put_there_also_came_and_taken_also_left(self, asks, view, happened, asked, kind):
        assert score(ObjectsGate(asks(kinds=[asked], labels=("cup",))), view(5.0, happened(kind, "cup"))).momentary

    @pytest.mark.parametrize(("asked", "kind"), [("put", "appears"), ("taken", "leaves")])
    def test_but_not_the_other_way_round(self, asks, view, happened, asked, kind):
        assert not score(ObjectsGate(asks(kinds=[asked], labels=("cup",))), view(5.0, happened(kind, "cup"))).momentary

    def test_a_weak_change_that_perception_is_sure_of_still_counts(self, asks, view, happened):
        gate = ObjectsGate(asks(kinds=["appears"]))
        assert score(gate, view(5.0, happened("appears", "dog", score=0.1))).value == 0.5 > gate.threshold


class TestGroups:
    def test_the_word_of_the_group_stands_for_its_members(self, asks, view, happened):
        gate = ObjectsGate(asks(kinds=["appears"], labels=("car",)))
        assert score(gate, view(5.0, happened("appears", "vehicle"))).momentary

    def test_another_member_fits_when_the_detector_also_takes_it_for_the_one_asked(self, asks, view, happened, track):
        gate = ObjectsGate(asks(kinds=["appears"], labels=("car",)))
        change = happened("appears", "truck", track=1)
        either = track("truck", others=(("car", 0.3),))
        clearly = track("truck", others=(("car", 0.1),))
        assert score(gate, view(5.0, change, tracks=[either])).momentary
        assert not score(gate, view(5.0, change, tracks=[clearly])).momentary
        assert not score(gate, view(5.0, change)).momentary

    def test_alternatives_of_another_group_do_not_count(self, asks, view, happened, track):
        gate = ObjectsGate(asks(kinds=["appears"], labels=("cup",)))
        person = track("person", others=(("cup", 0.6),))
        assert not score(gate, view(5.0, happened("appears", "person", track=1), tracks=[person])).momentary


class TestPlaces:
    @pytest.mark.parametrize(("on", "worth"), [("dining table", 0.8), ("chair", 0.0), ("", 0.56)])
    def test_surface(self, asks, view, happened, on, worth):
        gate = ObjectsGate(asks(kinds=["put"], on="dining table"))
        found = score(gate, view(5.0, happened("put", "cup", on=on)))
        assert (found.value if found.momentary else 0.0) == pytest.approx(worth)

    @pytest.mark.parametrize(("side", "worth"), [("left", 0.8), ("right", 0.0), ("", 0.56)])
    def test_side(self, asks, view, happened, side, worth):
        gate = ObjectsGate(asks(kinds=["appears"], side="left"))
        found = score(gate, view(5.0, happened("appears", "dog", side=side)))
        assert (found.value if found.momentary else 0.0) == pytest.approx(worth)


class TestCounts:
    def test_a_count_with_a_change_is_asked_of_the_moment(self, asks, view, happened):
        gate = ObjectsGate(asks(kinds=["appears"], labels=("person",), count_op=">=", count=2))
        assert not score(gate, view(5.0, happened("appears", "person", before=0, after=1))).momentary
        assert score(gate, view(5.0, happened("appears", "person", before=1, after=2))).momentary

    @pytest.mark.parametrize(
        ("sign", "count", "levels"), [(">=", 2, [0, 0, 1, 1]), ("<=", 1, [1, 1, 0, 0]), ("==", 1, [0, 1, 0, 0])]
    )
    def test_without_a_change_it_is_a_level(self, asks, view, track, sign, count, levels):
        gate = ObjectsGate(asks(labels=("person",), count_op=sign, count=count))
        views = [view(1.0, tracks=[track("person", number) for number in range(many)]) for many in range(4)]
        found = [score(gate, each) for each in views]
        assert [each.value for each in found] == levels and not any(each.momentary for each in found)

    def test_counts_only_what_is_settled_and_fits(self, asks, view, track):
        gate = ObjectsGate(asks(labels=("person",), count_op=">=", count=2))
        others = [track("dog", 2), track("person", 3, settled=False)]
        assert score(gate, view(1.0, tracks=[track("person"), *others])).value == 0.0

    def test_the_level_is_told_once_until_it_fell(self, asks, view, track):
        gate, policy = ObjectsGate(asks(labels=("person",), count_op=">=", count=2)), Policy(threshold=0.35)
        state, woke = policy.start(), []
        for second, many in enumerate([0, 1, 2, 2, 3, 3, 2, 1, 1, 2, 2]):
            tracks = [track("person", number) for number in range(many)]
            state, decision = policy.step(state, score(gate, view(float(second), tracks=tracks)), float(second))
            woke += [second] if decision.action == "wake" else []
        assert woke == [2, 9]

    def test_a_crowd_that_grows_came_and_one_that_shrinks_left(self, asks, view, happened):
        grows = happened("crowd", "person", before=4, after=7)
        shrinks = happened("crowd", "person", before=7, after=4)
        comes, goes = (ObjectsGate(asks(kinds=[kind], labels=("person",))) for kind in ("appears", "leaves"))
        assert [score(gate, view(5.0, each)).momentary for gate in (comes, goes) for each in (grows, shrinks)] == [
            True, False, False, True,
        ]  # fmt: skip


class TestStandby:
    def test_a_candidate_of_the_kind_keeps_it_awake_below_the_threshold(self, asks, view, track):
        gate = ObjectsGate(asks(kinds=["appears"], labels=("person",)))
        found = score(gate, view(1.0, tracks=[track("person", settled=False, score=1.0)]))
        assert found.standby and 0 < found.value < gate.threshold and not found.momentary

    def test_one_of_another_kind_does_not(self, asks, view, track):
        gate = ObjectsGate(asks(kinds=["appears"], labels=("person",)))
        assert not score(gate, view(1.0, tracks=[track("dog", settled=False)])).standby

    def test_says_what_is_in_view(self, asks, view, track):
        gate = ObjectsGate(asks(kinds=["leaves"], labels=("cat",)))
        tracks = [track("dog"), track("dog", 2), track("person", 3)]
        assert score(gate, view(1.0, tracks=tracks)).why == "no such change; 2 dog, 1 person in view"
