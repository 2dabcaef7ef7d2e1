"""How streaming systems are measured: with the truth given, and alone with their own mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serval.evaluation.free_running import FreeRun, score_runs
from serval.evaluation.streaming import Moment
from serval.evaluation.streaming_language import mean_scores, score_stream
from serval.language.live_stream import LiveStream
from serval.training.stream_sample import StreamSample, as_streams


def told(model: Any, samples: Sequence[StreamSample], *, threshold: float = 0.0) -> dict[str, float]:
    """LM-PPL, TimeDiff (seconds), Fluency and LM-Correctness (per cent), each word and frame of the truth given."""
    layout = model.layout
    scores = [
        score_stream(
            model.decoder,
            as_streams(model, [sample]),
            silence=layout.silence,
            end=layout.end,
            fps=sample.fps,
            separator=layout.separator,
            threshold=threshold,
        )
        for sample in samples
    ]
    found = mean_scores(scores, seed=0, rounds=1)
    return {
        "LM-PPL": found["perplexity"].value,
        "TimeDiff": found["time_difference"].value,
        "Fluency": 100 * found["fluency"].value,
        "Correctness": 100 * found["correctness"].value,
    }


def alone(
    model: Any, samples: Sequence[StreamSample], *, tolerance: float = 0.5, limit: int = 8, unsaid: int | None = None
) -> dict[str, float]:
    """F1 of what is said alone, the right words within ``tolerance`` seconds; and its delay. Nobody mends its mistakes.

    What begins with the token ``unsaid`` counts as silence.
    """
    found = score_runs(
        [follow(model, sample, limit=limit, unsaid=unsaid) for sample in samples], tolerance=tolerance, seed=0, rounds=1
    )
    return {"F1": 100 * found.f1.value, "delay": found.delay.value, "words/min": found.words.value}


def follow(model: Any, sample: StreamSample, *, limit: int = 8, unsaid: int | None = None) -> FreeRun:
    """Show a stream frame by frame; what people say in it is said, what the assistant should say is not."""
    frames = model.frames(sample.features)
    asked = {words.frame: words.ids for words in sample.words if words.role == "user"}
    answers = {words.frame: words.ids for words in sample.words if words.role == "assistant" and words.frame in asked}
    longest = sum(len(frame) + 8 + limit for frame in frames) + sum(map(len, asked.values()))
    live, said = LiveStream(model.stream, longest, limit=limit), []
    for number, frame in enumerate(frames):
        time = number / sample.fps
        _, words = live.frame(frame, time)
        if words and words[0] != unsaid:
            said.append(Moment(time, str(words)))
        if number in asked:
            live.told("user", asked[number], time)
            if number in answers:  # answers have no moment of their own, so they are not scored here
                live.told("assistant", answers[number], time)
    truth = tuple(
        Moment(words.frame / sample.fps, str(list(words.ids[:-1])))
        for words in sample.words
        if words.role == "assistant" and words.frame not in asked
    )
    count = sum(each.what.count(",") + 1 for each in said)
    return FreeRun(truth, tuple(said), len(sample) / sample.fps, len(sample), count)
