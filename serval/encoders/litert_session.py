"""Runs one MediaPipe network (a ``.tflite`` file) with LiteRT."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

_loading = Lock()


class LiteRtSession:
    """A loaded network with one square float32 picture as its input.

    One call at a time: the interpreter keeps its tensors between calls.

    Attributes:
        size: side of the input in pixels.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with _loading, _without_greeting():
            self._interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        (entry,) = self._interpreter.get_input_details()
        self._input = entry["index"]
        self._outputs = [each["index"] for each in self._interpreter.get_output_details()]
        self.size = int(entry["shape"][1])

    def run(self, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Outputs in the file's order, each without its batch dimension.

        Args:
            picture: ``[size, size, 3]``, in the range the network was trained with (0..1 or -1..1).
        """
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(picture[None], np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0] for index in self._outputs]


@contextmanager
def _without_greeting() -> Iterator[None]:
    """LiteRT greets on file descriptor 2 and has no switch for it; all else written there meanwhile is passed on."""
    try:
        saved = os.dup(2)
    except OSError:  # no standard error at all: nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            for line in caught:
                if b"XNNPACK delegate" not in line:
                    os.write(2, line)
