"""Any other model of transformers that takes pictures and text, just as its folder has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jinja2 import TemplateError
from transformers import AutoModelForImageTextToText, AutoProcessor, TextStreamer

from serval.conversation.messages import Media, Message, Text
from serval.encoders.model_tower import quiet
from serval.encoders.tower_files import TowerFiles
from serval.language.generation.request import Spent
from serval.language.generation.sampling import Sampling
from serval.language.generation.stop_text import StopText
from serval.refusal import Refusal
from serval.weights.checkpoint import SafetensorsCheckpoint
from serval.weights.identity import identity

if TYPE_CHECKING:
    from serval.language.vision_language.model import Seen

# What a template that has no place for a picture raises, or a processor that does not go with its model.
_FAILURES = (TemplateError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError)


class TransformersModel:
    """A ``AutoModelForImageTextToText`` with its processor, which replies as `PictureChat` does, one picture or more at a time.

    Names of special tokens in what people wrote are taken out: a processor would take them for the tokens.
    """

    def __init__(self, model: Any, processor: Any, model_id: str) -> None:
        self.model_id = model_id
        self._model, self._processor = model, processor
        self._added = sorted(processor.tokenizer.get_added_vocab(), key=len, reverse=True)

    @classmethod
    def open(cls, folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> TransformersModel:
        """Of a model's folder. No code of it is run, nothing is fetched, and only safetensors are read.

        Raises:
            Refusal: it is not such a model, brings code of its own, or its tensors are not those that it asks for.
        """
        if TowerFiles(folder).config().get("auto_map"):
            raise Refusal(folder.name, "it brings code of its own (auto_map), which is never run", "take another model")
        SafetensorsCheckpoint(folder)  # refuses what is missing, damaged or pickled
        here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            with quiet():
                processor = AutoProcessor.from_pretrained(folder, **here)
                model, told = AutoModelForImageTextToText.from_pretrained(
                    folder, use_safetensors=True, dtype=dtype, output_loading_info=True, **here
                )
        except Exception as error:  # whatever its classes raise
            why = f"transformers cannot open it ({' '.join(str(error).split())[:160]})"
            raise Refusal(folder.name, why, "take a model that takes pictures and text") from None
        if missing := sorted(told["missing_keys"]):
            raise Refusal(folder.name, f"{missing[0]} is missing", "give the weights that its config.json describes")
        return cls(model.to(device).eval(), processor, identity(folder))

    def reply(
        self,
        messages: Sequence[Message],
        media: Mapping[Media, Seen],
        max_tokens: int = 64,
        stop: Sequence[str] = (),
        cancelled: Callable[[], bool] = lambda: False,
        on_text: Callable[[str], None] = lambda text: None,
        sampling: Sampling | None = None,
        on_end: Callable[[Spent], None] = lambda spent: None,
    ) -> str:
        """See `SeeingModel.reply`."""
        asked = [{"role": each.role, "content": [self._part(part, media) for part in each.parts]} for each in messages]
        words, how = _Words(self._processor.tokenizer, stop, on_text), sampling or Sampling()
        try:
            inputs = self._processor.apply_chat_template(
                asked, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
            read = int(inputs["input_ids"].shape[1])
            length = read + max_tokens
            limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", length)
            if length > limit:
                why = f"with its reply it is {length} tokens long, and {limit} is the limit"
                raise Refusal("the conversation", why, "shorten it, or show fewer pictures")
            if cancelled():
                on_end(Spent(read, 0, "cancelled"))
                return ""
            with torch.inference_mode(), torch.random.fork_rng():
                torch.manual_seed(how.seed)
                tokens = self._model.generate(
                    **inputs.to(self._model.device, self._model.dtype),
                    **_picking(how),
                    max_new_tokens=max_tokens,
                    streamer=words,
                    stopping_criteria=[lambda ids, scores, **_: torch.full((1,), words.until.stopped or cancelled())],
                )
        except _FAILURES as error:
            why = f"transformers cannot answer it ({' '.join(str(error).split())[:160]})"
            raise Refusal("the conversation", why, "use a model made for such conversations") from None
        on_end(self._spent(read, tokens[0, read:].tolist(), max_tokens, words.until.stopped))
        return "".join(words.said)

    def _spent(self, read: int, tokens: Sequence[int], most: int, stopped: bool) -> Spent:
        """Of a reply whose tokens may have one that ends the turn as their last."""
        ends = self._model.generation_config.eos_token_id
        ended = bool(tokens) and tokens[-1] in (ends if isinstance(ends, list) else [ends])
        made = len(tokens) - ended
        return Spent(read, made, "stop" if ended or stopped else "length" if made >= most else "cancelled")

    def _part(self, part: Media | Text, media: Mapping[Media, Seen]) -> dict[str, Any]:
        from PIL import Image

        if isinstance(part, Text):
            return {"type": "text", "text": self._plain(part.text)}
        picture = media.get(part)
        if not isinstance(picture, np.ndarray):
            raise Refusal(f"{part.kind} of the conversation", "it was not given as a picture", "give pictures")
        return {"type": "image", "image": Image.fromarray(picture)}

    def _plain(self, text: str) -> str:
        found = True
        while found:  # what is left of two halves may be a token again
            found = False
            for token in self._added:
                if token.strip() and token in text:
                    text, found = text.replace(token, " "), True
        return text


def _picking(how: Sampling) -> dict[str, Any]:
    """The names that transformers has for it."""
    drawn = {"temperature": how.temperature, "top_k": how.top_k, "top_p": how.top_p, "min_p": how.min_p or None}
    return {"repetition_penalty": how.repetition_penalty, "do_sample": how.temperature > 0} | (drawn if how.temperature else {})


class _Words(TextStreamer):
    """Takes tokens as they come, and tells their text as soon as it is certain."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], on_text: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.said: list[str] = []
        self.until = StopText(stop)
        self._on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        certain = self.until.add(text) + (self.until.end() if stream_end else "")
        if certain:
            self.said.append(certain)
            self._on_text(certain)
