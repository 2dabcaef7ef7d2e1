"""What the parts cannot see is declined by code, and what they can see is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.answers.decline import reason

DECLINED = {
    "colours": ["What colour was the car?", "was the car red", "Is the traffic light green?", "did a black dog come in?",
                "is the bag orange?", "What color are the chairs?"],
    "who": ["Who is that man?", "who was the person on the left?", "What is her name?", "whose bag is it?",
            "Do you recognise him?", "Was it the same person?", "what's the man's name?", "who’s he",
            "is that someone famous?"],
    "feelings": ["Was she angry?", "did the people look happy?", "is anyone crying?", "what mood are they in?"],
    "old": ["How old is the boy?", "what age is she?", "is the man old?", "was there an elderly person?"],
    "woman": ["Is it a man or a woman?", "what gender is the cyclist?", "was the person a woman?",
              "how many females were there?"],
    "sounds": ["Did you hear anything?", "what did the man say?", "was there music?", "did the dog bark?",
               "what did the man say in the shop?",
               "what are they talking about?", "How loud was it?"],
    "brands": ["Which brand is the laptop?", "what make of car is it?", "What model of phone is that?"],
    "means": ["Why did he come in?", "what is she trying to do?", "is he going to steal it?", "was it on purpose?",
              "Is that person suspicious?", "what will he do next"],
    "made of": ["What is the table made of?", "is it plastic?", "was the chair wooden?"],
    "hidden": ["What is behind the door?", "what's inside?", "What did she have in her bag?", "what is in the box?",
               "Is anything hidden there?"],
    "wear": ["What was he wearing?", "does she have a beard?"],
    "measure": ["How tall is the man?", "how fast was the car?", "how much does it cost?"],
    "guess": ["is she pregnant?", "what is his nationality?", "are they married?"],
}  # fmt: skip

TRIED = """What was next to the taxi?|what's to the left of the car|what was on the table?|When did the man come in?
At what time did the dog leave?|When was the taxi sign visible?|how many people were there at 0:05?|how many cars did you see?
Was there a dog?|did anyone leave after 12 s?|Is there a cyclist?|where was the bicycle?|what did the sign say?|who came in?
what happened between 0:02 and 0:05?|Did I miss anything?|what was taken?|what did you say at 0:03?|sing me a song
What is the name on the sign?|what is the name of the street?|Where is the orange?|was there an orange on the table?
who left?|did a woman come in?|when did the old man's dog leave?|why did you say that?|What did the board read?
how long was the car there?|who was there?|is there a hair drier?
what is below the table?|what is written on the sign?|did someone take the cup?
what did the label say?|was there a teddy bear?|how many children were there?""".replace("\n", "|").split("|")


@pytest.mark.parametrize(("topic", "question"), [(topic, each) for topic, many in DECLINED.items() for each in many])
def test_declined_with_the_reason_that_fits(topic, question):
    said = reason(question)
    assert said is not None and topic in said


@pytest.mark.parametrize("question", TRIED)
def test_what_may_be_seen_is_tried(question):
    assert reason(question) is None


@given(st.text(max_size=300))
def test_any_text_gives_one_sentence_or_nothing(text):
    said = reason(text)
    assert said is None or (said.endswith(".") and "\n" not in said)
