"""Typed facts hold what view and percept hold, merged, and every one shows its evidence."""

import pytest

from serval.assistant.answers.looks_like import KIND_OF
from serval.assistant.event import FactKind
from serval.assistant.instructions.instruction import Target
from serval.encoders.labels import COCO_GROUPS, IMAGENET


def of(facts, kind, **slots):
    return [each for each in facts if each.kind == kind and all(getattr(each, name) == value for name, value in slots.items())]


def only(facts, kind, **slots):
    found = of(facts, kind, **slots)
    assert len(found) == 1, found
    return found[0]


def test_several_that_come_in_from_one_side_are_one_fact(make):
    facts = make.moment(
        make.change("appears", "person", side="left", track=1, before=0, after=1, box=make.left),
        make.change("appears", "person", time=5.3, side="left", track=2, before=1, after=2, box=make.middle),
    )
    fact = only(facts, FactKind.CHANGE)
    assert (fact.subject, fact.count, fact.action, fact.place) == ("person", 2, "appears", "from the left")
    assert only(facts, FactKind.BEFORE).count == 0 and only(facts, FactKind.AFTER).count == 2
    assert [each.frame for each in fact.evidence] == ["abc", ""]  # the second settled after the keyframe


def test_from_two_sides_are_two_facts(make):
    facts = make.moment(*(make.change("appears", "person", side=side, track=n) for n, side in enumerate(("left", "right"))))
    assert {each.place for each in of(facts, FactKind.CHANGE)} == {"from the left", "from the right"}


def test_the_same_change_twice_is_told_once(make):
    one = make.change("leaves", "dog", track=7, side="right")
    assert only(make.moment(one, one), FactKind.CHANGE).count == 1


@pytest.mark.parametrize(("strong", "weak"), [("put", "appears"), ("taken", "leaves"), ("appears", "moves")])
def test_what_a_stronger_word_says_is_not_told_again(make, strong, weak):
    facts = make.moment(make.change(weak, "cup", track=3), make.change(strong, "cup", track=3))
    assert only(facts, FactKind.CHANGE).action == strong


def test_leaving_by_no_known_side_has_no_place(make):
    assert only(make.moment(make.change("leaves", "cat", box=make.left)), FactKind.CHANGE).place == ""


def test_put_on_the_table_by_the_person_whose_box_holds_the_hand(make):
    put = make.change("put", "bottle", on="dining table", hand=make.hand(make.left.grow(0.2)).box, box=make.middle)
    facts = make.moment(put, tracks=[make.track(1, "person", make.left), make.track(2, "person", make.right)])
    assert only(facts, FactKind.CHANGE).place == "on the table" and only(facts, FactKind.CHANGE).object == "dining table"
    who = only(facts, FactKind.WHO)
    assert (who.subject, who.action, who.object) == ("person", "put", "bottle")
    assert make.left in [each.box for each in who.evidence]


def test_a_hand_that_belongs_to_nobody_in_view_stays_a_hand(make):
    taken = make.change("taken", "cup", hand=make.right, before=2, after=1)
    assert only(make.moment(taken, tracks=[make.track(1, "person", make.left)]), FactKind.WHO).subject == "hand"


def test_without_a_hand_nobody_did_it(make):
    assert not of(make.moment(make.change("put", "cup"), tracks=[make.track(1, "person", make.left)]), FactKind.WHO)


def test_counts_and_places_come_from_settled_tracks(make):
    tracks = [
        make.track(1, "car", make.left),
        make.track(2, "car", make.right),
        make.track(3, "dog", make.middle, settled=False),
    ]
    facts = make.moment(tracks=tracks)
    count = only(facts, FactKind.COUNT)
    assert (count.subject, count.count) == ("car", 2) and len(count.evidence) == 2
    assert {(each.place, each.count) for each in of(facts, FactKind.PLACE)} == {("on the left", 1), ("on the right", 1)}


def test_many_are_placed_by_quarters(make):
    tracks = [make.track(n, "person", make.left) for n in range(4)] + [make.track(9, "person", make.right)] * 3
    places = {each.place: each.count for each in of(make.moment(tracks=tracks), FactKind.PLACE)}
    assert places == {"at the bottom left": 4, "at the bottom right": 3}


def test_a_new_scene_is_described_from_its_own_keyframe(make):
    facts = make.moment(
        make.change("scene"),
        target=Target.SCENE,
        tracks=[make.track(1, "dog", make.left)],
        detections=(
            make.detection("person", make.left),
            make.detection("car", make.right, 0.6),
            make.detection("car", make.right, 0.55),
            make.detection("cat", make.middle, 0.3),
        ),
    )
    assert {(each.subject, each.count) for each in of(facts, FactKind.COUNT)} == {("person", 1), ("car", 1)}


def test_a_box_whose_class_is_unsure_is_named_by_its_group(make):
    facts = make.moment(detections=(make.detection("car", make.left, 0.4, truck=0.4),))
    assert only(facts, FactKind.COUNT).subject == "vehicle"


def test_a_group_takes_in_its_own_members(make):
    seen = (
        make.detection("car", make.left, 0.4, truck=0.4),
        make.detection("car", make.right),
        make.detection("dog", make.middle),
    )
    counts = {each.subject: each.count for each in of(make.moment(detections=seen), FactKind.COUNT)}
    assert counts == {"vehicle": 2, "dog": 1}


