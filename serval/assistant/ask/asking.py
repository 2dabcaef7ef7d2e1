"""Questions about a run: its past is seen again from the recording, then looked up."""

from __future__ import annotations

from pathlib import Path

from serval.assistant.amending import is_amendment, understanding_of
from serval.assistant.ask.answering import Reply, ask
from serval.assistant.ask.past import Past
from serval.assistant.event import EventKind
from serval.assistant.instructions.nouns import resolve
from serval.assistant.meaning import embedder
from serval.assistant.perception import Perception
from serval.assistant.replay import RecordedEyes, RecordedFrame, opened_run, standing_of
from serval.assistant.watch import looks_for
from serval.encoders.percept import Percept


def past_of(folder: Path, where: str | None = None) -> Past:
    """Everything that a run saw and said, as far as it is kept.

    Args:
        where: the address of its timeline, where that is not in the folder.

    Raises:
        Refusal: there is no run in the folder.
    """
    timeline, recording, info = opened_run(folder, where)
    past = Past()
    with timeline, recording:
        eyes = RecordedEyes(recording, {})
        understandings = [each.understanding for each in standing_of(info)]
        amendments = filter(is_amendment, timeline.events(kind=EventKind.INSTRUCTION))
        understandings += [understanding_of(event) for event in amendments if "understanding" in event.data]
        looks = looks_for(understandings)
        perceptions: dict[str, Perception] = {}
        for admitted in recording.frames():
            frame = RecordedFrame(recording, admitted)
            perception = perceptions.setdefault(frame.source, Perception(looks))
            _, wanted = perception.plan(frame.luma, frame.time)
            if wanted:
                past.add_view(perception.update(eyes.look(frame, wanted)))
            else:
                blank = Percept(source=frame.source, index=frame.index, time=frame.time, luma=frame.luma)
                perception.update(blank)
            past.end = max(past.end, frame.time)
        past.events = list(timeline.events())
        past.notes = [event for event in past.events if event.kind is EventKind.NOTE]
    return past


def ask_run(folder: Path, question: str, timeline: str | None = None) -> Reply:
    """Answer a question about a run.

    Args:
        timeline: its address, where it is not in the folder.

    Raises:
        Refusal: there is no run in the folder.
    """
    embed = embedder()
    return ask(past_of(folder, timeline), question, lambda noun: resolve(noun, embed).labels)
