"""LION-FS on the photo world: the whole recipe at a small size, from what a watcher's own encoders see.

    python -m serval.data.photo_streams photo_streams.safetensors
    serval train lion-fs-photos --out runs/photos
    serval watch video.mp4 --tell "tell me when a dog comes in" --gate system:runs/photos

The general eyes are Lite0's feature of the whole frame, in all ten places. In place of the egocentric ones stands what
perception knows of each place, in clips of two frames: things by group, hands, new text, motion, and how all that differs
from the frame before. The decoder is new and reads a tokenizer of its own.
Every seventh stream is kept back, and asked in other words: on those the threshold is chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from serval.assistant.view_tokens import CLIP, SCENE
from serval.conversation.new_tokenizer import new_tokenizer
from serval.conversation.tokenizer import Tokenizer
from serval.data.photo_streams import KEPT_BACK, WatchedStream, read
from serval.systems.assistants.lion_fs import SYSTEM, Config, Eyes, LionFS, Mixing, stages
from serval.systems.assistants.videollm_online import TINY_LAYOUT
from serval.systems.backbones import tiny_language
from serval.systems.saved import save_system
from serval.training.batches import Batches, Numbered
from serval.training.objectives.balance import Balance
from serval.training.objectives.streaming import frame_ends
from serval.training.randomness import mixed
from serval.training.recipe import Recipe
from serval.training.recipes.gate import TOLERANCE, best_threshold
from serval.training.stage import Stage
from serval.training.stream_sample import StreamSample, as_streams

log = logging.getLogger(__name__)

SPECIAL = tuple(f"<|{name}|>" for name in ("end", "opening", "stream", "silence", "closing", "user", "assistant", "spare"))
"""The tokens of `TINY_LAYOUT`, by their ids."""
END = 0
FRAMES = 104  # of a lesson at the most: nearly all streams are shorter, so that it learns to count as far as it will have to
QUIET = 2  # of requests to which nothing is ever due, every second is a lesson
WIDTH, LAYERS, VOCABULARY = 96, 4, 512

Blind = Literal["nobody", "general", "ego"]


def config(mixing: Mixing = "router", share: float = 0.5) -> Config:
    """Sizes of this model."""
    language = tiny_language(
        VOCABULARY, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=LAYERS, initializer_range=WIDTH**-0.5
    )
    eyes = (Eyes(tower=SCENE), Eyes(tower=CLIP, summary="prefix"))
    return Config(language=language, layout=TINY_LAYOUT, eyes=eyes, mixing=mixing, share=share, rank=0)


def recipe(
    data: Path = Path("photo_streams.safetensors"),
    mixing: Mixing = "router",
    share: float = 0.5,
    blind: Blind = "nobody",
    steps: int = 1000,
    batch: int = 4,
    learning_rate: float = 5e-3,
    speaking: float = 8.0,
    seed: int = 0,
) -> Recipe:
    """The fast path on streams of the photo world; the slow path needs no training.

    Args:
        mixing: how what both eyes see becomes one set of tokens: "router", "static", "add", "concat".
        share: of a frame's tokens, how many skip every second layer; 0 for none.
        blind: "general" or "ego": these eyes see nothing, to see what they are worth.
        speaking: what a frame to speak at weighs; one to stay silent at weighs 1, and there are a hundred times as many.
    """
    made = config(mixing, share)
    known = cache(lambda: Known.of([dimmed(each, blind) for each in read(data)]))

    def model(device: torch.device) -> nn.Module:
        return SYSTEM.new(made, seed=seed, device=device)

    def batches(stage: Stage) -> Batches:
        return lessons(known(), stage.batch, seed)

    def save(model: nn.Module, folder: Path) -> None:
        assert isinstance(model, LionFS)
        model.config = model.config.model_copy(update={"threshold": 1 - threshold_of(model, known())})
        save_system(model, folder, "lion-fs")
        (folder / "tokenizer.json").write_text(known().written, "utf-8")

    balance = Balance((1.0, speaking))
    learn = stages(made, learning_rate=learning_rate, steps=steps, batch=batch, balance=balance)
    return Recipe(model, learn, {"streams": batches}, save, seed)


class Known(NamedTuple):
    """Streams to learn from, those that are kept back, and the tokenizer of what is asked and said in the former."""

    taught: list[WatchedStream]
    kept_back: list[WatchedStream]
    written: str
    tokenizer: Tokenizer

    @classmethod
    def of(cls, streams: Sequence[WatchedStream]) -> Known:
        taught = [each for number, each in enumerate(streams) if number % KEPT_BACK]
        texts = [text for each in taught for asked in each.requests for text in (asked.text, *(said for _, said in asked.said))]
        written = new_tokenizer(texts, SPECIAL, VOCABULARY)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            path.write_text(written, "utf-8")
            return cls(taught, list(streams[::KEPT_BACK]), written, Tokenizer(path))


def lessons(known: Known, batch: int, seed: int) -> Numbered:
    """Requests in an order that is drawn anew for every epoch; of long streams another stretch each time."""
    asked = [(stream, request) for stream in known.taught for request in stream.requests]
    pairs = [each for number, each in enumerate(asked) if each[1].said or number % QUIET]

    @cache
    def order(epoch: int) -> list[int]:
        return torch.randperm(len(pairs), generator=torch.Generator().manual_seed(mixed(seed, epoch))).tolist()

    def lesson(number: int) -> StreamSample:
        epoch, within = divmod(number, len(pairs))
        stream, request = pairs[order(epoch)[within]]
        random = torch.Generator().manual_seed(mixed(seed, number, 1))
        start = int(torch.randint(max(len(stream) - FRAMES, 0) + 1, (), generator=random))
        return stream.sample(request, known.tokenizer.encode, END, slice(start, start + FRAMES))

    return Numbered(lambda number: {"streams": [lesson(number * batch + each) for each in range(batch)]})


class Due(NamedTuple):
    """What a threshold is chosen by."""

    times: Tensor
    due: Tensor


def threshold_of(model: LionFS, known: Known) -> float:
    """The chance of speaking from which it does best on the streams that are kept back, having been told in time."""
    values, items = [], []
    for stream in known.kept_back:
        for request in stream.requests:
            values.append(chances(model, stream.sample(request, known.tokenizer.encode, END)))
            items.append(Due(stream.times, torch.tensor([due for due, _ in request.said])))
    threshold, f1 = best_threshold(values, items)
    log.info("threshold %.2f: F1 %.3f within %g s on streams kept back", threshold, f1, TOLERANCE)
    return threshold


@torch.inference_mode()
def chances(model: LionFS, sample: StreamSample) -> Tensor:
    """(frames,) how likely it is to speak at each; nobody has asked at the first."""
    states, sequence = model.eval().read(as_streams(model, [sample]))
    logits = model.logits(states[0, frame_ends(sequence)[0]]).float()
    found = 1 - logits.softmax(-1)[:, model.layout.silence]
    found[0] = 0.0
    return found


def dimmed(stream: WatchedStream, blind: Blind) -> WatchedStream:
    """The stream for somebody whose eyes of one kind see nothing."""
    scene = torch.zeros_like(stream.scene) if blind == "general" else stream.scene
    places = torch.zeros_like(stream.places) if blind == "ego" else stream.places
    return WatchedStream(stream.times, scene, places, stream.requests)
