"""Which pretrained parts there are, where each comes from, and what every file of it must hash to."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from serval.refusal import Refusal

Client = Literal["pip", "npm", "apt", "hub"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PartFile(_Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")  # in the cache
    member: str  # in the archive
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # as it is used: a ``.gz`` member is unpacked


class Part(_Strict):
    """One pretrained part or set of real data."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    package: str
    version: str
    client: Client
    licence: str
    about: str
    default: bool  # fetched unless somebody says otherwise
    archive_bytes: int = 0
    archive_sha256: str = ""
    files: tuple[PartFile, ...] = ()
    tree: str = ""  # a folder of the archive that is taken whole
    convert: Literal["", "gguf", "pth", "tfjs"] = ""
    converted: tuple[str, ...] = ()  # files that the conversion writes
    pip: tuple[str, ...] = ()  # further arguments, for wheels that are made for one Python

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.version}"


@cache
def manifest() -> dict[str, Part]:
    """Every part by its name, in the order of the manifest."""
    content = tomllib.loads(files("serval.weights").joinpath("manifest.toml").read_text("utf-8"))
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
        raise Refusal(f"part {name}", "there is no such part", f"choose one of: {known}; or hub:OWNER/NAME@REVISION") from None


def _hub(name: str) -> Part:
    repository, at, revision = name.removeprefix("hub:").partition("@")
    owner, slash, model = repository.partition("/")
    pinned = at and len(revision) == 40 and set(revision) <= set("0123456789abcdef")
    words = (owner + model).replace("-", "").replace("_", "").replace(".", "")
    if not (slash and pinned and words.isascii() and words.isalnum() and "/" not in model and ".." not in repository):
        form = "write hub:OWNER/NAME@REVISION with the full 40 digits of the commit"
        raise Refusal(f"part {name[:100]}", "a hub model is named with its revision", form)
    return Part(
        name=f"hub.{owner}.{model}".lower().replace("_", "-"),
        package=repository,
        version=revision,
        client="hub",
        licence="see its page on the hub",
        about="a hub model",
        default=False,
    )
