"""Text to token ids and back, such that nothing a person writes can pass for a special token."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from pathlib import Path

from serval.refusal import Refusal


class Tokenizer:
    """A byte-level BPE tokenizer read from a ``tokenizer.json``.

    Text goes through `encode` and only ever becomes ordinary tokens; special tokens are asked for by name with `special`.
    """

    def __init__(self, path: Path) -> None:
        """Raises `Refusal` when the file is missing, damaged, or not of a byte-level tokenizer."""
        import tokenizers

        try:
            text = path.read_text(encoding="utf-8")
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
            content = json.loads(text)
        except OSError as error:
            raise Refusal(path.name, (error.strerror or "it cannot be read").lower(), "fetch the weights again") from None
        except Exception:  # the library raises bare Exception for whatever it does not like
            raise Refusal(path.name, "it is not a tokenizer that can be read", "fetch the weights again") from None
        if (content.get("decoder") or {}).get("type") != "ByteLevel":
            raise Refusal(path.name, "it is not a byte-level tokenizer", "take a model with one")
        self._tokenizer.encode_special_tokens = True  # the library's name for: special tokens in text are text
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {token.content: number for number, token in added.items() if token.special}
        self._special_ids = frozenset(self._special.values())
        self._unspelled = {byte for char, byte in _BYTES.items() if self._tokenizer.token_to_id(char) is None}
        self._name = path.name
        self.vocabulary_size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text. ``<|im_end|>`` in it is ten ordinary characters.

        What the vocabulary cannot spell (lone surrogates, some control characters, empty planes of Unicode) becomes U+FFFD:
        left to itself the library drops single bytes of it.
        """
        if not text.isascii() or not text.isprintable():
            text = "".join(char if self._spells(char) else "\ufffd" for char in text)
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def _spells(self, char: str) -> bool:
        return not "\ud800" <= char <= "\udfff" and self._unspelled.isdisjoint(char.encode("utf-8"))

    def special(self, name: str) -> int:
        """The id of a special token.

        Raises:
            Refusal: this tokenizer has none of that name.
        """
        if name not in self._special:
            raise Refusal(self._name, f"it has no token {name}", "take a model made for chat")
        return self._special[name]

    @property
    def special_tokens(self) -> dict[str, int]:
        """Every special token and its id."""
        return dict(self._special)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; special tokens are left out, and bytes that are no text become U+FFFD."""
        stream = self.stream()
        return "".join(stream.add(each) for each in ids) + stream.end()

    def stream(self) -> TextStream:
        """A decoder that takes one id at a time."""
        return TextStream(self)

    def bytes_of(self, id: int) -> bytes:  # noqa: A002 - it is called so everywhere
        """The bytes that one token stands for: part of a character, perhaps. None for a special token, or an unknown id."""
        if id in self._special_ids:
            return b""
        token = self._tokenizer.id_to_token(id)
        if token is None:
            return b""
        if any(char not in _BYTES for char in token):
            return token.encode("utf-8")  # a token added as it is written
        return bytes(_BYTES[char] for char in token)


class TextStream:
    """Text of token ids as they come: all characters that are whole, and never half a one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, id: int) -> str:  # noqa: A002
        """What became readable with this token; often a word, sometimes nothing."""
        return self._decoder.decode(self._tokenizer.bytes_of(id))

    def end(self) -> str:
        """What is left when no more comes: U+FFFD for a character that was never finished, else nothing."""
        return self._decoder.decode(b"", final=True)


def _byte_characters() -> dict[str, int]:
    """The 256 printable characters that byte-level BPE writes bytes as (GPT-2, Radford et al. 2019).

    Bytes that print in Latin-1 stand for themselves; the others follow from U+0100 on, in order.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


_BYTES = _byte_characters()
