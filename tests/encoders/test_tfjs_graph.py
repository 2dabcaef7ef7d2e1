"""The graph rewritten for ONNX Runtime against the same graph evaluated in torch, node by node, as TensorFlow means it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from serval.encoders.onnx_session import open_session
from serval.encoders.tfjs_graph import to_onnx
from serval.weights import locate


def windows(x: torch.Tensor, rows: int, columns: int, node: dict[str, Any], fill: float) -> torch.Tensor:
    """NHWC to NCHW, padded as TensorFlow does for ``SAME``."""
    x = x.permute(0, 3, 1, 2)
    if node["attributes"]["padding"] == "VALID":
        return x
    lack = []
    for size, kernel, stride in zip(x.shape[2:], (rows, columns), node["attributes"]["strides"][1:3], strict=True):
        lack.append(max((-(-size // stride) - 1) * stride + kernel - size, 0))
    return F.pad(x, (lack[1] // 2, lack[1] - lack[1] // 2, lack[0] // 2, lack[0] - lack[0] // 2), value=fill)


def step(node: dict[str, Any], x: list[Any]) -> Any:
    """The value of one node."""
    match node["op"], node["attributes"]:
        case "Conv2D", how:
            weight = x[1].permute(3, 2, 0, 1)
            padded = windows(x[0], *weight.shape[2:], node, 0.0)
            groups = padded.shape[1] // weight.shape[1]
            return F.conv2d(padded, weight, stride=how["strides"][1:3], groups=groups).permute(0, 2, 3, 1)
        case "MaxPool", how:
            size = how["ksize"][1:3]
            return F.max_pool2d(windows(x[0], *size, node, -np.inf), size, how["strides"][1:3]).permute(0, 2, 3, 1)
        case (("Add" | "AddV2"), _):
            return x[0] + x[1]
        case "LeakyRelu", how:
            return torch.where(x[0] > 0, x[0], x[0] * how["alpha"])
        case "Sigmoid", _:
            return 1 / (1 + torch.exp(-x[0]))
        case "Identity", _:
            return x[0]
        case "Transpose", _:
            return x[0].permute(*x[1].tolist())
        case (("Pad" | "PadV2"), _):
            return F.pad(x[0], [n for pair in reversed(x[1].tolist()) for n in pair], value=float(x[2]) if len(x) > 2 else 0.0)
        case "ConcatV2", _:
            return torch.cat(x[:-1], int(x[-1]))
        case "Reshape", _:
            return x[0].reshape(x[1].tolist())
        case "SplitV", _:
            return torch.split(x[0], x[1].tolist(), int(x[2]))
        case "SparseToDense", _:
            dense = torch.full(x[1].tolist(), int(x[3]), dtype=x[2].dtype)
            for place, value in zip(x[0], x[2], strict=True):
                dense[tuple(place)] = value
            return dense
        case "ResizeBilinear", _:
            return F.interpolate(x[0].permute(0, 3, 1, 2), x[1].tolist(), mode="bilinear").permute(0, 2, 3, 1)
        case other:
            raise NotImplementedError(other)


def evaluate(graph_json: Path, weights: Path, inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    graph = json.loads(graph_json.read_text())
    nodes = {node["name"]: node for node in graph["nodes"]}
    values: dict[str, Any] = {name: torch.from_numpy(value) for name, value in inputs.items()}
    for name, value in load_file(weights).items():
        values[name] = torch.from_numpy(value.astype(np.float32) if value.dtype == np.float16 else value)

    def value(reference: str) -> Any:
        name, _, index = reference.partition(":")
        if name not in values:
            values[name] = step(nodes[name], [value(i) for i in nodes[name]["inputs"]])
        return values[name][int(index or 0)] if isinstance(values[name], tuple) else values[name]

    with torch.inference_mode():
        return [value(name).numpy() for name in graph["outputs"]]


def write(folder: Path, constants: dict[str, NDArray[Any]], nodes: list[tuple[str, str, list[str], dict[str, Any]]]) -> Any:
    """Files of a small graph on an input ``x [1, 3, 8, 8]`` whose last node is the output."""
    graph = {
        "inputs": {"x": [1, 3, 8, 8]},
        "outputs": [nodes[-1][0]],
        "nodes": [
            {"name": "x", "op": "Placeholder", "inputs": [], "attributes": {}},
            *({"name": name, "op": "Const", "inputs": [], "attributes": {}} for name in constants),
            *({"name": name, "op": op, "inputs": inputs, "attributes": how} for name, op, inputs, how in nodes),
        ],
    }
    (folder / "graph.json").write_text(json.dumps(graph))
    save_file({name: np.array(value, order="C") for name, value in constants.items()}, folder / "model.safetensors")
    return folder / "graph.json", folder / "model.safetensors"


def both(graph: Path, weights: Path, x: NDArray[np.float32], name: str = "x") -> Any:
    """What ONNX Runtime and torch make of ``x``."""
    return open_session(to_onnx(graph, weights)).run(None, {name: x}), evaluate(graph, weights, {name: x})


def test_the_detector_gives_the_same_numbers() -> None:
    graph, weights = locate("nanodet", "graph.json"), locate("nanodet", "model.safetensors")
    x = np.random.default_rng(5).normal(size=(1, 3, 416, 416)).astype(np.float32)
    ours, reference = both(graph, weights, x, "input_1")
    assert [a.shape for a in ours] == [(1, 2704, 80), (1, 676, 80), (1, 169, 80), (1, 2704, 44), (1, 676, 44), (1, 169, 44)]
    for ours_, reference_ in zip(ours, reference, strict=True):
        assert np.abs(ours_ - reference_).max() < 1e-3 * max(1.0, np.abs(reference_).max())


SAME, VALID = ({"padding": padding, "strides": [1, 2, 2, 1], "ksize": [1, 3, 3, 1]} for padding in ("SAME", "VALID"))
PADS = np.array([[0, 0], [0, 0], [1, 2], [0, 1]], np.int32)
NHWC, NCHW, ODD = (np.array(order, np.int32) for order in ((0, 2, 3, 1), (0, 3, 1, 2), (0, 2, 1, 3)))


@pytest.mark.parametrize(
    "nodes",
    [
        [("t", "Transpose", ["x", "nhwc"], {}), ("y", "Conv2D", ["t", "w"], SAME)],
        [("p", "Pad", ["x", "pads"], {}), ("t", "Transpose", ["p", "nhwc"], {}), ("y", "Conv2D", ["t", "w"], VALID)],
        [("p", "PadV2", ["x", "pads", "two"], {}), ("t", "Transpose", ["p", "nhwc"], {}), ("y", "Conv2D", ["t", "w"], VALID)],
        [("p", "PadV2", ["x", "pads", "low"], {}), ("t", "Transpose", ["p", "nhwc"], {}), ("y", "MaxPool", ["t"], VALID)],
        [("p", "Pad", ["x", "pads"], {}), ("t", "Transpose", ["p", "nhwc"], {}), ("y", "MaxPool", ["t"], VALID)],
        [("p", "Pad", ["x", "pads"], {}), ("t", "Transpose", ["p", "nhwc"], {}), ("y", "MaxPool", ["t"], SAME)],
        [("p", "Pad", ["x", "pads"], {}), ("q", "PadV2", ["p", "pads", "two"], {}), ("y", "Transpose", ["q", "odd"], {})],
        [("t", "Transpose", ["x", "odd"], {}), ("u", "Transpose", ["t", "nhwc"], {}), ("y", "Conv2D", ["u", "deep"], SAME)],
        [("t", "Transpose", ["x", "nhwc"], {}), ("s", "Add", ["b", "t"], {}), ("y", "LeakyRelu", ["s"], {"alpha": 0.3})],
        [("t", "Transpose", ["x", "odd"], {}), ("u", "Transpose", ["t", "odd"], {}), ("y", "AddV2", ["u", "x"], {})],
        [("t", "Transpose", ["x", "odd"], {}), ("u", "Sigmoid", ["x"], {}), ("y", "ConcatV2", ["t", "t", "axis"], {})],
        [("t", "Transpose", ["x", "nhwc"], {}), ("s", "SplitV", ["t", "parts", "axis"], {}), ("y", "Identity", ["s:1"], {})],
        [("t", "Transpose", ["x", "nhwc"], {}), ("y", "Reshape", ["t", "flat"], {})],
        [("t", "Transpose", ["x", "nhwc"], {}), ("y", "ResizeBilinear", ["t", "size"], {"half_pixel_centers": True})],
        [("p", "Pad", ["x", "pads"], {}), ("a", "Add", ["p", "two"], {}), ("y", "Reshape", ["a", "rest"], {})],
    ],
)
def test_small_graphs_give_the_same_numbers(tmp_path: Path, nodes: list[tuple[str, str, list[str], dict[str, Any]]]) -> None:
    rng = np.random.default_rng(2)
    constants = {
        "w": rng.normal(size=(3, 3, 3, 5)).astype(np.float32),
        "deep": rng.normal(size=(3, 3, 8, 4)).astype(np.float16),
        "b": rng.normal(size=3).astype(np.float32),
        "two": np.array(2, np.float32),
        "low": np.array(-np.inf, np.float32),
        "nhwc": NHWC,
        "nchw": NCHW,
        "odd": ODD,
        "pads": PADS,
        "axis": np.array(1, np.int32),
        "parts": np.array([3, 5], np.int32),
        "flat": np.array([1, 4, 48], np.int32),
        "rest": np.array([1, 3, 11 * 9], np.int32),
        "size": np.array([16, 4], np.int32),
    }
    ours, reference = both(*write(tmp_path, constants, nodes), rng.normal(size=(1, 3, 8, 8)).astype(np.float32))
    assert ours[0].shape == reference[0].shape
    assert np.abs(ours[0] - reference[0]).max() < 1e-5


def test_a_cycle_and_an_unknown_operation_are_errors(tmp_path: Path) -> None:
    loop = [("a", "Sigmoid", ["b"], {}), ("b", "Sigmoid", ["a"], {}), ("y", "Identity", ["b"], {})]
    with pytest.raises(ValueError, match="cycle"):
        to_onnx(*write(tmp_path, {}, loop))
    with pytest.raises(ValueError, match="Einsum"):
        to_onnx(*write(tmp_path, {}, [("y", "Einsum", ["x"], {})]))
