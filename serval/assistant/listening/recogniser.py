"""From speech to words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from serval.assistant.listening.activity import RATE, Samples

WORDS = 64  # tokens of an utterance at the most


class Recogniser(Protocol):
    """Turns an utterance into words. ``models`` names the parts that it is made of."""

    models: dict[str, str]

    def words(self, samples: Samples, cancelled: Callable[[], bool] = ...) -> str:
        """What is said in sound (n,) at 16 kHz; "" where it is no speech. ``cancelled`` is polled between tokens."""
        ...


class WhisperRecogniser:
    """Whisper tiny.en (Radford et al. 2023), greedily and without times. Raises `PartMissing` where its part is not here.

    It is asked how likely it holds the sound for no speech, and its words go when it is unsure of them on average, by Whisper's
    own two thresholds: on noise it otherwise invents sentences.
    """

    def __init__(self) -> None:
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

        from serval.encoders.model_tower import quiet
        from serval.weights import locate, model_id

        weights, config = locate("whisper", "model.safetensors"), locate("whisper", "config.json")
        self.models = {"speech recognition": model_id("whisper")}
        self._tokenizer = Tokenizer.from_file(str(locate("whisper", "tokenizer.json")))
        self._extractor = WhisperFeatureExtractor(feature_size=80)
        with quiet(), torch.device("meta"):  # its numbers come from the file; drawing others first takes longer than reading
            model: Any = WhisperForConditionalGeneration(WhisperConfig.from_json_file(config))
        state = {name: each.float() for name, each in load_file(weights).items()}
        state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
        model.load_state_dict(state, assign=True)
        self._model = model.eval().requires_grad_(False)
        special = {token.content: number for number, token in self._tokenizer.get_added_tokens_decoder().items()}
        self._begin = [special["<|startoftranscript|>"], special["<|notimestamps|>"]]
        self._end, self._none = special["<|endoftext|>"], special.get("<|nospeech|>", special.get("<|nocaptions|>", 0))
        self._torch = torch

    def words(self, samples: Samples, cancelled: Callable[[], bool] = lambda: False) -> str:
        """See `Recogniser.words`. Of more than 30 s the first 30 are heard."""
        torch = self._torch
        mel = self._extractor(samples[: 30 * RATE], sampling_rate=RATE, return_tensors="pt")["input_features"]
        said, logprobs, past = list[int](), list[float](), None
        with torch.inference_mode():
            heard = self._model.model.encoder(mel).last_hidden_state
            ids = torch.tensor([self._begin])
            while len(said) < WORDS and not cancelled():
                out = self._model(decoder_input_ids=ids, encoder_outputs=(heard,), cache=past, use_cache=True)
                past, scores = out.cache, out.logits[0].float().log_softmax(-1)
                if not said and float(scores[0, self._none].exp()) > 0.6:
                    return ""
                scores = scores[-1]
                scores[self._end + 1 :] = -np.inf  # nothing special but the end
                best = int(scores.argmax())
                logprobs.append(float(scores[best]))
                if best == self._end:
                    break
                said.append(best)
                ids = torch.tensor([[best]])
        return "" if cancelled() or np.mean(logprobs) < -1.0 else str(self._tokenizer.decode(said)).strip()
