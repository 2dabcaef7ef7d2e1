"""What people say, and what is understood: a table of phrasings, and what must hold for any text at all."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.instructions.instruction import Target
from serval.assistant.instructions.limits import REASONS
from serval.assistant.instructions.understand import understand
from serval.assistant.view import ChangeKind
from serval.encoders.labels import COCO
from serval.encoders.percept import Looks

TABLE = yaml.safe_load((Path(__file__).parent / "phrasings.yaml").read_text("utf-8"))
GATES = {
    Target.OBJECTS: "objects",
    Target.SCENE: "novelty",
    Target.TEXT: "text",
    Target.LIKENESS: "likeness",
    Target.EVERYTHING: "everything",
    Target.NOTHING: "nothing",
}


def expected(row: str) -> dict[str, object]:
    """A row of the table as fields of an understanding."""
    target, _, rest = row.partition(" ")
    out: dict[str, object] = {
        "target": Target(target),
        "kinds": (),
        "labels": (),
        "on": "",
        "side": "",
        "text": "",
        "query": "",
    }
    out |= {"count_op": "", "count": 0}
    for name, value in re.findall(r"(on|side|text|query)=(.+?)(?= (?:on|side|text|query)=|$)", rest):
        out[name] = value
    rest = re.split(r" ?(?:on|side|text|query)=", rest)[0]
    if count := re.search(r"(>=|<=|==)(\d+)", rest):
        out |= {"count_op": count[1], "count": int(count[2])}
        rest = rest[: count.start()].strip()
    if target == "nothing":
        return out | {"topic": rest}
    kinds, _, labels = rest.partition(" ")
    if not set(kinds.split(",")) <= {str(kind) for kind in ChangeKind}:
        kinds, labels = "", rest
    out["kinds"] = tuple(ChangeKind(kind) for kind in kinds.split(",") if kind)
    if target == "text":
        out["kinds"] = (ChangeKind.TEXT,)
    if target == "likeness":
        out["kinds"] = (ChangeKind.APPEARS,)
    out["labels"] = tuple(label for label in labels.split(",") if label and label != "*")
    return out


@pytest.mark.parametrize(("said", "row"), TABLE.items())
def test_phrasing(said, row):
    found, wanted = understand(said), expected(row)
    topic = wanted.pop("topic", "")
    assert {name: getattr(found, name) for name in wanted} == wanted, found.read_back
    if topic:
        assert REASONS[topic] in found.cannot


def test_the_table_is_worth_its_name():
    assert len(TABLE) > 250
    assert {expected(row)["target"] for row in TABLE.values()} == set(Target)


@pytest.mark.parametrize("said", TABLE)
def test_courtesy_and_case_change_nothing(said):
    plain = understand(said)
    if "«" in said or plain.target is Target.NOTHING:
        return
    for dressed in (f"Please, {said}", f"{said} ", f"  {said}!", f"{said}, thanks"):
        other = understand(dressed.replace("?!", "?").replace(".!", "."))
        assert other.model_copy(update={"confidence": plain.confidence}) == plain, dressed


@given(st.text(max_size=500))
def test_any_text_has_a_read_back(said):
    found = understand(said)
    assert found.read_back
    assert found.gate == GATES[found.target]
    assert bool(found.cannot) == (found.target is Target.NOTHING)


WORDS = sorted({word for said in TABLE for word in said.split()} | {",", '"', "'", ".", "«0»", "-", "0", "99999999"})


@given(st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join))
def test_any_jumble_of_known_words_has_an_understanding(said):
    found = understand(said)
    assert found.read_back
    assert set(found.labels) <= set(COCO)
    assert found.on == "" or found.on in COCO
    assert found.side in ("", "left", "right", "top", "bottom")
    assert found.count >= 0
    assert found.target is not Target.OBJECTS or found.kinds or found.count_op


def test_read_back_is_plain_and_names_its_means_and_limits():
    assert understand("tell me when a person comes in").read_back == (
        "I will tell you when a person comes into view. I detect it by tracking objects (class: person) at a few looks "
        "a second."
    )
    assert "cannot tell a woman from any other person" in understand("tell me when a woman comes in").read_back
    assert "cannot tell yours from another" in understand("tell me when my bike is gone").read_back
    assert "take the whole picture for the garden" in understand("tell me if there is a cat in the garden").read_back
    assert "rough" in understand("watch for a castle").read_back
    assert "By “mug” I understand a cup." in understand("tell me when a mug is taken").read_back
    assert "5 or more people" in understand("tell me when there are a lot of people").read_back


@pytest.mark.parametrize(
    ("said", "without", "part"),
    [
        ("tell me when a person comes in", Looks(features=True, hands=True, text=True), "the object detector"),
        ("tell me when someone takes the cup", Looks(detect=True, features=True, text=True), "the hand finder"),
        ("describe every new scene", Looks(detect=True), "the encoder of whole pictures"),
        ("say when the taxi sign is visible", Looks(detect=True, features=True), "the text reader"),
        ("watch for a castle", Looks(detect=True, text=True), "the encoder of whole pictures"),
        ("tell me everything", Looks(text=True), "everything that could see a change"),
    ],
)
def test_an_ability_that_is_off_is_said(said, without, part, embed):
    everything = Looks(detect=True, features=True, hands=True, faces=True, text=True)
    assert understand(said, embed=embed, abilities=everything) == understand(said, embed=embed)
    found = understand(said, embed=embed, abilities=without)
    assert found.target is Target.NOTHING
    assert found.cannot == f"I cannot watch for that now: {part} is off on this machine."


@pytest.fixture(scope="module")
def embed():
    from serval.encoders.minilm import MiniLM

    return MiniLM.open().embed


def test_a_word_near_a_class_becomes_the_class_and_says_so(embed):
    found = understand("tell me when a doggo comes in", embed=embed)
    assert (found.target, found.labels) == (Target.OBJECTS, ("dog",))
    assert found.confidence == pytest.approx(0.72, abs=0.02)
    assert "By “doggo” I understand a dog, the nearest word I know (0.72 alike)." in found.read_back


@pytest.mark.parametrize("noun", ["taxi", "cab", "ambulance", "police car", "bat", "notebook", "tractor", "donkey", "beach"])
def test_near_is_not_the_same(noun, embed):
    found = understand(f"tell me when there is a {noun}", embed=embed)
    assert found.labels == ()
    assert (found.target, found.query) == (Target.LIKENESS, noun)


def test_a_likeness_names_the_tags_it_goes_by(embed):
    assert "Nearest tags: castle 1.00, palace 0.56, barn 0.55." in understand("watch for a castle", embed=embed).read_back


@pytest.mark.parametrize("noun", ["flurb", "quasar", "gibberishxyz"])
def test_what_no_tag_is_like_is_declined(noun, embed):
    found = understand(f"tell me when a {noun} appears", embed=embed)
    assert found.target is Target.NOTHING
    assert REASONS["tags"] in found.cannot


@pytest.mark.parametrize("said", TABLE)
def test_embeddings_change_nothing_that_the_table_settles(said, embed):
    plain, embedded = understand(said), understand(said, embed=embed)
    if plain.target is not Target.LIKENESS:
        assert embedded == plain
    else:
        assert embedded.target in (Target.LIKENESS, Target.NOTHING)


def test_without_sentence_embeddings_there_is_no_likeness(embed):
    everything = Looks(detect=True, features=True, hands=True, text=True)
    assert understand("watch for a castle", embed=embed, abilities=everything).target is Target.LIKENESS
    found = understand("watch for a castle", abilities=everything)
    assert found.cannot == "I cannot watch for that now: the encoder of sentences is off on this machine."
