"""Both families of messages give the same conversation, and what is wrong is named in one line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serval.conversation.formats import Limits, from_huggingface, from_openai, to_openai
from serval.conversation.messages import Media, Message, Text, ToolCall, count_media
from serval.refusal import Refusal


def test_both_families_say_the_same():
    openai = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "look", "time": 1.5},
                {"type": "image_url", "image_url": {"url": "https://a/b.png"}, "time": 2.0},
                {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                {"type": "video_url", "video_url": {"url": "file:///c.mp4"}, "fps": 2},
            ],
        },
    ]
    huggingface = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "look", "time": 1.5},
                {"type": "image", "image": "https://a/b.png", "time": 2.0},
                {"type": "audio", "base64": "UklG", "format": "wav"},
                {"type": "video", "url": "file:///c.mp4", "fps": 2},
            ],
        },
    ]
    read = from_openai(openai)
    assert read == from_huggingface(huggingface)
    assert count_media(read) == {"image": 1, "video": 1, "audio": 1}
    assert read[1].parts[1] == Media(kind="image", url="https://a/b.png", time=2.0)
    assert read[1].text == "look" and read[1].name == "ann"


def test_what_has_no_place_was_given_beside_the_messages_in_order():
    image, video = {"type": "image"}, {"type": "video"}
    messages = from_huggingface([{"role": "user", "content": [image, video, image]}, {"role": "user", "content": [image]}])
    assert [(part.kind, part.attached) for message in messages for part in message.media] == [
        ("image", 0),
        ("video", 0),
        ("image", 1),
        ("image", 2),
    ]


def test_tool_calls_and_results():
    call = {"id": "c1", "type": "function", "function": {"name": "seek", "arguments": '{"to": 3}'}}
    messages = from_openai(
        [
            {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
            {"role": "tool", "tool_call_id": "c1", "name": "seek", "content": "done"},
        ]
    )
    assert messages[0].tool_calls == (ToolCall(name="seek", arguments='{"to": 3}', id="c1"),)
    assert messages[1] == Message(role="tool", parts=(Text(text="done"),), name="seek", tool_call_id="c1")
    call["function"]["arguments"] = {"to": 3}
    assert from_huggingface([{"role": "assistant", "tool_calls": [call]}])[0].tool_calls == messages[0].tool_calls


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["<image>", "<video>", "[IMG]", "<|image_pad|>", "data:image/png;base64,AA"]), min_size=1))
def test_media_named_in_text_are_not_media(words):
    messages = from_openai([{"role": "user", "content": " ".join(words), "name": words[0]}])
    assert count_media(messages) == {"image": 0, "video": 0, "audio": 0}


BAD = [
    ([], "no message"),
    ("hi", "not a list"),
    (["hi"], "message 1: it is not an object"),
    ([{"role": "<|im_end|>", "content": "x"}], "message 1: role"),
    ([{"content": "x"}], "role"),
    ([{"role": "user"}], "no content"),
    ([{"role": "user", "content": 5}], "no content"),
    ([{"role": "user", "content": [{"text": "x"}]}], "part 1: it has no type"),
    ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "part 1: text"),
    ([{"role": "user", "content": [{"type": "text", "text": "x", "time": -1.0}]}], "time"),
    ([{"role": "user", "content": [{"type": "text", "text": "x", "time": float("nan")}]}], "time"),
    ([{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "pickle"}]}], "part 2: .*pickle.* not known"),
    ([{"role": "user", "content": "x", "temperature": 1}], "temperature"),
    ([{"role": "user", "content": "x", "parts": []}], "parts"),
    ([{"role": "user", "content": "x", "where": 1, "a\nb": 1}], "message 1"),
    ([{"role": "user", "content": [{"type": "text", "text": "x", "a\nb": 1}]}], "part 1"),
    ([{"role": "user", "content": "x", "tool_calls": 3}], "tool_calls"),
    ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "tool call 1: name"),
    ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": {1}}}}]}], "not JSON"),
]


@pytest.mark.parametrize("read", [from_openai, from_huggingface])
@pytest.mark.parametrize(("messages", "why"), BAD)
def test_what_is_wrong_is_named(read, messages, why):
    with pytest.raises(Refusal, match=why) as refusal:
        read(messages)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"detail": "low"}},
        {"type": "image_url", "image_url": {"url": "a", "detail": "utmost"}},
        {"type": "image_url", "image_url": 7},
        {"type": "input_audio", "input_audio": {"format": "wav"}},
        {"type": "video_url", "video_url": {"url": "a"}, "fps": 0},
        {"type": "image"},
    ],
)
def test_media_that_are_not_whole_are_refused_by_openais_reader(part):
    with pytest.raises(Refusal, match="message 1, part 1"):
        from_openai([{"role": "user", "content": [part]}])


def test_two_places_are_one_too_many():
    with pytest.raises(Refusal, match="one place"):
        from_huggingface([{"role": "user", "content": [{"type": "image", "url": "a", "path": "b"}]}])
    with pytest.raises(Refusal, match="part 1"):
        from_huggingface([{"role": "user", "content": [{"type": "image", "image": object()}]}])


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(messages=1), "2 messages, the limit is 1"),
        (Limits(parts=2), "3 parts, the limit is 2"),
        (Limits(characters=6), "7 characters, the limit is 6"),
        (Limits(data=4), "5 characters of media, the limit is 4"),
    ],
)
def test_each_limit_holds(limits, what):
    image = {"type": "image_url", "image_url": "a.png"}
    messages = [{"role": "user", "name": "abc", "content": [image]}, {"role": "user", "content": "defg"}]
    messages[0]["content"].insert(0, {"type": "text", "text": ""})
    assert len(from_openai(messages, Limits(2, 3, 7, 5))) == 2
    with pytest.raises(Refusal, match=what):
        from_openai(messages, limits)


def test_messages_do_not_change():
    (message,) = from_openai([{"role": "user", "content": "x"}])
    with pytest.raises(ValidationError):
        message.role = "system"
    assert hash(message) == hash(from_openai([{"role": "user", "content": "x"}])[0])


def test_what_is_sent_is_read_back_as_it_was():
    call = {"id": "c1", "type": "function", "function": {"name": "seek", "arguments": '{"to": 3}'}}
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}},
        {"type": "video_url", "video_url": {"url": "https://a/c.mp4"}},
    ]
    conversation = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": content},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    assert to_openai(from_openai(conversation)) == conversation


def test_what_the_api_cannot_reach_is_not_sent():
    data = Media(kind="image", data="AA", format="jpeg", time=1.0)
    (sent,) = to_openai([Message(role="user", parts=(data,))])
    assert sent["content"] == [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AA"}}]
    for part in (
        Media(kind="image", path="/etc/passwd"),
        Media(kind="video", attached=0),
        Media(kind="audio", url="https://a"),
    ):
        with pytest.raises(Refusal, match=f"message 1, part 2: the {part.kind} is not in the message"):
            to_openai([Message(role="user", parts=(Text(text="x"), part))])
