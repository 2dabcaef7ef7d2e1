"""Patterns say who sees whom; what streams is the same in any pieces, and what does not refuses to be cut where it matters."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings

from serval.conversation.sequence import Modality
from serval.language.attention_pattern import CAUSAL, FULL, alone, blocks, branches, mutual, prefix, window
from serval.language.cache import numbered
from serval.language.entries import Entries
from serval.refusal import Refusal

from .sequences import CONVERSATION, cuts, mixed

MEDIA = (Modality.IMAGE, Modality.VIDEO)
PATTERNS = {
    "causal": CAUSAL,
    "window": window(6),
    "sinks": window(6, sinks=2),
    "alone": alone(*MEDIA),
    "branches": branches(),
    "window of alone": alone(*MEDIA) & window(9),
    "blocks": blocks(*MEDIA),
    "blocks in a window": blocks(*MEDIA) & window(30),
    "mutual": mutual(*MEDIA),
    "prefix": prefix(9),
    "full": FULL,
}


def seen(pattern, parts) -> torch.Tensor:
    sequence = mixed(parts)
    entries = Entries.of(sequence, numbered(sequence.valid))
    return pattern.allowed(entries, entries)[0, 0]


T, I = Modality.TEXT, Modality.IMAGE  # noqa: E741


@pytest.mark.parametrize(
    ("pattern", "rows"),
    [
        (CAUSAL, "10000 11000 11100 11110 11111"),
        (FULL, "11111 11111 11111 11111 11111"),
        (window(2), "10000 11000 01100 00110 00011"),
        (window(2, sinks=1), "10000 11000 11100 10110 10011"),
        (prefix(3), "11100 11100 11100 11110 11111"),
        (blocks(I), "10000 11100 11100 11110 11111"),
        (alone(I), "10000 01000 00100 11110 11111"),
        (mutual(I), "10000 11010 11110 11110 11111"),  # the fourth token is the picture's question, the fifth is not
        (alone(I) & window(2), "10000 01000 00100 00110 00011"),
    ],
)
def test_who_sees_whom(pattern, rows):
    mask = seen(pattern, [(T, -1, 1), (I, 0, 2), (T, 0, 1), (T, -1, 1)])
    assert " ".join("".join(str(int(cell)) for cell in row) for row in mask) == rows


def test_branches_share_what_came_before_and_nothing_else():
    mask = seen(branches(), [(T, -1, 1), (I, 0, 1), (T, 1, 2), (T, 2, 2)])
    assert [int(row) for row in mask.sum(1)] == [1, 2, 3, 4, 3, 4]
    assert not mask[4:, 2:4].any() and mask[4:, :2].all()


def test_two_pictures_in_a_row_see_each_other_only_backwards():
    mask = seen(blocks(I), [(I, 0, 2), (I, 1, 2)])
    assert mask.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]


@settings(max_examples=25)
@given(places=cuts)
@torch.inference_mode()
@pytest.mark.parametrize("name", PATTERNS)
def test_in_pieces_as_in_one_pass_or_not_at_all(tiny, name, places):
    pattern = PATTERNS[name]
    sequence = mixed(CONVERSATION)
    whole = tiny.decoder(sequence, pattern=pattern)
    cache, found = tiny.decoder.new_cache(40), []
    try:
        for start, end in pairwise(places):
            found.append(tiny.decoder(sequence.slice(start, end), cache, pattern=pattern))
    except Refusal as refused:
        assert not pattern.streamable and "in one go" in str(refused)
        mask = seen(pattern, CONVERSATION)
        assert mask[:start, start:end].any()  # a token that was read sees one of those that were refused
        return
    torch.testing.assert_close(torch.cat(found, 1), whole, atol=5e-5, rtol=1e-5)


@torch.inference_mode()
def test_what_is_refused_leaves_the_cache_as_it_was(tiny):
    sequence, cache = mixed([(T, -1, 3), (I, 0, 6), (T, -1, 2)]), tiny.decoder.new_cache(20)
    tiny.decoder(sequence.slice(0, 5), cache, pattern=blocks(I))
    with pytest.raises(Refusal, match="lets tokens that were read see"):
        tiny.decoder(sequence.slice(5), cache, pattern=blocks(I))
    assert cache.length == 5 and cache.held(0) == 5
    tiny.decoder(sequence.slice(5), cache)  # plainly causal it goes on


@torch.inference_mode()
@pytest.mark.parametrize("name", PATTERNS)
def test_padding_is_seen_by_nobody_and_changes_nothing(tiny, name):
    from serval.conversation.sequence import pad_batch

    pattern = PATTERNS[name]
    first, second = mixed(CONVERSATION), mixed([(T, -1, 5), (I, 0, 4), (T, 0, 3)], seed=3)
    for side in ("left", "right"):
        padded = pad_batch([first, second], side)
        found = tiny.decoder(padded, pattern=pattern)[padded.valid]
        apart = torch.cat([tiny.decoder(each, pattern=pattern)[0] for each in (first, second)])
        torch.testing.assert_close(found, apart, atol=5e-5, rtol=1e-5)
        changed = torch.where(padded.valid[..., None], padded.embeds, 7.0)
        from dataclasses import replace

        assert torch.equal(tiny.decoder(replace(padded, embeds=changed), pattern=pattern)[padded.valid], found)


@torch.inference_mode()
def test_media_alone_do_not_depend_on_text_nor_on_each_other(tiny):
    sequence, pattern = mixed([(T, -1, 4), (I, 0, 5), (T, -1, 4)]), alone(I)
    cache, other = tiny.decoder.new_cache(20), tiny.decoder.new_cache(20)
    tiny.decoder(sequence, cache, pattern=pattern)
    changed = sequence.embeds.clone()
    changed[:, :4] += 1.0
    changed[:, 6] += 1.0
    from dataclasses import replace

    tiny.decoder(replace(sequence, embeds=changed), other, pattern=pattern)
    for layer in range(3):
        mine, theirs = cache.read(layer)[0][0], other.read(layer)[0][0]
        same = (mine == theirs).all(-1).all(0)
        assert same[4:9].tolist() == [True, True, False, True, True]


def test_what_nobody_will_see_may_be_forgotten():
    keys = Entries.text(torch.arange(10.0)[None], torch.arange(10)[None])
    following = torch.tensor([[[10]]])
    assert window(3, sinks=1).needed(keys, following)[0, 0].nonzero().flatten().tolist() == [0, 8, 9]
    assert (window(3) & window(5)).needed(keys, following)[0, 0].sum() == 2
    assert (window(3) | window(5)).needed(keys, following)[0, 0].sum() == 4
    assert (CAUSAL | window(5)).needed is None and (CAUSAL & window(5)).needed is not None
