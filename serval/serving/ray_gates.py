"""Gates that were taught, on a Ray cluster: a network decides there while the watch goes on here.

The others are a few comparisons, so they stay where the watch is. What a gate remembers stays in the cluster, as an object of
Ray's that any replica reads: here is only its name, as a `Gate`'s state has to be.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serval.assistant.gates import build, is_taught
from serval.assistant.gates.gate import Gate, Score
from serval.assistant.instructions.instruction import Understanding
from serval.assistant.meaning import embedder
from serval.assistant.view import View
from serval.refusal import Refusal
from serval.serving.ray_cluster import RayCluster
from serval.systems import offer_gates

log = logging.getLogger(__name__)

_OPEN = 64  # gates that a replica holds open
_BUILT = 120.0  # seconds in which a replica has opened one
_PATIENCE = 5.0  # seconds for a score: frames are lost meanwhile, and a replica may have to open the gate first


@dataclass(frozen=True)
class Asked:
    """What a gate is made from."""

    name: str
    understanding: Understanding
    text: str


class GateReplica:
    """What runs in the cluster."""

    def __init__(self) -> None:
        offer_gates()
        if (embed := embedder()) is not None:
            embed(["now"])  # opening it takes seconds, and a gate that is opened later has not that long
        self._gate = lru_cache(_OPEN)(lambda asked: build(asked.name, asked.understanding, text=asked.text))

    def about(self, asked: Asked) -> tuple[str, float]:
        gate = self._gate(asked)
        return gate.name, gate.threshold

    def step(self, asked: Asked, remembered: tuple[Any, ...], view: View) -> tuple[Any, Score]:
        """The reference to the state that follows the one referred to, and the score."""
        import ray

        gate: Gate = self._gate(asked)
        state, score = gate.step(ray.get(remembered[0]) if remembered else gate.start(), view)
        return ray.put(state), score


class RayGate:
    """A `Gate` that is worked on elsewhere. Where no score comes, nothing is said, and it begins anew with the next frame."""

    def __init__(self, handle: Any, asked: Asked, patience: float) -> None:
        self._handle, self._asked, self._patience = handle, asked, patience
        self.name, self.threshold = handle.about.remote(asked).result(timeout_s=_BUILT)

    def start(self) -> tuple[Any, ...]:
        return ()

    def step(self, state: tuple[Any, ...], view: View) -> tuple[tuple[Any, ...], Score]:
        waiting = self._handle.step.remote(self._asked, state, view)
        try:
            reference, score = waiting.result(timeout_s=self._patience)
        except Refusal:  # its numbers are no numbers: that is for whoever watches
            raise
        except Exception as error:  # whatever Ray makes of a replica, a node or a network that is gone
            waiting.cancel()
            log.warning("gate %s: the cluster gave no score (%s)", self.name, type(error).__name__)
            return (), Score(0.0, "the cluster gave no score")
        return (reference,), score


class RayGates:
    """Builds gates as `serval.assistant.gates.build`, those that were taught on the cluster.

    Args:
        replicas: how many decide at a time.
        patience: seconds that a score is waited for.
    """

    def __init__(self, cluster: RayCluster, replicas: int, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._handle = cluster.deploy("serval-gates", GateReplica, replicas=replicas, processors=0)

    def __call__(
        self, name: str, understanding: Understanding, likeness_weights: NDArray[np.float32] | None = None, text: str = ""
    ) -> Gate:
        if not is_taught(name):
            return build(name, understanding, likeness_weights, text)
        return RayGate(self._handle, Asked(name, understanding, text), self._patience)
