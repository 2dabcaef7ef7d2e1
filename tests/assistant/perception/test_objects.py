"""What happens on the stage and what of it is told: things that come, go, move, hide, and the scene that is cut away."""

import pytest

from serval.assistant.view import ChangeKind
from serval.encoders.percept import Looks

OBJECTS = Looks(detect=True, hands=True)


@pytest.fixture
def leaf(thing):
    """Something the detector has no word for, that never rests: with it, one look follows the other."""
    return thing("kite", tuple((n / 2, 0.05, 0.1 + 0.1 * (n % 2)) for n in range(100)), size=(0.05, 0.08), unseen=True)


def told(changes):
    return [(change.kind.value, change.label) for change in changes]


class TestAppears:
    def test_one_that_walks_in(self, stage, thing):
        person = thing("person", ((5.0, -0.1, 0.6), (8.0, 0.5, 0.6), (99.0, 0.5, 0.6)))
        [change] = stage([person]).changes(15)
        assert (change.kind, change.label, change.side) == (ChangeKind.APPEARS, "person", "left")
        assert (change.before, change.after) == (0, 1)
        assert 5.0 < change.started < change.time < 7.0
        assert change.score > 0.7 and change.hand is None

    @pytest.mark.parametrize(
        ("start", "side"), [((-0.1, 0.6), "left"), ((1.1, 0.6), "right"), ((0.5, -0.15), "top"), ((0.5, 1.2), "bottom")]
    )
    def test_tells_the_side_it_came_from(self, stage, thing, start, side):
        walker = thing("dog", ((5.0, *start), (7.0, 0.5, 0.5), (99.0, 0.5, 0.5)), size=(0.14, 0.2))
        [change] = stage([walker]).changes(12)
        assert change.side == side

    def test_one_that_is_suddenly_in_the_middle_came_from_no_side(self, stage, thing):
        [change] = stage([thing("dog", ((5.0, 0.5, 0.5), (99.0, 0.5, 0.5)))]).changes(10)
        assert change.side == "" and 5.0 <= change.started <= 5.6

    def test_not_before_it_stood(self, stage, thing):
        brief = thing("dog", ((5.0, 0.5, 0.5), (99.0, 0.5, 0.5)), blind=((5.1, 99.0),))
        assert stage([brief]).changes(12, fps=20) == []
        [change] = stage([thing("dog", ((5.0, 0.5, 0.5), (99.0, 0.5, 0.5)))]).changes(12, fps=20)
        assert change.time - change.started >= 0.3 - 1e-6

    @pytest.mark.parametrize("comes", [0.0, 0.7, 1.8])
    def test_what_is_there_in_the_first_two_seconds_is_no_news(self, stage, thing, comes):
        assert stage([thing("dog", ((comes, 0.5, 0.5), (99.0, 0.5, 0.5)))]).changes(12) == []

    def test_but_it_is_counted(self, stage, thing):
        *_, last = stage([thing("dog"), thing("person", ((0.0, 0.2, 0.5), (99, 0.2, 0.5)))]).play(4, looks=OBJECTS)
        assert last.counts() == {"dog": 1, "person": 1}

    def test_the_second_of_a_kind_is_the_second(self, stage, thing):
        second = thing("person", ((5.0, 1.1, 0.6), (7.0, 0.8, 0.6), (99.0, 0.8, 0.6)))
        [change] = stage([thing("person", ((0.0, 0.2, 0.5), (99.0, 0.2, 0.5))), second]).changes(12)
        assert (change.before, change.after, change.side) == (1, 2, "right")

    def test_flickering_detections_are_one_arrival(self, stage, thing):
        blinks = tuple((5.5 + n, 5.9 + n) for n in range(20))
        person = thing("person", ((5.0, 1.1, 0.6), (7.0, 0.6, 0.6), (99.0, 0.6, 0.6)), blind=blinks)
        assert told(stage([person]).changes(20)) == [("appears", "person")]

    def test_a_label_that_flickers_is_one_arrival(self, stage, thing):
        def says(time):
            return [{"car": 0.6}, {"cell phone": 0.5, "car": 0.15}, {"truck": 0.5}][int(time * 4) % 3]

        changes = stage([thing(says, ((5.0, -0.1, 0.6), (9.0, 0.5, 0.6), (99.0, 0.5, 0.6)), size=(0.25, 0.25))]).changes(20)
        assert told(changes) in ([("appears", "vehicle")], [("appears", "car")], [("appears", "truck")])


