"""What clients ask of a reply besides its messages, read and checked: how words are picked, and what form they have."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from serval.refusal import Refusal
from serval.serving.openai.speaker import Speaker
from serval.serving.problems import Problem

if TYPE_CHECKING:
    from serval.language.generation.constraint import Constraint
    from serval.language.generation.sampling import Sampling

_WITHOUT_EFFECT: Final[Mapping[str, tuple[Any, ...]]] = {  # what stock clients send, and values that ask for nothing
    "store": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "background": (False,),
    "truncation": ("disabled",),
    "include": ([],),
    "parallel_tool_calls": (True, False),  # one call comes at the most
}
_LABELS: Final = frozenset({"user", "safety_identifier", "prompt_cache_key", "metadata"})  # read by nobody here

Content = dict[str, Any]


class Asking(BaseModel):
    """A request that names a model. Fields that are not known are looked at, not ignored."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(max_length=200)]

    def refuse_others(self) -> None:
        """Raises `Problem` for a field that would be ignored though it asks for something."""
        for name, value in (self.model_extra or {}).items():
            if value is not None and name not in _LABELS and value not in _WITHOUT_EFFECT.get(name, ()):
                known = "this value of " if name in _WITHOUT_EFFECT else ""
                shown = ascii(name)[1:-1][:60]
                raise Problem(400, f"{known}{shown} is not supported here", shown)


class Picking(Asking):
    """How words are picked; the likeliest one every time unless a temperature is given."""

    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    top_k: Annotated[int | None, Field(ge=0, le=1_000_000, description="not of OpenAI's")] = None
    min_p: Annotated[float | None, Field(ge=0, le=1, description="not of OpenAI's")] = None
    repetition_penalty: Annotated[float | None, Field(gt=0, lt=100, description="not of OpenAI's")] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None

    def sampling(self, number: int = 0) -> Sampling:
        """For the reply of this number; with a seed, the same words come again."""
        from serval.language.generation.sampling import Sampling

        seed = secrets.randbits(62) if self.seed is None else self.seed + number
        return Sampling(
            temperature=self.temperature or 0.0,
            top_k=self.top_k or 0,
            top_p=1.0 if self.top_p is None else self.top_p,
            min_p=self.min_p or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            seed=seed % 2**63,
        )


class StreamOptions(BaseModel):
    """How a stream ends."""

    include_usage: bool = False
    include_obfuscation: bool | None = None  # there is none


class Function(BaseModel):
    """One tool: a function that the client has."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: Annotated[str | None, Field(max_length=10_000)] = None
    parameters: Content | None = None
    strict: bool | None = None  # arguments always keep to their schema

    @property
    def schema_(self) -> Content:
        return self.parameters or {"type": "object", "properties": {}, "additionalProperties": False}


Choice = Literal["none", "auto", "required"]


@dataclass(frozen=True)
class Tools:
    """The functions that may be called, and whether one has to be: ``choice`` is also the name of the one."""

    functions: tuple[Function, ...] = ()
    choice: str = "none"

    @property
    def named(self) -> Function | None:
        """The function that has to be called, where that is clear."""
        if self.choice == "required" and len(self.functions) == 1:
            return self.functions[0]
        return next((each for each in self.functions if self.choice == f"={each.name}"), None)


def read_tools(functions: tuple[Function, ...], choice: object) -> Tools:
    """``choice`` as clients of either endpoint give it. Raises `Problem` for one that makes no sense."""
    if len({each.name for each in functions}) < len(functions):
        raise Problem(400, "two tools have the same name", "tools")
    if choice is None:
        return Tools(functions, "auto" if functions else "none")
    if choice in ("none", "auto", "required"):
        if choice == "required" and not functions:
            raise Problem(400, "there is no tool to choose", "tool_choice")
        return Tools(functions, str(choice) if functions else "none")
    if isinstance(choice, dict) and choice.get("type") == "function":
        inner = choice.get("function", choice)
        name = inner.get("name") if isinstance(inner, dict) else None
        if any(each.name == name for each in functions):
            return Tools(functions, f"={name}")
        raise Problem(400, "tool_choice names no function of tools", "tool_choice")
    raise Problem(400, "tool_choice is none, auto, required or names a function", "tool_choice")


def read_form(form: Content | None, param: str) -> Content | None:
    """The JSON Schema that words have to keep to, of ``response_format`` or ``text.format``; None for any words.

    Raises:
        Problem: there is no such form.
    """
    kind = (form or {"type": "text"}).get("type")
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    inner = form.get("json_schema", form)
    if kind != "json_schema" or not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
        raise Problem(400, f"{param} is text, json_object, or json_schema with a schema", param)
    found: Content = inner["schema"]
    return found


def held_to(speaker: Speaker, schema: Content | None, param: str) -> Constraint | None:
    """A reply of JSON. Raises `Problem` where the schema, or the model, cannot be had so."""
    from serval.language.generation.constraint import Constraint

    if schema is None:
        return None
    if not speaker.told:
        raise Problem(400, "the model of this server cannot be held to a form", param)
    try:
        return Constraint.json_schema(schema, speaker.vocabulary)
    except Refusal as refusal:
        raise Problem(400, f"{refusal.what}: {refusal.why}", param) from None
