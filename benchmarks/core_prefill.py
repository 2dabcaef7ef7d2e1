"""Reading a prompt: ours beside transformers and llama.cpp, by length."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.table import Result, Table, Target
from benchmarks.timing import in_turns, paired_ratio

NAME = "core_prefill"
ABOUT = "Reading a prompt, SmolLM2-135M, tokens a second"


def run(quick: bool) -> Result:
    import torch
    from transformers import LlamaForCausalLM

    from serval.language.int4 import Int4Decoder, Int4Session
    from serval.language.load import load_decoder
    from serval.weights import locate

    torch.set_num_threads(2)
    folder = locate("smollm2", "model.safetensors").parent
    decoder = load_decoder(folder)
    theirs = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    int4 = Int4Decoder(locate("smollm2", "model.gguf"), decoder)
    llama, missing = llama_cpp(4200, 2)
    rows: list[tuple[Any, ...]] = []
    data, ratio = {}, 0.0
    for length in (64, 256) if quick else (256, 1024, 4096):
        ids = torch.randint(100, 40_000, (1, length), generator=torch.Generator().manual_seed(0))

        def ours(ids=ids, length=length) -> torch.Tensor:
            with torch.inference_mode():
                return decoder(ids, decoder.new_cache(length), last=True)[0, 0]

        def reference(ids=ids) -> torch.Tensor:
            with torch.inference_mode():
                return theirs(ids, logits_to_keep=1, use_cache=True).logits[0, -1]

        def small(ids=ids, length=length) -> torch.Tensor:
            return Int4Session(int4, length).read(ids[0].tolist())

        variants: dict[str, Callable[[], Any]] = {
            "Serval float32": ours,
            "transformers float32": reference,
            "Serval int4": small,
        }
        alike = {name: float(torch.nn.functional.cosine_similarity(call(), ours(), dim=0)) for name, call in variants.items()}
        if llama is not None:

            def rival(ids=ids) -> None:
                llama.reset()
                llama.eval(ids[0].tolist())

            variants["llama.cpp Q4_1"] = rival
        taken = in_turns(variants, 1 if quick else (7 if length < 4096 else 3), f"{length} tokens")
        base = taken["Serval float32"].wall
        for name, each in taken.items():
            middle, slower = statistics.median(each.wall), paired_ratio(each.wall, base)
            rows.append((length, name, 1000 * middle, length / middle, slower, alike.get(name)))
        ratio = paired_ratio(taken["transformers float32"].wall, base)
        data[str(length)] = {name: each.wall for name, each in taken.items()}
    columns = ("tokens", "", "ms (median)", "tokens a second", "times Serval float32", "cosine")
    note = "Cosine of the last logits with Serval's float32." + (f" {missing}." if missing else "")
    return Result(
        tables=(Table("Reading", columns, tuple(rows), note=note),),
        method="Random tokens, two threads, an empty cache each time, only the last logits; all in turns, 7 rounds, 3 at the "
        "longest.",
        targets=(Target("transformers over Serval at the longest", ratio, 1.0, "x", at_least=True),),
        data=data,
    )


def llama_cpp(context: int, threads: int) -> tuple[Any, str]:
    """llama.cpp with the same GGUF file, or None and why."""
    try:
        from llama_cpp import Llama
    except ImportError:
        return None, "llama.cpp is not installed (make rivals)"
    from serval.weights import locate

    options: dict[str, Any] = {"n_ctx": context, "n_threads": threads, "n_threads_batch": threads, "verbose": False}
    # its repacked kernels crash on processors with AMX
    return Llama(str(locate("smollm2", "model.gguf")), use_extra_bufts=False, **options), ""
