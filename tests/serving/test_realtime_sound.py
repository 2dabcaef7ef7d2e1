"""Sound in base64 and at another rate, settings that change in part, and what of a conversation is read."""

import base64
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.ask.answering import NOT_UNDERSTOOD
from serval.assistant.ask.answering import Reply as Known
from serval.assistant.listening.answering import SpokenAnswer
from serval.serving.keys import NEIGHBOUR
from serval.serving.realtime.answers import RecordThenChat, read_again
from serval.serving.realtime.effects import Answer, Turn
from serval.serving.realtime.protocol import Settings
from serval.serving.realtime.sound import Incoming, Outgoing, Resampler
from serval.serving.realtime.update import merged


@given(st.binary(max_size=200).filter(lambda data: len(data) % 2 == 0))
def test_sound_comes_back_from_base64_as_it_was(data):
    samples = np.frombuffer(data, "<i2").astype(np.int16)
    assert np.array_equal(Incoming().read(Outgoing().written(samples)), samples)


@pytest.mark.parametrize("text", ["&", "AAA", "AAAA", "AAAA\nAAAA", "é"])
def test_what_is_no_sound_is_refused(text):
    with pytest.raises(ValueError, match=r"base64|half"):
        Incoming().read(text)


@given(st.lists(st.integers(0, 700), max_size=12))
def test_where_sound_is_cut_makes_no_difference(sizes):
    sound = np.random.default_rng(0).integers(-9000, 9000, 5000).astype(np.int16)
    whole = Resampler().feed(sound)
    made, at = Resampler(), 0
    pieces = []
    for size in [*sizes, len(sound)]:
        pieces.append(made.feed(sound[at : at + size]))
        at += size
    assert np.allclose(np.concatenate(pieces), whole, atol=1e-6)
    assert len(whole) == pytest.approx(len(sound) * 2 / 3, abs=1)


@pytest.mark.parametrize(("hertz", "kept"), [(300, 1.0), (3000, 1.0), (6000, 1.0), (10_000, 0.0), (11_500, 0.0)])
def test_what_can_be_heard_at_16_khz_stays_and_what_cannot_does_not_come_back_as_something_else(hertz, kept):
    at = np.arange(24_000) / 24_000
    wave = Resampler().feed(np.round(16384 * np.sin(2 * np.pi * hertz * at)).astype(np.int16))
    assert np.sqrt(2 * np.mean(wave[500:] ** 2)) == pytest.approx(0.5 * kept, abs=0.015)


@pytest.mark.parametrize("law", ["mu", "a"])
@pytest.mark.parametrize(("hertz", "kept"), [(300, 1.0), (3000, 1.0), (5500, 0.0), (9000, 0.0)])
def test_by_telephone_speech_stays_and_what_a_line_cannot_have_does_not_come_back_as_something_else(law, hertz, kept):
    sound = np.round(16384 * np.sin(2 * np.pi * hertz * np.arange(24_000) / 24_000)).astype(np.int16)
    outgoing, incoming = Outgoing(law), Incoming(law)
    pieces = [outgoing.written(each) for each in np.array_split(sound, 11)]
    assert sum(len(base64.b64decode(each)) for each in pieces) == 8_000
    back = np.concatenate([incoming.read(each) for each in pieces])
    assert len(back) == 24_000
    assert np.sqrt(2 * np.mean((back[500:] / 32768) ** 2)) == pytest.approx(0.5 * kept, abs=0.02)


@pytest.mark.parametrize("text", ["&", "AAA", "é"])
def test_what_is_no_sound_of_a_telephone_is_refused(text):
    with pytest.raises(ValueError, match="base64"):
        Incoming("mu").read(text)


def test_of_the_telephone_no_more_is_worked_on_at_once_than_of_other_sound():
    incoming = Incoming("a")
    assert len(incoming.read(base64.b64encode(bytes(60 * 8_000)).decode())) == 60 * 24_000
    with pytest.raises(ValueError, match="60 seconds"):
        incoming.read(base64.b64encode(bytes(60 * 8_000 + 1)).decode())


def test_a_change_of_settings_leaves_the_rest_alone():
    before = Settings(id="mine", instructions="a")
    after = merged(before, {"id": "other", "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.9}}}})
    vad = after.audio.input.turn_detection
    assert after.id == "mine" and after.instructions == "a" and vad.threshold == 0.9 and vad.silence_duration_ms == 500


def test_of_a_long_conversation_the_newest_is_read_and_what_the_model_was_told():
    turns = [Turn("system", "s" * 10), *(Turn("user", str(number) * 10) for number in range(9))]
    assert [each.text[0] for each in read_again(turns, most=35)] == ["s", "7", "8"]
    assert [each.text for each in read_again([Turn("user", "x" * 99)], most=10)] == ["x" * 99]
    assert [each.text for each in read_again([])] == [""]


class Model:
    """Stands for the chat model, and counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def speaker(self):
        self.asked += 1
        raise LookupError


def spoken(text, known=True, unverified=""):
    return SimpleNamespace(ask=lambda question, cancelled: SpokenAnswer(Known(text, known), unverified=unverified))


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (spoken("Two people."), "Two people."),
        (spoken("I do not know.", known=False), "I do not know."),
        (spoken("I do not know.", known=False, unverified="A red cup."), "A red cup."),
    ],
)
def test_what_the_record_is_asked_no_model_makes_up(stream, said):
    model, heard = Model(), []
    answers = RecordThenChat(model, NEIGHBOUR)
    ended = answers.answer(Answer("r", (Turn("user", "How many people?"),), 9), stream, lambda: False, heard.append)
    assert heard == [said] and model.asked == 0 and ended.record["verified"] is (said != "A red cup.")


@pytest.mark.parametrize("stream", [None, spoken(NOT_UNDERSTOOD, known=False)])
def test_the_rest_is_for_the_chat_model(stream):
    model = Model()
    with pytest.raises(LookupError):
        RecordThenChat(model, NEIGHBOUR).answer(Answer("r", (Turn("user", "Hi"),), 9), stream, lambda: False, print)
    assert model.asked == 1
