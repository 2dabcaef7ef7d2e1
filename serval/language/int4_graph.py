"""The graph that ONNX Runtime reads tokens with: Llama's layers, made of matrices of four bits a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from serval.language.config import AttentionConfig, DecoderConfig
from serval.language.int4_matrix import GROUP, Floats, Int4Head, Matrix, Rows, sums

Shapes = Mapping[str, Sequence[int | str]]

RESCORED = 256  # likeliest tokens, whose logits are computed anew from rows of 8 bits
_INSIDE = 1024  # bytes of a constant that stands in the graph itself: shapes have to
_OPSET, _FORMAT = 18, 9
# Operators of ONNX Runtime's own (microsoft/onnxruntime, docs/ContribOperators.md).
_OWN = ("MatMulNBits", "GatherBlockQuantized", "GroupQueryAttention", "SkipSimplifiedLayerNormalization", "QuickGelu")


@dataclass(frozen=True)
class Int4Layer:
    """Norms are (width,). ``mixed`` makes queries, with attention's scale in them, keys and values; ``gate_up`` both halves of
    the feed-forward layer."""

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
        self._tensors: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        """For `open_session`: the large ones stand beside the graph, not in it."""

    def constant(self, values: NDArray[Any]) -> str:
        from onnx import TensorProto, helper, numpy_helper

        name, values = f"constant {len(self._tensors)}", np.array(values, order="C", copy=None)
        if values.nbytes <= _INSIDE:
            self._tensors.append(numpy_helper.from_array(values, name))
            return name
        kind, place = helper.np_dtype_to_tensor_dtype(values.dtype), TensorProto.EXTERNAL
        tensor = TensorProto(name=name, dims=values.shape, data_type=kind, data_location=place)
        tensor.external_data.add(key="location", value=name)
        self._tensors.append(tensor)
        self.constants[name] = values
        return name

    def add(self, operator: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """One more operator. The name of its first output, which is made up where ``outputs`` are not named."""
        from onnx import helper

        outputs = outputs or (f"{operator} {len(self._nodes)}",)
        domain = "com.microsoft" if operator in _OWN else ""
        self._nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def looked_up(self, rows: Rows, which: str) -> str:
        """(…, columns) float32 of the rows (…) that ``which`` says."""
        values = self.constant(rows.levels), which, self.constant(rows.step)
        return self.add("GatherBlockQuantized", *values, gather_axis=0, quantize_axis=1, block_size=GROUP, bits=8)

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
        sizes: dict[str, Any] = {"K": matrix.columns, "N": matrix.rows, "bits": 4, "block_size": GROUP}
        return self.add("MatMulNBits", states, *weights, **sizes, accuracy_level=4 if self._rounded else 1)

    def add_norm(self, hidden: str, added: str, weight: Floats, eps: float) -> tuple[str, str]:
        """The sum of two (…, width), and its root-mean-square norm."""
        total, normed = f"sum {len(self._nodes)}", f"norm {len(self._nodes)}"
        inputs = hidden, added, self.constant(weight)
        self.add("SkipSimplifiedLayerNormalization", *inputs, outputs=(normed, "", "", total), epsilon=eps)
        return total, normed

    def serialized(self, inputs: Shapes, outputs: Shapes) -> bytes:
        """The model, for its inputs and outputs of float32, or of int32 where their names begin with a “#”."""
        from onnx import TensorProto, helper

        def described(shapes: Shapes) -> list[Any]:
            kinds = {name: TensorProto.INT32 if name.startswith("#") else TensorProto.FLOAT for name in shapes}
            return [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in shapes.items()]

        taken, given = described(inputs), described(outputs)
        graph = helper.make_graph(self._nodes, "graph", taken, given, self._tensors)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_FORMAT).SerializeToString()


def decoder_graph(
    config: DecoderConfig,
    attention: AttentionConfig,
    embeddings: Rows,
    layers: Sequence[Int4Layer],
    norm: Floats,
    head: Int4Head | None,
) -> tuple[bytes, Mapping[str, NDArray[Any]]]:
    """The ``embeddings``, plain Llama's layers, the ``norm`` (width,) behind them, and the ``head``: for a few tokens
    (`Graph`'s ``rounded``).
    Without a head it is for many tokens, of which only keys and values are wanted. Beside the graph, its constants.

    It reads ``#ids`` (1, new) of tokens that follow each other; ``keys 0``, ``values 0`` … (1,
    kv_heads, room, head_dim), what came before; how many tokens there are with the new ones, ``#total`` (1,), and one less,
    ``#last`` (1,). It gives ``new keys 0``, ``new values 0`` …, which may lie where the old ones do: then only what is new is
    written; and with a head the ``logits`` (1, vocabulary) behind the last token.
    """
    graph, eps = Graph(rounded=head is not None), config.norm.eps
    past: dict[str, Sequence[int | str]] = {}
    cosine, sine = (graph.constant(each) for each in _turns(config, attention))
    hidden, first = graph.looked_up(embeddings, "#ids"), graph.constant(layers[0].attention_norm)
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
            scale=1.0,
            do_rotary=1,
            rotary_interleaved=1,  # as llama.cpp's files have it
        )
        hidden, normed = graph.add_norm(hidden, graph.product(attended, layer.output), layer.feed_norm, eps)
        gate, up = f"gate {index}", f"up {index}"
        graph.add("Split", graph.product(normed, layer.gate_up), outputs=(gate, up), axis=-1, num_outputs=2)
        gated = graph.add("Mul", graph.add("QuickGelu", gate, alpha=1.0), up)  # with an alpha of 1 it is SiLU
        hidden, normed = graph.add_norm(hidden, graph.product(gated, layer.down), next_norm, eps)
    inputs = {"#ids": (1, "new"), "#last": (1,), "#total": (1,), **past}
    outputs: dict[str, Sequence[int | str]] = {f"new {name}": shape for name, shape in past.items()}
    if head is not None:
        outputs["logits"] = _ranked(graph, graph.add("Gather", normed, graph.constant(np.array(-1)), axis=1), head)
    return graph.serialized(inputs, outputs), graph.constants


def _ranked(graph: Graph, state: str, head: Int4Head) -> tuple[int, int]:
    """Give the ``logits`` of a state (1, width). A head of 4 bits is good enough to find the likeliest tokens, not to rank
    them: those are computed anew."""
    again = graph.add("Gather", state, graph.constant(head.again), axis=1)
    logits = graph.product(graph.add("Concat", state, again, axis=1), head.matrix)
    likeliest = f"likeliest of {logits}"
    graph.add(
        "TopK",
        logits,
        graph.constant(np.array([RESCORED])),
        outputs=(f"{likeliest}, their logits", likeliest),
        axis=-1,
        sorted=0,
    )
    column = graph.add("Unsqueeze", state, graph.constant(np.array([-1])))
    exact = graph.add("MatMul", graph.looked_up(head.rows, likeliest), column)
    exact = graph.add("Squeeze", exact, graph.constant(np.array([-1])))
    graph.add("ScatterElements", logits, likeliest, exact, outputs=("logits",), axis=1)
    return 1, head.matrix.rows


def _turns(config: DecoderConfig, attention: AttentionConfig) -> tuple[Floats, Floats]:
    """Cosine and sine (positions, head_dim / 2) of every position that the model may come to."""
    assert attention.rotary is not None
    angles = torch.outer(torch.arange(config.max_position), attention.rotary.frequencies(0))
    return angles.cos().numpy(), angles.sin().numpy()
