"""The tokenizer of SmolLM2, read once."""

import pytest

from serval.conversation.tokenizer import Tokenizer
from serval.weights import locate


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(locate("smollm2", "tokenizer.json"))
