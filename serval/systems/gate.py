"""A streaming system as a gate of the watcher: what LION-FS and its like decide is when `serval watch` speaks.

    serval watch video.mp4 --tell "tell me when a dog comes in" --gate system:runs/photos

The system reads what the watcher's own encoders saw (`assistant.view_tokens`), twice a second, after the instruction as
somebody's words. It says its words into its own memory, so that it knows what it has told; what is told to people comes from
the answerer, which sticks to what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from serval.assistant.gates.fitting import Fitting
from serval.assistant.gates.gate import Score
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.view import Change, View
from serval.assistant.view_tokens import CLIP, PLACES, SCENE, Shown, Tokens
from serval.conversation.tokenizer import Tokenizer
from serval.data.photo_streams import in_clips
from serval.language.cache import KVCache
from serval.language.eviction import Recent
from serval.language.live_stream import LiveStream
from serval.refusal import Refusal
from serval.systems.assistants.lion_fs import LionFS
from serval.systems.saved import SYSTEM, load_system

SINKS: Final = 32  # tokens that are never forgotten: the first frame and what was asked
RECENT: Final = 1120  # and the newest: as long as the lessons were
_LIMIT = 8  # tokens of its own words
_SPOKEN_OF = 2.0  # seconds for which a change may be what it speaks of
_MOST = 16


@dataclass(frozen=True, eq=False)
class Following:
    """All that the gate remembers of a source: of fixed size."""

    shown: Shown
    cache: KVCache
    seen: int = 0  # frames
    begins: bool = True  # whether the next frame is the first of a run
    before: Tensor | None = None  # places of the last frame that was read
    value: float = 0.0
    words: str = ""  # its own, of the last time it spoke
    recent: tuple[Change, ...] = field(default=())


class SystemGate:
    """A level: how likely it is, to the system, that anything but silence follows. Between two frames it stays as it was.

    Args:
        text: the instruction's own words.
        asked: what the grammar understood of them: it says which changes are told of.
    """

    name = "system"

    def __init__(self, model: LionFS, tokenizer: Tokenizer, text: str, asked: Understanding) -> None:
        self._model, self._tokenizer, self._asked = model, tokenizer, asked
        self._fitting, self._reads = Fitting(asked), asked.target is Target.TEXT
        self._instruction = tokenizer.encode(text)
        self.threshold = 1 - model.config.threshold

    def start(self) -> Following:
        cache = self._model.decoder.new_cache(
            SINKS + RECENT + 2 * PLACES * len(self._model.config.eyes),
            eviction=Recent(RECENT, sinks=SINKS),
            positions="renumber",
        )
        return Following(Shown(), cache)

    def step(self, state: Following, view: View) -> tuple[Following, Score]:
        recent = tuple(each for each in state.recent if view.time - each.time <= _SPOKEN_OF)
        recent = (*recent, *self._fitting.changes(view))[-_MOST:]
        state = replace(state, shown=state.shown.seen(view), recent=recent)
        if state.shown.due(view):
            shown, tokens = state.shown.read(view)
            state = self._read(replace(state, shown=shown), tokens, view.time)
        why = f"speaking now fits what was asked by {state.value:.2f}" + (f", as “{state.words}”" if state.words else "")
        return state, Score(state.value, why, state.recent, standby=0.5 * self.threshold <= state.value < self.threshold)

    @torch.inference_mode()
    def _read(self, state: Following, tokens: Tokens, time: float) -> Following:
        kept = state.cache.fork()
        live = LiveStream(self._model.fast, kept, limit=_LIMIT, seen=state.seen, begins=state.begins)
        scene, places = (torch.from_numpy(each) for each in tokens)
        before = places if state.before is None else state.before
        decision = live.see(self._frame(scene, torch.stack([before, places])), time)
        value, words = state.value, state.words
        if live.seen == 1:
            live.told("user", self._instruction, time)
        elif not bool(decision.p_speak.isfinite()):
            raise Refusal("gate system", "its numbers are not finite", "train it again")
        else:
            value = round(float(decision.p_speak), 4)
            words = self._tokenizer.decode(live.say()) if bool(decision.speak) else ""
        return replace(state, cache=kept, seen=live.seen, begins=live.begins, before=places, value=value, words=words)

    def _frame(self, scene: Tensor, places: Tensor) -> Tensor:
        """(`PLACES`, width of the decoder) of the last of two frames."""
        decoder = self._model.decoder
        clip = in_clips(places, text=self._reads)[1:]
        seen = [each.to(decoder.device, decoder.dtype) for each in (scene.expand(1, PLACES, -1), clip)]
        return self._model.frames(seen)[0]


def open_gate(text: str, asked: Understanding, folder: Path) -> SystemGate:
    """The gate of a system in a folder, as `serval train lion-fs-photos` writes it.

    Raises:
        Refusal: no such folder, another system, one that reads something else than a watcher sees, or a damaged file.
    """
    return SystemGate(*_opened(folder.resolve()), text, asked)


@lru_cache(maxsize=2)
def _opened(folder: Path) -> tuple[LionFS, Tokenizer]:
    if not (folder / SYSTEM).is_file():
        raise Refusal(
            f"gate system:{folder.name}", "there is no system in this folder", "serval train lion-fs-photos makes one"
        )
    model = load_system(folder)
    if not isinstance(model, LionFS) or [each.tower for each in model.config.eyes] != [SCENE, CLIP]:
        raise Refusal(
            f"gate system:{folder.name}", "it does not read what a watcher sees", "serval train lion-fs-photos makes one"
        )
    tokenizer = Tokenizer(folder / "tokenizer.json")
    if tokenizer.vocabulary_size > model.decoder.config.vocab_size:
        raise Refusal(f"gate system:{folder.name}", "its tokenizer is of another model", "train it again")
    return model, tokenizer
