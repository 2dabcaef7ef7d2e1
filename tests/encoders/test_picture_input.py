"""Pixels are those of transformers' own PIL processors."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serval.encoders.picture_input import PROCESSORS, PictureInput
from serval.refusal import Refusal


@pytest.fixture(scope="module")
def pictures(street) -> list[np.ndarray]:
    """A frame of a film, the same on its side, noise smaller than any crop, and something long."""
    noise = np.random.default_rng(5).integers(0, 256, (31, 45, 3), dtype=np.uint8)
    return [street[0], np.ascontiguousarray(street[9].transpose(1, 0, 2)), noise, np.tile(noise, (1, 9, 1))]


def processor(name: str, **options: object):
    import transformers

    return getattr(transformers, f"{name}ImageProcessorPil")(**options)


WAYS = [
    ("CLIP", {}),
    ("CLIP", {"size": {"shortest_edge": 48}, "crop_size": {"height": 57, "width": 36}}),  # a crop larger than the picture
    ("CLIP", {"do_center_crop": False, "size": {"height": 33, "width": 70}, "resample": Image.Resampling.LANCZOS}),
    ("Bit", {"size": {"shortest_edge": 256}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}),
    ("Siglip", {}),
    ("Siglip", {"size": {"height": 384, "width": 96}, "do_normalize": False}),
    ("ViT", {}),
    ("ViT", {"do_rescale": False, "do_resize": True, "size": {"height": 20, "width": 20}}),
    ("ViT", {"rescale_factor": 1 / 127.5, "resample": Image.Resampling.NEAREST}),
    ("Beit", {}),
    ("Beit", {"do_center_crop": True, "size": {"height": 60, "width": 60}, "crop_size": {"height": 41, "width": 52}}),
    ("ConvNext", {"size": {"shortest_edge": 224}}),
    ("ConvNext", {"size": {"shortest_edge": 384}}),
    ("ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.95, "resample": Image.Resampling.BILINEAR}),
]


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_the_pixels_of_transformers(pictures, name, options):
    reference = processor(name, **options)
    ours = PictureInput.from_json(json.loads(reference.to_json_string()))
    for picture in pictures:
        expected = reference(picture, return_tensors="pt").pixel_values
        found = ours([picture]).values
        assert found.shape == expected.shape and found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        # Written down in a form of ours, it is the same way.
        assert torch.equal(PictureInput.from_json(ours.to_json())([picture]).values, found)


def test_naflex_keeps_proportions_and_gives_the_same_patches(pictures):
    reference = processor("Siglip2", max_num_patches=50, patch_size=14)
    ours = PictureInput.from_json(json.loads(reference.to_json_string()))
    for picture in pictures:
        expected = reference(picture, return_tensors="pt")
        rows, columns = expected["spatial_shapes"][0].tolist()
        found = ours([picture]).values[0]
        assert found.shape == (3, rows * 14, columns * 14)
        patches = found.reshape(3, rows, 14, columns, 14).permute(1, 3, 2, 4, 0).reshape(rows * columns, -1)
        torch.testing.assert_close(patches, expected["pixel_values"][0, : rows * columns].float(), rtol=0, atol=1e-6)
        assert PictureInput.from_json(ours.to_json()) == ours


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([14, 16, 32]), st.sampled_from([1, 49, 256, 1024]))
def test_naflex_sizes_are_those_of_transformers(height, width, side, most):
    from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches

    way = PictureInput(None, patches=(side, most))
    assert way.target(height, width) == get_image_size_for_max_num_patches(height, width, side, most)


@settings(max_examples=60)
@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 500))
def test_the_shorter_side_gets_its_length(height, width, side):
    rows, columns = PictureInput(side).target(height, width)
    assert min(rows, columns) == side
    assert abs(rows * width - columns * height) < max(height, width)


def test_dinov3_is_within_one_step_of_a_byte_of_torch(pictures):
    """Its reference resizes floats with torch (which torchvision's transform calls), not bytes with Pillow."""
    way = PictureInput.from_json({"image_processor_type": "DINOv3ViTImageProcessorFast", "size": {"height": 96, "width": 160}})
    for picture in pictures[:2]:
        floats = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        expected = torch.nn.functional.interpolate(floats, (96, 160), mode="bilinear", antialias=True)
        mean, deviation = torch.tensor(way.mean).view(3, 1, 1), torch.tensor(way.deviation).view(3, 1, 1)
        found = way([picture]).values * deviation + mean
        assert (found - expected).abs().max() < 1 / 255


def test_old_files_with_a_number_for_a_size():
    """Those of 2021 and 2022: a number meant the shorter side for CLIP, a square for ViT."""
    clip = PictureInput.from_json({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 200})
    assert (clip.size, clip.crop) == (224, (200, 200))
    vit = PictureInput.from_json({"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 2})
    assert (vit.size, vit.crop, vit.resample) == ((224, 224), None, Image.Resampling.BILINEAR)


def test_another_size_squashes_the_whole_picture():
    way = PictureInput.from_json({"image_processor_type": "CLIPImageProcessor"})
    picture = np.zeros((40, 90, 3), np.uint8)
    picture[:, :45] = 255
    pixels = way([picture], (28, 56)).values
    assert pixels.shape == (1, 3, 28, 56)
    assert pixels[0, 0, :, 0].unique().numel() == 1 and pixels[0, 0, 0, 0] > pixels[0, 0, 0, -1]


def test_pictures_of_one_batch_have_one_size(street):
    way = PictureInput(None, patches=(16, 20))
    with pytest.raises(Refusal, match=r"come out at different sizes .*one by one"):
        way([street[0], np.ascontiguousarray(street[0].transpose(1, 0, 2))])
    assert len(way([street[0], street[1]])) == 2


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_picture(picture):
    with pytest.raises(ValueError, match="A picture is"):
        PictureInput(None)([picture])
    with pytest.raises(ValueError, match="no pictures"):
        PictureInput(None)([])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_processor_type": "SamImageProcessor"}, "not known here"),
        ({"image_processor_type": None}, "not known here"),
        ({"image_processor_type": ["CLIP"]}, "not known here"),
        ({"size": {"shortest_edge": 10**9}}, "its size is not a length"),
        ({"size": {"shortest_edge": 224.5}}, "its size is not a length"),
        ({"size": "224"}, "its size is not a length"),
        ({"size": {"longest_edge": 224}}, "its size is not a length"),
        ({"crop_size": {"height": 0, "width": 4}}, "its crop_size is not a length"),
        ({"resample": 77}, "its resample cannot be"),
        ({"image_mean": [0.5, 0.5]}, "its image_mean is not three numbers"),
        ({"image_mean": "abc"}, "its image_mean cannot be"),
        ({"image_std": [0.5, 0.0, 0.5]}, "its image_std cannot be"),
        ({"image_std": [0.5, float("nan"), 0.5]}, "its image_std cannot be"),
        ({"rescale_factor": "one"}, "its rescale_factor cannot be"),
        ({"do_pad": True}, "it pads pictures"),
    ],
)
def test_files_that_cannot_be(change, said):
    with pytest.raises(Refusal, match=said) as refused:
        PictureInput.from_json({"image_processor_type": "CLIPImageProcessor", **change}, "folder/preprocessor_config.json")
    assert str(refused.value).startswith("folder/preprocessor_config.json: ") and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", sorted(PROCESSORS.keys() - {"DINOv3ViT"}))  # which has none for Pillow
def test_what_a_file_leaves_out_is_as_in_transformers(name):
    said = json.loads(processor(name).to_json_string())
    assert PictureInput.from_json({"image_processor_type": f"{name}ImageProcessorFast"}) == PictureInput.from_json(said)
