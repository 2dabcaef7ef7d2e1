"""The map from an audio tower to a language model that also makes its tokens fewer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class StridedProjector(nn.Module):
    """(batch, n, width_in) → (batch, ⌈n / stride⌉, width_out): a strided convolution, a norm, an activation, a linear map.

    VITA's audio adapter (arXiv:2408.05211): right-padded, so that no sound is too short and none waits for what is not there.
    What stands behind a sound in a batch counts as silence, so its tokens are those it has alone.
    """

    def __init__(self, width_in: int, hidden: int, width_out: int, *, kernel: int = 5, stride: int = 2) -> None:
        super().__init__()
        if not 1 <= stride <= kernel:
            raise ValueError(f"A stride of {stride} passes over tokens that a kernel of {kernel} does not see.")
        self.kernel, self.stride = kernel, stride
        self.convolution = nn.Conv1d(width_in, hidden, kernel, stride)
        self.norm, self.out = nn.LayerNorm(hidden), nn.Linear(hidden, width_out)

    def forward(self, features: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Also ``valid`` (batch, n) bool, True in front, of the tokens that come out; None for all."""
        if valid is not None:
            features = features.masked_fill(~valid[..., None], 0.0)
        padded = functional.pad(features.transpose(1, 2), (0, self.kernel - 1))
        tokens: Tensor = self.out(functional.gelu(self.norm(self.convolution(padded).transpose(1, 2))))
        return tokens, None if valid is None else valid[:, :: self.stride]
