"""From narrations to streaming dialogues, as VideoLLM-online (arXiv 2406.11816) and LION-FS (arXiv 2503.03663) are trained on.

One instruction behind the first frame, then every narration behind the frame at or after its moment. Where videos are longer
than a dialogue may be, the next begins behind the last narration of the one before.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from serval.conversation.messages import Message, Role, Text
from serval.data.dice import dice
from serval.data.item import Event, Item
from serval.data.stream import Stream, frame_after

INSTRUCTIONS = (
    "Tell me in short sentences what I am doing, while I do it.",
    "Describe each of my actions as it happens.",
    "Follow along and say what I do, one short sentence at a time.",
    "Comment on what I do as soon as you see it.",
    "Please narrate my actions live, briefly.",
    "Speak up whenever I do something new, and say what it is.",
    "Watch with me and name every action when it happens.",
    "Keep a running commentary of what my hands do.",
    "Say what happens in front of me, step by step, as it goes on.",
    "Give me a live description of my actions in a few words each.",
)


def cleaned(events: Sequence[Event]) -> tuple[Event, ...]:
    """Moments in order, without annotators' marks, single words, and the same words twice in a row."""
    made: list[Event] = []
    for event in sorted(events, key=lambda each: each.start):
        text = unmarked(event.text)
        if len(text.split()) >= 2 and not (made and made[-1].text == text):
            made.append(event.model_copy(update={"text": text, "parent": None}))
    return tuple(made)


def unmarked(text: str) -> str:
    """Without "#C" and "#O", which say whom a narration is about; "#unsure" is what the narrator could not name."""
    text = re.sub(r"#unsure\b", "something", text, flags=re.IGNORECASE)
    return " ".join(re.sub(r"#\s?[A-Za-z]+\b", " ", text).split())


def narration_streams(
    item: Item,
    *,
    fps: float = 2.0,
    frames: int = 1200,
    seed: int = 0,
    instructions: Sequence[str] = INSTRUCTIONS,
    augment: Callable[[tuple[Event, ...], random.Random], tuple[Event, ...]] | None = None,
    rewrite: Callable[[str], str] | None = None,
) -> Iterator[Item]:
    """The dialogues of a video's narrations; each narrator's apart, and none of a rejected one.

    Args:
        frames: how many a dialogue may have.
        seed: of the instruction that is drawn and of ``augment``, together with the item's id.
        augment: changes the narrations before they are laid out; see `serval.data.augmentation`.
        rewrite: gives each its last form, `second_person` or a language model; it is asked once for each text.
    """
    memo: dict[str, str] = {}
    moments = [event for event in item.events if event.end is None and not event.kind.startswith("rejected")]
    for kind, group in groupby(sorted(moments, key=lambda each: each.kind), key=lambda each: each.kind):
        rng = dice(seed, item.id, kind)
        events = cleaned(tuple(group))
        if augment is not None:
            events = augment(events, rng)
        said: dict[int, str] = {}  # a later narration replaces one of the same frame
        for event in events:
            if rewrite is not None and event.text not in memo:
                memo[event.text] = rewrite(event.text)
            text = memo.get(event.text, event.text)
            if text and event.start >= 0:
                said[frame_after(event.start, fps)] = text
        for number, (first, part) in enumerate(_parts(said, frames)):
            yield Item(
                id=f"{item.id}/{kind}/{number}",
                source=item.source,
                media=item.media,
                messages=(
                    message("user", rng.choice(instructions), first, fps),
                    *(message("assistant", text, frame, fps) for frame, text in part.items()),
                ),
                stream=Stream(fps=fps, first=first),
            )


def _parts(said: dict[int, str], frames: int) -> Iterator[tuple[int, dict[int, str]]]:
    """Stretches of at most ``frames`` frames, each with its first frame. A silence longer than that is not in any."""
    first, part = 0, dict[int, str]()
    for frame, text in sorted(said.items()):
        if frame - first >= frames and part:
            yield first, part
            first, part = max(part) + 1, {}
        if frame - first >= frames:
            first = frame - frames + 1
        part[frame] = text
    if part:
        yield first, part


def message(role: Role, text: str, frame: int, fps: float) -> Message:
    """Words behind a frame."""
    return Message(role=role, parts=(Text(text=text, time=frame / fps),))
