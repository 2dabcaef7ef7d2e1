"""The gate that was taught when to speak."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from serval.assistant.gates.gate import Gate, Score
from serval.assistant.gates.learned.head import Body, GateHead
from serval.assistant.gates.learned.reader import Reader, Reading, Vector, relevance_of
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.meaning import embedder
from serval.assistant.view import Change, View
from serval.encoders.labels import COCO
from serval.refusal import Refusal
from serval.weights.checkpoint import SafetensorsCheckpoint, differences, refuse_differences

WEIGHTS: Final = Path(__file__).with_name("gate.safetensors")
THRESHOLD: Final = "threshold"  # a tensor of one number beside the weights: chosen where they were taught
TAUGHT: Final = frozenset({Target.OBJECTS, Target.TEXT, Target.SCENE, Target.EVERYTHING})
_RECENT = 2.0  # seconds for which a change may be what is spoken of
_MOST = 16


@dataclass(frozen=True)
class Heard:
    """All that the gate remembers of a source: of fixed size."""

    reading: Reading
    body: tuple[Tensor, ...]
    value: float = 0.0
    recent: tuple[Change, ...] = field(default=(), compare=False)


class LearnedGate:
    """A level: how likely it is that now is the moment to speak. Between two readings it stays as it was.

    Args:
        head: without dropout, on whatever device.
        reader: of the instruction.
        threshold: of the level, for the policy.
    """

    name = "learned"

    def __init__(self, head: GateHead, reader: Reader, threshold: float) -> None:
        self._head, self._reader, self.threshold = head.eval(), reader, threshold
        self._instruction = torch.from_numpy(reader.instruction)[None].to(head.speak.weight)

    def start(self) -> Heard:
        return Heard(self._reader.start(), self._head.start())

    def step(self, state: Heard, view: View) -> tuple[Heard, Score]:
        if self._reader.due(state.reading, view):
            reading, frame = self._reader.read(state.reading, view)
            with torch.inference_mode():
                logit, body = self._head(self._tensor(frame), self._instruction, state.body)
            value = round(float(torch.sigmoid(logit[0, 0].float())), 4)
            recent = [each for each in state.recent if view.time - each.time <= _RECENT]
            state = Heard(reading, body, value, (*recent, *self._reader.fitting.changes(view))[-_MOST:])
        why = f"speaking now fits what was asked by {state.value:.2f}"
        return state, Score(state.value, why, state.recent, standby=0.5 * self.threshold <= state.value < self.threshold)

    def _tensor(self, values: Vector) -> Tensor:
        return torch.from_numpy(values)[None, None].to(self._instruction)


def read_weights(path: Path) -> tuple[GateHead, float]:
    """The network and the threshold in a file; whether it has a memory or a window shows in its tensors.

    Raises:
        Refusal: not a safetensors file, other tensors or shapes than a gate's, numbers that are none, a threshold out of range.
    """
    file = SafetensorsCheckpoint(path)
    found = {name: file.shape(name) for name in file.names()}
    body: Body = "window" if any(name.startswith("body.layers") for name in found) else "gru"
    with torch.device("meta"):
        head = GateHead(body)
    wanted = {name: tuple(each.shape) for name, each in head.state_dict().items()} | {THRESHOLD: ()}
    refuse_differences(file.name, differences(wanted, found), "give a file that serval train gate has written")
    tensors = {name: file.tensor(name).float() for name in wanted}
    threshold = float(tensors.pop(THRESHOLD))
    if not (0 < threshold < 1 and all(bool(each.isfinite().all()) for each in tensors.values())):
        raise Refusal(file.name, "its numbers are not those of a gate", "train it again")
    head.load_state_dict(tensors, assign=True)
    return head.requires_grad_(False), threshold


def open_gate(text: str, asked: Understanding, rule: Gate | None, path: Path = WEIGHTS) -> LearnedGate:
    """The gate for an instruction.

    Args:
        text: the instruction's own words.
        rule: the gate that the understanding names.

    Raises:
        Refusal: the encoder of sentences is missing, the instruction is of a kind that was not taught, or as `read_weights`.
    """
    if asked.target not in TAUGHT or asked.count_op:
        what = "counts" if asked.count_op else asked.target
        raise Refusal("gate learned", f"it was not taught instructions about {what}", "leave out the gate for this one")
    head, threshold = _weights(path)
    return LearnedGate(head, reader_of(text, asked, rule), threshold)


def reader_of(text: str, asked: Understanding, rule: Gate | None) -> Reader:
    """What reads views for an instruction. Raises `Refusal` where the encoder of sentences is missing."""
    sentence, names = _meaning(text)
    return Reader(asked, sentence, relevance_of(sentence, names), rule)


@cache
def _weights(path: Path) -> tuple[GateHead, float]:
    return read_weights(path)


@cache
def _embed() -> Any:
    embed = embedder()
    if embed is None:
        raise Refusal("gate learned", "it needs the text embedding, and that is off", "run: serval weights fetch minilm")
    return embed, np.asarray(embed(COCO), np.float32)


def _meaning(text: str) -> tuple[Vector, Vector]:
    embed, names = _embed()
    return np.asarray(embed([text])[0], np.float32), names
