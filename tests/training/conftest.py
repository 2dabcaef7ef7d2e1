"""A tiny decoder for each test, and less work for the collector of garbage."""

import gc

import pytest

from serval.language.decoder import Decoder

from .tiny import tiny_decoder


@pytest.fixture(scope="session", autouse=True)
def _less_to_collect():
    """Every stage ends with a collection of garbage; what the imports left need not be looked through each time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def decoder() -> Decoder:
    return tiny_decoder()
