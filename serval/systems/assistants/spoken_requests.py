"""The worlds that a tiny VITA learns in: what is asked at a microphone and a keyboard, and colours of pictures."""

from __future__ import annotations

from dataclasses import replace

import torch

from serval.data.worlds.requests import LETTERS, NUMBERS, Request, Voice, make, microphone, solve
from serval.encoders.speech_tower import log_mel
from serval.systems.assistants.vita import SYSTEM, TINY_LAYOUT, Ask, Ears, State

LETTER, NUMBER = 16, 43  # ids of "a" and of "zero"
PARDON = LETTER + LETTERS.index(" ")


def requests(seed: int, streams: int, *, codes: bool = False, voice: Voice | None = None) -> list[Ask]:
    """Four requests of each stream of `data.worlds.requests`, with what is to be said to each."""
    return [as_ask(each, codes=codes, voice=voice) for stream in make(seed, streams, 4) for each in stream]


def as_ask(request: Request, *, codes: bool = False, voice: Voice | None = None) -> Ask:
    """Letters for what is typed; for what is heard, log-mel of its sound, or the codes of its letters and of who says them.

    The reply is the state, a number, and the end. Behind the state of what is not for it stand words that are never said, as in
    the paper: the answer to a question of somebody else, and what stands for "pardon?" to the rest.
    """
    answer = solve(request.words)
    word = NUMBER + NUMBERS.index(answer) if answer else PARDON
    reply = (*TINY_LAYOUT.states[request.state - 1], word, TINY_LAYOUT.end)
    if request.kind == "typed":
        return Ask(words=tuple(LETTER + LETTERS.index(letter) for letter in request.words), reply=reply)
    if codes:
        return Ask(sound=torch.from_numpy(request.codes), reply=reply)
    ears = SYSTEM.sizes["tiny"].ears
    assert isinstance(ears, Ears)
    wave, _ = microphone([replace(request, gap=0.1)], voice)
    return Ask(sound=log_mel(torch.from_numpy(wave), ears.mels), reply=reply)


def colours(seed: int, count: int) -> list[Ask]:
    """Which of eight colours the upper half of a picture has: maps that eyes might have made."""
    generator, made = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        colour = int(torch.randint(8, (), generator=generator))
        seen = torch.randn(1, 4, 4, 8, generator=generator) * 0.1
        seen[:, :2, :, colour] += 1.0
        made.append(Ask(seen=seen, reply=(*TINY_LAYOUT.states[State.TYPED - 1], NUMBER + colour, TINY_LAYOUT.end)))
    return made
