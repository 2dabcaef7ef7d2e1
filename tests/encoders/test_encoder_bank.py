from operator import attrgetter

import numpy as np
import pytest
import torch
from torch import nn

from serval.connectors.deformable_reader import DeformableReader
from serval.connectors.grid_reducer import average_pool
from serval.connectors.projector import Projector
from serval.connectors.soft_router import SoftRouter
from serval.encoders.encoder_bank import Bridge, EncoderBank
from serval.encoders.features import Batch, Features

KINDS = ("clip_vision_model", "dinov2", "convnext")


@pytest.fixture
def pictures():
    return list(np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), dtype=np.uint8))


@pytest.fixture
def towers(tiny):
    return [tiny(kind) for kind in KINDS]


def readers(towers, width=12):
    """Any grid and width to four tokens of one width, by sampling where it pays."""
    torch.manual_seed(0)
    return [
        Bridge(attrgetter("map"), DeformableReader(tower.width, (2, 2), layers=1, heads=4), Projector(tower.width, width))
        for tower in towers
    ]


def means(features: Features) -> torch.Tensor:
    return average_pool(features.map, (2, 2)).flatten(1, 2)


def test_towers_of_other_grids_and_widths_come_to_one_grid_and_width(towers, pictures):
    bank = EncoderBank(towers, readers(towers), SoftRouter(5, sources=3))
    features = bank.encode(bank.prepare(pictures))
    assert len({seen.grid for seen in features}) > 1
    tokens = bank.tokens(features)
    assert bank(features, torch.randn(2, 5)).shape == (2, 4, 12) and {each.shape for each in tokens} == {(2, 4, 12)}


def test_sums_channels_and_orders(towers, pictures):
    bridges = [Bridge(means, Projector(tower.width, 6)) for tower in towers]
    bank = EncoderBank(towers, bridges, "add")
    features = bank.encode(bank.prepare(pictures))
    one, two, three = bank.tokens(features)
    torch.testing.assert_close(bank(features), one + two + three)
    beside = EncoderBank(towers, bridges, "channels")(features)
    assert torch.equal(beside[..., 6:12], two) and beside.shape == (2, 4, 18)
    woven = EncoderBank(towers, bridges, "interleave")(features)
    assert torch.equal(woven[:, 4], two[:, 1]) and torch.equal(woven[:, 2::3], three)
    assert torch.equal(EncoderBank(towers, bridges, "behind")(features)[:, 4:8], two)


@pytest.mark.parametrize("chosen", range(3))
def test_all_weight_on_one_tower_is_that_tower_alone_bit_for_bit(towers, pictures, chosen):
    bank = EncoderBank(towers, readers(towers), SoftRouter(5, sources=3))
    nn.init.zeros_(bank.mixer.layers[2].weight)
    with torch.no_grad():
        bank.mixer.layers[2].bias.fill_(-1e4)
        bank.mixer.layers[2].bias[chosen] = 1e4
    alone = EncoderBank(towers[chosen : chosen + 1], [bank.bridges[chosen]], "add")
    features = bank.encode(bank.prepare(pictures))
    assert torch.equal(bank(features, torch.randn(2, 5)), alone(alone.encode(alone.prepare(pictures))))


@pytest.mark.parametrize("mixer", ["add", "channels", "interleave", "behind", SoftRouter(5, sources=1)])
def test_a_bank_of_one_is_its_tower_bit_for_bit(towers, pictures, mixer):
    (bridge,) = readers(towers[:1])
    bank = EncoderBank(towers[:1], [bridge], mixer)
    condition = torch.randn(2, 5) if isinstance(mixer, SoftRouter) else None
    expected = bridge(towers[0].encode(towers[0].prepare(pictures)))
    assert torch.equal(bank(bank.encode(bank.prepare(pictures)), condition), expected)


def test_pictures_change_no_weight_of_an_instruction_s_router(towers, pictures):
    bank, instruction = EncoderBank(towers, readers(towers), SoftRouter(5, sources=3)), torch.randn(2, 5)
    seen, others = (bank.tokens(bank.encode(bank.prepare(each))) for each in (pictures, [255 - each for each in pictures]))
    assert not torch.equal(seen[0], others[0])
    assert torch.equal(bank.mixer.weights(seen, instruction), bank.mixer.weights(others, instruction))


def test_towers_stay_frozen_and_bridges_and_router_learn(towers, pictures):
    bank = EncoderBank(towers, readers(towers), SoftRouter(5, sources=3)).train()
    assert not any(tower.training for tower in towers) and bank.bridges.training
    bank(bank.encode(bank.prepare(pictures)), torch.randn(2, 5)).square().sum().backward()
    learned = {name.split(".")[0] for name, weight in bank.named_parameters() if weight.grad is not None}
    assert learned == {"bridges", "mixer"}
    assert {name.split(".")[0] for name in bank.state_dict()} == {"tower_0", "tower_1", "tower_2", "bridges", "mixer"}


class Plain:
    """A tower that is no module."""

    width, widths = 3, (3,)

    def prepare(self, items):
        return Batch(torch.tensor(items, dtype=torch.float32))

    def encode(self, batch, *, taps=()):
        return Features(batch.values.flatten(1, 2), grid=(4, 4))

    def identity(self):
        return "plain"


def test_any_tower_will_do():
    bank = EncoderBank([Plain(), Plain()], [Bridge(means), Bridge(attrgetter("map"), nn.Flatten(1, 2))], "behind")
    pixels = np.ones((2, 4, 4, 3))
    assert bank(bank.encode(bank.prepare(pixels))).shape == (2, 4 + 16, 3)


def test_each_tower_has_a_bridge():
    with pytest.raises(ValueError, match="1 bridges for 2 towers"):
        EncoderBank([Plain(), Plain()], [Bridge(means)], "add")
    with pytest.raises(ValueError, match="0 bridges for 0 towers"):
        EncoderBank([], [], "add")
