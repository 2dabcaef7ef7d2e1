"""What is told of a connection that does not hold."""

from serval.sources.flapping import Flapping
from serval.sources.source import NoteKind


def lose(flapping, *times):
    return [
        note
        for time in times
        for note in [*flapping.lost(time, "is lost", "it ended"), *flapping.picture(time + 1, first=True)]
    ]


def test_losses_now_and_then_are_told_each():
    told = lose(Flapping("cam"), *range(0, 4000, 40))
    assert [note.kind for note in told] == [NoteKind.LOST, NoteKind.BACK] * 100
    assert told[0].text == "cam is lost (it ended); trying again"
    assert told[1].text == "cam is back"


def test_losses_again_and_again_are_told_once_a_minute_with_their_number():
    told = lose(Flapping("cam"), *range(0, 600, 5))
    assert [note.kind for note in told] == [NoteKind.LOST, NoteKind.BACK] * 3 + [NoteKind.LOST] * 10
    assert [note.text for note in told[6:8]] == [
        "cam keeps being lost (it ended); from here on this is told once a minute",
        "cam was lost 12 times in 60 s",
    ]
    assert sum(note.data.get("lost", 0) for note in told) == 120 - 4 - 8  # the last eight are not due yet


def test_what_holds_for_a_minute_is_back_and_told_of_anew():
    flapping = Flapping("cam")
    lose(flapping, 0, 5, 10, 15, 20)
    assert flapping.picture(79, first=False) == []
    (back,) = flapping.picture(80, first=False)
    assert (back.kind, back.text) == (NoteKind.BACK, "cam is back, and has held for 60 s")
    assert flapping.picture(81, first=False) == []
    assert [note.kind for note in lose(flapping, 100, 105)] == [NoteKind.LOST, NoteKind.BACK] * 2


def test_a_loss_for_good_is_told_within_a_minute():
    flapping = Flapping("cam")
    lose(flapping, 0, 5, 10, 15)
    assert flapping.lost(20, "is lost", "it ended") == []
    assert flapping.passing(74) == []
    (note,) = flapping.passing(75)
    assert (note.kind, note.text) == (NoteKind.LOST, "cam was lost once in 60 s")
    assert flapping.passing(1000) == []
