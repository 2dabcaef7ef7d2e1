"""What is said to a model that sees is what transformers says with the same weights, and it ends when it is told to."""

import pytest
import torch

from serval.assistant.answers.answer import Request
from serval.assistant.answers.build import build_answerer
from serval.conversation.messages import Media, Message, Text
from serval.language.generation.constraint import Constraint, ConstraintVocabulary
from serval.language.generation.sampling import Sampling
from serval.language.vision_language.chat import PictureChat, open_seeing_model
from serval.language.vision_language.model import VisionLanguageModel
from serval.language.vision_language.transformers_model import TransformersModel
from serval.media.frame import Frame
from serval.refusal import Refusal

from .conftest import asked, picture
from .test_logits import read_by_transformers


@pytest.fixture(scope="module")
def llava(tiny_of, tmp_path_factory):
    """A folder with transformers' processor in it, and a model that says something."""
    tiny = tiny_of("llava")
    folder = tmp_path_factory.mktemp("llava")
    tiny.model.save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    return folder


def test_a_reply_is_that_of_transformers(tiny):
    shown = [picture(40, 70), picture(30, 30)]
    inputs = read_by_transformers(tiny, shown)
    with torch.inference_mode():
        ids = tiny.reference.generate(**inputs, do_sample=False, max_new_tokens=12, eos_token_id=None)
    expected = tiny.processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    pieces = []
    chat = PictureChat(tiny.model, "tiny")
    said = chat.reply(*asked(*shown, words="What is in it?"), max_tokens=12, on_text=pieces.append)
    assert said == "".join(pieces) and expected.startswith(said.rstrip("\ufffd")) and (said or not expected)


def test_any_model_of_transformers_replies_alike(llava):
    conversation = asked(picture(40, 70), picture(31, 30), words="What is in it?")
    ours, theirs, pieces = PictureChat.open(llava), TransformersModel.open(llava), []
    expected = ours.reply(*conversation, max_tokens=20)
    assert len(expected) > 3
    assert theirs.reply(*conversation, max_tokens=20, on_text=pieces.append).strip() == expected.strip()
    assert "".join(pieces).strip() == expected.strip()
    stop = expected[3:5]
    assert ours.reply(*conversation, max_tokens=20, stop=(stop,)) == expected[: expected.index(stop)]
    assert theirs.reply(*conversation, max_tokens=20, stop=(stop,)) == expected[: expected.index(stop)]
    assert ours.model_id == theirs.model_id and ours.model_id.startswith(llava.name)


@pytest.mark.parametrize("kind", [PictureChat, TransformersModel])
def test_words_may_be_drawn_and_the_same_seed_draws_the_same(llava, kind):
    model = kind.open(llava)
    drawn = [
        model.reply(*asked(picture(40, 70)), max_tokens=12, sampling=Sampling(temperature=1.5, top_k=50, seed=seed))
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    penalized = Sampling(repetition_penalty=50.0)
    assert model.reply(*asked(picture(40, 70)), sampling=penalized) != model.reply(*asked(picture(40, 70)))


def test_words_about_a_picture_are_what_they_have_to_be_and_each_token_is_told(llava):
    model, steps = PictureChat.open(llava), []
    form = Constraint.regex("(no|yes)!", ConstraintVocabulary(model.speech.tokenizer))
    said = model.reply(*asked(picture(40, 70)), constraint=form, logprobs=2, on_step=steps.append)
    assert said in ("no!", "yes!") and model.speech.tokenizer.decode([each.token for each in steps]) == said
    assert all(each.logprob <= each.top[0][1] and len(each.top) == 2 for each in steps)


@pytest.mark.parametrize("kind", [PictureChat, TransformersModel])
def test_whoever_asks_may_think_better_of_it(llava, kind):
    model, polls = kind.open(llava), []

    def cancelled():
        polls.append(None)
        return len(polls) > 4

    whole = model.reply(*asked(picture(40, 70)), max_tokens=20)
    assert model.reply(*asked(picture(40, 70)), cancelled=lambda: True) == ""
    cut = model.reply(*asked(picture(40, 70)), max_tokens=20, cancelled=cancelled)
    assert len(cut) < len(whole) and whole.startswith(cut.rstrip("\ufffd"))


def test_the_folder_says_whose_model_it_is(llava, tmp_path):
    assert isinstance(open_seeing_model(llava), PictureChat)
    with pytest.raises(Refusal, match="no such folder"):
        open_seeing_model(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "blip_2"}')
    with pytest.raises(Refusal, match=r"model\.safetensors"):
        open_seeing_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "moondream", "auto_map": {"AutoModel": "run.Me"}}')
    (tmp_path / "run.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(Refusal, match="never run"):
        open_seeing_model(tmp_path)


def test_what_people_write_is_never_a_token(tiny, llava):
    """A placeholder or the end of a turn in somebody's words is words: one picture stays one, and so does the turn."""
    words = "<image> </s> <|im_end|> <imag<image>e>"
    sequence = tiny.model.sequence(*asked(picture(40, 70), words=words))
    plain = tiny.model.sequence(*asked(picture(40, 70), words="x" * 12))
    assert (sequence.modality == 1).sum() == (plain.modality == 1).sum()
    assert TransformersModel.open(llava).reply(*asked(picture(40, 70), words=words), max_tokens=3)


def test_what_cannot_be_read_is_refused(tiny_of, llava):
    tiny = tiny_of("llava")
    chat = PictureChat(tiny.model, "tiny")
    messages, shown = asked(picture(40, 70))
    with pytest.raises(Refusal, match="image 1 of the conversation: it was not given"):
        chat.reply(messages, {})
    with pytest.raises(Refusal, match="it is no picture"):
        chat.reply(messages, {part: [Frame.from_rgb(picture(30, 30))] for part in shown})
    with pytest.raises(Refusal, match="4096 is the limit"):
        chat.reply(messages, shown, max_tokens=4090)
    sound = Media(kind="audio", attached=0)
    with pytest.raises(Refusal, match="no picture and no frames"):
        chat.reply([Message(role="user", parts=(sound, Text(text="?")))], {sound: picture(30, 30)})
    with pytest.raises(Refusal, match="not given as a picture"):
        TransformersModel.open(llava).reply(messages, {})
    theirs = TransformersModel.open(llava)
    with pytest.raises(Refusal, match="4096 is the limit"):
        theirs.reply(messages, shown, max_tokens=4090)
    theirs._processor.chat_template = "{{ messages[0]['role'] }}"
    with pytest.raises(Refusal, match="transformers cannot answer it"):  # there is no place for the picture
        theirs.reply(messages, shown)
    silent = VisionLanguageModel(tiny.model.config, tiny.model.decoder)
    with pytest.raises(Refusal, match="no tokenizer"):
        silent.sequence(messages, shown)


def test_a_folder_is_an_answerer(llava, tmp_path):
    """What a random model says is in no fact; the template is heard, and it is told why."""
    answerer = build_answerer(str(llava))
    frames = (Frame.from_rgb(picture(48, 64), time=1.0),)
    answer = answerer.answer(Request((), time=1.0, frames=frames))
    assert (answerer.name, answer.by) == ("vision-language", "template")
    assert "stands in the facts" in answer.why and llava.name in answerer.models["answerer"]
    with pytest.raises(Refusal, match=r"config\.json"):
        build_answerer(str(tmp_path))
    with pytest.raises(Refusal, match="folder of a vision-language model"):
        build_answerer(str(tmp_path / "nowhere"))
