"""Pictures, videos and sounds in a conversation: what the model sees is what was sent, and nothing is fetched for anybody."""

import base64
import io
import socket

import numpy as np
import openai
import pytest
from PIL import Image

from serval.assistant.voice.sound_file import sound_file
from serval.conversation.messages import Media, Message, Text
from serval.language.vision_language.chat import PictureChat
from serval.media.frame import Frame
from serval.media.writer import VideoWriter
from serval.weights import PartMissing, locate
from tests.language.vision_language.models import tiny_model

WORDS = "What is in it?"


def drawn(height=40, width=70, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def data_url(rgb, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


def ask(place, *parts, words=WORDS, **options):
    with place.client() as client:
        messages = [{"role": "user", "content": [*parts, {"type": "text", "text": words}]}]
        reply = client.chat.completions.create(
            model=place.opened.speaker_name, messages=messages, **{"max_tokens": 12, **options}
        )
        return list(reply) if options.get("stream") else reply


def refusal(place, *parts):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(place, *parts)
    assert caught.value.param == "messages"
    return caught.value.body["message"]


@pytest.fixture(scope="module")
def seeing(tmp_path_factory, place_of):
    """A folder with a model that sees, and says nothing of sense; and a service of it."""
    folder = tmp_path_factory.mktemp("models") / "tiny-eyes"
    folder.mkdir()
    tiny_model("qwen2_vl", folder)
    return folder, place_of(str(folder))


def test_the_words_about_a_picture_are_those_of_serval_chat(seeing):
    folder, place = seeing
    rgb = drawn()
    part, model = Media(kind="image", attached=0), PictureChat.open(folder)
    messages = [Message(role="user", parts=(part, Text(text=WORDS)))]
    reply = ask(place, image(data_url(rgb)), logprobs=True)
    assert reply.choices[0].message.content == model.reply(messages, {part: rgb}, 12)
    assert reply.model == "tiny-eyes" and reply.usage.completion_tokens == len(reply.choices[0].logprobs.content)
    assert reply.usage.prompt_tokens == model._model.sequence(messages, {part: rgb}).length
    other = ask(place, image(data_url(drawn(seed=1))), logprobs=True)
    assert [each.logprob for each in other.choices[0].logprobs.content] != [
        each.logprob for each in reply.choices[0].logprobs.content
    ]
    streamed = ask(place, image(data_url(rgb, "WEBP")), stream=True)
    assert sum(len(each.choices[0].delta.content or "") for each in streamed) > 0


def test_a_picture_can_be_answered_with_a_form(seeing):
    _, place = seeing
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    reply = ask(place, image(data_url(drawn())), response_format=form, max_tokens=40)
    assert reply.choices[0].message.content in ('{"n": 1}', '{"n": 2}')


def test_a_video_is_seen_frame_by_frame(seeing, tmp_path):
    folder, place = seeing
    with VideoWriter(tmp_path / "clip.mp4", 64, 48, 4.0) as out:
        for index in range(12):
            out.write(drawn(48, 64, index // 4), index / 4)
    data = (tmp_path / "clip.mp4").read_bytes()
    part = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{base64.b64encode(data).decode()}"}}
    reply = ask(place, part)
    video = place.app.state.service.decoder.video(data, fps=1.0, most=32, side=640)
    frames = [Frame.from_rgb(rgb, time=time) for rgb, time in zip(video.arrays, video.times, strict=True)]
    assert len(frames) == 3
    medium, model = Media(kind="video", attached=0), PictureChat.open(folder)
    messages = [Message(role="user", parts=(medium, Text(text=WORDS)))]
    assert reply.choices[0].message.content == model.reply(messages, {medium: frames}, 12)


def test_nothing_is_fetched_and_no_file_is_read(seeing, place, tmp_path):
    _, eyes = seeing
    Image.fromarray(drawn()).save(tmp_path / "a.png")
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.settimeout(0.2)
        host = f"127.0.0.1:{canary.getsockname()[1]}"
        for url in (f"http://{host}/a.png", f"https://{host}/a.png", f"HTTP://{host}/", f"//{host}/a.png", f"data://{host}/a"):
            assert "data: URLs" in refusal(eyes, image(url))
            assert "data: URLs" in refusal(eyes, {"type": "video_url", "video_url": {"url": url}})
        for url in (f"file://{tmp_path}/a.png", f"{tmp_path}/a.png", "a.png", "", "data:image/png,abc"):
            assert "data: URLs" in refusal(eyes, image(url))
        with pytest.raises(TimeoutError):
            canary.accept()
    for field in ("path", "attached"):
        refusal(eyes, {"type": "image_url", "image_url": {"url": "data:,"}, field: str(tmp_path / "a.png")})


def test_a_picture_that_cannot_be_decoded_is_refused_in_plain_words(seeing):
    _, place = seeing
    good = base64.b64decode(data_url(drawn()).partition(",")[2])
    for data in (b"", b"not a picture", good[: len(good) // 2], b"#EXTM3U\nhttp://127.0.0.1/"):
        message = refusal(place, image(f"data:image/png;base64,{base64.b64encode(data).decode()}"))
        assert message.startswith("the image: ") and "/" not in message and "0x" not in message
    assert "base64" in refusal(place, image("data:image/png;base64,§§§"))
    assert "at most 8" in refusal(place, *[image(data_url(drawn(8, 8)))] * 9)
    assert refusal(place, image(data_url(drawn(8, 2000))))  # too slim for any model


def test_a_model_of_words_says_that_it_cannot_see(place):
    assert "cannot see" in refusal(place, image(data_url(drawn())))


def sound(samples):
    data = base64.b64encode(sound_file(samples, "wav")).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def test_what_is_said_in_a_sound_is_read_as_words(place):
    for part in ("hibari", "whisper"):
        try:
            locate(part)
        except PartMissing as missing:
            pytest.skip(f"optional: {missing}")
    spoken = np.concatenate(list(place.opened.voice().speak("Name three fruits.")))
    with place.client() as client:
        file = ("said.wav", sound_file(spoken, "wav"))
        transcript = client.audio.transcriptions.create(model="whisper", file=file, response_format="verbose_json")
    words = "".join(f"{each.text}\n" for each in transcript.segments)
    heard = ask(place, sound(spoken), words="Be brief.")
    assert "fruits" in words and heard.choices == ask(place, words=f"{words}Be brief.").choices
    silent = ask(place, sound(np.zeros(24_000, np.float32)), words="Be brief.")
    assert silent.choices == ask(place, words="Be brief.").choices != heard.choices


def test_a_sound_that_cannot_be_heard_is_refused(place, monkeypatch, tmp_path):
    broken = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    place.opened.speaker()
    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path))
    monkeypatch.delitem(place.opened._parts, "whisper", raising=False)
    assert "cannot hear" in refusal(place, sound(np.zeros(24_000, np.float32)))
    assert refusal(place, broken).startswith("the audio: ")
    assert "at most 4" in refusal(place, *[broken] * 5)
