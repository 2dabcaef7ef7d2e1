"""A step of LoRA training on a small model: ours beside transformers with PEFT, with equal losses."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.table import Result, Table, Target

NAME = "core_training_step"
ABOUT = "A step of LoRA training, 135M, 512 tokens"

LENGTH, RANK, RATE = 512, 16, 1e-3


def run(quick: bool) -> Result:
    import torch

    torch.set_num_threads(2)
    steps = 2 if quick else 8
    made = {"Serval": _ours(), "transformers and PEFT": _theirs()}
    _same_start(made)
    losses: dict[str, list[float]] = {name: [] for name in made}
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for step in range(steps):
        ids = torch.randint(100, 40_000, (1, LENGTH), generator=torch.Generator().manual_seed(step % 4))
        for name in list(made)[:: 1 if step % 2 else -1]:
            began = time.perf_counter()
            losses[name].append(made[name].step(ids))
            seconds[name].append(time.perf_counter() - began)
    ours, theirs = losses.values()
    apart = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
    ratios = [b / a for a, b in zip(seconds["Serval"][1:], seconds["transformers and PEFT"][1:], strict=True)]
    rows = tuple(
        (name, 1 / statistics.median(taken[1:]), losses[name][0], losses[name][-1], _peak(name) if not quick else None)
        for name, taken in seconds.items()
    )
    return Result(
        tables=(
            Table(
                "Steps",
                ("", "steps a second", "first loss", "last loss", "peak memory, MB"),
                rows,
                note=f"The losses of a step are at most {100 * apart:.2f} % apart over {steps} steps.",
            ),
        ),
        method=f"SmolLM2-135M frozen in bfloat16, LoRA of rank {RANK} in float32 on all linear maps, {LENGTH} tokens, AdamW at "
        f"{RATE:g}, fp32 cross-entropy, two threads. Both start from the same branches and take steps in turns. Memory is the "
        "peak of a process of its own that takes two steps.",
        targets=(
            Target("steps a second, Serval over transformers and PEFT", statistics.median(ratios), 1.0, "x", at_least=True),
            Target("losses apart", 100 * apart, 1.0, "%"),
        ),
        data={"losses": losses, "seconds": seconds},
    )


class _Run:
    """A model with adapters, and how it takes a step."""

    def __init__(self, model, logits) -> None:
        import torch

        self.model, self._logits = model, logits
        self.learned = [each for each in model.parameters() if each.requires_grad]
        self._optimizer = torch.optim.AdamW(self.learned, lr=RATE)

    def step(self, ids) -> float:
        import torch

        logits = self._logits(ids)
        loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:])
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.item()


def _ours() -> _Run:
    import torch

    from serval.adapters.peft_format import add_adapters
    from serval.language.load import load_decoder
    from serval.weights import locate

    decoder = load_decoder(locate("smollm2", "model.safetensors").parent, dtype=torch.bfloat16)
    add_adapters(decoder, rank=RANK, dtype=torch.float32)
    return _Run(decoder, decoder)


def _theirs() -> _Run:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    from serval.weights import locate

    folder = locate("smollm2", "model.safetensors").parent
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True)
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))
    return _Run(model, lambda ids: model(input_ids=ids).logits)


def _same_start(made: dict[str, _Run]) -> None:
    """Ours gets the branches that PEFT drew."""
    import torch

    from serval.adapters.typed_linear import TypedLinear

    theirs = dict(made["transformers and PEFT"].model.named_parameters())
    with torch.no_grad():
        for name, module in made["Serval"].model.named_modules():
            if isinstance(module, TypedLinear):
                module.down.copy_(theirs[f"base_model.model.model.{name}.lora_A.default.weight"])


def _peak(name: str) -> int:
    """MB at the most of a process that takes two steps."""
    made = "_ours" if name == "Serval" else "_theirs"
    code = (
        "import torch; from benchmarks.timing import peak_memory\n"
        f"torch.set_num_threads(2); from benchmarks import core_training_step as b; run = b.{made}()\n"
        f"for _ in range(2): run.step(torch.randint(100, 40000, (1, {LENGTH})))\n"
        "print(round(peak_memory()))"
    )
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
