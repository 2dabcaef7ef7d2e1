"""What words mean to the watch: sentence embeddings, and how the picture's tags resemble a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serval.weights import PartMissing, locate


def embedder() -> Callable[[Sequence[str]], NDArray[np.float32]] | None:
    """Sentence embeddings, loaded at their first use; None when the part is not on this machine."""
    try:
        locate("minilm")
    except PartMissing:
        return None

    return lambda texts: _model().embed(texts)


@cache
def _model() -> Any:
    """One for the whole process: a service understands instructions of many streams."""
    from serval.encoders.minilm import MiniLM

    return MiniLM.open()


def likeness(embed: Callable[[Sequence[str]], NDArray[np.float32]] | None) -> Callable[[str], NDArray[np.float32]] | None:
    """Query sentence -> weights over ImageNet tags, each query once; None without sentence embeddings."""
    if embed is None:
        return None

    @cache
    def weights(query: str) -> NDArray[np.float32]:
        from serval.encoders.conse import tag_weights

        return tag_weights(query, embed)

    return weights
