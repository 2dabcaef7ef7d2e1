"""No special token of any tokenizer at hand ever comes from what people write, name, call, return, or hold into a picture."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.assistant.answers.answer import Request
from serval.assistant.answers.gather import gather
from serval.assistant.answers.prompt import messages as prompt
from serval.assistant.answers.rewrite import RewriteAnswerer
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.view import Scene, View
from serval.conversation.build import Encoded, build_sequence
from serval.conversation.chat import ChatML
from serval.conversation.formats import from_huggingface, from_openai, to_openai
from serval.conversation.messages import Media, count_media
from serval.conversation.sequence import Modality
from serval.conversation.template import ChatTemplate
from serval.conversation.tokenizer import Tokenizer
from serval.encoders.percept import Percept, TextLine
from serval.media.box import Box
from serval.media.frame import Frame

from .styles import STYLES

EVERYTHING = (  # a template that writes all there is to write, between tokens of its own
    "{% for tool in tools or [] %}{{ tool.function.name }}{{ tool | tojson }}{% endfor %}"
    "{% for m in messages %}BEGIN{{ m.role }} {{ m.name }} {{ m.tool_call_id }}\n"
    "{% if m.content is string %}{{ m.content | trim }}{% endif %}"
    "{% for p in m.content if m.content is not string %}{{ p.text if p.type == 'text' else 'PLACE' }}{% endfor %}"
    "{% for c in m.tool_calls or [] %}{{ c.id }} {{ c.function.name }}({{ c.function.arguments | tojson }})"
    "{% for k, v in c.function.arguments | items %}{{ k ~ '=' ~ v }}{% endfor %}{% endfor %}END{% endfor %}"
)


class Family(NamedTuple):
    """What a family's special tokens are called, and the ids that no text may become: all but that of what is unknown."""

    tokenizer: Tokenizer
    names: list[str]
    never: set[int]
    begin: int
    end: int
    place: int
    texts: ChatTemplate
    parts: ChatTemplate


@pytest.fixture(scope="module", params=["smollm2", "minilm", *STYLES])
def family(request, tokenizers):
    """With templates, of texts and of parts, that write two of its special tokens around each message."""
    tokenizer = tokenizers[request.param]
    special = tokenizer.special_tokens
    ours = [name for name in special if name not in ("<unk>", "[UNK]")]
    source = EVERYTHING.replace("BEGIN", ours[0]).replace("END", ours[1]).replace("PLACE", ours[-1])
    with ChatTemplate(source) as texts, ChatTemplate(source, {"image": ours[-1]}) as parts:
        never = {special[name] for name in ours}
        yield Family(tokenizer, list(special), never, *(special[ours[place]] for place in (0, 1, -1)), texts, parts)


def ids_of(sequence):
    return sequence.embeds[0, :, 0].int().tolist()


def embed(ids):
    return torch.stack([ids, ids], dim=1).float()


def test_how_many_there_are(tokenizers):
    """So that none is lost unseen, and white space that was added stays text."""
    assert {name: len(each.special_tokens) for name, each in tokenizers.items()} == {
        "smollm2": 17, "minilm": 5, "llama3": 9, "qwen2": 10, "gemma": 10, "phi3": 11, "mistral": 8, "llava": 7,
    }  # fmt: skip


def test_every_special_token_is_split_in_text(family):
    tokenizer, names, never, *_ = family
    for name in names:
        half = len(name) // 2
        for text in (
            name,
            f"a{name}b",
            f" {name} ",
            f"\n{name}\n",
            name * 2,
            name[:half] + name,
            name + name[half:],
            f"{name}_2",
        ):
            assert not set(tokenizer.encode(text)) & never
            assert not set(tokenizer.encode(text, "special")) & never
            assert not set(tokenizer.encode(text, "text")) & never
            for changed in (text.upper(), text.lower(), text.replace(" ", "▁")):
                assert not set(tokenizer.encode(changed)) & never


@settings(max_examples=40)
@given(data=st.data())
def test_no_mixture_of_their_pieces_becomes_one(family, data):
    tokenizer, names, never, *_ = family
    piece = st.sampled_from(names).flatmap(
        lambda name: st.tuples(st.integers(0, len(name)), st.integers(0, len(name))).map(lambda cut: name[min(cut) : max(cut)])
    )
    text = "".join(data.draw(st.lists(piece | st.sampled_from(names) | st.text(max_size=3), max_size=8)))
    assert not set(tokenizer.encode(text)) & never


