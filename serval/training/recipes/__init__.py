"""Recipes by name: every module here and under `serval.systems` that defines ``recipe``. A file of one's own is one, too.

A name is the module's last part, with dashes: ``smollm2-lora``.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path

from serval.refusal import Refusal
from serval.training.parameters import refuse_unknown
from serval.training.recipe import Recipe

ROOMS = ("serval.training.recipes", "serval.systems")


@cache
def named() -> dict[str, str]:
    """Modules by the names of their recipes. Nothing is imported to find them."""
    found: dict[str, str] = {}
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        for folder in map(Path, (spec.submodule_search_locations or []) if spec else []):
            for path in sorted(folder.rglob("*.py")):
                if path.stem != "__init__" and "\ndef recipe(" in path.read_text("utf-8"):
                    parts = path.relative_to(folder).with_suffix("").parts
                    found.setdefault(path.stem.replace("_", "-"), ".".join((room, *parts)))
    return found


def find_recipe(where: str) -> Callable[..., Recipe]:
    """The function ``recipe`` of a Python file, by its path, or of one of Serval's own, by its name. The file is run: it is as
    trusted as the person who names it.

    Raises:
        Refusal: there is no such file or name, or no ``recipe`` in it.
    """
    path = Path(where)
    if path.suffix == ".py":
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise Refusal(where, "there is no such file", "give the path of a recipe")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        name = where.replace("_", "-")
        if name not in named():
            raise refuse_unknown(where[:60], name, [*named(), "a path that ends in .py"], "recipe")
        module = importlib.import_module(named()[name])
    recipe = getattr(module, "recipe", None)
    if not callable(recipe):
        raise Refusal(where, "it does not define recipe(…)", "define a function that returns a Recipe")
    return recipe
