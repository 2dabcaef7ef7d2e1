"""Cross-attention behind every few layers: nothing at first, only where it is asked for, and a prompt's features are not
needed again."""

import pytest
import torch
from torch import nn

from serval.conversation.sequence import Modality
from serval.language.cross_attention import CrossAttend, GatedCrossAttention, insert_every
from serval.language.decoder import Decoder
from serval.language.families import config_from

from .sequences import WIDTH, mixed

T, I = Modality.TEXT, Modality.IMAGE  # noqa: E741
PARTS = [(T, -1, 3), (I, 0, 4), (T, -1, 3)]


class Replace(nn.Module):
    def forward(self, queries, features, read):
        return features[:, : queries.shape[1]]


def fresh(tiny) -> Decoder:
    decoder = Decoder(config_from(tiny.decoder.config.source))
    decoder.load_state_dict(tiny.decoder.state_dict())
    return decoder.eval()


def test_gates_open_from_nothing(tiny):
    torch.manual_seed(0)
    decoder, sequence = fresh(tiny), mixed(PARTS, batch=2)
    assert insert_every(decoder, 2, lambda layer: CrossAttend(GatedCrossAttention(WIDTH, 7, 4), "tower")) == [0, 2]
    features = {"tower": torch.randn(2, 5, 7)}
    assert torch.equal(decoder(sequence, features=features), tiny.decoder(sequence))
    block = decoder.inserted["0"].block
    nn.init.constant_(block.gate, 0.5)
    changed = decoder(sequence, features=features)
    assert not torch.allclose(changed, tiny.decoder(sequence), atol=1e-3)
    changed.square().mean().backward()
    assert block.values.weight.grad.abs().max() > 0
    assert decoder.state_dict().keys() >= tiny.decoder.state_dict().keys()  # no name of the base has changed


@torch.inference_mode()
def test_only_the_states_of_its_modalities_change(tiny):
    sequence = mixed(PARTS)
    features = torch.arange(4.0)[None, :, None].expand(1, 4, WIDTH)
    hook, reading = CrossAttend(Replace(), "tower", (I,)), tiny.decoder.reading(sequence, features={"tower": features})
    out = hook(sequence.embeds, reading)
    assert torch.equal(out[:, 3:7], features)
    assert torch.equal(out[:, :3], sequence.embeds[:, :3]) and torch.equal(out[:, 7:], sequence.embeds[:, 7:])


@torch.inference_mode()
def test_steps_after_the_prompt_need_no_features(tiny):
    decoder, sequence = fresh(tiny), mixed(PARTS)
    decoder.after(1, CrossAttend(Replace(), "tower", (I,)))
    features = {"tower": torch.randn(1, 4, WIDTH, generator=torch.Generator().manual_seed(1))}
    whole = decoder(sequence, features=features)
    assert not torch.allclose(whole, tiny.decoder(sequence), atol=1e-2)
    cache = decoder.new_cache(20)
    found = [decoder(sequence.slice(0, 7), cache, features=features), decoder(sequence.slice(7), cache)]
    torch.testing.assert_close(torch.cat(found, 1), whole, atol=5e-5, rtol=1e-5)


def test_there_are_only_so_many_layers(tiny):
    with pytest.raises(ValueError, match="no layer 3"):
        fresh(tiny).after(3, nn.Identity())


@torch.inference_mode()
def test_a_cut_between_layers_leaves_later_layers_fewer_tokens_with_their_true_positions(tiny):
    class Cut(nn.Module):
        def forward(self, hidden, reading):
            from serval.language.reading import gather_rows

            keep = (reading.sequence.modality == T) | (reading.number % 2 == 0)
            return gather_rows(hidden, keep)[0], reading.select(keep)

    decoder, sequence = fresh(tiny), mixed(PARTS)
    decoder.after(0, Cut())
    cache = decoder.new_cache(20)
    last = decoder(sequence, cache, last=True)
    assert [cache.held(layer) for layer in range(3)] == [10, 8, 8]
    assert cache.entries(1).position[0, 0].tolist() == [0, 1, 2, 4, 6, 7, 8, 9]
    assert float(cache.next_position) == 10
    torch.testing.assert_close(last[:, 0], decoder(sequence)[:, -1], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_what_is_not_committed_sees_and_is_forgotten(tiny):
    """Dynamic-LLaVA: some layers never remember some tokens, which see themselves all the same."""

    class Forgetting(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, hidden, reading):
            from dataclasses import replace

            return self.layer(hidden, replace(reading, commit=reading.number % 3 != 1))

    decoder, ids = fresh(tiny), torch.arange(12)[None]
    decoder.layers[1] = Forgetting(decoder.layers[1])
    cache = decoder.new_cache(20)
    for place in range(12):
        decoder(ids[:, place : place + 1], cache)
    assert [cache.held(layer) for layer in range(3)] == [12, 8, 12]
    assert cache.entries(1).number[0, 0].tolist() == [n for n in range(12) if n % 3 != 1]
