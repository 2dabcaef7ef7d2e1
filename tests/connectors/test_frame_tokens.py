import pytest
import torch
from torch import nn

from serval.connectors.frame_tokens import frame_tokens
from serval.connectors.grid_reducer import average_pool
from serval.connectors.projector import Projector
from serval.connectors.soft_router import SoftRouter
from serval.encoders.features import Features


def seen(width=6):
    return Features(torch.randn(2, 576, width), (24, 24), prefix=torch.randn(2, 5, width), pooled=torch.randn(2, width))


def test_a_frame_is_its_summary_and_nine_cells():
    features = seen()
    tokens = frame_tokens(features)
    assert tokens.shape == (2, 10, 6)
    assert torch.equal(tokens[:, 0], features.pooled)
    assert torch.equal(tokens[:, 1:], average_pool(features.map, (3, 3)).flatten(1, 2))
    torch.testing.assert_close(frame_tokens(features, summary="mean")[:, 0], features.map.mean((1, 2)))
    assert torch.equal(frame_tokens(features, summary="prefix")[:, 0], features.prefix[:, 0])
    assert torch.equal(frame_tokens(features, None), features.pooled[:, None])


def test_two_encoders_frames_become_one_frame_of_as_many_tokens():
    """LION-FS's token aggregation router, guided by the first encoder's projected summary."""
    sight, ego = (
        Projector(6, 16)(frame_tokens(seen(), summary="mean")),
        Projector(4, 16)(frame_tokens(seen(4), summary="prefix")),
    )
    router = SoftRouter(16, sources=2, positions=10, guidance="cls")
    assert router([sight, ego]).shape == (2, 10, 16)
    assert torch.equal(router.weights([sight, torch.randn_like(ego)]), router.weights([sight, ego]))
    nn.init.zeros_(router.layers[2].weight)
    with torch.no_grad():
        router.layers[2].bias.copy_(torch.tensor([1e4, -1e4]).repeat(10))
    assert torch.equal(router([sight, ego]), sight)


def test_a_summary_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no pooled token"):
        frame_tokens(Features(torch.randn(2, 9, 4), (3, 3)))
    with pytest.raises(ValueError, match="on no grid"):
        frame_tokens(Features(torch.randn(2, 9, 4)), summary="mean")
