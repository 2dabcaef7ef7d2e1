"""Text to token ids and back, such that nothing a person writes can pass for a special token."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from serval.conversation.spelling import spelling_of, steps_of
from serval.refusal import Refusal

Before = Literal["nothing", "special", "text"]
"""What stands before a text: nothing at all, a special token or a medium, or other text."""


@dataclass(frozen=True)
class SpecialToken:
    """A token that stands for no text: the end of a turn, the place of a picture, the beginning of a tool call.

    Attributes:
        content: how templates write it.
        strips_left, strips_right: white space on that side goes with it.
        alone: letters and digits may not touch it.
    """

    id: int
    content: str
    strips_left: bool = False
    strips_right: bool = False
    alone: bool = False


class Tokenizer:
    """A tokenizer read from a ``tokenizer.json``: byte-level BPE, SentencePiece's kinds, or WordPiece.

    Text goes through `encode` and only ever becomes ordinary tokens; special tokens are asked for by name with `special`,
    or found by `cut` in what a template wrote. Every token that was added to the vocabulary is special here, also where the
    file does not call it so (LLaVA's ``<image>``, Qwen's ``<tool_call>``), but for stretches of white space.
    """

    def __init__(self, path: Path) -> None:
        """Raises `Refusal` when the file is missing, damaged, or not of a tokenizer of these kinds."""
        import tokenizers

        self._name = path.name
        try:
            text = path.read_text(encoding="utf-8")
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
            content = json.loads(text)
        except OSError as error:
            raise Refusal(path.name, (error.strerror or "it cannot be read").lower(), "fetch the weights again") from None
        except Exception:  # the library raises bare Exception for whatever it does not like
            raise Refusal(path.name, "it is not a tokenizer that can be read", "fetch the weights again") from None
        self._tokenizer.no_padding()  # the file may ask for either
        self._tokenizer.no_truncation()
        added = self._tokenizer.get_added_tokens_decoder()
        self._silent = frozenset(id_ for id_, token in added.items() if token.special)
        special = {id_: token for id_, token in added.items() if token.special or token.content.strip(" \t\r\n▁")}
        self._tokenizer.add_special_tokens(list(special.values()))  # they are known, but now all of them are special ...
        self._tokenizer.encode_special_tokens = True  # ... and the library's name for: special tokens in text are text
        self._special = {
            token.content: SpecialToken(id_, token.content, token.lstrip, token.rstrip, token.single_word)
            for id_, token in special.items()
        }
        self._added = {id_: token.content.encode() for id_, token in added.items()}
        # A character that is not in the vocabulary may become the unknown token: it says nothing but that.
        model = content["model"]
        unknown = model.get("unk_id") if "unk_id" in model else self._tokenizer.token_to_id(model.get("unk_token") or "")
        self._never = frozenset(special) - {unknown}
        self._spelling = spelling_of(content, self._ordinary, path.name)
        self._prefix = _prefix(content)
        self.vocabulary_size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, before: Before = "nothing") -> list[int]:
        """Token ids of plain text. ``<|im_end|>`` in it is ten ordinary characters.

        What the vocabulary cannot spell (lone surrogates, some control characters, empty planes of Unicode) becomes U+FFFD:
        left to itself the library drops single bytes of it.

        Args:
            before: what stands before it. Some tokenizers begin texts with a space, everywhere or only at the beginning.
        """
        if not text.isascii() or not text.isprintable():
            text = "".join(char if self._spells(char) else "\ufffd" for char in text)
        begins = self._prefix == "never" or before == "nothing" or (before == "special" and self._prefix == "always")
        ids: list[int] = (self._tokenizer if begins else self._inside).encode(text, add_special_tokens=False).ids
        if self._never.isdisjoint(ids):
            return ids
        # Pieces of text were merged into what is a special token: it is taken apart again.
        return [each for id_ in ids for each in (self._letters(id_) if id_ in self._never else (id_,))]

    def cut(self, written: str) -> Iterator[str | SpecialToken]:
        """What a template wrote, cut at its special tokens, the longest that fits first. Not for what people write."""
        for number, stretch in enumerate(self._cut.split(written)):
            if number % 2:
                yield self._special[stretch]
            elif stretch:
                yield stretch

    def special(self, name: str) -> int:
        """The id of a special token.

        Raises:
            Refusal: this tokenizer has none of that name.
        """
        if name not in self._special:
            raise Refusal(self._name, f"it has no token {name}", "take a model made for chat")
        return self._special[name].id

    @property
    def special_tokens(self) -> dict[str, int]:
        """Every special token and its id."""
        return {name: token.id for name, token in self._special.items()}

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; special tokens are left out but for those that the file does not call special, and bytes that
        are no text become U+FFFD."""
        stream = self.stream()
        return "".join(stream.add(each) for each in ids) + stream.end()

    def stream(self) -> TextStream:
        """A decoder that takes one id at a time."""
        return TextStream(self, self._spelling.drops_space)

    def bytes_of(self, id: int) -> bytes:  # noqa: A002 - it is called so everywhere
        """The bytes that one token stands for: part of a character, perhaps. None for a special token, or an unknown id."""
        if id in self._added:
            return b"" if id in self._silent else self._added[id]
        token = self._tokenizer.id_to_token(id)
        return b"" if token is None else self._spelling.bytes_of(token)

    def _letters(self, id_: int) -> list[int]:
        return self._spelling.letters(self._tokenizer.id_to_token(id_) or "")

    def _spells(self, char: str) -> bool:
        return not "\ud800" <= char <= "\udfff" and self._spelling.spells(char)

    def _ordinary(self, name: str) -> int | None:
        found: int | None = self._tokenizer.token_to_id(name)
        return None if found in self._never else found

    @cached_property
    def _cut(self) -> re.Pattern[str]:
        longest_first = sorted(self._special.values(), key=lambda token: len(token.content), reverse=True)
        names = (
            rf"(?<!\w){re.escape(each.content)}(?!\w)" if each.alone else re.escape(each.content) for each in longest_first
        )
        return re.compile(f"({'|'.join(names)})" if longest_first else r"(?!)()")

    @cached_property
    def _inside(self) -> Any:
        """The tokenizer for text that goes on: it begins with no space of its own."""
        import tokenizers

        content = json.loads(self._tokenizer.to_str())
        steps = [each for key in ("normalizer", "pre_tokenizer") for each in steps_of(content[key])]
        for step in steps:
            if step["type"] == "Prepend":
                step["prepend"] = ""
            elif step["type"] == "Metaspace":
                step.pop("add_prefix_space", None)
                step["prepend_scheme"] = "never"
            elif step["type"] == "ByteLevel":
                step["add_prefix_space"] = False
        made = tokenizers.Tokenizer.from_str(json.dumps(content))
        made.encode_special_tokens = True
        return made


