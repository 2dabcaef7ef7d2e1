"""Narrations and dialogues changed at random, so that a model leans on what it sees and not on what it has said.

What is here changes moments forward only: nothing is said before it has happened. All draw from a generator that is given.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from serval.data.item import Event, Item
from serval.data.narration import message
from serval.data.stream import message_frames


def delayed(events: Sequence[Event], most: float, rng: random.Random) -> tuple[Event, ...]:
    """Each moment up to ``most`` seconds late, in the same order."""
    made: list[Event] = []
    for event in events:
        start = event.start + rng.uniform(0, most)
        made.append(event.model_copy(update={"start": max(start, made[-1].start) if made else start}))
    return tuple(made)


def thinned(events: Sequence[Event], share: float, rng: random.Random) -> tuple[Event, ...]:
    """Without each with the chance ``share``."""
    return tuple(event for event in events if rng.random() >= share)


def merged(events: Sequence[Event], gap: float) -> tuple[Event, ...]:
    """Moments that follow each other within ``gap`` seconds become one, at the last of them, with the texts in order."""
    made: list[list[Event]] = []
    for event in events:
        if made and event.start - made[-1][-1].start <= gap:
            made[-1].append(event)
        else:
            made.append([event])
    return tuple(group[-1].model_copy(update={"text": _joined([each.text for each in group])}) for group in made)


def _joined(texts: list[str]) -> str:
    return ". ".join([*(text.rstrip(". ") for text in texts[:-1]), texts[-1]])


def with_slip(item: Item, rng: random.Random) -> Item:
    """A streaming dialogue in which the assistant once says something else, or nothing (VideoLLM-online's augmentation).

    One turn of the assistant's but the last is drawn. It says another turn's words, or nothing, which is not to be learned;
    half the time the right words follow one frame later, otherwise nothing is learned behind the frames up to the next turn.
    The right words come without an apology: models trained with one repeat it (the released one does). A dialogue in which
    no turn can be drawn stays as it is.

    Raises:
        ValueError: the item is none.
    """
    if item.stream is None:
        raise ValueError(f"item {item.id}: no streaming dialogue")
    frames = message_frames(item.stream, item.messages)
    spoken = enumerate(item.messages)
    said = [number for number, each in spoken if each.role == "assistant" and number not in item.unlearned]
    if len(said) < 2:
        return item
    slip = rng.choice(said[:-1])
    frame, fps, right = frames[slip], item.stream.fps, item.messages[slip].text
    others = [item.messages[number].text for number in said if item.messages[number].text != right]
    wrong = rng.choice([*others, ""]) if rng.random() < 0.5 else ""
    mended = rng.random() < 0.5 and frames[slip + 1] > frame + 1
    messages = list(item.messages)
    unlearned = set(item.unlearned) | ({slip} if wrong else set())
    ignored = list(item.stream.ignored)
    if not wrong:
        ignored.append((frame, frame + 1))  # silence stands where words were due
    if not mended:
        ignored.append((frame + 1, frames[slip + 1] + 1))
    put = ([message("assistant", wrong, frame, fps)] if wrong else []) + (
        [message("assistant", right, frame + 1, fps)] if mended else []
    )
    messages[slip : slip + 1] = put
    moved = len(put) - 1
    kept = {number if number <= slip else number + moved for number in unlearned}
    return item.model_copy(
        update={
            "messages": tuple(messages),
            "unlearned": tuple(sorted(kept)),
            "stream": item.stream.model_copy(update={"ignored": tuple(sorted(ignored))}),
        }
    )
