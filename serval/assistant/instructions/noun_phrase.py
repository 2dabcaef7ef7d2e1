"""Noun phrases of an instruction: articles, counts, "nobody", "everyone", "the last", and where the noun ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from serval.assistant.instructions.nouns import lookup
from serval.assistant.instructions.request import Unreadable
from serval.assistant.instructions.words import (
    AUXILIARIES,
    CHANGES,
    ORDINALS,
    PARTICLES,
    READS,
    SEES,
    VERBS,
    number,
    singular,
    verb,
)

Op = Literal["", ">=", "<=", "=="]

VERB_HEADS = {name.split("-")[0] for name in VERBS}
PREPOSITIONS = set(
    "in into on onto off at to by up down along through past across near around round from of out outside within over "
    "above below "
    "with without for about between among via after before during against beside toward towards under behind inside".split()
)
STOPS = (
    PREPOSITIONS
    | PARTICLES
    | set(
        "and or but then than that who which when while if because so as where not no longer never here there now again "
        "any more".split()
    )
    | set("suddenly quickly slowly visible present missing gone empty at all is are was were 's it its you i we".split())
)
_ARTICLES = set("a an the any some every each all that this these those whatever which".split())
_OURS = set("my your our his her their its".split())
_PLAIN_ADJECTIVES = set(
    "new other single whole actual real parked moving passing abandoned unattended additional further entire random".split()
)
LOOKS_ADJECTIVES = set(
    "big large small little tiny huge giant tall short long young old fat thin pretty ugly round square wooden metal plastic "
    "electric fast slow heavy expensive cheap open closed empty dark bright shiny".split()
)
_PRONOUNS = {"he": "person", "she": "person", "they": "people", "him": "person", "her": "person", "them": "people"}
_ANYTHING = set("something anything thing object item stuff whatever everything somewhat".split())
_PRONOUN_NOUNS = set("someone somebody anyone anybody something anything everyone everybody".split())
_NOBODY = set("nobody no-one none".split())
_EVERYONE = set("everyone everybody".split())
_LOOSE = {
    "several": 3,
    "few": 3,
    "many": 5,
    "lots": 5,
    "crowd": 5,
    "crowds": 5,
    "group": 3,
    "groups": 3,
    "couple": 2,
    "pair": 2,
    "dozen": 12,
}


@dataclass(frozen=True)
class NounPhrase:
    """``noun`` is what was said without articles and counts, "" for "something"."""

    noun: str
    article: str = ""
    op: Op = ""
    count: int = 0
    ordinal: int = 0  # "a second person" 2, "another" 2
    last: bool = False
    nobody: bool = False  # "no car", "nobody"
    everyone: bool = False
    mine: bool = False
    loose: bool = False  # the count was a word such as "several"


class Reader:
    """A clause read word by word."""

    def __init__(self, clause: str, names: frozenset[str] = frozenset()) -> None:
        self.words = [word for word in clause.split() if word not in {",", ":"}]
        self.at, self.names = 0, names

    def peek(self, ahead: int = 0) -> str:
        return self.words[self.at + ahead] if self.at + ahead < len(self.words) else ""

    def take(self, *phrases: str) -> str:
        """Step over the first of these phrases that comes next; "" when none does."""
        for phrase in phrases:
            parts = phrase.split()
            if self.words[self.at : self.at + len(parts)] == parts:
                self.at += len(parts)
                return phrase
        return ""

    @property
    def rest(self) -> list[str]:
        return self.words[self.at :]

    def noun_phrase(self) -> NounPhrase | None:
        """The noun phrase that begins here, or None (and nothing read) when none does.

        Raises:
            Unreadable: it names a person, or points at something that only the speaker knows.
        """
        began = self.at
        word = self.peek()
        if word in _PRONOUNS and (word != "her" or self.peek(1) in STOPS or not self.peek(1)):
            self.at += 1
            return NounPhrase(_PRONOUNS[word])
        if self.take("no one", "not anyone", "not anybody", *_NOBODY):
            self.take("else")
            if self.peek() == "left" and self.peek(1) in ("", "in", "here", "there"):
                self.at += 1
            return NounPhrase("person", nobody=True)
        if self.take(*_EVERYONE, "all people", "all the people", "all of them", "the last one"):
            return NounPhrase("person", everyone=True)
        if word in ("i", "we", "you", "me", "us"):
            raise Unreadable("identity", word)
        if word in ("it", "this", "that", "these", "those") and (
            self.peek(1) in STOPS or not self.peek(1) or _is_verb(self.peek(1))
        ):
            raise Unreadable("reference", word)
        phrase = self._counted()
        if phrase.noun:
            return phrase
        noun = self._noun(phrase.article)
        if not noun:
            self.at = began
            return None
        if singular(noun) in _ANYTHING:
            if phrase.nobody:
                raise Unreadable("negation", noun)
            noun = ""
        return replace(phrase, noun=noun)

    def _counted(self) -> NounPhrase:
        """Everything before the noun."""
        article, mine, last, nobody, ordinal = "", False, False, False, 0
        op: Op = ""
        count, loose, strict = 0, False, False
        if self.take("no more than", "not more than", "at most", "up to", "a maximum of"):
            op, strict = "<=", True
        elif self.take("more than", "over", "above"):
            op, count, strict = ">=", 1, True
        elif self.take("less than", "fewer than", "under", "below"):
            op, count, strict = "<=", -1, True
        elif self.take("at least", "no fewer than", "no less than", "a minimum of"):
            op, strict = ">=", True
        elif self.take("exactly", "precisely", "only", "just"):
            op, strict = "==", True
        if not strict:
            if self.take("no more", "no", "not any", "not a", "not an", "zero", "not one"):
                nobody = True
            elif self.take("one more", "yet another", "another"):
                ordinal = 2
            elif self.take(
                "all of the", "any of the", "some of the", "one of the", "a bit of", "some kind of", "any kind of", "a kind of"
            ):
                article = "any"
        while self.peek() in _ARTICLES | _OURS:
            article, mine = self.peek(), mine or self.peek() in _OURS
            self.at += 1
        if self.peek() in ORDINALS and not strict:
            ordinal = ORDINALS[self.peek()]
            self.at += 1
        elif self.take("last"):
            last = True
        elif self.peek() in ("crowd", "group", "crowds", "groups") and self.peek(1) != "of":
            return NounPhrase("person", article, ">=", _LOOSE[self.take(self.peek())], loose=True)
        elif self.peek() in _LOOSE or (self.peek() == "lot" and article == "a"):
            loose, said = True, self.peek()
            self.at += 1
            op, count = op or ">=", count + _LOOSE.get(said, 5)
            self.take("of")
            self.take("the", "a")
            if (value := number(self.peek())) is not None:
                self.at, count, loose = self.at + 1, value, False
        elif (value := number(self.peek())) is not None:
            self.at += 1
            if self.take("or more", "or above", "plus", "+", "and more"):
                op = ">="
            elif self.take("or fewer", "or less"):
                op = "<="
            if value == 0 and not strict:
                nobody = True
            elif value != 1 or op:
                op, count = op or ">=", count + value
            else:
                article = "a"
            self.take("of the", "of my", "different", "other")
        elif strict:
            raise Unreadable("words", self.peek())
        if op == "<=" and count < 0:
            raise Unreadable("words")
        return NounPhrase("", article, op, count, ordinal, last, nobody, False, mine, loose)

    def _noun(self, article: str) -> str:
        """The longest run of words that can be one noun."""
        began, run = self.at, 0
        while (word := self.peek(run)) and word not in STOPS and run < 5:
            if word.startswith("«"):
                break
            if _is_verb(word) and (run or not article) and lookup(" ".join(self.words[began : began + run + 1])) is None:
                break
            run += 1
        words = self.words[began : began + run]
        while len(words) > 1 and words[0] in _PLAIN_ADJECTIVES:
            words = words[1:]
        if len(words) > 1 and words[0] in ("different", "familiar", "particular", "certain"):
            raise Unreadable("identity", words[0])
        if words and words[0] in LOOKS_ADJECTIVES and len(words) > 1 and lookup(" ".join(words)) is None:
            raise Unreadable("colour", words[0])
        if not words:
            return ""
        known = next((size for size in range(len(words), 0, -1) if known_noun(" ".join(words[:size]))), 0)
        following = self.peek(run)
        if known and known < len(words):
            joins = following and (_is_verb(following) or following in STOPS)  # "the dog walker leaves", not "the dog barks"
            bare_verb = _inflected(words[known]) and (article or not _is_verb(following))
            if not joins or bare_verb or words[0] in _PRONOUN_NOUNS:
                self.at = began + run - (len(words) - known)
                return " ".join(words[:known])
        elif not known:
            if self.names & set(words):
                raise Unreadable("identity", " ".join(words))
            verbless = not (following and _is_verb(following))
            if len(words) > 1 and article and verbless and words[-1].endswith("s") and words[-1] != singular(words[-1]):
                raise Unreadable("action", words[-1])
        self.at = began + run
        return " ".join(words)


def _inflected(word: str) -> bool:
    return word.endswith(("s", "ed", "ing")) and not word.endswith("ss")


def known_noun(noun: str) -> bool:
    return lookup(noun) is not None or singular(noun) in _ANYTHING


def _is_verb(word: str) -> bool:
    lemma = verb(word)
    return lemma in VERB_HEADS | AUXILIARIES | READS | CHANGES | SEES
