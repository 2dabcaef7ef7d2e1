"""VITA: Towards Open-Source Interactive Omni Multimodal LLM (Fu et al. 2024, arXiv:2408.05211).

New in it: it hears all the time without a wake word. The first thing that it says to whatever it hears is a state token, never
spoken: a question in sound, something that was not meant for it, or a question in text. And it can be interrupted, for while
one lane speaks, another judges what comes in.

    picture ─ tiles of 448 ─ ViT ─ 2·2 patches in depth ─ MLP ──┐
    sound ─── log-mel ─ convolutions, 24 layers ─ adapter ──────┼─ prompt user: [picture][sound | words] bot: ── Mixtral
    words ────────────────────── embeddings ────────────────────┘                                                  │
                                        <1> answer …  speak   ◀─────────────────────────────────────────────────── ┤
                                        <2>           silence, and forget that anything was heard   ◀───────────── ┤
                                        <3> answer …  speak, to what was typed   ◀──────────────────────────────── ┘

Where this departs from the paper or its code, and why:

- Lanes share the weights, and a lane begins as a fork of the other's cache: prompt and history are read once, not once in each
  of two workers, and who interrupts is answered by a model that knows what it was just saying.
- The state is complete before anything is spoken. The release looks at the newest chunk alone, and speaks to noise where a
  chunk is empty or parts the token.
- The turn to judge goes on with the word alone (`assistant.listening.duplex`).
- Features are not halved before patches go in depth. Samples without sound or pictures do not pass through towers as zeros.
- InternViT's shape is that of the encoders' nearest family, DINOv2's: layer scale, pre-norm, a class token that is left out.
- The adapter's kernel, norm and activation are not published: five, a layer norm, GELU. Nor are statistics of the log-mel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import torch
from torch import Tensor, nn

from serval.connectors.grid_reducer import space_to_depth
from serval.connectors.projector import Projector
from serval.connectors.strided_projector import StridedProjector
from serval.conversation.segments import MediaSegment, TextSegment, from_segments
from serval.conversation.sequence import Modality, MultimodalSequence, pad_batch
from serval.encoders.features import Batch as Prepared
from serval.encoders.picture_input import Picture
from serval.encoders.sound import Sound
from serval.encoders.speech_tower import HOP, RATE, SpeechTower
from serval.encoders.vision_tower import VisionTower
from serval.language.decoder import Decoder
from serval.language.generation.batch import generate_batch
from serval.language.generation.request import Request, Step
from serval.language.generation.session import DecoderBatch
from serval.language.vision_language.pictures import Stretched
from serval.systems.backbones import SHAPES, Backbone, open_eyes, open_language, tiny_language
from serval.systems.recipe import system_recipe
from serval.systems.system import System, SystemConfig
from serval.training.batches import Batch, Batches, shuffled_as
from serval.training.objectives.next_token import NextToken
from serval.training.recipe import Recipe
from serval.training.stage import Rate, Stage

Segments = list[TextSegment | MediaSegment]


class State(IntEnum):
    """What a turn of the user was, told by the first token of the answer."""

    QUESTION = 1
    NOT_FOR_ME = 2
    TYPED = 3


class Layout(SystemConfig):
    """Token ids of a turn: ``prompt user [pictures newline] [sound | words] close bot state answer end``.

    Attributes:
        prompts: for pictures, for videos, and without either.
        states: of `State`, in order. Where a vocabulary spells them, a state has several ids, and all states equally many.
    """

    prompts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    user: tuple[int, ...]
    newline: tuple[int, ...]
    close: tuple[int, ...]
    bot: tuple[int, ...]
    states: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    end: int

    def state(self, ids: Sequence[int]) -> State | None:
        """What an answer that begins so says of its turn; None if it says nothing of it, or not yet."""
        return next((state for state in State if tuple(ids[: len(self.states[0])]) == self.states[state - 1]), None)


class Ears(SystemConfig):
    """The speech tower's sizes, and its adapter's."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    hidden: int = 4096
    mels: int = 80
    dropout: float = 0.1
    adapter: int = 2048
    kernel: int = 5


