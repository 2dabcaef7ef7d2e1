"""Media tokens skip a layer by a budget for each frame; text never does; streamed is as in one pass."""

from itertools import pairwise

import pytest
import torch

from serval.conversation.sequence import Modality, pad_batch
from serval.language.decoder import Decoder
from serval.language.families import config_from
from serval.language.token_skipping import TokenSkipping
from serval.refusal import Refusal

from .sequences import WIDTH, mixed

T, V = Modality.TEXT, Modality.VIDEO
STREAM = [(T, -1, 3), (V, 0, 10), (V, 1, 10), (T, -1, 2), (V, 2, 10)]
EDGES = [0, 3, 13, 23, 24, 25, 35]


def skipping(tiny, share: float, *layers: int) -> Decoder:
    decoder = Decoder(config_from(tiny.decoder.config.source))
    decoder.load_state_dict(tiny.decoder.state_dict())
    for index in layers:
        generator = torch.Generator().manual_seed(index)
        decoder.layers[index] = TokenSkipping(decoder.layers[index], WIDTH, share=share, generator=generator)
    return decoder.eval()


def test_with_no_share_the_layer_is_what_it_was_bit_for_bit(tiny):
    sequence = mixed(STREAM)
    assert torch.equal(skipping(tiny, 0.0, 0, 2)(sequence), tiny.decoder(sequence))


@torch.inference_mode()
def test_streamed_frame_by_frame_is_as_in_one_pass(tiny):
    decoder, sequence = skipping(tiny, 0.5, 0, 2), mixed(STREAM, batch=2)
    cache = decoder.new_cache(40, 2)
    found = [decoder(sequence.slice(start, end), cache) for start, end in pairwise(EDGES)]
    torch.testing.assert_close(torch.cat(found, 1), decoder(sequence), atol=5e-5, rtol=1e-5)
    assert [cache.held(layer) for layer in range(3)] == [20, 35, 20]
    assert cache.entries(0).position.max() == 34  # the true ones


@torch.inference_mode()
def test_the_future_changes_nothing(tiny):
    decoder, sequence = skipping(tiny, 0.5, 0, 1, 2), mixed(STREAM)
    other = mixed(STREAM, seed=8)
    later = torch.cat((sequence.embeds[:, :25], other.embeds[:, 25:]), 1)
    from dataclasses import replace

    found = decoder(replace(sequence, embeds=later))[:, :25]
    torch.testing.assert_close(found, decoder(sequence)[:, :25], atol=1e-6, rtol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize(("share", "kept"), [(0.5, 5), (0.25, 8), (0.99, 1), (1.0, 0)])
def test_who_skips_leaves_as_it_came_and_text_never_skips(tiny, share, kept):
    layer = skipping(tiny, share, 1).layers[1]
    sequence = mixed(STREAM)
    reading = tiny.decoder.reading(sequence)
    out = layer(sequence.embeds, reading)
    same = (out == sequence.embeds).all(-1)[0]
    assert not same[sequence.modality[0] == T].any()
    for start in (3, 13, 25):
        assert int((~same[start : start + 10]).sum()) == kept


@torch.inference_mode()
def test_rows_are_chosen_apart(tiny):
    decoder = skipping(tiny, 0.5, 0, 2)
    first, second = mixed(STREAM), mixed([(T, -1, 4), (V, 0, 6), (T, -1, 5)], seed=4)
    padded = pad_batch([first, second])
    apart = torch.cat([decoder(each)[0] for each in (first, second)])
    torch.testing.assert_close(decoder(padded)[padded.valid], apart, atol=5e-5, rtol=1e-5)


@torch.inference_mode()
def test_half_a_frame_is_refused(tiny):
    decoder, sequence = skipping(tiny, 0.5, 1), mixed(STREAM)
    cache = decoder.new_cache(40)
    decoder(sequence.slice(0, 8), cache)
    with pytest.raises(Refusal, match="every frame in one piece"):
        decoder(sequence.slice(8, 13), cache)


def test_every_router_learns(tiny):
    decoder, sequence = skipping(tiny, 0.5, 0, 1, 2), mixed(STREAM)
    decoder(sequence).square().mean().backward()
    for layer in decoder.layers:
        assert layer.router.weight.grad.abs().max() > 0


def test_a_share_is_a_share(tiny):
    with pytest.raises(ValueError, match="between 0 and 1"):
        skipping(tiny, 1.5, 0)


def test_the_best_of_each_medium_stay_and_of_equal_ones_the_earlier(tiny):
    layer = skipping(tiny, 0.4, 1).layers[1]
    random = torch.Generator().manual_seed(5)
    score = torch.randint(0, 4, (2, 40), generator=random).float()
    source, media = (torch.randint(0, high, (2, 40), generator=random) for high in (5, 2))
    found = layer._chosen(score, source, media.bool())
    for row in range(2):
        expected = set()
        for medium in range(5):
            places = [place for place in range(40) if media[row, place] and source[row, place] == medium]
            ranked = sorted(places, key=lambda place: (-score[row, place], place))
            expected |= set(ranked[: len(places) - int(0.4 * len(places))])
        assert set(found[row].nonzero().flatten().tolist()) == expected


def test_a_router_that_is_sure_is_no_number_short(tiny):
    """The gradient is that of p / p, also where p is too small to be written."""
    decoder, sequence = skipping(tiny, 0.0, 0), mixed(STREAM)
    layer = decoder.layers[0]
    with torch.no_grad():
        layer.router.weight.mul_(1e4)
    found = decoder(sequence)
    assert found.isfinite().all()
    found.square().mean().backward()
    assert layer.router.weight.grad.isfinite().all() and layer.router.weight.grad.any()
