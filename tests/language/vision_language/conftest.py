"""Every family's tiny model, made once: with transformers, as a folder, and as ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serval.conversation.messages import Media, Message, Text
from serval.language.vision_language.model import VisionLanguageModel

from .models import CONFIGS, tiny_model, tiny_processor


@dataclass
class Tiny:
    name: str
    folder: Path
    reference: Any
    processor: Any
    model: VisionLanguageModel

    @property
    def family(self) -> str:
        return CONFIGS[self.name][0]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def asked(*pictures: np.ndarray, words: str = "What is <image>\n\nin it?") -> tuple[list[Message], dict[Media, np.ndarray]]:
    """Pictures and then words, and what each part shows."""
    shown = {Media(kind="image", attached=number): each for number, each in enumerate(pictures)}
    return [Message(role="user", parts=(*shown, Text(text=words)))], shown


@pytest.fixture(scope="session")
def tiny_of(tmp_path_factory):
    made: dict[str, Tiny] = {}

    def tiny(name: str) -> Tiny:
        if name not in made:
            folder = tmp_path_factory.mktemp(name.split()[0])
            reference = tiny_model(name, folder)
            processor = tiny_processor(CONFIGS[name][0])
            made[name] = Tiny(name, folder, reference, processor, VisionLanguageModel.from_pretrained(folder))
        return made[name]

    return tiny


@pytest.fixture(scope="session", params=list(CONFIGS))
def tiny(request, tiny_of) -> Tiny:
    return tiny_of(request.param)
