"""How English words are pronounced: from a lexicon, by their endings, or guessed from their letters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import numpy as np

from serval.assistant.voice.spoken_text import spoken
from serval.encoders.onnx_session import open_session

_VOWELS: Final = frozenset("AIOQWYaiuæɑɒɔəɐɛɜɪʊʌᵻ")  # capitals are diphthongs in this alphabet
_VOICELESS: Final = frozenset("ptkfθ")
_HISSING: Final = frozenset("szʃʒʧʤ")
_MARKS: Final = frozenset(",.;:!?…—")
_ARTICLES: Final = {"a": "ɐ", "an": "ɐn"}
_TOKEN: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*['’]?|[,.;:!?…—]|--|\s-\s|[()\n]")

Entry = str | dict[str, str | None]


class Pronunciation:
    """Text to phonemes in the alphabet of a voice.

    Args:
        lexicons: files of words with their phonemes, of which the first that has a word is believed.
        spelling: a network from letters to phonemes, and a file with the letters and phonemes that it knows.
    """

    def __init__(self, lexicons: tuple[Path, ...], spelling: Path, spelling_letters: Path) -> None:
        self._lexicons: list[dict[str, Entry]] = [json.loads(each.read_bytes()) for each in lexicons]
        self._network, known = open_session(spelling), json.loads(spelling_letters.read_bytes())
        self._letters = {letter: number for number, letter in enumerate(known["in"], 1)}
        self._sounds = dict(enumerate(known["out"], 1))
        self._longest: int = known["maxlen"]

    def __call__(self, text: str) -> str:
        """Phonemes of a sentence, words apart, with the marks that shape its melody."""
        tokens = [each.strip() or "—" for each in _TOKEN.findall(spoken(text).replace("’", "'"))]
        said: list[str] = []
        after = ""  # phonemes of what comes next; "" where a pause does, or nothing
        for token in reversed(tokens):
            if token in _MARKS or token in ("--", "-", "(", ")"):
                mark = token if token in _MARKS else "—" if token in ("--", "-") else ","
                said.append(mark)
                after = ""
            else:
                after = self._word(token, after)
                said.append(f" {after}")
        joined = "".join(reversed(said)).strip()
        joined = re.sub(r"^[,.;:!?…—\s]+", "", joined)
        return re.sub(r"[,;:—]+(?=[,.;:!?…—])", "", joined).replace("ɾ", "T").replace("ʔ", "t")

    def _word(self, word: str, after: str) -> str:
        lower = word.lower()
        vowel = after.lstrip("ˈˌ")[:1] in _VOWELS if after else False
        if lower in _ARTICLES and (word != "A" or after):
            return _ARTICLES[lower]
        if lower == "the":
            return "ði" if vowel else "ðə"
        if lower == "to" and after:
            return "tʊ" if vowel else "tə"
        if word == "I":
            return "ˌI"
        found = self._known(word, after) or self._ending(lower, after)
        if found is None and word.isupper() and len(word) <= 5:
            return self._spelled(word)
        return found or self._guessed(lower) or self._spelled(word)

    def _known(self, word: str, after: str) -> str | None:
        lower = word.lower()
        for lexicon in self._lexicons:
            for form in (word, lower, lower.capitalize()):
                entry = lexicon.get(form) if len(form) > 1 or form == word else None
                if isinstance(entry, dict):
                    entry = (entry.get("None") if not after else None) or entry.get("DEFAULT")
                if entry:
                    return entry
        return None

    def _ending(self, word: str, after: str) -> str | None:
        """A word that is a known one with -s, -ed or -ing."""
        for ending, stems in _STEMS:
            if word.endswith(ending) and len(word) > len(ending) + 1:
                bare = word[: -len(ending)]
                for stem in (bare + more for more in stems):
                    if found := self._known(stem, "more"):
                        return found + _suffix(ending, found)
                if len(bare) > 3 and bare[-1] == bare[-2] and (found := self._known(bare[:-1], "more")) and ending != "'s":
                    return found + _suffix(ending, found)
        return None

    def _spelled(self, word: str) -> str:
        """Letter by letter; the last one is stressed."""
        sounds = [str(self._lexicons[0].get(each.upper()) or "") for each in word if each.isalpha()]
        sounds = [each for each in sounds if each]
        return "".join([*(each.replace("ˈ", "ˌ") for each in sounds[:-1]), *sounds[-1:]])

    def _guessed(self, word: str) -> str:
        numbers = [self._letters[each] for each in word if each in self._letters][: self._longest]
        if not numbers:
            return ""
        (found,) = self._network.run(None, {"chars": np.array([numbers], np.int64)})
        best = np.asarray(found)[0].tolist()
        kept = [now for before, now in zip([0, *best], best, strict=False) if now not in (0, before)]
        return "".join(self._sounds[each] for each in kept)


_STEMS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("'s", ("",)),
    ("s'", ("s", "")),
    ("ies", ("y",)),
    ("es", ("", "e")),
    ("s", ("",)),
    ("ied", ("y",)),
    ("ed", ("", "e")),
    ("ing", ("", "e")),
)


def _suffix(ending: str, stem: str) -> str:
    """How an ending sounds after a stem."""
    last = stem[-1]
    if ending == "ing":
        return "ɪŋ"
    if ending in ("ied", "ed"):
        return "ᵻd" if last in "td" else "t" if last in _VOICELESS | _HISSING - frozenset("zʒʤ") else "d"
    return "ᵻz" if last in _HISSING else "s" if last in _VOICELESS else "z"
