"""The map that the tagger's feature is the mean of, behind the protocol of all towers."""

import numpy as np
import pytest
import torch

from serval.encoders.feature_store import extract
from serval.encoders.lite0 import Lite0
from serval.encoders.lite0_tower import Lite0Tower


@pytest.fixture(scope="module")
def tower() -> Lite0Tower:
    return Lite0Tower.open()


def test_the_mean_of_the_map_is_the_feature_of_the_tagger(tower, street):
    features = tower.encode(tower.prepare(street[:2]), taps=[-1])
    assert features.tokens.shape == (2, 49, 1280) and features.grid == (7, 7) and features.times is None
    assert tower.width == 1280 and tower.widths == (1280,)
    for row, picture in enumerate(street[:2]):
        feature, _ = Lite0.open().look(picture)
        assert np.array_equal(features.pooled[row].numpy(), feature)
        assert np.abs(features.tokens[row].mean(0).numpy() - feature).max() < 1e-5
    assert torch.equal(features.taps[0], features.tokens) and features.tap_grids == ((7, 7),)
    with pytest.raises(ValueError, match="Depth 1"):
        tower.encode(tower.prepare(street[:1]), taps=[1])


def test_a_place_in_the_picture_is_that_place_on_the_grid(tower, street):
    picture = street[0][:360, :360].copy()
    before = tower.encode(tower.prepare([picture]))
    for row, column in ((1, 5), (5, 1)):
        changed = picture.copy()
        changed[row * 51 : row * 51 + 51, column * 51 : column * 51 + 51] = (0, 255, 0)
        difference = (tower.encode(tower.prepare([changed])).map - before.map).abs().sum(-1)[0]
        found = divmod(int(difference.argmax()), 7)
        assert max(abs(found[0] - row), abs(found[1] - column)) <= 1


def test_its_features_can_be_stored(tower, street, tmp_path):
    store = extract(tower, [(str(number), street[number].copy) for number in range(2)], tmp_path, dtype=torch.float32)
    found = store.read(["1"])
    assert found.grid == (7, 7) and torch.equal(found.tokens, tower.encode(tower.prepare([street[1]])).tokens)
    assert store.made.tower == Lite0Tower.open().identity()
