"""Scores of short texts: exact match and token F1 as SQuAD has them, and CIDEr-D for captions."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_ORDERS, _SIGMA = 4, 6.0  # longest n-gram, and how much a difference in length costs
_Grams = tuple[Counter[tuple[str, ...]], ...]


def words(text: str) -> list[str]:
    """Lower case, without punctuation inside or around words and without "a", "an" and "the" (Rajpurkar et al. 2016)."""
    bare = re.sub(r"[^\w\s]", "", text.lower())
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def exact_match(text: str, references: Sequence[str]) -> float:
    """1 where the words are those of a reference."""
    return float(any(words(text) == words(reference) for reference in references))


def token_f1(text: str, references: Sequence[str]) -> float:
    """The best F1 of shared words over the references; two texts without words are alike."""
    return max(_f1(words(text), words(reference)) for reference in references)


def _f1(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    return 2 * (Counter(said) & Counter(right)).total() / (len(said) + len(right))


def cider_d(texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each text, 0 to 10 (Vedantam et al. 2015, arXiv:1411.5726, section 3.3); the corpus score is their mean.

    How rare an n-gram is comes from the references of all texts, so one text alone has no score but 0. Texts are split at white
    space in lower case: the scores are those of coco-caption for texts that its tokenizer would leave as they are.

    Raises:
        ValueError: a text without references.
    """
    if len(texts) != len(references) or not all(references):
        raise ValueError(f"references: {len(references)}, expected some for each of {len(texts)} texts")
    known = [[_grams(each) for each in some] for some in references]
    seen = Counter(gram for some in known for gram in {gram for each in some for order in each for gram in order})
    total = math.log(len(texts)) if texts else 0.0

    def weigh(grams: _Grams) -> list[dict[tuple[str, ...], float]]:
        return [{gram: n * (total - math.log(max(1, seen[gram]))) for gram, n in order.items()} for order in grams]

    return [
        10 * sum(_alike(weigh(_grams(text)), weigh(each), _length(_grams(text)) - _length(each)) for each in some) / len(some)
        for text, some in zip(texts, known, strict=True)
    ]


def _alike(said: list[dict[tuple[str, ...], float]], right: list[dict[tuple[str, ...], float]], longer: int) -> float:
    """Mean over orders of the clipped cosine, less for another length."""
    total = 0.0
    for mine, theirs in zip(said, right, strict=True):
        norms = math.hypot(*mine.values()) * math.hypot(*theirs.values())
        total += sum(min(weight, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0) for gram, weight in mine.items()) / (norms or 1)
    return total / _ORDERS * math.exp(-(longer**2) / (2 * _SIGMA**2))


def _grams(text: str) -> _Grams:
    tokens = text.lower().split()
    return tuple(Counter(zip(*(tokens[start:] for start in range(n)), strict=False)) for n in range(1, _ORDERS + 1))


def _length(grams: _Grams) -> int:
    return grams[0].total()
