"""How each family's pictures become pixels, by what its files say; what cannot be is refused before there is a tower."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from serval.encoders.picture_input import PictureInput
from serval.encoders.vision_families import pair
from serval.language.vision_language.config import VisionLanguageConfig
from serval.language.vision_language.pictures import AnyResolution, Patches, Pictures, Split, Stretched, Whole
from serval.refusal import Refusal

_PREPARED = "preprocessor_config.json"
_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 1}


def scaling(config: VisionLanguageConfig, **usual: Any) -> PictureInput:
    """How bytes are scaled, and by which filter pictures are resized."""
    plain = {"image_processor_type": "CLIPImageProcessor", "do_resize": False, "do_center_crop": False, "do_pad": False}
    return PictureInput.from_json({**usual, **config.prepared, **plain}, _PREPARED)


def _said(config: VisionLanguageConfig, key: str, usual: int, video: bool = False) -> int:
    """A number from 1 to 2^31 of how pictures are prepared; ``size.longest_edge`` is within ``size``."""
    value: Any = config.prepared_video if video else config.prepared
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    value = usual if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2**31:
        raise Refusal(_PREPARED, f"its {key} is not a number from 1 on", "fetch the model again")
    return value


def _tile(config: VisionLanguageConfig, *keys: str) -> tuple[int, int]:
    """The side of what the tower looks at, in pixels and in patches; pictures are to be prepared at that size."""
    (side, width), (patch, _) = pair(config.vision.image_size), pair(config.vision.patch_size)
    said = {_said(config, key, side) for key in keys}
    if side != width or said - {side} or side < patch:
        raise Refusal(_PREPARED, f"it does not prepare the squares of {side} pixels that the tower looks at", "fetch it again")
    return side, side // patch


def internvl_window(config: VisionLanguageConfig) -> int:
    """The side of the squares of patches that become a token each."""
    return int(1 / config.whole.downsample_ratio)


def whole(config: VisionLanguageConfig) -> Pictures:
    """LLaVA-1.5's way. Raises `Refusal` for sizes that are not the tower's, as the others do."""
    side, count = _tile(config, "crop_size.height", "crop_size.width")
    usual = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    content = {**usual, **config.prepared, "image_processor_type": "CLIPImageProcessor"}
    return Whole(PictureInput.from_json(content, _PREPARED), count**2)


def any_resolution(config: VisionLanguageConfig) -> Pictures:
    """LLaVA-NeXT's and LLaVA-OneVision's way. Raises `Refusal` also for grids that are not of whole tiles."""
    side, count = _tile(config, "size.shortest_edge", "size.height", "size.width")
    grids, most = config.whole.image_grid_pinpoints, None
    if config.family == "llava_onevision":
        found = re.fullmatch(r"anyres_max_([1-9][0-9]{0,2})", config.whole.vision_aspect_ratio)
        most = int(found[1]) if found else 0
    try:
        tiles = tuple((int(width) // side, int(height) // side) for height, width in grids)
        if most == 0 or not tiles or not all(1 <= x <= 64 and 1 <= y <= 64 for x, y in tiles) or len(tiles) > 4096:
            raise ValueError
        if any(height % side or width % side for height, width in grids):
            raise ValueError
    except (TypeError, ValueError):
        why = f"its vision_aspect_ratio or image_grid_pinpoints are not of tiles of {side}"
        raise Refusal("config.json", why, "fetch it again") from None
    return AnyResolution(scaling(config), tiles, side, count, most)


def stretched(config: VisionLanguageConfig) -> Pictures:
    """InternVL's way. Raises `Refusal` also for more tiles than can be."""
    side, count = _tile(config, "size.height", "size.width")
    budget, least = _said(config, "max_patches", 12), _said(config, "min_patches", 1)
    if not least <= budget <= 64:
        raise Refusal(_PREPARED, f"a picture cannot be {least} to {budget} tiles", "fetch the model again")
    return Stretched(scaling(config), side, (count // internvl_window(config)) ** 2, budget, least)


def split(config: VisionLanguageConfig) -> Pictures:
    """Idefics3's and SmolVLM's way. Raises `Refusal` also for pictures of too many tiles."""
    side, count = _tile(config, "max_image_size.longest_edge")
    longest, split = _said(config, "size.longest_edge", 4 * side), config.prepared.get("do_image_splitting", True) is not False
    if longest > 32 * side:
        raise Refusal(_PREPARED, f"its size.longest_edge is more than 32 tiles of {side}", "fetch the model again")
    return Split(scaling(config, **_HALF), side, (count // config.whole.scale_factor) ** 2, longest, split)


def patches(config: VisionLanguageConfig) -> Pictures:
    """Qwen2-VL's and Qwen2.5-VL's way. Raises `Refusal` for numbers of pixels that cannot be."""
    vision, sizes = config.vision, []
    for video, least, most in ((False, 56 * 56, 28 * 28 * 1280), (True, 128 * 28 * 28, 768 * 28 * 28)):
        least = _said(config, "min_pixels", _said(config, "size.shortest_edge", least, video), video)
        most = _said(config, "max_pixels", _said(config, "size.longest_edge", most, video), video)
        if not least <= most <= 2**26:
            raise Refusal(_PREPARED, f"pictures cannot have {least} to {most} pixels", "fetch the model again")
        sizes.append((least, most))
    return Patches(scaling(config), vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size, *sizes)
