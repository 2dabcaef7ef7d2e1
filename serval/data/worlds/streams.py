"""Worlds of streams as samples to learn from: what towers saw, what is said, and what is to be decided behind each frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from serval.data.worlds import hand_streams, latent_streams, near_hand, scene_codes, two_cues
from serval.data.worlds.hand_streams import HandStream
from serval.data.worlds.latent_streams import LatentStream
from serval.data.worlds.said import IGNORED, Said, decisions
from serval.data.worlds.scene_codes import SceneStream
from serval.data.worlds.two_cues import PlantedClip, TwoCueClip
from serval.data.worlds.vocabulary import Vocabulary
from serval.training.stream_sample import StreamSample, Words

FPS = 2.0


def latent_words() -> Vocabulary:
    """All that is said and asked in `latent_streams`."""
    asked = "say when the has changed for good at once changes what was is before"
    return Vocabulary([asked, *latent_streams.THINGS, *latent_streams.STATES])


def scene_words() -> Vocabulary:
    """All that is said in `scene_codes`."""
    return Vocabulary(scene_codes.NAMES)


def two_cue_words() -> Vocabulary:
    """All that is said in `two_cues`."""
    return Vocabulary(["put down", *two_cues.NAMES])


def hand_words() -> Vocabulary:
    """All that is said and asked in `hand_streams`."""
    return Vocabulary([hand_streams.QUESTION, *near_hand.SYMBOLS])


def from_latent(stream: LatentStream, words: Vocabulary, end: int) -> StreamSample:
    """The instruction is a user's turn behind the first frame."""
    said = (Said(0, stream.instruction, "user"), *stream.said)
    return sample([stream.tokens], said, words, end)


def from_scenes(stream: SceneStream, words: Vocabulary, end: int) -> StreamSample:
    return sample([stream.tokens], stream.said, words, end)


def from_two_cues(clip: TwoCueClip, words: Vocabulary, end: int) -> StreamSample:
    """What the general tower saw, then the egocentric one."""
    return sample([clip.general, clip.ego], clip.said, words, end)


def from_planted(clip: PlantedClip, words: Vocabulary, end: int) -> StreamSample:
    return sample([clip.tokens], clip.said, words, end)


def from_hands(stream: HandStream, words: Vocabulary, end: int) -> StreamSample:
    """What the general tower saw, then the egocentric one."""
    made = sample([stream.general, stream.ego], stream.said, words, end)
    return replace(made, decisions=made.decisions.masked_fill(torch.from_numpy(stream.untaught), IGNORED))


def sample(features: Sequence[NDArray[np.float32]], said: Iterable[Said], words: Vocabulary, end: int) -> StreamSample:
    """``features`` are (frames, tokens, width) of each tower; what an assistant says ends with ``end``."""
    said = tuple(said)
    spoken = tuple(
        Words(each.frame, each.role, (*words.encode(each.text), *((end,) if each.role == "assistant" else ()))) for each in said
    )
    frames = len(features[0])
    decided = torch.from_numpy(decisions(frames, said))
    return StreamSample(tuple(map(torch.from_numpy, features)), decided, spoken, FPS)
