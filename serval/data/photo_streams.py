"""Streams of the photo world as a streaming model reads them: what a watcher knew at each frame, what was asked, what to say.

    python -m serval.data.photo_streams photo_streams.safetensors

Watching takes about fifteen seconds a stream. What is asked of each, in which words and when it is due, is `gate_streams`.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from serval.assistant.view import View
from serval.assistant.view_tokens import FPS, PLACES, TEXT, Shown
from serval.connectors.stream_layout import Encode
from serval.conversation.sequence import IGNORED
from serval.data.gate_data import LOOKS, NOT_THERE, training_streams, views
from serval.data.gate_streams import CHOOSING_PHRASES, PHRASES, Asked, Phrases, Stream, asked
from serval.refusal import Refusal
from serval.training.objectives.balance import SILENT, SPEAK
from serval.training.stream_sample import StreamSample, Words
from serval.weights.checkpoint import SafetensorsCheckpoint

log = logging.getLogger(__name__)

KEPT_BACK = 7  # every seventh stream, asked in words of its own
SETTLES = 0.75  # seconds after which what happened can be known: then it is to be said
EARLY = 0.5  # seconds before it in which nothing is taught


@dataclass(frozen=True)
class Request:
    """What somebody asks of a stream, and what is to be said when.

    Attributes:
        kind: as in `gate_streams.PHRASES`.
        said: (seconds at which it is due, words).
    """

    text: str
    kind: str
    said: tuple[tuple[float, str], ...]


@dataclass(frozen=True, eq=False)
class WatchedStream:
    """
    Attributes:
        times: (frames,) seconds.
        scene: (frames, `SCENE`).
        places: (frames, `PLACES`, `PLACE`).
    """

    times: Tensor
    scene: Tensor
    places: Tensor
    requests: tuple[Request, ...]

    def __len__(self) -> int:
        return len(self.times)

    def sample(self, request: Request, encode: Encode, end: int, frames: slice = slice(None)) -> StreamSample:
        """One request as a stream to learn from: it is made behind the first frame of ``frames``.

        A frame is one to speak at once that can be known; the moments before that teach nothing.
        """
        times = self.times[frames]
        places = in_clips(self.places[frames].float(), text=request.kind == "text")
        decisions = torch.full((len(times),), SILENT)
        spoken = [Words(0, "user", tuple(encode(request.text, "nothing")))]
        for due, words in request.said:
            if not times[0] <= due <= times[-1]:
                continue
            decisions[(times >= due - EARLY) & (times < due + SETTLES) & (decisions == SILENT)] = IGNORED
            speak = int((times < due + SETTLES).sum())
            if 0 < speak < len(times) and decisions[speak] != SPEAK:
                decisions[speak] = SPEAK
                spoken.append(Words(speak, "assistant", (*encode(words, "nothing"), end)))
        decisions[0] = IGNORED  # nobody has asked yet
        general = self.scene[frames].float()[:, None].expand(-1, PLACES, -1)
        return StreamSample((general, places), decisions, tuple(sorted(spoken, key=lambda each: each.frame)), FPS)


def in_clips(places: Tensor, *, text: bool) -> Tensor:
    """(frames, `PLACES`, `CLIP`) of consecutive frames (frames, `PLACES`, `PLACE`); nothing came before the first.

    Args:
        text: whether new text is shown.
    """
    if not text:
        places = places.clone()
        places[..., TEXT] = 0.0
    return torch.cat([places, places.diff(dim=0, prepend=places[:1])], -1)


def tokens_of(seen: Iterable[View]) -> tuple[Tensor, Tensor, Tensor]:
    """Times, scenes and places of the views that a model reads: float16."""
    shown, times, scenes, places = Shown(), list[float](), list[np.ndarray](), list[np.ndarray]()
    for view in seen:
        shown = shown.seen(view)
        if shown.due(view):
            shown, (scene, place) = shown.read(view)
            times.append(view.time)
            scenes.append(scene.astype(np.float16))
            places.append(place.astype(np.float16))
    return torch.tensor(times), torch.from_numpy(np.stack(scenes)), torch.from_numpy(np.stack(places))


def requests_of(stream: Stream, phrases: Phrases, absent: Sequence[str] = NOT_THERE) -> tuple[Request, ...]:
    """All that may be asked of a stream, and what is to be said: the thing and what becomes of it."""
    made = asked(stream, phrases=phrases, absent=absent)
    return tuple(Request(each.text, each.kind, tuple((due, _words(stream, each, due)) for due in each.due)) for each in made)


def _words(stream: Stream, request: Asked, due: float) -> str:
    if request.kind in ("stays", "again"):
        return f"{request.label} {request.kind}"
    if request.kind == "scene":
        return "a new scene"
    if request.kind == "text":
        return "a sign"
    kinds = ("scene", "text") if request.kind == "everything" else ()
    for truth in stream.truth:
        wanted = truth.kind == request.kind or (request.kind == "everything" and truth.kind not in kinds)
        if wanted and truth.time == due and request.label in ("", truth.label):
            return f"{truth.label or 'something'} {truth.kind}"
    raise AssertionError(f"nothing is due at {due:g} s of {stream.name}")


def write(path: Path, made: Sequence[WatchedStream]) -> None:
    """One file: ``3.scene`` …, and what is asked as the bytes of JSON."""
    tensors: dict[str, Tensor] = {}
    for number, each in enumerate(made):
        content = [[request.text, request.kind, request.said] for request in each.requests]
        kept = np.frombuffer(json.dumps(content).encode(), np.uint8).copy()
        tensors |= {f"{number}.times": each.times, f"{number}.scene": each.scene, f"{number}.places": each.places}
        tensors[f"{number}.requests"] = torch.from_numpy(kept)
    save_file(tensors, path)


def read(path: Path) -> list[WatchedStream]:
    """What `write` wrote. Raises `Refusal` for any other file, or none."""
    remedy = "make them: python -m serval.data.photo_streams FILE"
    if not path.is_file():
        raise Refusal(path.name, "there are no watched streams of this name", remedy)
    file = SafetensorsCheckpoint(path)
    try:
        return [_read(file, number) for number in range(len(list(file.names())) // 4)]
    except (KeyError, ValueError, TypeError):
        raise Refusal(file.name, "these are no watched streams", remedy) from None


def _read(file: SafetensorsCheckpoint, number: int) -> WatchedStream:
    content = json.loads(bytes(file.tensor(f"{number}.requests", floats=False).tolist()))
    requests = [
        Request(str(text), str(kind), tuple((float(due), str(words)) for due, words in said)) for text, kind, said in content
    ]
    times, scene, places = (file.tensor(f"{number}.{name}") for name in ("times", "scene", "places"))
    return WatchedStream(times, scene, places, tuple(requests))


def lesson_phrases(number: int) -> Phrases:
    """The wordings of stream ``number``: those that are kept back have their own."""
    return PHRASES if number % KEPT_BACK else CHOOSING_PHRASES


def watched(made: Sequence[Stream], phrases: Callable[[int], Phrases] = lesson_phrases) -> Iterator[WatchedStream]:
    """Each stream, watched with all encoders, and all that is asked of it in the wordings of its number."""
    from serval.encoders.eyes import Eyes

    eyes = Eyes.open(LOOKS)
    for number, stream in enumerate(made):
        yield WatchedStream(*tokens_of(views(stream.frames(), eyes)), requests_of(stream, phrases(number)))
        log.info("%d of %d: %s", number + 1, len(made), stream.name)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m serval.data.photo_streams", description="Make what serval train lion-fs world=photos learns from."
    )
    parser.add_argument("out", type=Path)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = parser.parse_args().out
    write(out, list(watched(training_streams())))


if __name__ == "__main__":
    main()
