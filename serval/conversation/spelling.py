"""How the tokens of a vocabulary spell bytes: as byte-level BPE, SentencePiece and WordPiece do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from serval.refusal import Refusal

Lookup = Callable[[str], int | None]
"""The id of an ordinary token by its name in the vocabulary; None where there is none."""

_SPACE = "▁"  # SentencePiece's
_BYTE = re.compile("<0x([0-9A-F]{2})>")  # how it names a byte, for what it has no piece for


class Spelling(Protocol):
    """Attributes:
    drops_space: the space before the first token is not text.
    """

    drops_space: bool

    def bytes_of(self, token: str) -> bytes:
        """What a token of the vocabulary stands for: part of a character, perhaps."""
        ...

    def letters(self, token: str) -> list[int]:
        """Ids of the smallest ordinary tokens that spell what this one does."""
        ...

    def spells(self, char: str) -> bool:
        """Whether the vocabulary has tokens for a character, or says that it is unknown. Without, it would be dropped."""
        ...


class ByteLevel:
    """Every byte is a printable character (GPT-2, Radford et al. 2019)."""

    drops_space = False

    def __init__(self, find: Lookup) -> None:
        self._find = find
        self._missing = {byte for char, byte in _BYTES.items() if find(char) is None}

    def bytes_of(self, token: str) -> bytes:
        """See `Spelling`."""
        return bytes(_BYTES[char] for char in token) if all(char in _BYTES for char in token) else token.encode()

    def letters(self, token: str) -> list[int]:
        """See `Spelling`."""
        return [found for char in token if (found := self._find(char)) is not None]

    def spells(self, char: str) -> bool:
        """See `Spelling`."""
        return self._missing.isdisjoint(char.encode())


class Pieces:
    """Pieces of text in which ``▁`` is a space, and bytes for the rest (Kudo and Richardson 2018)."""

    def __init__(self, find: Lookup, drops_space: bool, unknown: bool) -> None:
        self._find, self.drops_space, self._unknown = find, drops_space, unknown

    def bytes_of(self, token: str) -> bytes:
        """See `Spelling`."""
        byte = _BYTE.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode()

    def letters(self, token: str) -> list[int]:
        """See `Spelling`."""
        return [found for char in token for found in self._letter(char) if found is not None]

    def spells(self, char: str) -> bool:
        """See `Spelling`."""
        return self._unknown or None not in self._letter(char.replace(" ", _SPACE))

    def _letter(self, char: str) -> list[int | None]:
        whole = self._find(char)
        return [self._find(f"<0x{byte:02X}>") for byte in char.encode()] if whole is None else [whole]


class WordPiece:
    """Words without the spaces between them, and ``##`` before what goes on with one (Devlin et al. 2019)."""

    drops_space = True

    def __init__(self, find: Lookup, goes_on: str) -> None:
        self._find, self._goes_on = find, goes_on

    def bytes_of(self, token: str) -> bytes:
        """See `Spelling`."""
        inner = token.removeprefix(self._goes_on)
        return (inner if inner != token else f" {token}").encode()

    def letters(self, token: str) -> list[int]:
        """See `Spelling`."""
        names = [self._goes_on * (place > 0) + char for place, char in enumerate(token)]
        return [found for name in names if (found := self._find(name)) is not None]

    def spells(self, char: str) -> bool:
        """See `Spelling`."""
        return True


def spelling_of(content: dict[str, Any], find: Lookup, name: str) -> Spelling:
    """By the decoder of a ``tokenizer.json``.

    Raises:
        Refusal: it is of another kind; ``name`` is the file's.
    """
    steps = list(steps_of(content.get("decoder")))
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return ByteLevel(find)
    if "WordPiece" in kinds:
        return WordPiece(find, content["model"].get("continuing_subword_prefix") or "##")
    if kinds & {"Metaspace", "ByteFallback"}:
        dropping = ("Strip", "Metaspace")
        drops = any(step["type"] in dropping and step.get("prepend_scheme") != "never" for step in steps)
        model = content["model"]
        return Pieces(find, drops, model.get("unk_token") is not None or model.get("unk_id") is not None)
    raise Refusal(name, "it is not a byte-level, SentencePiece or WordPiece tokenizer", "take a model with one")


def steps_of(component: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer, pre-tokenizer or decoder, one after another however they are nested."""
    if component and component["type"] == "Sequence":
        for key in ("normalizers", "pretokenizers", "decoders"):
            for each in component.get(key, ()):
                yield from steps_of(each)
    elif component:
        yield component


def _byte_characters() -> dict[str, int]:
    """The 256 printable characters that byte-level BPE writes bytes as.

    Bytes that print in Latin-1 stand for themselves; the others follow from U+0100 on, in order.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


_BYTES = _byte_characters()
