"""A TensorFlow.js graph model becomes safetensors and plain JSON; its sizes are believed only when they add up."""

import base64
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from serval.refusal import Refusal
from serval.weights import tfjs

HALF = {"dtype": "float16", "original_dtype": "float32"}
MODEL: dict[str, Any] = {
    "signature": {
        "inputs": {"x:0": {"tensorShape": {"dim": [{"size": "1"}, {"size": "4"}, {"size": "4"}, {"size": "2"}]}}},
        "outputs": {"y:0": {"name": "y:0"}},
    },
    "modelTopology": {
        "node": [
            {"name": "x", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}}},
            {"name": "w", "op": "Const", "attr": {"value": {"tensor": {"dtype": "DT_FLOAT"}}, "dtype": {"type": "DT_FLOAT"}}},
            {"name": "axes", "op": "Const"},
            {
                "name": "conv",
                "op": "Conv2D",
                "input": ["x", "w"],
                "attr": {
                    "padding": {"s": base64.b64encode(b"SAME").decode()},
                    "strides": {"list": {"i": ["1", "2", "2", "1"]}},
                    "explicit_paddings": {"list": {}},
                    "use_cudnn_on_gpu": {"b": True},
                    "alpha": {"f": 0.1},
                },
            },
            {"name": "y", "op": "Transpose", "input": ["conv", "axes"]},
        ]
    },
    "weightsManifest": [
        {
            "weights": [
                {"name": "w", "shape": [1, 1, 2, 3], "dtype": "float32", "quantization": HALF},
                {"name": "axes", "shape": [4], "dtype": "int32"},
            ]
        }
    ],
}
WEIGHT = np.arange(6, dtype="<f2").reshape(1, 1, 2, 3) / 4
DATA = WEIGHT.tobytes() + np.array([0, 3, 1, 2], "<i4").tobytes()


def convert(folder: Path, model: Any, data: bytes = DATA) -> Path:
    (folder / "model.json").write_text(json.dumps(model))
    (folder / "model.bin").write_bytes(data)
    tfjs.convert(folder / "model.json", folder / "model.bin", folder / "out")
    return folder / "out"


def test_constants_and_nodes_come_through(tmp_path: Path) -> None:
    out = convert(tmp_path, MODEL)
    constants = load_file(out / "model.safetensors")
    assert constants["w"].dtype == np.float16
    assert np.array_equal(constants["w"], WEIGHT)
    assert constants["axes"].tolist() == [0, 3, 1, 2]
    graph = json.loads((out / "graph.json").read_text())
    assert graph["inputs"] == {"x": [1, 4, 4, 2]}
    assert graph["outputs"] == ["y"]
    assert graph["nodes"][3] == {
        "name": "conv",
        "op": "Conv2D",
        "inputs": ["x", "w"],
        "attributes": {
            "padding": "SAME",
            "strides": [1, 2, 2, 1],
            "explicit_paddings": [],
            "use_cudnn_on_gpu": True,
            "alpha": 0.1,
        },
    }


def test_bytes_repeat(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = convert(tmp_path / "a", MODEL), convert(tmp_path / "b", MODEL)
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in ("model.safetensors", "graph.json"))


@pytest.mark.parametrize(("data", "why"), [(DATA[:-1], "shorter"), (DATA + b"\0", "longer"), (b"", "shorter")])
def test_weights_of_another_size_are_refused(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        convert(tmp_path, MODEL, data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("weightsManifest", 0, "weights", 0, "shape"), [-1, -1, 2, 3]),
        (("weightsManifest", 0, "weights", 0, "shape"), [2**62, 2**62, 2, 3]),
        (("weightsManifest", 0, "weights", 0, "shape"), [0] * 9),
        (("weightsManifest", 0, "weights", 0, "shape"), [1.5]),
        (("weightsManifest", 0, "weights", 1, "dtype"), "string"),
        (("weightsManifest", 0, "weights", 0, "quantization"), {"dtype": "uint8", "scale": 0.1, "min": 0}),
        (("weightsManifest", 0, "weights", 1, "name"), "w"),
        (("weightsManifest", 0, "weights", 1, "name"), "nobody"),
        (("weightsManifest",), []),
        (("modelTopology", "node", 3, "input", 0), "nobody"),
        (("modelTopology", "node", 3, "name"), "w"),
        (("modelTopology", "node", 3, "attr", "padding"), {"s": "not base64!"}),
        (("modelTopology", "node", 3, "attr", "padding"), {"i": "9" * 5000}),
        (("signature", "outputs"), {"nobody:0": {}}),
        (("signature",), None),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, path: tuple[str | int, ...], value: object) -> None:
    model: Any = copy.deepcopy(MODEL)
    at = model
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(Refusal):
        convert(tmp_path, model)
    assert not (tmp_path / "out").exists()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_description_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    model: Any = copy.deepcopy(MODEL)
    at = model
    while True:  # walk to some place of the description and put something else there
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], (dict, list)) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(json_values)
    try:
        out = convert(tmp_path_factory.mktemp("damaged"), model)
    except Refusal:
        return
    graph = json.loads((out / "graph.json").read_text())
    constants = {node["name"] for node in graph["nodes"] if node["op"] == "Const"}
    assert load_file(out / "model.safetensors").keys() == constants


def test_a_description_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(DATA)
    with (tmp_path / "model.json").open("wb") as file:
        file.truncate(tfjs.MAX_JSON_BYTES + 1)
    with pytest.raises(Refusal, match="more than 4 MB"):
        tfjs.convert(tmp_path / "model.json", tmp_path / "model.bin", tmp_path / "out")
