"""Time to the first word after frames: a session that has read them, beside reading the last N again."""

from __future__ import annotations

import statistics

from benchmarks.table import Result, Table, Target
from benchmarks.timing import in_turns, paired_ratio

NAME = "core_frame_session"
ABOUT = "Time to the first token of a question about frames"

TOKENS, QUESTION = 64, 16  # of a frame, and of a question


def run(quick: bool) -> Result:
    import torch
    from transformers import LlamaForCausalLM

    from serval.conversation.segments import MediaSegment, TextSegment, from_segments
    from serval.conversation.sequence import Modality
    from serval.language.load import load_decoder
    from serval.weights import locate

    torch.set_num_threads(2)
    folder = locate("smollm2", "model.safetensors").parent
    decoder = load_decoder(folder, dtype=torch.float32)
    theirs = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    random = torch.Generator().manual_seed(0)
    width, most = decoder.config.width, 16 if quick else 64
    frames = torch.randn(most, TOKENS, width, generator=random) * 0.05
    ids = torch.randint(100, 40_000, (QUESTION,), generator=random)

    def sequence(count: int):
        segments = [MediaSegment(frame, Modality.VIDEO, number) for number, frame in enumerate(frames[:count])]
        return from_segments([*segments, TextSegment(ids.tolist())], decoder.embed)

    rows, data = [], {}
    ratio = 0.0
    for count in (4, 16) if quick else (4, 16, 64):
        with torch.inference_mode():
            whole = sequence(count)
            held = decoder.new_cache((most + 2) * TOKENS + QUESTION)
            decoder(whole.slice(0, count * TOKENS), held, last=True)
            question = whole.slice(count * TOKENS)
            ours, other = decoder(question, held.fork(), last=True)[0, 0], theirs(inputs_embeds=whole.embeds).logits[0, -1]
            alike = float(torch.nn.functional.cosine_similarity(ours.float(), other.float(), dim=0))

            def asked(held=held, question=question) -> None:
                decoder(question, held.fork(), last=True)

            def appended(held=held, whole=whole, question=question) -> None:
                """A new frame, then the question: what a session costs each time."""
                fork = held.fork()
                decoder(whole.slice(0, TOKENS), fork, last=True)
                decoder(question, fork, last=True)

            def again(whole=whole) -> None:
                theirs(inputs_embeds=whole.embeds, logits_to_keep=1)

            variants = {"asked": asked, "frame and asked": appended, "read again": again}
            taken = in_turns(variants, 2 if quick else 7, f"{count} frames")
        middle = {name: 1000 * statistics.median(each.wall) for name, each in taken.items()}
        ratio = paired_ratio(taken["read again"].wall, taken["frame and asked"].wall)
        rows.append((count, middle["asked"], middle["frame and asked"], middle["read again"], ratio, alike))
        data[str(count)] = {name: each.wall for name, each in taken.items()}
    columns = (
        "frames before",
        "question, ms",
        "new frame and question, ms",
        "transformers reads all again, ms",
        "times",
        "cosine",
    )
    return Result(
        tables=(Table("Milliseconds to the first token", columns, tuple(rows), note="Medians; cosine of both logits."),),
        method=f"SmolLM2-135M in float32, two threads; frames of {TOKENS} random embeddings, a question of {QUESTION} tokens. "
        "Ours keeps what it has read and asks in a fork, whose making is counted; transformers reads all frames again (SDPA, "
        "only the last logits). In turns, 7 rounds.",
        targets=(Target("transformers over Serval, most frames", ratio, 1.0, "x", at_least=True),),
        data=data,
    )
