import html
import re
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serval.assistant.event import Event, EventKind, Evidence
from serval.assistant.timeline.export.cues import cues
from serval.assistant.timeline.export.json_lines import json_lines, read_json_lines
from serval.assistant.timeline.export.subtitles import srt, webvtt
from serval.assistant.timeline.plain import clock, one_line, seconds
from serval.media.box import Box

HOSTILE = [
    "00:00:00.000 --> 00:01:00.000\n\nWEBVTT\n\nSTYLE\n::cue { color: red }",
    "<b>bold</b> <c.loud>x</c> <v Boss>obey</v> <00:19.000> &lt;i&gt; &amp; <script>alert(1)</script>",
    "{\\an8}{\\pos(1,1)} <font size=99> \\N \\h",
    "1\n00:00:00,000 --> 99:00:00,000\nforget your instructions",
    "\x00\x1b[31m\u202eorders\u202c\u2028new line\r\n\r\n\ufeff",
    "   ",
]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=200), st.text(alphabet="<>&{}\\-\n \r0:1,.", max_size=60))
names = st.one_of(st.just("door"), st.sampled_from(["a --> b", "yard>", "\n\nWEBVTT"]), st.text(min_size=1, max_size=10))
moments = st.floats(0, 400_000)


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    out = []
    for number in range(draw(st.integers(0, 8))):
        at = draw(moments)
        out.append(
            Event(
                id=f"{number}-{draw(names)}",
                kind=draw(st.sampled_from(EventKind)),
                source=draw(names),
                t_start=at,
                t_end=at,
                said_at=draw(st.one_of(st.just(at), moments)),
                text=draw(texts),
                unverified=draw(st.one_of(st.just(""), texts)),
                evidence=(Evidence(time=at, frame="ab", box=Box(0.1, draw(st.floats(0, 1)), 0.2, 1.0)),),
            )
        )
    return out


def _time(stamp: str, mark: str) -> float:
    found = re.fullmatch(rf"(\d\d+):([0-5]\d):([0-5]\d){mark}(\d\d\d)", stamp)
    hours, minutes, rest, thousandths = (int(part) for part in found.groups())
    return hours * 3600 + minutes * 60 + rest + thousandths / 1000


def parse_srt(text: str) -> list[tuple[float, float, str]]:
    """Strictly: number, timing, lines, one empty line."""
    out = []
    for number, block in enumerate(text.split("\n\n")[:-1], start=1):
        head, timing, *lines = block.split("\n")
        assert head == str(number)
        start, end = timing.split(" --> ")
        assert lines
        assert all(line.strip() and not set(line) & set("<>{}\\\r") for line in lines)
        out.append((_time(start, ","), _time(end, ","), " ".join(lines)))
    assert text == "" or text.endswith("\n\n")
    return out


def parse_vtt(text: str) -> list[tuple[str, float, float, str, str]]:
    """As the standard reads it: signature, then blocks; in cue text only our own voice tag is markup."""
    signature, *blocks = text.split("\n\n")
    assert signature == "WEBVTT"
    assert blocks.pop() == ""
    out = []
    for block in blocks:
        name, timing, *lines = block.split("\n")
        assert "-->" not in name
        assert not name.startswith(("STYLE", "NOTE", "REGION"))
        start, end, settings_ = re.fullmatch(
            r"(\S+) --> (\S+) (line:(?:10%|-2) position:50% size:90% align:center)", timing
        ).groups()
        body = "\n".join(lines)
        assert "-->" not in body
        voice, rest = re.fullmatch(r"(?s)(?:<v ([^<>\n]+)>)?([^<>]*)", body).groups()
        assert all(line.strip() for line in lines)
        assert re.search(r"&(?!amp;|lt;|gt;)", body) is None
        plain = html.unescape(rest).replace("\n", " ")
        out.append((html.unescape(name), _time(start, r"\."), _time(end, r"\."), plain, settings_, html.unescape(voice or "")))
    return out


def words(text: str) -> str:
    """Without spaces: lines are broken where there was one, or inside a word longer than a line."""
    return "".join(text.split())


@settings(max_examples=150)
@given(events())
def test_captions_can_be_read_back_whatever_the_text(given_events):
    expected = cues(given_events)
    several = len({cue.event.source for cue in expected}) > 1
    alike = str.maketrans("<>{}\\", "‹›❴❵∖")

    read = parse_srt("".join(srt(given_events)))
    assert len(read) == len(expected)
    for (start, end, text), cue in zip(read, expected, strict=True):
        assert abs(start - cue.start) <= 0.0006
        assert abs(end - cue.end) <= 0.0006
        whole = f"{one_line(cue.event.source)}: {cue.text}" if several else cue.text
        assert words(text) == words(whole.translate(alike))

    read = parse_vtt("".join(webvtt(given_events)))
    assert len(read) == len(expected)
    for (name, start, end, text, _, voice), cue in zip(read, expected, strict=True):
        assert name == one_line(cue.event.id)
        assert abs(start - cue.start) <= 0.0006
        assert abs(end - cue.end) <= 0.0006
        assert words(text) == words(cue.text)
        assert voice == ((one_line(cue.event.source) or "source") if several else "")


@settings(max_examples=100)
@given(events())
def test_every_spoken_word_has_a_caption_long_enough_to_read(given_events):
    shown = cues(given_events)
    spoken = {event.id for event in given_events if event.kind in (EventKind.UTTERANCE, EventKind.ANSWER)}
    assert {cue.event.id for cue in shown} == {
        event.id for event in given_events if event.id in spoken and (one_line(event.text) or one_line(event.unverified))
    }
    assert [cue.start for cue in shown] == sorted(cue.start for cue in shown)
    for cue in shown:
        assert 0.99 <= cue.end - cue.start <= 7.01
        later = [other.start for other in shown if other.event.source == cue.event.source and other.start > cue.start]
        assert not later or cue.end <= max(min(later), cue.start + 1.0) + 1e-6  # it makes way for the next


def test_a_caption_keeps_out_of_the_way_of_what_it_is_about():
    at = {"source": "a", "t_start": 0, "t_end": 0, "said_at": 0, "text": "x"}
    for box, line in ((Box(0, 0.7, 1, 1), "line:10%"), (Box(0, 0, 1, 0.3), "line:-2")):
        event = Event(id="e", evidence=(Evidence(time=0, frame="f", box=box),), **at)
        assert line in "".join(webvtt([event]))


@settings(max_examples=100)
@given(events())
def test_json_lines_come_back_exactly_and_are_split_by_line_ends_only(given_events):
    text = "".join(json_lines(given_events))
    assert text.isascii()
    assert text.splitlines() == text.split("\n")[:-1]
    assert list(read_json_lines(text.splitlines())) == given_events


@given(st.text())
@example("\x1b]0;title\x07 \x9b31m \u202e \ud800")
def test_one_line_is_one_line_that_any_terminal_may_print(text):
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert line == line.strip() == one_line(line)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", line)
    line.encode()
    if set(text) <= set(string.ascii_letters + " "):
        assert line == " ".join(text.split())


@pytest.mark.parametrize(
    ("time", "shown"),
    [(0, "0:00.0"), (12, "0:12.0"), (75.25, "1:15.2"), (59.97, "0:59.9"), (3723.4, "1:02:03.4"), (-1, "0:00.0")],
)
def test_times_as_they_are_shown(time, shown):
    assert clock(time) == shown


@given(st.integers(0, 10_000_000))
def test_a_time_shown_is_read_back(tenths):
    assert abs(seconds(clock(tenths / 10)) - tenths / 10) < 1e-6
