"""Items and records of every kind, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from serval.conversation.messages import Media, Message, Text, ToolCall
from serval.data.item import Event, Item, Region, RunLengths
from serval.media.box import Box

NAMES = st.sampled_from(["a", "b c", "größe", "漢字", "_x", "a.b", "-"])
WORDS = st.sampled_from(["", " ", "two words", "ä\n\tß", "漢", "😀", '"quoted\\"', "<b>", "[1,2]", "null"]) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from([{}, {"a": None}, {"score": 0.1, "b c": [1, {"d": ""}]}, {"漢": 2**70, "e": {"f": [True, -1e-300]}}])
IDS = st.none() | st.integers() | WORDS
SECONDS = st.floats(0, 1e6)
PATHS = st.sampled_from(["a.jpg", "b c/漢.mp4", "./a/b.wav", "a..b"])


@st.composite
def media(draw) -> Media:
    kind = draw(st.sampled_from(["image", "video", "audio"]))
    place = draw(st.sampled_from(["path", "url", "data"]))
    value = {"path": PATHS, "url": PATHS.map("https://a.example/".__add__), "data": st.just("AAAA")}[place]
    fps = st.none() | st.floats(0.1, 30) if kind == "video" else st.none()
    return Media(kind=kind, **{place: draw(value)}, time=draw(st.none() | SECONDS), fps=draw(fps))


@st.composite
def messages(draw) -> Message:
    role = draw(st.sampled_from(["system", "user", "assistant", "tool"]))
    text = st.builds(Text, text=WORDS, time=st.none() | SECONDS)
    parts = draw(st.lists(text | media() if role == "user" else text, max_size=3))
    calls = st.lists(st.builds(ToolCall, name=NAMES, arguments=st.sampled_from(['{"a": 1}', "{}", '{"b":[2]}'])), max_size=2)
    return Message(
        role=role,
        parts=tuple(parts),
        name=draw(st.none() | NAMES),
        tool_calls=tuple(draw(calls)) if role == "assistant" else (),
    )


@st.composite
def boxes(draw) -> Box:
    left, right = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    top, bottom = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    return Box(left, top, right, bottom)


OUTLINES = (
    st.none()
    | st.just(())
    | st.lists(st.tuples(*[st.floats(0, 640)] * 6), max_size=2).map(tuple)
    | st.builds(RunLengths, size=st.just((480, 640)), counts=WORDS | st.lists(st.integers(0, 99), max_size=4).map(tuple))
)
REGIONS = st.builds(
    Region,
    box=st.none() | boxes(),
    label=WORDS,
    phrases=st.lists(WORDS, max_size=2).map(tuple),
    segmentation=OUTLINES,
    size=st.none() | st.just((640, 480)),
    id=IDS,
    extra=FIELDS,
)


@st.composite
def events(draw) -> Event:
    start = draw(st.floats(-10, 1e5))
    end = draw(st.none() | st.floats(0, 100).map(start.__add__))
    return Event(start=start, end=end, text=draw(WORDS), kind=draw(WORDS), extra=draw(FIELDS))


@st.composite
def items(draw, talking: bool = False) -> Item:
    said = draw(st.lists(messages(), min_size=int(talking), max_size=4))
    ours = [number for number, each in enumerate(said) if each.role == "assistant"]
    return Item(
        id=draw(IDS),
        source=draw(WORDS),
        media=tuple(draw(st.lists(media(), max_size=2))),
        messages=tuple(said),
        unlearned=tuple(draw(st.sets(st.sampled_from(ours)))) if ours else (),
        regions=tuple(draw(st.lists(REGIONS, max_size=2))),
        events=tuple(draw(st.lists(events(), max_size=3))),
        extra=draw(FIELDS),
    )
