"""Pictures to a tower's pixels: the numbers of transformers' PIL image processors, without them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from serval.encoders.features import Batch, Grid
from serval.refusal import Refusal

Picture = NDArray[np.uint8]
T = TypeVar("T")

_MOST_SIDE: Final = 8192  # pixels; a damaged file must not ask for gigabytes
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_WARPED = 384  # from this side on ConvNeXt squashes the whole picture instead of cropping it
_CLASS = re.compile(r"(\w+?)(?:ImageProcessor(?:Fast|Pil)?|FeatureExtractor)")


@dataclass(frozen=True)
class PictureInput:
    """Resize, crop in the middle, scale, and subtract the mean.

    Attributes:
        size: (height, width) to squash to, the length of the shorter side, or None to leave it.
        crop: (height, width) cut from the middle, black where the picture is smaller. None: nothing is cut.
        resample: Pillow's number of the filter.
        scale: what a byte is multiplied with.
        mean, deviation: per channel, after scaling.
        patches: side of a patch and how many there may be: the picture keeps its proportions and its sides become multiples
            of the patch (NaFlex, Tschannen et al. 2025, "SigLIP 2"). Then ``size`` and ``crop`` are None.
    """

    size: Grid | int | None
    crop: Grid | None = None
    resample: int = Image.Resampling.BICUBIC
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)
    patches: tuple[int, int] | None = None

    def __call__(self, pictures: Sequence[Picture], size: Grid | None = None) -> Batch:
        """Pixels (batch, 3, height, width) float32 of pictures (height, width, 3) uint8 RGB.

        With ``size`` the whole picture is squashed to it, whatever else was configured.

        Raises:
            ValueError: there is no picture, or an array is none.
            Refusal: pictures whose pixels come out at different sizes.
        """
        if not pictures:
            raise ValueError("There are no pixels of no pictures.")
        way = self if size is None else replace(self, size=size, crop=None, patches=None)
        pixels = [way._one(picture) for picture in pictures]
        sizes = {plane.shape[1:] for plane in pixels}
        if len(sizes) > 1:
            found = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
            raise Refusal("pictures of one batch", f"they come out at different sizes ({found})", "prepare them one by one")
        return Batch(torch.from_numpy(np.stack(pixels)))

    def _one(self, picture: Picture) -> NDArray[np.float32]:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ValueError(f"A picture is (height, width, 3) uint8, not {picture.shape} {picture.dtype}.")
        if (target := self.target(*picture.shape[:2])) != picture.shape[:2]:
            image = Image.fromarray(np.ascontiguousarray(picture))
            picture = np.asarray(image.resize(target[::-1], Image.Resampling(self.resample)))
        if self.crop is not None:
            picture = _middle(picture, self.crop)
        return np.stack([table[picture[..., channel]] for channel, table in enumerate(self._tables)])

    def target(self, height: int, width: int) -> Grid:
        """Height and width that a picture is resized to, before it is cropped."""
        if self.patches is not None:
            return _most_patches(height, width, *self.patches)
        if self.size is None:
            return height, width
        if not isinstance(self.size, int):
            return self.size
        longer = int(self.size * max(height, width) / min(height, width))
        return (longer, self.size) if width <= height else (self.size, longer)

    @cached_property
    def _tables(self) -> NDArray[np.float32]:
        """[3, 256]: a byte has only so many values, so scaling and mean are looked up, with the same roundings."""
        scaled = (np.arange(256) * self.scale).astype(np.float32)
        mean, deviation = (np.array(each, np.float32)[:, None] for each in (self.mean, self.deviation))
        return (scaled - mean) / deviation

    def to_json(self) -> dict[str, Any]:
        """As ``preprocessor_config.json`` has it; `from_json` reads it back."""
        content: dict[str, Any] = {
            "image_processor_type": "Siglip2ImageProcessor" if self.patches else "CLIPImageProcessor",
            "do_resize": self.size is not None or self.patches is not None,
            "resample": int(self.resample),
            "do_center_crop": self.crop is not None,
            "do_rescale": True,
            "rescale_factor": self.scale,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.deviation),
        }
        if self.patches:
            content |= {"patch_size": self.patches[0], "max_num_patches": self.patches[1]}
        elif isinstance(self.size, int):
            content["size"] = {"shortest_edge": self.size}
        elif self.size is not None:
            content["size"] = {"height": self.size[0], "width": self.size[1]}
        if self.crop is not None:
            content["crop_size"] = {"height": self.crop[0], "width": self.crop[1]}
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any], name: str = "preprocessor_config.json") -> PictureInput:
        """Of the content of a ``preprocessor_config.json``; what it does not say is its processor's default.

        Raises:
            Refusal: a processor that is not known here, or values that cannot be.
        """
        said = content.get("image_processor_type") or content.get("feature_extractor_type")
        match = _CLASS.fullmatch(said) if isinstance(said, str) else None
        if match is None or match[1] not in PROCESSORS:
            raise Refusal(name, "its way to prepare pictures is not known here", f"one of {', '.join(PROCESSORS)} is")
        default = PROCESSORS[match[1]]
        given = {**default, **{key: value for key, value in content.items() if value is not None}}
        if given.get("do_pad"):
            raise Refusal(name, "it pads pictures, which no tower here was trained with", "take away do_pad")
        resize = bool(given.get("do_resize", True))
        size, crop, patches = None, None, None
        if "max_num_patches" in default:
            patches = _side(given["patch_size"], "patch_size", name), _side(given["max_num_patches"], "max_num_patches", name)
        elif resize:
            size, crop = _size(given["size"], bool(given["default_to_square"]), "size", name), None
            if "crop_pct" in default:
                size, crop = _convnext(size, given["crop_pct"], name)
        if given.get("do_center_crop"):
            cut = _size(given["crop_size"], True, "crop_size", name)
            crop = (cut, cut) if isinstance(cut, int) else cut
        plain = not given.get("do_normalize", True)
        return cls(
            size=size,
            crop=crop,
            resample=_checked(given["resample"], Image.Resampling, "resample", name),
            scale=_checked(given.get("rescale_factor", 1 / 255), float, "rescale_factor", name)
            if given.get("do_rescale", True)
            else 1.0,
            mean=(0.0, 0.0, 0.0) if plain else _channels(given["image_mean"], "image_mean", name),
            deviation=(1.0, 1.0, 1.0) if plain else _channels(given["image_std"], "image_std", name),
            patches=patches,
        )


def _defaults(size: Any, statistics: tuple[tuple[float, ...], ...], resample: int, **more: Any) -> dict[str, Any]:
    mean, deviation = statistics
    common = {"size": size, "image_mean": mean, "image_std": deviation, "resample": resample, "default_to_square": True}
    return {**common, **more}


_CROPPED = {"crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "default_to_square": False}
PROCESSORS: Final[Mapping[str, dict[str, Any]]] = {
    "CLIP": _defaults({"shortest_edge": 224}, _CLIP, Image.Resampling.BICUBIC, **_CROPPED),
    "Bit": _defaults({"shortest_edge": 224}, _CLIP, Image.Resampling.BICUBIC, **_CROPPED),
    "Siglip": _defaults({"height": 224, "width": 224}, _HALF, Image.Resampling.BICUBIC),
    "Siglip2": _defaults(None, _HALF, Image.Resampling.BILINEAR, patch_size=16, max_num_patches=256),
    "Blip": _defaults({"height": 384, "width": 384}, _CLIP, Image.Resampling.BICUBIC),
    "ViT": _defaults({"height": 224, "width": 224}, _HALF, Image.Resampling.BILINEAR),
    "DINOv3ViT": _defaults({"height": 224, "width": 224}, _IMAGENET, Image.Resampling.BILINEAR),
    "Beit": _defaults({"height": 224, "width": 224}, _HALF, Image.Resampling.BICUBIC, crop_size=224),
    "ConvNext": _defaults({"shortest_edge": 384}, _HALF, Image.Resampling.BICUBIC, crop_pct=224 / 256, default_to_square=False),
}
"""What transformers' processors of each family do unless their file says otherwise. ``DINOv3ViT`` resizes in floats where
this one rounds to bytes: within 1/255 of each other."""


def _middle(picture: Picture, size: Grid) -> Picture:
    """Cut (height, width) from the middle; where the picture is smaller, black is put around it."""
    lack = [max(wanted - have, 0) for wanted, have in zip(size, picture.shape[:2], strict=True)]
    if any(lack):
        around = [(ceil(each / 2), each // 2) for each in lack]
        picture = np.pad(picture, [*around, (0, 0)])
    top, left = ((have - wanted) // 2 for wanted, have in zip(size, picture.shape[:2], strict=True))
    return picture[top : top + size[0], left : left + size[1]]


def _most_patches(height: int, width: int, side: int, most: int) -> Grid:
    """The largest size near the picture's proportions whose sides are multiples of ``side``, with ``most`` patches or fewer."""

    def scaled(scale: float) -> Grid:
        rows, columns = (max(1, ceil(length * scale / side)) for length in (height, width))
        return rows, columns

    low, high, close = 1e-6, 100.0, 1e-5  # the reference's bounds and step, which decide where rounding falls
    while high - low >= close:
        middle = (low + high) / 2
        rows, columns = scaled(middle)
        low, high = (middle, high) if rows * columns <= most else (low, middle)
    rows, columns = scaled(low)
    return rows * side, columns * side


