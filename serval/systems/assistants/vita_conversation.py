"""VITA live: two lanes of one model, of which one judges what comes in while the other speaks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from serval.assistant.listening.duplex import Action, Duplex, SpeechQueue, Turn
from serval.conversation.segments import TextSegment, from_segments
from serval.language.cache import KVCache
from serval.systems.assistants.vita import VITA, Ask, Segments, State


class Conversation:
    """VITA live: what comes in is judged while it speaks, and silences it only if it was for it.

    Two lanes share the model, each with a cache of its own. The lane that judges begins with all that the other has read and
    said, so a noise costs the tokens of its own sound, and of the state.

    Args:
        capacity: tokens that a cache holds. Before it is full, what was said is forgotten but for the prompt.
        prompt: of `Layout.prompts`.
        most: tokens of an answer.

    Attributes:
        voice: what is to be spoken: (request, id).
        history: questions that were answered, with what was said of the answer.
        prefilled: tokens that were read as prompts so far.
    """

    def __init__(self, model: VITA, capacity: int = 2048, *, prompt: int = 2, most: int = 256, waiting: int = 4) -> None:
        self.model, self._most = model, most
        self.duplex: Duplex[Ask] = Duplex(waiting)
        self.voice: SpeechQueue[tuple[int, int]] = SpeechQueue()
        self.history: list[tuple[Ask, tuple[int, ...]]] = []
        self.prefilled = 0
        self._caches: list[KVCache | None] = [None, model.decoder.new_cache(capacity)]
        self._said: list[list[int]] = [[], []]  # by each lane, of its last answer, the state with it
        self._next: list[int | None] = [None, None]  # of each lane, what is said next and not read yet
        words = model.layout.prompts[prompt]
        self._prompt = len(words)
        if words:
            self._read(1, [TextSegment(words)])

    def hear(self, ask: Ask) -> list[Action[Ask]]:
        """Something was typed or heard. What it comes to, `step` finds out."""
        return self.duplex.heard(ask)

    def step(self) -> bool:
        """Judge what waits, and say one more token. False where there was nothing to do."""
        judging = self.duplex.judging
        if judging is not None:
            ask = self.duplex.request(judging)
            self._act(self.duplex.judged(self._judge(judging.lane, ask) not in (None, State.NOT_FOR_ME)))
        speaking = self.duplex.speaking
        if speaking is not None:
            self._say(speaking)
        return judging is not None or speaking is not None

    def run(self) -> None:
        """Until all is said. Whoever plays the words takes them from `voice`; here they are taken at once."""
        while self.step():
            while self.voice.take() is not None:
                pass

    def _judge(self, lane: int, ask: Ask) -> State | None:
        """Read it behind what the other lane has read and said, and say a state."""
        layout, other = self.model.layout, 1 - lane
        with torch.inference_mode():
            heard = None if ask.sound is None else self.model.hear([ask.sound])[0]
            turn = self.model.segments(Ask(ask.words, ask.sound, ask.seen), heard)
            behind = self._caches[other]
            assert behind is not None
            unread = self._next[other]
            if unread is not None or self.duplex.speaking is not None:  # an answer that is cut off ends here for this lane
                turn = [TextSegment((*([] if unread is None else [unread]), layout.end)), *turn]
            size = sum(len(each.ids) if isinstance(each, TextSegment) else len(each.features) for each in turn)
            fits = behind.room >= size + self._most
            self._caches[lane] = behind.fork(None if fits else self._prompt)
            logits = self._read(lane, turn)
            said: list[int] = []
            for _ in layout.states[0]:
                said.append(int(logits.argmax()))
                if said[-1] == layout.end:
                    break
                logits = self._read(lane, [TextSegment(said[-1:])], prompt=False)
        self._said[lane], self._next[lane] = said, int(logits.argmax())
        return layout.state(said)

    def _act(self, actions: Sequence[Action[Ask]]) -> None:
        for action in actions:
            number, lane = action.turn
            if action.does == "forget":
                self._caches[lane] = self._next[lane] = None
            elif action.does == "hush":
                self._keep(action.request, lane)
                self._caches[lane] = self._next[lane] = None
            elif action.does == "speak":
                self.voice.begin(number)
                self._caches[1 - lane] = self._next[1 - lane] = None

    def _say(self, turn: Turn) -> None:
        """The token that was decided on, and which one follows. A voice with no room is waited for."""
        number, lane = turn
        token, said = self._next[lane], self._said[lane]
        assert token is not None
        over = token == self.model.layout.end or len(said) >= self._most
        if not over and not self.voice.put(number, (number, token)):
            return
        if over:
            self._keep(self.duplex.request(turn), lane)
            with torch.inference_mode():
                self._read(lane, [TextSegment([self.model.layout.end])], prompt=False)
            self._next[lane] = None
            self._act(self.duplex.ended(number))
            return
        said.append(token)
        with torch.inference_mode():
            self._next[lane] = int(self._read(lane, [TextSegment([token])], prompt=False).argmax())

    def _keep(self, ask: Ask, lane: int) -> None:
        self.history.append((ask, tuple(self._said[lane][len(self.model.layout.states[0]) :])))

    def _read(self, lane: int, segments: Segments, prompt: bool = True) -> Tensor:
        """The logits (vocabulary,) of what follows."""
        cache, decoder = self._caches[lane], self.model.decoder
        assert cache is not None
        with torch.inference_mode():
            start = float(cache.next_position[0])
            sequence = from_segments(segments, decoder.embed, start=start, device=decoder.device)
            self.prefilled += sequence.length if prompt else 0
            return decoder(sequence, cache, last=True)[0, 0]
