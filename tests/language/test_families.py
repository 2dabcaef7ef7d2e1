"""Every family's decoder gives transformers' numbers: in one pass, in pieces, padded on either side, and saved again."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from serval.language.load import load_decoder, save_decoder

from .families import FAMILIES, tiny_model

LENGTH = 40


def fixed(decoder) -> bool:
    """No rotary depends on how long the context gets; where one does, what was read is not as if read with the rest."""
    return all(each.attention.rotary is None or each.attention.rotary.fixed for each in decoder.config.layers)


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    reference = tiny_model(request.param, folder)
    return folder, reference, load_decoder(folder)


def some_ids(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 97, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_logits_are_those_of_transformers(family):
    _, reference, decoder = family
    ids = some_ids(2, LENGTH)
    expected = reference(ids).logits
    assert expected.abs().max() > 1  # not a comparison of zeros
    torch.testing.assert_close(decoder(ids), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=6)
@given(cuts=st.sets(st.integers(1, LENGTH - 1)))
@torch.inference_mode()
def test_any_way_of_cutting_gives_the_logits_of_one_pass(family, cuts):
    _, _, decoder = family
    if not fixed(decoder):
        cuts = set()
    ids, cache = some_ids(2, LENGTH, seed=5), decoder.new_cache(LENGTH, 2)
    pieces = [decoder(ids[:, start:end], cache) for start, end in pairwise([0, *sorted(cuts), LENGTH])]
    torch.testing.assert_close(torch.cat(pieces, dim=1), decoder(ids), atol=3e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(family, side):
    _, reference, decoder = family
    ids, lengths = some_ids(3, 20), [20, 13, 6]
    valid = torch.zeros(3, 20, dtype=torch.bool)
    for row, length in enumerate(lengths):
        valid[row, 20 - length :] = True
        if side == "right":
            valid[row] = valid[row].flip(0)
    ids[~valid] = 0
    expected = reference(ids, attention_mask=valid.long(), position_ids=(valid.cumsum(1) - 1).clamp_min(0)).logits
    found = decoder(ids, valid=valid)
    torch.testing.assert_close(found[valid], expected[valid], atol=2e-5, rtol=1e-5)
    last = decoder(ids, valid=valid, last=True)
    ends = valid.cumsum(1).argmax(1)
    torch.testing.assert_close(last[:, 0], found[torch.arange(3), ends], atol=1e-5, rtol=1e-5)
    # and rows of different lengths go on from where each ended
    cache = decoder.new_cache(24, 3)
    decoder(ids, cache, valid=valid)
    following = some_ids(3, 3, seed=9)
    found = decoder(following, cache)
    for row in range(3 if fixed(decoder) else 1):
        alone = torch.cat((ids[row][valid[row]], following[row]))[None]
        torch.testing.assert_close(found[row], decoder(alone)[0, -3:], atol=3e-5, rtol=1e-5)


@torch.inference_mode()
def test_saved_again_it_is_read_by_transformers_and_here(family, tmp_path):
    _, reference, decoder = family
    save_decoder(decoder, tmp_path)
    ids = some_ids(1, 12)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True, attn_implementation="eager").eval()
    for parameter, original in zip(again.parameters(), reference.parameters(), strict=True):
        assert torch.equal(parameter, original)
    assert torch.equal(load_decoder(tmp_path)(ids), decoder(ids))


@torch.inference_mode()
def test_bfloat16_is_right_within_its_rounding(family):
    folder, reference, decoder = family
    ids = some_ids(1, 16)
    expected = decoder(ids)
    rounded = load_decoder(folder, dtype=torch.bfloat16)(ids).float()
    theirs = reference.to(torch.bfloat16)(ids).logits.float()
    reference.float()
    assert (rounded - expected).pow(2).mean() <= 2 * (theirs - expected).pow(2).mean() + 1e-6
