"""A gate that learns when to speak, from streams that were watched and what was asked of them.

    python -m serval.data.gate_data gate_data.safetensors
    serval train gate data=gate_data.safetensors balance=focal seed=0
    serval train gate data=gate_data.safetensors world=latent

Silence is twenty times as frequent as speech, so how the two are weighed is an option. Every seventh stream is kept back: on
those the threshold is chosen, by how well the gate does when it runs by itself. The result is ``gate.safetensors``, which
``serval watch --gate learned:FILE`` takes. From latent streams the same network learns what no rule about change can do, but
nothing of what a watcher sees: no gate comes of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from serval.assistant.gates.gate import Score
from serval.assistant.gates.learned.gate import THRESHOLD
from serval.assistant.gates.learned.head import HIDDEN, Body, GateHead
from serval.assistant.gates.learned.reader import FIRED, FRAME, INSTRUCTION, RULE, SENTENCE
from serval.assistant.policy import Policy
from serval.conversation.sequence import IGNORED
from serval.refusal import Refusal
from serval.training.batches import Batch, Batches, shuffled
from serval.training.objectives.balance import PLAIN, SILENT, SPEAK, Balance
from serval.training.objectives.gate import Gate
from serval.training.recipe import Recipe
from serval.training.stage import Rate, Stage
from serval.weights.checkpoint import SafetensorsCheckpoint

log = logging.getLogger(__name__)

SPEAKING = 1.0  # seconds from when something is due in which it is right to speak
EARLY, LATE = 0.5, 1.0  # seconds before and after those that teach nothing
JITTER = 0.3  # standard deviation of the factor of each number in a lesson
FORGETS = 0.4  # share of lessons in which the sentence is not heard, only what the grammar understood of it
TOLERANCE = 2.0  # seconds either way, of the score that the threshold is chosen by
THRESHOLDS = tuple(round(0.05 * each, 2) for each in range(1, 20))
KEPT_BACK = 7  # every seventh stream
_AS_GOOD = 0.01  # of F1, within which thresholds are as good as the best: it is noisy

World = Literal["watched", "latent"]
Balancing = Literal["plain", "weighted", "focal", "class-balanced"]


@dataclass(frozen=True, eq=False)
class Item:
    """A stream with one thing asked of it.

    Attributes:
        times: (n,) seconds of its moments.
        frames: (n, width); `FRAME` numbers where somebody watched.
        instruction: (`INSTRUCTION`,).
        due: when to speak, in seconds.
    """

    times: Tensor
    frames: Tensor
    instruction: Tensor
    due: Tensor

    @property
    def targets(self) -> Tensor:
        """(n,) int64: `SPEAK` in the second after something is due, `IGNORED` about that, `SILENT` elsewhere."""
        since = self.times[:, None] - self.due[None]
        speak = ((since >= 0) & (since <= SPEAKING)).any(1)
        near = ((since >= -EARLY) & (since <= SPEAKING + LATE)).any(1)
        return torch.where(speak, SPEAK, torch.where(near, IGNORED, SILENT))


class Timed(Protocol):
    """Moments, and when to speak: what a threshold is chosen by."""

    @property
    def times(self) -> Tensor:
        """(n,) seconds."""

    @property
    def due(self) -> Tensor:
        """(any,) seconds."""


class Taught(nn.Module):
    """The gate's head, with a first layer of their own for streams that no encoder saw.

    Args:
        latent: numbers of a moment of such; 0 for streams that were watched.
    """

    def __init__(self, body: Body = "gru", dropout: float = 0.0, latent: int = 0) -> None:
        super().__init__()
        self.head = GateHead(body, dropout)
        self.latent = nn.Linear(latent, HIDDEN) if latent else None

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(batch, n) logits of speaking."""
        frames, instruction = batch["frames"].float(), batch["instruction"].float()
        if self.latent is not None:
            return self.head.decide(self.latent(frames), instruction, self.head.start(len(frames)))[0]
        if self.training:  # there are many ways to say a thing, and what the grammar understood should do without most
            keep = torch.rand(len(frames), 1, device=frames.device) >= FORGETS
            instruction = torch.cat([instruction[:, :SENTENCE] * keep, instruction[:, SENTENCE:]], -1)
            factor = 1 + JITTER * torch.randn_like(frames[:, :1])  # elsewhere things are of other sizes, and surer or less sure
            factor[..., FIRED] = 1
            frames = frames * factor
        return self.head(frames, instruction)[0]


