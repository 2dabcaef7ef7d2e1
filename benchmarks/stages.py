"""Where the time of a watch goes: its stages, timed from outside by wrapping what is called between them."""

from __future__ import annotations

import importlib
import inspect
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

_END = object()

# Stage -> the methods that are it, as module, class, method. What one calls of another counts for the inner one alone.
_STAGES = (
    ("decoding", "serval.media.video", "Video", "_decoded"),
    ("pixel gate (small grey picture)", "serval.media.frame", "Frame", "luma"),
    ("full-size colours", "serval.media.frame", "Frame", "rgb"),
    ("picture's hash", "serval.media.frame", "Frame", "sha256"),
    ("detector", "serval.encoders.nanodet", "NanoDet", "detect"),
    ("tagger", "serval.encoders.lite0", "Lite0", "look"),
    ("hands", "serval.encoders.hands", "Hands", "find"),
    ("text", "serval.encoders.text", "TextReader", "read"),
    ("perception", "serval.assistant.perception.perception", "Perception", "plan"),
    ("perception", "serval.assistant.perception.perception", "Perception", "update"),
    ("gates and policies", "serval.assistant.watcher", "Watcher", "_decide"),
    ("answers", "serval.assistant.watcher", "Watcher", "_answer"),
    ("recording", "serval.assistant.timeline.recording", "Recording", "add"),
    ("recording", "serval.assistant.timeline.recording", "Recording", "add_deep"),
    ("recording", "serval.assistant.timeline.recording", "Recording", "keep"),
    ("memory", "serval.assistant.memory.memory", "Memory", "add_frame"),
    ("memory", "serval.assistant.memory.memory", "Memory", "add_event"),
    ("timeline", "serval.assistant.timeline.timeline", "Timeline", "add"),
    ("timeline", "serval.assistant.timeline.timeline", "Timeline", "trace"),
)


class Stages:
    """Processor and clock seconds of each stage, all threads together. A stage inside another counts for itself alone."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._lock, self._thread = threading.Lock(), threading.local()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count what happens inside, on this thread, for ``stage``."""
        outer: list[list[float]] = self._thread.__dict__.setdefault("inner", [])
        outer.append([0.0, 0.0])  # what stages inside this one took
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            inner_cpu, inner_wall = outer.pop()
            if outer:
                outer[-1][0] += cpu
                outer[-1][1] += wall
            with self._lock:
                self.cpu[stage] += cpu - inner_cpu
                self.wall[stage] += wall - inner_wall
                self.calls[stage] += 1

    def clear(self) -> None:
        """Forget what was counted so far."""
        with self._lock:
            for counts in (self.cpu, self.wall, self.calls):
                counts.clear()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Time every stage while inside."""
        undo: list[Callable[[], None]] = []
        try:
            for stage, module, name, method in _STAGES:
                undo.append(self._wrap(stage, getattr(importlib.import_module(module), name), method))
            yield
        finally:
            for each in undo:
                each()

    def _wrap(self, stage: str, owner: type, name: str) -> Callable[[], None]:
        plain: Any = owner.__dict__[name]
        if isinstance(plain, cached_property):
            function = plain.func
            plain.func = self._call(stage, function)
            return partial(setattr, plain, "func", function)
        wrapped = self._steps(stage, plain) if inspect.isgeneratorfunction(plain) else self._call(stage, plain)
        setattr(owner, name, wrapped)
        return partial(setattr, owner, name, plain)

    def _call(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            with self.timed(stage):
                return function(*args, **named)

        return call

    def _steps(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def steps(*args: Any, **named: Any) -> Iterator[Any]:
            items = function(*args, **named)
            while True:
                with self.timed(stage):
                    item = next(items, _END)
                if item is _END:
                    return
                yield item

        return steps
