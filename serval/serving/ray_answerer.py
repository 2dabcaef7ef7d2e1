"""Answers from a Ray cluster: the same answerer in several replicas, on this machine or on others (`serval serve --ray`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serval.assistant.answers.answer import Answer, Request
from serval.assistant.answers.build import build_answerer
from serval.media.frame import Frame
from serval.refusal import Refusal

LOCAL = "local"
_LOOK = 0.1  # seconds between two looks at whether an answer is still wanted
_APP = "serval-answers"


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


class Replica:
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
        address: of a running cluster, as ``ray://head:10001``; "local" starts one on this machine.

    Raises:
        Refusal: Ray is not installed, or there is no cluster at this address.
    """

    def __init__(self, answerer: str | None, replicas: int, address: str = LOCAL) -> None:
        try:
            import ray
            from ray import serve
        except ModuleNotFoundError:
            raise Refusal("--ray", "Ray is not installed", 'pip install "serval[ray]"') from None
        self._ray, self._serve, self._own = ray, serve, not ray.is_initialized()
        if self._own:
            more: dict[str, Any] = {"_node_ip_address": "127.0.0.1"} if address == LOCAL else {"address": address}
            try:
                ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False, **more)
            except (ConnectionError, ValueError, RuntimeError):
                raise Refusal("--ray", "there is no cluster at this address", "see `ray status` there") from None
        serve.start(proxy_location="Disabled")  # nobody comes in but through us
        deployment = serve.deployment(num_replicas=replicas, max_ongoing_requests=1)(Replica)
        self._handle = serve.run(deployment.bind(answerer), name=_APP, route_prefix=None)
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

    def close(self) -> None:
        """Take the replicas down, and the cluster if it was started here."""
        self._serve.delete(_APP)
        if self._own:
            self._serve.shutdown()
            self._ray.shutdown()