def recipe(
    data: Path = Path("gate_data.safetensors"),
    world: World = "watched",
    balance: Balancing = "plain",
    body: Body = "gru",
    instruction: bool = True,
    rule: bool = True,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.05,
    dropout: float = 0.2,
    epochs: float = 24.0,
    batch: int = 16,
    seed: int = 0,
) -> Recipe:
    """A small network over what the watcher sees anyway.

    Args:
        world: streams that were "watched", or "latent" ones, for an experiment.
        balance: "plain"; "weighted" by inverse frequency; "focal" with gamma 2; "class-balanced" with beta 0.9999.
        body: "gru", or a "window" of the last 31 moments.
        instruction: without it the gate is told nothing of what was asked, to see what that is worth.
        rule: show it what the gate that needs no training finds.
    """
    file = SafetensorsCheckpoint(data)

    @cache
    def made() -> list[list[Item]]:
        return list(streams(file, world, instruction=instruction, rule=rule))

    @cache
    def taught() -> list[Item]:
        return [item for number, stream in enumerate(made()) if number % KEPT_BACK for item in stream]

    def model(device: torch.device) -> nn.Module:
        with device:
            return Taught(body, dropout, made()[0][0].frames.shape[-1] if world == "latent" else 0)

    def batches(stage: Stage) -> Batches:
        return shuffled(taught(), stage.batch, collate, seed=seed)

    def save(trained: nn.Module, folder: Path) -> None:
        assert isinstance(trained, Taught)
        kept = [item for stream in made()[::KEPT_BACK] for item in stream]
        threshold, f1 = best_threshold(scores(trained, kept), kept)
        log.info("threshold %.2f: F1 %.3f within %g s on streams kept back", threshold, f1, TOLERANCE)
        if world == "watched":
            write_gate(trained.head, threshold, folder / "gate.safetensors")

    learn = Stage(
        name="gate",
        trains={"*": Rate(learning_rate, weight_decay)},
        mixture="streams",
        objective=Gate(lambda model, batch: model(batch), balanced(balance, taught())),
        epochs=epochs,
        batch=batch,
        warmup=0.05,
    )
    return Recipe(model, [learn], {"streams": batches}, save, seed)


def streams(file: SafetensorsCheckpoint, world: World, *, instruction: bool = True, rule: bool = True) -> Iterator[list[Item]]:
    """The streams of a world, "watched" or "latent", each with all that is asked of it.

    Raises:
        Refusal: there are none, or their tensors do not belong together.
    """
    mine = [name.split(".") for name in file.names() if name.startswith(f"{world}.") and name.endswith(".times")]
    numbers = sorted(int(parts[1]) for parts in mine if len(parts) == 3 and parts[1].isdecimal())
    if not numbers:
        raise Refusal(file.name, f"there are no {world} streams in it", "make it with: python -m serval.data.gate_data FILE")
    names = ("times", "frames", "blank", "instructions", "due")
    for number in numbers:
        wrong = [name for name in names if f"{world}.{number}.{name}" not in file.names()]
        found = {name: file.tensor(f"{world}.{number}.{name}") for name in names if name not in wrong}
        if wrong or not _fit(found, world):
            raise Refusal(file.name, f"{world} stream {number} is not whole", "make it again")
        if not rule and world == "watched":
            found["frames"] = found["frames"].clone()  # the file's own memory is shared
            found["frames"][..., RULE] = 0
        made = []
        for frames, asked, due in zip(found["frames"], found["instructions"], found["due"], strict=True):
            told = asked if instruction else torch.zeros_like(asked)
            made.append(Item(found["times"], frames if instruction else found["blank"], told, due[due.isfinite()]))
        yield made


