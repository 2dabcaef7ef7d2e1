"""A TensorFlow.js graph model becomes safetensors and a plain list of nodes, once, when the part is installed."""

from __future__ import annotations

import base64
import binascii
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serval.refusal import Refusal

MAX_JSON_BYTES, MAX_WEIGHT_BYTES, MAX_NODES, MAX_RANK = 4 << 20, 256 << 20, 20_000, 8
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "int32": np.dtype("<i4")}
_DAMAGED = "fetch the part again"


def convert(model_json: Path, weights_bin: Path, out: Path) -> None:
    """Write ``out/model.safetensors`` (the constants, in the type they are stored in) and ``out/graph.json``.

    The graph is ``{"inputs": {name: shape}, "outputs": [names], "nodes": [{"name", "op", "inputs", "attributes"}]}``;
    nodes with op ``Const`` have their value under the same name in the safetensors file. Both files are the same bytes
    for the same input.

    Raises:
        Refusal: a file is too large, the two do not fit together, or the graph names something it does not hold.
    """
    from safetensors.numpy import save_file

    for path, limit in ((model_json, MAX_JSON_BYTES), (weights_bin, MAX_WEIGHT_BYTES)):
        if path.stat().st_size > limit:
            raise Refusal(path.name, f"more than {limit >> 20} MB", _DAMAGED)
    try:
        model = json.loads(model_json.read_bytes())
        constants = _constants(model["weightsManifest"], weights_bin)
        graph = _graph(model, set(constants))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise Refusal(model_json.name, "is not a TensorFlow.js graph model", _DAMAGED) from error
    out.mkdir(parents=True, exist_ok=True)
    save_file(constants, out / "model.safetensors")
    (out / "graph.json").write_text(json.dumps(graph, indent=0, sort_keys=True, ensure_ascii=True) + "\n", encoding="ascii")


def _constants(manifest: Any, weights_bin: Path) -> dict[str, NDArray[Any]]:
    if len(manifest) != 1:
        raise Refusal(weights_bin.name, "the weights are in more than one group", _DAMAGED)
    data, offset, constants = weights_bin.read_bytes(), 0, dict[str, NDArray[Any]]()
    for entry in manifest[0]["weights"]:
        name, shape = str(entry["name"]), [_whole(size) for size in entry["shape"]]
        quantization = entry.get("quantization", {})
        stored = quantization.get("dtype", entry["dtype"])
        if stored not in DTYPES or "scale" in quantization:
            raise Refusal(weights_bin.name, "its weights are quantized in a way Serval does not read", "use a float model")
        if name in constants or len(shape) > MAX_RANK or min(shape, default=0) < 0:
            raise ValueError(name)
        count = math.prod(shape)  # Python integers: no overflow
        if count * DTYPES[stored].itemsize > len(data) - offset:
            raise Refusal(weights_bin.name, "is shorter than its description says", _DAMAGED)
        constants[name] = np.frombuffer(data, DTYPES[stored], count, offset).reshape(shape)
        offset += count * DTYPES[stored].itemsize
    if offset != len(data):
        raise Refusal(weights_bin.name, "is longer than its description says", _DAMAGED)
    return constants


def _graph(model: Any, constants: set[str]) -> dict[str, Any]:
    signature, raw = model["signature"], model["modelTopology"]["node"]
    if len(raw) > MAX_NODES:
        raise ValueError("too many nodes")
    nodes = [
        {
            "name": str(node["name"]),
            "op": str(node["op"]),
            "inputs": [str(name).removeprefix("^") for name in node.get("input", [])],
            "attributes": {key: _attribute(value) for key, value in node.get("attr", {}).items() if "tensor" not in value},
        }
        for node in raw
    ]
    names = {node["name"] for node in nodes}
    wanted = {name.split(":")[0] for node in nodes for name in node["inputs"]}
    if len(names) != len(nodes) or not wanted <= names or {n["name"] for n in nodes if n["op"] == "Const"} != constants:
        raise ValueError("nodes and constants do not fit together")
    inputs = {
        name.removesuffix(":0"): [_whole(size["size"]) for size in entry["tensorShape"]["dim"]]
        for name, entry in signature["inputs"].items()
    }
    outputs = sorted(name.removesuffix(":0") for name in signature["outputs"])
    if not set(outputs) | set(inputs) <= names:
        raise ValueError("the signature names unknown nodes")
    return {"inputs": inputs, "outputs": outputs, "nodes": nodes}


def _attribute(value: Any) -> Any:
    """The plain form of one attribute: text, whole number, number, truth, list of whole numbers or None."""
    if "s" in value:
        try:
            return base64.b64decode(value["s"], validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("attribute is not text") from error
    if "i" in value:
        return _whole(value["i"])
    if "f" in value:
        return float(value["f"])
    if "b" in value:
        return bool(value["b"])
    if "list" in value:
        return [_whole(item) for item in value["list"].get("i", [])]
    return value["type"] if isinstance(value.get("type"), str) else None


def _whole(value: Any) -> int:
    """A whole number; TensorFlow writes 64-bit ones as text."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or len(str(value)) > 19:
        raise ValueError("not a whole number")
    return int(value)
