"""Towers from a folder as Hugging Face writes it, or new ones with random weights. No code of a folder is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch

from serval.encoders.audio_families import AUDIO_FAMILIES
from serval.encoders.audio_tower import AudioTower
from serval.encoders.model_tower import quiet
from serval.encoders.picture_input import PROCESSORS, PictureInput
from serval.encoders.tower_files import TowerFiles
from serval.encoders.vision_families import VISION_FAMILIES, pair
from serval.encoders.vision_tower import VisionTower
from serval.refusal import Refusal

_PART_OF: Final = {  # whole models: where the tower's configuration is, and what its tensors' names begin with
    "clip": ("vision_config", "vision_model."),
    "siglip": ("vision_config", "vision_model."),
    "siglip2": ("vision_config", "vision_model."),
    "clap": ("audio_config", "audio_model."),
    "whisper": ("", "encoder."),
}
_MOST_LAYERS = 1024
_MOST_LENGTH = 2**20  # of anything else that a configuration counts; sizes of vocabularies are not the tower's
_SHOWN = 3  # differences that one line can bear


def open_tower(
    source: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    frozen: bool = True,
    fetch: bool = False,
) -> VisionTower | AudioTower:
    """A tower of a folder with ``config.json`` and safetensors (in one file or sharded), known by its ``model_type``.

    Of a whole CLIP, SigLIP, CLAP or Whisper, the tower alone is read. ``preprocessor_config.json`` says how the input is
    prepared; without one it is as usual in the family.

    Args:
        source: the folder, or ``hub:OWNER/NAME@REVISION`` with all 40 digits of the commit, for one that `serval.weights` has.
        frozen: no parameter takes gradients, and the tower stays in evaluation mode.
        fetch: get a hub model that is not on this machine. Nothing is ever fetched without it.

    Raises:
        Refusal: an architecture that is not known here, pickled weights, damaged files, or tensors that are not those that the
            configuration asks for; it says which.
    """
    files = TowerFiles(hub_folder(source, fetch) if isinstance(source, str) and source.startswith("hub:") else Path(source))
    config, prefix = _configuration(files.config(), files.name("config.json"))
    prepared = files.prepared()
    names = files.names(prefix)
    model = _load(files, config, names, dtype)
    return _tower(model.to(device=device), prepared, files.name("preprocessor_config.json"), frozen)


def new_tower(
    config: Mapping[str, Any],
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    frozen: bool = False,
) -> VisionTower | AudioTower:
    """A tower with random weights, of the content of a ``config.json`` (what it leaves out is the family's default).

    Raises:
        Refusal: as `open_tower` does for a ``config.json``.
    """
    made, _ = _configuration(config, "the configuration")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _built(made, "the configuration")
    return _tower(model.to(device=device, dtype=dtype), None, "the configuration", frozen)


def hub_folder(name: str, fetch: bool) -> Path:
    """Where ``hub:OWNER/NAME@REVISION`` lies on this machine; with ``fetch`` it is brought here if it does not.

    Raises:
        Refusal: no such name, a revision that is not the 40 digits of a commit, not here, or not as it was installed.
    """
    from serval.weights.cache import broken, locate
    from serval.weights.install import fetch as install
    from serval.weights.manifest import part_named

    if fetch:
        install(name)
    folder = locate(name)
    if damaged := broken(part_named(name)):
        raise Refusal(name, f"{damaged[0]} is not what was installed", f"run: serval weights fetch {name}")
    return folder


def _configuration(content: Mapping[str, Any], name: str) -> tuple[Any, str]:
    """The tower's configuration, and what the names of its tensors may begin with."""
    from transformers import CONFIG_MAPPING

    kind = content.get("model_type")
    known = {*VISION_FAMILIES, *AUDIO_FAMILIES, *_PART_OF}
    if not isinstance(kind, str) or kind not in known:
        if content.get("auto_map"):
            raise Refusal(name, "it brings code of its own (auto_map), which is never run", "take a model of a known family")
        shown = repr(kind[:60]) if isinstance(kind, str) and kind.isprintable() else "that it names"
        raise Refusal(name, f"the architecture {shown} is not known here", f"one of {', '.join(sorted(known))} is")
    if content.get("quantization_config"):
        raise Refusal(name, "its weights are quantized", "take the weights that they were made from")
    field, prefix = _PART_OF.get(kind, ("", "vision_model." if kind in VISION_FAMILIES else ""))
    part = content.get(field, {}) if field else content
    if not isinstance(part, Mapping):
        raise Refusal(name, f"its {field} is not a configuration", "fetch the model again")
    _sizes(part, name)
    try:
        with quiet():
            whole = CONFIG_MAPPING[kind].from_dict(dict(content))
    except Exception as error:  # every class of transformers has errors of its own
        raise Refusal(name, f"it is not a configuration of {kind} ({_line(error)})", "fetch the model again") from None
    made = getattr(whole, field) if field else whole
    if made.model_type == "wav2vec2":
        made.mask_time_prob = made.mask_feature_prob = 0.0  # masking is training's business, and its token is often missing
    return made, prefix


def _sizes(config: Mapping[str, Any], name: str) -> None:
    """A damaged configuration must not ask for a million layers before any file is compared with it."""
    for key, value in config.items():
        for number in value if isinstance(value, list) else [value]:
            layers = key in {"num_hidden_layers", "encoder_layers", "depths", "num_adapter_layers"}
            most = _MOST_LAYERS if layers else _MOST_LENGTH
            if isinstance(number, int | float) and not key.endswith("_id") and not abs(number) <= most:
                raise Refusal(name, f"its {key} is not a number up to {most:,}", "fetch the model again")


def _model_class(config: Any) -> Any:
    import transformers

    if (audio := AUDIO_FAMILIES.get(config.model_type)) is None:
        return getattr(transformers, VISION_FAMILIES[config.model_type].model)
    return getattr(import_module(f"transformers.models.{audio.module}.modeling_{audio.module}"), audio.model)


def _built(config: Any, name: str) -> Any:
    try:
        with quiet():
            return _model_class(config)(config)
    except Exception as error:  # whatever sizes that do not go together make of themselves
        raise Refusal(name, f"no model can be made of it ({_line(error)})", "fetch the model again") from None


def _load(files: TowerFiles, config: Any, names: Mapping[str, str], dtype: torch.dtype) -> Any:
    """The model, after everything that its configuration asks for was found in the files."""
    options: dict[str, Any] = {}
    with torch.device("meta"):
        wanted = _built(config, files.name("config.json")).state_dict()
    if any("pooler." in each for each in wanted) and not any("pooler." in each for each in names):
        options["add_pooling_layer"] = False  # checkpoints of classifiers leave it out
        wanted = {each: tensor for each, tensor in wanted.items() if not each.startswith("pooler.")}
    asked, held = sum(tensor.numel() for tensor in wanted.values()), files.numbers(names)
    if asked > held * 1.01 + 4096:  # some buffers are not in the files
        why = f"it holds {held:,} numbers where config.json asks for {asked:,}"
        raise Refusal(files.checkpoint.place(None), why, "give the weights that config.json describes")
    state = files.tensors(names)
    with quiet():
        model, report = _model_class(config).from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=dtype,
            ignore_mismatched_sizes=True,  # so that it reports them all
            output_loading_info=True,
            **options,
        )
    wrong = {key: f"{key} is {_shape(have)} and should be {_shape(want)}" for key, have, want in report["mismatched_keys"]}
    wrong |= {key: f"{key} is missing" for key in report["missing_keys"]}
    if wrong or report["error_msgs"]:
        shown = [wrong[key] for key in sorted(wrong)] + [_line(error) for error in report["error_msgs"]]
        more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        place = files.checkpoint.place(names.get(min(wrong, default="")))
        raise Refusal(place, f"{', '.join(shown[:_SHOWN])}{more}", "give the weights that config.json describes")
    return model


