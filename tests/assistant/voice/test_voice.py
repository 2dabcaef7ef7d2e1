"""The voice says what is written: its words have the sounds of the lexicon, and a recogniser hears them."""

import sys

import av
import numpy as np
import pytest

from serval.assistant.voice.voice import RATE, Voice, sentences
from serval.cli import main
from serval.refusal import Refusal
from serval.weights import PartMissing, locate


@pytest.fixture(scope="module")
def voice():
    try:
        return Voice.open()
    except PartMissing as missing:
        pytest.skip(f"optional: {missing}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The cup.", ["ðə kˈʌp."]),
        ("the apple", ["ði ˈæpᵊl"]),
        ("a dog, an owl", ["ɐ dˈɔɡ, ɐn ˈWl"]),
        ("to eat; to sleep", ["tʊ ˈit; tə slˈip"]),
        ("I am here", ["ˌI æm hˈɪɹ"]),
        ("cups", ["kˈʌps"]),
        ("dogs", ["dˈɔɡz"]),
        ("7:30", ["sˈɛvən θˈɜɹTi"]),
        ("!?", []),
        ("   ", []),
        ("One. Two!", ["wˈʌn.", "tˈu!"]),
    ],
)
def test_words_have_their_sounds(voice, text, said):
    assert voice.phonemes(text) == said


def test_unknown_words_get_the_ending_of_known_ones_or_are_guessed(voice):
    pronunciation = voice._pronunciation
    assert pronunciation("zorbing").strip() and pronunciation("Xq").strip()
    known = pronunciation("bake")
    assert pronunciation("rebaked") != known
    assert [pronunciation._ending(each, "") for each in ("guitarist's", "kayaked")] == [
        f"{pronunciation('guitarist')}s",
        f"{pronunciation('kayak')}t",
    ]
    assert pronunciation("QZX").count("ˈ") == 1  # letter by letter, the last one stressed


def test_every_sound_is_one_that_the_voice_has(voice):
    text = 'Kangaroos, jalapeños and Häagen-Dazs: 40% off (really) — isn\'t it "odd"? naïve… 東京 привет'
    assert all(each in voice._alphabet for part in voice.phonemes(text) for each in part)


def test_text_is_parted_into_sentences():
    assert sentences("Dr. Smith came. He left!\nIt was 7 p.m. today.") == [
        "Dr. Smith came.",
        "He left!",
        "It was 7 p.m. today.",
    ]
    assert sentences("") == []


def test_long_sentences_are_parted_where_one_may_breathe(voice):
    parts = voice.phonemes("one two three, " * 100)
    assert len(parts) > 3 and all(len(each) <= 400 for each in parts) and all(each.endswith(",") for each in parts[:-1])
    assert "".join(parts).replace(" ", "").count("θɹˈi") == 100
    assert all(len(each) <= 400 for each in voice.phonemes("banana " * 300))


def test_speech_is_understood_and_always_the_same(voice):
    try:
        locate("whisper")
    except PartMissing as missing:
        pytest.skip(f"optional: {missing}")
    from serval.assistant.listening.recogniser import WhisperRecogniser

    ears = WhisperRecogniser()
    for text in ("A person comes in through the door.", "Somebody left a red cup on the table."):
        sound = np.concatenate(list(voice.speak(text)))
        np.testing.assert_array_equal(sound, np.concatenate(list(voice.speak(text))))
        assert 1.5 < len(sound) / RATE < 5 and 0.1 < np.abs(sound).max() < 1
        at = np.arange(int(len(sound) * 16_000 / RATE)) * RATE / 16_000
        assert ears.words(np.interp(at, np.arange(len(sound)), sound).astype(np.float32)) == text


def test_too_much_at_once_is_refused(voice):
    with pytest.raises(Refusal, match="4,096 is the limit"):
        voice.speak("x" * 4097)
    with pytest.raises(Refusal, match=r"0\.25 to 4"):
        voice.speak("x", speed=9.0)


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_the_command_writes_a_file(voice, monkeypatch, capsys, tmp_path, kind):
    monkeypatch.setattr(sys, "argv", ["serval", "speak", "a person comes in", "-o", str(tmp_path / f"out.{kind}")])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code and "s" in capsys.readouterr().out
    with av.open(str(tmp_path / f"out.{kind}")) as file:
        assert file.streams.audio[0].rate == RATE and 1 < file.duration / av.time_base < 4


@pytest.mark.parametrize(("text", "name"), [("hello", "out.txt"), ("?!", "out.wav")])
def test_the_command_refuses_what_it_cannot_write(voice, monkeypatch, capsys, tmp_path, text, name):
    monkeypatch.setattr(sys, "argv", ["serval", "speak", text, "-o", str(tmp_path / name)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2 and capsys.readouterr().err.startswith("serval: ") and not (tmp_path / name).exists()
