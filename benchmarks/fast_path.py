"""LION-FS's fast path on a small real decoder: decisions a second, what a wake and an hour of video cost, and training."""

from __future__ import annotations

import statistics

from benchmarks.table import Result, Table, Target
from benchmarks.timing import Samples, in_turns, paired_ratio, percentile

NAME = "fast_path"
ABOUT = "A decision at every frame: tokens that skip, a close look, memory"

FPS, BEFORE = 2, 60  # frames a second, and how many were seen before anything is timed
SINKS, RECENT = 14, 1024  # of the budget: tokens that are never forgotten, and the newest
TRAINED = 16  # frames of the stream that is trained on


def run(quick: bool) -> Result:
    import torch

    torch.set_num_threads(2)
    variants = {
        "all of 10": _model("router", 0.0),
        "5 of 10 skip": _model("router", 0.5),
        "20, none skips": _model("concat", 0.0),
    }
    rounds = 5 if quick else 60
    before = 12 if quick else BEFORE
    with torch.inference_mode():
        steps, lives = _steps(variants, before, rounds)
        wakes, positions = _wakes(lives["5 of 10 skip"], variants["5 of 10 skip"], 2 if quick else 9)
        held = {name: _bytes(live.cache) / live.seen for name, live in lives.items()}
        budget = _budget(variants["5 of 10 skip"], 40 if quick else 240, 64 if quick else RECENT)
    trained = {name: variants[name] for name in ("all of 10", "5 of 10 skip")}
    lessons, tokens = _lessons(trained, 8 if quick else TRAINED, 1 if quick else 3)

    middle = {name: statistics.median(each.wall) for name, each in steps.items()}
    quicker = paired_ratio(steps["all of 10"].wall, steps["5 of 10 skip"].wall)
    smaller = 100 * (1 - held["5 of 10 skip"] / held["all of 10"])
    decisions = Table(
        "Decisions",
        ("tokens of a frame", "decisions/s", "median, ms", "p95, ms", f"real time at {FPS} frames/s", "cache, MB per hour"),
        tuple(
            (
                name,
                1 / middle[name],
                1000 * middle[name],
                1000 * percentile(each.wall, 95),
                1 / middle[name] / FPS,
                held[name] * 3600 * FPS / 1e6,
            )
            for name, each in steps.items()
        ),
        note=f"Frames {before} to {before + rounds} of a stream. Skipping is {quicker:.2f} times as quick, and its cache "
        f"{smaller:.0f} % smaller.",
    )
    plain, close = (1000 * statistics.median(wakes[name].wall) for name in ("plain", "close look"))
    wake = Table(
        "A wake",
        ("to the first word", "positions read", "median, ms"),
        (("plain", positions["plain"], plain), ("close look", positions["close look"], close)),
        note=f"The close look costs {close - plain:.0f} ms more, as much as "
        f"{(close - plain) / 1000 / middle['5 of 10 skip']:.1f} frames.",
    )
    allowed = _allowed(variants["5 of 10 skip"], 64 if quick else RECENT) / 1e6
    memory = Table(
        "Memory under a budget",
        ("frames seen", "cache at the most, MB", "median, ms"),
        budget,
        note=f"The first {SINKS} tokens of each layer stay, and the newest {64 if quick else RECENT}.",
    )
    speeds = {name: tokens / statistics.median(each.wall) for name, each in lessons.items()}
    faster = paired_ratio(lessons["all of 10"].wall, lessons["5 of 10 skip"].wall)
    training = Table(
        "Training",
        ("tokens of a frame", "tokens/s"),
        tuple(speeds.items()),
        note=f"One stream of {tokens} tokens, forward and backward. Skipping is {faster:.2f} times as quick.",
    )
    return Result(
        tables=(decisions, wake, memory, training),
        method="SmolLM2-135M in float32, two threads, with connectors and routers of random numbers on features of 1,024 and "
        "768 random numbers; 10 tokens and a separator a frame, layers 0, 2, 4 … skip. Towers are not counted. In turns, frame "
        "by frame.",
        targets=(
            Target("decisions a second, half skips", 1 / middle["5 of 10 skip"], 2.0 * FPS, "", at_least=True),
            Target("decisions, half over none skips", quicker, 1.0, "x", at_least=True),
            Target("cache smaller by", smaller, 20.0, "%", at_least=True),
            Target("cache under a budget, most over what the budget allows", float(budget[-1][1]) / allowed, 1.0, "x"),
            Target("training, half over none skips", faster, 1.0, "x", at_least=True),
        ),
        data={"decisions": _wall(steps), "wakes": _wall(wakes), "training": _wall(lessons)},
    )


def _wall(samples: dict[str, Samples]) -> dict[str, list[float]]:
    return {name: each.wall for name, each in samples.items()}


