"""Whether Serval speaks when something happens in the scripted worlds, against polling with the same answerer."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from rich.progress import Progress

from benchmarks.table import Result, Table, Target

NAME = "triggers"
ABOUT = "Speaking at the right moment: the scripted worlds"

RIVALS = ("poll:1", "poll:5", "poll:30", "every:40")
FPS, QUIET_FPS = 8.0, 4.0
STREET = {
    "appears": "tell me when something comes in",
    "leaves": "tell me when something leaves",
    "text": "tell me when the sign is visible",
}
TABLE = {"put": "tell me when someone puts something on the table", "taken": "tell me when something is taken"}
SEEDS = range(300, 306)  # never looked at while the watcher was made; it was tuned on 0 to 4 and 200 to 203
METHOD = (
    "Photographic cut-outs and a real hand are moved over real backgrounds by a seeded script that knows what happens when "
    "(serval/data/worlds). Every gate sees the same pictures, one after the other, at {fps:g} a second, and all have the same "
    "small encoders, facts and answerer. A polling gate asks the answerer at fixed intervals (every:40 is every fifth second "
    "here) and speaks when it finds more or fewer of what is asked for than at its last poll, or text that was not there. An "
    "utterance counts when it comes within the tolerance of something that its instruction asks for; a second one for the "
    "same thing is a duplicate, any other is false. Seconds of the answerer are its calls times the median second it takes "
    "on these very requests. The seeds were not used while the watcher was made."
)


@dataclass
class Tally:
    answers: int = 0
    said: int = 0
    faithful: int = 0
    seconds: float = 0.0
    scores: dict[tuple[str, float], Any] = field(default_factory=dict)


def run(quick: bool) -> Result:
    from serval.assistant.answers.answer import Request
    from serval.assistant.answers.rewrite import RewriteAnswerer
    from serval.assistant.answers.template import TemplateAnswerer
    from serval.data.worlds.scripts import WORLDS
    from serval.encoders.eyes import Eyes
    from serval.encoders.percept import Looks
    from serval.evaluation.streaming import TriggerScore, poisson_rate
    from serval.refusal import Refusal

    eyes = Eyes.open(Looks(detect=True, features=True, hands=True, text=True))
    template = TemplateAnswerer()
    seeds = SEEDS[:1] if quick else SEEDS
    quiet = [("nothing", seed, STREET | TABLE, (None,), QUIET_FPS) for seed in range(300, 301 if quick else 340)]
    busy = [
        (kind, seed, asked, (None, *RIVALS), FPS) for kind, asked in (("street", STREET), ("table", TABLE)) for seed in seeds
    ]
    tallies: dict[str, Tally] = defaultdict(Tally)
    silence = Tally()
    requests: list[Request] = []
    with Progress(transient=True) as bars:
        task = bars.add_task("worlds", total=len(busy) + len(quiet))
        for kind, seed, asked, gates, fps in [*busy, *quiet]:
            world = WORLDS[kind](seed)
            runs = _watched(world, asked, gates, fps, eyes, template)
            for gate, found in runs.items():
                tally = silence if kind == "nothing" else tallies[gate]
                tally.answers += found.answers
                tally.said += len(found.said)
                tally.faithful += found.faithful
                tally.seconds += found.seconds
                if kind != "nothing":
                    _score(tally, world, asked, found)
                if gate == "serval":
                    requests += [Request(facts=e.facts, time=e.t_end, source=e.source) for e in found.said]
            bars.advance(task)
    seconds_each = {"template": _seconds_each(template, requests), "smollm2": None}
    try:
        seconds_each["smollm2"] = _seconds_each(RewriteAnswerer.open("smollm2"), requests[: 5 if quick else 40])
    except Refusal:  # the part is missing; the counts stand without it
        seconds_each["smollm2"] = None
    each = seconds_each["smollm2"] or seconds_each["template"] or 0.0

    rows = []
    for gate in ("serval", *RIVALS):
        tally = tallies[gate]
        hours = tally.seconds / 3600
        near, wide = (_all(tally, tolerance, TriggerScore()) for tolerance in (1.0, 2.0))
        rows.append(
            (
                gate,
                round(tally.answers / hours),
                round(tally.answers / hours * each, 1),
                round(near.precision, 2),
                round(near.recall, 2),
                round(near.f1, 2),
                round(wide.precision, 2),
                round(wide.recall, 2),
                round(wide.f1, 2),
                round(wide.median_delay, 2),
                wide.duplicates,
                wide.false,
                f"{tally.faithful} of {tally.said}",
            )
        )
    columns = (
        "gate", "answers / h", "answerer s / h", "P ±1 s", "R ±1 s", "F1 ±1 s", "P ±2 s", "R ±2 s", "F1 ±2 s", "delay s",
        "duplicates", "false", "faithful",
    )  # fmt: skip
    hours = tallies["serval"].seconds / 3600
    main = Table(
        "Gates over the same pictures", columns, tuple(rows), note=f"{hours:.2f} hours of video in which much happens."
    )
    own = tallies["serval"]
    kinds = tuple(
        (asked, score.hits, score.missed, score.duplicates, score.false, round(score.f1, 2), round(score.median_delay, 2))
        for name, asked in (STREET | TABLE).items()
        if (score := own.scores.get((name, 2.0))) is not None
    )
    by_kind = Table(
        "Serval by instruction, ±2 s", ("instruction", "hits", "missed", "duplicates", "false", "F1", "delay s"), kinds
    )
    rate, low, high = poisson_rate(silence.said, silence.seconds / 3600)
    nothing = Table(
        "Hours of nothing",
        ("hours", "instructions", "false alarms", "an hour", "95 % interval", "answers / h"),
        (
            (
                round(silence.seconds / 3600, 2),
                len(STREET | TABLE),
                silence.said,
                round(rate, 2),
                f"{low:.2f} to {high:.2f}",
                round(silence.answers / (silence.seconds / 3600), 1),
            ),
        ),
        note="Sensor noise, slow and quick changes of light, a trembling camera, things that stood there all along.",
    )
    polling = tallies["poll:1"]
    fewer = polling.answers / max(own.answers, 1)
    targets = (
        Target("answerer seconds: 1 s polling over Serval", round(fewer, 1), 10.0, "x", at_least=True),
        Target("false alarms an hour of nothing", round(rate, 2), 2.0, "an hour"),
        Target(
            "recall ±2 s over that of 1 s polling",
            round(_all(own, 2.0, TriggerScore()).recall / max(_all(polling, 2.0, TriggerScore()).recall, 1e-9), 2),
            1.0,
            "x",
            at_least=True,
        ),
    )
    return Result((main, by_kind, nothing), METHOD.format(fps=FPS), targets, data={"seconds an answer": seconds_each})


def _watched(world: Any, asked: dict[str, str], gates: tuple[str | None, ...], fps: float, eyes: Any, answerer: Any) -> Any:
    from serval.assistant.assembly import Understood
    from serval.assistant.instructions.instruction import Instruction
    from serval.assistant.instructions.understand import understand
    from serval.evaluation.lockstep import run_gates

    standing = [
        Understood(Instruction.model_validate({"id": name, "text": text}), understand(text)) for name, text in asked.items()
    ]
    if cannot := [each.understanding.cannot for each in standing if each.understanding.cannot]:
        raise RuntimeError(f"an instruction of the benchmark is not understood: {cannot[0]}")
    return run_gates(world.frames(fps), standing, gates, eyes=eyes, answerer=answerer)


def _score(tally: Tally, world: Any, asked: dict[str, str], found: Any) -> None:
    from serval.evaluation.streaming import Moment, TriggerScore, score_triggers

    for name in asked:
        happened = [Moment(each.time) for each in world.truth if each.kind == name]
        for tolerance in (1.0, 2.0):
            score = score_triggers(happened, found.moments(name), tolerance=tolerance, seconds=found.seconds)
            tally.scores[name, tolerance] = tally.scores.get((name, tolerance), TriggerScore()) + score


def _all(tally: Tally, tolerance: float, start: Any) -> Any:
    return sum((score for (_, each), score in tally.scores.items() if each == tolerance), start)


def _seconds_each(answerer: Any, requests: list[Any]) -> float | None:
    taken = []
    for request in requests:
        began = time.perf_counter()
        answerer.answer(request)
        taken.append(time.perf_counter() - began)
    return round(statistics.median(taken), 4) if taken else None
