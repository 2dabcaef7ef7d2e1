"""What a ViT-B/16 takes a picture: our tower in torch, beside ONNX Runtime and OpenVINO with the same weights."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.table import Result, Table
from benchmarks.timing import in_turns, paired_ratio

NAME = "core_vision_tower"
ABOUT = "A ViT-B/16 at 224 pixels, milliseconds a picture"


def run(quick: bool) -> Result:
    import numpy as np
    import torch

    from serval.encoders.open_tower import new_tower

    torch.set_num_threads(2)
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    towers = {kind: new_tower({"model_type": "vit"}, dtype=kind, frozen=True) for kind in (torch.float32, torch.bfloat16)}
    ready = {kind: tower.prepare([picture]) for kind, tower in towers.items()}
    expected = towers[torch.float32].encode(ready[torch.float32], taps=()).tokens
    pixels = ready[torch.float32].values
    variants = {
        "torch float32": lambda: towers[torch.float32].encode(ready[torch.float32], taps=()).tokens,
        "torch bfloat16": lambda: towers[torch.bfloat16].encode(ready[torch.bfloat16], taps=()).tokens.float(),
    }
    missing = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vit.onnx"
        try:
            _exported(towers[torch.float32].model, pixels, path)
        except Exception as error:  # the exporter is a package of its own
            missing.append(f"ONNX export ({type(error).__name__})")
        else:
            variants |= _rivals(path, pixels, missing)
        alike = {
            name: float(torch.nn.functional.cosine_similarity(call().flatten(), expected.flatten(), dim=0))
            for name, call in variants.items()
        }
        taken = in_turns(variants, 2 if quick else 11, "vision tower")
    base = taken["torch float32"].wall
    rows = tuple(
        (name, 1000 * statistics.median(each.wall), paired_ratio(base, each.wall), alike[name]) for name, each in taken.items()
    )
    note = "Cosine of the tokens with float32's." + (f" Not here: {', '.join(missing)}." if missing else "")
    return Result(
        tables=(Table("Milliseconds a picture", ("", "ms (median)", "times as fast as float32", "cosine"), rows, note=note),),
        method="Random weights of ViT-B/16, one picture of 224 pixels, two threads, all in turns, 11 rounds. ONNX Runtime and "
        "OpenVINO run one file that torch exported.",
        data={name: each.wall for name, each in taken.items()},
    )


def _exported(model, pixels, path: Path) -> None:
    import torch

    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels):
            return self.model(pixel_values=pixels).last_hidden_state[:, 1:]

    torch.onnx.export(Tokens(), (pixels,), str(path), input_names=["pixels"], output_names=["tokens"], dynamo=False)


def _rivals(path: Path, pixels, missing: list[str]):
    import onnxruntime as ort
    import torch

    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    variants = {"ONNX Runtime float32": lambda: torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0])}
    try:
        import openvino
    except ImportError:
        missing.append("OpenVINO is not installed")
        return variants
    for kind in ("f32", "bf16"):
        settings = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": 2}
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        variants[f"OpenVINO {kind}"] = lambda compiled=compiled: torch.from_numpy(compiled([pixels.numpy()])[0])
    return variants
