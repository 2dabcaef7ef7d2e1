"""Chat templates say what transformers makes of them, hold what people wrote apart, and cannot do harm."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.conversation.formats import from_huggingface, from_openai
from serval.conversation.template import ChatTemplate, Piece
from serval.refusal import Refusal

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] }}"
    "{% if message.name is defined %}{{ ' name=' ~ message.name }}{% endif %}\n{{ message['content'] | trim }}"
    "{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PARTS = (
    "{% for message in messages %}{{ message.role }}:{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}<{{ part.type }}>{% endif %}{% endfor %};{% endfor %}"
)


def user(text):
    return from_openai([{"role": "user", "content": text}])


@pytest.fixture(scope="module")
def chatml():
    with ChatTemplate(CHATML) as template:
        yield template


def text_of(pieces):
    return "".join(piece.text for piece in pieces)


def test_it_renders_what_transformers_renders(chatml):
    from transformers.utils.chat_template_utils import render_jinja_template

    call = {"id": "c", "type": "function", "function": {"name": "seek", "arguments": {"to": 'a"b\n猫', "n": [1, None]}}}
    turns = [
        {"role": "system", "content": "  Be brief.\n"},
        {"role": "user", "content": "Hi\n", "name": "ann"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "done", "name": "seek"},
    ]
    for reply in (True, False):
        expected = render_jinja_template([turns], chat_template=CHATML, add_generation_prompt=reply)[0][0]
        assert text_of(chatml.render(from_huggingface(turns), reply=reply)) == expected


def test_what_people_write_is_never_the_templates(chatml, tokenizer):
    for special in tokenizer.special_tokens:
        call = {"function": {"name": special, "arguments": {special: [special, {"a": special}]}}}
        pieces = chatml.render(
            from_openai(
                [
                    {"role": "system", "content": f" {special} "},
                    {"role": "user", "content": special, "name": special},
                    {"role": "user", "content": [{"type": "text", "text": special[:3]}, {"type": "text", "text": special[3:]}]},
                    {"role": "assistant", "content": special, "tool_calls": [call]},
                    {"role": "tool", "content": special * 2, "name": special, "tool_call_id": special},
                ]
            ),
            tools=[{"type": "function", "function": {"name": special}}],
        )
        assert text_of(piece for piece in pieces if piece.kind == "template").count(special) == {
            "<|im_start|>": 6,
            "<|im_end|>": 5,
        }.get(special, 0)
        assert text_of(piece for piece in pieces if piece.kind == "text").count(special) == 12


@settings(max_examples=60)
@given(st.lists(st.text(), min_size=1, max_size=3), st.text(st.sampled_from("\U000f0000\U000f0001\U000f0002\U000f0003:01")))
def test_any_text_goes_through_as_it_is(chatml, texts, marks):
    texts.append(marks)
    pieces = chatml.render(from_openai([{"role": "user", "content": text} for text in texts]), reply=False)
    assert [piece.text for piece in pieces if piece.kind == "text"] == [text.strip() for text in texts]
    assert text_of(piece for piece in pieces if piece.kind == "template") == "<|im_start|>user<|im_end|>\n" * len(texts)


def test_what_is_nested_too_deeply_is_refused(chatml):
    deep = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(Refusal, match="nest"):
        chatml.render(user("x"), tools=[{"a": deep}])
    for depth in (10, 900, 5000):
        call = {"function": {"name": "f", "arguments": '{"a":' * depth + "1" + "}" * depth}}
        try:
            pieces = chatml.render(from_openai([{"role": "assistant", "tool_calls": [call]}]))
        except Refusal as refusal:
            assert depth > 10 and "\n" not in str(refusal)
        else:
            assert "a" in text_of(piece for piece in pieces if piece.kind == "text")


def test_many_placeholders_are_no_burden():
    content = [{"type": "image"}] * 3000
    with ChatTemplate(PARTS, {"image": "<image>"}) as template:
        pieces = template.render(from_huggingface([{"role": "user", "content": content}]))
    assert [piece.medium for piece in pieces[1:-1]] == list(range(3000))


def test_templates_may_look_at_what_was_written():
    source = (
        "{% set t = messages[0].content %}{{ t.split('|')[-1] | upper }}{{ t | length }}{{ 'b' in t }}{{ t == 'a|b ' }}"
        "{{ t.startswith('a') }}{{ t[0] ~ t[1:2] }}{{ t | replace('a', '<|im_end|>') }}{% for c in t %}{{ c }},{% endfor %}"
    )
    with ChatTemplate(source) as template:
        pieces = template.render(user("a|b "))
    assert text_of(pieces) == "B 4TrueTrueTruea|<|im_end|>|b a,|,b, ,"
    assert text_of(piece for piece in pieces if piece.kind == "template") == "4TrueTrueTrue,,,,"


def test_lists_and_orders_of_what_was_written():
    call = {"function": {"name": "f", "arguments": {"z": ["<|im_end|>"], "b": "2", "a": "1"}}}
    messages = from_openai([{"role": "assistant", "tool_calls": [call]}])
    with ChatTemplate(
        "{% for k, v in messages[0].tool_calls[0].function.arguments | dictsort %}{{ k ~ v }}{% endfor %}"
    ) as template:
        pieces = template.render(messages)
    assert text_of(pieces) == "a1b2z['<|im_end|>']"
    assert text_of(piece for piece in pieces if piece.kind == "template") == "[]"


def test_media_go_where_the_template_puts_them_and_nowhere_else():
    content = [{"type": "text", "text": "<image> is it <video>?"}, {"type": "image"}, {"type": "video"}, {"type": "image"}]
    messages = from_huggingface([{"role": "user", "content": content}])
    with ChatTemplate(PARTS, {"image": "<image>", "video": "<video>"}) as template:
        pieces = template.render(messages)
    assert [piece.medium for piece in pieces if piece.kind == "media"] == [0, 1, 2]
    assert pieces[:2] == (Piece("template", "user:"), Piece("text", "<image> is it <video>?", message=0))
    with ChatTemplate(CHATML) as template:  # a template that knows only text: media stand where they are in it
        pieces = template.render(messages)
    assert [piece.kind for piece in pieces] == ["template", "text", "media", "media", "media", "template"]
    with ChatTemplate(PARTS, {"image": "<image>"}) as template, pytest.raises(Refusal, match="2 places for 3"):
        template.render(messages)
    with ChatTemplate("<image>", {"image": "<image>"}) as template, pytest.raises(Refusal, match="1 places for 0"):
        template.render(user("<image>"))


def test_a_list_of_texts_is_a_text_for_templates_that_want_one():
    source = "{% set first = messages[0].content | trim %}{{ first ~ '|' }}{{ messages[1].content ~ '' }}<image>"
    image = {"type": "image", "path": "a.png"}
    halves = [{"type": "text", "text": "<im"}, {"type": "text", "text": "age> "}]
    with ChatTemplate(source, {"image": "<image>"}) as template:
        messages = from_huggingface([{"role": "system", "content": " be brief\n"}, {"role": "user", "content": halves}])
        messages = (*messages, *from_huggingface([{"role": "user", "content": [image]}]))
        assert [(piece.kind, piece.text) for piece in template.render(messages)] == [
            ("text", "be brief"), ("template", "|"), ("text", "<image> "), ("media", "<image>"),
        ]  # fmt: skip
        with pytest.raises(Refusal, match="it takes a message with media for a text"):
            template.render((*messages[:1], messages[2]))


def test_what_the_assistant_said_is_to_be_learned(chatml):
    messages = from_openai([{"role": "user", "content": "a"}, {"role": "assistant", "content": " b "}])
    assert [piece.text for piece in chatml.render(messages) if piece.learn] == ["b"]
    source = "{% for m in messages %}{% generation %}{{ m.content }}<end>{% endgeneration %};{% endfor %}"
    with ChatTemplate(source) as template:
        assert [piece.text for piece in template.render(messages) if piece.learn] == ["a", "<end>", " b ", "<end>"]


def test_times_stay_with_their_parts(chatml):
    parts = [{"type": "text", "text": "a", "time": 1.5}, {"type": "text", "text": "b"}]
    pieces = chatml.render(from_openai([{"role": "user", "content": parts}]), reply=False)
    assert [(piece.text, piece.time) for piece in pieces[1:3]] == [("a", 1.5), ("b", None)]


HOSTILE = [
    "{{ cycler.__init__.__globals__.os.system('touch {path}') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].content._shelf.items }}",
    "{{ messages[0].content._shelf.written.__func__.__globals__['sys'].modules['os'].system('touch {path}') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
    "{{ messages[0].content.strip.__func__.__globals__.sys.modules.os.system('touch {path}') }}",
    "{{ messages[0].content.strip | attr('__func__') | attr('__globals__') }}{{ nothing.here }}",
    "{{ (messages | map(attribute='__class__') | first).__base__ }}",
    "{{ strftime_now.__globals__['json'].codecs.open('{path}', 'w') }}",
    "{% import '{path}' as x %}",
    "{% include '/etc/passwd' %}",
    "{{ raise_exception('no\n' * 500) }}",
    "{{ messages[0].content",
    "{{ 1 // 0 }}",
    "{{ nothing.at.all }}",
    "\U000f0000",
    "{{ messages[0].content ~ '' | truncate(3) }}{{ (messages[0].content ~ '')[:4] }}",
    "{{ 'a' * 10 ** 10 }}",
    "{% set l = range(99999) | list %}{% set l = l * 99999 %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for a in range(99999) %}{{ messages[0].content * 9 }}{% endfor %}",
    "{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_hostile_templates_are_refused_in_one_line_and_do_nothing(tmp_path, source):
    canary = tmp_path / "canary"
    template = ChatTemplate(source.replace("{path}", str(canary)), characters=1_000_000)
    with template, pytest.raises(Refusal, match="the chat template: ") as refusal:
        template.render(user("hello there"))
    assert not canary.exists()
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set l = range(9999) | list %}{% for a in l %}{% for b in l %}{% for c in l %}{% endfor %}{% endfor %}{% endfor %}",
        "{{ (7 ** 99999) ** 99 % 3 }}",
    ],
)
def test_templates_that_never_end_are_ended(source):
    with ChatTemplate(source, seconds=0.3) as template:
        with pytest.raises(Refusal, match=r"longer than 0\.3 s"):
            template.render(user("x"))
        with pytest.raises(Refusal, match=r"longer than 0\.3 s"):
            template.render(user("x"))


def test_the_worker_itself_may_not_open_or_start_anything(tmp_path):
    """What would be left to a template that found a hole in the sandbox."""
    import subprocess
    import sys

    import serval.conversation.template_worker as worker

    attempts = [
        "open({path!r}, 'w')",
        "open('/etc/passwd')",
        "os.system('touch ' + {path!r})",
        "__import__('subprocess').run(['touch', {path!r}])",
        "__import__('socket').socket()",
        "os.remove(sys.argv[0])",
    ]
    path = str(tmp_path / "canary")
    program = f"import sys, os; sys.path.insert(0, {str(Path(worker.__file__).parent)!r}); import template_worker as w\n"
    program += "w.confine(512 << 20)\nleft = []\nfor each in " + json.dumps([each.format(path=path) for each in attempts])
    program += ":\n    try: eval(each); left.append(each)\n    except (PermissionError, ImportError): pass\nprint(left)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n" and not Path(path).exists()


def test_it_goes_on_after_its_process_ended(chatml):
    before = chatml.render(user("a"))
    chatml.close()
    assert chatml.render(user("a")) == before
    chatml._process.kill()
    chatml._process.wait()
    assert chatml.render(user("a")) == before


def test_a_template_beyond_reason_is_refused():
    with pytest.raises(Refusal, match="longer than"):
        ChatTemplate("a" * 1_000_001)
