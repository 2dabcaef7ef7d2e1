"""What a system is to the rest of Serval: a name, a paper, sizes, and how it is built. Found by its file."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from serval.refusal import Refusal
from serval.training.parameters import refuse_unknown


class SystemConfig(BaseModel):
    """Sizes and backbones of one system: all that it takes to build it. Unknown fields are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


Config = TypeVar("Config", bound=SystemConfig)


@dataclass(frozen=True)
class System(Generic[Config]):
    """A published system.

    Attributes:
        name: as its authors write it.
        paper: its title, venue and year, with the number at arXiv.
        idea: what is new in it, in a line.
        config: the type of its configuration.
        build: the model of a configuration, on a device and in a type. Backbones that are named by a folder are read; others
            have random numbers, drawn from PyTorch's generator. On "meta" there are none. The model has its configuration as
            ``config``, with the content of each backbone's ``config.json`` in place of its name.
        sizes: configurations by name: "tiny" is for tests and the arena, the others are the paper's.
    """

    name: str
    paper: str
    idea: str
    config: type[Config]
    build: Callable[[Config, torch.device, torch.dtype], nn.Module]
    sizes: Mapping[str, Config]

    def new(
        self,
        size: str | Config = "tiny",
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> nn.Module:
        """A model of one of the `sizes`, or of a configuration. Raises `Refusal` for an unknown size or a missing backbone."""
        if isinstance(size, str) and size not in self.sizes:
            raise refuse_unknown(self.name, size, self.sizes, "size")
        config = self.sizes[size] if isinstance(size, str) else size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build(config, torch.device(device), dtype)

    def empty(self, size: str | Config) -> nn.Module:
        """The model without its numbers, on the meta device: for counting what it has."""
        with torch.device("meta"):
            return self.new(size, device="meta")


@cache
def modules() -> dict[str, str]:
    """Where each system is, by its slug: a module of this room that defines ``SYSTEM``. Nothing is imported to find them."""
    room = Path(__file__).parent
    found = {}
    for path in sorted(room.glob("*/*.py")):
        if "\nSYSTEM = " in path.read_text("utf-8"):
            parts = path.relative_to(room).with_suffix("").parts
            found[path.stem.replace("_", "-")] = ".".join(("serval.systems", *parts))
    return found


def find_system(slug: str) -> System[Any]:
    """A system by its slug, as ``lion-fs``. Raises `Refusal` where there is none, naming those there are."""
    slug = slug.replace("_", "-")
    if slug not in modules():
        raise refuse_unknown(ascii(slug)[1:-1][:40], slug, modules(), "system")
    found = importlib.import_module(modules()[slug]).SYSTEM
    if not isinstance(found, System):
        raise Refusal(slug, "its SYSTEM is not a System", "mend its file")
    return found
