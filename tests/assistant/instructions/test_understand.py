"""What people say, and what is understood: a table of phrasings, and what must hold for any text at all."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
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


@settings(deadline=None)
@given(st.text(max_size=500))
def test_any_text_has_a_read_back(said):
    found = understand(said)
    assert found.read_back
    assert found.gate == GATES[found.target]
    assert bool(found.cannot) == (found.target is Target.NOTHING)


WORDS = sorted({word for said in TABLE for word in said.split()} | {",", '"', "'", ".", "«0»", "-", "0", "99999999"})


@settings(deadline=None)
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
def test_an_ability_that_is_off_is_said(said, without, part):
    everything = Looks(detect=True, features=True, hands=True, faces=True, text=True)
    assert understand(said, abilities=everything) == understand(said)
    found = understand(said, abilities=without)
    assert found.target is Target.NOTHING
    assert found.cannot == f"I cannot watch for that now: {part} is off on this machine."


def similar_to(pairs):
    """Embeddings in which the given words lie at the given cosine to a class, and everything else at right angles."""

    def embed(texts):
        out = np.zeros((len(texts), len(COCO) + 2), np.float32)
        for row, text in enumerate(texts):
            if text in COCO:
                out[row, COCO.index(text)] = 1
            elif text in pairs:
                label, cosine = pairs[text]
                out[row, COCO.index(label)], out[row, -1] = cosine, np.sqrt(1 - cosine**2)
            else:
                out[row, -2] = 1
        return out

    return embed


def test_a_word_near_a_class_becomes_the_class_and_says_so():
    found = understand("tell me when a mutt comes in", embed=similar_to({"mutt": ("dog", 0.8)}))
    assert (found.target, found.labels, found.confidence) == (Target.OBJECTS, ("dog",), pytest.approx(0.8))
    assert "By “mutt” I understand a dog, the nearest word I know (0.80 alike)." in found.read_back
    assert understand("tell me when a mutt comes in", embed=similar_to({"mutt": ("dog", 0.69)})).target is Target.LIKENESS


@pytest.mark.parametrize("noun", ["taxi", "cab", "ambulance", "police car", "statue", "drone"])
def test_near_is_not_the_same(noun):
    close = similar_to({noun: ("car", 0.95)})
    found = understand(f"tell me when a {noun} arrives", embed=close)
    assert (found.target, found.labels, found.query) == (Target.LIKENESS, (), noun)
