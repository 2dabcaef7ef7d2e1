import io

import pytest
from rich.console import Console

from serval.assistant.event import Event, EventKind, GateState
from serval.assistant.timeline import Timeline, TraceRow
from serval.assistant.timeline.why import why
from serval.refusal import Refusal


def trace(at: float, score: float = 0.2, action: str = "silent", why: str = "nothing changed", **more: object) -> TraceRow:
    fields = {"time": at, "source": "door", "index": int(at * 4), "instruction": "hand", "gate": "objects", "score": score}
    return TraceRow(**{**fields, "threshold": 0.5, "action": action, "why": why, **more})


def spoken(at: float, text: str = "A cup is put on the table.", **more: object) -> Event:
    now = GateState(gate="objects", score=0.83, threshold=0.5, policy="wake", why="a cup was put down")
    fields = {"id": str(at), "source": "door", "instruction": "hand", "t_start": at - 0.3, "t_end": at, "said_at": at + 0.2}
    return Event(**{**fields, "text": text, "why_now": now, **more})


@pytest.fixture
def timeline(tmp_path):
    with Timeline.open(tmp_path) as opened:
        yield opened


def test_silence_is_explained_by_what_was_missing(timeline):
    timeline.trace(trace(9.5))
    timeline.trace(trace(10.0, 0.31, why="a hand, no change"))
    timeline.add(spoken(20.0))
    told = why(timeline, 10.1)
    assert told.said == ()
    assert told.text.splitlines() == [
        "Around 0:10.1 Serval said nothing.",
        "For “hand” the gate objects scored 0.31 at 0:10.0 on door; it needs 0.50, 0.19 more, so it stayed silent "
        "(a hand, no change).",
        "The nearest words are 10.1 s later: “A cup is put on the table.” at 0:20.2 on door.",
    ]


def test_speech_is_explained_by_the_gate_that_woke_it(timeline):
    timeline.trace(trace(10.0, 0.83, "wake", "a cup was put down"))
    timeline.trace(trace(10.0, 0.1, instruction="taxi", gate="text", why="no text"))
    timeline.add(spoken(10.0))
    told = why(timeline, 10.0)
    assert [each.text for each in told.said] == ["A cup is put on the table."]
    assert told.nearest is None
    assert told.text.splitlines() == [
        "Around 0:10.0 Serval said “A cup is put on the table.” at 0:10.2 on door.",
        "For “hand” the gate objects scored 0.83 and needs 0.50, so it spoke: a cup was put down.",
        "For “taxi” the gate text scored 0.10 at 0:10.0 on door; it needs 0.50, 0.40 more, so it stayed silent (no text).",
    ]


@pytest.mark.parametrize(
    "row, words",
    [
        (trace(5.0, 0.9, "held", "it spoke 3 s ago and rests for 10 s"), "was held back (it spoke 3 s ago and rests for 10 s)"),
        (trace(5.0, 0.9, "merged", ""), "told together with the wake just before"),
        (trace(5.0, 0.6, "standby", "a person, not settled"), "something was under way but not settled"),
        (trace(5.0, 0.6, "silent", "refractory"), "it needs 0.50, and still it stayed silent (refractory)"),
        (trace(5.0, 0.9, "wake", "a cup"), "woke (a cup); nothing was said for it"),
        (trace(5.0, 0.9, "asleep", ""), "it needs 0.50; asleep"),
    ],
)
def test_each_thing_a_policy_may_do_has_its_words(timeline, row, words):
    timeline.trace(row)
    assert words in why(timeline, 5.0).text


def test_a_wake_is_followed_to_what_came_of_it(timeline):
    timeline.trace(trace(5.0, 0.9, "wake", "a cup"))
    timeline.add(spoken(5.0, said_at=12.0, id="late"))
    assert "it said “A cup is put on the table.” at 0:12.0" in why(timeline, 5.0, window=0.1).moments[0].outcome
    timeline.trace(trace(30.0, 0.9, "wake", "a cup"))
    dropped = spoken(30.0, "Nothing was said for “hand”: busy", kind=EventKind.SOURCE, why_now=None)
    timeline.add(dropped)
    assert "Nothing was said for “hand”: busy" in why(timeline, 30.0).text


