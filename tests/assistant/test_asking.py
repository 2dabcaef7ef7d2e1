"""Questions about the past of the real run: answers with times and pictures, and "I do not know" where that is so."""

import pytest

from serval.assistant.ask.answering import ask
from serval.assistant.ask.asking import ask_run, past_of
from serval.assistant.instructions.nouns import resolve
from serval.assistant.meaning import embedder
from serval.assistant.timeline.recording import Recording
from serval.refusal import Refusal


@pytest.fixture(scope="module")
def asked(bikes):
    """Ask the run; its past is rebuilt once."""
    past, embed = past_of(bikes.folder), embedder()
    return lambda question: ask(past, question, lambda noun: resolve(noun, embed).labels)


def test_what_was_next_to_the_taxi(asked):
    reply = asked("what was next to the taxi?")
    assert reply.known
    assert "car" in reply.text or "vehicle" in reply.text
    assert "TAXI" in reply.text
    assert all(2.4 <= each.time <= 3.5 for each in reply.evidence)
    assert any(each.text == "TAXI" for each in reply.evidence)


def test_when_the_sign_was_visible(asked):
    reply = asked("when was the taxi sign visible?")
    assert reply.known and reply.evidence
    assert all(2.4 <= each.time <= 3.4 and "taxi" in each.text.lower() for each in reply.evidence)
    assert "0:02." in reply.text


def test_how_many_people(asked):
    reply = asked("how many people were there?")
    assert reply.known
    assert reply.text.startswith(("One person", "Two people"))  # one in front; behind the cyclist stands another, blurred
    assert len({each.time for each in reply.evidence}) == 1
    assert {each.label for each in reply.evidence} == {"person"}


def test_what_it_reads(asked):
    assert "“TAXI”" in asked("what did the sign say?").text


def test_what_happened_in_a_span(asked, bikes):
    reply = asked("what happened between 5 s and 8 s?")
    inside = [event.text for event in bikes.said() if 5 <= event.t_end <= 8]
    outside = [event.text for event in bikes.said() if not 4.9 <= event.t_end <= 8.1]
    assert inside and all(text in reply.text for text in inside)
    assert not any(text in reply.text for text in outside)


@pytest.mark.parametrize("question", ["what colour was the taxi?", "how old was the man?", "who was the man in the suit?"])
def test_what_the_parts_cannot_see_is_declined(asked, question):
    reply = asked(question)
    assert not reply.known and not reply.evidence
    assert "cannot" in reply.text or "do not know" in reply.text


@pytest.mark.parametrize("question", ["was there a zeppelin?", "where was the stapler?", "when did the volcano come in?"])
def test_unknown_things_are_not_known(asked, question):
    reply = asked(question)
    assert not reply.known and not reply.evidence
    assert "I do not know" in reply.text or "cannot recognise" in reply.text


def test_what_was_never_there_was_not_seen(asked):
    reply = asked("when was the giraffe there?")
    assert "No giraffe" in reply.text and not reply.evidence


@pytest.mark.parametrize("question", ["", "?", "frobnicate the quux", "drop table events; --", "é" * 2000])
def test_what_is_not_understood_is_said_to_be(asked, question):
    reply = asked(question)
    assert not reply.known and reply.text


def test_every_answer_names_pictures_that_are_kept(asked, bikes):
    with Recording.open(bikes.folder, write=False) as recording:
        for question in ("where was the bicycle?", "when was the taxi sign visible?", "how many people were there?"):
            reply = asked(question)
            assert reply.evidence
            for each in reply.evidence:
                assert recording.picture_named(each.frame) is not None


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(Refusal):
        ask_run(tmp_path, "what happened?")
