"""Every tokenizer at hand, read once."""

import pytest

from serval.conversation.tokenizer import Tokenizer
from serval.weights import locate

from .styles import STYLES, Style


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """SmolLM2's."""
    return Tokenizer(locate("smollm2", "tokenizer.json"))


@pytest.fixture(scope="session")
def styles() -> dict[str, Style]:
    return {name: make() for name, make in STYLES.items()}


@pytest.fixture(scope="session")
def tokenizers(tokenizer, styles, tmp_path_factory) -> dict[str, Tokenizer]:
    """By family; SmolLM2's and MiniLM's are the real ones."""
    made = {name: Tokenizer(style.save(tmp_path_factory.mktemp(name))) for name, style in styles.items()}
    return {"smollm2": tokenizer, "minilm": Tokenizer(locate("minilm", "tokenizer.json")), **made}
