"""What a whole frame looks like: an image tag, told only when it is sure enough, or when the detector says much the same."""

from __future__ import annotations

from collections.abc import Collection

from serval.encoders.labels import IMAGENET, group_of, group_scores
from serval.encoders.percept import Detection, Percept

# Measured over five real clips, looked at every quarter of a second: of tags above a quarter most are wrong (a van's roof is
# a "switch", .59; a telephone a "joystick", .29), above three fifths most are right ("suit", "mountain bike", "chest").
SURE = 0.6  # probability from which a tag is told by itself ...
AGREED = 0.25  # ... and when the detector saw a thing of that kind too
SEEN = 0.5  # score from which it did

_KINDS = {
    "vehicle": "ambulance|beach wagon|cab|convertible|fire engine|garbage truck|jeep|limousine|minibus|minivan|Model T"
    "|moving van|pickup|police van|racer|recreational vehicle|school bus|sports car|streetcar|tow truck|trailer truck"
    "|trolleybus|bullet train|electric locomotive|steam locomotive|freight car|passenger car",
    "two-wheeler": "bicycle-built-for-two|moped|motor scooter|mountain bike",
}
KIND_OF = {tag: kind for kind, tags in _KINDS.items() for tag in tags.split("|")}
# Tags that say what kind of person somebody is, and what every bicycle behind a post looks like.
_NEVER = frozenset(("groom", "ballplayer", "scuba diver", "unicycle"))


def looks_like(percept: Percept, known: Collection[str]) -> tuple[str, float] | None:
    """The best tag with its probability, or ``None`` where it is not sure, says what a person is, or says nothing more.

    Args:
        known: labels already told of; "what looks like a minibus" beside "a car" may be the same thing.
    """
    if percept.tags is None:
        return None
    index = int(percept.tags.argmax())
    name, score = IMAGENET[index], float(percept.tags[index])
    kind = KIND_OF.get(name, "")
    if name in _NEVER or name in known or (kind and any(group_of(label) == kind or label == kind for label in known)):
        return None
    agreed = kind and any(_score(each, kind) >= SEEN for each in percept.detections or ())
    return (name, min(1.0, score)) if score >= (AGREED if agreed else SURE) else None


def _score(detection: Detection, kind: str) -> float:
    return group_scores(detection.scores).get(kind, 0.0)
