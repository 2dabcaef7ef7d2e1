"""Q-Formers from the files of BLIP-2 and InstructBLIP models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from serval.connectors.query_former import QFormer
from serval.encoders.tower_files import TowerFiles
from serval.refusal import Refusal

_THEIRS = {  # from a module's name here to its name in transformers
    "layers.": "encoder.layer.",
    ".self_attention.out.": ".attention.output.dense.",
    ".self_attention.norm.": ".attention.output.LayerNorm.",
    ".self_attention.": ".attention.attention.",
    ".cross_attention.out.": ".crossattention.output.dense.",
    ".cross_attention.norm.": ".crossattention.output.LayerNorm.",
    ".cross_attention.": ".crossattention.attention.",
    ".text_feed.up.": ".intermediate.dense.",
    ".text_feed.down.": ".output.dense.",
    ".text_feed.norm.": ".output.LayerNorm.",
    ".feed.up.": ".intermediate_query.dense.",
    ".feed.down.": ".output_query.dense.",
    ".feed.norm.": ".output_query.LayerNorm.",
    "words.": "embeddings.word_embeddings.",
    "positions.": "embeddings.position_embeddings.",
}
_AGAIN = "give the folder of a BLIP-2 or InstructBLIP model in safetensors"
_MOST = 65_536


def load_q_former(folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> QFormer:
    """The frozen Q-Former of a BLIP-2 or InstructBLIP model in Hugging Face's form, with its queries; the rest is not read.

    Raises ``Refusal`` where a file is missing, damaged or a pickle, where the configuration is of another kind of model, and
    where tensors are missing, not expected, or of another shape than the configuration says.
    """
    files = TowerFiles(folder)
    names, queries = files.names("qformer."), files.names("query_tokens").get("")
    if queries is None or not any(name.startswith("encoder.layer.") for name in names):
        raise Refusal(files.checkpoint.place(None), "there is no Q-Former with its queries in it", _AGAIN)
    names = {known: name for known, name in names.items() if not known.endswith("position_ids")}  # counted, not learned
    text = "embeddings.word_embeddings.weight" in names
    with torch.device("meta"):
        former = QFormer(**_sizes(files, text=text))
    wanted = {name: tuple(tensor.shape) for name, tensor in former.state_dict().items()}
    places = {name: names.get(_their_name(name, text=text)) for name in wanted} | {"queries": queries}
    missing = [_their_name(name, text=text) for name, place in places.items() if place is None]
    extra = [known for known, name in names.items() if name not in places.values()]
    _refuse(files, [f"{name} is missing" for name in missing] + [f"{name[:80]!r} is not expected" for name in extra])
    state = files.tensors({name: place for name, place in places.items() if place is not None})
    if state["queries"].shape[:1] == (1,):
        state["queries"] = state["queries"][0]
    _refuse(
        files,
        [
            f"{places[name]} is {_shape(state[name].shape)} and should be {_shape(shape)}"
            for name, shape in wanted.items()
            if tuple(state[name].shape) != shape
        ],
    )
    former.load_state_dict({name: tensor.to(device=device, dtype=dtype) for name, tensor in state.items()}, assign=True)
    return former.requires_grad_(False).eval()


def _their_name(name: str, *, text: bool) -> str:
    for ours, theirs in _THEIRS.items():
        if name.startswith(ours) or (ours.startswith(".") and ours in name):
            name = name.replace(ours, theirs, 1)
    if name.startswith("norm."):
        return f"{'embeddings.' if text else ''}layer{name}"
    return name


def _sizes(files: TowerFiles, *, text: bool) -> dict[str, Any]:
    """What the configuration says, as the arguments of ``QFormer``; what it leaves out is BERT-base's."""
    config = files.config()
    inner, vision = _within(config, "qformer_config"), _within(config, "vision_config")
    what = files.name("config.json")
    if (
        config.get("model_type") not in ("blip-2", "instructblip", "instructblipvideo")
        or inner.get("hidden_act", "gelu") != "gelu"
    ):
        raise Refusal(what, "it is not the configuration of a BLIP-2 or InstructBLIP model", _AGAIN)

    def whole(fields: Mapping[str, Any], key: str, default: int, most: int = _MOST) -> int:
        value = fields.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise Refusal(what, f"its {key} is not a number from 1 to {most:,}", "fetch the model again")
        return value

    width, heads = whole(inner, "hidden_size", 768), whole(inner, "num_attention_heads", 12)
    if width % heads:
        raise Refusal(what, "its hidden_size does not divide into its num_attention_heads", "fetch the model again")
    eps = inner.get("layer_norm_eps", 1e-12)
    return {
        "source": whole(vision, "hidden_size", whole(inner, "encoder_hidden_size", 1408)),
        "queries": whole(config, "num_query_tokens", 32),
        "width": width,
        "layers": whole(inner, "num_hidden_layers", 12, most=1024),
        "heads": heads,
        "hidden": whole(inner, "intermediate_size", 3072),
        "cross_every": whole(inner, "cross_attention_frequency", 2),
        "vocabulary": whole(inner, "vocab_size", 30522, most=4_000_000) if text else None,
        "positions": whole(inner, "max_position_embeddings", 512),
        "eps": eps if isinstance(eps, float) and 0 < eps < 1 else 1e-12,
    }


def _within(config: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    fields = config.get(part)
    return fields if isinstance(fields, Mapping) else {}


def _refuse(files: TowerFiles, odd: list[str]) -> None:
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise Refusal(files.checkpoint.place(None), f"{odd[0]}{more}", "give the weights that config.json describes")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"
