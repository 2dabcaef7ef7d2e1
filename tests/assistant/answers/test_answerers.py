"""The template always speaks; a rewrite is heard only when the facts hold all of it."""

from datetime import UTC, datetime

import pytest

from serval.assistant.answers.answer import Answer, Request
from serval.assistant.answers.build import build_answerer
from serval.assistant.answers.faithful import faithfulness
from serval.assistant.answers.rewrite import RewriteAnswerer
from serval.assistant.answers.template import TemplateAnswerer
from serval.assistant.instructions.instruction import Instruction
from serval.refusal import Refusal


class Parrot:
    """A model that says what it is given to say."""

    model_id = "parrot 1.0"

    def __init__(self, *lines):
        self.lines, self.asked = list(lines), []

    def reply(self, messages, max_tokens=64, stop=(), cancelled=lambda: False, on_text=lambda text: None):
        self.asked.append(messages)
        line = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        if isinstance(line, Exception):
            raise line
        return line


@pytest.fixture
def request_of(make):
    def request_of(*changes, **slots):
        change = make.change("appears", "person", side="left", track=1, before=0, after=1, box=make.left)
        return Request(make.moment(*(changes or (change,))), time=5.0, source="door", **slots)

    return request_of


def test_the_template_speaks_and_is_verified(request_of):
    answer = TemplateAnswerer().answer(request_of())
    assert answer.text.startswith("A person") and answer.verified and answer.by == "template" and answer.data == {}
    assert answer.seconds > 0


def test_the_template_does_not_repeat_itself(request_of):
    first = TemplateAnswerer().answer(request_of()).text
    assert TemplateAnswerer().answer(request_of(said_before=(first,))).text != first


def test_a_question_about_what_cannot_be_seen_is_declined_by_every_answerer(request_of):
    request = request_of(question="What colour is her coat?")
    model = Parrot("A person comes in from the left.")
    for answerer in (TemplateAnswerer(), RewriteAnswerer(model, "parrot")):
        assert "colours" in answerer.answer(request).text
    assert model.asked == []


def test_data_fits_the_schema_of_the_instruction(request_of):
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    made = datetime(2026, 1, 1, tzinfo=UTC)
    told = Instruction(id="door", text="tell me when someone comes in", schema=schema, created=made)
    assert TemplateAnswerer().answer(request_of(instruction=told)).data == {"count": 1}
    wants = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
    answer = TemplateAnswerer().answer(request_of(instruction=told.model_copy(update={"schema_": wants})))
    assert answer.data == {} and "mood" in answer.why


def test_a_supported_rewrite_is_heard(request_of):
    answer = RewriteAnswerer(Parrot('"Someone enters from the left side"\n'), "parrot").answer(request_of())
    assert (answer.text, answer.by, answer.verified, answer.why) == ("Someone enters from the left side.", "parrot", True, "")


@pytest.mark.parametrize(
    "said",
    [
        "Two people come in from the left.",
        "A person comes in from the right.",
        "A man comes in from the left.",
        "A person comes in from the left, smiling.",
        "Sure! Here is the sentence: A person comes in from the left.",
        "",
        "   ",
        "!!!",
        "A person comes in.",
        "A person.",
    ],
)
def test_an_unsupported_rewrite_is_never_heard(request_of, said):
    answer = RewriteAnswerer(Parrot(said), "parrot").answer(request_of())
    assert answer.by == "template" and answer.why and answer.text.startswith("A person")


def test_a_rewrite_that_is_refused_or_cut_short_leaves_the_template(request_of):
    refusing = RewriteAnswerer(Parrot(Refusal("the conversation", "it is too long")), "parrot")
    assert refusing.answer(request_of()).by == "template" and "too long" in refusing.answer(request_of()).why
    cut = RewriteAnswerer(Parrot("A person enters from the left."), "parrot").answer(request_of(), cancelled=lambda: True)
    assert cut.by == "template" and "cut short" in cut.why


def test_the_model_is_shown_no_example_that_could_leak(request_of):
    model = Parrot("A person enters from the left.")
    RewriteAnswerer(model, "parrot").answer(request_of())
    system, user = model.asked[0]
    assert '"' not in system.text and "“" not in system.text and user.text.startswith("A person")


def test_faithfulness_counts_what_no_fact_holds(request_of):
    class Liar:
        name, models = "liar", {}

        def answer(self, request, cancelled=lambda: False):
            return Answer("A person comes in from the left." if request.seed else "A dog barks.", "liar", unverified="")

    found = faithfulness(Liar(), [request_of(seed=0), request_of(seed=1), request_of(seed=2)])
    assert (found.answers, found.faithful, found.own_words) == (3, 2, 3) and found.share == pytest.approx(2 / 3)
    assert found.unsupported[0][0] == "A dog barks."
    assert faithfulness(TemplateAnswerer(), [request_of(seed=n) for n in range(5)]).share == 1.0
    assert faithfulness(TemplateAnswerer(), []).share == 1.0


def test_build_by_name_and_an_unknown_name_lists_the_names():
    assert build_answerer(None).name == build_answerer("template").name == "template"
    with pytest.raises(Refusal, match="template, smollm2"):
        build_answerer("gpt\x1b[31m")


def test_build_smollm2_from_the_fetched_part(request_of):
    answerer = build_answerer("smollm2")
    assert answerer.name == "smollm2" and answerer.models["answerer"].startswith("smollm2 ")
    answer = answerer.answer(request_of())
    assert answer.verified and answer.text.endswith(".")