class TextStream:
    """Text of token ids as they come: all characters that are whole, and never half a one."""

    def __init__(self, tokenizer: Tokenizer, drops_space: bool) -> None:
        self._tokenizer, self._drops_space = tokenizer, drops_space
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, id: int) -> str:  # noqa: A002
        """What became readable with this token; often a word, sometimes nothing."""
        spelled = self._tokenizer.bytes_of(id)
        if self._drops_space and spelled:
            self._drops_space, spelled = False, spelled.removeprefix(b" ")
        return self._decoder.decode(spelled)

    def end(self) -> str:
        """What is left when no more comes: U+FFFD for a character that was never finished, else nothing."""
        return self._decoder.decode(b"", final=True)


def _prefix(content: dict[str, Any]) -> Literal["never", "first", "always"]:
    """Whether a ``tokenizer.json`` puts a space before a text that has none: only at the very beginning, or after every
    special token, too."""
    for step in (*steps_of(content.get("normalizer")), *steps_of(content.get("pre_tokenizer"))):
        if step["type"] == "Prepend" or (step["type"] == "ByteLevel" and step.get("add_prefix_space")):
            return "always"
        if step["type"] == "Metaspace" and (scheme := step.get("prepend_scheme", "always")) != "never":
            return "first" if scheme == "first" else "always"
    return "never"
