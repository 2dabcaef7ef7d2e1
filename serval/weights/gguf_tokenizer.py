"""The tokenizer in a GGUF file, as ``tokenizer.json`` and ``tokenizer_config.json``.

There are two kinds: byte-level BPE ("gpt2": a list of merges, and a name for how text is cut before) and SentencePiece's BPE
("llama": a score for every piece). What each name means is told by llama.cpp (ggml-org/llama.cpp, src/llama-vocab.cpp).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from serval.refusal import Refusal
from serval.weights.gguf_file import GGUFFile

Json = dict[str, Any]

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6  # kinds of tokens
_ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
_LONGEST = 256  # characters of a piece: every way to cut it in two is looked at
_SPACE = "▁"
_REMEDY = "fetch it again"

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT4 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_CASED = (  # words begin where the case changes
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+~"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*~"
)
_CASED_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class _Cut:
    """How byte-level BPE cuts text before it merges.

    Attributes:
        pattern: what the pieces look like; empty for GPT-2's own.
        digits: every digit is a piece.
        composed: characters are composed first (NFC).
        whole: a piece that is a token is not built up from merges.
        begins: texts begin with the token for it, where the file does not tell.
    """

    pattern: str = ""
    digits: bool = False
    composed: bool = False
    whole: bool = False
    begins: bool = False


_LLAMA3 = _Cut(_GPT4, whole=True, begins=True)
_CUTS = {
    "gpt-2": _Cut(),
    "smollm": _Cut(digits=True),
    "starcoder": _Cut(digits=True),
    "refact": _Cut(digits=True),  # Granite's models for code, which are Llamas
    "olmo": _Cut(composed=True),
    "dbrx": _Cut(_GPT4),  # GPT-4's, which OLMo 2 and Phi-4 have as well
    "smaug-bpe": _Cut(_GPT4),  # SmolLM3
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _Cut(_QWEN2, composed=True),
    "deepseek-r1-qwen": _Cut(_QWEN2, composed=True),
    "tekken": _Cut(_CASED.replace("~", "") + r"|\p{N}" + _CASED_REST, whole=True, begins=True),  # Mistral
    "gpt-4o": _Cut(_CASED.replace("~", _CONTRACTIONS + "?") + r"|\p{N}{1,3}" + _CASED_REST),  # Phi-4-mini
}


def read_tokenizer(source: GGUFFile) -> tuple[Json, Json]:
    """``tokenizer.json`` and ``tokenizer_config.json``, as the ``tokenizers`` library and transformers read them.

    Raises:
        Refusal: a tokenizer that is not known here, or one that is damaged.
    """
    vocabulary = _Vocabulary.of(source)
    kind = source.get("tokenizer.ggml.model", str)
    if kind == "gpt2":
        cut = _cut(source)
        parts, begins, strips = _byte_level(source, vocabulary, cut), cut.begins, False
    elif kind == "llama":
        # Phi-3's tokens take the white space behind them; the file does not tell, and llama.cpp knows them by name as well.
        parts, begins = _sentence_piece(source, vocabulary), True
        strips = source.values.get("general.architecture") == "phi3"
    else:
        raise _unknown(source)
    roles = {role: source.get(f"tokenizer.ggml.{name}_token_id", int, -1) for role, name in _ROLES.items()}
    named = {role: vocabulary.tokens[index] for role, index in roles.items() if 0 <= index < len(vocabulary.tokens)}
    first, last = (
        named.get(role) if source.get(f"tokenizer.ggml.add_{role}_token", bool, default) else None
        for role, default in (("bos", begins), ("eos", False))
    )
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added(strips),
        "post_processor": _frame(first, last, vocabulary.ids) if first or last else None,
        **parts,
    }
    _check(source, tokenizer)
    settings: Json = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    settings |= {f"{role}_token": token for role, token in named.items()}
    settings["chat_template"] = source.get("tokenizer.chat_template", str, "")
    return tokenizer, settings


@dataclass(frozen=True)
class _Vocabulary:
    """Attributes:
    ids: of all tokens but those that only fill the table up.
    """

    tokens: list[str]
    kinds: list[int]
    ids: dict[str, int]

    @classmethod
    def of(cls, source: GGUFFile) -> _Vocabulary:
        tokens, kinds = _texts(source, "tokenizer.ggml.tokens"), source.get("tokenizer.ggml.token_type", list)
        embedding = source.tensors.get("token_embd.weight")
        if len(kinds) != len(tokens) or len(set(tokens)) != len(tokens):
            raise Refusal(source.name, "its list of tokens is damaged", _REMEDY)
        if embedding is not None and len(tokens) > embedding.shape[0]:
            raise Refusal(source.name, f"it has {len(tokens)} tokens, and rows for {embedding.shape[0]}", _REMEDY)
        numbered = enumerate(zip(tokens, kinds, strict=True))
        return cls(tokens, kinds, {token: index for index, (token, kind) in numbered if kind != _UNUSED})

    def of_kind(self, *kinds: int) -> dict[str, int]:
        return {token: index for token, index in self.ids.items() if self.kinds[index] in kinds}

    def added(self, strips: bool) -> list[Json]:
        """Tokens that are found in text as they are written, before anything is cut or merged."""
        same: Json = {"single_word": False, "lstrip": False, "normalized": False}
        return [
            {
                "id": index,
                "content": token,
                **same,
                "rstrip": strips and token not in ("<unk>", "<s>", "<|endoftext|>"),
                "special": self.kinds[index] != _USER_DEFINED,
            }
            for token, index in self.of_kind(_CONTROL, _USER_DEFINED, _UNKNOWN).items()
        ]


def _byte_level(source: GGUFFile, vocabulary: _Vocabulary, cut: _Cut) -> Json:
    merges = []
    for merge in _texts(source, "tokenizer.ggml.merges"):
        left, _, right = merge.partition(" ")
        if not (left in vocabulary.ids and right in vocabulary.ids and left + right in vocabulary.ids):
            raise Refusal(source.name, "its list of merges is damaged", _REMEDY)
        merges.append((left, right))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": not cut.pattern}
    before: list[Json] = [{"type": "Digits", "individual_digits": True}] if cut.digits else []
    if cut.pattern:
        before.append({"type": "Split", "pattern": {"Regex": cut.pattern}, "behavior": "Isolated", "invert": False})
    return {
        "normalizer": {"type": "NFC"} if cut.composed else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*before, byte_level]},
        "decoder": byte_level,
        "model": _model(vocabulary, merges, ignore_merges=cut.whole),
    }


def _sentence_piece(source: GGUFFile, vocabulary: _Vocabulary) -> Json:
    replaced: list[Json] = [{"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}]
    back: list[Json] = [{"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}]
    back += [{"type": "ByteFallback"}, {"type": "Fuse"}]
    if source.get("tokenizer.ggml.add_space_prefix", bool, True):
        replaced.insert(0, {"type": "Prepend", "prepend": _SPACE})
        back.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = next(iter(vocabulary.of_kind(_UNKNOWN)), None)
    bytes_known = vocabulary.of_kind(_BYTE).keys() >= {f"<0x{byte:02X}>" for byte in range(256)}
    merges = _merges(source, vocabulary)
    return {
        "normalizer": {"type": "Sequence", "normalizers": replaced},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": back},
        "model": _model(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=bytes_known),
    }


def _merges(source: GGUFFile, vocabulary: _Vocabulary) -> list[tuple[str, str]]:
    """The merges that scores stand for: of two neighbours those first whose union has the highest score.

    Only ordinary pieces are merged, and into ordinary ones: so nothing that is written becomes a control token.
    """
    scores, known = source.get("tokenizer.ggml.scores", list), vocabulary.of_kind(_NORMAL)
    numbers = all(isinstance(each, int | float) and math.isfinite(each) for each in scores)
    if len(scores) != len(vocabulary.tokens) or not numbers:
        raise Refusal(source.name, "its list of scores is damaged", _REMEDY)
    if any(len(token) > _LONGEST for token in known):
        raise Refusal(source.name, f"a piece of its vocabulary is longer than {_LONGEST} characters", _REMEDY)
    found = []
    for token, index in known.items():
        for place in range(1, len(token)):
            left, right = token[:place], token[place:]
            if left in known and right in known:
                found.append((-scores[index], -place, left, right))
    found.sort(key=lambda each: each[:2])
    return [(left, right) for _, _, left, right in found]


def _model(vocabulary: _Vocabulary, merges: list[tuple[str, str]], **options: Any) -> Json:
    usual: Json = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False}
    usual |= {"continuing_subword_prefix": None, "end_of_word_suffix": None, "ignore_merges": False}
    return usual | options | {"vocab": vocabulary.ids, "merges": merges}


def _frame(first: str | None, last: str | None, ids: dict[str, int]) -> Json:
    """Puts the tokens that texts begin and end with around one text, or around each of two."""

    def around(text: str, number: int) -> list[Json]:
        pieces = [(first, "SpecialToken"), (text, "Sequence"), (last, "SpecialToken")]
        return [{kind: {"id": piece, "type_id": number}} for piece, kind in pieces if piece]

    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": [*around("A", 0), *around("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (first, last) if token},
    }


def _check(source: GGUFFile, tokenizer: Json) -> None:
    """The library takes it, and gives the added tokens the numbers that the file gives them."""
    import tokenizers

    try:
        made = tokenizers.Tokenizer.from_str(json.dumps(tokenizer))
        kept = all(made.token_to_id(each["content"]) == each["id"] for each in tokenizer["added_tokens"])
    except Exception:  # the library raises bare Exception for whatever it does not like
        kept = False
    if not kept:
        raise Refusal(source.name, "its tokenizer is damaged", _REMEDY)


def _cut(source: GGUFFile) -> _Cut:
    name = source.get("tokenizer.ggml.pre", str, "")
    if name not in _CUTS:
        raise _unknown(source)
    return _CUTS[name]


def _unknown(source: GGUFFile) -> Refusal:
    told = (source.values.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    name = "/".join(each for each in told if isinstance(each, str) and each.isprintable() and len(each) <= 40)
    return Refusal(source.name, f"its tokenizer ({name or 'of no name'}) is not known here", "convert it without the tokenizer")


def _texts(source: GGUFFile, key: str) -> list[str]:
    values = source.get(key, list)
    if not all(isinstance(value, str) for value in values):
        raise Refusal(source.name, f"its {key} is not a list of texts", _REMEDY)
    return values
