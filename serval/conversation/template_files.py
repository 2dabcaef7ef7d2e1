"""What the folder of a Hugging Face model says about its chat template: nothing in it is executed, only read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serval.conversation.messages import MediaKind
from serval.refusal import Refusal

_LARGEST = 64 << 20  # bytes of a file
_REMEDY = "fetch the model again"
# What the files call the token where a medium's embeddings go, and those that stand around it.
_PLACES: dict[MediaKind, tuple[str, ...]] = {
    "image": ("image_token", "context_image_token"),
    "video": ("video_token",),
    "audio": ("audio_token",),
}
_EDGES: dict[MediaKind, tuple[tuple[str, str], ...]] = {
    "image": (("boi_token", "eoi_token"), ("start_image_token", "end_image_token")),
    "video": (),
    "audio": (("boa_token", "eoa_token"),),
}


def chat_template_of(folder: Path, name: str) -> str:
    """The template called ``name`` of ``chat_template.jinja``, ``additional_chat_templates``, ``chat_template.json`` or
    ``tokenizer_config.json``, the first that has it.

    Raises:
        Refusal: there is none, or a file cannot be read.
    """
    found: dict[str, str] = {}
    for file in ("tokenizer_config.json", "chat_template.json"):
        said = _object(folder / file).get("chat_template")
        named = said if isinstance(said, list) else [{"name": "default", "template": said}]
        found |= {
            each["name"]: each["template"] for each in named
            if isinstance(each, dict) and isinstance(each.get("name"), str) and isinstance(each.get("template"), str)
        }  # fmt: skip
    plain = "chat_template.jinja" if name == "default" else f"additional_chat_templates/{name}.jinja"
    if (text := _text(folder / plain)) is not None:
        return text
    if name not in found:
        raise Refusal(folder.name, f"it has no chat template {name!r}", f"it has {', '.join(sorted(found)) or 'none'}")
    return found[name]


def tokens_of(folder: Path) -> dict[str, str]:
    """The named tokens: "bos_token", "eos_token", "image_token" …, by ``config.json`` where no other file says.

    Raises:
        Refusal: a file cannot be read.
    """
    made: dict[str, str] = {}
    config, added = _object(folder / "config.json"), _added(folder)
    for key, value in config.items():
        for end in ("_token_id", "_token_index"):
            if key.endswith(end) and isinstance(value, int) and value in added:
                made[key.removesuffix(end) + "_token"] = added[value]
    for file in ("special_tokens_map.json", "tokenizer_config.json", "processor_config.json"):
        said = _object(folder / file)
        extra = said.get("extra_special_tokens")
        for key, value in (*said.items(), *(extra.items() if isinstance(extra, dict) else ())):
            content = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and isinstance(content, str):
                made[key] = content
    return made


def places_of(
    source: str, tokens: Mapping[str, str], family: str
) -> tuple[dict[MediaKind, str], dict[MediaKind, tuple[str, str]]]:
    """What a template writes where media go, and what a processor would put around them.

    Some templates write the token that becomes the medium (LLaVA, Qwen2-VL), some only the one that begins it, which is then
    completed (Gemma 3), some leave both ends to the processor (InternVL).
    """
    places: dict[MediaKind, str] = {}
    around: dict[MediaKind, tuple[str, str]] = {}
    gap = "\n\n" if family.startswith("gemma3") else ""
    for kind, names in _PLACES.items():
        place = next((tokens[name] for name in names if tokens.get(name)), None)
        begin, end = next(((tokens[a], tokens[b]) for a, b in _EDGES[kind] if tokens.get(a) and tokens.get(b)), ("", ""))
        if begin and begin in source and (place is None or place not in source):
            places[kind], around[kind] = begin, (gap + begin, end + gap)
        elif place:
            places[kind] = place
            if begin and begin not in source:
                around[kind] = (gap + begin, end + gap)
    return places, around


def ends_of(folder: Path) -> frozenset[int]:
    """Ids after which a reply is over, by ``generation_config.json`` or ``config.json``; they give one or a list."""
    for file in ("generation_config.json", "config.json"):
        said = _object(folder / file).get("eos_token_id")
        if said is not None:
            return frozenset(each for each in (said if isinstance(said, list) else [said]) if isinstance(each, int))
    return frozenset()


def family_of(folder: Path) -> str:
    """The ``model_type`` of ``config.json``; "" if it does not say."""
    return str(_object(folder / "config.json").get("model_type", ""))


def _added(folder: Path) -> dict[int, str]:
    """Contents of the added tokens by their ids."""
    said = _object(folder / "tokenizer_config.json").get("added_tokens_decoder")
    pairs = list(said.items()) if isinstance(said, dict) else []
    if not pairs:
        listed = _object(folder / "tokenizer.json").get("added_tokens")
        pairs = [(each.get("id"), each) for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return {
        int(id_): token["content"] for id_, token in pairs
        if str(id_).isdecimal() and isinstance(token, dict) and isinstance(token.get("content"), str)
    }  # fmt: skip


def _object(path: Path) -> dict[str, Any]:
    """A JSON object; empty when there is no such file."""
    text = _text(path)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal(path.name, "it is not JSON", _REMEDY) from None
    if not isinstance(found, dict):
        raise Refusal(path.name, "it is not a JSON object", _REMEDY)
    return found


def _text(path: Path) -> str | None:
    try:
        if path.stat().st_size > _LARGEST:
            raise Refusal(path.name, f"it is larger than {_LARGEST >> 20} MB", _REMEDY)
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Refusal(path.name, (error.strerror or "it cannot be read").lower(), _REMEDY) from None
    except ValueError:
        raise Refusal(path.name, "it is not text", _REMEDY) from None
