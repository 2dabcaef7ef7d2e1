"""The graph that ONNX Runtime reads tokens with: matrices of few bits a number, and Llama's layers made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serval.language.config import AttentionConfig, DecoderConfig

Floats = NDArray[np.float32]
Shapes = Mapping[str, Sequence[int | str]]

GROUP = 32  # numbers that share a step
RESCORED = 32  # likeliest tokens, whose logits are computed anew from exact rows
_ROWS = 4096  # of a matrix quantized at a time, so that no whole copy of it is made in float32
_OPSET, _FORMAT = 18, 9
# Operators of ONNX Runtime's own (microsoft/onnxruntime, docs/ContribOperators.md).
_OWN = ("MatMulNBits", "GroupQueryAttention", "SkipSimplifiedLayerNormalization", "QuickGelu")


@dataclass(frozen=True)
class Matrix:
    """A (rows, columns) matrix of 4 or 8 bits a number, in groups of `GROUP` along its columns.

    Attributes:
        levels: (rows, groups, bytes of a group) uint8; of 4 bits, the lower half of a byte comes first.
        step: (rows, groups) float32.
        middle: (rows, groups) float32, what the middle level, 8 or 128, stands for; None for 0.
    """

    levels: NDArray[np.uint8]
    step: Floats
    middle: Floats | None = None

    @classmethod
    def pack(cls, levels: Tensor, step: Tensor, least: Tensor) -> Matrix:
        """Of 4 bits: ``levels`` (rows, columns) in 0..15; ``step`` and ``least`` (rows, groups) float32."""
        pairs = levels.to(torch.uint8).view(*step.shape, -1, 2)
        packed = pairs[..., 0] | pairs[..., 1] << 4
        return cls(packed.numpy(), step.numpy(), (least + 8 * step).numpy())

    @classmethod
    def quantize(cls, values: Tensor) -> Matrix:
        """Of 8 bits: the nearest of 255 even levels around 0, up to the largest number of each group."""
        levels, steps = [], []
        for some in torch.split(values, _ROWS):
            groups = some.float().view(len(some), -1, GROUP)
            step = groups.abs().amax(-1).clamp_min_(1e-30).div_(127)
            levels.append(groups.div(step[..., None]).round_().add_(128).to(torch.uint8))
            steps.append(step)
        return cls(torch.cat(levels).numpy(), torch.cat(steps).numpy())

    @property
    def rows(self) -> int:
        return self.levels.shape[0]

    @property
    def columns(self) -> int:
        return self.levels.shape[1] * GROUP

    @property
    def bits(self) -> int:
        return 8 * self.levels.shape[2] // GROUP

    def extended(self) -> Matrix:
        """For states followed by their `sums`, twice: what the middle stands for, of 8 bits, as 16 (high - 8) + (low - 8)."""
        assert self.middle is not None
        middle = np.pad(self.middle, ((0, 0), (0, -self.middle.shape[1] % GROUP))).reshape(self.rows, -1, GROUP)
        step = np.maximum(np.abs(middle).max(-1), 1e-30) / 119
        digits = np.rint(middle / step[..., None]).astype(np.int64) + 136
        high_and_low = torch.from_numpy(np.concatenate((digits >> 4, digits & 15), axis=1)).flatten(1)
        steps = torch.from_numpy(np.concatenate((16 * step, step), axis=1).astype(np.float32))
        more = Matrix.pack(high_and_low, steps, -8 * steps)
        return Matrix(np.concatenate((self.levels, more.levels), axis=1), np.concatenate((self.step, more.step), axis=1))


def sums(columns: int) -> Matrix:
    """What makes of states (…, columns) the sum of each group, filled up with zeros to whole groups."""
    count = columns // GROUP
    ones = torch.eye(count + -count % GROUP)[:, :count].repeat_interleave(GROUP, 1)
    step = torch.ones(len(ones), count)
    return replace(Matrix.pack(8 + ones, step, -8 * step), middle=None)


@dataclass(frozen=True)
class Int4Layer:
    """Norms are (width,). ``mixed`` makes queries, keys and values, ``gate_up`` both halves of the feed-forward layer."""

    attention_norm: Floats
    mixed: Matrix
    output: Matrix
    feed_norm: Floats
    gate_up: Matrix
    down: Matrix


class Graph:
    """Operators and constants, in the order they are written.

    With ``rounded`` what goes into a product is rounded to 8 bits, group by group: the quicker way for a few tokens, which
    cost what their weights cost to read. For many, numbers are unpacked once for all and multiplied in float32.
    """

    def __init__(self, *, rounded: bool) -> None:
        self._rounded = rounded
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"constant {len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def add(self, operator: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """One more operator. The name of its first output, which is made up where ``outputs`` are not named."""
        from onnx import helper

        outputs = outputs or (f"{operator} {len(self._nodes)}",)
        domain = "com.microsoft" if operator in _OWN else ""
        self._nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def product(self, states: str, matrix: Matrix) -> str:
        """``states`` (…, columns) times the matrix: (…, rows)."""
        if matrix.middle is None:
            return self._levels(states, matrix)
        # The operator counts levels from the middle one. What that stands for comes to the sum of each group.
        groups = self._levels(states, sums(matrix.columns))
        if self._rounded:  # in further columns, which costs an operator less
            return self._levels(self.add("Concat", states, groups, groups, axis=-1), matrix.extended())
        middle = np.pad(matrix.middle, ((0, 0), (0, -matrix.middle.shape[1] % GROUP)))
        return self.add("Add", self._levels(states, matrix), self.add("MatMul", groups, self.constant(middle.T)))

    def _levels(self, states: str, matrix: Matrix) -> str:
        weights = self.constant(matrix.levels), self.constant(matrix.step.reshape(-1))
        sizes: dict[str, Any] = {"K": matrix.columns, "N": matrix.rows, "bits": matrix.bits, "block_size": GROUP}
        return self.add("MatMulNBits", states, *weights, **sizes, accuracy_level=4 if self._rounded else 1)

    def add_norm(self, hidden: str, added: str, weight: Floats, eps: float) -> tuple[str, str]:
        """The sum of two (…, width), and its root-mean-square norm."""
        total, normed = f"sum {len(self._nodes)}", f"norm {len(self._nodes)}"
        inputs = hidden, added, self.constant(weight)
        self.add("SkipSimplifiedLayerNormalization", *inputs, outputs=(normed, "", "", total), epsilon=eps)
        return total, normed

    def serialized(self, inputs: Shapes, outputs: Shapes) -> bytes:
        """The model, for its inputs and outputs of float32, or where their names begin with a “#” of int32 and int64."""
        from onnx import TensorProto, helper

        def described(shapes: Shapes, whole: int) -> list[Any]:
            kinds = {name: whole if name.startswith("#") else TensorProto.FLOAT for name in shapes}
            return [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in shapes.items()]

        taken, given = described(inputs, TensorProto.INT32), described(outputs, TensorProto.INT64)
        graph = helper.make_graph(self._nodes, "graph", taken, given, self._constants)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_FORMAT).SerializeToString()


