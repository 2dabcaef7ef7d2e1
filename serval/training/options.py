"""``key=value`` from the command line, in the types that a recipe's function says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, get_args

from serval.refusal import Refusal
from serval.training.parameters import refuse_unknown


def options_from(words: Sequence[str]) -> dict[str, str]:
    """``["rank=8"]`` as ``{"rank": "8"}``. Raises `Refusal` for a word that is no ``key=value``, and for a key given twice."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or key in found:
            why = "it is given twice" if key in found else "it is no option"
            raise Refusal(word[:60], why, "write key=value, each key once")
        found[key] = value
    return found


def typed(recipe: Callable[..., Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The options in the types of ``recipe``'s parameters: whole and other numbers, true and false, words, paths, ``Literal``
    choices; "none" where None is one of the types.

    Raises:
        Refusal: a key that ``recipe`` does not have, and which ones it has; a value of another type; a missing option.
    """
    from pydantic import TypeAdapter, ValidationError

    known = inspect.signature(recipe, eval_str=True).parameters
    made: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise refuse_unknown(f"{key}={value}"[:60], key, [described(each) for each in known.values()], "option")
        kind = known[key].annotation
        if value.lower() == "none" and NoneType in get_args(kind):
            made[key] = None
            continue
        try:
            made[key] = TypeAdapter(kind).validate_strings(value)
        except ValidationError as error:
            why = error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
            raise Refusal(f"{key}={value}"[:60], why[0].lower() + why[1:], f"it is {described(known[key])}") from None
    missing = [key for key, each in known.items() if each.default is inspect.Parameter.empty and key not in made]
    if missing:
        raise Refusal("the recipe", f"it needs {', '.join(missing)}", f"write {missing[0]}=…")
    return made


def described(parameter: inspect.Parameter) -> str:
    """``rank: int = 8``."""
    kind, default = inspect.formatannotation(parameter.annotation), parameter.default
    kind = re.sub(r"\b(?:\w+\.)+(?=\w)", "", kind)  # plain names: Path, not pathlib.Path
    return f"{parameter.name}: {kind}" + ("" if default is inspect.Parameter.empty else f" = {default}")
