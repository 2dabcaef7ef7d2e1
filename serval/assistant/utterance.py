"""A wake and its answer as an event that carries its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from serval.assistant.answers.answer import Answer
from serval.assistant.desk import Wake
from serval.assistant.event import Event, Evidence, Fact, GateState
from serval.assistant.teaching.taste import words_of
from serval.media.box import Box
from serval.media.frame import Frame
from serval.media.outline import Outline

_OUTLINED = 3  # persons of an utterance that are drawn around


class Outliner(Protocol):
    """Whatever can draw around a person: the network, or a recording of what it drew. ``model`` is its part's id."""

    model: str

    def around(self, frame: Frame, box: Box) -> Outline: ...


def evidence_of(facts: tuple[Fact, ...]) -> tuple[Evidence, ...]:
    """Everything the facts rest on, each once."""
    return tuple(dict.fromkeys(each for fact in facts for each in fact.evidence))


def utterance(
    wake: Wake, facts: tuple[Fact, ...], answer: Answer, *, data: dict[str, Any], models: dict[str, str], said_at: float
) -> Event:
    """What was said: its time is that of the changes it tells of, its score the best of them or the gate's."""
    frame = wake.frame
    threshold = wake.watch.policy.threshold
    score = wake.score.value
    if score < threshold:  # told late: the score of this moment is not what it woke for
        score = max(score, *(change.score for change in wake.because))
    until = max(frame.time, *(change.time for change in wake.because)) if wake.because else frame.time
    return Event(
        id=wake.id,
        source=frame.source,
        instruction=wake.watch.instruction.id,
        t_start=min((change.started for change in wake.because), default=frame.time),
        t_end=until,
        said_at=max(said_at, until),
        text=answer.text,
        data=data,
        score=score,
        why_now=GateState(
            gate=wake.watch.gate.name,
            score=score,
            threshold=threshold,
            policy=wake.decision.action,
            why=wake.decision.why or wake.score.why,
            words=wake.score.words or words_of(wake.view, wake.because),
            untuned=wake.score.untuned if score == wake.score.value else None,
        ),
        facts=facts,
        evidence=evidence_of(facts),
        models=models,
        answerer=answer.by,
        verified=answer.verified,
        unverified=answer.unverified,
        answer_why=answer.why,
    )


def named(fact: Fact, pictures: Mapping[float, str]) -> Fact:
    """The fact with the names of the earlier pictures that it rests on, as far as they are at hand."""
    if all(each.frame for each in fact.evidence):
        return fact
    evidence = (
        each if each.frame else each.model_copy(update={"frame": pictures.get(each.time, "")}) for each in fact.evidence
    )
    return fact.model_copy(update={"evidence": tuple(evidence)})


def outlined(event: Event, frame: Frame, outliner: Outliner) -> Event:
    """The event with outlines around the surest persons of its evidence, as far as they are in this very frame."""
    persons = [each for each in event.evidence if each.label == "person" and each.box and each.frame == frame.sha256]
    boxes = dict.fromkeys(each.box for each in sorted(persons, key=lambda each: -each.score) if each.box)
    drawn = {box: outline for box in list(boxes)[:_OUTLINED] if (outline := outliner.around(frame, box))}
    if not drawn:
        return event
    evidence = (
        each.model_copy(update={"outline": drawn[each.box]}) if each in persons and each.box in drawn else each
        for each in event.evidence
    )
    return event.model_copy(update={"evidence": tuple(evidence), "models": {**event.models, "outlines": outliner.model}})
