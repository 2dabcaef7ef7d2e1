"""Talking to SmolLM2: words come as they are certain, end where they should, and are scored."""

import json
import subprocess
import sys

import pytest
import torch

from serval.conversation.chat import ChatML
from serval.conversation.messages import Message
from serval.conversation.tokenizer import Tokenizer
from serval.language.chat_model import ChatModel
from serval.language.generation.constraint import Constraint, ConstraintVocabulary
from serval.language.generation.request import Spent, Step
from serval.language.generation.sampling import Sampling
from serval.refusal import Refusal
from serval.weights import locate, model_id

CAPITAL = [Message.of("user", "Name the capital of France.")]  # it has no second thoughts about this one


@pytest.fixture(scope="module")
def model() -> ChatModel:
    return ChatModel.open()


def test_it_answers_and_ends_its_turn_by_itself(model):
    pieces = []
    words = model.reply(CAPITAL, max_tokens=40, on_text=pieces.append)
    assert "Paris" in words and words.endswith(".")
    assert "".join(pieces) == words and len(pieces) > 3


def test_it_stops_before_a_stop_text(model):
    pieces = []
    words = model.reply(CAPITAL, max_tokens=40, stop=["xyz", "Paris"], on_text=pieces.append)
    assert words and "Paris" not in words and "".join(pieces) == words


def test_it_says_no_more_than_asked_and_nothing_when_cancelled(model):
    short, long = (model.reply(CAPITAL, max_tokens=most) for most in (2, 5))
    assert long.startswith(short) and len(short) < len(long)
    assert model.reply(CAPITAL, cancelled=lambda: True) == ""


def test_cancelled_in_the_middle_the_words_so_far_stay(model):
    pieces = []
    words = model.reply(CAPITAL, max_tokens=40, on_text=pieces.append, cancelled=lambda: len(pieces) >= 3)
    assert words == "".join(pieces) and len(pieces) == 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_tokens": 40}, "stop"),
        ({"max_tokens": 3}, "length"),
        ({"max_tokens": 40, "stop": ["Paris"]}, "stop"),
        ({"max_tokens": 40, "cancelled": lambda: True}, "cancelled"),
    ],
)
def test_at_the_end_it_tells_what_it_came_to(model, options, reason):
    ends, steps = list[Spent](), list[Step]()
    model.reply(CAPITAL, on_step=steps.append, on_end=ends.append, **options)
    assert ends == [Spent(model.prompt_tokens(CAPITAL), len(steps), reason)]
    assert model.prompt_tokens(CAPITAL) == len(ChatML().encode(model.tokenizer, CAPITAL)) < model.limit


def test_a_form_that_is_complete_ends_it(model, vocabulary):
    ends = list[Spent]()
    words = model.reply(CAPITAL, constraint=Constraint.regex("yes|no", vocabulary), on_end=ends.append)
    assert words in ("yes", "no") and ends[0].reason == "complete" and ends[0].made >= 1


def test_the_same_seed_gives_the_same_words(model):
    first, again = (model.reply(CAPITAL, max_tokens=8, sampling=Sampling(temperature=1.5, seed=3)) for _ in range(2))
    assert first == again != model.reply(CAPITAL, max_tokens=8, sampling=Sampling(temperature=1.5, seed=4))


def test_a_likelier_reply_scores_higher(model):
    good, wrong, strange = (
        model.score(CAPITAL, words)
        for words in ("The capital of France is Paris.", "The capital of France is Berlin.", "qzx vvw 93 )(")
    )
    assert 0 > good > wrong > strange


def test_its_own_words_are_the_likeliest_among_others(model):
    own = model.reply(CAPITAL, max_tokens=40)
    assert model.score(CAPITAL, own) > model.score(CAPITAL, own.upper())


def test_in_float32_it_says_the_same_and_finds_it_as_likely(model, smollm2):
    wide = ChatModel(smollm2, Tokenizer(locate("smollm2", "tokenizer.json")), ChatML(), model.model_id)
    words = wide.reply(CAPITAL, max_tokens=40)
    assert words == model.reply(CAPITAL, max_tokens=40)
    assert wide.score(CAPITAL, words) == pytest.approx(model.score(CAPITAL, words), abs=0.03)