def _convnext(size: Grid | int | None, share: Any, name: str) -> tuple[Grid | int | None, Grid | None]:
    """ConvNeXt's way: a small picture is the middle of a larger one, a large one is the whole picture."""
    side = size if isinstance(size, int) else None
    if side is None:
        raise Refusal(name, "its size is not a shortest_edge", "fetch the model again")
    if side >= _WARPED:
        return (side, side), None
    return int(side / _checked(share, float, "crop_pct", name)), (side, side)


def _size(value: Any, square: bool, key: str, name: str) -> Grid | int:
    if isinstance(value, Mapping) and "shortest_edge" in value and "longest_edge" not in value:
        return _side(value["shortest_edge"], key, name)
    if isinstance(value, Mapping) and {"height", "width"} <= value.keys():
        return _side(value["height"], key, name), _side(value["width"], key, name)
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        return _side(value[0], key, name), _side(value[1], key, name)
    side = _side(value, key, name)
    return (side, side) if square else side


def _side(value: Any, key: str, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_SIDE:
        raise Refusal(name, f"its {key} is not a length from 1 to {_MOST_SIDE}", "fetch the model again")
    return value


def _channels(value: Any, key: str, name: str) -> tuple[float, float, float]:
    values = [value] * 3 if isinstance(value, int | float) else value
    if not isinstance(values, Sequence) or len(values) != 3:
        raise Refusal(name, f"its {key} is not three numbers", "fetch the model again")
    red, green, blue = (_checked(each, float, key, name) for each in values)
    return red, green, blue


def _checked(value: Any, kind: Callable[[Any], T], key: str, name: str) -> T:
    """``kind(value)``. A deviation, scale or share of nothing would make numbers that are none."""
    try:
        made = kind(value)
        if not isinstance(made, float) or (np.isfinite(made) and (made > 0 or key == "image_mean")):
            return made
    except (TypeError, ValueError):
        pass
    raise Refusal(name, f"its {key} cannot be", "fetch the model again")