def _line(error: object) -> str:
    return " ".join(str(error).split())[:120]


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _tower(model: Any, prepared: Mapping[str, Any] | None, name: str, frozen: bool) -> VisionTower | AudioTower:
    if frozen:
        model.requires_grad_(False)  # otherwise what is fixed in an architecture (Whisper's positions) stays so
    tower: VisionTower | AudioTower
    if model.config.model_type in VISION_FAMILIES:
        tower = VisionTower(model, _picture_input(model.config, prepared, name))
    else:
        tower = AudioTower(model, _extractor(model.config, prepared, name))
    return tower.train(not frozen)


def _picture_input(config: Any, prepared: Mapping[str, Any] | None, name: str) -> PictureInput:
    family = VISION_FAMILIES[config.model_type].prepared
    if prepared is not None:
        made = PictureInput.from_json({"image_processor_type": f"{family}ImageProcessor", **prepared}, name)
        if (made.patches is None) == (config.model_type == "siglip2_vision_model"):
            raise Refusal(name, f"it does not prepare pictures for {config.model_type}", "fetch the model again")
        return made
    usual: dict[str, Any] = {"image_processor_type": f"{family}ImageProcessor"}
    if "max_num_patches" in PROCESSORS[family]:
        return PictureInput.from_json(usual | {"patch_size": config.patch_size, "max_num_patches": config.num_patches}, name)
    height, width = pair(getattr(config, "image_size", None) or 224)
    size: dict[str, Any] = {"size": {"height": height, "width": width}}
    if "shortest_edge" in PROCESSORS[family]["size"]:
        size = {"size": {"shortest_edge": min(height, width)}, "crop_size": {"height": height, "width": width}}
    return PictureInput.from_json(usual | size, name)


def _extractor(config: Any, prepared: Mapping[str, Any] | None, name: str) -> Any:
    import transformers

    family = AUDIO_FAMILIES[config.model_type]
    needed = family.defaults(config)
    if prepared is None:
        return getattr(transformers, family.extractor)(**needed)
    if prepared.get("feature_extractor_type", family.extractor) != family.extractor:
        raise Refusal(name, f"it does not prepare sounds for {config.model_type}", "fetch the model again")
    _sizes(prepared, name)
    try:
        made = getattr(transformers, family.extractor).from_dict(dict(prepared))
    except (TypeError, ValueError, ArithmeticError):
        raise Refusal(name, f"no {family.extractor} can be made of it", "fetch the model again") from None
    for key in sorted(needed.keys() - {"return_attention_mask"}):
        if getattr(made, key) > needed[key] if key == "max_length_s" else getattr(made, key) != needed[key]:
            why = f"its {key} is {getattr(made, key)!r} and the model reads {needed[key]}"
            raise Refusal(name, why, "fetch the model again")
    return made
