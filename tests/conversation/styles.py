"""Small tokenizers and chat templates in the manner of the families in use, made here from a few sentences."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SENTENCES = [
    "You are a helpful assistant. The user asks what is seen in the picture, and the assistant answers in one sentence.",
    "A man in a suit walks in from the left; the taxi sign reads 12:30, then 4.5 metres further the dog barks.",
    "system user assistant model tool image video start end header turn vision pad call name arguments function",
    'The tool seek takes {"to": 3, "name": "seek", "arguments": {"a": [1, 2]}} and says done.',
    "naïve café, don't, two  spaces,\n\nnew lines\tand tabs.\n",
]
CUTS = (
    r"'(?:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # cl100k's
)


@dataclass(frozen=True)
class Style:
    """A family: its tokenizer, its template, and what the template may ask for."""

    added: tuple[AddedToken, ...]
    template: str
    tokenizer: Tokenizer
    variables: dict[str, str]
    placeholders: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        path = folder / "tokenizer.json"
        self.tokenizer.save(str(path))
        return path


def special(*names: str, **flags: bool) -> tuple[AddedToken, ...]:
    return tuple(AddedToken(name, **{"special": True, "normalized": False, **flags}) for name in names)


def byte_level(added: tuple[AddedToken, ...], normalizer: Any = None, also: tuple[str, ...] = (), **options: Any) -> Tokenizer:
    """Byte-level BPE; ``also`` are special tokens that stand in the vocabulary of the model as well."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_regex(CUTS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    if normalizer is not None:
        made.normalizer = normalizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False))
    content = json.loads(made.to_str())
    content["model"] |= options
    for name in also:
        content["model"]["vocab"][name] = len(content["model"]["vocab"])
    return _with(content, added)


def pieces(added: tuple[AddedToken, ...], normalizer: Any, pre_tokenizer: Any, decoder: Any) -> Tokenizer:
    """BPE over characters with bytes for the others, as converters make it of SentencePiece's models.

    It is trained on the added tokens' names, too, so that merging alone leads to them.
    """
    made = Tokenizer(models.BPE())
    made.normalizer = normalizer
    if pre_tokenizer is not None:
        made.pre_tokenizer = pre_tokenizer
    names = [token.content for token in added] * 8
    made.train_from_iterator([*SENTENCES, *names], trainers.BpeTrainer(vocab_size=600, show_progress=False))
    content = json.loads(made.to_str())
    first = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    content["model"] |= {
        "vocab": {name: number for number, name in enumerate([*first, *content["model"]["vocab"]])},
        "unk_token": "<unk>",
        "byte_fallback": True,
        "fuse_unk": True,
    }
    made = Tokenizer.from_str(json.dumps(content))
    made.decoder = decoder
    return _with(json.loads(made.to_str()), (*special("<unk>"), *added))


def _regex(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


def _with(content: dict[str, Any], added: tuple[AddedToken, ...]) -> Tokenizer:
    """With these tokens, each where the vocabulary has it or after its end."""
    vocabulary, end = content["model"]["vocab"], len(content["model"]["vocab"])
    for token in added:
        number = vocabulary.get(token.content)
        flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
        row = {"content": token.content, **{flag: getattr(token, flag) for flag in flags}}
        content["added_tokens"].append({"id": end if number is None else number, **row})
        end += number is None
    content["added_tokens"].sort(key=lambda row: row["id"])
    return Tokenizer.from_str(json.dumps(content))


def _llama2() -> dict[str, Any]:
    """What was Llama 2's: a space before every text."""
    return {
        "normalizer": normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        "pre_tokenizer": None,
        "decoder": decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        ),
    }


_CONTENT = (
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}"
    "{% else %}PLACE{% endif %}{% endfor %}{% endif %}"
)


