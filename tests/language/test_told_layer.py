"""Banks of adapters in a decoder, chosen by what the decoder is told: MoME's by an instruction, LION's by a task."""

import pytest
import torch
from torch import nn

from serval.adapters.adapter_bank import AdapterBank
from serval.language.decoder import Decoder
from serval.language.families import config_from
from serval.language.told_layer import ToldLayer

from .sequences import WIDTH

IDS = torch.arange(2, 18).view(2, 8)
BANK = ("down", "down_bias", "up", "up_bias", "strength")


def copy(tiny):
    decoder = Decoder(config_from(tiny.decoder.config.source))
    decoder.load_state_dict(tiny.decoder.state_dict())
    return decoder.eval()


def mixture_by_instruction(tiny, adapters=3):
    decoder = copy(tiny)
    for index, layer in enumerate(decoder.layers):
        layer.mlp = AdapterBank(layer.mlp, WIDTH, adapters=adapters, hidden=8, condition=5)
        nn.init.normal_(layer.mlp.router[2].weight, std=1.0)
        decoder.layers[index] = ToldLayer(layer, {"condition": "instruction"})
    return decoder


def mixture_by_task(tiny):
    """LION's adapters read what the norm before the feed-forward layer reads."""
    decoder = copy(tiny)
    for index, layer in enumerate(decoder.layers):
        fed = nn.Sequential(layer.pre_feedforward_layernorm, layer.mlp)
        layer.mlp, layer.pre_feedforward_layernorm = AdapterBank(fed, WIDTH, adapters=2, hidden=8, gated=True), nn.Identity()
        decoder.layers[index] = ToldLayer(layer, {"choice": "task"})
    return decoder


def trained(decoder, adapters=slice(None)):
    for layer in decoder.layers:
        for name in BANK:
            nn.init.normal_(getattr(layer.layer.mlp, name).data[adapters], std=0.3)
    return decoder


@torch.inference_mode()
def test_before_anything_is_learned_the_decoder_is_what_it_was_bit_for_bit(tiny):
    expected = tiny.decoder(IDS)
    assert torch.equal(mixture_by_instruction(tiny)(IDS, features={"instruction": torch.randn(2, 5)}), expected)
    for task in (0, 1):
        assert torch.equal(mixture_by_task(tiny)(IDS, features={"task": torch.tensor(task)}), expected)


@torch.inference_mode()
@pytest.mark.parametrize("task", [0, 1])
def test_at_first_a_task_does_not_depend_on_the_other_task_s_adapter(tiny, task):
    decoder, told = trained(mixture_by_task(tiny)), {"task": torch.tensor([[task], [task]])}
    before = decoder(IDS, features=told)
    assert not torch.equal(before, tiny.decoder(IDS))
    assert torch.equal(trained(decoder, slice(1 - task, 2 - task))(IDS, features=told), before)
    assert not torch.equal(trained(decoder, slice(task, task + 1))(IDS, features=told), before)


@torch.inference_mode()
def test_each_sample_is_routed_by_its_own_instruction_in_each_layer(tiny):
    decoder, instructions = trained(mixture_by_instruction(tiny)), torch.randn(2, 5) * 4
    chosen = torch.stack([layer.layer.mlp.router(instructions).argmax(-1) for layer in decoder.layers])
    assert len(set(chosen.flatten().tolist())) > 1
    together = decoder(IDS, features={"instruction": instructions})
    apart = [decoder(IDS[row : row + 1], features={"instruction": instructions[row : row + 1]}) for row in range(2)]
    torch.testing.assert_close(together, torch.cat(apart), atol=5e-5, rtol=1e-5)


@torch.inference_mode()
def test_told_the_same_with_every_call_a_cache_changes_nothing(tiny):
    decoder, told = trained(mixture_by_instruction(tiny)), {"instruction": torch.randn(2, 5)}
    cache = decoder.new_cache(8, 2)
    pieces = [decoder(IDS[:, :5], cache, features=told), decoder(IDS[:, 5:], cache, features=told)]
    torch.testing.assert_close(torch.cat(pieces, 1), decoder(IDS, features=told), atol=5e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_second_stage_begins_as_the_first_ended_for_every_instruction(tiny):
    first, second = trained(mixture_by_instruction(tiny, adapters=1)), mixture_by_instruction(tiny, adapters=4)
    for old, new in zip(first.layers, second.layers, strict=True):
        new.layer.mlp.copy_adapter(old.layer.mlp)
    expected = first(IDS, features={"instruction": torch.zeros(2, 5)})
    for seed in range(6):
        instruction = torch.randn(2, 5, generator=torch.Generator().manual_seed(seed)) * 4
        assert torch.equal(second(IDS, features={"instruction": instruction}), expected)


def test_what_it_is_not_told_is_named(tiny):
    with pytest.raises(ValueError, match="told instruction"):
        mixture_by_instruction(tiny)(IDS)
