"""Things taught by a few pictures and known again; thumbs that tune what is said."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.table import Cell, Result, Table, Target
from benchmarks.teaching_scenes import (
    HELD_OUT,
    SHOWN,
    arrival,
    cast,
    cut_out,
    elsewhere,
    folder_of,
    lesson_picture,
    pasted,
    stamps,
)
from benchmarks.teaching_thumbs import moments, tables
from benchmarks.timing import steps

NAME = "teaching"
ABOUT = "Teaching: things by a few pictures, taste by thumbs"
PICTURES = (1, 3, 10)
_SHOWN, _TESTED, _KNOWN = 10, 8, 10  # pictures of each thing to teach and to test with; things known at a time

Features = NDArray[np.float32]


@dataclass
class Album:
    """Features of every picture: [things, pictures, 1280], of the thing, of a place beside it; and whose they are."""

    names: list[str]
    taught: Features
    taught_beside: Features
    tested: Features
    tested_beside: Features


@dataclass
class Tally:
    right: list[float] = field(default_factory=list)
    wrong: list[float] = field(default_factory=list)
    nearest: list[float] = field(default_factory=list)
    unknown: list[float] = field(default_factory=list)
    alike: list[float] = field(default_factory=list)
    places: list[float] = field(default_factory=list)


def run(quick: bool) -> Result:
    album = _album(6 if quick else 40)
    seeds = range(2 if quick else 10)
    clips, spoken = _clips(3 if quick else 15)
    found = moments(*((range(2), 20.0) if quick else (range(8), 60.0)))
    thumbs, data = tables(found)
    known, three = _recognition(album, seeds)
    return Result(
        tables=(known, _ways(album, seeds), clips, *thumbs),
        method=f"Things: {len(album.names)} photographed cut-outs, which had been looked at when features and thresholds were "
        f"chosen, so that recognition is rather flattered, pasted with other sizes, turns, light, tints and noise into "
        f"pictures of {', '.join(SHOWN)} for lessons, and of "
        f"{', '.join(HELD_OUT)} for tests, with boxes that are off by up to 8 % at each edge. In each of {len(seeds)} draws "
        f"{min(_KNOWN, len(album.names) // 2)} things are taught, with different pictures, and the others stay unknown. Clips: "
        "things of the photo world's cast, three pictures each, found in them by the detector alone; then each of the cast, "
        f"taught or not, comes into a clip at {HELD_OUT[0]}, and the whole watch decides. Thumbs: {len(found)} moments which "
        "the gate for “say what happens” would have told in real watches of busy scenes; people of known taste give a thumb "
        "to what is said, and for half of what is missed; the mean of 20 shuffles, each with half of the scenes held out.",
        targets=(
            Target("named right, of 10 things, by three pictures", three["right"], 80.0, "%", at_least=True),
            Target("unknown things given a name, by three pictures", three["unknown"], 5.0, "%"),
        ),
        data={"watch": spoken, "thumbs": data},
    )


def _album(count: int) -> Album:
    from serval.encoders.eyes import Eyes
    from serval.encoders.percept import Looks
    from serval.media.frame import Frame

    eyes, names = Eyes.open(Looks(features=True)), stamps("measured", count)
    rows: list[list[Features]] = []
    for name in steps(names, "looking at cut-outs"):
        rgba, sides = cut_out(name), list[Features]()
        for places, pictures in ((SHOWN, _SHOWN), (HELD_OUT, _TESTED)):
            thing, beside = [], []
            for number in range(pictures):
                rng = np.random.default_rng((number, len(places), *name.encode()))
                picture, box = pasted(rgba, places[number % len(places)], rng)
                features = eyes.crop_features(Frame.from_rgb(picture), [box, elsewhere(box, rng)])
                thing.append(features[0])
                beside.append(features[1])
            sides += [np.stack(thing), np.stack(beside)]
        rows.append(sides)
    return Album(names, *(np.stack([row[place] for row in rows]) for place in range(4)))


def _draws(album: Album, seeds: Sequence[int], count: int) -> Any:
    """For each seed the known things, the unknown ones, and which pictures are shown of each known one."""
    for seed in seeds:
        rng = np.random.default_rng((seed, 3))
        order = rng.permutation(len(album.names))
        known = order[: min(_KNOWN, len(order) // 2)]
        yield known, order[len(known) :], [rng.permutation(_SHOWN)[:count] for _ in known]


def _recognition(album: Album, seeds: Sequence[int]) -> tuple[Table, dict[str, float]]:
    from serval.assistant.teaching.lesson import make_lesson
    from serval.assistant.teaching.recall import Recall

    rows, three = [], dict[str, float]()
    for count in PICTURES:
        tally = Tally()
        for known, unknown, shown in _draws(album, seeds, count):
            lessons = []
            for place, (thing, which) in enumerate(zip(known, shown, strict=True)):
                pictures, beside = list(album.taught[thing][which]), list(album.taught_beside[thing][which])
                lessons.append(make_lesson(f"thing {chr(97 + place)}", pictures, beside, []))
            recall = Recall(lessons)

            def names(features: Features, recall: Recall = recall) -> list[str]:
                return [(recall.name([each])[0] or ("",))[0] for each in features.reshape(-1, features.shape[-1])]

            given = names(album.tested[known])
            own = [f"thing {chr(97 + place)}" for place in range(len(known)) for _ in range(_TESTED)]
            near = recall.cosines(album.tested[known].reshape(-1, album.tested.shape[-1])).argmax(1)
            tally.right.append(_share([a == b for a, b in zip(given, own, strict=True)]))
            tally.wrong.append(_share([bool(a) and a != b for a, b in zip(given, own, strict=True)]))
            tally.nearest.append(_share([recall.names[a] == b for a, b in zip(near, own, strict=True)]))
            folders = {folder_of(album.names[each]) for each in known}
            alike = [each for each in unknown if folder_of(album.names[each]) in folders]
            tally.unknown.append(_share([bool(each) for each in names(album.tested[unknown])]))
            if alike:
                tally.alike.append(_share([bool(each) for each in names(album.tested[alike])]))
            tally.places.append(_share([bool(each) for each in names(album.tested_beside)]))
        mean = {name: 100 * float(np.mean(values)) for name, values in vars(tally).items() if values}
        rows.append((count, mean["right"], 100 * float(np.std(tally.right)), 100 - mean["right"] - mean["wrong"], mean["wrong"],
                     mean["nearest"], mean["unknown"], mean.get("alike"), mean["places"]))  # fmt: skip
        if count == 3:
            three = mean
    return Table(
        "Known again in other places and other light, in %",
        ("pictures shown", "named right", "± of draws", "not recognised", "named as another", "nearest is right",
         "unknown things named", "of these alike", "places named"),
        tuple(rows),
        note="“Alike” are unknown things of a folder of the archive from which one was taught: another dog, another fruit. "
        "“Places” are regions in which none of the things is.",
    ), three  # fmt: skip


def _ways(album: Album, seeds: Sequence[int]) -> Table:
    """Other ways to compare, without thresholds: how well does the best cosine tell known from unknown?"""

    def less(rows: Features, beside: Features, share: float) -> Features:
        return _unit(_unit(rows) - share * _unit(beside))

    forms = {
        "as they are": (_unit(album.taught), _unit(album.tested)),
        "half of a place beside it taken away": (
            less(album.taught, album.taught_beside, 0.5),
            less(album.tested, album.tested_beside, 0.5),
        ),
        "a place beside it taken away": (
            less(album.taught, album.taught_beside, 1.0),
            less(album.tested, album.tested_beside, 1.0),
        ),
        "square roots": (_unit(np.sqrt(album.taught)), _unit(np.sqrt(album.tested))),
    }
    rows = []
    for form, (taught, tested) in forms.items():
        for way in ("mean", "nearest picture"):
            cells: list[float] = []
            for count in PICTURES:
                right, area = [], []
                for known, unknown, shown in _draws(album, seeds, count):
                    flat = tested[known].reshape(-1, tested.shape[-1])
                    others = tested[unknown].reshape(-1, tested.shape[-1])

                    lessons = [taught[thing][which] for thing, which in zip(known, shown, strict=True)]
                    mine, theirs = _scores(flat, lessons, way), _scores(others, lessons, way).max(1)
                    hit = mine.argmax(1) == np.repeat(np.arange(len(known)), _TESTED)
                    right.append(float(hit.mean()))
                    area.append(_auroc(np.where(hit, mine.max(1), -1.0), theirs))
                cells += [100 * float(np.mean(right)), float(np.mean(area))]
            rows.append((form, way, *cells))
    columns = [column for count in PICTURES for column in (f"nearest right % ({count})", f"AUROC ({count})")]
    return Table(
        "Ways to compare features", ("features", "compared with", *columns), tuple(rows),
        note="AUROC: how often a picture of a known thing, nearest to the right one, scores above one of an unknown thing. The "
        "number of pictures shown stands in brackets.",
    )  # fmt: skip


def _share(values: Sequence[bool]) -> float:
    return float(np.mean(values))


def _unit(rows: Features) -> Features:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9), np.float32)


def _scores(probe: Features, lessons: Sequence[Features], way: str) -> Features:
    """Cosine of each picture to each thing: [pictures, things]."""
    if way == "mean":
        return np.asarray(probe @ _unit(np.stack([each.mean(0) for each in lessons])).T)
    return np.stack([(probe @ each.T).max(1) for each in lessons], 1)


def _auroc(higher: Features, lower: Features) -> float:
    wins = (higher[:, None] > lower[None]).mean() + 0.5 * (higher[:, None] == lower[None]).mean()
    return float(wins)


def _clips(count: int) -> tuple[Table, dict[str, Any]]:
    from serval.assistant.perception import Perception
    from serval.assistant.teaching.lesson import make_lesson
    from serval.assistant.teaching.looking import TaughtEyes
    from serval.assistant.teaching.recall import Recall
    from serval.assistant.teaching.showing import see
    from serval.encoders.eyes import Eyes
    from serval.encoders.labels import COCO, COCO_GROUPS
    from serval.encoders.percept import Looks, Percept

    eyes, things, looks = Eyes.open(Looks(detect=True)), cast()[:count], Looks(detect=True)
    order = np.random.default_rng(5).permutation(len(things))
    lessons = {}
    for place in steps(order, "teaching the cast"):
        shown = [see(lesson_picture(things[place], number), eyes) for number in range(3)]
        beside = [each for one in shown for each in one.others]
        lessons[things[place].name] = make_lesson(f"my {things[place].name}", [one.region for one in shown], beside, [])
    tally = {"taught": [0] * 4, "not taught": [0] * 4}
    cost: list[tuple[float, float]] = []
    told: list[dict[str, Any]] = []
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):  # each thing is once among the taught, once not
        recall = Recall([lessons[things[place].name] for place in half])
        taught = {things[place].name for place in half}
        knowing = TaughtEyes(eyes, recall)
        for thing in steps(things, "watching clips"):
            perception, names, extra = Perception(looks), list[str](), 0.0
            looked = 0
            for frame in arrival(thing, HELD_OUT[0], 1).frames(8.0):
                _, wanted = perception.plan(frame.luma, frame.time)
                began = time.process_time()
                seen = knowing.look(frame, wanted) if wanted else Percept(frame.source, frame.index, frame.time, frame.luma)
                spent = time.process_time() - began
                if wanted:
                    looked += 1
                    extra += spent - seen.cost.get("objects", spent)
                view = perception.update(seen)
                names += [change.label for change in view.changes if change.kind == "appears"]
            cost.append((extra, looked))
            own = f"my {thing.name}"
            given = [name for name in names if name not in COCO and name not in COCO_GROUPS]
            row = tally["taught" if thing.name in taught else "not taught"]
            row[0] += 1
            row[1] += bool(names)
            row[2] += own in given
            row[3] += any(name != own for name in given)
            told.append({"thing": thing.name, "taught": thing.name in taught, "told": names})
    rows: tuple[tuple[Cell, ...], ...] = tuple((name, *row) for name, row in tally.items())
    a_look = 1000 * sum(each[0] for each in cost) / max(1, sum(each[1] for each in cost))
    return Table(
        "Whole watches: what comes into view, and how it is called",
        ("the thing was", "clips", "its coming was told", "by its own name", "by a name of another"),
        rows,
        note=f"What the detector finds no box for cannot be named. Naming took {a_look:.0f} ms of processor time a look.",
    ), {"clips": told, "ms a look": a_look}  # fmt: skip
