"""Hands that put things down and take them away, and hands that do neither."""

import pytest

from serval.assistant.view import ChangeKind

REACHES = (0.22, 0.22)


@pytest.fixture
def hand(thing):
    def make(*path, **more):
        return thing(path=path, size=REACHES, grey=190, hand=True, **more)

    return make


@pytest.fixture
def cup(thing):
    def make(*path, **more):
        return thing("cup", path=path, size=(0.1, 0.16), grey=240, **more)

    return make


def told(changes):
    return [(change.kind.value, change.label) for change in changes]


IN, HERE, OUT = (1.15, 0.7), (0.5, 0.7), (1.2, 0.7)


def comes_and_goes(start, where=HERE, grip=0.05):
    """A hand's path: in from the right, 1.5 s later at the place, out again."""
    return (start, *IN), (start + 1.5, where[0] + grip, where[1]), (start + 3.0, *OUT)


class TestPut:
    def test_a_hand_brings_a_cup_and_goes(self, stage, hand, cup):
        brought = cup((5.0, 1.1, 0.7), (6.5, *HERE), (99.0, *HERE))
        changes = stage([brought, hand(*comes_and_goes(5.0))]).changes(15)
        assert told(changes)[-1] == ("put", "cup") and told(changes).count(("put", "cup")) == 1
        assert set(told(changes)) <= {("appears", "cup"), ("put", "cup")}
        put = changes[-1]
        assert 6.5 <= put.time <= 9.0 and put.hand is not None and put.after == 1
        assert put.box.center == pytest.approx(HERE, abs=0.02)

    def test_tells_what_it_was_put_on(self, stage, thing, hand, cup):
        table = thing("dining table", ((0.0, 0.5, 0.8), (99.0, 0.5, 0.8)), size=(0.9, 0.3), grey=60)
        brought = cup((5.0, 1.1, 0.7), (6.5, *HERE), (99.0, *HERE))
        put = stage([table, brought, hand(*comes_and_goes(5.0))]).changes(15)[-1]
        assert (put.kind, put.label, put.on) == (ChangeKind.PUT, "cup", "dining table")

    def test_a_cup_moved_by_a_hand_is_put_elsewhere(self, stage, hand, cup):
        there = (0.3, 0.4)
        carried = cup((0.0, *HERE), (6.5, *HERE), (7.5, *there), (99.0, *there))
        moving = hand((5.0, *IN), (6.5, 0.55, 0.7), (7.5, 0.35, 0.4), (9.0, 1.2, 0.4))
        changes = stage([carried, moving]).changes(18)
        put = [change for change in changes if change.kind is ChangeKind.PUT]
        assert len(put) == 1 and put[0].box.center == pytest.approx(there, abs=0.02)
        assert {change.kind for change in changes} <= {ChangeKind.PUT, ChangeKind.TAKEN}


class TestTaken:
    def test_a_hand_comes_and_goes_with_it(self, stage, hand, cup):
        stood = cup((0.0, *HERE), (7.5, *HERE), (9.0, 1.15, 0.7))
        [change] = stage([stood, hand(*comes_and_goes(6.0))]).changes(18)
        assert (change.kind, change.label) == (ChangeKind.TAKEN, "cup")
        assert (change.before, change.after) == (1, 0) and change.hand is not None
        assert 7.4 <= change.time <= 10.5

    def test_a_hand_covers_it_and_it_is_gone(self, stage, hand, cup):
        stood = cup((0.0, *HERE), (7.5, *HERE), blind=((7.1, 99.0),))
        [change] = stage([stood, hand(*comes_and_goes(6.0))]).changes(18)
        assert (change.kind, change.label) == (ChangeKind.TAKEN, "cup")

    def test_put_down_and_taken_again_are_both_told(self, stage, hand, cup):
        life = cup((5.0, 1.1, 0.7), (6.5, *HERE), (16.5, *HERE), (18.0, 1.15, 0.7))
        changes = stage([life, hand(*comes_and_goes(5.0)), hand(*comes_and_goes(15.0))]).changes(25)
        kinds = [change.kind.value for change in changes if change.kind is not ChangeKind.APPEARS]
        assert kinds == ["put", "taken"]


class TestNeither:
    def test_carried_past(self, stage, hand, cup):
        passing = cup((5.0, 1.1, 0.5), (9.0, -0.1, 0.5))
        holding = hand((5.0, 1.15, 0.5), (9.0, -0.05, 0.5))
        kinds = {change.kind for change in stage([passing, holding]).changes(15)}
        assert kinds <= {ChangeKind.APPEARS, ChangeKind.LEAVES}

    def test_a_hand_that_passes_by(self, stage, hand, cup):
        far = hand((5.0, 1.1, 0.2), (9.0, -0.1, 0.2))
        assert stage([cup((0.0, *HERE), (99.0, *HERE)), far]).changes(15) == []

    def test_a_hand_that_touches_and_lets_be(self, stage, hand, cup):
        assert stage([cup((0.0, *HERE), (99.0, *HERE)), hand(*comes_and_goes(6.0))]).changes(18) == []

    def test_a_hand_that_covers_for_a_while(self, stage, hand, cup):
        covered = cup((0.0, *HERE), (99.0, *HERE), blind=((7.0, 8.0),))
        assert stage([covered, hand(*comes_and_goes(6.0))]).changes(18) == []

    def test_hands_take_and_put_no_people(self, stage, thing, hand):
        guest = thing("person", ((5.0, 1.1, 0.6), (7.0, 0.5, 0.6), (12.0, 0.5, 0.6), (14.0, 1.1, 0.6)))
        waving = hand((5.0, 1.1, 0.5), (7.0, 0.5, 0.5), (12.0, 0.5, 0.5), (14.0, 1.1, 0.5))
        assert told(stage([guest, waving]).changes(20)) == [("appears", "person"), ("leaves", "person")]

    def test_a_dog_that_goes_where_no_hand_is_leaves(self, stage, thing):
        dog = thing("dog", ((0.0, 0.5, 0.7), (6.0, 0.5, 0.7), (8.0, 1.1, 0.7)), size=(0.14, 0.2))
        assert told(stage([dog]).changes(15)) == [("leaves", "dog")]