def _model(mixing: str, share: float):
    from serval.connectors.stream_layout import StreamLayout
    from serval.systems.assistants.lion_fs import SYSTEM, Config, Eyes

    layout = StreamLayout(opening=(198, 75), separator=(28,), closing=(3834,), user=(11126, 42), assistant=(17989, 42), end=2)
    eyes = (Eyes(tower=1024), Eyes(tower=768, summary="prefix"))
    return SYSTEM.new(Config(language="smollm2", layout=layout, eyes=eyes, mixing=mixing, share=share, rank=0)).eval()


def _seen(frames: int, seed: int = 0):
    """Features of both towers."""
    import torch

    random = torch.Generator().manual_seed(seed)
    return [torch.randn(frames, 10, width, generator=random) for width in (1024, 768)]


def _steps(variants, before: int, rounds: int):
    """Seconds of each decision, and the streams."""
    from serval.language.live_stream import LiveStream

    lives = {name: LiveStream(model.fast, 10**6) for name, model in variants.items()}
    features = _seen(before + rounds + 2)
    for name, live in lives.items():
        for frame in variants[name].frames([each[:before] for each in features]):
            live.see(frame)

    def step(name: str):
        def seen() -> None:
            number = lives[name].seen
            (frame,) = variants[name].frames([each[number : number + 1] for each in features])
            lives[name].see(frame)

        return seen

    return in_turns({name: step(name) for name in variants}, rounds, "decisions"), lives


def _wakes(live, model, rounds: int):
    """Seconds to the first word, and how many positions are read for it."""
    import torch

    from serval.language.live_stream import LiveStream, Wake
    from serval.media.box import Box

    boxes = [Box(0.1, 0.1, 0.3, 0.4), Box(0.6, 0.2, 0.8, 0.5), Box(0.3, 0.3, 0.5, 0.5)]
    features = torch.randn(24, 24, 1024, generator=torch.Generator().manual_seed(1))

    def encode(text: str, before: str) -> list[int]:
        return [100 + len(word) for word in text.split()]

    slow = model.slow(lambda number: (features, boxes), encode)
    frame = live._wake.tokens
    made = {}
    for name, prepare in (("plain", None), ("close look", slow)):
        its = LiveStream(model.fast, live.cache.fork(), limit=1, prepare=prepare)
        its.see(frame)
        made[name] = its
    layout = model.layout
    shown = sum(len(each.ids) if hasattr(each, "ids") else len(each.features) for each in slow(Wake(0, frame)))
    positions = {"plain": len(layout.closing + layout.assistant), "close look": shown}
    return in_turns({name: its.think for name, its in made.items()}, rounds, "wakes"), positions


def _bytes(cache) -> int:
    """Of all that is held."""
    sides = zip(cache.stores, cache.shapes, strict=True)
    return sum(2 * store.held * heads * size * cache.dtype.itemsize for store, (heads, size) in sides)


def _allowed(model, recent: int) -> int:
    """Bytes that the budget lets all layers hold."""
    cache = model.decoder.new_cache(1)
    return sum(2 * (recent + SINKS) * heads * size * cache.dtype.itemsize for heads, size in cache.shapes)


def _budget(model, frames: int, recent: int):
    """Frames seen, the most MB in the cache and milliseconds of a decision, of four quarters."""
    import time

    from serval.language.eviction import Recent
    from serval.language.live_stream import LiveStream

    live = LiveStream(model.fast, model.decoder.new_cache(recent + SINKS + 64, eviction=Recent(recent, sinks=SINKS)))
    rows, taken, held = [], [], []
    for number, frame in enumerate(model.frames(_seen(frames, 2)), 1):
        began = time.perf_counter()
        live.see(frame)
        taken.append(time.perf_counter() - began)
        held.append(_bytes(live.cache) / 1e6)
        if number % (frames // 4) == 0:
            rows.append((number, max(held), 1000 * statistics.median(taken)))
            taken, held = [], []
    return tuple(rows)


def _lessons(variants, frames: int, rounds: int):
    """Seconds of a step of training without its optimizer, and the tokens of it."""
    import torch

    from serval.systems.assistants.lion_fs import stages
    from serval.training.stream_sample import StreamSample, Words, as_streams

    decisions = torch.zeros(frames, dtype=torch.int64)
    decisions[frames // 2] = 1
    words = Words(frames // 2, "assistant", (504, 1234, 308, 2))
    sample = StreamSample(tuple(_seen(frames, 3)), decisions, (words,), FPS)

    def lesson(model):
        (stage,) = stages(model.config)
        model.requires_grad_(True)

        def learn() -> None:
            model.zero_grad()
            loss = stage.objective(model, {"streams": [sample]})
            (loss.total / loss.weight).backward()

        return learn

    tokens = as_streams(next(iter(variants.values())), [sample]).length
    return in_turns({name: lesson(model) for name, model in variants.items()}, rounds, "training"), tokens
