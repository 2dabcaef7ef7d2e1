"""A vision-language model on this machine as answerer: it sees keyframes and facts, and is heard as far as they agree."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from serval.assistant.answers.answer import Answer, Request
from serval.assistant.answers.decline import reason
from serval.assistant.answers.endpoint import divide
from serval.assistant.answers.prompt import PICTURES, SIDE, messages
from serval.assistant.answers.template import TemplateAnswerer
from serval.assistant.timeline.plain import one_line
from serval.conversation.messages import Media
from serval.media.frame import Frame
from serval.refusal import Refusal

if TYPE_CHECKING:
    from serval.encoders.picture_input import Picture
    from serval.language.vision_language.chat import SeeingModel

TOKENS = 96  # of a reply


class VisionLanguageAnswerer:
    """Shows the newest keyframes and the typed facts to a model.

    Every sentence goes through the checker that a rewrite goes through. Those that stand in the facts are the answer; what the
    model saw beyond them is kept apart as unverified; where nothing stands, or anything fails, the template is heard.
    """

    name = "vision-language"

    def __init__(self, model: SeeingModel) -> None:
        self._model, self._template = model, TemplateAnswerer()
        self.models = {"answerer": model.model_id}

    @classmethod
    def open(cls, folder: Path) -> VisionLanguageAnswerer:
        """With the model of a folder. Raises `Refusal` as `open_seeing_model`."""
        from serval.language.vision_language.chat import open_seeing_model

        return cls(open_seeing_model(folder))

    def answer(self, request: Request, cancelled: Callable[[], bool] = lambda: False) -> Answer:
        """``why`` says for what reason the template was heard instead."""
        began = time.perf_counter()
        plain = self._template.answer(request, cancelled)
        if reason(request.question):
            return plain
        frames = request.frames[-PICTURES:]
        shown = {Media(kind="image", attached=place, time=frame.time): _small(frame) for place, frame in enumerate(frames)}
        system, user = messages(replace(request, frames=()))
        asked = (system, user.model_copy(update={"parts": (*shown, *user.parts)}))
        try:
            said, why = one_line(self._model.reply(asked, shown, max_tokens=TOKENS, cancelled=cancelled)), ""
        except Refusal as refusal:
            said, why = "", f"the model could not answer: {refusal}"
        text, rest = ("", "") if cancelled() or not said else divide(said, request.facts)
        if not text:
            why = "the answer was cut short" if cancelled() else why or "nothing that the model said stands in the facts"
        seconds = time.perf_counter() - began
        return replace(
            plain,
            text=text or plain.text,
            by=self.name if text else plain.by,
            verified=not rest,
            unverified=rest,
            why=why,
            seconds=seconds,
            first_word_seconds=seconds,
        )


def _small(frame: Frame) -> Picture:
    """The frame, at most `SIDE` pixels a side: some models spend tokens on every pixel."""
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(frame.rgb)
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)