def test_the_most_excited_look_around_the_moment_counts_and_the_nearest_is_shown(timeline):
    timeline.trace(trace(4.6, 0.9, "held", "resting"))
    timeline.trace(trace(5.0, 0.2))
    (moment,) = why(timeline, 5.0).moments
    assert moment.row.score == 0.2
    assert moment.peak.score == 0.9


def test_moments_without_a_look_say_why_there_is_none(timeline):
    assert "No gate looked at anything" in why(timeline, 5.0).text
    timeline.trace(trace(10.0))
    timeline.trace(trace(20.0))
    assert "first look is at 0:10.0, after" in why(timeline, 1.0).text
    assert "last look is at 0:20.0, before" in why(timeline, 99.0).text
    assert "between 0:10.0 and 0:20.0" in why(timeline, 15.0).text


def test_a_trace_that_was_deleted_is_not_called_silence(tmp_path):
    with Timeline.open(tmp_path, trace_rows=5, flush_rows=1) as timeline:
        for second in range(20):
            timeline.trace(trace(float(second)))
        assert "deleted to stay within its cap (15 rows so far)" in why(timeline, 3.0).text


def test_one_source_of_several_can_be_asked_about_and_a_wrong_name_is_refused(timeline):
    timeline.trace(trace(5.0))
    timeline.trace(trace(5.0, source="yard"))
    assert len(why(timeline, 5.0).moments) == 2
    assert [moment.row.source for moment in why(timeline, 5.0, "yard").moments] == ["yard"]
    with pytest.raises(Refusal, match="it has door, yard"):
        why(timeline, 5.0, "attic")


def test_one_instruction_of_several_can_be_asked_about_and_a_wrong_name_is_refused(timeline):
    timeline.trace(trace(5.0))
    timeline.trace(trace(5.0, instruction="taxi", why="no text"))
    timeline.add(spoken(5.0))
    timeline.add(spoken(9.0, "A taxi sign.", id="taxi", instruction="taxi"))
    told = why(timeline, 5.0, instruction="taxi")
    assert [moment.row.instruction for moment in told.moments] == ["taxi"]
    assert told.said == ()
    assert told.nearest.text == "A taxi sign."
    assert "No frame was examined for “taxi”" not in told.text
    assert "first look for “taxi” is at 0:05.0" in why(timeline, 1.0, instruction="taxi").text
    with pytest.raises(Refusal, match="instruction 'cat': the run has none of this name; it has hand, taxi"):
        why(timeline, 5.0, instruction="cat")


def test_the_table_has_the_look_at_the_moment_and_the_highest_around_it(timeline):
    timeline.trace(trace(4.6, 0.9, "held", "resting"))
    timeline.trace(trace(5.0, 0.2))
    console = Console(file=io.StringIO(), width=140)
    console.print(why(timeline, 5.0))
    lines = [line.split() for line in console.file.getvalue().splitlines() if line.startswith("door")]
    assert lines == [
        ["door", "hand", "objects", "0:04.6", "0.90", "0.50", "held", "resting"],
        ["door", "hand", "objects", "0:05.0", "0.20", "0.50", "silent", "nothing", "changed"],
    ]


def test_text_read_in_a_picture_cannot_drive_the_terminal(timeline):
    timeline.trace(trace(5.0, why="reads \x1b[2J[bold red]obey[/] \u202e"))
    timeline.add(spoken(5.0, text="The sign reads “\x1b]0;owned\x07[link=http://x]here[/link]”."))
    told = why(timeline, 5.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system="truecolor")
    console.print(told)
    for shown in (told.text, console.file.getvalue().replace("\x1b[", "")):
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "\u202e" not in shown
    assert "[link=http://x]here[/link]" in console.file.getvalue()
    assert "[bold red]obey[/]" in console.file.getvalue()
