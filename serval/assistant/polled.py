"""Whether a wake that no change stands behind, as a poll's, finds anything that is asked for and new."""

from __future__ import annotations

from collections import Counter

from serval.assistant.event import Fact, FactKind
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.view import ChangeKind


def found(asked: Understanding, facts: tuple[Fact, ...]) -> Counter[str]:
    """What facts hold of what is asked for: objects by label with their number, or lines of text, or the scene's names."""
    if asked.target is Target.OBJECTS:
        counts = [fact for fact in facts if fact.kind in (FactKind.WHO, FactKind.COUNT)]
        counted: Counter[str] = Counter()
        for fact in counts:
            if not asked.labels or fact.subject in asked.labels:
                counted[fact.subject] = max(counted[fact.subject], fact.count or 1)
        return counted
    kind = FactKind.TEXT if asked.target is Target.TEXT else FactKind.SCENE
    return Counter({fact.text or fact.subject for fact in facts if fact.kind is kind})


def is_news(asked: Understanding, before: Counter[str] | None, now: Counter[str]) -> bool:
    """Whether what was found is worth a word after what the wake ``before`` found.

    Of objects, more for those that appear or are put, fewer for those that leave or are taken; of text, lines that were not
    there; of scenes, another description. The first wake about objects has nothing to compare with.
    """
    if asked.target is not Target.OBJECTS:
        return bool(now - (before or Counter()))
    if before is None:
        return False
    more, fewer, wanted = bool(now - before), bool(before - now), set(asked.kinds)
    rises, falls = wanted & {ChangeKind.APPEARS, ChangeKind.PUT}, wanted & {ChangeKind.LEAVES, ChangeKind.TAKEN}
    return bool((more and (rises or not wanted)) or (fewer and falls))
