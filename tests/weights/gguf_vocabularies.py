"""GGUF files of tokenizers alone, and what transformers makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers
from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer
from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer, get_gguf_tokenizer

from serval.weights.gguf_file import read_gguf
from serval.weights.gguf_tokenizer import read_tokenizer

transformers.logging.set_verbosity_error()

TEXTS = [
    "Hello world, it's the cat's 'LL and I'VE seen; they're here.",
    "def turn(x):\n\treturn [x ** 2 for _ in range(10)]  # 1234567 hex 0xFF\n\n\n    if x != y: pass\n",
    "Здравствуй, мир! 你好，世界。 مرحبا بالعالم नमस्ते दुनिया こんにちは Tiếng Việt ﬁ ẞ",
    "😀 👩‍👩‍👧‍👦 🇩🇪 ok🙂ok",
    "   leading, several   inside and trailing   \n  \n\r\n\t ",
    "CamelCase HTMLParser iPhone XMLHttpRequest aB Ab",
    "control \x00\x07 and ￿ lone",
    "",
    " ",
    "a",
]
CORPUS = [
    *TEXTS[:6],
    "the cat and the hat; the world is the cat's world, hello hello 123 456",
    "return range(10) if the x else y",
]
NORMAL, UNKNOWN, CONTROL = TokenType.NORMAL, TokenType.UNKNOWN, TokenType.CONTROL
USER, UNUSED, BYTE = TokenType.USER_DEFINED, TokenType.UNUSED, TokenType.BYTE


def write(path: Path, architecture: str, kind: str, tokens: dict[str, int], **told: Any) -> None:
    """A file with nothing but a tokenizer: ``tokens`` and their kinds."""
    writer = GGUFWriter(path, architecture)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(list(tokens))
    writer.add_token_types([int(each) for each in tokens.values()])
    for name, value in told.items():
        getattr(writer, f"add_{name}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def opened(path: Path, folder: Path) -> transformers.PreTrainedTokenizerFast:
    """What transformers makes of the two files."""
    folder.mkdir(exist_ok=True)
    for name, content in zip(("tokenizer.json", "tokenizer_config.json"), read_tokenizer(read_gguf(path)), strict=True):
        (folder / name).write_text(json.dumps(content), "utf-8")
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def ours(path: Path) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(read_tokenizer(read_gguf(path))[0]))


def theirs(path: Path) -> Tokenizer:
    """What transformers makes of the GGUF file itself."""
    architecture, found, _ = get_gguf_tokenizer(str(path))
    return convert_gguf_tokenizer(architecture, found)[0]


def assert_alike(path: Path, texts: list[str]) -> None:
    mine, other = ours(path), theirs(path)
    for text in texts:
        encoded = mine.encode(text, add_special_tokens=False)
        assert encoded.tokens == other.encode(text, add_special_tokens=False).tokens, text
        assert encoded.ids == other.encode(text, add_special_tokens=False).ids, text
        assert (
            mine.decode(encoded.ids, skip_special_tokens=False) == other.decode(encoded.ids, skip_special_tokens=False) == text
        )
