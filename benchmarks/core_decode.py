"""Token by token: ours beside transformers and llama.cpp with the same file, and beside what memory can give."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.core_prefill import llama_cpp
from benchmarks.table import Result, Table, Target
from benchmarks.timing import in_turns, paired_ratio

NAME = "core_decode"
ABOUT = "Token by token, SmolLM2-135M, tokens a second"

BURST = 16  # tokens that a variant says before it is another's turn


def run(quick: bool) -> Result:
    import torch

    tables, data = [], {}
    targets: list[Target] = []
    for threads, before in ((2, 64),) if quick else ((2, 64), (2, 256), (1, 64)):
        torch.set_num_threads(threads)
        rows, taken, note = _measured(threads, before, 2 if quick else 8)
        where = f"{threads} thread{'s' if threads > 1 else ''}, after {before} tokens"
        tables.append(Table(where, _COLUMNS, tuple(rows), note=note))
        data[where] = {name: each.wall for name, each in taken.items()}
        ours = taken["Serval int4"].wall
        for rival, least in (("transformers float32", 3.0), ("llama.cpp Q4_1", 1.0)):
            if rival in taken:
                ratio = paired_ratio(taken[rival].wall, ours)
                targets.append(Target(f"Serval int4 over {rival}, {where}", ratio, least, "x", at_least=True))
    return Result(
        tables=tuple(tables),
        method=f"SmolLM2-135M at batch 1, the likeliest token each time, bursts of {BURST} tokens in turns, 8 rounds "
        "after one: 128 tokens each. The ceiling is what a read of the weights at the memory's measured speed would allow.",
        targets=tuple(targets),
        data=data,
    )


_COLUMNS = ("", "tokens a second (median)", "ms of processor a token", "share of the ceiling, %", "times Serval int4's ms")


def _measured(threads: int, before: int, rounds: int) -> tuple[list[Any], dict[str, Any], str]:
    import torch
    from transformers import DynamicCache, LlamaForCausalLM

    from serval.language.generation.session import DecoderSession
    from serval.language.int4 import Int4Decoder, Int4Session
    from serval.language.int4_matrix import AGAIN
    from serval.language.load import load_decoder
    from serval.weights import locate

    folder, gguf = locate("smollm2", "model.safetensors").parent, locate("smollm2", "model.gguf")
    prompt = torch.randint(100, 40_000, (before,), generator=torch.Generator().manual_seed(0)).tolist()
    capacity = before + BURST * (rounds + 3)
    sizes = {"float32": 4.0, "bfloat16": 2.0}
    variants: dict[str, Callable[[], object]] = {}
    held: dict[str, float] = {}  # bytes of weights that a token reads

    def talking(session: Any) -> Callable[[], None]:
        state = [session.read(prompt)]

        def burst() -> None:
            for _ in range(BURST):
                # A large operation of PyTorch's would wake its threads, which then stay awake beside those of the model.
                state[0] = session.read([int(state[0].float().numpy().argmax())])

        return burst

    for kind in sizes:
        decoder = load_decoder(folder, dtype=getattr(torch, kind))
        numbers = sum(each.numel() for each in decoder.parameters())
        variants[f"Serval {kind}"] = talking(DecoderSession(decoder, capacity))
        theirs = LlamaForCausalLM.from_pretrained(folder, dtype=getattr(torch, kind), local_files_only=True).eval()
        variants[f"transformers {kind}"] = talking(_Reference(theirs, DynamicCache()))
        held |= dict.fromkeys((f"Serval {kind}", f"transformers {kind}"), numbers * sizes[kind])
    int4 = Int4Decoder(gguf, load_decoder(folder))
    variants["Serval int4"] = talking(Int4Session(int4, capacity))
    held["llama.cpp Q4_1"] = float(gguf.stat().st_size)
    # The head has 34 bytes for 32 numbers in the file, and 20 in ours, where some columns stand twice.
    numbers = int4.vocabulary / 32
    held["Serval int4"] = held["llama.cpp Q4_1"] - numbers * (34 * int4.config.width - 20 * (int4.config.width + AGAIN))
    llama, missing = llama_cpp(capacity + 1, threads)
    if llama is not None:
        llama.eval(prompt)

        def rival() -> None:
            for _ in range(BURST):
                llama.eval([llama.sample(temp=0.0)])

        variants["llama.cpp Q4_1"] = rival
    taken = in_turns(variants, rounds, f"{threads} threads, after {before}")
    speed = _bandwidth()
    base = taken["Serval int4"].wall
    rows = []
    for name, each in taken.items():
        rate = BURST / statistics.median(each.wall)
        share = 100 * rate * held[name] / speed
        rows.append((name, rate, 1000 * statistics.median(each.cpu) / BURST, share, paired_ratio(each.wall, base)))
    return rows, taken, f"Memory is read at {speed / 1e9:.1f} GB/s here. {missing}".strip()


class _Reference:
    """transformers, token by token."""

    def __init__(self, model: Any, cache: Any) -> None:
        self._model, self._cache = model, cache

    def read(self, ids: list[int]) -> Any:
        import torch

        with torch.inference_mode():
            read = self._model(torch.tensor([ids]), past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cache = read.cache if hasattr(read, "cache") else read.past_key_values
        return read.logits[0, -1]


def _bandwidth() -> float:
    """Bytes a second of a sum over 512 MB, the best of several."""
    import torch

    much, best = torch.ones(128 << 20), 0.0
    for _ in range(5):
        began = time.perf_counter()
        much.sum()
        best = max(best, much.nbytes / (time.perf_counter() - began))
    return best
