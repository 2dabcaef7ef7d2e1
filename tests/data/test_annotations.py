"""Annotations of videos and pictures: what the published files say becomes events and regions, and they come back equal."""

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.conversation.messages import Message
from serval.data.dataset import FORMATS, format_named, open_dataset, recognise, write_dataset
from serval.data.formats.record import write_record
from serval.data.item import Event, Item, Region, RunLengths
from serval.data.limits import DataLimits
from serval.media.box import Box
from serval.refusal import Refusal

EGO4D = {
    "version": "v2",
    "videos": {
        "uid-1": {
            "status": "complete",
            "narration_pass_1": {
                "narrations": [
                    {
                        "timestamp_sec": 3.3445,
                        "timestamp_frame": 100,
                        "narration_text": "#C C opens a door",
                        "annotation_uid": "x",
                    },
                    {"timestamp_sec": 1, "timestamp_frame": 30, "narration_text": "#C C stands", "annotation_uid": "y"},
                ],
                "summaries": [{"start_sec": 0, "end_sec": 300.0, "summary_text": "#summary C was at home", "_uid": "z"}],
            },
            "narration_pass_2": {"narrations": [{"timestamp_sec": 2.5, "narration_text": "C walks"}], "summaries": []},
        },
        "uid-2": {"status": "redacted"},
        "uid-3": {"narration_pass_1": {"narrations": []}},
    },
}
GOALSTEP = {
    "version": "1.0",
    "videos": [
        {
            "video_uid": "v1", "start_time": 0.0, "end_time": 600.5, "goal_category": "COOKING:SALAD",
            "goal_description": "make a salad", "goal_wikihow_url": "", "summary": ["wash", "cut"], "is_procedural": True,
            "segments": [
                {"start_time": 1.5, "end_time": 40.0, "step_category": "wash lettuce", "step_description": "wash the lettuce",
                 "is_continued": False, "is_relevant": "essential", "segments": [
                     {"start_time": 2.0, "end_time": 9.0, "step_description": "open the tap", "is_relevant": "essential"},
                     {"start_time": 9.0, "end_time": 30.0, "step_description": "rinse leaves"}]},
                {"start_time": 50.0, "end_time": 90.0, "step_description": "cut tomatoes", "segments": []},
            ],
        },
        {"video_uid": "v2", "start_time": 0.0, "end_time": 1.0, "goal_description": "rest", "segments": []},
    ],
}  # fmt: skip
COIN = {
    "database": {
        "-8NaVGEccgc": {
            "duration": 86.47, "subset": "training", "recipe_type": 13, "class": "PutOnHairExtensions",
            "video_url": "https://a.example/x", "start": 4.6, "end": 71.2,
            "annotation": [
                {"id": 20, "segment": [32.0, 34], "label": "clean hair"}, {"id": "21", "segment": [40.0, 60.0], "label": "x"}],
        },
        "b": {"annotation": []},
    }
}  # fmt: skip
EGOEXO4D = {
    "ds": "2024-01-01",
    "annotations": {
        "take-1": [
            {"annotation_uid": "a", "annotator_id": "5", "rejected": False, "reject_reason": None, "descriptions": [
                {"text": "C moves his right hand.", "timestamp": 0.03831, "narration_subject": "C", "ego_visible": "0",
                 "best_exo": {"raw_cam_id": "1", "cam_id": "cam01"}, "unsure": "0"},
                {"text": "The man X walks to C.", "timestamp": 3.9, "subject": "O"}]},
            {"annotation_uid": "b", "annotator": 6, "rejected": True, "descriptions": [{"text": "C sits", "timestamp": 1}]},
            {"annotation_uid": "c", "rejected": False, "descriptions": []},
        ],
        "take-2": [],
    },
    "split": "train",
}  # fmt: skip
COCO = {
    "info": {"year": 2017},
    "images": [
        {"id": 9, "file_name": "9.jpg", "width": 640, "height": 427, "license": 3, "coco_url": "http://a.example/9.jpg"},
        {"id": 4, "file_name": "4.jpg", "width": 333, "height": 500},
        {"id": 5, "file_name": "5.jpg"},
    ],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 18, "bbox": [473.07, 395.93, 38.65, 28.67], "area": 702.1, "iscrowd": 0,
         "segmentation": [[510.66, 423.01, 511.72, 420.03, 510.45, 416.0], [1, 2, 3, 4, 5, 6]]},
        {"id": 900100, "image_id": 9, "category_id": 1, "bbox": [0, 0, 640, 427], "iscrowd": 1, "area": 1,
         "segmentation": {"counts": [272, 2, 4], "size": [427, 640]}, "keypoints": [1, 2, 2]},
        {"id": 3, "image_id": 4, "category_id": 18, "bbox": [1.123456789012345, 2.5, 300.7, 31.0000001],
         "segmentation": {"size": [500, 333], "counts": "abc"}},
        {"id": 2, "image_id": 5, "caption": "a dog in the grass"},
    ],
    "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 1, "name": "person"}],
}  # fmt: skip
REFCOCO = [
    {"ref_id": 1, "ann_id": 1, "image_id": 9, "file_name": "COCO_9_1.jpg", "category_id": 18, "split": "val", "sent_ids": [0],
     "sentences": [{"sent": "the dog", "raw": "The dog", "tokens": ["the", "dog"], "sent_id": 0}, {"sent": "left dog"}]},
    {"ref_id": 2, "ann_id": 3, "image_id": 4, "file_name": "COCO_4_1.jpg", "sentences": ["it"]},
]  # fmt: skip
BOXED = [
    {
        "ref_id": "r",
        "file_name": "9.jpg",
        "bbox": [10.5, 20, 30, 40.25],
        "width": 640,
        "height": 427,
        "sentences": [{"sent": "dog"}],
        "x": 1,
    }
]
FILES = {"ego4d": EGO4D, "goalstep": GOALSTEP, "coin": COIN, "egoexo4d": EGOEXO4D, "coco": COCO, "refcoco": BOXED}


