"""What a person may ask of a watch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serval.assistant.instructions.instruction import Instruction
from serval.assistant.instructions.store import load, make_id
from serval.assistant.timeline.plain import one_line
from serval.refusal import Refusal
from serval.sources.feed import Pace

_LONGEST = 500  # characters of an instruction
DEFAULT_TELL = ("describe every new scene", "tell me when a person comes in")


@dataclass(frozen=True)
class WatchOptions:
    """What `serval watch` takes; see its help."""

    sources: tuple[str, ...]
    tell: tuple[str, ...] = ()
    instructions: Path | None = None
    answerer: str | None = None
    gate: str | None = None
    fps: float = 8.0
    pace: Pace | None = None  # real time for live sources, fast otherwise
    run: Path | None = None
    video: Path | None = None
    memory_mb: float = 256.0
    recording_mb: float = 2048.0
    threads: int = 1
    listen: bool = False  # to the sources' own sound, for questions
    taught: Path | None = None  # folder of what a person taught; their own when it exists
    timeline: str | None = None  # postgresql:// address; SQLite in the run folder otherwise


def check(options: WatchOptions) -> None:
    """Refuse numbers that cannot be, before anything is opened."""
    for name, value, low, high, why, usual in (
        ("--fps", options.fps, 1e-3, 60, "frames a second must be above 0 and at most 60", "8"),
        ("--threads", options.threads, 1, 64, "it must be 1 to 64", "1"),
        ("--memory-mb", options.memory_mb, 1, 1e6, "it must be 1 to 1000000", "256"),
        ("--recording-mb", options.recording_mb, 8, 1e8, "it must be 8 to 100000000", "2048"),
    ):
        if not low <= value <= high:  # also when it is no number at all
            raise Refusal(f"{name} {value:g}", why, f"leave it out for {usual}")


def asked_for(options: WatchOptions) -> tuple[list[Instruction], list[Instruction]]:
    """The instructions of the file, and those given one by one.

    Raises:
        Refusal: no such file, or one that cannot be used; an instruction that is empty or too long.
    """
    if options.instructions is not None and not options.instructions.exists():
        raise Refusal(str(options.instructions), "there is no such file", "make it with: serval instructions add")
    written, told = load(options.instructions) if options.instructions else [], list[Instruction]()
    words = options.tell or (DEFAULT_TELL if options.instructions is None else ())
    for text in map(one_line, words):
        if not 1 <= len(text) <= _LONGEST:
            raise Refusal(f"--tell “{text[:40]}”", f"an instruction has 1 to {_LONGEST} characters", "say it in fewer words")
        taken = {each.id for each in [*written, *told]}
        told.append(Instruction.model_validate({"id": make_id(text, taken), "text": text}))
    return written, told