class TestNoPixel:
    def test_what_no_pixel_supports_did_not_come(self, stage, thing):
        ghost = thing("person", ((5.0, 0.5, 0.5), (99.0, 0.5, 0.5)), ghost=True)
        views = list(stage([ghost]).play(15, looks=OBJECTS))
        assert not any(view.changes for view in views)
        assert views[-1].counts() == {"person": 1}  # it is known, though: it was there all along

    def test_nor_did_what_still_looks_the_same_go(self, stage, thing):
        missed = thing("person", blind=((5.0, 25.0),))
        views = list(stage([missed]).play(25, looks=OBJECTS))
        assert not any(view.changes for view in views)
        assert views[-1].counts() == {"person": 1}

    def test_a_lamp_makes_nothing_come_or_go(self, stage, thing):
        lit = stage([thing("person"), thing("dog", ((0, 0.2, 0.7), (99, 0.2, 0.7)))])
        lit.gain, lit.noise = (lambda time: 1.0 if time < 5 else 0.7), 1.0
        assert lit.changes(15) == []


class TestLeaves:
    def test_at_the_edge(self, stage, thing):
        person = thing("person", ((0.0, 0.5, 0.6), (6.0, 0.5, 0.6), (8.0, 1.12, 0.6)))
        [change] = stage([person]).changes(15)
        assert (change.kind, change.label, change.side) == (ChangeKind.LEAVES, "person", "right")
        assert (change.before, change.after) == (1, 0)
        assert 7.0 < change.started <= 8.0 and change.time < 9.5

    def test_in_mid_picture_after_more_patience(self, stage, thing, leaf):
        [change] = stage([thing("dog", ((0.0, 0.5, 0.5), (6.0, 0.5, 0.5))), leaf]).changes(15)
        assert (change.kind, change.side) == (ChangeKind.LEAVES, "")
        assert 5.4 <= change.started <= 6.0 and 1.6 <= change.time - change.started < 2.2

    def test_out_of_a_picture_that_was_still(self, stage, thing):
        [change] = stage([thing("dog", ((0.0, 0.5, 0.5), (6.0, 0.5, 0.5)))]).changes(15)
        assert (change.kind, change.side) == (ChangeKind.LEAVES, "") and 6.0 < change.time < 10.0

    def test_nothing_that_comes_back_before_long(self, stage, thing):
        dog = thing("dog", ((0.0, 0.5, 0.5), (6.0, 0.5, 0.5)))
        back = thing("dog", ((7.0, 0.5, 0.5), (99.0, 0.5, 0.5)))
        assert stage([dog, back]).changes(15) == []

    def test_there_and_away_again(self, stage, thing):
        passes = thing("person", ((5.0, -0.1, 0.6), (10.0, 1.1, 0.6)))
        first, second = stage([passes]).changes(15)
        assert told([first, second]) == [("appears", "person"), ("leaves", "person")]
        assert (first.side, second.side) == ("left", "right") and first.track == second.track


class TestHidden:
    def test_passing_behind_another_is_not_leaving(self, stage, thing):
        walker = thing("dog", ((5.0, -0.1, 0.6), (10.0, 1.1, 0.6)), size=(0.1, 0.2), blind=((7.0, 8.0),))
        front = thing("person", ((0.0, 0.5, 0.5), (99.0, 0.5, 0.5)), size=(0.22, 0.7), grey=20)
        assert told(stage([walker, front]).changes(20)) == [("appears", "dog"), ("leaves", "dog")]

    def test_behind_a_pillar_that_is_no_object(self, stage, thing):
        walker = thing("person", ((5.0, -0.1, 0.6), (11.0, 1.1, 0.6)), size=(0.1, 0.4), blind=((7.7, 8.3),))
        pillar = thing("bench", ((0.0, 0.5, 0.5), (99.0, 0.5, 0.5)), size=(0.08, 1.0), grey=20, unseen=True)
        assert told(stage([walker, pillar]).changes(20)) == [("appears", "person"), ("leaves", "person")]

    def test_behind_something_for_good_is_leaving_after_all(self, stage, thing, leaf):
        dog = thing("dog", ((0.0, 0.5, 0.6), (99.0, 0.5, 0.6)), size=(0.1, 0.2), blind=((6.0, 99.0),))
        path = ((4.5, 1.1, 0.55), (6.0, 0.5, 0.55), (99.0, 0.5, 0.55))
        front = thing("person", path, size=(0.25, 0.7), grey=20)
        changes = stage([dog, front, leaf]).changes(20)
        assert sorted(told(changes)) == [("appears", "person"), ("leaves", "dog")]
        leaves = next(change for change in changes if change.kind is ChangeKind.LEAVES)
        assert 3.9 < leaves.time - leaves.started < 4.6


