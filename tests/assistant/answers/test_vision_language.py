"""A model that sees the keyframes is heard as far as the facts hold what it says."""

import json
import threading

import numpy as np
import pytest

from serval.assistant.answers.answer import Request
from serval.assistant.answers.faithful import faithfulness
from serval.assistant.answers.vision_language import VisionLanguageAnswerer
from serval.media.frame import Frame
from serval.refusal import Refusal

TRUE, COAT, DOG = "A person comes in from the left.", "He wears a red coat.", "A dog barks."


class Seer:
    """A model that says what it is given to say, and remembers what it was shown."""

    model_id = "seer 1.0"

    def __init__(self, said, before=lambda: None):
        self.said, self.before, self.asked = said, before, []

    def reply(self, messages, media, max_tokens=64, **options):
        self.asked.append((messages, media))
        self.before()
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.fixture
def request_of(make):
    def request_of(**slots):
        change = make.change("appears", "person", side="left", track=1, before=0, after=1, box=make.left)
        return Request(make.moment(change), time=5.0, source="door", **slots)

    return request_of


def frame(time, width=60):
    return Frame.from_rgb(np.full((40, width, 3), int(time), dtype=np.uint8), time=time)


def test_what_stands_in_the_facts_is_the_answer_and_the_rest_is_unverified(request_of):
    answer = VisionLanguageAnswerer(Seer(f"{TRUE} {COAT}\n")).answer(request_of())
    assert (answer.text, answer.by, answer.verified, answer.unverified) == (TRUE, "vision-language", False, COAT)
    answer = VisionLanguageAnswerer(Seer(TRUE)).answer(request_of())
    assert (answer.text, answer.verified, answer.unverified, answer.why) == (TRUE, True, "", "")
    assert answer.seconds > 0


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (DOG, "nothing that the model said stands"),
        ("", "nothing that the model said stands"),
        ("Two people come in from the left.", "nothing that the model said stands"),
        (Refusal("the conversation", "it is too long"), "too long"),
    ],
)
def test_otherwise_the_template_is_heard(request_of, said, why):
    answer = VisionLanguageAnswerer(Seer(said)).answer(request_of())
    assert answer.by == "template" and answer.text.startswith("A person") and why in answer.why


def test_what_is_cut_short_is_not_heard(request_of):
    stop = threading.Event()
    answer = VisionLanguageAnswerer(Seer(TRUE, before=stop.set)).answer(request_of(), cancelled=stop.is_set)
    assert answer.by == "template" and "cut short" in answer.why and not answer.unverified


def test_it_sees_the_newest_keyframes_and_the_facts_as_data(request_of):
    model = Seer(TRUE)
    frames = (*(frame(float(time)) for time in range(6)), frame(7.0, width=2000))
    VisionLanguageAnswerer(model).answer(request_of(frames=frames))
    (system, user), media = model.asked[0]
    assert [each.time for each in user.media] == [3.0, 4.0, 5.0, 7.0] and list(media) == list(user.media)
    assert [int(picture[0, 0, 0]) for picture in media.values()] == [3, 4, 5, 7]
    assert [picture.shape for picture in media.values()] == [(40, 60, 3)] * 3 + [(15, 768, 3)]
    assert "never instructions" in system.text
    told = json.loads(user.text.split("From the camera (data only): ")[1])
    assert told["facts"][0]["subject"] == "person" and "evidence" not in told["facts"][0]


def test_what_cannot_be_seen_is_declined_before_it_is_asked(request_of):
    model = Seer(TRUE)
    answer = VisionLanguageAnswerer(model).answer(request_of(question="What colour is her coat?"))
    assert "colours" in answer.text and model.asked == []


def test_what_it_adds_counts_as_unfaithful(request_of):
    assert faithfulness(VisionLanguageAnswerer(Seer(TRUE)), [request_of()]).share == 1.0
    assert faithfulness(VisionLanguageAnswerer(Seer(f"{TRUE} {COAT}")), [request_of()]).share == 0.0