def decoder_graph(
    config: DecoderConfig, attention: AttentionConfig, layers: Sequence[Int4Layer], norm: Floats, head: Matrix | None
) -> bytes:
    """Plain Llama's layers, the ``norm`` (width,) behind them, and the ``head``: for a few tokens (`Graph`'s ``rounded``).
    Without a head it is for many tokens, of which only keys and values are wanted.

    It reads ``hidden`` (1, new, width), the embeddings of tokens that follow each other; ``keys 0``, ``values 0`` … (1,
    kv_heads, room, head_dim), what came before; how many tokens there are with the new ones, ``#total`` (1,), and one less,
    ``#last`` (1,). It gives ``new keys 0``, ``new values 0`` …, which may lie where the old ones do: then only what is new is
    written; and with a head the last token's ``state`` (1, width) and ``logits`` (1, vocabulary), with their ``#likeliest``.
    """
    graph, eps = Graph(rounded=head is not None), config.norm.eps
    past: dict[str, Sequence[int | str]] = {}
    cosine, sine = (graph.constant(each) for each in _turns(config, attention))
    hidden, first = "hidden", graph.constant(layers[0].attention_norm)
    normed = graph.add("SimplifiedLayerNormalization", hidden, first, epsilon=eps, axis=-1)
    next_norms = [*(layer.attention_norm for layer in layers[1:]), norm]
    for index, (layer, next_norm) in enumerate(zip(layers, next_norms, strict=True)):
        names = f"keys {index}", f"values {index}"
        past |= dict.fromkeys(names, (1, attention.kv_heads, "room", attention.head_dim))
        mixed = graph.product(normed, layer.mixed)
        attended = graph.add(
            "GroupQueryAttention",
            *(mixed, "", "", *names, "#last", "#total", cosine, sine),
            outputs=(f"attended {index}", *(f"new {name}" for name in names)),
            num_heads=attention.heads,
            kv_num_heads=attention.kv_heads,
            scale=attention.scale,
            do_rotary=1,
            rotary_interleaved=1,  # as llama.cpp's files have it
        )
        hidden, normed = graph.add_norm(hidden, graph.product(attended, layer.output), layer.feed_norm, eps)
        gate, up = f"gate {index}", f"up {index}"
        graph.add("Split", graph.product(normed, layer.gate_up), outputs=(gate, up), axis=-1, num_outputs=2)
        gated = graph.add("Mul", graph.add("QuickGelu", gate, alpha=1.0), up)  # with an alpha of 1 it is SiLU
        hidden, normed = graph.add_norm(hidden, graph.product(gated, layer.down), next_norm, eps)
    inputs = {"hidden": (1, "new", config.width), "#last": (1,), "#total": (1,), **past}
    outputs: dict[str, Sequence[int | str]] = {f"new {name}": shape for name, shape in past.items()}
    if head is not None:
        graph.add("Gather", normed, graph.constant(np.array(-1)), outputs=("state",), axis=1)
        graph.add("Identity", graph.product("state", head), outputs=("logits",))
        graph.add(
            "TopK", "logits", graph.constant(np.array([RESCORED])), outputs=("their logits", "#likeliest"), axis=-1, sorted=0
        )
        outputs |= {"state": (1, config.width), "logits": (1, head.rows), "#likeliest": (1, RESCORED)}
    return graph.serialized(inputs, outputs)


def _turns(config: DecoderConfig, attention: AttentionConfig) -> tuple[Floats, Floats]:
    """Cosine and sine (positions, head_dim / 2) of every position that the model may come to."""
    assert attention.rotary is not None
    angles = torch.outer(torch.arange(config.max_position), attention.rotary.frequencies(0))
    return angles.cos().numpy(), angles.sin().numpy()
