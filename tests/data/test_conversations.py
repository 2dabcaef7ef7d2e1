"""LLaVA, ShareGPT, OpenAI and Serval's own lines: any of them to any other and back is what it was; bad records are named."""

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.conversation.messages import Media, Message, Text, ToolCall
from serval.data.dataset import format_named, open_dataset, recognise, write_dataset
from serval.data.formats.record import read_record, write_record
from serval.data.item import Event, Item
from serval.data.limits import USUAL, DataLimits
from serval.refusal import Refusal

from .strategies import items

TALKS = ("llava", "sharegpt", "openai")
LLAVA = [
    {"id": "000000033471", "image": "coco/33471.jpg", "conversations": [
        {"from": "human", "value": "<image>\nWhat are the colors of the bus?"}, {"from": "gpt", "value": "White and red."}]},
    {"id": 7, "image": ["a.jpg", "b.jpg"], "score": 0.5, "conversations": [
        {"from": "human", "value": "First <image>, then <image>?"}, {"from": "gpt", "value": "A dog.", "weight": 0}]},
    {"image": ["a.jpg"], "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": ""}]},
    {"id": "v", "video": "v.mp4", "data_source": "x", "conversations": [
        {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]},
    {"video": "v.mp4", "conversations": [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "A"}]},
    {"conversations": [{"from": "user", "value": "the <video> element?"}, {"from": "assistant", "value": "HTML", "x": None}]},
    {"system": "Be brief.", "model": "", "conversations": [{"from": "human", "value": "hi"}]},
]  # fmt: skip
SHAREGPT = [
    {"images": ["a.jpg"], "audios": ["b.wav"], "conversations": [
        {"from": "human", "value": "<image><audio>What?"}, {"from": "gpt", "value": "A cat."}]},
    {"id": "t", "tools": "[]", "conversations": [
        {"from": "system", "value": "Use tools."}, {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Bern"}}'},
        {"from": "observation", "value": "sunny"}, {"from": "gpt", "value": "Sunny."}]},
    {"image": "a.jpg", "conversations": [{"from": "human", "value": "<image>?"}, {"from": "chatgpt", "value": "A cat."}]},
]  # fmt: skip
OPENAI = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho", "weight": 0}], "tools": []},
    {"id": 1, "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "Ann", "content": [
            {"type": "text", "text": "a"}, {"type": "text", "text": "<image>", "time": 1.5},
            {"type": "image_url", "image_url": {"url": "a/b.jpg", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "cache": True},
            {"type": "video_url", "video_url": {"url": "https://a.example/v.mp4"}, "fps": 2, "time": 0.0},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]},
        {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "1", "tool_call_id": "c1"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"role": "assistant", "content": None}]},
]  # fmt: skip
RECORDS = {"llava": LLAVA, "sharegpt": SHAREGPT, "openai": OPENAI}


def read(form, record):
    return read_record(format_named(form), record, "a.json item 1", USUAL)


@pytest.mark.parametrize(("form", "number"), [(form, n) for form, each in RECORDS.items() for n in range(len(each))])
def test_every_record_comes_back_from_every_other_format(form, number):
    record = RECORDS[form][number]
    item = read(form, record)
    assert write_record(format_named(form), item) == record
    for other in (*TALKS, "serval"):
        try:
            there = write_record(format_named(other), item)
        except Refusal as refusal:
            assert form == "openai" or (other == "llava" and "tool" in str(refusal)), refusal
            continue
        back = read(other, json.loads(json.dumps(there)))
        assert write_record(format_named(form), back) == record, (other, there)
        assert read_record(format_named(other), there, "", USUAL) == back


@settings(max_examples=25)
@given(items(talking=True), st.sampled_from(TALKS))
def test_whatever_an_item_says_survives_any_format_or_is_refused(item, form):
    form = format_named(form)
    try:
        record = write_record(form, item)
    except Refusal as refusal:
        assert any(
            each in str(refusal) for each in ("tool", "<image>", "placeholder", "null", "shows media", "is a file:", "is of a")
        )
        return
    back = read_record(form, json.loads(json.dumps(record)), "", USUAL)
    assert back == item.model_copy(update={"source": ""})
    assert write_record(form, back) == record


