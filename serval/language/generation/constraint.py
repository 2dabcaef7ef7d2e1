"""Texts that are what they have to be: JSON of a schema, or all of a regular expression. llguidance says which tokens may come.

An object is written as ``json.dumps`` does it, on one line with ", " and ": ": where a grammar allows any white space,
small models write nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from serval.conversation.tokenizer import Tokenizer
from serval.refusal import Refusal

if TYPE_CHECKING:
    from llguidance import LLMatcher
    from llguidance._lib import JsonCompileOptions

_MOST_SCHEMA = 65_536  # characters
_MOST_REGEX = 4_096
_FUEL = 100_000  # of llguidance, for building a grammar: a few thousand choices, and a tenth of a second at the worst
_OPTIONS: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "json_allowed_escapes": '"\\bfnrt',  # with \u a key could be written so that the schema does not know it
    "coerce_one_of": False,
    "lenient": False,
}
_DATA = frozenset({"const", "default", "enum", "examples"})  # what stands under these is no schema


class ConstraintVocabulary:
    """A model's tokens as grammars need them. Made once, in a quarter of a second for 50,000, and shared by any number."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        from llguidance import LLTokenizer, TokenizerWrapper

        self.size = tokenizer.vocabulary_size
        special = list(tokenizer.special_tokens.values())
        self.ordinary = torch.ones(self.size, dtype=torch.bool)  # (size,): what stands for text
        self.ordinary[special] = False
        self.compiled = LLTokenizer(TokenizerWrapper(_Tokens(tokenizer, special)))


class Constraint:
    """What a text has to be. One serves any number of texts."""

    def __init__(self, grammar: str, name: str, vocabulary: ConstraintVocabulary) -> None:
        """``grammar``: in llguidance's own form; ``name``: what a person knows it as.

        Raises:
            Refusal: it is not a grammar, too large, or there is no text that it allows.
        """
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(initial_lexer_fuel=_FUEL, verbose_errors=False)
        self._matcher = LLMatcher(vocabulary.compiled, grammar, log_level=0, limits=limits)
        self._name, self._vocabulary = name, vocabulary
        if self._matcher.is_error():
            raise Refusal(name, _line(self._matcher.get_error()), "write it in another way")
        self.begin()

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | bool, vocabulary: ConstraintVocabulary) -> Constraint:
        """JSON that is valid under ``schema``, of the draft that its ``$schema`` names, else 2020-12.

        Raises:
            Refusal: it is no JSON Schema, too large, allows nothing, or asks for what cannot be held to token by token, such
                as ``not``, ``uniqueItems`` or a schema somewhere else.
        """
        from jsonschema import Draft202012Validator, SchemaError
        from jsonschema.validators import validator_for
        from llguidance import LLMatcher

        name = "the JSON schema"
        try:
            text = json.dumps(schema if not isinstance(schema, bool) else {} if schema else {"enum": []}, allow_nan=False)
            content = json.loads(text)
            if len(text) > _MOST_SCHEMA:
                raise Refusal(name, f"it has {len(text):,} characters, and {_MOST_SCHEMA:,} is the limit", "make it smaller")
            if not isinstance(content, dict):
                raise Refusal(name, "it is not an object", "give a JSON Schema")
            validator_for(content, default=Draft202012Validator).check_schema(content)
        except SchemaError as error:
            raise Refusal(name, _line(error.message), f"correct {error.json_path}") from None
        except RecursionError:
            raise Refusal(name, "it is nested too deeply", "make it flatter") from None
        except (TypeError, ValueError):
            raise Refusal(name, "it is not JSON", "give a JSON Schema") from None
        if any(part.get("minProperties", 0) > 1 for part in _parts(content)):  # the same key twice would count as two
            raise Refusal(name, "minProperties above 1 cannot be held to", "name the keys under required")
        content.pop("x-guidance", None)  # it would change how the text is written
        try:
            grammar = LLMatcher.grammar_from_json_schema(content, overrides=_OPTIONS)
        except ValueError as error:
            raise Refusal(name, _line(str(error)), "write it in another way") from None
        return cls(grammar, name, vocabulary)

    @classmethod
    def regex(cls, pattern: str, vocabulary: ConstraintVocabulary) -> Constraint:
        """Text that ``pattern`` matches from end to end, in the syntax of Rust's regex crate.

        Raises:
            Refusal: it is no regular expression, too large, matches nothing, or looks around or back.
        """
        from llguidance import LLMatcher

        name = "the regular expression"
        if len(pattern) > _MOST_REGEX:
            raise Refusal(name, f"it has {len(pattern):,} characters, and {_MOST_REGEX:,} is the limit", "make it shorter")
        return cls(LLMatcher.grammar_from_regex(pattern), name, vocabulary)

    def begin(self) -> ConstrainedText:
        """A text of which nothing is written yet."""
        return ConstrainedText(self._matcher.deep_copy(), self._name, self._vocabulary)


class ConstrainedText:
    """How far a constrained text has come.

    Attributes:
        allowed: (tokens,) bool, what may come next; special tokens never do.
        may_end: the text may end here.
        complete: it must.

    Raises:
        Refusal: nothing can come and it may not end, or there is too much that could come.
    """

    def __init__(self, matcher: LLMatcher, name: str, vocabulary: ConstraintVocabulary) -> None:
        self._matcher, self._name, self._vocabulary = matcher, name, vocabulary
        self._look()

    def add(self, token: int) -> None:
        """Go on by a token that is allowed. Raises `Refusal` as the class does."""
        if not self.allowed[token]:
            raise ValueError(f"Token {token} is not allowed here.")
        self._matcher.consume_token(token)
        self._look()

    def _look(self) -> None:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        error = self._matcher.get_error()
        if error and not error.startswith("NoExtension"):
            raise Refusal(self._name, _line(error), "make it simpler")
        bools = np.unpackbits(bits, count=self._vocabulary.size, bitorder="little")
        self.allowed = torch.from_numpy(bools).bool() & self._vocabulary.ordinary
        self.may_end = self._matcher.is_accepting()
        self.complete = not bool(self.allowed.any())
        if self.complete and not self.may_end:
            raise Refusal(self._name, "there is no text that it allows", "make it wider")


class _Tokens:
    """A tokenizer as llguidance reads it. The end of the text is a token of its own beyond all others."""

    def __init__(self, tokenizer: Tokenizer, special: list[int]) -> None:
        end = tokenizer.vocabulary_size
        self.tokens = [tokenizer.bytes_of(each) for each in range(end)] + [b"end"]
        self.special_token_ids = [*special, end]
        self.eos_token_id, self.bos_token_id = end, None
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)


def _parts(schema: object) -> Iterator[dict[str, Any]]:
    """Every schema in a schema, itself first; what only looks like one is left out."""
    rest = [schema]
    while rest:
        part = rest.pop()
        if isinstance(part, dict):
            yield part if isinstance(part.get("minProperties", 0), int) else {}
            rest += [value for key, value in part.items() if key not in _DATA]
        elif isinstance(part, list):
            rest += part


def _line(message: str) -> str:
    """The first and the telling line of an error of many."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0] if lines else "")
    return telling if len(telling) <= 200 else telling[:200] + "…"
