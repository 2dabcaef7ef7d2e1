"""Picture encoder and tagger: EfficientNet-lite0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from serval.encoders.onnx_session import open_session
from serval.encoders.tfjs_graph import IR, OPSET

SIDE: Final = 224
STRIDE: Final = 32  # pixels between the places of its last map
_STRIDED: Final = (1, 3, 5, 11)  # blocks that halve the picture; the other twelve keep it
_BLOCKS: Final = 16
_EPSILON: Final = 1e-3  # of its batch normalisation
# TensorFlow's scaling, not ImageNet's mean and deviation: 51 instead of 46 of 84 cut-outs on white get their name first.
_MIDDLE: Final = 127.0
_SPAN: Final = 128.0


class Lite0:
    """A feature vector of the whole picture, and how likely each ImageNet class is.

    Source: Tan and Le, "EfficientNet" (2019), in the lite form: no squeeze-and-excitation, ReLU6.
    """

    def __init__(self, weights: Path, *, threads: int = 1) -> None:
        from safetensors.numpy import load_file

        self._session = open_session(graph(load_file(weights)), threads=threads)

    @classmethod
    def open(cls, threads: int = 1) -> Lite0:
        """The installed encoder.

        Raises:
            PartMissing: the part ``lite0`` is not installed.
        """
        from serval.weights import locate

        return cls(locate("lite0", "model.safetensors"), threads=threads)

    def look(self, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Feature ``[1280]`` (pooled, each at least 0) and tags ``[1000]`` (probabilities, in the order of IMAGENET)."""
        feature, tags = self._session.run(None, {"picture": prepare(rgb)})
        return feature[0], tags[0]


def prepare(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The network's input ``[1, 3, 224, 224]`` for a picture ``[height, width, 3]``: the square in its middle.

    Of 84 cut-outs pasted anywhere on 16:9 pictures, the square named 25 (45 among the first five), squashing the whole
    picture 16 (32), bars above and below 14 (30): size and proportions count for more than the edges that are lost.
    """
    height, width = rgb.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = rgb[top : top + side, left : left + side]
    small = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR)
    return np.ascontiguousarray(((small - _MIDDLE) / _SPAN).transpose(2, 0, 1), np.float32)[None]


def graph(tensors: Mapping[str, NDArray[Any]], outputs: Sequence[str] = ("feature", "tags")) -> bytes:
    """Serialized ONNX model: ``picture`` to ``outputs``, batch normalisation folded into the convolutions.

    There is also ``map`` [1, 1280, 7, 7], which ``feature`` is the mean of. What nobody asks for is not computed.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    initializers: dict[str, NDArray[Any]] = {}

    def convolve(x: str, conv: str, norm: str, *, stride: int = 1, clip: bool = True) -> str:
        scale = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + _EPSILON)
        weight = tensors[f"{conv}.weight"] * scale[:, None, None, None]
        initializers[f"{conv}.weight"] = weight
        initializers[f"{conv}.bias"] = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
        # A depthwise weight has one input channel; only the stem and pointwise ones are dense.
        group = weight.shape[0] if conv.endswith("_depthwise_conv") else 1
        inputs, shape = [x, f"{conv}.weight", f"{conv}.bias"], {"kernel_shape": weight.shape[2:], "strides": (stride, stride)}
        # TensorFlow's padding: what is odd goes right and below.
        nodes.append(helper.make_node("Conv", inputs, [conv], group=group, auto_pad="SAME_UPPER", **shape))
        if not clip:
            return conv
        nodes.append(helper.make_node("Clip", [conv, "zero", "six"], [f"{conv}.clipped"]))
        return f"{conv}.clipped"

    initializers["zero"], initializers["six"] = np.array(0, np.float32), np.array(6, np.float32)
    x = convolve("picture", "_conv_stem", "_bn0", stride=2)
    for index in range(_BLOCKS):
        block, before, stride = f"_blocks.{index}", x, 2 if index in _STRIDED else 1
        if f"{block}._expand_conv.weight" in tensors:
            x = convolve(x, f"{block}._expand_conv", f"{block}._bn0")
        x = convolve(x, f"{block}._depthwise_conv", f"{block}._bn1", stride=stride)
        x = convolve(x, f"{block}._project_conv", f"{block}._bn2", clip=False)
        widths = tensors[f"{block}._project_conv.weight"].shape[0], _width_of(tensors, block)
        if stride == 1 and widths[0] == widths[1]:
            nodes.append(helper.make_node("Add", [x, before], [f"{block}.sum"]))
            x = f"{block}.sum"
    x = convolve(x, "_conv_head", "_bn1")
    initializers["_fc.weight"], initializers["_fc.bias"] = tensors["_fc.weight"], tensors["_fc.bias"]
    width, classes = tensors["_fc.weight"].shape[1], tensors["_fc.weight"].shape[0]
    shapes = {"map": [1, width, SIDE // STRIDE, SIDE // STRIDE], "feature": [1, width], "tags": [1, classes]}
    nodes += [
        helper.make_node("Identity", [x], ["map"]),
        helper.make_node("GlobalAveragePool", [x], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["feature"]),
        helper.make_node("Gemm", ["feature", "_fc.weight", "_fc.bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["tags"], axis=1),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "lite0",
            [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
            [numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name) for name, value in initializers.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    return model.SerializeToString()


def _width_of(tensors: Mapping[str, NDArray[Any]], block: str) -> int:
    """Channels that enter ``block``."""
    expand = f"{block}._expand_conv.weight"
    return int(tensors[expand].shape[1] if expand in tensors else tensors[f"{block}._depthwise_conv.weight"].shape[0])
