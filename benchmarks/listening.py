"""Hearing all the time: what a second of noise and of talk costs, and how much of what is said is found and told apart."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from typing import Any

from benchmarks.table import Result, Table

NAME = "listening"
ABOUT = "Hearing all the time: detection of speech, and the cost of what is not for Serval"

TALK = ("I think we should go home now.", "The bus was late again.", "Can you pass me the salt?", "She left it in the kitchen.")
ASKED = ("how many people were there?", "what happened?", "where was the taxi?", "what did the sign say?")


def run(quick: bool) -> Result:
    import torch

    torch.set_num_threads(1)
    detection = _detection(3 if quick else 25)
    method = (
        "Sounds of `serval.data.worlds.requests`, and of a synthetic voice where one is installed, stand between seconds of a "
        "quiet room. Times are the CPU's, on one thread."
    )
    return Result((detection, _costs(2 if quick else 10), _lanes(5 if quick else 50)), method)


def _activities() -> dict[str, Any]:
    from serval.assistant.listening.activity import SileroActivity, SpectralActivity
    from serval.weights import PartMissing

    made: dict[str, Any] = {"spectral": SpectralActivity}
    try:
        SileroActivity()
        made["Silero"] = SileroActivity
    except PartMissing:
        pass
    return made


def _speaker() -> Any:
    """A voice, where somebody has installed one: ``pip install hibari-tts`` beside Serval."""
    try:
        import numpy as np
        from hibari import Hibari
        from scipy.signal import resample_poly
    except ImportError:
        return None
    voice = Hibari()

    def speak(text: str) -> Any:
        wave = resample_poly(np.asarray(voice(text), np.float64), 2, 3).astype(np.float32)
        return 0.5 * wave / np.abs(wave).max()

    return speak


def _padded(wave: Any, seed: int) -> Any:
    """In a room that is not quite silent, with a second before and behind."""
    import numpy as np

    rng = np.random.default_rng(seed)
    quiet = np.zeros(16_000, np.float32)
    whole = np.concatenate([quiet, wave, quiet])
    return (whole + rng.normal(0, 0.003, len(whole))).astype(np.float32)


def _sounds(streams: int) -> dict[str, list[Any]]:
    from serval.data.worlds.requests import make, microphone

    made = defaultdict(list)
    for number, stream in enumerate(make(7, streams)):
        for request in stream:
            if request.kind != "typed":
                wave, ((start, end),) = microphone([request])
                kind = f"noise: {request.words}" if request.kind == "noise" else "formants of the world"
                made[kind].append(_padded(wave[round(start * 16_000) : round(end * 16_000)], number))
    if (speak := _speaker()) is not None:
        made["speech (hibari)"] = [_padded(speak(text), 0) for text in (*TALK, *(f"Serval, {each}" for each in ASKED))]
    return dict(made)


def _detection(streams: int) -> Table:
    from serval.assistant.listening.activity import RATE, Segmenter

    sounds, rows = _sounds(streams), []
    for kind, waves in sorted(sounds.items()):
        row: list[Any] = [kind, len(waves)]
        for make in _activities().values():
            found, spent, heard = 0, 0.0, 0.0
            for wave in waves:
                segmenter = Segmenter(make())
                began = time.process_time()
                found += bool([*segmenter.hear(0.0, wave), *segmenter.finish()])
                spent, heard = spent + time.process_time() - began, heard + len(wave) / RATE
            row += [100 * found / len(waves), 1000 * spent / heard]
        rows.append(tuple(row))
    columns = [f"{each}: {what}" for each in _activities() for what in ("taken for speech, %", "ms a second")]
    return Table("What is taken for speech", ("sound", "sounds", *columns), tuple(rows))


def _costs(repeats: int) -> Table:
    """Of whatever was taken for speech: to know its words, and that it is not for Serval."""
    import numpy as np

    from serval.assistant.listening.activity import Utterance
    from serval.assistant.listening.addressed import NamedJudge
    from serval.assistant.listening.recogniser import WhisperRecogniser
    from serval.weights import PartMissing

    columns = ("sound", "sounds", "for Serval, %", "words recognised", "CPU ms, median")
    try:
        recogniser = WhisperRecogniser()
    except PartMissing as missing:
        return Table("What it costs to know", columns, (), note=str(missing))
    hums = 0.15 * np.sin(2 * np.pi * 50 * np.arange(16_000) / 16_000)
    sounds = {
        "noise: hiss": [np.random.default_rng(each).normal(0, 0.1, 16_000) for each in range(repeats)],
        "noise: hum": [hums] * repeats,
        "formants of the world": [*_sounds(1)["formants of the world"], *_sounds(1)["formants of the world"]][:repeats],
    }
    if (speak := _speaker()) is not None:
        sounds["talk (hibari)"] = [speak(text) for text in TALK]
        sounds["“Serval, …” (hibari)"] = [speak(f"Serval, {text}") for text in ASKED]
    rows = []
    for kind, waves in sounds.items():
        times, addressed, words = [], 0, 0
        for wave in waves:
            wave, began = wave.astype(np.float32), time.process_time()
            heard = recogniser.words(wave)
            addressed += NamedJudge(follow_up=0).judge(heard, Utterance(0.0, 1.0, wave)).addressed
            times.append(1000 * (time.process_time() - began))
            words += len(heard.split())
        rows.append((kind, len(waves), 100 * addressed / len(waves), words, statistics.median(times)))
    return Table("What it costs to know", columns, tuple(rows), note="Words that Serval says to what is not for it: none.")


def _lanes(repeats: int) -> Table:
    """Of VITA's tiny model with random numbers: tokens and time are those of the scheme, what it decides is not."""
    import torch

    from serval.systems.assistants.vita import SYSTEM, Ask
    from serval.systems.assistants.vita_conversation import Conversation

    model = SYSTEM.new("tiny").eval().requires_grad_(False)
    rows = []
    for kind, ask in {
        "a second of sound": Ask(sound=torch.randn(98, 40) * 3 + 10),
        "three seconds of sound": Ask(sound=torch.randn(298, 40) * 3 + 10),
        "ten typed tokens": Ask(words=tuple(range(16, 26))),
    }.items():
        tokens, times, history, queued = 0, [], 0, 0
        for _ in range(repeats):
            talk = Conversation(model)
            before = talk.prefilled
            talk.hear(ask)
            began = time.process_time()
            talk._judge(0, ask)
            talk._act(talk.duplex.judged(False))
            times.append(1000 * (time.process_time() - began))
            tokens, history, queued = talk.prefilled - before, history + len(talk.history), queued + len(talk.voice)
        rows.append((kind, tokens, len(model.layout.states[0]), statistics.median(times), queued, history))
    columns = ("what is not for it", "tokens read", "tokens made", "CPU ms, median", "words queued", "turns remembered")
    return Table("VITA's lane that judges", columns, tuple(rows))