def test_what_is_split_reads_as_it_was_written(family):
    tokenizer, names, *_ = family
    for name in [] if "[CLS]" in names else names:  # WordPiece has no spaces and no capitals to give back
        for text in (f"a{name}b", f"say {name} now", name):
            assert tokenizer.decode(tokenizer.encode(text)) == text


def conversation(word):
    """A word wherever somebody can put one."""
    call = {"id": word, "function": {"name": word, "arguments": {word: [word, {"a": word}], "b": word}}}
    halves = [{"type": "text", "text": word[: len(word) // 2]}, {"type": "text", "text": word[len(word) // 2 :]}]
    return [
        {"role": "system", "content": word},
        {"role": "user", "name": word, "content": f"a {word} b"},
        {"role": "user", "content": halves},
        {"role": "assistant", "content": word, "tool_calls": [call]},
        {"role": "tool", "name": word, "tool_call_id": word, "content": f"read on a sign: {word}"},
    ]


def test_messages_have_the_templates_own_special_tokens_and_no_others(family):
    messages = from_openai([message for name in family.names for message in conversation(name)])
    tools = [{"type": "function", "function": {"name": name, "description": name}} for name in family.names]
    for template in (family.texts, family.parts):
        ids = ids_of(build_sequence(messages, {}, family.tokenizer, template, embed, tools=tools))
        assert [each for each in ids if each in family.never] == [family.begin, family.end] * len(messages)


def test_media_are_the_parts_that_say_so_whatever_the_words_around_them_say(family):
    features = {Media(kind="image", path="a.png"): Encoded(torch.full((3, 2), -1.0))}
    for name in family.names:
        content = [{"type": "text", "text": name * 3}, {"type": "image", "path": "a.png"}, {"type": "text", "text": name}]
        messages = from_huggingface([{"role": "user", "content": content}, {"role": "user", "content": name}])
        assert count_media(messages) == {"image": 1, "video": 0, "audio": 0}
        sequence = build_sequence(messages, features, family.tokenizer, family.parts, embed)
        seen = sequence.modality[0] == Modality.IMAGE
        assert int(seen.sum()) == 3 and (sequence.embeds[0, seen] == -1).all()
        assert family.place not in ids_of(sequence)


def seen(text):
    """The facts of a picture in which this can be read."""
    lines = (TextLine(text, 0.95, Box(0.1, 0.1, 0.5, 0.2)),)
    glance = Percept("door", 10, 5.0, np.zeros((36, 64), np.uint8), sha256="abc", text=lines)
    view = View(glance, 0.2, (), (), scene=Scene(2, 0.0))
    understanding = Understanding(target=Target.TEXT, gate="text", read_back="", text=text)
    return gather(view, (), "abc", glance, understanding)


class Listener:
    """A model that keeps what it is told."""

    model_id = "listener"

    def reply(self, messages, **options):
        self.messages = messages
        return ""


def test_text_read_in_a_picture_stays_text_in_every_prompt(family, tokenizers):
    """By both ways that facts take: the sentence that a small model rewords, and the message that a large one gets."""
    frame = Frame.from_rgb(np.zeros((32, 32, 3), np.uint8), source="door", index=10, time=5.0)
    small, listener = tokenizers["smollm2"], Listener()
    start, end = small.special("<|im_start|>"), small.special("<|im_end|>")

    def found(messages, template):
        media = {part: Encoded(torch.full((2, 2), -1.0)) for message in messages for part in message.media}
        sequence = build_sequence(messages, media, family.tokenizer, template, embed)
        assert (sequence.modality[0] == Modality.IMAGE).sum() == 2 * len(media)
        return [each for each in ids_of(sequence) if each in family.never]

    for name in family.names:
        request = Request(seen(name), time=5.0, frames=(frame,), question=f"what does {name} mean?")
        assert any(fact.text == name for fact in request.facts)

        RewriteAnswerer(listener, "listener").answer(Request(request.facts, time=5.0))
        assert name in listener.messages[1].text
        ids = ChatML().encode(small, listener.messages)
        assert [each for each in ids if each in small.special_tokens.values()] == [start, end, start, end, start]
        assert found(listener.messages, family.texts) == [family.begin, family.end] * 2

        for asked in (prompt(request), from_openai(to_openai(prompt(request)))):
            assert name in asked[1].text
            assert found(asked, family.parts) == [family.begin, family.end] * 2
