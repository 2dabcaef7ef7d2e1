"""A model's folder says how it is talked to; what is hostile or damaged in it is refused and does nothing."""

import json

import pytest

from serval.conversation.build import stops
from serval.conversation.formats import from_huggingface, from_openai
from serval.conversation.messages import Message
from serval.conversation.template import ChatTemplate
from serval.conversation.template_files import tokens_of
from serval.refusal import Refusal
from serval.weights import locate

PLAIN = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture
def folder(tmp_path):
    """Write a folder: `folder("name.json", {…})`, `folder("name", "text")`."""

    def write(name, content):
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return tmp_path / "model"

    return write


def said(template, messages=None):
    with template:
        return "".join(piece.text for piece in template.render(messages or [Message.of("user", "hi")], reply=False))


def test_the_real_folder_of_smollm2(tokenizer):
    template = ChatTemplate.from_folder(locate("smollm2", "tokenizer.json").parent)
    assert template.variables["eos_token"] == "<|im_end|>" and not template.placeholders
    assert said(template).endswith("<|im_start|>user\nhi<|im_end|>\n")
    assert stops(template, tokenizer) == {tokenizer.special("<|im_end|>")}


def test_where_templates_stand_and_which_comes_first(folder):
    both = [{"name": "default", "template": "1"}, {"name": "tool_use", "template": "2"}]
    here = folder("tokenizer_config.json", {"chat_template": both})
    assert ChatTemplate.from_folder(here).source == "1"
    assert ChatTemplate.from_folder(here, "tool_use").source == "2"
    folder("additional_chat_templates/tool_use.jinja", "3")
    assert ChatTemplate.from_folder(here, "tool_use").source == "3"
    folder("chat_template.json", {"chat_template": "4"})
    assert ChatTemplate.from_folder(here).source == "4"
    folder("chat_template.jinja", "5")
    assert ChatTemplate.from_folder(here).source == "5"
    with pytest.raises(Refusal, match="no chat template 'rag'; it has default, tool_use"):
        ChatTemplate.from_folder(here, "rag")


