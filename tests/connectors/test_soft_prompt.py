import pytest
import torch
from torch import nn

from serval.connectors.soft_prompt import SoftPrompt, tag_hint
from serval.conversation.segments import TextSegment, from_segments
from serval.conversation.tokenizer import Tokenizer

HINT = "<extra_id_0>"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Every byte a token, and the hint."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens([HINT])
    path = tmp_path_factory.mktemp("bytes") / "tokenizer.json"
    made.save(str(path))
    return Tokenizer(path)


def test_the_learned_vector_stands_where_the_hint_is_and_nowhere_else(tokenizer):
    table, hint = nn.Embedding(300, 6), tokenizer.special(HINT)
    prompt, ids = SoftPrompt(6, hint), tag_hint(["a dog", "a ball"], tokenizer.encode, hint)
    embeds = prompt.around(table)(torch.tensor(ids))
    place = ids.index(hint)
    others = [index for index in range(len(ids)) if index != place]
    assert torch.equal(embeds[place], prompt.vector) and torch.equal(embeds[others], table(torch.tensor(ids))[others])
    embeds.sum().backward()
    assert torch.equal(prompt.vector.grad, torch.ones(6)) and not table.weight.grad[hint].any()


def test_the_sentence_is_the_published_one(tokenizer):
    hint = tokenizer.special(HINT)
    ids = tag_hint(["a dog", "a ball"], tokenizer.encode, hint)
    place = ids.index(hint)
    assert tokenizer.decode(ids[:place]) == "According to "
    assert tokenizer.decode(ids[place + 1 :]) == (
        ", you are allowed to use or partially use the following tags: [a dog, a ball]. "
    )


def test_without_tags_there_is_no_hint_and_no_sentence(tokenizer):
    assert tag_hint([], tokenizer.encode, tokenizer.special(HINT)) == []


def test_a_tag_that_spells_the_hint_is_a_word(tokenizer):
    hint = tokenizer.special(HINT)
    assert tag_hint([HINT, "<pad>"], tokenizer.encode, hint).count(hint) == 1


def test_a_sequence_of_segments_takes_it(tokenizer):
    hint = tokenizer.special(HINT)
    table, prompt = nn.Embedding(300, 6), SoftPrompt(6, hint, generator=torch.Generator().manual_seed(1))
    ids = [*tag_hint(["a dog"], tokenizer.encode, hint), *tokenizer.encode("what is it?", "text")]
    sequence = from_segments([TextSegment(ids)], prompt.around(table))
    learned = (sequence.embeds[0] == prompt.vector).all(-1)
    assert learned.nonzero().flatten().tolist() == [ids.index(hint)]