@pytest.fixture(scope="module")
def vocabulary(model) -> ConstraintVocabulary:
    return ConstraintVocabulary(model.tokenizer)


def test_a_reply_is_json_of_the_schema(model, vocabulary):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "capital": {"type": "boolean"}},
        "required": ["city", "capital"],
        "additionalProperties": False,
    }
    pieces = []
    words = model.reply(CAPITAL, constraint=Constraint.json_schema(schema, vocabulary), on_text=pieces.append)
    said = json.loads(words)
    assert said["city"] == "Paris" and isinstance(said["capital"], bool) and "".join(pieces) == words


def test_a_reply_is_what_an_expression_matches(model, vocabulary):
    cities = Constraint.regex("The capital (Berlin|of France: Paris!)", vocabulary)
    assert model.reply(CAPITAL, constraint=cities) == "The capital of France: Paris!"
    assert model.reply(CAPITAL, constraint=cities) == "The capital of France: Paris!"  # one serves any number of replies


def test_each_token_is_told_with_its_logprob_and_they_are_those_of_one_pass(smollm2):
    model = ChatModel(smollm2, Tokenizer(locate("smollm2", "tokenizer.json")), ChatML(), "float32")
    steps: list[Step] = []
    words = model.reply(CAPITAL, max_tokens=5, logprobs=3, on_step=steps.append)
    assert model.tokenizer.decode([each.token for each in steps]) == words and len(steps) == 5
    for each in steps:
        assert each.top[0] == (each.token, each.logprob) and len(each.top) == 3 and each.logprob <= 0
    silent: list[Step] = []
    model.reply(CAPITAL, max_tokens=2, on_step=silent.append)
    assert [each.logprob for each in silent] == [None, None]
    ids = model._template.encode(model.tokenizer, CAPITAL) + [each.token for each in steps]
    with torch.inference_mode():
        chances = smollm2(torch.tensor([ids]))[0, -6:-1].log_softmax(-1)
    expected = chances.gather(1, torch.tensor(ids[-5:])[:, None])[:, 0]
    assert [each.logprob for each in steps] == pytest.approx(expected.tolist(), abs=1e-3)


def test_it_tells_which_weights_speak(model):
    assert model.model_id == model_id("smollm2")


def test_four_bits_are_for_the_cpu():
    with pytest.raises(Refusal, match="CPU"):
        ChatModel.open(device="meta")


def test_more_than_the_context_is_refused_before_anything_is_read(model):
    long = [Message.of("user", "word " * 9000)]
    with pytest.raises(Refusal, match="8192 is the limit"):
        model.reply(long)
    with pytest.raises(Refusal, match="8192 is the limit"):
        model.score(CAPITAL, "word " * 9000)


def test_importing_it_loads_no_torch():
    code = "import sys, serval.language.chat_model; sys.exit(bool({'torch', 'tokenizers', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_any_model_speaks_by_its_own_template_from_a_folder_or_a_gguf_file(model, smollm2):
    """SmolLM2's own template is the one that `ChatML` writes by hand, and both files hold the same numbers."""
    gguf = locate("smollm2", "model.gguf")
    folder, file = ChatModel.from_files(gguf.parent, dtype="float32"), ChatModel.from_files(gguf, dtype="float32")
    by_hand = ChatModel(smollm2, Tokenizer(locate("smollm2", "tokenizer.json")), ChatML(), model.model_id)
    words = by_hand.reply(CAPITAL, max_tokens=12)
    assert folder.reply(CAPITAL, max_tokens=12) == words
    assert file.reply(CAPITAL, max_tokens=12) == words
    assert folder.model_id != file.model_id and "(" in file.model_id


def test_a_folder_without_a_tokenizer_cannot_speak(tiny):
    with pytest.raises(Refusal, match=r"no tokenizer\.json"):
        ChatModel.from_files(tiny.folder)
