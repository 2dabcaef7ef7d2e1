"""A phrase asks for its box, and a box for its phrase."""

from serval.conversation.messages import Media
from serval.data.boxes import parse_box
from serval.data.item import Item, Region
from serval.data.referring import comprehension, generation
from serval.media.box import Box

DOG = Item(
    id="r",
    source="refcoco",
    media=(Media(kind="image", path="a.jpg"), Media(kind="image", path="b.jpg")),
    regions=(
        Region(box=Box(0.44, 0.06, 0.65, 0.3674), phrases=("the dog", "left one"), media=1),
        Region(phrases=("somewhere",)),
        Region(box=Box(0, 0, 1, 1), label="grass"),
    ),
)


def test_each_phrase_is_asked_once_each_way():
    where, what = list(comprehension(DOG)), list(generation(DOG))
    assert [each.id for each in where] == ["r/where/0.0", "r/where/0.1"]
    assert [each.id for each in what] == ["r/what/0.0", "r/what/0.1"]
    asked, answered = where[1].messages
    assert asked.media == (Media(kind="image", path="b.jpg"),)
    assert "left one" in asked.text and answered.text == "[0.440,0.060,0.650,0.367]"
    assert parse_box(answered.text) == Box(0.44, 0.06, 0.65, 0.367)
    assert "[0.440,0.060,0.650,0.367]" in what[0].messages[0].text and what[0].messages[1].text == "the dog"
    assert {each.source for each in where + what} == {"refcoco"}
