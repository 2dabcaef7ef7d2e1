"""ONNX Runtime, opened the same way everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

CPU = ("CPUExecutionProvider",)


def open_session(model: Path | bytes, *, threads: int = 1, providers: Sequence[str] = CPU) -> Any:
    """An ``onnxruntime.InferenceSession`` for the file or the serialized graph ``model``.

    ``threads`` is the number of intra-op threads. They sleep between operators instead of spinning: a watcher is idle
    most of the time, and several encoders share the machine.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: warnings about unused initializers are not for people
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, options, providers=list(providers))
