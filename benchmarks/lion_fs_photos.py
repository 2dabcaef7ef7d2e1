"""LION-FS's whole recipe on the photo world: when it speaks on held-out scenes, and what each of its parts is worth there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gates import NEAR, WIDE
from benchmarks.table import Cell, Result, Table, Target
from benchmarks.timing import steps

NAME = "lion_fs_photos"
ABOUT = "LION-FS taught on the photo world, and its ablations"

RUNS = Path("runs/lion_fs_photos")  # the data and every trained system; what is there is not made again
STEPS = 400
ARMS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "whole": ((), (0, 1)),
    "nothing skips": (("share=0",), (0,)),
    "static weights": (("mixing=static",), (0,)),
    "general eyes only": (("blind=ego",), (0,)),
    "places only": (("blind=general",), (0,)),
}
EVERY = 3  # of the held-out streams: all of them would take three times as long
ALONE = 2  # streams of these in which nobody tells it: it then often speaks at every frame, five times as long
WORDS = 6  # tokens of what it says at the most


def run(quick: bool) -> Result:
    import torch

    from serval.data.photo_streams import KEPT_BACK, read

    torch.set_num_threads(1)  # its matrices are small
    data = prepared(quick)
    kept, held = read(data)[::KEPT_BACK], read(tested(quick))[::EVERY]
    rows, took, models = [], [], {}
    wanted = [(arm, seed) for arm, (_, seeds) in ARMS.items() for seed in seeds]
    for arm, seed in steps(wanted[:1] if quick else wanted, "systems"):
        folder, seconds = taught(arm, seed, data, quick)
        models[arm, seed] = folder
        took.append(seconds)
        rows.append((arm, seed, *scores(folder, arm, kept, held)))
    columns = (
        "arm", "seed", "LM-PPL", "TimeDiff, s", "Fluency, %", "Correctness, %", "F1 ±2 s, kept back",
        "F1 ±2 s", "P", "R", "F1 ±1 s", "false / min",
    )  # fmt: skip
    frames = sum(map(len, held))
    scenes = Table(
        "Held-out scenes",
        columns,
        tuple(rows),
        note=f"{len(held)} streams of {frames / 2 / 60:.0f} minutes, {sum(len(each.requests) for each in held)} requests; "
        "what is due is told it in time, whatever it said; F1 is of wakes through the watcher's policy.",
    )
    whole = models["whole", 0]
    by_itself = Table(
        "Held-out scenes, by itself",
        ("arm", "seed", "F1 ±2 s", "P", "R", "F1 ±1 s", "false / min", "spoke at, % of frames"),
        (("whole", 0, *alone(whole, held[:ALONE])),),
        note=f"{ALONE} of these streams, as the gate of a watch: nobody tells it what it missed. How the gates that need no "
        "training and the learned gate do on such scenes is in [learned_gate.md](learned_gate.md).",
    )
    slow = close_look(whole, kept, quick)
    return Result(
        tables=(scenes, by_itself, slow),
        method="The recipe is `serval train lion-fs-photos`: 0.58 million numbers, new; what each frame shows is what the "
        "watcher's encoders saw. Training scenes and held-out ones share no cut-out, no place and no wording. "
        f"{STEPS} steps of 4 lessons of up to 52 s. Everything asked is counted, also what a rule cannot know.",
        targets=(
            Target(
                "F1 ±2 s on held-out scenes, over the gates that need no training (learned_gate)",
                by_itself.rows[0][2],
                0.77,
                "",
                True,
            ),
            Target("decisions that a close look changes", float(slow.rows[-1][-1]), 0.0, ""),
        ),
        data={"seconds of training": took},
    )


def prepared(quick: bool) -> Path:
    """The streams to learn from. Twenty-five minutes of one core."""
    from serval.data import photo_streams
    from serval.data.gate_data import training_streams

    path = RUNS / ("quick.safetensors" if quick else "streams.safetensors")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = training_streams()[:2] if quick else training_streams()
        photo_streams.write(path, list(photo_streams.watched(made)))
    return path


def tested(quick: bool) -> Path:
    """Held-out scenes, asked in wordings that were not taught: those of the benchmark of the learned gate."""
    from serval.data import photo_streams
    from serval.data.gate_streams import OTHER_PHRASES, streams

    path = RUNS / ("quick-tests.safetensors" if quick else "tests.safetensors")
    if not path.exists():
        made = streams("test", street=1 if quick else 16, quiet=0 if quick else 5, seconds=60.0)
        photo_streams.write(path, list(photo_streams.watched(made, lambda number: OTHER_PHRASES)))
    return path


def taught(arm: str, seed: int, data: Path, quick: bool) -> tuple[Path, float]:
    """The folder of an arm, and how long its training took; 0 where it was there."""
    from rich.console import Console

    from serval.training.run import RunRequest, run_recipe

    folder = RUNS / f"{'quick-' * quick}{arm.replace(' ', '-')}-{seed}"
    began = time.monotonic()
    if not (folder / "system.json").exists():
        options = (f"data={data}", f"seed={seed}", f"steps={2 if quick else STEPS}", *ARMS[arm][0])
        run_recipe(RunRequest("lion-fs-photos", options, folder, resume=folder.exists()), Console(quiet=True))
        return folder, time.monotonic() - began
    return folder, 0.0


def opened(folder: Path) -> tuple[Any, Any]:
    from serval.conversation.tokenizer import Tokenizer
    from serval.systems.saved import load_system

    return load_system(folder), Tokenizer(folder / "tokenizer.json")


def scores(folder: Path, arm: str, kept: Sequence[Any], held: Sequence[Any]) -> tuple[Cell, ...]:
    """With the truth told behind each frame at which something was due."""
    from serval.arena.streaming import told
    from serval.systems.assistants.lion_fs_photos import END, chances, dimmed
    from serval.training.recipes.gate import spoken

    blind = next((option.removeprefix("blind=") for option in ARMS[arm][0] if option.startswith("blind=")), "nobody")
    model, tokenizer = opened(folder)

    def speaks(stream: Any, request: Any) -> list[float]:
        values = chances(model, dimmed(stream, blind).sample(request, tokenizer.encode, END))
        return spoken(values, stream.times, 1 - model.config.threshold)

    samples = [
        dimmed(stream, blind).sample(request, tokenizer.encode, END)
        for stream in held
        for request in stream.requests
        if request.said
    ]
    given = told(model, samples, threshold=model.config.threshold)
    chosen, found = counted(kept, speaks), counted(held, speaks)
    return (
        *(round(given[name], 2) for name in ("LM-PPL", "TimeDiff", "Fluency", "Correctness")),
        round(chosen["F1"], 2),
        *(round(found[name], 2) for name in ("F1", "P", "R", "near")),
        round(found["false"], 3),
    )


def alone(folder: Path, held: Sequence[Any]) -> tuple[Cell, ...]:
    """As a gate: with its own words behind it, right or wrong."""
    model, tokenizer = opened(folder)
    spoke = list[float]()

    def speaks(stream: Any, request: Any) -> list[float]:
        said, share = wakes(model, tokenizer, stream, request)
        spoke.append(share)
        return said

    found = counted(held, speaks)
    figures = (*(round(found[name], 2) for name in ("F1", "P", "R", "near")), round(found["false"], 3))
    return (*figures, round(100 * float(np.mean(spoke)), 1))


def counted(streams: Sequence[Any], speaks: Callable[[Any, Any], list[float]]) -> Mapping[str, float]:
    """Wakes against what is due, of all streams and requests."""
    from serval.evaluation.streaming import Moment, TriggerScore, score_triggers

    near, wide = TriggerScore(), TriggerScore()
    for stream in streams:
        for request in stream.requests:
            said = [Moment(when) for when in speaks(stream, request)]
            due = [Moment(when) for when, _ in request.said]
            seconds = float(stream.times[-1])
            near += score_triggers(due, said, tolerance=NEAR, seconds=seconds)
            wide += score_triggers(due, said, tolerance=WIDE, seconds=seconds)

    def f1(score: Any) -> float:
        total = 2 * score.hits + score.missed + score.duplicates + score.false
        return 2 * score.hits / total if total else 1.0

    spoken = wide.hits + wide.duplicates + wide.false
    return {
        "F1": f1(wide),
        "near": f1(near),
        "P": wide.hits / spoken if spoken else 0.0,
        "R": wide.hits / max(wide.hits + wide.missed, 1),
        "false": 60 * wide.false / wide.seconds,
    }


def wakes(model: Any, tokenizer: Any, stream: Any, request: Any) -> tuple[list[float], float]:
    """When it wakes, alone, through the watcher's policy and with the memory of its gate; and at which share of the frames it
    spoke to itself."""
    from serval.assistant.gates.gate import Score
    from serval.assistant.policy import Policy
    from serval.language.eviction import Recent
    from serval.language.live_stream import LiveStream
    from serval.systems.assistants.lion_fs_photos import END
    from serval.systems.gate import RECENT, SINKS

    sample = stream.sample(request, tokenizer.encode, END)
    cache = model.decoder.new_cache(SINKS + RECENT + 64, eviction=Recent(RECENT, sinks=SINKS), positions="renumber")
    live, policy, said = LiveStream(model.fast, cache, limit=WORDS), Policy(1 - model.config.threshold), list[float]()
    spoke = 0
    state = policy.start()
    for number, frame in enumerate(model.frames(sample.features)):
        when = float(stream.times[number])
        decision = live.see(frame, when)
        if number == 0:
            live.told("user", sample.words[0].ids, when)
            continue
        if bool(decision.speak):
            live.say()
            spoke += 1
        state, chosen = policy.step(state, Score(float(decision.p_speak)), when)
        if chosen.action == "wake":
            said.append(when)
    return said, spoke / len(stream)


def close_look(folder: Path, kept: Sequence[Any], quick: bool) -> Table:
    """What is said where something is due, as the frame was read and after a close look; the truth is told behind it."""
    import torch

    from serval.arena.lion_fs import LOOKS
    from serval.data.gate_data import training_streams
    from serval.data.photo_streams import KEPT_BACK
    from serval.encoders.lite0_tower import Lite0Tower
    from serval.language.live_stream import LiveStream
    from serval.systems.assistants.lion_fs_photos import END

    model, tokenizer = opened(folder)
    tower = Lite0Tower.open()
    right = {look: list[bool]() for look in LOOKS}
    changed, decided = 0, 0
    rendered = training_streams()[: 2 if quick else None][::KEPT_BACK]
    for source, stream in steps(list(zip(rendered, kept, strict=False))[: 1 if quick else 3], "close looks"):
        pictures = {round(frame.time * 8): frame for frame in source.frames() if round(frame.time * 8) % 4 == 0}
        for request in (each for each in stream.requests if each.said):
            sample = stream.sample(request, tokenizer.encode, END)
            words = {each.frame: each.ids for each in sample.words}
            chances: dict[str, list[float]] = {}
            for look in LOOKS:
                prepare = None
                if look != "fast only":
                    prepare = model.slow(
                        closer(tower, pictures, stream, look == "grid and boxes"),
                        lambda text, before: tokenizer.encode(text, before),
                    )
                live, p_speak = LiveStream(model.fast, 3000, limit=WORDS, prepare=prepare), list[float]()
                with torch.inference_mode():
                    for number, frame in enumerate(model.frames(sample.features)):
                        p_speak.append(float(live.see(frame, float(stream.times[number])).p_speak))
                        if number == 0:
                            live.told("user", words[0])
                        elif number in words:
                            said = live.think()
                            right[look].append(said == list(words[number][:-1]))
                            live.told("assistant", words[number])
                chances[look] = p_speak
            changed += sum(a != b for look in LOOKS[1:] for a, b in zip(chances["fast only"], chances[look], strict=True))
            decided += len(stream)
    rows = [
        (
            look,
            100 * float(np.mean(right[look] or [0.0])),
            changed if number else 0,
        )
        for number, look in enumerate(LOOKS)
    ]
    return Table(
        "A close look",
        ("words", "right, %", "decisions changed"),
        tuple(rows),
        note=f"{len(right['fast only'])} wakes of {decided:,} decisions, on streams kept back: new words need things that were "
        "taught. Boxes are of what moves: there are no hands in the street.",
    )


def closer(tower: Any, pictures: Mapping[int, Any], stream: Any, boxes: bool) -> Any:
    """From a frame's number to the general eyes' whole map of it, and the boxes to look at."""
    from serval.assistant.view_tokens import SPREAD
    from serval.connectors.grid_reducer import average_pool

    def look(number: int) -> Any:
        seen = tower.encode(tower.prepare([pictures[round(float(stream.times[number]) * 8)].rgb])).map[0]
        seen = average_pool(seen, (6, 6))  # seven by seven have no quarters
        return seen * (SPREAD / float(seen.mean((0, 1)).norm().clamp_min(1e-6))), moved(stream, number) if boxes else ()

    return look


def moved(stream: Any, number: int) -> list[Any]:
    """The cell of the grid in which most moved, as a box."""
    from serval.assistant.view_tokens import BOXES, CHANGE

    return [BOXES[1 + int(stream.places[number, 1:, CHANGE].float().argmax())]]
