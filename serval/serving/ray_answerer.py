"""Answers from a Ray cluster: the same answerer in several replicas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from serval.assistant.answers.answer import Answer, Request
from serval.assistant.answers.build import build_answerer
from serval.media.frame import Frame
from serval.serving.ray_cluster import RayCluster

_LOOK = 0.1  # seconds between two looks at whether an answer is still wanted


@dataclass(frozen=True)
class Packed:
    """A request that can travel: its pictures as pixels."""

    request: Request
    pictures: tuple[tuple[NDArray[np.uint8], str, int, float], ...]

    @classmethod
    def of(cls, request: Request) -> Packed:
        pictures = tuple((each.rgb, each.source, each.index, each.time) for each in request.frames)
        return cls(replace(request, frames=()), pictures)

    def unpack(self) -> Request:
        frames = [Frame.from_rgb(rgb, source=name, index=index, time=time) for rgb, name, index, time in self.pictures]
        return replace(self.request, frames=tuple(frames))


class AnswerReplica:
    """What runs in the cluster."""

    def __init__(self, answerer: str | None) -> None:
        self._answerer = build_answerer(answerer)

    def about(self) -> tuple[str, dict[str, str]]:
        return self._answerer.name, self._answerer.models

    def answer(self, packed: Packed) -> Answer:
        return self._answerer.answer(packed.unpack())


class RayAnswerer:
    """An `Answerer` whose answers are worked on elsewhere. An answer that is no longer wanted is called back.

    Args:
        answerer: as `serval watch --answerer`; each replica opens its own.
        replicas: how many work at a time.
    """

    def __init__(self, cluster: RayCluster, answerer: str | None, replicas: int) -> None:
        self._handle = cluster.deploy("serval-answers", AnswerReplica, answerer, replicas=replicas, processors=1)
        self.name, self.models = self._handle.about.remote().result(timeout_s=120)

    def answer(self, request: Request, cancelled: Callable[[], bool] = lambda: False) -> Answer:
        """See `Answerer`."""
        waiting = self._handle.answer.remote(Packed.of(request))
        while True:
            try:
                found: Answer = waiting.result(timeout_s=_LOOK)
                return found
            except TimeoutError:
                if cancelled():
                    waiting.cancel()
                    return Answer(text="", by=self.name, verified=False, why="it was no longer wanted")
