"""A sentence passes only when every slot of it stands in the facts; swapping any one of them must be noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.answers.checker import check
from serval.assistant.instructions.instruction import Target
from serval.media.box import Box


@pytest.fixture
def moments(make):
    hand = make.middle.grow(0.2)
    put = make.change("put", "bottle", time=5.4, on="dining table", hand=hand, box=Box(0.5, 0.6, 0.6, 0.8), before=0, after=1)
    come = [
        make.change("appears", "person", side="left", track=1, before=0, after=1, box=make.left),
        make.change("appears", "person", time=5.2, side="left", track=2, before=1, after=2, box=make.middle),
    ]
    cars = [make.track(3, "car", make.left), make.track(4, "car", make.right)]
    return {
        "table": make.moment(*come, put, tracks=cars),
        "another": make.moment(make.change("appears", "person", side="right", track=5, before=2, after=3, box=make.right)),
        "sides": make.moment(
            make.change("appears", "dog", side="left", track=1), make.change("appears", "dog", side="right", track=2)
        ),
        "gone": make.moment(make.change("leaves", "person", track=1, before=1, after=0, box=make.left)),
        "right": make.moment(make.change("leaves", "car", side="right", before=3, after=2)),
        "taken": make.moment(
            make.change("taken", "cup", on="dining table", hand=make.right, before=2, after=1, box=make.right),
            tracks=[make.track(1, "person", make.left)],
        ),
        "scene": make.moment(
            make.change("scene"),
            target=Target.SCENE,
            tags={"parking meter": 0.7},
            detections=tuple(
                make.detection(*each) for each in (("person", make.left), ("car", make.right), ("car", make.middle))
            ),
        ),
        "first": make.moment(
            make.change("scene"), target=Target.SCENE, detections=(make.detection("person", make.left),), scene=1
        ),
        "text": make.moment(
            make.change("text", text="TAXI", box=make.top_left),
            target=Target.TEXT,
            lines=(make.line("TAXI"), make.line("No Entry", make.right)),
        ),
        "hand": make.moment(tracks=[make.track(3, "cup", hand)], hands=(make.hand(hand),)),
        "moves": make.moment(make.change("moves", "chair", heading="right")),
        "crowd": make.moment(make.change("crowd", "person", before=7, after=9)),
        "then": make.moment(
            make.change("appears", "dog", time=5.0, side="left", track=1), make.change("leaves", "cat", time=5.4, track=2)
        ),
        "apart": make.moment(  # who put it is one who stood there before, not the one who came
            make.change("appears", "person", side="left", track=1, before=1, after=2, box=make.left),
            make.change("put", "cup", time=5.4, hand=make.right.grow(0.2), box=make.right),
            tracks=[make.track(9, "person", make.right)],
        ),
        "nothing": make.moment(),
    }  # fmt: skip


ACCEPTED = [
    ("table", "Two people come in from the left; one puts a bottle on the table."),
    ("table", "Two people came in from the left and one put a bottle on the table."),
    ("table", "2 people enter from the left side. A bottle is placed on the table by a person."),
    ("table", "A person sets down a bottle on the table."),
    ("table", "A bottle has been put on the dining table."),
    ("table", "There are two people now."),
    ("table", "Two people are in view, with two cars."),
    ("table", "There is a car on the left and a car on the right."),
    ("table", "A couple of people come in."),
    ("table", "At 0:05 two people arrive from the left."),
    ("another", "Another person comes in from the right; there are three now."),
    ("another", "A person enters from the right."),
    ("another", "Someone comes in from the right. Three people are in view."),
    ("sides", "Two dogs come in."),
    ("sides", "A dog comes in from the left and one from the right."),
    ("sides", "Two dogs come in: one from the left and one from the right."),
    ("gone", "The person is gone from view."),
    ("gone", "The person has left; nobody else is in view."),
    ("gone", "A person disappears and no people are in view."),
    ("right", "A car leaves to the right; two are still in view."),
    ("right", "A car goes out of view to the right."),
    ("taken", "A cup is taken from the table."),
    ("taken", "A hand takes a cup from the table; one cup remains."),
    ("taken", "A cup has been taken away."),
    ("taken", "A hand picks up a cup."),
    ("scene", "A new scene: a person and two cars."),
    ("scene", "A new scene: a person, two cars and what looks like a parking meter."),
    ("scene", "The view changes. I can see a person on the left and two cars."),
    ("scene", "It looks like a parking meter."),
    ("first", "It begins with a person."),
    ("first", "The first scene: a person on the left."),
    ("text", "I can read “TAXI” at the top left."),
    ("text", "I can read “TAXI” at the top left and “No Entry” on the right."),
    ("text", "It says \"taxi\" in the upper left corner."),
    ("text", "The text “No Entry” can be read."),
    ("hand", "A hand is touching a cup."),
    ("hand", "A hand touches the cup in the middle."),
    ("moves", "A chair moves to the right."),
    ("moves", "The chair is moving towards the right."),
    ("crowd", "There is a lot of coming and going; several people are in view."),
    ("crowd", "People keep coming and going; there are several people in view now."),
    ("then", "A dog comes in from the left, then a cat disappears."),
    ("apart", "A person comes in from the left; a cup is put down on the right."),
    ("nothing", "Something catches my eye, but I do not recognise it."),
    ("nothing", "I recognise nothing in view."),
]  # fmt: skip

REFUSED = [
    # counts
    ("table", "Three people come in from the left."),
    ("table", "A person comes in from the left."),
    ("table", "Several people come in."),
    ("table", "There are two bottles."),
    ("table", "A person comes in from the left. A person comes in from the left. Two people come in."),
    ("another", "Two people come in from the right."),
    ("another", "A person comes in; there are two now."),
    ("right", "A car leaves to the right; three are still in view."),
    ("crowd", "Two people keep coming and going."),
    ("sides", "Three dogs come in."),
    ("gone", "The person has left; a person is still in view."),
    # places
    ("table", "Two people come in from the right."),
    ("table", "A bottle is put on the floor."),
    ("right", "A car leaves to the left."),
    ("text", "I can read “TAXI” on the right and “No Entry” at the top left."),
    ("moves", "A chair moves to the left."),
    ("moves", "A chair moves closer."),
    ("taken", "A cup is put on the table."),
    ("gone", "The person leaves to the left."),
    ("scene", "A person is on the right."),
    ("sides", "A dog comes in from the left and two from the right."),
    # who does what
    ("table", "A bottle comes in from the left; a person is put on the table."),
    ("table", "Two cars come in from the left."),
    ("table", "Two people put a bottle on the table."),
    ("table", "Two people take a bottle from the table."),
    ("table", "A car puts a bottle on the table."),
    ("table", "Two people leave to the left."),
    ("taken", "A person takes a cup from the table."),
    ("hand", "A person touches a cup."),
    ("hand", "A hand holds a cup."),
    ("apart", "A person comes in from the left and puts down a cup."),
    ("apart", "A person comes in from the left; another puts down a bottle."),
    ("then", "A cat disappears, then a dog comes in from the left."),
    ("then", "A cat comes in from the left and a dog disappears."),
    # text
    ("text", "I can read “TAX”."),
    ("text", "I can read “Entry” on the right."),
    ("text", "A car with “TAXI” on the left."),
    ("text", "A taxi is in view."),
    ("table", "I can read “TAXI”."),
    # things and words of its own
    ("table", "Two men come in from the left."),
    ("table", "Two happy people come in from the left."),
    ("table", "Two people come in from the left to steal a bottle."),
    ("table", "Two people come in from the left, and a dog follows."),
    ("table", "A red bottle is put on the table."),
    ("table", "Two people will come in from the left."),
    ("table", "Two people might come in from the left."),
    ("table", "Two people do not come in from the left."),
    ("table", "Nobody comes in."),
    ("table", "No cars are in view."),
    ("table", "He puts a bottle on the table."),
    ("table", "At 0:42 two people arrive from the left."),
    ("table", "Two people come in from the left?"),
    ("scene", "A parking meter is in view."),
    ("scene", "It looks like a beach."),
    ("scene", "The first scene: a person and two cars."),
    ("scene", "It begins with a person."),
    ("scene", "A new scene; I cannot name what is in it."),
    ("first", "The view changes: a person."),
    ("first", "It begins with a car."),
    ("scene", "I recognise nothing in view."),
    ("nothing", "A person is in view."),
    ("nothing", "A new scene."),
    ("nothing", "This may be what you asked for."),
    ("table", "A person comes in from the left and from the right."),
    ("table", "The three people come in from the left."),
    ("table", "A bottle is put on the table by two people."),
    ("table", "One of the people comes in from the left."),
    ("table", "A car is on the left of a person."),
    ("table", "Two people come in from the left; they leave to the right."),
    ("table", "Two people come in from the left and a dog from the right."),
    ("text", "It says TAXI at the top left."),
    ("text", "It says “TAXI” and “STOP”."),
    ("scene", "It looks like a person."),
    ("moves", "A chair moves to the right and comes in."),
    ("table", "There is."),
    ("table", "Now."),
    ("table", "It is on the left."),
    ("table", "There is text."),
    ("table", "New text appears."),
    ("crowd", "There are two people in view."),
    ("gone", "There is a lot of coming and going."),
    ("nothing", ""),
    ("nothing", "   "),
    ("nothing", "x" * 2000),
]


@pytest.mark.parametrize(("moment", "text"), ACCEPTED)
def test_accepted(moments, moment, text):
    assert check(text, moments[moment]) == []


@pytest.mark.parametrize(("moment", "text"), REFUSED)
def test_refused(moments, moment, text):
    assert check(text, moments[moment])


@pytest.mark.parametrize(("moment", "text"), [each for each in ACCEPTED if each[0] != "nothing"])
def test_without_facts_nothing_true_is_left(moments, moment, text):
    assert check(text, ())
    assert check(text, moments["nothing"])


@given(st.text(max_size=200))
def test_any_text_can_be_checked(text):
    problems = check(text, ())
    assert all(isinstance(each, str) and each for each in problems)


@given(
    st.lists(
        st.sampled_from("a person car the left on from to puts comes in is and ; two “TAXI” by it , then".split()), max_size=12
    )
)
def test_any_order_of_known_words_can_be_checked(words):
    check(" ".join(words), ())