@pytest.fixture
def put(tmp_path):
    def put(name, value):
        (tmp_path / name).write_text(json.dumps(value))
        return tmp_path / name

    return put


@pytest.mark.parametrize("form", FILES)
def test_a_file_comes_back_equal_also_by_way_of_our_lines(put, tmp_path, form):
    path = put("a.json", FILES[form])
    assert recognise(path) == form
    dataset = open_dataset(form, path)
    count = write_dataset(form, tmp_path / "b.json", dataset, dataset.header())
    assert json.loads((tmp_path / "b.json").read_text()) == FILES[form]
    assert write_dataset("serval", tmp_path / "c.jsonl", dataset, dataset.header()) == count == len(list(dataset))
    assert recognise(tmp_path / "c.jsonl") == "serval"
    lines = open_dataset("serval", tmp_path / "c.jsonl")
    assert list(pickle.loads(pickle.dumps(dataset.indexed()))) == list(dataset)  # as a loader's workers get it
    assert list(lines) == list(lines.indexed()) == list(dataset) == list(dataset.indexed())
    write_dataset(form, tmp_path / "d.json", lines, lines.header())
    assert json.loads((tmp_path / "d.json").read_text()) == FILES[form]


def test_ego4d_may_be_the_videos_alone(put, tmp_path):
    path = put("a.json", EGO4D["videos"])
    dataset = open_dataset("ego4d", path)
    assert recognise(path) == "ego4d" and [each.id for each in dataset] == ["uid-1", "uid-2", "uid-3"]
    write_dataset("serval", tmp_path / "c.jsonl", dataset, dataset.header())
    lines = open_dataset("serval", tmp_path / "c.jsonl")
    write_dataset("ego4d", tmp_path / "b.json", lines, lines.header())
    assert json.loads((tmp_path / "b.json").read_text()) == EGO4D["videos"]


def test_events_are_what_happens(put):
    first = next(iter(open_dataset("ego4d", put("a.json", EGO4D))))
    assert [(each.start, each.end, each.kind) for each in first.events] == [
        (3.3445, None, "narration_pass_1"), (1.0, None, "narration_pass_1"), (0.0, 300.0, "narration_pass_1/summaries"),
        (2.5, None, "narration_pass_2"),
    ]  # fmt: skip
    assert first.media[0].path == "uid-1.mp4" and first.extra == {"status": "complete"}
    goal = next(iter(open_dataset("goalstep", put("b.json", GOALSTEP))))
    assert [(each.kind, each.parent, each.text) for each in goal.events] == [
        ("goal", None, "make a salad"), ("step", 0, "wash the lettuce"), ("substep", 1, "open the tap"),
        ("substep", 1, "rinse leaves"), ("step", 0, "cut tomatoes"),
    ]  # fmt: skip
    coin = next(iter(open_dataset("coin", put("c.json", COIN))))
    assert [(each.start, each.end, each.text) for each in coin.events] == [(32.0, 34.0, "clean hair"), (40.0, 60.0, "x")]
    take = next(iter(open_dataset("egoexo4d", put("d.json", EGOEXO4D))))
    assert [(each.start, each.kind) for each in take.events] == [
        (0.03831, "annotation_1"),
        (3.9, "annotation_1"),
        (1.0, "rejected_2"),
    ]


