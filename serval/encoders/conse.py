"""How alike a picture and a sentence are, without a network that saw both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serval.encoders.labels import IMAGENET

Embed = Callable[[Sequence[str]], NDArray[np.float32]]  # texts to unit vectors [n, width]; `MiniLM.embed`
CHANCE: Final = 0.3  # similarity that two unrelated names easily have

_label_vectors: dict[tuple[str, ...], NDArray[np.float32]] = {}


def tag_weights(query: str, embed: Embed, labels: Sequence[str] = IMAGENET) -> NDArray[np.float32]:
    """How much each tag speaks for ``query``: ``max(0, cosine − 0.3)``, ``[len(labels)]``.

    Embedding the labels takes about a second; it is done once per process.

    Source: after Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings" (2013), but similarity is
    taken label by label: mixing the embeddings first ranked frames worse (AUC .91 instead of .96 over the clips tried).
    """
    key = tuple(labels)
    if key not in _label_vectors:
        _label_vectors[key] = embed(key)
    return np.maximum(0.0, _label_vectors[key] @ embed([query])[0] - CHANCE).astype(np.float32)


def likeness(tags: NDArray[np.float32], weights: NDArray[np.float32]) -> float:
    """``Σ p·w`` of a picture's tag probabilities and a query's weights: 0 to 0.7.

    Good for ranking pictures under one query. The level differs from query to query, so there is no threshold that
    suits all of them.
    """
    return float(tags @ weights)
