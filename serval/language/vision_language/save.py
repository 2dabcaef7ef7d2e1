"""A vision-language model into a folder that transformers reads (but for a bank of towers), with all that came with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from serval.language.load import stored
from serval.language.vision_language.bank import MODEL_TYPE
from serval.language.vision_language.model import VisionLanguageModel
from serval.weights.safetensors_writer import write_safetensors

_SHARD = 5 * 10**9  # bytes
_THEIRS = ", and transformers' `AutoModelForImageTextToText`"
_KNOWN = re.compile(r"^(license|license_name|license_link|base_model):[ \t]*([\w./:+ -]+)$", re.ASCII | re.MULTILINE)


def save_vision_language_model(model: VisionLanguageModel, folder: Path) -> None:
    """``model.safetensors``, or shards of 5 GB and their index, ``config.json``, what came with the model, and a card."""
    folder.mkdir(parents=True, exist_ok=True)
    family = model.family
    tensors = {family.written(name): each for name, each in model.state_dict().items() if not name.startswith("decoder.")}
    for name, each in stored(model.decoder).items():
        head = name.startswith("lm_head.")
        tensors[family.head + name.removeprefix("lm_head.") if head else family.text + name] = each
    shapes = {name: tuple(each.shape) for name, each in tensors.items()}
    write_safetensors(folder, shapes, lambda name: tensors[name].detach().cpu(), model.dtype, largest=_SHARD)
    source = {key: value for key, value in model.config.source.items() if key not in ("torch_dtype", "auto_map")}
    source["dtype"] = str(model.dtype).removeprefix("torch.")  # by which transformers reads it
    (folder / "config.json").write_text(json.dumps(source, indent=1) + "\n", "utf-8")
    for name, content in model.papers.items():
        (folder / name).write_bytes(content)
    (folder / "README.md").write_text(_card(model), "utf-8")


def _card(model: VisionLanguageModel) -> str:
    """What the model is; licence and origin as its own card had them."""
    before = model.papers.get("README.md", b"").decode("utf-8", "replace")
    front = before.split("---", 2)[1] if before.startswith("---") and before.count("---") > 1 else ""
    known = dict(_KNOWN.findall(front))
    if model.origin:
        known["base_model"] = model.origin
    ours = model.config.family == MODEL_TYPE
    lines = [
        f"library_name: {'serval' if ours else 'transformers'}",
        "pipeline_tag: image-text-to-text",
        *(f"{key}: {known[key]}" for key in known),
    ]
    count = sum(each.numel() for each in model.parameters())
    head = "\n".join(["---", *lines, "---", ""])
    about = f"A vision-language model of the family `{model.config.family}`, {count:,} parameters in {model.dtype}."
    how = f"`VisionLanguageModel.from_pretrained` of Serval reads it{'' if ours else _THEIRS}."
    return f"{head}\n# {model.origin or model.config.family}\n\n{about}\n\n{how}\n"
