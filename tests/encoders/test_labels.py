"""Names stand in the order of the networks' outputs."""

import numpy as np

from serval.encoders.labels import COCO, COCO_GROUPS, IMAGENET, group_of, group_scores


def test_counts_and_known_places():
    assert len(COCO) == len(set(COCO)) == 80
    assert (COCO[0], COCO[2], COCO[41], COCO[79]) == ("person", "car", "cup", "toothbrush")
    assert len(IMAGENET) == len(set(IMAGENET)) == 1000
    # Places that the literature quotes.
    assert (IMAGENET[0], IMAGENET[468], IMAGENET[504], IMAGENET[999]) == ("tench", "cab", "coffee mug", "toilet tissue")
    assert all(name == name.strip() and name and "," not in name for name in IMAGENET)


def test_groups_hold_known_classes_once():
    members = [label for labels in COCO_GROUPS.values() for label in labels]
    assert len(members) == len(set(members))
    assert set(members) <= set(COCO)
    assert {group_of(label) for label in ("car", "truck", "bus", "train")} == {"vehicle"}
    assert group_of("person") == "person"
    assert not set(COCO_GROUPS) & set(COCO), "the name of a group must not be mistaken for a class"


def test_group_scores_are_the_chance_that_one_of_them_is_right():
    scores = np.zeros(80, np.float32)
    scores[COCO.index("car")], scores[COCO.index("truck")], scores[COCO.index("person")] = 0.5, 0.5, 0.7
    grouped = group_scores(scores)
    assert list(grouped)[:2] == ["vehicle", "person"]
    assert abs(grouped["vehicle"] - 0.75) < 1e-6
    assert abs(grouped["person"] - 0.7) < 1e-6
    assert len(grouped) == len({group_of(label) for label in COCO})