def test_tokens_are_strings_or_objects(folder):
    folder(
        "special_tokens_map.json", {"bos_token": "<a>", "pad_token": {"content": "<p>"}, "additional_special_tokens": ["<q>"]}
    )
    folder("tokenizer_config.json", {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>", "unk_token": None})
    assert tokens_of(folder("chat_template.jinja", PLAIN)) == {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<p>"}
    assert said(ChatTemplate.from_folder(folder("x", ""))) == "hi</s>"


IMAGE = "{% for m in messages %}{% for p in m.content %}{{ p.text if p.type == 'text' else PLACE }}{% endfor %}{% endfor %}"
FAMILIES = {
    # the token that becomes the picture, by its id in the model's configuration
    "llava": (
        "'<image>\n'",
        {
            "config.json": {"model_type": "llava", "image_token_index": 9},
            "tokenizer.json": {"added_tokens": [{"id": 9, "content": "<image>"}]},
        },
        "<image>",
        ["<image>", "\n", "hi"],
    ),
    "qwen2_vl": (
        "'<|vision_start|><|image_pad|><|vision_end|>'",
        {
            "config.json": {"model_type": "qwen2_vl", "image_token_id": 7},
            "tokenizer_config.json": {"added_tokens_decoder": {"7": {"content": "<|image_pad|>"}}},
        },
        "<|image_pad|>",
        ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "hi"],
    ),
    # the token that begins it, which the processor completes
    "gemma3": (
        "'<start_of_image>'",
        {
            "config.json": {"model_type": "gemma3"},
            "tokenizer_config.json": {
                "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>",
            },
        },
        "<start_of_image>",
        ["\n\n<start_of_image>", "<start_of_image>", "<end_of_image>\n\n", "hi"],
    ),
    # both ends left to the processor
    "internvl": (
        "'<IMG_CONTEXT>'",
        {
            "config.json": {"model_type": "internvl"},
            "tokenizer_config.json": {
                "extra_special_tokens": {
                    "context_image_token": "<IMG_CONTEXT>", "start_image_token": "<img>", "end_image_token": "</img>",
                }
            },
        },
        "<IMG_CONTEXT>",
        ["<img>", "<IMG_CONTEXT>", "</img>", "hi"],
    ),
    # a variable of the template's, in the processor's file
    "idefics": ("image_token", {"processor_config.json": {"image_token": "<image>"}}, "<image>", ["<image>", "hi"]),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_places_of_media_by_family(folder, family):
    place, files, placeholder, pieces = FAMILIES[family]
    for name, content in files.items():
        folder(name, content)
    template = ChatTemplate.from_folder(folder("chat_template.jinja", IMAGE.replace("PLACE", place)))
    assert template.placeholders == {"image": placeholder}
    content = [{"type": "image"}, {"type": "text", "text": "hi"}]
    with template:
        made = template.render(from_huggingface([{"role": "user", "content": content}]))
    assert [piece.text for piece in made] == pieces
    assert [piece.kind for piece in made].count("media") == 1 and [piece.medium for piece in made if piece.kind == "media"] == [
        0
    ]


def test_kinds_that_share_a_placeholder_take_it_in_order(folder):
    folder("processor_config.json", {"image_token": "<m>", "video_token": "<m>", "audio_token": "<a>"})
    source = "{% for p in messages[0].content %}{{ '<a>' if p.type == 'audio' else '<m>' }}{% endfor %}"
    content = [{"type": kind} for kind in ("video", "audio", "image", "image", "audio")]
    with ChatTemplate.from_folder(folder("chat_template.jinja", source)) as template:
        pieces = template.render(from_huggingface([{"role": "user", "content": content}]))
    assert [piece.medium for piece in pieces] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({"generation_config.json": {"eos_token_id": [7, 9]}, "config.json": {"eos_token_id": 5}}, {7, 9}),
        ({"config.json": {"eos_token_id": 5}}, {5}),
        ({"config.json": {"eos_token_id": "no"}}, set()),
        ({}, set()),
    ],
)
def test_what_ends_a_reply(folder, tokenizer, files, ends):
    folder("tokenizer_config.json", {"eos_token": "<|endoftext|>"})
    for name, content in files.items():
        folder(name, content)
    source = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    with ChatTemplate.from_folder(folder("chat_template.jinja", source)) as template:
        assert template.ends == ends
        assert stops(template, tokenizer) == ends | {tokenizer.special("<|im_end|>"), tokenizer.special("<|endoftext|>")}


BAD = [
    ("chat_template.jinja", b"\xff\xfe\x00", "chat_template.jinja: it is not text"),
    ("tokenizer_config.json", b"{", "tokenizer_config.json: it is not JSON"),
    ("tokenizer_config.json", b"[]", "it is not a JSON object"),
    ("tokenizer_config.json", b'{"chat_template": 5}', "no chat template"),
    (
        "tokenizer_config.json",
        b'{"chat_template": [{"name": "default"}, 3, {"name": [], "template": "x"}]}',
        "no chat template",
    ),
    ("tokenizer_config.json", b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "it is not JSON"),
    ("config.json", b'"x"', "config.json: it is not a JSON object"),
]


@pytest.mark.parametrize(("name", "content", "why"), BAD)
def test_what_is_damaged_is_named(folder, name, content, why):
    if name == "config.json":
        folder("chat_template.jinja", PLAIN)
    path = folder("x", "") / name
    path.write_bytes(content)
    with pytest.raises(Refusal, match=why) as refusal:
        ChatTemplate.from_folder(path.parent)
    assert "\n" not in str(refusal.value)


def test_what_is_too_large_is_not_read(folder):
    path = folder("chat_template.jinja", PLAIN) / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(Refusal, match=r"tokenizer\.json: it is larger than 64 MB"):
        ChatTemplate.from_folder(path.parent)


def test_a_folder_that_is_not_there_has_no_template(tmp_path):
    with pytest.raises(Refusal, match="no chat template"):
        ChatTemplate.from_folder(tmp_path / "nowhere")


HOSTILE = "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}"


@pytest.mark.parametrize("place", ["chat_template.jinja", "chat_template.json", "tokenizer_config.json"])
def test_a_hostile_folder_runs_nothing(folder, tmp_path, monkeypatch, place):
    """A template that escapes, tokens that are templates, and code beside the configuration, as remote code is shipped."""
    canary = tmp_path / "canary"
    source = HOSTILE.replace("CANARY", str(canary))
    code = f"open({str(canary)!r}, 'w')"
    folder("config.json", {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}})
    folder("processor_config.json", {"image_token": "{{ 1 // 0 }}", "auto_map": {"AutoProcessor": "evil.Evil"}})
    folder("special_tokens_map.json", {"bos_token": source, "eos_token": {"__class__": "evil.Evil", "content": source}})
    for name in ("evil.py", "__init__.py", "jinja2.py", "json.py", "sitecustomize.py"):
        folder(name, code)
    content = (
        source if place.endswith("jinja") else {"chat_template": source, "tokenizer_class": "Evil", "trust_remote_code": True}
    )
    monkeypatch.chdir(folder(place, content))
    with ChatTemplate.from_folder(tmp_path / "model") as template, pytest.raises(Refusal, match="the chat template: "):
        template.render(from_openai([{"role": "user", "content": "hi"}]))
    folder("chat_template.jinja", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")
    assert said(ChatTemplate.from_folder(tmp_path / "model")) == f"{source}hi{source}"  # a token is a text, not a template
    assert not canary.exists()
