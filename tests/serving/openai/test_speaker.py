"""Models of all kinds behind the endpoints: those of transformers count their tokens too, and say what they cannot do."""

import json

import numpy as np
import pytest

from serval.conversation.chat import ChatML
from serval.conversation.messages import Media, Message, Text
from serval.language.chat_model import ChatModel
from serval.language.generation.sampling import Sampling
from serval.language.vision_language.chat import PictureChat
from serval.language.vision_language.transformers_model import TransformersModel
from serval.refusal import Refusal
from serval.serving.openai.asked import Tools, held_to, read_tools
from serval.serving.openai.speaker import Piece, Speaker, Wish, speaker_name
from serval.serving.openai.tools import choose
from serval.serving.problems import Problem
from serval.weights import locate
from tests.language.vision_language.models import tiny_model, tiny_processor


def asked(height=40, width=70, **options):
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    part = Media(kind="image", attached=0)
    return Wish([Message(role="user", parts=(part, Text(text="What is in it?")))], Sampling(), {part: rgb}, **options)


def said(speaker, wish, leave_after=None):
    pieces: list[Piece] = []
    reply = speaker.say(wish, lambda: leave_after is not None and len(pieces) >= leave_after, pieces.append)
    return reply, pieces


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that sees, of a family that both know, and for which a reply has an end of its own."""
    folder = tmp_path_factory.mktemp("models") / "two-ways"
    folder.mkdir()
    tiny_model("llava", folder)
    tiny_processor("llava").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def speakers(folder):
    return Speaker("ours", PictureChat.open(folder)), Speaker("theirs", TransformersModel.open(folder))


def test_tokens_are_counted_alike(speakers):
    for options in ({"max_tokens": 9}, {"max_tokens": 1}):
        ours, theirs = (said(each, asked(**options))[0] for each in speakers)
        assert ours.prompt_tokens == theirs.prompt_tokens > 10
        assert ours.tokens == theirs.tokens == options["max_tokens"] and ours.finish == theirs.finish == "length"


def test_a_model_of_transformers_says_its_words_in_pieces_and_stops(speakers):
    _, theirs = speakers
    whole, pieces = said(theirs, asked(max_tokens=20))
    assert "".join(each.text for each in pieces) == whole.text and len(pieces) > 1
    stop = whole.text[3:5]
    cut, _ = said(theirs, asked(max_tokens=20, stop=(stop,)))
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.finish == "stop"
    assert whole.tokens == 20
    left, _ = said(theirs, asked(max_tokens=20), leave_after=1)
    assert whole.text.startswith(left.text) and left.tokens < whole.tokens


def test_what_it_cannot_do_it_says(speakers):
    _, theirs = speakers
    with pytest.raises(Problem, match="held to a form"):
        held_to(theirs, {"type": "object"}, "response_format")
    tools = read_tools((), None)
    assert tools == Tools() and choose(theirs, tools, asked(), lambda: False) is None
    with pytest.raises(Problem) as caught:
        said(theirs, asked(max_tokens=100_000))
    assert caught.value.text == "the conversation cannot be answered by this model" and caught.value.status == 400
    with pytest.raises(Problem, match="is the limit"):
        said(speakers[0], asked(max_tokens=100_000))


def test_a_folder_is_opened_as_what_it_is_and_its_path_is_not_told(folder, tmp_path):
    speaker = Speaker.open(str(folder))
    assert speaker.name == speaker_name(str(folder)) == "two-ways" and speaker.sees and speaker.told
    content = json.loads((folder / "config.json").read_text())
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(content | {"model_type": "of its own"}))
    with pytest.raises(Refusal, match="cannot open it"):
        Speaker.open(str(tmp_path))


def test_a_model_of_words_in_a_file_speaks_and_is_counted():
    path = locate("smollm2", "model.gguf")
    speaker, model = Speaker.open(str(path)), ChatModel.from_files(path)
    messages = [Message.of("user", "name three fruits")]
    reply, _ = said(speaker, Wish(messages, Sampling(), max_tokens=8))
    assert reply.text == model.reply(messages, 8) and reply.tokens == 8 and reply.finish == "length"
    assert reply.prompt_tokens == len(ChatML().encode(model.tokenizer, messages)) and not speaker.sees
    assert speaker.name == "model.gguf" and speaker.fingerprint == model.model_id
