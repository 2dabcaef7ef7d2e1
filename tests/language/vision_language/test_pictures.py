"""Pictures become the pixels that transformers' own processors make of them, and as many tokens as were planned."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.idefics3 import image_processing_pil_idefics3 as idefics
from transformers.models.llava_next.modeling_llava_next import unpad_image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from serval.encoders.picture_input import PictureInput
from serval.language.vision_language.pictures import AnyResolution, Patches, Split, Stretched, pack
from serval.media.frame import Frame
from serval.refusal import Refusal

from .conftest import picture
from .models import PINPOINTS, TILE

SIZES = [(28, 28), (40, 70), (130, 33), (7, 90), (1, 50), (90, 1), (300, 200), (57, 57), (1, 1), (3, 3)]
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CLIP = PictureInput(None, mean=MEAN, deviation=DEVIATION)
HALF = PictureInput(None, resample=Image.Resampling.LANCZOS, mean=(0.5,) * 3, deviation=(0.5,) * 3)
SQUARE = {"height": TILE, "width": TILE}
GRIDS = tuple((width // TILE, height // TILE) for height, width in PINPOINTS)


def theirs(processor, *pictures):
    """What a processor makes of pictures of one conversation."""
    images = [Image.fromarray(each) for each in pictures]
    return processor([images] if len(images) > 1 else images, return_tensors="pt")


@pytest.mark.parametrize("size", SIZES)
def test_llava_next_and_onevision(size):
    shown = picture(*size)
    next_ = transformers.LlavaNextImageProcessorPil(
        size={"shortest_edge": TILE}, crop_size=SQUARE, image_grid_pinpoints=PINPOINTS
    )
    one = transformers.LlavaOnevisionImageProcessorPil(size=SQUARE, image_grid_pinpoints=PINPOINTS)
    for processor, most in ((next_, None), (one, 9)):
        way = AnyResolution(CLIP, GRIDS, TILE, 4, most)
        assert torch.equal(way.pixels([shown], way.plan(*size)), theirs(processor, shown)["pixel_values"][0])
    several = [shown, picture(50, 20)]
    expected = theirs(one, *several)["pixel_values"]
    for each, pixels in zip(several, expected, strict=True):
        plan = way.plan(*each.shape[:2], alone=False)
        assert torch.equal(way.pixels([each], plan), pixels) and plan.tokens == 17


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("split", [True, False])
def test_idefics3(size, split):
    shown = picture(*size)
    sides = {"size": {"longest_edge": 100}, "max_image_size": {"longest_edge": TILE}}
    expected = theirs(idefics.Idefics3ImageProcessorPil(**sides, do_image_splitting=split, return_row_col_info=True), shown)
    way = Split(HALF, TILE, 4, 100, split)
    plan = way.plan(*size)
    assert torch.equal(way.pixels([shown], plan), expected["pixel_values"][0])
    found = plan.grid[1:] if plan.grid != (1, 1, 1) else (0, 0)
    assert found == (expected["rows"][0][0], expected["cols"][0][0])
    assert plan.tokens == 4 * len(expected["pixel_values"][0])


@settings(max_examples=200)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000), longest=st.sampled_from([364, 1456, 2048, 6000]))
def test_idefics3_sizes(height, width, longest):
    size = idefics._resize_output_size_rescale_to_max_len(height, width, max_len=longest)
    size = idefics._resize_output_size_scale_below_upper_bound(*size, max_len=idefics.MAX_IMAGE_SIZE)
    assert Split(HALF, 364, 169, longest)._sizes(height, width)[0] == size


@pytest.mark.parametrize("size", SIZES)
def test_internvl(size):
    processor = transformers.GotOcr2ImageProcessorPil(size=SQUARE, crop_to_patches=True, max_patches=6)
    way = Stretched(CLIP, TILE, 4, 6)
    plan = way.plan(*size)
    expected = theirs(processor, picture(*size))["pixel_values"]
    assert torch.equal(way.pixels([picture(*size)], plan), expected) and plan.tokens == 4 * len(expected)


@pytest.mark.parametrize("size", SIZES)
def test_qwen2_vl(size):
    processor = transformers.Qwen2VLImageProcessorPil(patch_size=4, size={"shortest_edge": 256, "longest_edge": 4096})
    way = Patches(CLIP, 4, 2, 2, (256, 4096), (256, 4096))
    plan, expected = way.plan(*size), theirs(processor, picture(*size))
    assert torch.equal(way.pixels([picture(*size)], plan), expected["pixel_values"])
    assert [list(plan.grid)] == expected["image_grid_thw"].tolist() and 4 * plan.tokens == len(expected["pixel_values"])


@settings(max_examples=200)
@given(height=st.integers(1, 5000), width=st.integers(1, 5000))
def test_qwen2_vl_sizes(height, width):
    if max(height, width) > 200 * min(height, width):
        return
    plan = Patches(CLIP, 14, 2, 2, (3136, 1_003_520), (3136, 3136)).plan(height, width)
    assert tuple(14 * side for side in plan.grid[1:]) == smart_resize(height, width, 28, 3136, 1_003_520)


def test_a_video_of_qwen2_vl_is_pairs_of_frames():
    way = Patches(CLIP, 4, 2, 2, (256, 4096), (256, 4096))
    first, second = picture(32, 48), picture(32, 48, seed=1)
    plan = way.plan(32, 48, 3)
    assert plan.grid == (2, 8, 12) and plan.tokens == 2 * 4 * 6
    pixels = way.pixels([first, second, first], plan).view(2, -1, 3, 2, 4, 4)
    still = way.pixels([first], way.plan(32, 48)).view(-1, 3, 2, 4, 4)
    other = way.pixels([second], way.plan(32, 48)).view(-1, 3, 2, 4, 4)
    assert torch.equal(pixels[0, :, :, 0], still[:, :, 0]) and torch.equal(pixels[0, :, :, 1], other[:, :, 0])
    assert torch.equal(pixels[1], still)  # the last frame is seen twice


@settings(max_examples=60)
@given(height=st.integers(1, 900), width=st.integers(1, 900), most=st.sampled_from([None, 1, 2, 9]))
def test_tiles_are_packed_as_transformers_packs_them(height, width, most):
    """What remains of the tiles is the picture; rows end with the newline; there are as many tokens as planned."""
    plan = AnyResolution(CLIP, GRIDS, TILE, 4, most).plan(height, width)
    _, rows, columns = plan.grid
    tokens, newline = torch.randn(1 + rows * columns, 16, 3), torch.full((3,), 7.0)
    found = pack(tokens, plan, newline)
    assert found.shape == (plan.tokens, 3) and torch.equal(found[:16], tokens[0])
    whole = tokens[1:].view(rows, columns, 4, 4, 3).permute(4, 0, 2, 1, 3).flatten(1, 2).flatten(2, 3)
    kept = unpad_image(whole, (height, width))
    if plan.shrunk is None and kept.numel():
        lines = found[16:].view(kept.shape[1], kept.shape[2] + 1, 3)
        assert torch.equal(lines[:, :-1], kept.permute(1, 2, 0)) and (lines[:, -1] == 7).all()
    elif kept.numel():
        assert plan.shrunk[0] * plan.shrunk[1] <= most * 16 < kept.shape[1] * kept.shape[2]


def test_every_family_makes_as_many_tokens_as_planned(tiny):
    for size in ((40, 70), (90, 31), (1, 120), (200, 1)):
        prepared = tiny.model.prepare(picture(*size))
        assert tiny.model.look(prepared).shape == (prepared.plan.tokens, 32)


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (picture(1, 201), "more than 200 times as long as wide"),
        ([], "it has 0 frames"),
        ([Frame.from_rgb(picture(30, 30)), Frame.from_rgb(picture(30, 31))], "differ in size"),
    ],
)
def test_what_cannot_be_seen_is_refused(tiny, shown, why):
    with pytest.raises(Refusal, match=why):
        tiny.model.prepare(shown)


@pytest.mark.parametrize("name", ["llava", "llava_next", "idefics3", "internvl"])
def test_a_model_for_pictures_takes_no_video(tiny_of, name):
    with pytest.raises(Refusal, match="made for pictures"):
        tiny_of(name).model.prepare([Frame.from_rgb(picture(30, 30))])


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5), (5, 5, 4)])
def test_an_array_that_is_no_picture_is_an_error(tiny, shape):
    with pytest.raises(ValueError, match="A picture is"):
        tiny.model.prepare(np.zeros(shape, dtype=np.uint8))
    with pytest.raises(ValueError, match="A picture is"):
        tiny.model.prepare(np.zeros((5, 5, 3), dtype=np.float32))