def test_regions_are_fractions_with_their_outlines(put):
    dog, *_ = open_dataset("coco", put("a.json", COCO))
    assert [each.label for each in dog.regions] == ["dog", "person"]
    assert dog.regions[1].box == Box(0, 0, 1, 1) and dog.regions[1].size == (640, 427)
    assert dog.regions[0].box.left == 473.07 / 640
    assert dog.regions[0].segmentation[1] == (1, 2, 3, 4, 5, 6)
    assert dog.regions[1].segmentation == RunLengths(size=(427, 640), counts=(272, 2, 4))


def test_boxes_of_phrases_come_from_cocos_instances(put, tmp_path):
    instances = put("coco.json", COCO)
    dataset = open_dataset("refcoco", put("refs.json", REFCOCO), instances=instances)
    first, second = dataset
    assert first.regions[0].phrases == ("the dog", "left dog") and first.regions[0].label == "dog"
    assert first.regions[0].box.left == 473.07 / 640 and first.media[0].path == "9.jpg"
    assert second.media[0].path == "4.jpg"
    write_dataset("refcoco", tmp_path / "b.json", dataset, instances=instances)
    assert json.loads((tmp_path / "b.json").read_text()) == REFCOCO
    write_dataset("refcoco", tmp_path / "c.json", dataset)  # without them, boxes are written
    for there, here in zip(open_dataset("refcoco", tmp_path / "c.json"), dataset, strict=True):
        assert there.regions[0].box == pytest.approx(here.regions[0].box, abs=1e-8)
    with pytest.raises(Refusal, match=r"refs\.json item 1: it has no bbox; give COCO's instances"):
        list(open_dataset("refcoco", put("refs.json", REFCOCO)))
    with pytest.raises(Refusal, match="annotation 77 of image 9 is not among the instances"):
        list(open_dataset("refcoco", put("refs.json", [REFCOCO[0] | {"ann_id": 77}]), instances=instances))


def test_a_pickle_is_never_opened(tmp_path):
    (tmp_path / "refs(unc).p").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(Refusal, match="it is a pickle, which can run code"):
        list(open_dataset("refcoco", tmp_path / "refs(unc).p"))


def changed(value, *path, to):
    """A copy with one place of it changed."""
    made = json.loads(json.dumps(value))
    inner = made
    for each in path[:-1]:
        inner = inner[each]
    inner[path[-1]] = to
    return made


PASS = ("videos", "uid-1", "narration_pass_1")
NOTE, SEGMENT, TAKE = ("annotations", 0), ("videos", 0, "segments"), ("annotations", "take-1", 1, "descriptions", 0)
WRONG = [  # a file, a place in it, what is put there, and why it is refused
    (
        "ego4d",
        (*PASS, "narrations", 1, "timestamp_sec"),
        "1",
        "item 1, narration_pass_1 narration 2: its timestamp_sec is text",
    ),
    ("ego4d", (*PASS, "narrations"), {}, "item 1, narration_pass_1: its narrations is an object"),
    ("ego4d", (*PASS, "summaries", 0, "end_sec"), -1, "item 1, narration_pass_1 summary 1: it ends before it starts"),
    ("ego4d", ("videos",), {"../uid": {}}, "item 1: its video '../uid.mp4' is not below a folder"),
    ("ego4d", ("videos",), 3, "videos holds no records"),
    ("ego4d", ("videos",), [1], "videos is not an object"),
    ("goalstep", (*SEGMENT, 1, "end_time"), 0.5, "item 1, segment 2: it ends before it starts"),
    ("goalstep", (*SEGMENT, 0, "segments", 1, "step_description"), None, "segment 1 segment 2: its step_description is null"),
    ("coin", ("database", "b", "annotation"), [{"segment": [2, 1], "label": ""}], "item 2, step 1: its segment is not"),
    ("coin", ("database", "b"), [], "item 2: its value is a list, not an object"),
    ("egoexo4d", (*TAKE, "timestamp"), True, "annotation 2 description 1: its timestamp is true or false"),
    ("coco", (*NOTE, "bbox"), [1, 2, 3], "image 1, annotation 1: its bbox is not four numbers"),
    ("coco", (*NOTE, "bbox"), [1, 2, -3, 4], "annotation 1: its bbox has a negative side"),
    ("coco", ("images", 0, "width"), 0, "annotation 1: its picture has no width and height"),
    ("coco", (*NOTE, "segmentation"), [[1, 2, 3]], "annotation 1: its segmentation is neither"),
    ("coco", (*NOTE, "image_id"), 77, "an annotation is of image 77, which is not there"),
    ("coco", ("images", 0, "id"), 4, "two images have the id 4"),
    ("coco", ("images", 0, "id"), "9", "image 1: it has no id that is a whole number"),
    ("coco", ("images",), [], "it has no images"),
    ("refcoco", (0, "sentences"), [{"raw": "a"}], "item 1, sentence 1: it has no sent"),
]
BAD = [(form, changed(FILES[form], *place, to=to), why) for form, place, to, why in WRONG]
BAD += [
    ("goalstep", {"version": 1}, "it has no videos"),
    ("goalstep", [], "holds no records"),
    ("coco", [], "it is not a list"),
]


