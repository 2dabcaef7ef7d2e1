"""The file that ``serval train gate`` learns from: streams watched once, and what a gate reads of them for all that is asked.

    python -m serval.data.gate_data gate_data.safetensors

It takes about fifteen seconds a stream. `latent` makes the same of `worlds.latent_streams`, where what matters cannot be seen
without the instruction and what came before.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from serval.assistant.gates import build
from serval.assistant.gates.learned.gate import reader_of
from serval.assistant.gates.learned.reader import INSTRUCTION, SENTENCE, Reader
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.instructions.understand import understand
from serval.assistant.meaning import embedder
from serval.assistant.perception import Perception
from serval.assistant.view import View
from serval.assistant.watcher import Looker
from serval.data.gate_streams import CHOOSING_PHRASES, PHRASES, Asked, Stream, asked, streams
from serval.data.worlds import latent_streams
from serval.encoders.labels import COCO
from serval.encoders.percept import Looks, Percept
from serval.media.frame import Frame
from serval.training.recipes.gate import KEPT_BACK

log = logging.getLogger(__name__)
LOOKS = Looks(detect=True, features=True, hands=True, text=True)
NOT_THERE = ("bicycle", "cat", "person", "dog")
"""Labels that are asked for in vain where they do not occur."""
WATCHED, LATENT = "watched", "latent"
LATENT_STREAMS = 3000


@dataclass(frozen=True)
class Task:
    """An instruction as it was understood, and what reads views for it."""

    asked: Asked
    understanding: Understanding
    reader: Reader


def views(frames: Iterable[Frame], eyes: Looker) -> Iterator[View]:
    """What a watch that asks for everything knows at each frame."""
    perception = Perception(LOOKS)
    for frame in frames:
        _, looks = perception.plan(frame.luma, frame.time)
        seen = eyes.look(frame, looks) if looks else Percept(frame.source, frame.index, frame.time, frame.luma)
        yield perception.update(seen)


def tasks_of(made: Sequence[Asked]) -> list[Task]:
    """Each thing asked, understood. What the grammar declines is left to the sentence alone."""
    return [_task(each) for each in made]


def read(seen: Sequence[View], reader: Reader) -> tuple[list[int], Tensor]:
    """Which views a reader reads, and (n, `FRAME`) numbers of them."""
    state, places, frames = reader.start(), [], []
    for place, view in enumerate(seen):
        if reader.due(state, view):
            state, frame = reader.read(state, view)
            places.append(place)
            frames.append(frame)
    return places, torch.from_numpy(np.stack(frames))


def tensors_of(seen: Sequence[View], tasks: Sequence[Task]) -> dict[str, Tensor]:
    """A stream as it is kept: ``times`` (n,), ``frames`` (tasks, n, `FRAME`), ``instructions`` (tasks,
    `INSTRUCTION`), ``due`` (tasks, most) seconds with NaN after the last, and ``blank`` (n, `FRAME`), the frames as
    somebody reads them who was asked nothing."""
    nothing_asked = Understanding(target=Target.NOTHING, gate="", read_back="")
    blank = Reader(nothing_asked, np.zeros(SENTENCE, np.float32), np.zeros(len(COCO), np.float32), None)
    places, nothing = read(seen, blank)
    frames = [read(seen, task.reader)[1] for task in tasks]
    return {
        "times": torch.tensor([seen[place].time for place in places]),
        "blank": nothing.half(),
        "frames": torch.stack(frames).half(),
        "instructions": torch.stack([torch.from_numpy(task.reader.instruction) for task in tasks]).half(),
        "due": _padded([task.asked.due for task in tasks]),
    }


def latent(seed: int, count: int) -> list[dict[str, Tensor]]:
    """Latent streams in the same form, one moment a second. Their numbers come from no encoder: a network that learns from
    them needs a first layer of its own."""
    embed = embedder()
    assert embed is not None
    meaning, made = cache(lambda text: embed([text])[0]), []  # many ask the same
    for stream in latent_streams.make(seed, count, queries=0):
        length = len(stream.tokens)
        sentence = np.zeros((1, INSTRUCTION), np.float32)
        sentence[0, :SENTENCE] = meaning(stream.instruction)
        frames = torch.from_numpy(stream.tokens.reshape(1, length, -1)).half()
        due = [float(said.frame) for said in stream.said]
        made.append(
            {
                "times": torch.arange(length, dtype=torch.float32),
                "frames": frames,
                "blank": frames[0].clone(),
                "instructions": torch.from_numpy(sentence).half(),
                "due": _padded([due]),
            }
        )
    return made


def write(path: Path, kept: dict[str, list[dict[str, Tensor]]]) -> None:
    """Streams by the world they are of, in one file: ``watched.3.frames`` …"""
    save_file(
        {f"{world}.{number}.{name}": tensor for world, each in kept.items() for number, found in enumerate(each)
         for name, tensor in found.items()},
        path,
    )  # fmt: skip


def watched(made: Sequence[Stream], eyes: Looker) -> Iterator[dict[str, Tensor]]:
    """Each stream, watched and read for all that may be asked of it; those that are kept back in wordings of their own."""
    for number, stream in enumerate(made):
        seen = list(views(stream.frames(), eyes))
        yield tensors_of(seen, tasks_of(asked_of(stream, number)))
        log.info("%d of %d: %s", number + 1, len(made), stream.name)


def asked_of(stream: Stream, number: int) -> list[Asked]:
    """What is asked of stream ``number``."""
    return asked(stream, phrases=PHRASES if number % KEPT_BACK else CHOOSING_PHRASES, absent=NOT_THERE)


def training_streams() -> list[Stream]:
    """Those that the shipped gate was taught with."""
    return streams("train", street=60, table=24, quiet=8, montage=10)


def main() -> None:
    from serval.encoders.eyes import Eyes

    about = "Make what serval train gate learns from."
    parser = argparse.ArgumentParser(prog="python -m serval.data.gate_data", description=about)
    parser.add_argument("out", type=Path)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = parser.parse_args().out
    write(out, {WATCHED: list(watched(training_streams(), Eyes.open(LOOKS))), LATENT: latent(0, LATENT_STREAMS)})


def _task(each: Asked) -> Task:
    understanding = understand(each.text)
    rule = None if understanding.target is Target.NOTHING else build(understanding.gate, understanding)
    return Task(each, understanding, reader_of(each.text, understanding, rule))


def _padded(due: Sequence[Sequence[float]]) -> Tensor:
    most = max(1, *map(len, due)) if due else 1
    return torch.tensor([[*each, *[float("nan")] * (most - len(each))] for each in due])


if __name__ == "__main__":
    main()
