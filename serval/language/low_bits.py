"""Weights of eight and four bits for GPUs, by torchao. It is an extra: ``pip install 'serval[gpu]'``.

On a CPU `int8_linear` and `int4` are made for the purpose; there torchao's forms are as right, and slower.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from serval.language.decoder import Decoder
from serval.refusal import Refusal

Form = Literal["fp8", "int4"]
"""Floats of eight bits (e4m3) with a scale for each row; whole numbers of four bits with a scale for each group of a row."""


def quantize(decoder: Decoder, form: Form, *, group: int = 32) -> list[str]:
    """Every linear map of the layers gets weights of this form, in place; their names. What goes in is not rounded, embeddings
    and the head stay.

    Args:
        decoder: in bfloat16, on the device that it will run on.
        group: numbers of a row that share a scale, for "int4".

    Raises:
        Refusal: torchao is not installed, or the decoder is of another type.
    """
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int4WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, quantize_
    except ImportError:
        raise Refusal(f"weights as {form}", "torchao is not installed", "pip install 'serval[gpu]'") from None
    if decoder.dtype != torch.bfloat16:
        raise Refusal(f"weights as {form}", f"the model is in {decoder.dtype}", "load it in bfloat16")
    if form == "fp8":
        config = Float8WeightOnlyConfig()
    elif decoder.device.type == "cuda":  # the layout of PyTorch's own kernel
        config = Int4WeightOnlyConfig(group_size=group, int4_packing_format="tile_packed_to_4d")
    else:
        four: torch.dtype = torch.int4  # type: ignore[attr-defined]  # PyTorch's stubs do not have it yet
        config = IntxWeightOnlyConfig(weight_dtype=four, granularity=PerGroup(group))
    names = [name for name, each in decoder.named_modules() if name.startswith("layers.") and isinstance(each, nn.Linear)]
    chosen = frozenset(names)
    quantize_(decoder, config, filter_fn=lambda module, name: name in chosen)
    return names
