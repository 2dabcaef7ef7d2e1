"""Chance that can be repeated: a generator of its own for everything that has a name."""

from __future__ import annotations

import random


def dice(*names: object) -> random.Random:
    """A generator that depends on the names alone: a seed, an item's id, which of its dialogues …"""
    return random.Random("/".join(map(str, names)))  # noqa: S311 - nothing secret is drawn
