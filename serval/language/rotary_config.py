"""How a ``config.json`` tells of rotary positions, in the old form (rope_theta, rope_scaling) and the new (rope_parameters)."""

from __future__ import annotations

import math
from typing import Any

from serval.language.fields import Fields
from serval.language.rotary import Rotary, Scaling

_NAMES: dict[str, Scaling] = {"default": "default", "mrope": "default", "linear": "linear", "dynamic": "dynamic"}
_NAMES |= {"yarn": "yarn", "longrope": "longrope", "su": "longrope", "llama3": "llama3"}


def read_rotary(fields: Fields, head_dim: int, *, theta: float, kind: str | None = None) -> Rotary:
    """The rotary positions of a model, or of its layers of ``kind`` where kinds differ (Gemma 3).

    Args:
        theta: the family's base, where the file gives none.

    Raises:
        Refusal: a rescaling that is not known, or with values that cannot be.
    """
    told = fields.within("rope_parameters" if fields.given("rope_parameters") else "rope_scaling")
    if kind is not None:
        if told.given(kind):
            told = told.within(kind)
        elif kind == "sliding_attention":  # the old form rescales the other layers only
            return Rotary(head_dim, fields.number("rope_local_base_freq", theta))
    name = told.word("rope_type", told.word("type", "default"))
    if name not in _NAMES:
        raise fields.refusal(
            f"its positions are rescaled by “{ascii(name)[1:-1][:30]}”, which is not known", f"take {', '.join(_NAMES)}"
        )
    scaling, context = _NAMES[name], fields.whole("max_position_embeddings")
    share = told.number("partial_rotary_factor", fields.number("partial_rotary_factor", 1.0))
    width = int(head_dim * share)
    if not 2 <= width <= head_dim or width % 2:
        raise fields.refusal(f"{width} of a head's {head_dim} numbers cannot turn in pairs")
    rotary = Rotary(width, told.number("rope_theta", fields.number("rope_theta", theta)), sections=_sections(told, width))
    if scaling == "default":
        return rotary
    trained = told.whole("original_max_position_embeddings", fields.whole("original_max_position_embeddings", context))
    if fields.given("original_max_position_embeddings"):
        trained = fields.whole("original_max_position_embeddings")
    longer = told.number("factor", max(context / trained, 1.0) if scaling in ("yarn", "longrope") else None)
    options: dict[str, Any] = {"scaling": scaling, "factor": longer, "trained": trained}
    if scaling == "dynamic":
        options["trained"] = context
    elif scaling == "llama3":
        options |= {"low": told.number("low_freq_factor", 1.0), "high": told.number("high_freq_factor", 4.0)}
        if options["low"] >= options["high"]:
            raise fields.refusal("its low_freq_factor is not below its high_freq_factor")
    elif scaling == "yarn":
        amplitude = told.maybe("attention_factor")
        if amplitude is None:
            over, under = told.maybe("mscale"), told.maybe("mscale_all_dim")
            amplitude = _mscale(longer, over) / _mscale(longer, under) if over and under else _mscale(longer, 1.0)
        options |= {"low": told.number("beta_slow", 1.0), "high": told.number("beta_fast", 32.0)}
        options |= {"amplitude": amplitude, "whole": told.flag("truncate", True)}
    elif scaling == "longrope":
        slowed = {key: _factors(told, f"{key}_factor", width // 2) for key in ("short", "long")}
        amplitude = told.maybe("attention_factor")
        if amplitude is None:
            amplitude = math.sqrt(1 + math.log(longer) / math.log(trained)) if longer > 1 else 1.0
        options |= {**slowed, "amplitude": amplitude}
    return Rotary(rotary.width, rotary.theta, sections=rotary.sections, **options)


def _mscale(factor: float, slope: float) -> float:
    return 0.1 * slope * math.log(factor) + 1.0 if factor > 1 else 1.0


def _sections(told: Fields, width: int) -> tuple[int, ...]:
    value = told.content.get("mrope_section")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, int) and each > 0 for each in value) or sum(value) != width // 2:
        raise told.refusal(f"its mrope_section does not add up to {width // 2} pairs")
    return tuple(value)


def _factors(told: Fields, key: str, pairs: int) -> tuple[float, ...]:
    value = told.content.get(key)
    if not isinstance(value, list) or len(value) != pairs or not all(isinstance(x, int | float) and x > 0 for x in value):
        raise told.refusal(f"its {key} is not {pairs} positive numbers")
    return tuple(float(each) for each in value)
