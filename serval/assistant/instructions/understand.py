"""From a person's words to what is watched for. Total: whatever the words, there is an understanding and a read-back.

A table of nouns and a small grammar do it; sentence embeddings only find the class of a noun that the table lacks. Choosing the
*intent* by embeddings was right for 12 of 20 phrasings, the grammar for nearly all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serval.assistant.instructions import read_back
from serval.assistant.instructions.grammar import Clause, parse
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.instructions.limits import out_of_reach
from serval.assistant.instructions.noun_phrase import NounPhrase
from serval.assistant.instructions.nouns import LIKE_A_TAG, STAND_INS, Embed, Noun, nearest_tags, resolve
from serval.assistant.instructions.places import PLACES
from serval.assistant.instructions.request import Request, Unreadable, is_everything, is_scene, read, text_shape
from serval.assistant.instructions.taught_nouns import spell_out, stand_in
from serval.assistant.instructions.words import plural, singular
from serval.assistant.timeline.plain import one_line
from serval.assistant.view import ChangeKind
from serval.encoders.percept import Looks

_HANDS = {ChangeKind.PUT, ChangeKind.TAKEN}
_TO_SIT_ON = {"bench", "chair", "couch", "bed", "toilet", "dining table"}
_LIKENESS_CONFIDENCE = 0.5


def understand(
    text: str, *, embed: Embed | None = None, abilities: Looks | None = None, taught: Sequence[str] = ()
) -> Understanding:
    """What an instruction in plain words asks for.

    Args:
        embed: sentence embeddings, for nouns that the table lacks; None uses the table alone.
        abilities: which small encoders this machine has; None is all of them.
        taught: names of things that a person taught.

    Returns:
        With target NOTHING and a reason in ``cannot`` whenever any part of the sentence could not be honoured.
    """
    try:
        found = spell_out(_understand(stand_in(one_line(text[:2000]), taught), embed), taught)
    except Unreadable as unreadable:
        return spell_out(_nothing(read_back.cannot(unreadable.topic, unreadable.about[:80])), taught)
    missing = _missing(found, abilities, embed is not None) if abilities is not None else ""
    return _nothing(read_back.off(missing)) if missing else found


def _understand(text: str, embed: Embed | None) -> Understanding:
    request = read(text)
    if is_scene(request.clause):
        return Understanding(target=Target.SCENE, kinds=(ChangeKind.SCENE,), gate="novelty", read_back=read_back.SCENE)
    if is_everything(request.clause) and (request.commanded or request.clause != "everything"):
        return Understanding(target=Target.EVERYTHING, gate="everything", read_back=read_back.EVERYTHING)
    if shape := text_shape(request):
        return Understanding(
            target=Target.TEXT, kinds=(ChangeKind.TEXT,), text=shape.text, gate="text", read_back=read_back.text(shape.text)
        )
    topic, words = out_of_reach(re.sub(r"«\d+»", "", request.clause))
    if topic:
        raise Unreadable(topic, words)
    clause = parse(request.clause, request.names)
    if request.guards and len(clause.subjects) == 1 and clause.there and not clause.kinds:
        place = clause.subjects[0].noun.split()[-1:]
        if place and place[0] in PLACES and not resolve(clause.subjects[0].noun).labels:
            remark = read_back.remark_places((f"the {clause.subjects[0].noun}",))
            return Understanding(target=Target.EVERYTHING, gate="everything", read_back=f"{read_back.EVERYTHING} {remark}")
        clause = replace(clause, kinds=(ChangeKind.APPEARS, ChangeKind.LEAVES, ChangeKind.MOVES), there=False)
    return _Meaning(request, clause, embed).understanding()


@dataclass(frozen=True)
class _Count:
    op: str = ""
    count: int = 0


class _Meaning:
    """What a parsed clause comes down to."""

    def __init__(self, request: Request, clause: Clause, embed: Embed | None) -> None:
        self._request, self._clause, self._embed = request, clause, embed
        self._remarks: list[str] = []

    def understanding(self) -> Understanding:
        clause = self._clause
        if clause.objects:
            self._check_agents(clause.subjects)
        wanted = clause.objects or clause.subjects
        nouns = [resolve(phrase.noun, self._embed) if phrase.noun else Noun(()) for phrase in wanted]
        if any(phrase.noun and not noun.labels for phrase, noun in zip(wanted, nouns, strict=True)):
            return self._likeness(wanted, nouns)
        kinds, counted = self._kinds_and_count(wanted)
        if clause.on and ChangeKind.LEAVES in kinds:
            raise Unreadable("relation", clause.on)
        labels = (
            () if any(not phrase.noun for phrase in wanted) else tuple(dict.fromkeys(x for noun in nouns for x in noun.labels))
        )
        if clause.passive and ChangeKind.TAKEN in kinds and labels and set(labels) <= _TO_SIT_ON:
            raise Unreadable("relation", wanted[0].noun)  # "the seat is taken" says that somebody sits there
        for phrase, noun in zip(wanted, nouns, strict=True):
            self._remark(phrase, noun)
        if clause.places:
            self._remarks.append(read_back.remark_places(clause.places))
        on = self._on()
        group = singular(wanted[0].noun) if len(wanted) == 1 else ""
        return Understanding.model_validate(
            {
                "target": Target.OBJECTS,
                "kinds": kinds,
                "labels": labels,
                "noun": " or ".join(phrase.noun or "something" for phrase in wanted),
                "count_op": counted.op,
                "count": counted.count,
                "on": on,
                "side": clause.side,
                "gate": "objects",
                "read_back": read_back.objects(
                    kinds, labels, (counted.op, counted.count), on, clause.side, group, tuple(dict.fromkeys(self._remarks))
                ),
                "confidence": min((noun.score for noun in nouns), default=1.0),
            }
        )

    def _check_agents(self, agents: tuple[NounPhrase, ...]) -> None:
        """Who puts or takes must be people, any people."""
        for agent in agents:
            noun = resolve(agent.noun, self._embed) if agent.noun else Noun(("person",))
            if agent.nobody:
                raise Unreadable("negation")
            if noun.labels != ("person",):
                raise Unreadable("hands" if noun.labels else "identity", agent.noun)
            if agent.op or agent.ordinal > 1 or agent.last or agent.everyone:
                raise Unreadable("relation", agent.noun)
            self._remark(agent, noun)

    def _kinds_and_count(self, wanted: tuple[NounPhrase, ...]) -> tuple[tuple[ChangeKind, ...], _Count]:
        clause, first = self._clause, wanted[0]
        kinds = clause.kinds or ((ChangeKind.APPEARS,) if clause.there else ())
        special = [each for each in wanted if each.op or each.ordinal > 1 or each.last or each.nobody or each.everyone]
        if not special:
            return kinds, _Count()
        if len({(each.op, each.count, each.ordinal, each.last, each.nobody, each.everyone) for each in wanted}) > 1:
            raise Unreadable("several")
        still = clause.there and not clause.kinds  # nothing has to happen but that so many are in view
        if first.nobody:
            if not still:
                raise Unreadable("negation")
            return (), _Count("==", 0)
        if first.everyone:
            if not (clause.all_gone or kinds == (ChangeKind.LEAVES,)):
                raise Unreadable("everyone")
            return (), _Count("==", 0)
        if first.last:
            if kinds != (ChangeKind.LEAVES,):
                raise Unreadable("words", "last")
            return kinds, _Count("==", 0)
        if not still and kinds != (ChangeKind.APPEARS,):
            raise Unreadable("leaving count")
        if clause.on:
            raise Unreadable("relation", clause.on)
        op, count = (first.op, first.count) if first.op else (">=", first.ordinal)
        if first.loose and op == ">=":
            self._remarks.append(read_back.remark_loose(count, singular(first.noun)))
        return (() if still else kinds), _Count(op, count)

    def _likeness(self, wanted: tuple[NounPhrase, ...], nouns: list[Noun]) -> Understanding:
        """A thing that is no class of the detector can at best be recognised in the look of the whole picture."""
        clause = self._clause
        unknown = next(phrase for phrase, noun in zip(wanted, nouns, strict=True) if phrase.noun and not noun.labels)
        bare = not unknown.article and singular(unknown.noun) == unknown.noun
        if (bare and not clause.there) or unknown.noun in self._request.names:
            raise Unreadable("identity" if clause.kinds else "words", unknown.noun)
        if not self._request.commanded and not clause.kinds and bare:
            raise Unreadable("words", unknown.noun)
        if unknown.op or unknown.ordinal > 1 or unknown.last or unknown.nobody or clause.side or clause.on or clause.objects:
            raise Unreadable("vocabulary", unknown.noun)
        if len(wanted) > 1:
            raise Unreadable("several")
        if not set(clause.kinds) <= {ChangeKind.APPEARS}:
            raise Unreadable("vocabulary", unknown.noun)
        words = unknown.noun.split()
        noun = " ".join([*words[:-1], singular(words[-1])]) if unknown.article not in ("", "the") else unknown.noun
        tags = nearest_tags(noun, self._embed) if self._embed else ()
        if tags and tags[0][1] < LIKE_A_TAG:
            raise Unreadable("tags", noun)
        return Understanding(
            target=Target.LIKENESS,
            kinds=(ChangeKind.APPEARS,),
            noun=noun,
            query=noun,
            gate="likeness",
            read_back=read_back.likeness(noun, tags),
            confidence=_LIKENESS_CONFIDENCE,
        )

    def _on(self) -> str:
        if not self._clause.on:
            return ""
        labels = resolve(self._clause.on, self._embed).labels
        if len(labels) != 1 or labels[0] in STAND_INS:
            raise Unreadable("place", self._clause.on)
        return labels[0]

    def _remark(self, phrase: NounPhrase, noun: Noun) -> None:
        said = " ".join([*phrase.noun.split()[:-1], singular(phrase.noun.split()[-1])]) if phrase.noun else ""
        if noun.narrower:
            self._remarks.append(read_back.remark_narrower(said, noun.labels))
        elif (
            0 < len(noun.labels) <= 3
            and noun.labels != ("person",)
            and said not in noun.labels
            and said not in map(plural, noun.labels)
        ):
            self._remarks.append(read_back.remark_word(said, noun.labels, noun.score))
        if phrase.mine:
            self._remarks.append("I cannot tell yours from another.")


def _missing(found: Understanding, abilities: Looks, embeds: bool) -> str:
    """The part that would have to see it and is not there, in plain words."""
    if found.target is Target.OBJECTS and not abilities.detect:
        return "the object detector"
    if found.target is Target.OBJECTS and _HANDS & set(found.kinds) and not abilities.hands:
        return "the hand finder"
    if found.target in (Target.SCENE, Target.LIKENESS) and not abilities.features:
        return "the encoder of whole pictures"
    if found.target is Target.LIKENESS and not embeds:
        return "the encoder of sentences"
    if found.target is Target.TEXT and not abilities.text:
        return "the text reader"
    if found.target is Target.EVERYTHING and not (abilities.detect or abilities.features):
        return "everything that could see a change"
    return ""


def _nothing(cannot: str) -> Understanding:
    return Understanding(target=Target.NOTHING, gate="nothing", read_back=cannot, cannot=cannot)