@pytest.mark.parametrize(("form", "value", "why"), BAD)
def test_a_bad_file_is_refused_in_a_line_with_the_place(put, form, value, why):
    with pytest.raises(Refusal, match=why) as refused:
        list(open_dataset(form, put("a.json", value)))
    assert str(refused.value).startswith("a.json") and "\n" not in str(refused.value)


def test_bad_records_can_be_left_out(put):
    said = []
    value = changed(COIN, "database", "b", to=[])
    assert [each.id for each in open_dataset("coin", put("a.json", value), skip=said.append)] == ["-8NaVGEccgc"]
    assert len(said) == 1


def test_a_file_that_is_cut_off_is_refused_behind_its_last_whole_record(put, tmp_path):
    path = put("a.json", COIN)
    path.write_bytes(path.read_bytes()[:-8])
    found = iter(open_dataset("coin", path))
    assert next(found).id == "-8NaVGEccgc"
    with pytest.raises(Refusal, match="ends in its middle"):
        list(found)


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"serval", "llava", "sharegpt", "openai"}))
def test_what_has_no_place_is_refused_not_lost(form):
    talk = Item(id="a", messages=(Message.of("user", "hi"),))
    with pytest.raises(Refusal):
        write_record(format_named(form), talk)
    step = Item(id="a", events=(Event(start=0.0, end=1.0, text="a", kind="cooking"),), extra={"a": 1})
    if form not in ("coin",):
        with pytest.raises(Refusal):
            write_record(format_named(form), step)
    for id_ in (None, 1.0):
        with pytest.raises((Refusal, ValueError)):
            write_record(format_named(form), Item(id=id_))


def test_regions_made_here_get_what_cocos_tools_need(tmp_path):
    def picture(number, *labels):
        regions = tuple(Region(label=each, box=Box(0.25, 0.5, 0.75, 1.0), size=(640, 480)) for each in labels)
        from serval.conversation.messages import Media

        media = (Media(kind="image", path=f"{number}.png"),)
        return Item(id=number, media=media, regions=regions, extra={"width": 640, "height": 480})

    write_dataset("coco", tmp_path / "a.json", [picture(1, "dog", "cat"), picture(2, "cat")])
    made = json.loads((tmp_path / "a.json").read_text())
    assert made["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    assert [(each["id"], each["image_id"], each["category_id"]) for each in made["annotations"]] == [
        (1, 1, 1),
        (2, 1, 2),
        (3, 2, 2),
    ]
    assert (
        made["annotations"][0] | {"bbox": [160.0, 240.0, 320.0, 240.0], "area": 76800.0, "iscrowd": 0} == made["annotations"][0]
    )
    assert [each.label for each in next(iter(open_dataset("coco", tmp_path / "a.json"))).regions] == ["dog", "cat"]


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.lists(st.integers(0, 10**6), min_size=4, max_size=4)), max_size=6),
    st.integers(1, 16384),
)
def test_pixels_of_coco_come_back_whatever_the_picture(tmp_path_factory, drawn, side):
    images = [{"id": number, "file_name": f"{number}.jpg", "width": side, "height": side} for number in (4, 2, 1, 3)]
    notes = [
        {"id": number, "image_id": image, "bbox": [each / 100 for each in four]} for number, (image, four) in enumerate(drawn)
    ]
    path = tmp_path_factory.mktemp("coco") / "a.json"
    path.write_text(json.dumps({"annotations": notes, "images": images}))
    dataset = open_dataset("coco", path)
    assert all(each.spelled is None for each in dataset)
    write_dataset("coco", path.with_name("b.json"), dataset, dataset.header())
    back = json.loads(path.with_name("b.json").read_text())
    assert back["images"] == images
    assert sorted(back["annotations"], key=lambda each: each["id"]) == notes


def test_limits_hold_for_joined_records_too(put):
    with pytest.raises(Refusal, match="image 1: its annotations have too many bytes"):
        list(open_dataset("coco", put("a.json", COCO), limits=DataLimits(record=300)))
    with pytest.raises(Refusal, match="more than 2 items"):
        list(open_dataset("coco", put("a.json", COCO), limits=DataLimits(items=2)))