class TestMoves:
    @pytest.mark.parametrize(
        ("to", "heading"), [((0.7, 0.5), "right"), ((0.3, 0.5), "left"), ((0.5, 0.2), "up"), ((0.5, 0.8), "down")]
    )
    def test_tells_where_it_went(self, stage, thing, to, heading):
        dog = thing("dog", ((0.0, 0.5, 0.5), (6.0, 0.5, 0.5), (7.5, *to), (99.0, *to)), size=(0.14, 0.2))
        [change] = stage([dog]).changes(15)
        assert (change.kind, change.heading) == (ChangeKind.MOVES, heading)
        assert change.box_before.center == pytest.approx((0.5, 0.5), abs=0.02)
        assert change.box.center == pytest.approx(to, abs=0.02)
        assert 7.3 <= change.started <= change.time < 9.0 and (change.before, change.after) == (1, 1)

    def test_tells_it_soon_while_there_is_reason_to_look(self, stage, thing, leaf):
        dog = thing("dog", ((0.0, 0.5, 0.5), (6.0, 0.5, 0.5), (7.5, 0.7, 0.5), (99.0, 0.7, 0.5)), size=(0.14, 0.2))
        [change] = stage([dog, leaf]).changes(15)
        assert change.kind is ChangeKind.MOVES and 8.0 <= change.time <= 9.0

    def test_a_box_that_trembles_is_no_movement(self, stage, thing):
        path = tuple((float(n) / 2, 0.5 + (0.02 if n % 2 else -0.02), 0.5) for n in range(60))
        assert stage([thing("dog", path, size=(0.14, 0.2))]).changes(20) == []

    def test_a_box_that_goes_where_no_pixel_does_is_none(self, stage, thing):
        wandering = thing("dog", ((0.0, 0.5, 0.5), (6.0, 0.5, 0.5), (7.5, 0.7, 0.5), (99.0, 0.7, 0.5)), ghost=True)
        assert stage([wandering]).changes(15) == []


class TestCrowd:
    def test_is_told_as_a_number(self, stage, thing):
        people = [
            thing("person", ((4.0 + n, 0.06 + 0.09 * n, 0.5), (60.0, 0.06 + 0.09 * n, 0.5)), size=(0.05, 0.25))
            for n in range(11)
        ]
        changes = stage(people).changes(25)
        crowds = [change for change in changes if change.kind is ChangeKind.CROWD]
        assert 1 <= len(crowds) <= 4 and len(changes) <= 8
        assert all(change.after > change.before and change.after > 4 and change.track is None for change in crowds)
        assert [change.after for change in crowds] == sorted(change.after for change in crowds)


class TestCut:
    def test_forgets_without_events(self, stage, thing):
        gone = [thing("dog", ((0.0, 0.3, 0.5), (8.0, 0.3, 0.5))), thing("person", ((0.0, 0.8, 0.5), (8.0, 0.8, 0.5)))]
        views = list(stage(gone, places=((0.0, 0), (8.0, 3))).play(15, looks=OBJECTS))
        assert not any(view.changes for view in views)
        assert views[79].counts() == {"dog": 1, "person": 1} and views[-1].tracks == ()

    def test_what_the_new_scene_shows_came_from_no_side(self, stage, thing):
        walker = thing("dog", ((8.0, 0.07, 0.5), (12.0, 0.3, 0.5), (99.0, 0.3, 0.5)))
        [change] = stage([walker], places=((0.0, 0), (8.0, 3))).changes(15)
        assert (change.kind, change.side) == (ChangeKind.APPEARS, "")

    def test_one_who_is_in_both_scenes_is_no_news(self, stage, thing):
        people = [thing("person", ((0.0, 0.2, 0.5), (8.0, 0.2, 0.5))), thing("person", ((8.0, 0.7, 0.5), (99.0, 0.7, 0.5)))]
        views = list(stage(people, places=((0.0, 0), (8.0, 3))).play(15, looks=OBJECTS))
        assert not any(view.changes for view in views) and views[-1].counts() == {"person": 1}
