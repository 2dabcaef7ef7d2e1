"""Answers about the past come from what was seen, and say so when nothing was."""

import pytest

from serval.assistant.ask import ask
from serval.assistant.ask.past import Past, Sighting, spans
from serval.assistant.event import Event, Fact, FactKind
from serval.media.box import Box

LABELS = {"person": ("person",), "people": ("person",), "man": ("person",), "car": ("car",), "cars": ("car",), "dog": ("dog",)}


def labels_of(noun):
    return LABELS.get(noun, ())


def sight(time, label, box, score=0.9, text="", track=1):
    return Sighting(time, "door", label, Box(*box), score, f"frame-{time}", track, text)


@pytest.fixture
def past():
    seen = [sight(t / 2, "person", (0.1, 0.2, 0.3, 0.9), track=1) for t in range(2, 9)]
    seen += [sight(t / 2, "person", (0.6, 0.2, 0.8, 0.9), track=2) for t in range(4, 7)]
    seen += [sight(20.0 + t / 2, "car", (0.5, 0.5, 0.9, 0.9), track=3) for t in range(4)]
    seen += [sight(20.5, "text", (0.4, 0.3, 0.6, 0.45), text="TAXI", track=None)]
    said = Event(
        id="e1", source="door", t_start=0.9, t_end=1.3, said_at=1.3, text="A person comes in from the left.",
        facts=(Fact(kind=FactKind.CHANGE, subject="person", action="appears", time=1.0),),
    )  # fmt: skip
    left = Event(
        id="e2", source="door", t_start=4.0, t_end=5.0, said_at=5.0, text="A person leaves.",
        facts=(Fact(kind=FactKind.CHANGE, subject="person", action="leaves", time=4.9),),
    )  # fmt: skip
    return Past(sightings=sorted(seen, key=lambda each: each.time), events=[said, left], end=30.0)


def test_spans_split_at_gaps():
    assert [(span.start, span.end) for span in spans([sight(t, "dog", (0, 0, 1, 1)) for t in (0.0, 1.0, 2.0, 9.0)])] == [
        (0.0, 2.0),
        (9.0, 9.0),
    ]


def test_when_gives_times_and_evidence(past):
    reply = ask(past, "When was a person there?", labels_of)
    assert "0:01.0 to 0:04.0" in reply.text and reply.known
    assert reply.evidence[0].label == "person" and reply.evidence[0].frame.startswith("frame-")


def test_count_is_the_most_at_once_not_the_sum(past):
    assert "Two people at most" in ask(past, "how many people were there?", labels_of).text
    assert "One person at most" in ask(past, "how many people were there at 0:01?", labels_of).text


def test_next_to_a_text(past):
    reply = ask(past, "what was next to the taxi?", labels_of)
    assert "car" in reply.text and "TAXI" in reply.text and "0:20.5" in reply.text
    assert {each.label for each in reply.evidence} == {"text", "car"}


def test_another_reading_of_a_sign_is_not_next_to_it_and_its_letters_stay(past):
    past.sightings.append(sight(20.4, "text", (0.3, 0.3, 0.4, 0.45), text="AXI", track=None))
    assert "AXI” and" not in ask(past, "what was next to the taxi?", labels_of).text
    assert ask(past, "when was the taxi sign visible?", labels_of).text.startswith("The text “TAXI” was in view")
    past.sightings.append(sight(20.5, "text", (0.3, 0.3, 0.4, 0.45), text="EXIT 7", track=None))
    assert "the text “EXIT 7”" in ask(past, "what was next to the taxi?", labels_of).text.replace("The", "the")


def test_what_was_not_seen_is_denied_only_for_what_can_be_seen(past):
    assert "No dogs that I saw" in ask(past, "was there a dog?", labels_of).text
    unknown = ask(past, "was there a harpsichord?", labels_of)
    assert not unknown.known and "cannot recognise" in unknown.text


def test_a_word_that_says_more_than_was_seen_is_qualified(past):
    assert "cannot tell whether it is the man" in ask(past, "when did the man come in?", labels_of).text


@pytest.mark.parametrize("question", ["what colour was the car?", "who is that man?", "was she angry?"])
def test_what_the_parts_cannot_see_is_declined(past, question):
    assert not ask(past, question, labels_of).known


def test_happened_and_said_quote_the_timeline(past):
    assert "A person comes in" in ask(past, "what happened before 2 s?", labels_of).text
    assert "A person leaves" in ask(past, "who left?", labels_of).text
    assert "A person leaves" not in ask(past, "who came in?", labels_of).text
    assert "A person leaves" in ask(past, "what did you say last?", labels_of).text


def test_text_read_is_quoted_with_its_time(past):
    assert "“TAXI” at 0:20.5" in ask(past, "what did the sign say?", labels_of).text
    assert "I read no text" in ask(past, "what did the sign say before 5 s?", labels_of).text


def test_what_was_forgotten_is_said_to_be_forgotten(past):
    past.start = 60.0
    assert "only as notes" in ask(past, "was there a dog?", labels_of).text


def test_not_understood_says_what_can_be_asked(past):
    reply = ask(past, "sing me a song", labels_of)
    assert not reply.known and "how many" in reply.text


def test_several_kinds_are_called_by_the_persons_word():
    seen = [sight(1.0, "bus", (0, 0, 0.3, 0.5), track=1), sight(1.0, "car", (0.5, 0, 0.9, 0.5), track=2)]
    reply = ask(Past(sightings=seen, end=9.0), "How many vehicles were there?", lambda noun: ("bus", "car"))
    assert reply.text.startswith("Two vehicles at most") and {each.label for each in reply.evidence} == {"bus", "car"}


def test_nobody_is_no_peoples():
    seen = [sight(1.0, "car", (0, 0, 0.3, 0.5))]
    assert ask(Past(sightings=seen, end=9.0), "How many people were there?", labels_of).text.startswith("No people")