def test_placeholders_become_parts_where_they_stand():
    item = read("llava", LLAVA[1])
    first, second = (Media(kind="image", path=path) for path in ("a.jpg", "b.jpg"))
    assert item.messages[0].parts == (Text(text="First "), first, Text(text=", then "), second, Text(text="?"))
    assert (item.id, item.extra, item.unlearned) == (7, {"score": 0.5}, (1,))
    video = read("llava", LLAVA[3])
    assert video.messages[0].media == (Media(kind="video", path="v.mp4"),)
    assert read("llava", LLAVA[5]).messages[0].text == "the <video> element?"
    assert write_record(format_named("openai"), item)["messages"][0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "a.jpg"},
    }


def test_a_record_that_a_format_can_say_has_nothing_of_ours():
    for form, other in product(TALKS, TALKS):
        record = write_record(format_named(other), read(form, RECORDS[form][0]))
        assert "serval" not in record, (form, other)


def test_tools_are_called_and_answer():
    item = read("sharegpt", SHAREGPT[1])
    assert item.messages[2].tool_calls == (ToolCall(name="weather", arguments='{"city": "Bern"}'),)
    assert [each.role for each in item.messages] == ["system", "user", "assistant", "tool", "assistant"]


BAD = {
    "llava": [
        ({"conversations": "hi"}, "its conversations is text, not a list"),
        ({"image": "a.jpg"}, "it has no conversations"),
        ({"conversations": [["human", "hi"]]}, "message 1: it is a list, not an object"),
        ({"conversations": [{"from": "human"}]}, "message 1: it has no value"),
        ({"conversations": [{"from": "robot", "value": "hi"}]}, "message 1: it is from 'robot'"),
        ({"conversations": [{"from": "human", "value": "<image>"}]}, "it has 1 <image> and 0 of the kind image"),
        ({"image": "a.jpg", "conversations": [{"from": "human", "value": "hi"}]}, "it has 0 <image> and 1 of the kind image"),
        ({"image": "a.jpg", "conversations": [{"from": "human", "value": "<image><image>"}]}, "2 <image> and 1"),
        ({"image": "a.jpg", "conversations": [{"from": "gpt", "value": "<image>"}]}, "is not the user's"),
        ({"image": [1], "conversations": []}, "image 1: it is not a path"),
        ({"image": "a", "images": ["a"], "conversations": []}, "it has image and images"),
        ({"id": 1.5, "conversations": []}, "its id is a number, not text or a whole number"),
        ({"image": "/etc/passwd", "conversations": [{"from": "human", "value": "<image>"}]}, "is not below a folder"),
        ({"image": "a/../../b", "conversations": [{"from": "human", "value": "<image>"}]}, "is not below a folder"),
        ({"image": "..\\b", "conversations": [{"from": "human", "value": "<image>"}]}, "is not below a folder"),
        ({"image": "C:\\b", "conversations": [{"from": "human", "value": "<image>"}]}, "is not below a folder"),
        ({"image": "FILE:///b", "conversations": [{"from": "human", "value": "<image>"}]}, "is a file: URL"),
        ([], "it is a list, not an object"),
    ],
    "sharegpt": [({"conversations": [{"from": "function_call", "value": "f()"}]}, "message 1: its call has no name")],
    "openai": [
        ({"messages": []}, "it has no message"),
        ({"messages": [{"role": "user"}]}, "message 1: it has no content"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "role: input should be 'system'"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "message 1, part 1: it is of the type 'smell'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "message 1, part 1: it has no text"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("form", "record", "why"), [(form, *case) for form, cases in BAD.items() for case in cases])
def test_a_bad_record_is_refused_in_a_line_with_its_place(form, record, why):
    with pytest.raises(Refusal) as refused:
        read(form, record)
    text = str(refused.value)
    assert text.startswith("a.json item 1") and why in text and "\n" not in text


def test_text_that_looks_like_a_placeholder_is_not_written():
    for parts in ((Text(text="an <image> tag"),), (Text(text="<ima"), Text(text="ge>")), (Text(text="a\0b"),)):
        with pytest.raises(Refusal, match=r"openai|null"):
            write_record(format_named("llava"), Item(messages=(Message(role="user", parts=parts),)))


def test_an_edited_record_is_not_overruled_by_what_we_kept():
    item = Item(messages=(Message.of("user", "hi"),), events=(Event(start=1.0, text="a"),))
    record = write_record(format_named("openai"), item)
    assert record["serval"] == {"events": [{"start": 1.0, "text": "a"}]}
    assert read("openai", record) == item
    split = Item(messages=(Message(role="user", parts=(Text(text="a"), Text(text="b"))),))
    record = write_record(format_named("llava"), split)
    assert read("llava", record) == split
    record["conversations"][0]["value"] = "abc"
    with pytest.raises(Refusal, match="does not fit"):
        read("llava", record)
    with pytest.raises(Refusal, match="not Serval's"):
        read("llava", {"conversations": [], "serval": {"speed": 1}})


def test_an_edited_item_is_written_as_it_is_now():
    item = read("llava", LLAVA[3])
    edited = item.model_copy(update={"id": "new"})
    assert write_record(format_named("llava"), edited)["id"] == "new"
    assert write_record(format_named("llava"), edited)["conversations"][0]["value"] == "<video>\nWhat?"


def test_limits_of_a_conversation():
    long = {"messages": [{"role": "user", "content": "abc"}] * 3}
    for limits, what in (
        (DataLimits(messages=2), "3 messages"),
        (DataLimits(characters=8), "9 characters"),
        (DataLimits(parts=2), "3 p"),
    ):
        with pytest.raises(Refusal, match=f"a: it has {what}.* the limit"):
            read_record(format_named("openai"), long, "a", limits)


def test_files_are_read_line_by_line_or_as_a_list(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\ufeff" + "\n\n".join(map(json.dumps, LLAVA)))
    listed = tmp_path / "a.json"
    listed.write_text(json.dumps(LLAVA, indent=1))
    for file in (path, listed):
        dataset = open_dataset("llava", file)
        assert recognise(file) == "llava"
        assert [each.source for each in dataset] == ["a"] * len(LLAVA)
        assert list(dataset.indexed()) == list(dataset)
        assert dataset.indexed()[3] == list(dataset)[3] and dataset.indexed()[-1].messages[0].text == "Be brief."
        assert write_dataset("llava", tmp_path / "b.json", dataset) == len(LLAVA)
        assert json.loads((tmp_path / "b.json").read_text()) == LLAVA
    write_dataset("llava", tmp_path / "empty.json", [])
    assert list(open_dataset("llava", tmp_path / "empty.json")) == []


def test_bad_records_name_their_line_and_can_be_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    good = {"messages": [{"role": "user", "content": "hi"}]}
    path.write_text(json.dumps(good) + "\n{}\nnot json\n" + json.dumps(good) + "\n")
    with pytest.raises(Refusal, match=r"^a\.jsonl line 2: it has no messages"):
        list(open_dataset("openai", path))
    said = []
    assert len(list(open_dataset("openai", path, skip=said.append))) == 2
    assert [str(each).split(":")[0] for each in said] == ["a.jsonl line 2", "a.jsonl line 3"]
    with pytest.raises(Refusal, match="more than 1 items"):
        list(open_dataset("openai", path, limits=DataLimits(items=1), skip=said.append))
    with pytest.raises(Refusal, match="line 1: it has more than 20 bytes"):
        list(open_dataset("openai", path, limits=DataLimits(record=20)))
    for missing in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(Refusal):
            open_dataset("openai", missing)
    with pytest.raises(Refusal, match="there is none of that name; take serval, llava"):
        open_dataset("klingon", path)
    with pytest.raises(Refusal, match="takes no instances"):
        open_dataset("llava", path, instances="a")


def test_media_stay_in_their_folder_whatever_links_say(tmp_path):
    root = tmp_path / "media"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    path = tmp_path / "a.jsonl"

    def opened(image):
        path.write_text(json.dumps({"image": str(image), "conversations": [{"from": "human", "value": "<image>"}]}))
        return list(open_dataset("llava", path, media=root))

    assert opened("a/b.jpg") and opened("a/../b.jpg") and opened(root / "a.jpg") and opened("https://a.example/b.jpg")
    for image in ("out/a.jpg", "../a.jpg", "/etc/passwd", tmp_path / "media2" / "a.jpg", "loop/a", "a/\0", root, "a/../.."):
        with pytest.raises(Refusal, match=r"line 1: .* is not in media"):
            opened(image)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("before")

    def some():
        yield Item(messages=(Message.of("user", "hi"),))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset("openai", path, some())
    assert path.read_text() == "before" and [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]
    with pytest.raises(Refusal, match="cannot be written"):
        write_dataset("openai", tmp_path / "none" / "a.jsonl", [])
