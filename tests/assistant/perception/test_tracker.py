"""Boxes followed over time: what is one thing, what it is called, and when it is let go."""

import numpy as np
import pytest

from serval.assistant.perception.followed import GROUPS, group_vector
from serval.assistant.perception.tracker import Tracker
from serval.encoders.labels import COCO
from serval.encoders.percept import Detection
from serval.media.box import Box


def sees(box, **says):
    """A detection; underscores stand for the blanks in labels."""
    vector = np.full(len(COCO), 0.01, np.float32)
    for label, score in says.items():
        vector[COCO.index(label.replace("_", " "))] = score
    return Detection(box, vector)


def at(x, y=0.5, width=0.15, height=0.2):
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def follow(*looks, every=0.25):
    """A tracker that has taken the looks, each a list of detections."""
    tracker = Tracker()
    for number, detections in enumerate(looks):
        tracker.step(detections, number * every)
    return tracker


def confirmed(tracker):
    return [each for each in tracker.objects if each.confirmed]


class TestNames:
    def test_a_car_by_any_other_name_is_one_vehicle(self):
        looks = [{"car": 0.5}, {"cell_phone": 0.6, "car": 0.2}, {"bus": 0.4}, {"truck": 0.45}, {"car": 0.5}, {"truck": 0.4}]
        tracker = follow(*[[sees(at(0.3 + 0.02 * n), **says)] for n, says in enumerate(looks)])
        assert len(tracker.objects) == 1
        label, others = tracker.objects[0].name()
        assert tracker.objects[0].group == "vehicle"
        assert label == "vehicle" and {"car", "truck"} <= {other for other, _ in others}

    def test_a_thing_is_called_by_its_class_when_that_clearly_leads(self):
        tracker = follow(*[[sees(at(0.3), car=0.7, truck=0.2)]] * 4)
        assert tracker.objects[0].name()[0] == "car"

    def test_one_wrong_label_does_not_rename(self):
        tracker = follow(*[[sees(at(0.4), dog=0.6)]] * 4, [sees(at(0.4), cat=0.7, dog=0.1)])
        assert len(tracker.objects) == 1 and tracker.objects[0].name()[0] == "dog"

    def test_many_better_ones_do(self):
        tracker = follow(*[[sees(at(0.4), dog=0.5)]] * 2, *[[sees(at(0.4), cat=0.8)]] * 8)
        assert len(tracker.objects) == 1 and tracker.objects[0].name()[0] == "cat"

    def test_scores_of_a_group_add_up_as_chances_do(self):
        vector = sees(at(0.5), car=0.4, truck=0.3).scores
        assert group_vector(vector)[GROUPS.index("vehicle")] == pytest.approx(1 - 0.6 * 0.7)

    def test_a_whole_group_of_noise_adds_up_to_nothing(self):
        vector = np.full(len(COCO), 0.04, np.float32)
        assert (group_vector(vector) == 0).all()


class TestBelief:
    def test_one_look_is_not_believed(self):
        assert not confirmed(follow([sees(at(0.5), person=0.95)]))

    def test_two_are(self):
        assert len(confirmed(follow(*[[sees(at(0.5), person=0.6)]] * 2))) == 1

    def test_weak_looks_add_up_only_when_one_was_clear(self):
        weak = [[sees(at(0.5), cup=0.3)]] * 8
        assert not confirmed(follow(*weak))
        assert confirmed(follow(*weak, [sees(at(0.5), cup=0.4)]))

    def test_a_ghost_class_on_a_person_is_no_second_thing_for_long(self):
        person = sees(at(0.5, height=0.6), person=0.8)
        ghost = sees(at(0.5, 0.6, height=0.2), dog=0.4)
        looks = [[person], [person, ghost], [person], [person], [person], [person, ghost], [person], [person]]
        assert [each.group for each in confirmed(follow(*looks, every=1.0))] == ["person"]

    def test_evidence_is_released(self):
        tracker = follow(*[[sees(at(0.5), dog=0.7)]] * 4)
        dog = tracker.objects[0]
        assert dog.strength(0.75) > 0.9
        assert dog.strength(10.0) == 0.0

    def test_recent_looks_outweigh_old_ones(self):
        looks = [[sees(at(0.5), car=0.9)]] * 4 + [[sees(at(0.5), car=0.12)]] * 8
        tracker = follow(*looks, every=0.5)
        assert len(tracker.objects) == 1 and tracker.objects[0].strength(5.5) < 0.5


