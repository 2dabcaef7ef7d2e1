"""A Whisper as CTranslate2 stores it becomes safetensors and the configuration of transformers, once, when it is installed.

The file (its ``WhisperSpec``, revision 3): a version, the spec's name, a revision, and a count of arrays, each with its name,
rank, sides, kind and bytes; all little-endian, strings with their length in two bytes and a zero at the end. Queries, keys and
values of self-attention are one matrix, one below the other, as are keys and values of cross-attention.
"""

from __future__ import annotations

import json
from pathlib import Path
from struct import calcsize, unpack
from typing import Any, BinaryIO

from serval.refusal import Refusal

_KINDS = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_MOST, _ARRAYS, _RANK = 1 << 30, 4096, 4


def convert(model: Path, out: Path) -> None:
    """Write ``model.safetensors`` (float16, as transformers' Whisper names them) and ``config.json`` to ``out``.

    Raises:
        Refusal: no Whisper of CTranslate2, a quantised one, or a damaged file.
    """
    from safetensors.numpy import save_file

    try:
        arrays = _arrays(model)
        tensors, config = _whisper(arrays)
    except (ValueError, KeyError, IndexError, UnicodeDecodeError):
        raise Refusal(model.name, "it is no whole Whisper of CTranslate2", "fetch the part again") from None
    save_file(tensors, out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    size = path.stat().st_size
    if size > _MOST:
        raise ValueError("too large")
    with path.open("rb") as file:
        if _number(file, "I") < 2 or _word(file) != "WhisperSpec" or _number(file, "I") != 3:
            raise ValueError("another format")
        made = {}
        for _ in range(_few(_number(file, "I"), _ARRAYS)):
            name = _word(file)
            shape = [_number(file, "I") for _ in range(_few(_number(file, "B"), _RANK))]
            kind, count = np.dtype(_KINDS[_number(file, "B")]), _few(_number(file, "I"), size)
            made[name] = np.frombuffer(file.read(count), kind).reshape(shape)
    return made


def _number(file: BinaryIO, form: str) -> int:
    data = file.read(calcsize(form))
    if len(data) < calcsize(form):
        raise ValueError("cut off")
    return int(unpack("<" + form, data)[0])


def _word(file: BinaryIO) -> str:
    return file.read(_number(file, "H"))[:-1].decode()


def _few(count: int, most: int) -> int:
    if count > most:
        raise ValueError("too many")
    return count


def _whisper(arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors by the names of transformers, and what ``config.json`` has to say."""
    import numpy as np

    tensors: dict[str, Any] = {}

    def take(theirs: str) -> Any:
        if arrays[theirs].dtype.kind != "f":
            raise ValueError("quantised")
        return np.ascontiguousarray(arrays[theirs].astype(np.float16))

    def put(ours: str, theirs: str, names: tuple[str, str] = ("weight", "bias")) -> None:
        tensors[f"{ours}.weight"], tensors[f"{ours}.bias"] = take(f"{theirs}/{names[0]}"), take(f"{theirs}/{names[1]}")

    def norm(ours: str, theirs: str) -> None:
        put(ours, f"{theirs}/layer_norm", ("gamma", "beta"))

    def attention(ours: str, theirs: str, cross: bool) -> None:
        joined = ("k_proj", "v_proj") if cross else ("q_proj", "k_proj", "v_proj")
        if cross:
            put(f"{ours}.q_proj", f"{theirs}/linear_0")
        weights, biases = (take(f"{theirs}/linear_{int(cross)}/{each}") for each in ("weight", "bias"))
        for name, weight, bias in zip(joined, np.split(weights, len(joined)), np.split(biases, len(joined)), strict=True):
            tensors[f"{ours}.{name}.weight"] = np.ascontiguousarray(weight)
            if name != "k_proj":  # transformers' has none, and theirs is zero
                tensors[f"{ours}.{name}.bias"] = np.ascontiguousarray(bias)
        put(f"{ours}.out_proj", f"{theirs}/linear_{1 + int(cross)}")

    layers = {}
    for part in ("encoder", "decoder"):
        layers[part] = sum(name.startswith(f"{part}/layer_") and name.endswith("ffn/linear_0/weight") for name in arrays)
        tensors[f"model.{part}.embed_positions.weight"] = take(f"{part}/position_encodings/encodings")
        norm(f"model.{part}.layer_norm", part)
        for number in range(layers[part]):
            ours, theirs = f"model.{part}.layers.{number}", f"{part}/layer_{number}"
            norm(f"{ours}.self_attn_layer_norm", f"{theirs}/self_attention")
            attention(f"{ours}.self_attn", f"{theirs}/self_attention", cross=False)
            if part == "decoder":
                norm(f"{ours}.encoder_attn_layer_norm", f"{theirs}/attention")
                attention(f"{ours}.encoder_attn", f"{theirs}/attention", cross=True)
            norm(f"{ours}.final_layer_norm", f"{theirs}/ffn")
            put(f"{ours}.fc1", f"{theirs}/ffn/linear_0")
            put(f"{ours}.fc2", f"{theirs}/ffn/linear_1")
    put("model.encoder.conv1", "encoder/conv1")
    put("model.encoder.conv2", "encoder/conv2")
    tensors["model.decoder.embed_tokens.weight"] = take("decoder/embeddings/weight")
    words, width = tensors["model.decoder.embed_tokens.weight"].shape
    heads = int(arrays["encoder/num_heads"].item())
    if not layers["encoder"] or not layers["decoder"] or width % heads:
        raise ValueError("no layers")
    config = {
        "model_type": "whisper",
        "vocab_size": words,
        "num_mel_bins": tensors["model.encoder.conv1.weight"].shape[1],
        "d_model": width,
        "encoder_layers": layers["encoder"],
        "decoder_layers": layers["decoder"],
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": tensors["model.encoder.layers.0.fc1.weight"].shape[0],
        "decoder_ffn_dim": tensors["model.decoder.layers.0.fc1.weight"].shape[0],
        "max_source_positions": len(tensors["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(tensors["model.decoder.embed_positions.weight"]),
        "tie_word_embeddings": True,
    }
    return tensors, config
