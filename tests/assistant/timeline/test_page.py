"""The page is what people hand around: nothing that was read in a picture may become anything but text on it."""

import base64
import hashlib
import io
import re
import sqlite3
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from serval.assistant.event import Event, EventKind, Evidence, GateState
from serval.assistant.timeline import RunInfo, SourceInfo, Timeline, TraceRow
from serval.assistant.timeline.export import page as page_module
from serval.assistant.timeline.export.hues import HUES
from serval.assistant.timeline.export.page import page
from serval.assistant.timeline.plain import one_line
from serval.assistant.timeline.recording import Recording
from serval.encoders.percept import Looks, Percept
from serval.media.box import Box
from serval.media.frame import Frame

BOX = Box(0.25, 0.3, 0.5, 0.8)


class Outline(HTMLParser):
    """The page's tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    handle_pi = unknown_decl = handle_comment

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attributes)) for tag, attributes in self.tags]


def frame(index: int, size: tuple[int, int] = (160, 120)) -> Frame:
    pixels = np.full((size[1], size[0], 3), 40 + index, np.uint8)
    return Frame.from_rgb(pixels, source="door", index=index, time=float(index))


def words(text: str, at: float = 2.0, sha256: str = "ab" * 32) -> Event:
    """An event with ``text`` wherever a person, a model or a camera could have put something."""
    return Event(
        id=f"id {text}",
        source=f"door {text}",
        instruction=f"tell me {text}",
        t_start=at - 1,
        t_end=at,
        said_at=at,
        text=f"A {text}",
        unverified=f"perhaps {text}",
        score=0.9,
        why_now=GateState(gate=f"gate {text}", score=0.9, threshold=0.5, policy="wake", why=f"because {text}"),
        evidence=(
            Evidence(time=at, frame=sha256, box=BOX, label=f"cup {text}", score=0.8),
            Evidence(time=at, frame=sha256, box=Box(0.8, 0.02, 0.99, 0.2), label="text", score=0.8, text=f"sign {text}"),
        ),
        models={f"role {text}": f"part {text}"},
    )


def made(folder: Path, text: str) -> str:
    """The page of a run in which everything is called ``text``."""
    with Timeline.open(folder) as timeline, Recording.open(folder) as recording:
        recording.add(each := frame(2), Percept("door", 2, 2.0, each.luma, each.sha256), Looks(detect=True))
        timeline.start(
            RunInfo(
                sources=(SourceInfo(name=f"door {text}", address=f"path {text}"),),
                parts={f"reader {text}": f"rapidocr {text}"},
                arguments={"tell": text},
                started=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )
        for second in range(5):
            why = f"saw {text}"
            row = (float(second), f"door {text}", second, f"tell me {text}", f"gate {text}", 0.2 * second, 0.5, "silent", why)
            timeline.trace(TraceRow(*row))
        timeline.add(words(text, sha256=each.sha256))
        timeline.add(words(text, at=3.0).model_copy(update={"id": "source", "kind": EventKind.SOURCE}))
        return "".join(page(timeline, recording))


HOSTILE = [
    "</p><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)><a href='javascript:alert(1)'>x</a>",
    "</style><style>*{display:none}</style>",
    "<!-- --> <![CDATA[ ]]> <?php ?> </svg></title>",
    "{{ 7 * 7 }}{% for x in cards %}{{ ''.__class__ }}{% endfor %}",
    "&lt;b&gt; &amp;#60; &#x3c;script&#x3e;",
    "' onload='alert(1)' x='",
    "\u202egnp.exe\u202c \x00\x1b[2J \ufeff",
]


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    return Outline(made(tmp_path_factory.mktemp("run"), "harmless"))


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40), st.text(alphabet="<>/\"'&;={}%!- ab", max_size=40)))
@example("".join(HOSTILE))
@settings(max_examples=16)
def test_no_text_changes_the_shape_of_the_page_and_all_of_it_can_be_read(harmless, tmp_path_factory, text):
    outline = Outline(made(tmp_path_factory.mktemp("run"), text))
    assert outline.shape == harmless.shape
    for lead in ("A", "perhaps", "because", "tell me", "gate", "cup", "path", "rapidocr"):
        assert one_line(f"{lead} {text}") in outline.text
    for (_, attributes), (_, plain) in zip(outline.tags, harmless.tags, strict=True):
        hued = re.sub(r"^box c\d$", "box c0", attributes.get("class") or "")
        assert {**attributes, "class": hued} == {**plain, "class": re.sub(r"^box c\d$", "box c0", plain.get("class") or "")}


def test_it_asks_for_nothing_and_runs_nothing(tmp_path):
    text = made(tmp_path, "cup")
    outline = Outline(text)
    tags = {tag for tag, _ in outline.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form", "input", "video", "audio"}
    for _, attributes in outline.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset", "xlink:href")]
        assert re.fullmatch(r"#e\d+", attributes.get("href", "#e0"))
        assert attributes.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        if "http-equiv" in attributes:
            policy = attributes["content"]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    expected = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policy == expected
    assert "@import" not in style
    assert "url(" not in style


def test_the_keyframe_is_in_it_with_boxes_where_the_things_are(tmp_path):
    outline = Outline(made(tmp_path, "x"))
    (source,) = [attributes["src"] for tag, attributes in outline.tags if tag == "img"]
    image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert image.size == (160, 120)
    assert abs(np.asarray(image).astype(int) - 42).max() <= 2
    boxes = [attributes for tag, attributes in outline.tags if tag == "rect" and attributes["class"].startswith("box")]
    assert [boxes[0][name] for name in ("x", "y", "width", "height")] == ["25.0%", "30.0%", "25.0%", "50.0%"]
    labels = [attributes for tag, attributes in outline.tags if tag == "text"]
    assert [each.get("text-anchor") for each in labels] == [None, "end"]  # the one at the right edge grows to the left
    assert int(labels[1]["dy"]) > 0  # and the one at the top hangs inside
    assert "“sign x”" in outline.text


def test_an_outline_has_its_corners_where_the_person_is():
    outline = ((0.25, 0.1), (0.5, 0.1), (0.5, 0.9))
    each = Evidence(time=0, frame="ab", box=Box(0.25, 0.1, 0.5, 0.9), label="person", outline=outline)
    (mark,) = page_module._marks([each])
    assert mark.shape == "0.250,0.100 0.500,0.100 0.500,0.900"
    (plain,) = page_module._marks([each.model_copy(update={"outline": ()})])
    assert plain.shape == ""


def test_labels_of_boxes_in_one_place_are_below_each_other(tmp_path):
    boxes = [Box(0.3, 0.5, 0.5 + shift, 0.9) for shift in (0.0, 0.01, 0.02)]
    marks = page_module._marks([Evidence(time=0, frame="ab", box=box, label="person") for box in boxes])
    assert [mark.shift for mark in marks] == [-6, 11, 28]


def test_a_large_picture_is_made_smaller_and_the_rest_is_left_out_and_said_so(tmp_path):
    with Timeline.open(tmp_path) as timeline, Recording.open(tmp_path) as recording:
        for second in range(6):
            each = frame(second, (1280, 720))
            recording.add(each, Percept("door", second, each.time, each.luma, each.sha256), Looks(detect=True))
            evidence = (Evidence(time=each.time, frame=each.sha256),)
            at = dict.fromkeys(("t_start", "t_end", "said_at"), each.time)
            timeline.add(Event(id=str(second), source="door", text=f"event {second}", evidence=evidence, **at))
        whole = Outline("".join(page(timeline, recording)))
        short = Outline("".join(page(timeline, recording, entries=4)))
        small = Outline("".join(page(timeline, recording, megabytes=0.01)))
        bare = Outline("".join(page(timeline, None)))
    assert [attributes["width"] for tag, attributes in whole.tags if tag == "img"] == ["880"] * 6
    assert "2 later events are not on this page" in short.text
    assert "event 3" in short.text
    assert "event 4" not in short.text
    pictures = sum(tag == "img" for tag, _ in small.tags)
    assert 1 <= pictures < 6
    assert small.text.count("(1 picture not shown)") == 6 - pictures
    assert bare.text.count("(1 picture not shown)") == 6


def test_a_damaged_picture_counts_as_missing(tmp_path):
    made(tmp_path, "cup")
    with sqlite3.connect(tmp_path / "recording.sqlite") as other:
        other.execute("UPDATE pictures SET jpeg = substr(jpeg, 1, 300)")
    with Timeline.open(tmp_path) as timeline, Recording.open(tmp_path) as recording:
        outline = Outline("".join(page(timeline, recording)))
    assert "(1 picture not shown)" in outline.text
    assert not [tag for tag, _ in outline.tags if tag == "img"]


def test_an_empty_run_has_a_page_that_says_so(tmp_path):
    with Timeline.open(tmp_path) as timeline:
        assert "Nothing. All was still." in Outline("".join(page(timeline, None))).text


def test_only_one_source_when_asked(tmp_path):
    with Timeline.open(tmp_path) as timeline:
        for source in ("door", "yard"):
            timeline.trace(TraceRow(1.0, source, 1, "cup", "objects", 0.3, 0.5, "silent", ""))
            at = dict.fromkeys(("t_start", "t_end", "said_at"), 1.0)
            timeline.add(Event(id=source, source=source, text=f"Seen from the {source}.", **at))
        text = Outline("".join(page(timeline, None, source="yard"))).text
    assert "Seen from the yard." in text
    assert "Seen from the door." not in text
    assert "spoke 1 time, decided 1 time" in " ".join(text.split())


def test_the_style_sheet_has_the_same_hues_as_the_video():
    style = (Path(page_module.__file__).parent / "page.css").read_text()
    assert [re.search(rf"--c{number}: (#\w+)", style).group(1) for number in range(len(HUES))] == list(HUES)
    assert re.search(rf"--c{len(HUES)}:", style) is None
