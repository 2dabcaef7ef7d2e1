"""Every world is the same bytes for the same seed, in this process and in another, however many items are made."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from serval.data.worlds import latent_streams, near_hand, requests, shapes, two_cues

MAKERS = {
    "shapes": lambda seed, count: [(item, item.scene.picture(), item.scene.views()) for item in shapes.make(seed, count)],
    "contradictory": shapes.make_contradictory,
    "latent": lambda seed, count: [(stream, stream.pictures(16)) for stream in latent_streams.make(seed, count)],
    "two cues": two_cues.make,
    "planted": two_cues.make_planted,
    "near a hand": near_hand.make,
    "requests": lambda seed, count: [
        (stream, microphone) for stream in requests.make(seed, count) for microphone in [requests.microphone(stream[:2])]
    ],
}


def digest(value):
    """Of everything that is in items, down to the bytes of arrays."""
    found = hashlib.sha256()

    def add(each):
        if isinstance(each, np.ndarray):
            found.update(f"{each.dtype}{each.shape}".encode() + np.ascontiguousarray(each).tobytes())
        elif is_dataclass(each):
            found.update(type(each).__name__.encode())
            add([getattr(each, field.name) for field in fields(each)])
        elif isinstance(each, dict):
            add(list(each.items()))
        elif isinstance(each, (list, tuple)):
            found.update(f"({len(each)}".encode())
            for one in each:
                add(one)
        else:
            found.update(repr(each).encode())

    add(value)
    return found.hexdigest()


def digests():
    return {name: digest(make(7, 3)) for name, make in MAKERS.items()}


def test_another_process_makes_the_same_bytes():
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['digests']())"
    environment = {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1"}
    told = subprocess.run([sys.executable, "-c", code, __file__], capture_output=True, text=True, env=environment, check=True)
    assert told.stdout.strip() == str(digests())


@pytest.mark.parametrize("name", MAKERS)
def test_another_seed_makes_others(name):
    make = MAKERS[name]
    assert digest(make(7, 2)) == digest(make(7, 2)) != digest(make(8, 2))


@pytest.mark.parametrize("name", MAKERS)
def test_more_items_begin_with_the_same(name):
    few, many = MAKERS[name](3, 2), MAKERS[name](3, 5)
    assert digest(many[: len(few)]) == digest(few) and len(many) > len(few)
    assert len({digest(each) for each in many}) == len(many)
