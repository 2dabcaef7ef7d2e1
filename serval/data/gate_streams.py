"""What a learned gate is taught with: streams of the photo world, what is asked of them, and when to speak.

Beside what `photo_split.tasks` asks, three requests that no rule of ours honours: that something has stayed, which is news only
later and never if it leaves before; that something comes in again; and a new scene, for which scenes are cut together. Nothing
happens in a part of the streams, cameras tremble and light changes in most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np

from serval.data.worlds.photo_split import Side, scenes
from serval.data.worlds.photo_world import PhotoWorld, Truth
from serval.media.frame import Frame

FPS = 8.0
STAY = 6.0  # seconds after which something has stayed: what crosses is gone by then, what visits is not
SHORT, TAIL = 2.5, 8.0  # seconds of a scene in a montage, and of a quiet scene that a busy one is cut to
MEASURED = range(300, 340)  # seeds that other measurements use; nothing is learnt from them

Phrases = Mapping[str, tuple[str, ...]]


def _phrases(asks: str, *clauses: str) -> tuple[str, ...]:
    """Every beginning with every clause, both separated by bars."""
    return tuple(f"{ask} {clause}" for ask in asks.split("|") for part in clauses for clause in part.split("|"))


_WHEN = "tell me when|say when|let me know when|alert me when|report when|warn me when|inform me when|speak up when|signal when"

PHRASES: Phrases = {
    "appears": _phrases(_WHEN, "{} comes in|{} appears|{} enters|{} arrives|{} walks in|{} comes along|{} is in the picture"),
    "leaves": _phrases(_WHEN, "{} leaves|{} has gone|{} goes away|{} leaves the picture|{} drives off|{} disappears|{} exits"),
    "put": _phrases(_WHEN, "{} is put down|{} is put on the table|someone puts down {}|{} is placed on the table"),
    "taken": _phrases(_WHEN, "{} is taken|{} is taken away|someone takes {}|{} is removed|someone removes {}"),
    "stays": _phrases(_WHEN, "{} has stayed for a while|{} stays|{} lingers|{} has been here for some time|{} waits"),
    "again": _phrases(_WHEN, "{} comes in again|{} appears again|{} returns|{} walks in again|{} arrives again"),
    "text": ("read out signs", *_phrases(_WHEN, "a sign is visible|there is new text")),
    "scene": ("describe every new scene", *_phrases(_WHEN, "the scene changes")),
    "everything": ("say what happens", "tell me everything that happens", "describe what happens"),
}
"""Ways to ask for each kind. The threshold is chosen with `CHOOSING_PHRASES`, tests ask in `OTHER_PHRASES`."""

CHOOSING_PHRASES: Phrases = {
    "appears": ("ping me when {} turns up", "tell me once {} comes into view"),
    "leaves": ("ping me when {} departs", "tell me once {} has left"),
    "put": ("ping me when someone sets down {}",),
    "taken": ("ping me when {} gets taken",),
    "stays": ("ping me when {} keeps standing there",),
    "again": ("ping me when {} comes back",),
    "text": ("tell me when you can read something",),
    "scene": ("tell me about new scenes",),
    "everything": ("report everything",),
}

OTHER_PHRASES: Phrases = {
    "appears": ("notify me when {} shows up",),
    "leaves": ("notify me when {} goes",),
    "put": ("notify me when {} is put there",),
    "taken": ("notify me when {} is picked up",),
    "stays": ("notify me when {} is still here after a while",),
    "again": ("notify me when {} is back",),
    "text": ("say when the sign is visible",),
    "scene": ("describe every new scene",),
    "everything": ("tell me what happens",),
}


@dataclass(frozen=True)
class Stream:
    """Scenes one after the other, and all that is true of them on one clock."""

    name: str
    worlds: tuple[PhotoWorld, ...]

    @property
    def starts(self) -> list[float]:
        return [0.0, *np.cumsum([world.seconds for world in self.worlds]).tolist()]

    @property
    def seconds(self) -> float:
        return self.starts[-1]

    @property
    def truth(self) -> tuple[Truth, ...]:
        """What happens. What stands in a scene that is cut to has come with it."""
        made = []
        for number, (world, start) in enumerate(zip(self.worlds, self.starts, strict=False)):
            if number:
                made.append(Truth("scene", start, "scene", "Another scene."))
                made += [
                    Truth("appears", start, each.sprite.label, "It is there.")
                    for each in world.actors
                    if each.path[0][0] <= 0 and each.sprite.label
                ]
            made += [Truth(each.kind, start + each.time, each.label, each.phrase, each.box) for each in world.truth]
        return tuple(sorted(made, key=lambda each: each.time))

    def frames(self) -> Iterator[Frame]:
        index = 0
        for world, start in zip(self.worlds, self.starts, strict=False):
            for number in range(int(world.seconds * FPS)):
                time = number / FPS
                yield Frame.from_rgb(world.picture(time), source=self.name, index=index, time=start + time)
                index += 1


@dataclass(frozen=True)
class Asked:
    """What a person asks, and the moments at which it is to be answered; none where silence is right.

    Attributes:
        kind: of `PHRASES`.
        label: what it is about; "" for anything.
    """

    text: str
    kind: str
    label: str
    due: tuple[float, ...]


def streams(
    side: Side, *, street: int = 0, table: int = 0, quiet: int = 0, montage: int = 0, seconds: float = 50.0, first: int = 0
) -> list[Stream]:
    """So many streams of each kind. Every other busy one of the training side is cut to a quiet scene at its end.

    Args:
        first: the seed from which on scenes are taken.

    Raises:
        PartMissing: the photographs are not on this machine.
        ValueError: the side has no such scenes.
    """
    made = []
    cut = side == "train"  # the test side has one place, and a cut to the same place is none
    tails = _fresh(side, "nothing", TAIL, first) if cut else iter(())
    for kind, count in (("street", street), ("table", table), ("nothing", quiet)):
        for number, world in enumerate(islice(_fresh(side, kind, seconds, first), count)):
            worlds = (world, next(tails)) if cut and number % 2 and kind != "nothing" else (world,)
            made.append(Stream(f"{side}-{world.name}", worlds))
    shots = (replace(world, seconds=SHORT) for world in _fresh(side, "nothing", TAIL, first))
    for number in range(montage):
        drawn = tuple(islice(shots, 8))
        kept = drawn[:1] + tuple(b for a, b in pairwise(drawn) if a.background is not b.background)
        made.append(Stream(f"{side}-montage-{number}", kept))
    return made


def asked(stream: Stream, *, phrases: Phrases = PHRASES, absent: Sequence[str] = (), seed: int = 0) -> list[Asked]:
    """Everything that may be asked of a stream, each thing in one wording, drawn by ``seed``.

    Args:
        absent: labels to ask for as well, where they do not occur.
    """
    rng = np.random.default_rng((seed, *stream.name.encode()))
    truth, made = stream.truth, list[Asked]()

    def ask(kind: str, label: str, due: Sequence[float]) -> None:
        words = f"{'an' if label[:1] in 'aeiou' else 'a'} {label}" if label else "something"
        text = str(rng.choice(phrases[kind])).format(words)
        made.append(Asked(text, kind, label, tuple(sorted(due))))

    labels = dict.fromkeys(each.label for each in truth if each.kind in ("appears", "leaves", "put", "taken"))
    for kind in ("appears", "leaves", "put", "taken"):
        times = {label: [each.time for each in truth if each.kind == kind and each.label == label] for label in labels}
        for label, due in times.items():
            if due:
                ask(kind, label, due)
        if any(times.values()) or kind == "appears":
            ask(kind, "", [time for due in times.values() for time in due])
    for label in labels:
        comes = [each.time for each in truth if each.kind == "appears" and each.label == label]
        ends = [each.time for each in truth if each.kind == "leaves" and each.label == label]
        if comes and stream.worlds[0].name.startswith("street"):
            ask("stays", label, _stayed(comes, ends, stream.starts))
            ask("again", label, comes[1:])
    for label in absent:
        if label not in labels:
            ask(str(rng.choice(["appears", "leaves"])), label, ())
    ask("text", "", [each.time for each in truth if each.kind == "text"])
    ask("scene", "", [0.0] + [each.time for each in truth if each.kind == "scene"])
    ask("everything", "", [each.time for each in truth if each.kind not in ("scene", "text")])
    return made


def _fresh(side: Side, kind: str, seconds: float, first: int) -> Iterator[PhotoWorld]:
    return (world for world in scenes(side, kind, seconds=seconds, start=first) if world.seed not in MEASURED)


def _stayed(comes: Sequence[float], ends: Sequence[float], starts: Sequence[float]) -> list[float]:
    """When each of what came has been there for `STAY`, if it has: it neither left before nor did its scene end."""
    over = [*ends, *starts[1:]]
    return [time + STAY for time in comes if not any(time < end < time + STAY + 0.5 for end in over)]
