"""What a person sees while Serval watches: lines elsewhere, a panel on a terminal."""

import io
import json

import pytest
from rich.console import Console

from serval.assistant.event import Event, EventKind
from serval.assistant.station import Status
from serval.cli.live_view import BARS, LiveView, line, sparkline

STATUS = Status(
    time=75.25,
    frames={"door": 600, "yard": 590},
    looked={"door": 40, "yard": 12},
    scores={"door/taxi": tuple(step / 10 for step in range(11)), "yard/taxi": ()},
    waiting=2,
    memory_bytes=3 << 20,
    answer_seconds=1.26,
    answered=5,
    said=4,
)


def event(text: str, **more: object) -> Event:
    return Event(**{"id": text, "source": "door", "t_start": 1, "t_end": 75.25, "said_at": 76, "text": text, **more})


def view(mode: str, drops=None, several: bool = True) -> LiveView:
    names = {"taxi": "say when the taxi sign is visible"}
    return LiveView(mode, names, lambda: STATUS, lambda: drops or {}, several=several)


def drawn(shown: LiveView, width: int = 100) -> str:
    """The panel as it would stand on a terminal."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(shown)
    return console.export_text()


def test_the_panel_shows_sources_gates_drops_and_memory():
    out = drawn(view("live", {"door": {"busy": 3, "late": 1}, "yard": {"busy": 0}}))
    door, yard = next(row for row in out.splitlines() if "door" in row), next(row for row in out.splitlines() if "yard" in row)
    assert "600 frames, 40 looked at" in door and "dropped: 3 busy 1 late" in door and " fps" in door
    assert "590 frames, 12 looked at" in yard and "no drops" in yard
    assert "1:15.2" in out
    assert "taxi sign" in out and sparkline(STATUS.scores["door/taxi"]) in out and "1.00" in out
    assert "said 4" in out and "answering 2" in out and "answerer 1.3 s" in out and "memory 3.0 MB" in out


@pytest.mark.parametrize("width", [20, 40, 200])
def test_it_fits_any_terminal(width):
    assert all(len(row) <= width for row in drawn(view("live"), width).splitlines())


def test_the_panel_before_the_first_picture():
    empty = Status(0.0, {}, {}, {}, 0, 0, 0.0, 0, 0)
    out = drawn(LiveView("live", {}, lambda: empty, dict))
    assert "said 0" in out


def test_on_a_terminal_what_is_said_scrolls_by_and_the_panel_stays(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("serval.cli.live_view.Console", lambda **_: Console(file=screen, force_terminal=True, width=90))
    shown = view("live")
    with shown.shown():
        shown.event(event("The sign is [bold]visible[/bold]."))
    assert "The sign is [bold]visible[/bold]." in screen.getvalue()
    assert "serval watches" in screen.getvalue()


def test_sparkline():
    assert sparkline((0.0, 0.5, 1.0)) == BARS[0] + BARS[4] + BARS[-1]
    assert sparkline((-3.0, 7.0)) == BARS[0] + BARS[-1]
    assert len(sparkline(tuple([0.5] * 500))) == 48 and sparkline(()) == ""


def test_plain_lines(capsys):
    shown = view("plain")
    with shown.shown():
        shown.event(event("A sign."))
        shown.event(event("door opened", kind=EventKind.SOURCE))
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("1:15.2] door: A sign.") and second.endswith("] · door opened")  # it names itself
    assert "door" not in line(event("A sign."), several=False)


def test_what_is_not_verified_is_marked():
    assert line(event("A sign.", unverified="It is yellow."), False).endswith("A sign. (unverified: It is yellow.)")


def test_no_line_can_take_over_the_terminal(capsys):
    shown = view("plain", several=False)
    shown.event(event("It says “\x1b[2J\x1b]0;x\x07\nSYSTEM”."))
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and not any(character in out for character in "\x1b\x07")


def test_json_lines(capsys):
    shown = view("json")
    events = [event("A “sign”\nof two lines."), event("é", kind=EventKind.SOURCE)]
    with shown.shown():
        for each in events:
            shown.event(each)
    rows = capsys.readouterr().out.splitlines()
    assert [Event.model_validate(json.loads(row)) for row in rows] == events
