"""Weights of 8 bits: half the memory of bfloat16, for any decoder on any device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.language.decoder import Decoder


class Int8Linear(nn.Module):
    """``nn.Linear`` whose weights are whole numbers from -127 to 127 and a scale for each row; what goes in is not rounded.

    Attributes:
        weight: (rows, columns) int8.
        scale: (rows,), of the type that it computes in.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        numbers = linear.weight.detach().float()
        scale = numbers.abs().amax(1).clamp_min(1e-30) / 127
        self.register_buffer("weight", (numbers / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale.to(linear.weight.dtype))
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, columns) → (…, rows), of the scale's type."""
        if hidden.device.type == "cpu" and hidden.dtype == torch.bfloat16 and not torch.is_grad_enabled():
            flat = hidden.reshape(-1, hidden.shape[-1])
            made: Tensor = torch._weight_int8pack_mm(flat, self.weight, self.scale).view(*hidden.shape[:-1], -1)
        else:
            made = functional.linear(hidden, self.weight.to(hidden.dtype)) * self.scale
        return made if self.bias is None else made + self.bias


def quantize_int8(decoder: Decoder) -> list[str]:
    """Every linear map of the layers becomes an `Int8Linear`, in place; their names. Embeddings and the head stay."""
    names = [name for name, module in decoder.named_modules() if type(module) is nn.Linear and name != "lm_head"]
    for name in names:
        linear = decoder.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        decoder.set_submodule(name, Int8Linear(linear))
    return names