def test_what_stands_on_its_own_feet_is_not_said_to_rest_on_things(make):
    facts = make.moment(make.change("appears", "person", on="chair", box=make.left))
    assert (only(facts, FactKind.CHANGE).place, only(facts, FactKind.CHANGE).object) == ("on the left", "")


def test_only_sure_tags_are_kept_and_none_that_guesses_at_people(make):
    facts = make.moment(make.change("scene"), target=Target.SCENE, tags={"cab": 0.65, "groom": 0.2})
    assert [(each.subject, round(each.score, 2)) for each in of(facts, FactKind.SCENE)] == [("cab", 0.65)]
    assert not of(make.moment(target=Target.SCENE, tags={"cab": 0.24}), FactKind.SCENE)


def test_a_tag_counts_for_more_when_the_detector_saw_a_thing_of_its_kind(make):
    def tagged(probability, *seen):
        facts = make.moment(make.change("scene"), target=Target.SCENE, tags={"minibus": probability}, detections=seen)
        return [each.subject for each in of(facts, FactKind.SCENE)]

    assert tagged(0.3) == [] and tagged(0.65) == ["minibus"]
    assert tagged(0.3, make.detection("car", make.left, 0.55)) == ["minibus"]
    assert tagged(0.3, make.detection("dog", make.left, 0.55)) == []
    assert tagged(0.65, make.detection("car", make.left, 0.9)) == []  # told as a car already


def test_every_kind_of_tag_is_a_tag_and_a_kind():
    assert set(KIND_OF) <= set(IMAGENET) and set(KIND_OF.values()) <= set(COCO_GROUPS)


def test_things_are_named_when_one_of_their_kind_is_sure_and_then_counted(make):
    def seen(*scores):
        boxes = (make.left, make.middle, make.right)
        found = tuple(make.detection("car", box, score) for box, score in zip(boxes, scores, strict=False))
        facts = make.moment(make.change("scene"), target=Target.SCENE, detections=found)
        return [each.count for each in of(facts, FactKind.COUNT)]

    assert seen(0.7, 0.55, 0.52) == [3]
    assert seen(0.59, 0.55) == []
    assert seen(0.7, 0.4) == [1]


@pytest.mark.parametrize("under", ["person", "book", "car"])
def test_nothing_is_said_to_stand_on_what_nothing_stands_on(make, under):
    facts = make.moment(make.change("appears", "chair", on=under, box=make.left))
    assert (only(facts, FactKind.CHANGE).place, only(facts, FactKind.CHANGE).object) == ("on the left", "")


def test_the_first_scene_is_not_a_change(make):
    assert only(make.moment(make.change("scene"), scene=1), FactKind.CHANGE).action == "first scene"
    assert only(make.moment(make.change("scene"), scene=2), FactKind.CHANGE).action == "scene"


def test_tags_are_not_mixed_into_what_objects_do(make):
    assert not of(make.moment(make.change("appears", "dog"), tags={"cab": 0.9}), FactKind.SCENE)


def test_text_is_verbatim_on_one_line_with_new_lines_first(make):
    lines = (make.line("OPEN"), make.line("Ta\x1b[31mxi\n7", make.right), make.line("blurred", score=0.4))
    facts = make.moment(make.change("text", text="Ta\x1b[31mxi\n7", box=make.right), target=Target.TEXT, lines=lines)
    assert [(each.text, each.place, each.action) for each in of(facts, FactKind.TEXT)] == [
        ("Ta [31mxi 7", "on the right", "text"),
        ("OPEN", "at the top left", ""),
    ]


def test_text_known_only_from_the_change_is_kept(make):
    fact = only(make.moment(make.change("text", text="TAXI", box=make.right), target=Target.TEXT), FactKind.TEXT)
    assert (fact.text, fact.place, fact.action) == ("TAXI", "on the right", "text")


def test_text_asked_for_comes_first(make):
    facts = make.moment(target=Target.TEXT, text="exit", lines=(make.line("OPEN"), make.line("Exit here", make.right)))
    assert [each.text for each in of(facts, FactKind.TEXT)] == ["Exit here", "OPEN"]


def test_touching_names_the_nearest_thing_and_no_surface_beneath_it(make):
    cup = make.middle.grow(0.2)
    facts = make.moment(
        tracks=[make.track(1, "person", make.middle), make.track(2, "dining table", make.table), make.track(3, "cup", cup)],
        hands=(make.hand(cup), make.hand(make.left, score=0.2)),
    )
    fact = only(facts, FactKind.TOUCHING)
    assert (fact.subject, fact.object) == ("hand", "cup") and {each.label for each in fact.evidence} == {"hand", "cup"}


def test_a_crowd_is_one_fact_with_the_last_count(make):
    facts = make.moment(make.change("crowd", "person", before=9, after=12))
    assert (only(facts, FactKind.CHANGE).action, only(facts, FactKind.AFTER).count) == ("crowd", 12)


def test_nothing_seen_still_has_a_time(make):
    assert [each.kind for each in make.moment()] == [FactKind.TIME]
    assert of(make.moment(target=Target.LIKENESS), FactKind.SCENE)[0].action == "likeness"


def test_every_fact_has_evidence_with_the_source(make):
    facts = make.moment(
        make.change("appears", "cup", box=make.left, on="dining table"), tracks=[make.track(1, "person", make.left)]
    )
    assert all(fact.evidence and {each.source for each in fact.evidence} == {"door"} for fact in facts)
