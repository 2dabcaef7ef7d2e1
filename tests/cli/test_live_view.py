"""A line of the plain display."""

from serval.assistant.event import Event, EventKind
from serval.cli.live_view import line


def event(**fields):
    return Event(
        **{"id": "e", "source": "door", "t_start": 74.0, "t_end": 75.25, "said_at": 76.0, "text": "A dog appears.", **fields}
    )


def test_time_and_words():
    assert line(event(), several=False) == "[1:15.2] A dog appears."
    assert line(event(kind=EventKind.SOURCE, text="door ended"), several=False) == "[1:15.2] · door ended"


def test_the_source_is_named_where_there_are_several():
    assert line(event(), several=True) == "[1:15.2] door: A dog appears."


def test_what_nobody_vouches_for_is_marked():
    assert line(event(unverified="It looks wet."), several=False) == "[1:15.2] A dog appears. (unverified: It looks wet.)"


def test_what_was_read_in_a_picture_cannot_drive_the_terminal():
    assert "\x1b" not in line(event(text="It says “\x1b[2J”.", unverified="\x1b[31m", source="\x1b]0;x\x07"), several=True)
