"""Sessions are quiet, single-threaded and do not import torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from serval.encoders.onnx_session import open_session


def doubling() -> bytes:
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "x"], ["y"])], "g", value[:1], value[1:])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_graph_opens_from_bytes_and_from_a_file(tmp_path: Path, threads: int) -> None:
    (tmp_path / "graph.onnx").write_bytes(doubling())
    for model in (doubling(), tmp_path / "graph.onnx"):
        session = open_session(model, threads=threads)
        assert session.get_session_options().intra_op_num_threads == threads
        assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert session.get_providers() == ["CPUExecutionProvider"]
        assert session.run(None, {"x": np.array([1, 2], np.float32)})[0].tolist() == [2, 4]


@pytest.mark.usefixtures("detector")
def test_the_encoders_run_without_torch() -> None:
    code = """
import sys
import numpy as np
from serval.encoders.lite0 import Lite0
from serval.encoders.minilm import MiniLM
from serval.encoders.nanodet import NanoDet
rgb = np.zeros((90, 160, 3), np.uint8)
NanoDet.open().detect(rgb), Lite0.open().look(rgb), MiniLM.open().embed(["a cup"])
assert not {"torch", "transformers"} & set(sys.modules), "heavy imports in a plain watch"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