def llama3() -> Style:
    added = (
        *special("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|image|>"),
        *special("<|python_tag|>", "<|python", "sop"),  # one begins as another does; one is a word
    )
    template = (
        "{{ bos_token }}{% if tools is not none %}<|start_header_id|>system<|end_header_id|>\n\nTools:"
        "{% for tool in tools %}\n{{ tool | tojson(indent=2) }}{% endfor %}<|eot_id|>{% endif %}"
        "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{% if m.tool_calls %}{% for call in m.tool_calls %}<|python_tag|>{{ call.function | tojson }}{% endfor %}"
        "{% else %}{{ m.content | trim }}{% endif %}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    )
    tokenizer = byte_level(added, also=("sop",), ignore_merges=True)
    return Style(added, template, tokenizer, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"})


def qwen2() -> Style:
    added = (
        *special("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"),
        *special("<|video_pad|>"),
        *special("<tool_call>", "</tool_call>", special=False),
        *special("<think>", special=False, normalized=True),
    )
    template = (
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
        "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}{% if m.name %} {{ m.name }}{% endif %}\n"
        + _CONTENT.replace("PLACE", "<|vision_start|><|{{ p.type }}_pad|><|vision_end|>")
        + "{% for call in m.tool_calls or [] %}\n<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    places = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
    return Style(added, template, byte_level(added, normalizers.NFC()), {"eos_token": "<|im_end|>"}, places)


def gemma() -> Style:
    added = (
        *special("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>"),
        *special("<image_soft_token>"),
        *special("\n\n", "\n\n\n", "▁▁", "<h1>", special=False),  # white space that was added is text like any other
    )
    template = (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content ~ '\n\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
        "{% for m in rest %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{% if loop.first %}{{ first }}{% endif %}"
        + _CONTENT.replace("PLACE", "<start_of_image>")
        + "<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    )
    tokenizer = pieces(
        added,
        normalizers.Replace(" ", "▁"),
        pre_tokenizers.Split(" ", "merged_with_previous"),
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
    )
    return Style(added, template, tokenizer, {"bos_token": "<bos>", "eos_token": "<eos>"}, {"image": "<start_of_image>"})


def phi3() -> Style:
    added = (
        *special("<s>", "<|endoftext|>"),
        *special("<|assistant|>", "<|system|>", "<|end|>", "<|user|>", "<|tool|>", rstrip=True),
        *special("</s>", special=False, rstrip=True),
        *special("<|image|>", lstrip=True, rstrip=True),
        *special("<|step|>", single_word=True),
    )
    template = (
        "{% for m in messages %}<|{{ m.role }}|>\n" + _CONTENT.replace("PLACE", " <|image|> \n") + "<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}b<|step|>c <|step|> {{ eos_token }}{% endif %}"
    )
    variables = {"bos_token": "<s>", "eos_token": "<|endoftext|>"}
    return Style(added, template, pieces(added, **_llama2()), variables, {"image": "<|image|>"})


def mistral() -> Style:
    added = special("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[IMG]")
    template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{{ eos_token }}"
        "{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}"
    )
    first = pre_tokenizers.Metaspace("▁", "first", split=False)
    tokenizer = pieces(added, normalizers.NFC(), first, _llama2()["decoder"])
    return Style(added, template, tokenizer, {"bos_token": "<s>", "eos_token": "</s>"})


def llava() -> Style:
    added = (
        *special("<s>", "</s>"),
        *special("<image>", "<image>_2", "<im", special=False),  # overlapping
        *special("<pad>", special=False, normalized=True, lstrip=True),
    )
    template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role | upper }}: "
        + _CONTENT.replace("PLACE", "<image>\n")
        + "{% if m.role == 'assistant' %}{{ eos_token }}{% else %} {% endif %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )
    variables = {"bos_token": "<s>", "eos_token": "</s>"}
    return Style(added, template, pieces(added, **_llama2()), variables, {"image": "<image>"})


STYLES = {"llama3": llama3, "qwen2": qwen2, "gemma": gemma, "phi3": phi3, "mistral": mistral, "llava": llava}
