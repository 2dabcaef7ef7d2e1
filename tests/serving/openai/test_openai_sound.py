"""`/v1/audio/speech` and `/v1/audio/transcriptions` with OpenAI's own client: what one says, the other hears."""

import asyncio
import io
import re

import av
import numpy as np
import openai
import pytest

from serval.assistant.voice.sound_file import MIME, sound_file
from serval.serving.openai.transcript import Spoken, srt, webvtt
from serval.weights import PartMissing, locate

SAID = "A person comes in through the door. The quick brown fox jumps over the lazy dog."
SHAPES = ["json", "text", "srt", "vtt", "verbose_json"]


def need(*parts):
    for part in parts:
        try:
            locate(part)
        except PartMissing as missing:
            pytest.skip(f"optional: {missing}")


def samples(data):
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.audio[0]
        return np.concatenate([each.to_ndarray().ravel() for each in file.decode(stream)]), stream.rate


def speak(client, **options):
    return client.audio.speech.create(**{"model": "hibari", "voice": "heart", "input": SAID, **options})


def hear(client, data, name="said.wav", **options):
    return client.audio.transcriptions.create(**{"model": "whisper", "file": (name, data), **options})


@pytest.mark.parametrize("kind", ["wav", "mp3", "opus", "flac", "aac"])
def test_text_is_said_in_every_form_and_heard_again(client, kind):
    need("hibari", "whisper")
    reply = speak(client, response_format=kind)
    assert reply.response.headers["content-type"] == MIME[kind]
    _, rate = samples(reply.content)
    assert rate == (48_000 if kind == "opus" else 24_000)
    heard = hear(client, reply.content, f"said.{kind}").text
    assert re.sub(r"[^a-z ]", "", heard.lower()).split() == re.sub(r"[^a-z ]", "", SAID.lower()).split()


def test_raw_sound_comes_as_it_is_said(place, client):
    need("hibari")
    whole, rate = samples(speak(client, response_format="wav").content)
    assert rate == 24_000

    async def streamed():
        async with place.async_client() as many:
            asked = many.audio.speech.with_streaming_response.create(
                model="hibari", voice="heart", input=SAID, response_format="pcm"
            )
            async with asked as reply:
                return [each async for each in reply.iter_bytes()]

    np.testing.assert_array_equal(np.frombuffer(b"".join(asyncio.run(streamed())), "<i2"), whole)
    quick, _ = samples(speak(client, response_format="wav", speed=2.0).content)
    assert 0.4 < len(quick) / len(whole) < 0.65


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("input", ""),
        ("input", "x" * 4097),
        ("input", "!?"),
        ("voice", "alloy"),
        ("response_format", "midi"),
        ("speed", 9),
        ("instructions", "whisper it"),
        ("stream_format", "sse"),
    ],
)
def test_speech_that_cannot_be_had_is_refused_by_name(client, param, value):
    need("hibari")
    with pytest.raises(openai.BadRequestError) as caught:
        speak(client, extra_body={param: value})
    assert caught.value.param == param


def test_a_transcript_comes_in_every_form(client):
    need("hibari", "whisper")
    data = speak(client, response_format="wav").content
    told = {shape: hear(client, data, response_format=shape) for shape in SHAPES}
    text = told["json"].text
    assert told["text"] == text + "\n" and told["verbose_json"].text == text
    segments = told["verbose_json"].segments
    assert " ".join(each.text for each in segments) == text and told["verbose_json"].duration > 4
    assert all(0 <= each.start < each.end <= told["verbose_json"].duration for each in segments)
    assert told["srt"].startswith("1\n00:00:0") and " --> " in told["srt"] and segments[0].text in told["srt"]
    assert told["vtt"].startswith("WEBVTT\n\n00:00:0") and segments[-1].text in told["vtt"]


def test_long_sound_is_heard_to_its_end(place):
    need("hibari", "whisper")
    voice = place.opened.voice()
    lines = [f"This is line number {each}." for each in ("one", "two", "three", "four", "five", "six")]
    pause = np.zeros(24_000, np.float32)
    sound = np.concatenate(
        [part for each in lines for part in (*voice.speak(each), pause)] + [np.zeros(24_000 * 20, np.float32)]
    )

    async def heard():
        async with place.async_client() as client:
            return await client.audio.transcriptions.create(
                model="whisper", file=("long.flac", sound_file(sound, "flac")), response_format="verbose_json"
            )

    reply = asyncio.run(heard())
    assert reply.duration > 30 and len(reply.segments) == 6 and reply.segments[-1].end < reply.duration - 15
    assert [each.start for each in reply.segments] == sorted(each.start for each in reply.segments)


def test_silence_and_noise_have_no_words(client):
    need("whisper")
    noise = np.random.default_rng(0).normal(0, 0.01, 48_000).astype(np.float32)
    for sound in (np.zeros(24_000, np.float32), noise):
        assert hear(client, sound_file(sound, "wav")).text == ""


def test_what_is_no_sound_is_refused_in_plain_words(client):
    need("whisper")
    for data in (
        b"",
        b"hello",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"#EXTM3U\nhttp://127.0.0.1/x.ts\n",
        b"ffconcat version 1.0\nfile x",
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            hear(client, data)
        assert caught.value.param == "file" and "/" not in caught.value.body["message"]


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("language", "fr"),
        ("temperature", 0.7),
        ("prompt", "names: Ann"),
        ("stream", "true"),
        ("response_format", "diarized_json"),
        ("timestamp_granularities[]", "word"),
        ("include[]", "logprobs"),
    ],
)
def test_a_transcript_that_cannot_be_had_is_refused_by_name(client, param, value):
    with pytest.raises(openai.BadRequestError) as caught:
        hear(client, b"", extra_body={param: value})
    assert caught.value.param == param


def test_without_its_part_an_endpoint_says_so(place, client, monkeypatch, tmp_path):
    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path))
    for name in ("whisper", "hibari"):
        monkeypatch.delitem(place.opened._parts, name, raising=False)
    for ask in (lambda: hear(client, b""), lambda: speak(client)):
        with pytest.raises(openai.InternalServerError) as caught:
            ask()
        assert caught.value.status_code == 501 and "not on the server" in caught.value.message
    assert [each.id for each in client.models.list()] == []


def test_other_models_are_not_found(client):
    for ask in (lambda: hear(client, b"", model="whisper-1"), lambda: speak(client, model="tts-1")):
        with pytest.raises(openai.NotFoundError):
            ask()


def test_words_cannot_become_times_of_subtitles():
    words = [Spoken(0.0, 1.5, "a --> b\n\n2\n00:00:00,000"), Spoken(3661.25, 3662.0, "<b>&")]
    assert srt(words).count("\n\n") == 1 and "01:01:01,250 --> 01:01:02,000" in srt(words)
    assert webvtt(words).count(" --> ") == 2 and "&lt;b&gt;&amp;" in webvtt(words)
