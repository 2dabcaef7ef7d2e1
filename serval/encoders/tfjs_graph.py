"""A TensorFlow graph (as written by `weights.tfjs`) rewritten as an ONNX graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET, IR = 18, 9  # understood by every ONNX Runtime since 1.15
NCHW_AS_NHWC = (0, 2, 3, 1)
_MASKED = -1e30  # a padding of this or less can never win a maximum


@dataclass(frozen=True)
class _Value:
    """A tensor of the TensorFlow graph, kept as an ONNX tensor whose axes may lie in another order.

    Transposes and paddings are remembered, not executed: most of them meet their counterpart, or vanish in a
    convolution, before anybody needs the numbers.
    """

    name: str
    shape: tuple[int, ...]  # of the ONNX tensor, before padding
    axes: tuple[int, ...]  # TensorFlow axis i is ONNX axis axes[i]
    pads: tuple[tuple[int, int], ...]  # per ONNX axis, still to be applied
    fill: float = 0.0

    @property
    def padded(self) -> tuple[int, ...]:
        return tuple(size + before + after for size, (before, after) in zip(self.shape, self.pads, strict=True))


def to_onnx(graph_json: Path, weights: Path) -> bytes:
    """Serialized ONNX model of the graph: the same inputs and outputs by name, weights in float32.

    Height and width are left open: every resize becomes a scale and the last axis of every reshape is whatever is left,
    so a fully convolutional network runs at any size that its strides divide.

    Raises:
        ValueError: the graph has a cycle or an operation that is not known.
    """
    import onnx
    from safetensors.numpy import load_file

    graph = json.loads(graph_json.read_bytes())
    compiler = _Compiler(graph["nodes"], load_file(weights))
    for name, shape in graph["inputs"].items():
        compiler.values[name] = _Value(name, tuple(shape), tuple(range(len(shape))), ((0, 0),) * len(shape))
    outputs = [compiler.output(name) for name in graph["outputs"]]
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [*shape[:2], "height", "width"])
        for name, shape in graph["inputs"].items()
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            compiler.nodes,
            "tfjs",
            inputs,
            [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
            [onnx.numpy_helper.from_array(value, name) for name, value in compiler.initializers.items()],
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    return model.SerializeToString()


class _Compiler:
    def __init__(self, nodes: list[dict[str, Any]], constants: Mapping[str, NDArray[Any]]) -> None:
        self.source = {node["name"]: node for node in nodes}
        self.constants = {name: v.astype(np.float32) if v.dtype == np.float16 else v for name, v in constants.items()}
        self.values: dict[str, _Value | list[_Value]] = {}
        self.nodes: list[Any] = []
        self.initializers: dict[str, NDArray[Any]] = {}

    def output(self, name: str) -> str:
        value = self.laid(self.value(name), None)
        return self.emit("Identity", [value.name], value.shape, name=name).name

    def value(self, reference: str) -> _Value:
        name, _, index = reference.partition(":")
        if name not in self.values:
            self.compile(name)
        found = self.values[name]
        return found[int(index or 0)] if isinstance(found, list) else found

    def compile(self, name: str) -> None:
        """Compile ``name`` and what it needs, without recursion: a hostile graph may be deep."""
        stack, entered = [name], set[str]()
        while stack:
            node = self.source[stack[-1]]
            needed = [i.split(":")[0] for i in node["inputs"]]
            missing = [i for i in needed if i not in self.values and i not in self.constants]
            if not missing:
                self.step(node)
                stack.pop()
            elif node["name"] in entered:
                raise ValueError("the graph has a cycle")
            else:
                entered.add(node["name"])
                stack.extend(reversed(missing))

    def step(self, node: dict[str, Any]) -> None:
        name, inputs = node["name"], node["inputs"]
        if name in self.values or name in self.constants:
            return
        if inputs and all(i in self.constants for i in inputs):
            self.constants[name] = _fold(node["op"], [self.constants[i] for i in inputs])
        else:
            operation = getattr(self, "op_" + node["op"].lower(), None)
            if operation is None:
                raise ValueError(f"{node['op']}: an operation that is not known")
            self.values[name] = operation(inputs, node["attributes"])

    def emit(self, op: str, inputs: list[str], shape: tuple[int, ...], *, name: str = "", **attributes: Any) -> _Value:
        """Append one ONNX node with one output of ``shape``."""
        import onnx

        name = name or f"t{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(op, inputs, [name], **attributes))
        return _Value(name, shape, tuple(range(len(shape))), ((0, 0),) * len(shape))

    def initializer(self, value: NDArray[Any]) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers[name] = np.array(value, order="C")
        return name

    def laid(self, value: _Value, axes: tuple[int, ...] | None, *, keep_pads: bool = False) -> _Value:
        """``value`` with its ONNX axes in the order ``axes`` (None: as in TensorFlow) and, by default, its padding done."""
        wanted = axes or tuple(range(len(value.shape)))
        if value.axes != wanted:
            order = [0] * len(wanted)
            for tf_axis, position in enumerate(wanted):
                order[position] = value.axes[tf_axis]
            moved = self.emit("Transpose", [value.name], tuple(value.shape[i] for i in order), perm=order)
            value = replace(moved, axes=wanted, pads=tuple(value.pads[i] for i in order), fill=value.fill)
        if not keep_pads and any(map(any, value.pads)):
            pads = np.array([b for b, _ in value.pads] + [a for _, a in value.pads], np.int64)
            inputs = [value.name, self.initializer(pads), self.initializer(np.array(value.fill, np.float32))]
            value = replace(self.emit("Pad", inputs, value.padded), axes=value.axes)
        return value

    def window(self, value: _Value, kernel: tuple[int, int], attributes: dict[str, Any], fill: float) -> tuple[_Value, Any]:
        """The input of a sliding window in NCHW, and its ONNX attributes with output height and width."""
        value = self.laid(value, NCHW_AS_NHWC, keep_pads=True)
        usable = value.fill <= fill if fill < 0 else value.fill == fill
        if attributes["padding"] != "VALID" or not usable or any(map(any, value.pads[:2])):
            value = self.laid(value, NCHW_AS_NHWC)
        strides = attributes["strides"][1:3]
        high = list(value.padded[2:])
        if attributes["padding"] == "SAME":
            out = [-(-size // stride) for size, stride in zip(high, strides, strict=True)]
            pads: dict[str, Any] = {"auto_pad": "SAME_UPPER"}
        else:
            out = [(size - k) // stride + 1 for size, k, stride in zip(high, kernel, strides, strict=True)]
            pads = {"pads": [b for b, _ in value.pads[2:]] + [a for _, a in value.pads[2:]]}
        return value, ({"kernel_shape": list(kernel), "strides": strides, **pads}, out)

    def op_conv2d(self, inputs: list[str], attributes: dict[str, Any]) -> _Value:
        weight = self.constants[inputs[1]].transpose(3, 2, 0, 1)
        kernel = (int(weight.shape[2]), int(weight.shape[3]))
        x, (window, out) = self.window(self.value(inputs[0]), kernel, attributes, 0.0)
        shape = (x.shape[0], int(weight.shape[0]), *out)
        group = x.shape[1] // int(weight.shape[1])
        return replace(self.emit("Conv", [x.name, self.initializer(weight)], shape, group=group, **window), axes=NCHW_AS_NHWC)

    def op_maxpool(self, inputs: list[str], attributes: dict[str, Any]) -> _Value:
        rows, columns = attributes["ksize"][1:3]
        x, (window, out) = self.window(self.value(inputs[0]), (rows, columns), attributes, _MASKED)
        return replace(self.emit("MaxPool", [x.name], (*x.shape[:2], *out), **window), axes=NCHW_AS_NHWC)

    def op_transpose(self, inputs: list[str], _: dict[str, Any]) -> _Value:
        x = self.value(inputs[0])
        return replace(x, axes=tuple(x.axes[int(i)] for i in self.constants[inputs[1]]))

    def op_pad(self, inputs: list[str], _: dict[str, Any]) -> _Value:
        fill = float(self.constants[inputs[2]]) if len(inputs) > 2 else 0.0
        x = self.value(inputs[0])
        x = self.laid(x, x.axes)  # what was pending may have another fill
        pads = [(0, 0)] * len(x.shape)
        for axis, (before, after) in zip(x.axes, self.constants[inputs[1]].tolist(), strict=True):
            pads[axis] = (before, after)
        return replace(x, pads=tuple(pads), fill=fill)

    op_padv2 = op_pad

    def op_add(self, inputs: list[str], _: dict[str, Any]) -> _Value:
        if inputs[0] in self.constants:
            inputs = inputs[::-1]
        x = self.value(inputs[0])
        x = self.laid(x, x.axes)
        if inputs[1] in self.constants:
            term = self.constants[inputs[1]]
            term = term.reshape((1,) * (len(x.shape) - term.ndim) + term.shape).transpose(np.argsort(x.axes))
            other = self.initializer(term)
        else:
            other = self.laid(self.value(inputs[1]), x.axes).name
        return replace(self.emit("Add", [x.name, other], x.shape), axes=x.axes)

    op_addv2 = op_add

    def op_identity(self, inputs: list[str], _: dict[str, Any]) -> _Value:
        return self.value(inputs[0])

    def op_leakyrelu(self, inputs: list[str], attributes: dict[str, Any]) -> _Value:
        x = self.value(inputs[0])
        x = self.laid(x, x.axes)
        return replace(self.emit("LeakyRelu", [x.name], x.shape, alpha=attributes.get("alpha", 0.2)), axes=x.axes)

    def op_sigmoid(self, inputs: list[str], _: dict[str, Any]) -> _Value:
        x = self.value(inputs[0])
        x = self.laid(x, x.axes)
        return replace(self.emit("Sigmoid", [x.name], x.shape), axes=x.axes)

    def op_concatv2(self, inputs: list[str], _: dict[str, Any]) -> _Value:
        first = self.value(inputs[0])
        parts = [self.laid(self.value(name), first.axes) for name in inputs[:-1]]
        axis = first.axes[int(self.constants[inputs[-1]])]
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return replace(self.emit("Concat", [part.name for part in parts], tuple(shape), axis=axis), axes=first.axes)

    def op_splitv(self, inputs: list[str], _: dict[str, Any]) -> list[_Value]:
        x = self.value(inputs[0])
        x = self.laid(x, x.axes)
        axis, start, parts = x.axes[int(self.constants[inputs[2]])], 0, []
        for size in self.constants[inputs[1]].tolist():
            ends = [self.initializer(np.array([value], np.int64)) for value in (start, start + size, axis)]
            shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
            parts.append(replace(self.emit("Slice", [x.name, *ends], shape), axes=x.axes))
            start += size
        return parts

    def op_reshape(self, inputs: list[str], _: dict[str, Any]) -> _Value:
        shape = tuple(self.constants[inputs[1]].tolist())
        x = self.laid(self.value(inputs[0]), None)
        return self.emit("Reshape", [x.name, self.initializer(np.array((*shape[:-1], -1), np.int64))], shape)

    def op_resizebilinear(self, inputs: list[str], attributes: dict[str, Any]) -> _Value:
        if attributes.get("align_corners") or not attributes.get("half_pixel_centers"):
            raise ValueError("a resize with corners aligned")
        x = self.laid(self.value(inputs[0]), NCHW_AS_NHWC)
        target = (*x.shape[:2], *self.constants[inputs[1]].tolist())
        scales = np.array([after / before for after, before in zip(target, x.shape, strict=True)], np.float32)
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return replace(self.emit("Resize", [x.name, "", self.initializer(scales)], target, **how), axes=NCHW_AS_NHWC)


def _fold(op: str, inputs: list[NDArray[Any]]) -> NDArray[Any]:
    """The value of a node whose inputs are all constants."""
    if op in ("Add", "AddV2"):
        return inputs[0] + inputs[1]
    if op == "SparseToDense":
        places, shape, values, default = inputs
        dense = np.full(shape.tolist(), default, values.dtype)
        dense[tuple(places.reshape(-1, len(shape)).T)] = values
        return dense
    raise ValueError(f"{op} of constants")
