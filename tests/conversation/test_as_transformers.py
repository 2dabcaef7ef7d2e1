"""Ordinary conversations become the ids that transformers makes of them, in the manner of every family."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from serval.conversation.build import Encoded, build_sequence
from serval.conversation.formats import from_huggingface
from serval.conversation.messages import media_of
from serval.conversation.template import ChatTemplate

from .styles import STYLES

HELLO = {"role": "user", "content": "What do you see?"}
BRIEF = {"role": "system", "content": "Be brief."}
CONVERSATIONS = {
    "one": [HELLO],
    "system": [BRIEF, HELLO],
    "turns": [
        HELLO,
        {"role": "assistant", "content": "A man in a suit."},
        {"role": "user", "content": "And then? 12:30, 4.5 m"},
    ],
    "letters": [{"role": "user", "content": "naïve café 猫が 🐆👩‍👩‍👧 don't ’ “”\x00\x7f\xa0"}],
    "white space": [
        {"role": "user", "content": "\n\n leads,\n\n\n  two  spaces\tand trails \n"},
        {"role": "assistant", "content": " "},
    ],
    "nothing": [{"role": "user", "content": ""}],
}
TOOLS = [{"type": "function", "function": {"name": "seek", "description": "Goes there.", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "seek", "arguments": {"to": 3, "why": 'a "猫"\n'}}}
CALLS = [
    {"role": "user", "content": "Go to 3.", "name": "ann"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "done", "name": "seek", "tool_call_id": "c1"},
]
IMAGE = {"type": "image", "path": "a.png"}
MEDIA = [
    {"role": "user", "content": [{"type": "text", "text": "Look: "}, IMAGE, {"type": "text", "text": " and "}, IMAGE]},
    {"role": "assistant", "content": [{"type": "text", "text": "Two cats."}]},
    {"role": "user", "content": [IMAGE, {"type": "text", "text": "\nAnd here?"}]},
]


@pytest.fixture(scope="module", params=list(STYLES))
def family(request, styles, tokenizers, tmp_path_factory):
    style = styles[request.param]
    path = style.save(tmp_path_factory.mktemp("reference"))
    reference = PreTrainedTokenizerFast(tokenizer_file=str(path), chat_template=style.template, **style.variables)
    with ChatTemplate(style.template, style.placeholders, variables=style.variables) as template:
        yield request.param, tokenizers[request.param], template, reference


def ids_of(family, turns, **options):
    """Ours, each medium being one -1."""
    _, tokenizer, template, _ = family
    messages = from_huggingface(turns)
    media = {part: Encoded(torch.full((1, 1), -1.0)) for part in media_of(messages)}
    sequence = build_sequence(messages, media, tokenizer, template, lambda ids: ids[:, None].double(), **options)
    return sequence.embeds[0, :, 0].int().tolist()


def expected(family, turns, reply, tools=None):
    _, tokenizer, template, reference = family
    ids = reference.apply_chat_template(turns, tools=tools, add_generation_prompt=reply, tokenize=True, return_dict=False)
    places = {tokenizer.special(name) for name in template.placeholders.values()}
    return [-1 if each in places else each for each in ids]


@pytest.mark.parametrize("reply", [True, False])
@pytest.mark.parametrize("turns", list(CONVERSATIONS))
def test_words(family, turns, reply):
    ids = ids_of(family, CONVERSATIONS[turns], reply=reply)
    assert ids == expected(family, CONVERSATIONS[turns], reply)
    assert set(ids) & set(family[1].special_tokens.values())


@pytest.mark.parametrize("tools", [(), TOOLS])
def test_tool_calls_and_results(family, tools):
    assert ids_of(family, CALLS, tools=tools) == expected(family, CALLS, True, tools or None)


@pytest.mark.parametrize("family", ["qwen2", "gemma", "phi3", "llava"], indirect=True)
def test_media(family):
    assert ids_of(family, MEDIA) == expected(family, MEDIA, True)
    assert ids_of(family, MEDIA).count(-1) == 3
