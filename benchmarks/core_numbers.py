"""What fewer bits a weight cost in what a model says, how long each way of opening it takes, and its peak memory."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.core_prefill import llama_cpp
from benchmarks.table import Result, Table, Target
from benchmarks.timing import peak_memory

NAME = "core_numbers"
ABOUT = "Bits of a weight: accuracy, load time and memory, SmolLM2-135M"

_TEXT = Path(__file__).parents[1] / "serval" / "training" / "recipes" / "about_servals.jsonl"
_LENGTH = 256  # tokens of a piece of text
Read = Callable[[list[int]], Any]
"""Tokens of a new conversation to the logits of what follows each."""


def run(quick: bool) -> Result:
    import torch

    torch.set_num_threads(2)
    pieces = _pieces()[: 1 if quick else 6]
    exact = _opened("Serval float32")
    expected = [torch.log_softmax(exact(ids), -1) for ids in pieces]
    rows = []
    for name in _WAYS:
        if (name == "llama.cpp Q4_1" and llama_cpp(8, 1)[0] is None) or ("torchao" in name and find_spec("torchao") is None):
            continue
        started = [_started(name) for _ in range(1 if quick else 5)]
        seconds, memory = (statistics.median(each[key] for each in started) for key in ("seconds", "peak"))
        read = _opened(name)
        found = [torch.log_softmax(torch.as_tensor(read(ids)).float(), -1) for ids in pieces]
        rows.append((name, seconds, memory, *_scores(pieces, expected, found)))
        del read
        gc.collect()
    columns = ("", "seconds to open", "peak memory, MB", "same likeliest token, %", "divergence, nats", "perplexity")
    by_name = {row[0]: row for row in rows}
    targets = [
        Target(f"to open {name}", by_name[name][1], 2.0, "s") for name in ("Serval float32", "Serval bfloat16 from GGUF")
    ]
    return Result(
        tables=(Table("Ways to hold the weights", columns, tuple(rows)),),
        method="Opening: a process of its own, from after its imports to the logits of one token, the median of 5; memory is "
        "its peak, Python and its imports included. "
        f"Accuracy: {len(pieces)} pieces of {_LENGTH} tokens of conversations about servals, token by token for int4 and "
        "llama.cpp, against Serval's float32: the share of places with the same likeliest token, and the mean Kullback-Leibler "
        "divergence.",
        targets=tuple(targets),
        data={row[0]: list(row[1:]) for row in rows},
    )


def _scores(pieces: list[list[int]], expected: list[Any], found: list[Any]) -> tuple[float, float, float]:
    import torch

    truth, ours = torch.cat(expected), torch.cat(found)
    same = float((truth.argmax(-1) == ours.argmax(-1)).float().mean())
    divergence = float((truth.exp() * (truth - ours)).sum(-1).mean())
    following = [each[torch.arange(len(ids) - 1), ids[1:]] for each, ids in zip(found, pieces, strict=True)]
    return 100 * same, divergence, float((-torch.cat(following).mean()).exp())


def _pieces() -> list[list[int]]:
    from serval.conversation.tokenizer import Tokenizer
    from serval.weights import locate

    talks = [json.loads(line)["messages"] for line in _TEXT.read_text("utf-8").splitlines() if line.strip()]
    ids = Tokenizer(locate("smollm2", "tokenizer.json")).encode("\n".join(each["content"] for talk in talks for each in talk))
    return [ids[start : start + _LENGTH] for start in range(0, len(ids) - _LENGTH, _LENGTH)]


def _whole(model: Any) -> Read:
    import torch

    def read(ids: list[int]) -> Any:
        with torch.inference_mode():
            made = model(torch.tensor([ids]))
            return (made.logits if hasattr(made, "logits") else made)[0]

    return read


def _decoder(kind: str, file: str = "model.safetensors") -> Any:
    import torch

    from serval.language.load import load_decoder
    from serval.weights import locate

    path = locate("smollm2", file)
    return load_decoder(path if path.suffix == ".gguf" else path.parent, dtype=getattr(torch, kind))


def _int8() -> Read:
    from serval.language.int8_linear import quantize_int8

    decoder = _decoder("bfloat16")
    quantize_int8(decoder)
    return _whole(decoder)


def _int4() -> Read:
    import torch

    from serval.language.int4 import Int4Decoder, Int4Session
    from serval.weights import locate

    model = Int4Decoder(locate("smollm2", "model.gguf"), _decoder("bfloat16"))

    def read(ids: list[int]) -> Any:
        session = Int4Session(model, len(ids))
        return torch.stack([session.read([each]) for each in ids])

    return read


def _torchao(form: Any) -> Read:
    from serval.language.low_bits import quantize

    decoder = _decoder("bfloat16")
    quantize(decoder, form)
    return _whole(decoder)


def _transformers() -> Read:
    import torch
    from transformers import LlamaForCausalLM

    from serval.weights import locate

    folder = locate("smollm2", "model.safetensors").parent
    return _whole(LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval())


def _llama_cpp() -> Read:
    import numpy as np
    from llama_cpp import Llama

    from serval.weights import locate

    model = Llama(
        str(locate("smollm2", "model.gguf")), n_threads=2, n_ctx=_LENGTH, logits_all=True, use_extra_bufts=False, verbose=False
    )

    def read(ids: list[int]) -> Any:
        def each() -> Iterator[Any]:
            model.reset()
            for one in ids:
                model.eval([one])
                yield model.scores[model.n_tokens - 1].copy()

        return np.stack(list(each()))

    return read


_WAYS: dict[str, Callable[[], Read]] = {
    "Serval float32": lambda: _whole(_decoder("float32")),
    "Serval bfloat16": lambda: _whole(_decoder("bfloat16")),
    "Serval bfloat16 from GGUF": lambda: _whole(_decoder("bfloat16", "model.gguf")),
    "Serval int8": _int8,
    "Serval int4": _int4,
    "Serval fp8 (torchao)": partial(_torchao, "fp8"),
    "Serval int4 (torchao)": partial(_torchao, "int4"),
    "transformers float32": _transformers,
    "llama.cpp Q4_1": _llama_cpp,
}


def _opened(name: str) -> Read:
    return _WAYS[name]()


def _started(name: str) -> dict[str, float]:
    """Seconds and megabytes of a process that opens the model and reads one token."""
    made = subprocess.run([sys.executable, "-m", __name__, name], capture_output=True, check=True, text=True)
    return dict(json.loads(made.stdout.splitlines()[-1]))


def _main(name: str) -> None:
    # So that nobody's imports are timed.
    import onnx.numpy_helper  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch
    from transformers import LlamaForCausalLM  # noqa: F401

    from serval.language import chat_model, int4, load  # noqa: F401
    from serval.weights import locate

    torch.set_num_threads(2)
    locate("smollm2", "model.gguf").read_bytes()  # both files are in the memory of the system
    locate("smollm2", "model.safetensors").read_bytes()
    began = time.perf_counter()
    _opened(name)([100])
    seconds = time.perf_counter() - began
    sys.stdout.write(json.dumps({"seconds": seconds, "peak": peak_memory()}) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1])
