"""ONNX Runtime, opened the same way everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CPU = ("CPUExecutionProvider",)


def open_session(
    model: Path | bytes,
    *,
    threads: int = 1,
    awake: int = 0,
    providers: Sequence[str] = CPU,
    constants: Mapping[str, NDArray[np.generic]] | None = None,
) -> Any:
    """An ``onnxruntime.InferenceSession`` for the file or the serialized graph ``model``.

    Args:
        threads: intra-op threads. They sleep between operators instead of spinning: a watcher is idle most of the time, and
            several encoders share the machine.
        awake: microseconds that they spin before they sleep, for a graph of many small operators that runs in a burst.
        constants: numbers that the graph only names, as external data. They are read where they lie, by several sessions if
            need be.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if awake else "0")
    if awake:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(awake))
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: warnings about unused initializers are not for people
    lent = [onnxruntime.OrtValue.ortvalue_from_numpy(each) for each in (constants or {}).values()]
    if constants:
        options.add_external_initializers(list(constants), lent)
    source = str(model) if isinstance(model, Path) else model
    session = onnxruntime.InferenceSession(source, options, providers=list(providers))
    session.lent = lent  # they have to live as long as it
    return session
