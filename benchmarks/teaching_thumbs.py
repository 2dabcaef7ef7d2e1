"""What thumbs are worth: people of known taste judge what real watches of the photo world had to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.table import Cell, Table
from benchmarks.teaching_scenes import busy
from benchmarks.timing import steps

AFTER = (0, 10, 30, 100)
_SHUFFLES = 20
_NOTICED = 0.5  # share of missed moments that a person notices and gives a thumb for
_ROUNDS = 20  # through all moments at most
_FPS = 8.0


@dataclass(frozen=True)
class Moment:
    """Something that a gate would have said."""

    score: float
    threshold: float
    words: tuple[str, ...]
    label: str
    kind: str
    area: float
    true: bool  # something of the kind happened in the world then
    world: int


Likes = Callable[[Moment, np.random.Generator], bool]
PEOPLE: dict[str, Likes] = {
    "likes all of it": lambda moment, rng: True,
    "minds what did not happen": lambda moment, rng: moment.true,
    "minds what leaves": lambda moment, rng: moment.kind != "leaves",
    "wants people only": lambda moment, rng: moment.label == "person",
    "minds small things": lambda moment, rng: moment.area >= 0.04,
    "minds what leaves, one thumb in ten wrong": lambda moment, rng: (moment.kind != "leaves") != (rng.random() < 0.1),
    "throws a coin": lambda moment, rng: bool(rng.random() < 0.5),
}


def moments(seeds: Sequence[int], seconds: float) -> list[Moment]:
    """What the gate for "say what happens" would say of busy scenes."""
    from serval.assistant.gates.everything import EverythingGate
    from serval.assistant.perception import Perception
    from serval.assistant.teaching.taste import words_of
    from serval.assistant.view import ChangeKind
    from serval.encoders.eyes import Eyes
    from serval.encoders.percept import Looks, Percept

    looks, found = Looks(detect=True, features=True), []
    eyes, gate = Eyes.open(looks), EverythingGate()
    for seed in steps(seeds, "watching busy scenes"):
        world = busy(seed, seconds)
        perception = Perception(looks)
        for frame in world.frames(_FPS):
            _, wanted = perception.plan(frame.luma, frame.time)
            seen = eyes.look(frame, wanted) if wanted else Percept(frame.source, frame.index, frame.time, frame.luma)
            view = perception.update(seen)
            _, score = gate.step(None, view)
            kinds = {ChangeKind.APPEARS, ChangeKind.LEAVES, ChangeKind.MOVES}
            if score.momentary and all(each.kind in kinds for each in score.because):
                best = max(score.because, key=lambda each: each.score)
                ends = [each.path[0 if best.kind is ChangeKind.APPEARS else -1][0] for each in world.actors]
                true = best.kind is not ChangeKind.MOVES and any(-0.2 <= frame.time - end <= 2.5 for end in ends)
                area = best.box.area if best.box else 0.0
                words = words_of(view, score.because)
                found.append(Moment(score.value, gate.threshold, words, best.label, str(best.kind), area, true, seed))
    return found


def tables(found: Sequence[Moment]) -> tuple[tuple[Table, Table], dict[str, Any]]:
    """Mistakes on moments not yet judged after 0, 10, 30, 100 thumbs; and mistakes made on the way."""
    ahead, on_the_way, data = list[tuple[Cell, ...]](), list[tuple[Cell, ...]](), dict[str, Any]()
    for name, likes in PEOPLE.items():
        for method in ("threshold only", "threshold and words"):
            runs = [_lived(found, likes, method == "threshold and words", seed) for seed in range(_SHUFFLES)]
            later = np.array([each[0] for each in runs])  # [shuffles, len(AFTER)], share of mistakes
            tuned, untuned = np.array([each[1] for each in runs]), np.array([each[2] for each in runs])
            ahead.append((name, method, *(100 * float(each) for each in later.mean(0))))
            if method == "threshold and words":
                for who, counts in (("untuned", untuned), ("tuned", tuned)):
                    on_the_way.append((name, who, *(float(counts[:, :end].sum(1).mean()) for end in AFTER)))
                share = _shares(runs)
                data[name] = {"regret": (tuned.cumsum(1) - untuned.cumsum(1)).mean(0).tolist(), "judged up": share}
    columns = tuple(f"{count} thumbs" for count in AFTER)
    note = (
        "A mistake is a moment said that the person minds, or one not said that they like. The coin cannot be learnt: it shows "
        "what is lost by listening to it."
    )
    title = "Mistakes in % of the moments of scenes that no thumb was given in, after …"
    return (
        Table(title, ("person", "tuned", *columns), tuple(ahead), note=note),
        Table(
            "Mistakes in the first … moments",
            ("person", "gate", *map(str, AFTER)),
            tuple(on_the_way),
            note="Counted before the thumb for the moment itself.",
        ),
    ), data


def _shares(runs: Sequence[tuple[list[float], list[bool], list[bool]]]) -> float:
    return 1.0 - float(np.mean([np.mean(each[2]) for each in runs]))


def _lived(found: Sequence[Moment], likes: Likes, words: bool, seed: int) -> tuple[list[float], list[bool], list[bool]]:
    """One person's life with a gate: share of mistakes on the held-out scenes at each of `AFTER`, and at each moment whether
    the tuned and the untuned gate were wrong. What is said gets a thumb; what is missed gets one half of the time, and then
    only its score is known."""
    from serval.assistant.teaching.taste import Taste

    rng = np.random.default_rng(seed)
    worlds = sorted({each.world for each in found})
    kept_back = set(rng.permutation(worlds)[: len(worlds) // 2].tolist())
    test = [each for each in found if each.world in kept_back]
    rest = [each for each in found if each.world not in kept_back]
    truth = [likes(each, rng) for each in test]
    taste, thumbs = Taste(), 0
    tuned, untuned, later = list[bool](), list[bool](), list[float]()

    def spoken(each: Moment) -> bool:
        return each.score + taste.shift(each.words if words else ()) >= each.threshold

    def ahead() -> float:
        return float(np.mean([spoken(each) != liked for each, liked in zip(test, truth, strict=True)]))

    later.append(ahead())
    for _ in range(_ROUNDS):
        for place in rng.permutation(len(rest)):
            each = rest[place]
            liked, said = likes(each, rng), spoken(each)
            tuned.append(said != liked)
            untuned.append((each.score >= each.threshold) != liked)
            if said or (liked and rng.random() < _NOTICED):
                taste = taste.after(liked, each.score, each.threshold, each.words if said and words else ())
                thumbs += 1
                if len(later) < len(AFTER) and thumbs == AFTER[len(later)]:
                    later.append(ahead())
        if thumbs >= AFTER[-1]:
            break
    later += [ahead()] * (len(AFTER) - len(later))  # who is left nothing to mind gives no more thumbs
    return later, tuned[: AFTER[-1]], untuned[: AFTER[-1]]
