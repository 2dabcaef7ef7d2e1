"""The plain-language read-back: what will be told, how it is detected, and where that stops."""

from __future__ import annotations

from serval.assistant.instructions.limits import REASONS
from serval.assistant.instructions.nouns import a, any_of
from serval.assistant.instructions.words import plural
from serval.assistant.view import ChangeKind

SCENE = "I will tell you at every new scene. I detect it by comparing the picture's features with those of the scene before."
EVERYTHING = (
    "I will tell you whatever changes: new scenes, and things that come, leave, move, or are put down or taken. "
    "I detect it by tracking objects, and by comparing the picture with what it was. I will speak often."
)


def objects(
    kinds: tuple[ChangeKind, ...],
    labels: tuple[str, ...],
    count: tuple[str, int],
    on: str,
    side: str,
    noun: str = "",
    remarks: tuple[str, ...] = (),
) -> str:
    """For changes of tracked objects and counts of what is in view.

    Args:
        count: operator, "" for none, and number.
        noun: stands for the classes when they are more than one wants to hear.
    """
    op, number = count
    one = a(noun) if noun and len(labels) > 3 else any_of(labels)
    told = _told(kinds, one, labels, op, number, on, side)
    how = ["I detect it by tracking objects"]
    how.append(f"(class{'es' if len(labels) > 1 else ''}: {', '.join(labels)})" if labels else "(any of my 80 classes)")
    how.append("at a few looks a second")
    if {ChangeKind.PUT, ChangeKind.TAKEN} & set(kinds):
        how.append("and by a hand near the place where the count changes")
    return " ".join([f"I will tell you when {told}.", " ".join(how) + ".", *remarks])


def text(wanted: str) -> str:
    """For text in the picture; "" is any text."""
    told = (
        f"the words “{wanted}” can be read in the picture"
        if wanted
        else "there is text in the picture that was not there before"
    )
    return (
        f"I will tell you when {told}. I detect it by reading the picture when it changes; "
        "text that is small, slanted, blurred or gone within a second or two I may miss."
    )


def likeness(noun: str, tags: tuple[tuple[str, float], ...] = ()) -> str:
    """For what is no class of the detector; ``tags`` are those nearest to it with their cosines."""
    nearest = ", ".join(f"{tag} {alike:.2f}" for tag, alike in tags)
    return (
        f"I will tell you when the picture looks like “{noun}”. It is none of the 80 things I can track, so I compare "
        f"my tags "
        "for the whole picture with your words. This is rough: expect misses and false alarms."
        + (f" Nearest tags: {nearest}." if nearest else "")
    )


def cannot(topic: str, about: str = "") -> str:
    """The honest refusal of a topic of `REASONS`; ``about`` is the part of the sentence that it is about."""
    said = f" (“{about}”)" if about else ""
    return f"I cannot watch for that with the parts I have: {REASONS[topic]}{said}."


def off(part: str) -> str:
    """The refusal when the part that would see it is not there."""
    return f"I cannot watch for that now: {part} is off on this machine."


def remark_narrower(noun: str, labels: tuple[str, ...]) -> str:
    if labels in (("bicycle",), ("motorcycle",)) and noun.rstrip("s") in ("cyclist", "bicyclist", "biker", "motorcyclist"):
        return f"I look for the {labels[0]}, whoever rides it, and may miss one in quick motion."
    return f"I cannot tell {a(noun)} from any other {' or '.join(labels)}, so I will tell you of every one."


def remark_word(noun: str, labels: tuple[str, ...], score: float) -> str:
    sure = f", the nearest word I know ({score:.2f} alike)" if score < 1 else ""
    return f"By “{noun}” I understand {any_of(labels)}{sure}."


def remark_places(places: tuple[str, ...]) -> str:
    return f"I take the whole picture for {' and '.join(places)}."


def _told(kinds: tuple[ChangeKind, ...], one: str, labels: tuple[str, ...], op: str, count: int, on: str, side: str) -> str:
    resting = f" on {a(on)}" if on else ""
    if not kinds:
        return _in_view(labels, op, count)
    from_side = f" from the {side}" if side and ChangeKind.APPEARS in kinds else ""
    by_side = f" by the {side} side" if side and ChangeKind.LEAVES in kinds else ""
    says = {
        ChangeKind.APPEARS: f"{one} comes into view{resting}{from_side}",
        ChangeKind.LEAVES: f"{one} goes out of view{by_side}",
        ChangeKind.MOVES: f"{one} moves{resting}",
        ChangeKind.PUT: f"somebody puts down {one}{resting}",
        ChangeKind.TAKEN: f"somebody picks up or takes {one}" + (f" from {a(on)}" if on else ""),
    }
    told = ", or when ".join(says[kind] for kind in kinds)
    return f"{told}, and then {_in_view(labels, op, count)}" if op else told


def _in_view(labels: tuple[str, ...], op: str, count: int) -> str:
    noun = any_of(labels, many=count != 1 or op != "==") if labels else "things I can track"
    if count == 0 and op in ("==", "<="):
        return f"no {any_of(labels).split(' ', 1)[1]} is in view" if len(labels) == 1 else f"no {noun} are in view"
    number = {">=": f"{count} or more", "<=": f"{count} or fewer", "==": f"exactly {count}"}[op]
    return f"{number} {noun} {'is' if count == 1 and op == '==' else 'are'} in view"


def remark_loose(count: int, noun: str) -> str:
    return f"I take that to mean {count} or more {plural(noun)}."