class Config(SystemConfig):
    """
    Attributes:
        eyes: a backbone, or the width of maps that are made elsewhere.
        ears: the tower and its adapter; or how many codes sound is made of where they come from elsewhere, a token each.
        budget: tiles of a picture at the most; with more than one it is also seen whole.
        merged: patches of so many by so many become one token.
    """

    language: Backbone
    layout: Layout
    eyes: Backbone | int
    ears: Ears | int = Ears()
    budget: int = 12
    merged: int = 2


@dataclass(frozen=True, eq=False)
class Ask:
    """What comes to the assistant, and for training what it is to make of it.

    Attributes:
        words: typed.
        sound: (frames, mels) log-mel, `VITA.prepare`; (n,) int64 where it comes as codes.
        seen: (tiles, rows, columns, width of the eyes), of a picture's tiles, or of a video's frames in order.
        reply: ids with the state and the end.
    """

    words: tuple[int, ...] = ()
    sound: Tensor | None = None
    seen: Tensor | None = None
    reply: tuple[int, ...] = ()


class VITA(nn.Module):
    """Towers, what makes tokens of theirs, and a decoder that says first what a turn was."""

    def __init__(self, config: Config, decoder: Decoder, eyes: VisionTower | None) -> None:
        super().__init__()
        ears, width = config.ears, decoder.config.width
        seen = eyes.width if eyes is not None else config.eyes
        assert isinstance(seen, int)
        self.config, self.layout, self.decoder, self.eyes = config, config.layout, decoder, eyes
        self.projector = Projector(seen * config.merged**2, width)
        if isinstance(ears, Ears):
            self.ears: SpeechTower | nn.Embedding = SpeechTower(**ears.model_dump(exclude={"adapter", "kernel"}))
            self.adapter = StridedProjector(ears.width, ears.adapter, width, kernel=ears.kernel)
        else:
            self.ears = nn.Embedding(ears, width)

    # -- what it reads ----------------------------------------------------------------------------------------------------

    def prepare(self, sound: Sound) -> Tensor:
        """(frames, mels) for `Ask.sound`.

        Raises `Refusal` for a sound of less than 85 ms, ``ValueError`` where sound comes as codes.
        """
        if not isinstance(self.ears, SpeechTower):
            raise ValueError("This model has no ears of its own.")
        return self.ears.prepare([sound]).values[0]

    def look(self, picture: Picture) -> Tensor:
        """A picture (height, width, 3) uint8 RGB for `Ask.seen`: its tiles, and the whole behind them if there are several.

        Raises ``ValueError`` where the eyes are elsewhere.
        """
        if self.eyes is None:
            raise ValueError("This model has no eyes of its own.")
        size = self.eyes.config.image_size
        tokens = (size // self.eyes.config.patch_size // self.config.merged) ** 2
        tiles = Stretched(self.eyes.preparation, size, tokens, self.config.budget)
        with torch.no_grad():
            return self.eyes.encode(Prepared(tiles.pixels([picture], tiles.plan(*picture.shape[:2])))).map

    def see(self, seen: Tensor) -> Tensor:
        """`Ask.seen` to (tokens, width of the decoder): 256 for a tile of 32 by 32 patches."""
        tokens: Tensor = self.projector(space_to_depth(seen.to(self.decoder.device, self.decoder.dtype), self.config.merged))
        return tokens.flatten(0, -2)

    def hear(self, sounds: Sequence[Tensor]) -> list[Tensor]:
        """Log-mel (frames, mels) each to (tokens, width of the decoder) each: `sound_tokens` of its frames.

        Raises `Refusal` for fewer than seven frames.
        """
        if not sounds:
            return []
        if not isinstance(self.ears, SpeechTower):
            return [self.ears(each.to(self.decoder.device)) for each in sounds]
        seconds = torch.tensor([len(each) * HOP / RATE for each in sounds], dtype=torch.float64)
        heard = self.ears.encode(Prepared(nn.utils.rnn.pad_sequence(list(sounds), batch_first=True), seconds))
        tokens, valid = self.adapter(heard.tokens, heard.valid)
        return [one[its] for one, its in zip(tokens, valid, strict=True)]

    def segments(self, ask: Ask, heard: Tensor | None) -> Segments:
        """A turn up to the bot's words, and these, which are learned."""
        layout, made = self.layout, Segments([TextSegment(self.layout.user)])
        if ask.seen is not None:
            made += [MediaSegment(self.see(ask.seen), Modality.IMAGE, 0), TextSegment(layout.newline)]
        if heard is not None:
            made.append(MediaSegment(heard, Modality.AUDIO, int(ask.seen is not None)))
        made += [TextSegment((*ask.words, *layout.close, *layout.bot)), TextSegment(ask.reply, learn=True)]
        return made

    def sequences(self, asks: Sequence[Ask]) -> MultimodalSequence:
        """Each as the first turn of a conversation, one under another, padded on the right."""
        heard = iter(self.hear([each.sound for each in asks if each.sound is not None]))
        rows = []
        for ask in asks:
            prompt = self.layout.prompts[2 if ask.seen is None else min(1, len(ask.seen) - 1) if ask.sound is None else 0]
            turn = self.segments(ask, None if ask.sound is None else next(heard))
            rows.append(from_segments([TextSegment(prompt), *turn], self.decoder.embed, device=self.decoder.device))
        return pad_batch(rows)

    def read(self, sequence: MultimodalSequence) -> tuple[Tensor, MultimodalSequence]:
        return self.decoder.read(sequence)

    def logits(self, states: Tensor) -> Tensor:
        return self.decoder.logits(states)

    # -- what it says -----------------------------------------------------------------------------------------------------

    def answers(self, asks: Sequence[Ask], most: int = 32) -> list[list[int]]:
        """What it says to each, the likeliest token every time, with the state and without the end.

        What turns out not to be for it gets the state alone: no further token is made.
        """
        said: list[list[int]] = [[] for _ in asks]
        with torch.inference_mode():
            sequence = self.sequences([Ask(each.words, each.sound, each.seen) for each in asks])
            ends = sequence.valid.sum(1) - 1
            before = torch.arange(sequence.length, device=ends.device) < ends[:, None]
            session = DecoderBatch(self.decoder, len(asks))
            session.read(sequence.select(before))
        requests = [Request([self.layout.bot[-1]], most, (self.layout.end,)) for _ in asks]

        def refused(row: int) -> bool:
            return self.layout.state(said[row]) is State.NOT_FOR_ME

        for step in generate_batch(session, requests, cancelled=refused):
            if isinstance(step, Step):
                said[step.row].append(step.token)
        return said


def as_turns(model: VITA, batch: Batch) -> MultimodalSequence:
    """``batch["asks"]`` for `NextToken`."""
    assert isinstance(batch, Mapping)
    return model.sequences(batch["asks"])


def sound_tokens(frames: int) -> int:
    """Tokens that the decoder reads of so many frames of 10 ms: 12.5 a second. Raises ``ValueError`` where there is none."""
    count = len(range(frames)[2::2][2::2][::2])
    if not count:
        raise ValueError(f"{frames} frames of sound give no token; 7 do.")
    return count


def build(config: Config, device: torch.device, dtype: torch.dtype) -> VITA:
    decoder = open_language(config.language, device, dtype)
    eyes = None if isinstance(config.eyes, int) else open_eyes(config.eyes, device, dtype)
    used = {"language": decoder.config.source} | ({"eyes": eyes.model.config.to_dict()} if eyes else {})
    return VITA(config.model_copy(update=used), decoder, eyes).to(device=device, dtype=dtype)


TINY_LAYOUT = Layout(
    prompts=((7, 8), (7, 9), (7,)), user=(1,), newline=(10,), close=(), bot=(2,), states=((3,), (4,), (5,)), end=0
)
_INTERN_VIT = {
    "model_type": "dinov2",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 448,
    "patch_size": 14,
}
_SPELLED = Layout(
    prompts=((1,), (1,), (1,)),
    user=(2188, 28747),
    newline=(13,),
    close=(13,),
    bot=(10471, 28747),
    states=((51757,), (51758,), (51759,)),
    end=2,
)

SYSTEM = System(
    name="VITA",
    paper="VITA: Towards Open-Source Interactive Omni Multimodal LLM, 2024, arXiv:2408.05211",
    idea="The first token of every answer tells a question from what was not meant for it, so no wake word is needed.",
    config=Config,
    build=build,
    sizes={
        "tiny": Config(
            language=tiny_language(
                64, hidden_size=96, intermediate_size=192, max_position_embeddings=512, initializer_range=0.1
            ),
            layout=TINY_LAYOUT,
            eyes=8,
            ears=Ears(width=64, layers=2, heads=4, hidden=128, mels=40, dropout=0.0, adapter=96),
        ),
        "mixtral-8x7b": Config(language={**SHAPES["mixtral-8x7b"], "vocab_size": 51760}, layout=_SPELLED, eyes=_INTERN_VIT),
    },
)


def stages(
    config: Config, *, learning_rate: float = 2e-5, aligning: float = 5e-4, steps: int = 1000, batch: int = 1
) -> list[Stage]:
    """The paper's: what pictures are, what sounds are, questions about pictures, and what is not a question at all.

    The eyes are frozen throughout; the ears learn in the second stage alone. Its first stage, two languages in the decoder, is
    one of words only and not here.
    """

    def stage(name: str, mixture: str, rate: float, *parts: str) -> Stage:
        return Stage(
            name=name,
            trains={f"{part}.*": Rate(rate) for part in parts},
            mixture=mixture,
            objective=NextToken(sequence=as_turns),
            steps=steps,
            batch=batch,
            warmup=0.03,
            gradient_checkpointing=["decoder.layers.*"] if "decoder" in parts and not isinstance(config.eyes, int) else [],
        )

    return [
        stage("vision align", "pictures", aligning, "projector"),
        stage("audio align", "sounds", aligning, "ears", "adapter"),
        stage("vision tuning", "pictures", learning_rate, "decoder", "projector"),
        stage("state tokens", "requests", learning_rate, "decoder", "projector"),
    ]


def recipe(
    size: Literal["tiny", "mixtral-8x7b"] = "tiny",
    steps: int = 200,
    batch: int = 16,
    learning_rate: float = 2e-3,
    aligning: float = 2e-3,
    sound: Literal["formants", "voice"] = "formants",
    seed: int = 0,
) -> Recipe:
    """Questions, babble, statements, asides and noises of `data.worlds.requests`, as sound; pictures are of one colour.

    Args:
        size: "mixtral-8x7b" is for ``--dry-run``, and for those who have its weights.
        sound: what requests sound like: "voice" is real speech, by the optional part ``hibari``.
    """
    config = SYSTEM.sizes[size]

    made = stages(config, learning_rate=learning_rate, aligning=aligning, steps=steps, batch=batch)

    def batches(stage: Stage) -> Batches:
        from serval.data.worlds.spoken import spoken
        from serval.systems.assistants.spoken_requests import colours, requests

        voice = spoken() if sound == "voice" and stage.mixture != "pictures" else None
        asks = colours(seed, 128) if stage.mixture == "pictures" else requests(seed, 64, voice=voice)
        return shuffled_as("asks", asks, stage.batch, seed=seed)

    data = dict.fromkeys(("pictures", "sounds", "requests"), batches)
    return system_recipe("vita", SYSTEM, config, made, data, seed)
