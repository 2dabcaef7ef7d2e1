"""A map of any shape becomes tokens of one number: pooled cells that look where in the map they need to."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.connectors.grid_reducer import Grid, average_pool


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """(batch, rows, columns, width) at points (batch, …, 2) → (batch, …, width), bilinear between the centres of cells.

    Points are x, y as fractions of the map; the centre of the first cell is (0.5 / columns, 0.5 / rows). Beyond the outer
    centres values fade to zero.
    """
    places = points.flatten(1, -2)[:, None] * 2 - 1  # (batch, 1, points, 2), the map from -1 to 1
    found = functional.grid_sample(maps.permute(0, 3, 1, 2), places.to(maps.dtype), align_corners=False)
    return found[:, :, 0].transpose(1, 2).reshape(*points.shape[:-1], -1)


class DeformableReading(nn.Module):
    """One layer: tokens attend to each other, sample the map at points of their own choice, and pass an MLP.

    At each of ``points`` points for each head, x, y is a linear map of the token plus the token's reference; what is found
    there is weighed by a softmax over the points (Deformable DETR, Zhu et al. 2021, equation 2). Norms stand before each step.
    """

    def __init__(self, width: int, grid: Grid, heads: int, points: int) -> None:
        super().__init__()
        self.heads, self.points = heads, points
        self.among_norm, self.read_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.among = nn.MultiheadAttention(width, heads, batch_first=True)
        self.offsets = nn.Linear(width, heads * points * 2)
        self.weights = nn.Linear(width, heads * points)
        self.values, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        # At first each head looks its own way from the reference, its points ever further, to the edge of a cell.
        turn = torch.arange(heads) * (2 * pi / heads)
        steps = torch.arange(1, points + 1) / (2 * points)
        rows, columns = grid
        ray = torch.stack([turn.cos() / columns, turn.sin() / rows], dim=-1)
        with torch.no_grad():
            self.offsets.weight.zero_()
            self.offsets.bias.copy_((ray[:, None] * steps[:, None]).flatten())

    def forward(self, tokens: Tensor, maps: Tensor, references: Tensor) -> Tensor:
        """``tokens`` (batch, tokens, width), ``maps`` (batch, rows, columns, width), ``references`` (tokens, 2)."""
        normed = self.among_norm(tokens)
        tokens = tokens + self.among(normed, normed, normed, need_weights=False)[0]
        tokens = tokens + self._sampled(self.read_norm(tokens), maps, references)
        changed: Tensor = tokens + self.feed(self.feed_norm(tokens))
        return changed

    def _sampled(self, tokens: Tensor, maps: Tensor, references: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        shape = batch, count, self.heads, self.points
        places = self.offsets(tokens).view(*shape, 2) + references[:, None, None]
        weights = self.weights(tokens).view(shape).softmax(-1)
        values = self.values(maps).view(*maps.shape[:3], self.heads, -1).permute(0, 3, 1, 2, 4).flatten(0, 1)  # heads apart
        found = sample_points(values, places.transpose(1, 2).flatten(0, 1))  # (batch · heads, tokens, points, width / heads)
        found = found.view(batch, self.heads, count, self.points, -1).permute(0, 2, 1, 3, 4)
        read: Tensor = self.out((found * weights[..., None]).sum(3).reshape(batch, count, width))
        return read


class DeformableReader(nn.Module):
    """(batch, rows, columns, width) → (batch, tokens, width), one token for each cell of ``grid``, whatever the map's shape.

    Tokens start as the means of the cells and then look for more at points that they choose, from learned references which
    start at the cells' centres: MoME's adaptive deformable transformation (Shen et al. 2024), which brings towers
    of different grids, or of a grid that follows the picture, to as many tokens. With all output maps at zero it is
    ``average_pool``.

    Raises ``ValueError`` where ``heads`` does not divide ``width``.
    """

    def __init__(self, width: int, grid: Grid, *, layers: int = 6, heads: int = 8, points: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"A width of {width} does not divide into {heads} heads.")
        self.grid = grid
        rows, columns = grid
        down, across = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
        self.references = nn.Parameter(torch.stack([across, down], dim=-1).flatten(0, 1))  # (tokens, 2): x, y
        self.layers = nn.ModuleList(DeformableReading(width, grid, heads, points) for _ in range(layers))

    def forward(self, maps: Tensor) -> Tensor:
        tokens = average_pool(maps, self.grid).flatten(1, 2)
        for layer in self.layers:
            tokens = layer(tokens, maps, self.references)
        return tokens