def collate(items: Sequence[Item]) -> Batch:
    """Padded on the right, where nothing is taught."""
    return {
        "frames": pad_sequence([item.frames for item in items], batch_first=True),
        "instruction": torch.stack([item.instruction for item in items]),
        "targets": pad_sequence([item.targets for item in items], batch_first=True, padding_value=IGNORED),
    }


def balanced(balance: Balancing, items: Sequence[Item]) -> Balance:
    """The weights for how often these are to speak."""
    speak = sum(int((item.targets == SPEAK).sum()) for item in items)
    silent = sum(int((item.targets == SILENT).sum()) for item in items)
    if balance == "weighted":
        share = (silent + speak) / 2
        return Balance((share / silent, share / speak))
    if balance == "focal":
        return Balance(gamma=2.0)
    return Balance.effective((silent, speak), beta=0.9999) if balance == "class-balanced" else PLAIN


@torch.inference_mode()
def scores(model: Taught, items: Sequence[Item]) -> list[Tensor]:
    """How likely each moment (n,) of each item is one to speak at."""
    made = []
    for item in items:
        batch = collate([item])
        assert isinstance(batch, Mapping)
        made.append(torch.sigmoid(model.eval()(batch)[0]))
    return made


def spoken(values: Tensor, times: Tensor, threshold: float) -> list[float]:
    """When a gate with these scores speaks, by the watcher's own policy."""
    policy, said = Policy(threshold), []
    state = policy.start()
    for value, time in zip(values.tolist(), times.tolist(), strict=True):
        state, decision = policy.step(state, Score(value), time)
        if decision.action == "wake":
            said.append(time)
    return said


def best_threshold(values: Sequence[Tensor], items: Sequence[Timed]) -> tuple[float, float]:
    """The middle one of those of `THRESHOLDS` that do about best by F1 over all items, each running by itself; and its F1."""

    def f1(threshold: float) -> float:
        hits = said = due = 0
        for each, item in zip(values, items, strict=True):
            spoke = spoken(each, item.times, threshold)
            hits += matched(spoke, item.due.tolist())
            said, due = said + len(spoke), due + len(item.due)
        return 2 * hits / max(said + due, 1)

    found = {threshold: f1(threshold) for threshold in THRESHOLDS}
    good = [threshold for threshold, score in found.items() if score >= max(found.values()) - _AS_GOOD]
    middle = good[len(good) // 2]
    return middle, found[middle]


def matched(said: Sequence[float], due: Sequence[float]) -> int:
    """How many of what was due was said within `TOLERANCE`, one to one; both in the order of time."""
    left, hits = list(said), 0
    for time in due:
        found = next((each for each in left if abs(each - time) <= TOLERANCE), None)
        if found is not None:
            left.remove(found)
            hits += 1
    return hits


def write_gate(head: GateHead, threshold: float, path: Path) -> None:
    """A file that `serval.assistant.gates.learned.gate.read_weights` takes."""
    tensors = {name: each.detach().cpu().contiguous() for name, each in head.state_dict().items()}
    save_file(tensors | {THRESHOLD: torch.tensor(threshold)}, path)


def _fit(found: Mapping[str, Tensor], world: World) -> bool:
    """Whether a stream's tensors have shapes that belong together."""
    tasks, moments = found["due"].shape[:1], found["times"].shape
    width = found["frames"].shape[-1:]
    return (
        len(moments) == 1
        and moments[0] > 0
        and found["frames"].shape == (*tasks, *moments, *width)
        and found["blank"].shape == (*moments, *width)
        and found["instructions"].shape == (*tasks, INSTRUCTION)
        and (world != "watched" or width == (FRAME,))
    )
