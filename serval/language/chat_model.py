"""A small language model to talk to: messages in, words out as they come. Only `ChatModel.open` loads anything heavy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from serval.conversation.chat import ChatML
from serval.conversation.messages import Message
from serval.conversation.tokenizer import Tokenizer
from serval.language.kept_session import ForkableSession, KeptSession
from serval.refusal import Refusal
from serval.weights import locate, model_id

if TYPE_CHECKING:
    from serval.language.decoder import Decoder
    from serval.language.generation.constraint import Constraint
    from serval.language.generation.request import Spent, Step
    from serval.language.generation.sampling import Sampling
    from serval.language.int4 import Int4Decoder

Numbers = Literal["int4", "bfloat16", "float32"]

_APART = 32  # tokens between two places where a conversation can be taken up again; every stop there costs a pass


class WordTemplate(Protocol):
    """How conversations of words are written: `ChatML`, or a model's own (`SpokenTemplate`)."""

    def encode(self, tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, to where the assistant's words begin. Raises `Refusal` for what it cannot write."""
        ...

    def stops(self, tokenizer: Tokenizer) -> frozenset[int]:
        """Ids with which the assistant ends its turn."""
        ...

    def turn(self, tokenizer: Tokenizer) -> int | None:
        """The id that every message begins with, if there is one."""
        ...


class ChatModel:
    """A decoder with its tokenizer and its chat template. Several threads may use it at once.

    Attributes:
        model_id: name, version and hash of the weights, for the record.
        tokenizer: also what a `Constraint` is made for: ``Constraint.regex("yes|no", ConstraintVocabulary(model.tokenizer))``.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Tokenizer,
        template: WordTemplate,
        model_id: str,
        int4: Int4Decoder | None = None,
        kept_tokens: int = 512,
    ) -> None:
        """``kept_tokens``: how much is kept of what was read last, 45 kB a token of SmolLM2 at four bits or in float32."""
        self.model_id, self.tokenizer = model_id, tokenizer
        self._decoder, self._int4, self._template = decoder, int4, template
        self._kept = KeptSession(self._session, kept_tokens)

    @classmethod
    def open(cls, part: str = "smollm2", *, dtype: Numbers = "int4", device: str = "cpu", threads: int = 1) -> ChatModel:
        """Load a part of `serval.weights`.

        Args:
            dtype: what the weights are kept as. ``int4`` is for CPUs: it reads and scores in bfloat16, and speaks several
                times as fast.
            threads: cores that PyTorch may use, in this process.

        Raises:
            PartMissing: the part has not been fetched.
            Refusal: a file of it is damaged.
        """
        import torch

        from serval.language.load import load_decoder

        if dtype == "int4" and torch.device(device).type != "cpu":
            raise Refusal("int4", "it is made for the CPU", "take bfloat16")
        torch.set_num_threads(threads)
        weights, config = locate(part, "model.safetensors"), locate(part, "config.json")
        numbers = torch.float32 if dtype == "float32" else torch.bfloat16
        decoder = load_decoder(weights, config, dtype=numbers, device=device)
        int4 = None
        if dtype == "int4":
            from serval.language.int4 import Int4Decoder

            int4 = Int4Decoder(locate(part, "model.gguf"), decoder)
        return cls(decoder, Tokenizer(locate(part, "tokenizer.json")), ChatML(), model_id(part), int4)

    @classmethod
    def from_files(
        cls, path: Path, *, dtype: Literal["bfloat16", "float32"] = "bfloat16", device: str = "cpu", threads: int = 1
    ) -> ChatModel:
        """Load a model's folder, or a GGUF file, of any family that a `Decoder` can be; it speaks by its own template.

        Raises:
            Refusal: a file is missing or damaged, there is no tokenizer or template, or the family is not known.
        """
        import torch

        from serval.language.load import load_decoder
        from serval.language.speech import Speech
        from serval.language.spoken_template import SpokenTemplate
        from serval.weights.gguf import papers_of
        from serval.weights.identity import identity

        torch.set_num_threads(threads)
        decoder = load_decoder(path, dtype=torch.float32 if dtype == "float32" else torch.bfloat16, device=device)
        with papers_of(path) as folder:
            speech = Speech.from_folder(folder)
        if speech is None:
            raise Refusal(path.name, "there is no tokenizer.json in it", "fetch the model again")
        return cls(decoder, speech.tokenizer, SpokenTemplate(speech), identity(path))

    def reply(
        self,
        messages: Sequence[Message],
        max_tokens: int = 64,
        stop: Sequence[str] = (),
        cancelled: Callable[[], bool] = lambda: False,
        on_text: Callable[[str], None] = lambda text: None,
        sampling: Sampling | None = None,
        constraint: Constraint | None = None,
        logprobs: int | None = None,
        on_step: Callable[[Step], None] = lambda step: None,
        on_end: Callable[[Spent], None] = lambda spent: None,
    ) -> str:
        """The assistant's next words. Earlier messages that the last reply began with, too, are not read again.

        Args:
            max_tokens: how many tokens at the most; the words may then end in the middle of a sentence.
            stop: texts before which the words end.
            cancelled: asked before every token; when it says so, the words so far are all.
            on_text: told every piece of text as soon as it is certain; together they are what is returned.
            sampling: how tokens are picked; the likeliest one every time by default.
            constraint: what the words have to be: JSON of a schema, or all of a regular expression. They are less than that
                where ``max_tokens`` or ``cancelled`` ends them.
            logprobs: how many of the likeliest tokens are told with each step; with 0 only its own token's log-probability.
            on_step: told every token as it comes.
            on_end: told what it came to, last of all.

        Raises:
            Refusal: the messages and the reply are longer than the model's context, its numbers are not finite, or the
                constraint leads nowhere.
        """
        from serval.language.generation.generate import say
        from serval.language.generation.request import Request, Spent
        from serval.language.generation.sampling import Sampling

        prompt = self._template.encode(self.tokenizer, messages)
        capacity, cuts = len(prompt) + max_tokens, self._cuts(prompt)
        self._check_length(capacity)
        if cancelled():
            on_end(Spent(len(prompt), 0, "cancelled"))
            return ""
        session, cut = self._kept.session(prompt, cuts, capacity), cuts[-1] if cuts else 0
        stops = self._template.stops(self.tokenizer)
        request = Request(
            prompt[cut:], max_tokens, stops, stop, sampling or Sampling(), constraint, logprobs, before=prompt[:cut]
        )
        return say(
            session,
            request,
            self.tokenizer,
            cancelled=cancelled,
            on_text=on_text,
            on_step=on_step,
            on_end=lambda made, reason: on_end(Spent(len(prompt), made, reason)),
        )

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """How many tokens these messages are, with the beginning of the reply. Raises `Refusal` as `reply`."""
        return len(self._template.encode(self.tokenizer, messages))

    @property
    def limit(self) -> int:
        """Tokens of a conversation with its reply at the most."""
        return self._decoder.config.max_position

    def score(self, messages: Sequence[Message], reply: str) -> float:
        """How likely the model finds ``reply`` after ``messages``: mean log-probability of its tokens and of ending there.

        Raises:
            Refusal: they are longer than the model's context.
        """
        import torch

        prompt = self._template.encode(self.tokenizer, messages)
        words = [*self.tokenizer.encode(reply), *self._template.stops(self.tokenizer)]
        self._check_length(len(prompt) + len(words))
        with torch.inference_mode():
            ids = torch.tensor([prompt + words[:-1]], device=self._decoder.device)
            states = self._decoder.states(ids)[:, len(prompt) - 1 :]
            chances = torch.log_softmax(self._decoder.logits(states)[0].float(), dim=-1)
            chosen = chances.gather(1, torch.tensor(words, device=chances.device)[:, None])
        return float(chosen.mean())

    def _cuts(self, prompt: Sequence[int]) -> list[int]:
        """Where messages begin, but the first one and the reply: what comes later in a conversation changes none of them."""
        start, cuts = self._template.turn(self.tokenizer), [0]
        for place in [place for place, token in enumerate(prompt) if token == start][:-1]:
            if place >= cuts[-1] + _APART:
                cuts.append(place)
        return cuts[1:]

    def _session(self, capacity: int) -> ForkableSession:
        if self._int4 is not None:
            from serval.language.int4 import Int4Session

            return Int4Session(self._int4, capacity)
        from serval.language.generation.session import DecoderSession

        return DecoderSession(self._decoder, capacity)

    def _check_length(self, tokens: int) -> None:
        if tokens > self.limit:
            raise Refusal(
                "the conversation", f"with its reply it is {tokens} tokens long, and {self.limit} is the limit", "shorten it"
            )