class TestMatching:
    def test_survives_a_gap(self):
        tracker = follow(*[[sees(at(0.2 + 0.03 * n), person=0.7)] if n not in (4, 5) else [] for n in range(12)])
        assert [each.id for each in tracker.objects] == [1]
        assert tracker.objects[0].missed == 0 and tracker.objects[0].hits == 10

    def test_counts_misses_and_forgets_them_at_a_hit(self):
        tracker = follow([sees(at(0.5), person=0.7)], [sees(at(0.5), person=0.7)], [], [])
        assert tracker.objects[0].missed == 2
        tracker.step([sees(at(0.5), person=0.7)], 1.0)
        assert tracker.objects[0].missed == 0

    def test_two_that_cross_keep_their_identity(self):
        looks = [[sees(at(0.2 + 0.05 * n, 0.4), person=0.8), sees(at(0.8 - 0.05 * n, 0.55), dog=0.8)] for n in range(13)]
        tracker = follow(*looks)
        assert [(each.id, each.name()[0]) for each in tracker.objects] == [(1, "person"), (2, "dog")]
        assert tracker.objects[0].box.center[0] > 0.7 and tracker.objects[1].box.center[0] < 0.3

    def test_a_person_is_not_inherited_by_the_table_behind(self):
        person = [[sees(at(0.5, 0.6), person=0.8)]] * 4
        table = [[sees(at(0.5, 0.6), dining_table=0.8)]] * 4
        tracker = follow(*person, *table)
        assert {each.name()[0] for each in tracker.objects} == {"person", "dining table"}
        assert tracker.objects[0].missed == 4

    def test_far_things_of_one_kind_are_two(self):
        assert len(confirmed(follow(*[[sees(at(0.2), cup=0.7), sees(at(0.8), cup=0.7)]] * 3))) == 2

    def test_order_of_detections_does_not_matter(self):
        looks = [[sees(at(x + 0.01 * n, y), **{label: 0.7}) for x, y, label in
                  ((0.2, 0.3, "person"), (0.5, 0.5, "dog"), (0.8, 0.7, "car"))] for n in range(6)]  # fmt: skip
        there, back = follow(*looks), follow(*[look[::-1] for look in looks])
        found = [sorted((each.name()[0], each.box, each.hits) for each in tracker.objects) for tracker in (there, back)]
        assert found[0] == found[1]


class TestParts:
    def test_a_torso_is_no_second_person(self):
        whole, torso = sees(at(0.5, height=0.6), person=0.8), sees(at(0.5, 0.4, 0.12, 0.25), person=0.6)
        assert len(follow(*[[whole, torso]] * 4).objects) == 1

    def test_not_even_one_seen_later(self):
        whole, torso = sees(at(0.5, height=0.6), person=0.8), sees(at(0.5, 0.4, 0.12, 0.25), person=0.6)
        assert len(follow([whole], [torso, whole], [whole], [whole, torso]).objects) == 1

    def test_a_thing_of_another_kind_in_a_box_is_kept(self):
        person, phone = sees(at(0.5, height=0.6), person=0.8), sees(at(0.5, 0.4, 0.05, 0.05), cell_phone=0.6)
        assert len(follow(*[[person, phone]] * 4).objects) == 2


def test_the_weakest_go_when_there_are_too_many():
    tracker = follow(*[[sees(at(0.5), person=0.9)]] * 3)
    rng = np.random.default_rng(1)
    for number in range(8):
        crowd = [sees(at(*rng.uniform(0.1, 0.9, 2), 0.03, 0.03), bird=0.3) for _ in range(30)]
        tracker.step([sees(at(0.5), person=0.9), *crowd], 1.0 + number * 0.25)
        assert len(tracker.objects) <= 60
    assert tracker.objects[0].id == 1
