"""Input items of `/v1/responses` as messages of `/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serval.serving.problems import Problem

_TEXTS = ("input_text", "output_text", "text")


def messages_of(given: str | Sequence[Mapping[str, Any]], instructions: str | None) -> list[dict[str, Any]]:
    """Messages in the other endpoint's form.

    Raises:
        Problem: an item is not known here.
    """
    made: list[dict[str, Any]] = [{"role": "developer", "content": instructions}] if instructions else []
    if isinstance(given, str):
        return [*made, {"role": "user", "content": given}]
    for number, item in enumerate(given, 1):
        kind, where = item.get("type", "message"), f"input item {number}"
        if kind == "message" and "role" in item:
            content = item.get("content")
            parts = [_part(each, where) for each in content] if isinstance(content, list) else content
            made.append({"role": item["role"], "content": parts})
        elif kind == "function_call":
            call = {"id": item.get("call_id"), "function": {"name": item.get("name"), "arguments": item.get("arguments", "{}")}}
            made.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "function_call_output":
            output = item.get("output")
            parts = [_part(each, where) for each in output] if isinstance(output, list) else output
            made.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": parts})
        else:
            raise Problem(400, f"{where}: items of the type {ascii(kind)[:60]} are not supported here", "input")
    return made


def _part(part: object, where: str) -> dict[str, Any]:
    if isinstance(part, Mapping):
        kind = part.get("type")
        if kind in _TEXTS:
            return {"type": "text", "text": part.get("text")}
        if kind == "refusal":
            return {"type": "text", "text": part.get("refusal")}
        if kind == "input_image" and part.get("image_url") is not None:
            return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail")}}
        if kind == "input_image":
            raise Problem(400, f"{where}: a picture is given as a data: URL in image_url", "input")
        if kind in ("input_audio", "video_url"):  # the second is not of OpenAI's
            return {"type": kind, kind: part.get(kind)}
    shown = ascii(part.get("type") if isinstance(part, Mapping) else part)[:60]
    raise Problem(400, f"{where}: parts of the type {shown} are not supported here", "input")
