"""Gates that watch the same streams, each by itself, and what of what they said was right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.timing import steps

NEAR, WIDE = 1.0, 2.0  # seconds of tolerance


class EachOnce:
    """Eyes that use each encoder once on each frame, whoever asks."""

    def __init__(self, eyes: Any) -> None:
        self._eyes, self.models = eyes, eyes.models
        self.seen: dict[tuple[str, int], dict[str, Any]] = {}

    def look(self, frame: Any, looks: Any) -> Any:
        from dataclasses import replace

        from serval.encoders.percept import Looks, Percept

        fields = {"detect": ("detections",), "features": ("feature", "tags"), "hands": ("hands",), "text": ("text",)}
        known = self.seen.setdefault((frame.source, frame.index), {})
        wanted = [name for name in fields if getattr(looks, name)]
        if missing := [name for name in wanted if any(each not in known for each in fields[name])]:
            found = self._eyes.look(frame, Looks(**dict.fromkeys(missing, True)))
            known |= {each: getattr(found, each) for name in missing for each in fields[name]}
        blank = Percept(frame.source, frame.index, frame.time, frame.luma, frame.sha256, frame.width, frame.height)
        return replace(blank, **{each: known[each] for name in wanted for each in fields[name]})


@dataclass
class Tally:
    """One gate over many streams, an entry for each stream."""

    runs: list[Any] = field(default_factory=list)
    kinds: dict[str, list[Any]] = field(default_factory=dict)  # by what is asked
    answers: int = 0
    instruction_minutes: float = 0.0

    def counts(self, tolerance: float) -> Any:
        """(streams, 4): hits, missed, duplicates, false."""
        from serval.evaluation.streaming import score_triggers

        found = [score_triggers(run.happened, run.said, tolerance=tolerance, seconds=run.seconds) for run in self.runs]
        return np.array([(each.hits, each.missed, each.duplicates, each.false) for each in found])


def watch(
    streams: Sequence[tuple[Any, Sequence[tuple[str, str, tuple[float, ...]]]]],
    gates: Sequence[str | None],
    eyes: Any,
    about: str = "",
) -> dict[str, Tally]:
    """Each stream with its instructions (words, kind, when due) under every gate, from the first picture to the last."""
    from serval.assistant.answers.template import TemplateAnswerer
    from serval.assistant.assembly import Understood
    from serval.assistant.instructions.instruction import Instruction
    from serval.assistant.instructions.understand import understand
    from serval.evaluation.free_running import FreeRun
    from serval.evaluation.lockstep import run_gates
    from serval.evaluation.streaming import Moment

    tallies = {gate or "serval": Tally() for gate in gates}
    for stream, asks in steps(streams, about) if about else streams:
        standing = [
            Understood(Instruction(id=f"i{number}", text=text), understand(text)) for number, (text, _, _) in enumerate(asks)
        ]
        frames = 0

        def counted(frames_: Iterable[Any]) -> Iterable[Any]:
            nonlocal frames
            for frame in frames_:
                frames += 1
                yield frame

        runs = run_gates(counted(stream.frames()), standing, gates, eyes=eyes, answerer=TemplateAnswerer())
        for gate, found in runs.items():
            tally = tallies[gate]
            happened = [[Moment(time, f"i{number}") for time in due] for number, (_, _, due) in enumerate(asks)]
            said = [[Moment(each.time, f"i{number}") for each in found.moments(f"i{number}")] for number in range(len(asks))]
            words = sum(len(event.text.split()) for event in found.said)
            tally.runs.append(FreeRun(_flat(happened), _flat(said), found.seconds, frames * len(asks), words))
            for number, (_, kind, _) in enumerate(asks):
                one = FreeRun(tuple(happened[number]), tuple(said[number]), found.seconds, frames)
                tally.kinds.setdefault(kind, []).append(one)
            tally.answers += found.answers
            tally.instruction_minutes += found.seconds * len(asks) / 60
    return tallies


def merge(into: Tally, other: Tally) -> None:
    into.runs += other.runs
    for kind, runs in other.kinds.items():
        into.kinds.setdefault(kind, []).extend(runs)
    into.answers += other.answers
    into.instruction_minutes += other.instruction_minutes


def f1(counts: Any) -> float:
    """Of counts (streams, 4)."""
    hits, missed, duplicates, false = counts.sum(0)
    total = 2 * hits + missed + duplicates + false
    return float(2 * hits / total) if total else 1.0


def gain(tallies: dict[str, Tally], learned: Sequence[str]) -> Any:
    """By how much the taught gates' F1, the mean over their seeds, is above that of the instructions' own gates."""
    from serval.evaluation.bootstrap import bootstrap

    own, taught = tallies["serval"].counts(WIDE), [tallies[each].counts(WIDE) for each in learned]
    return bootstrap(
        len(own), lambda drawn: float(np.mean([f1(each[drawn]) for each in taught])) - f1(own[drawn]), seed=0, rounds=2000
    )


def _flat(moments: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple(each for some in moments for each in some)
