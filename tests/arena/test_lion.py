"""The given tower and decoder go into the model as they are; the tower is taught what its check needs."""

import torch

from serval.arena.lion import _TINY, _contents, _new
from serval.data.worlds.shapes import COLOURS, GRID, SHAPES, make
from serval.systems.backbones import open_language
from serval.systems.experts.lion import SYSTEM
from serval.systems.experts.picture_question import as_read, collated
from serval.systems.experts.shape_questions import from_pictures

CPU = torch.device("cpu")


@torch.no_grad()
def test_before_adapters_learn_the_model_is_the_given_tower_and_decoder():
    torch.manual_seed(5)
    decoder, eyes = open_language(_TINY.language, CPU, torch.float32), SYSTEM.new(seed=5).eyes
    for changes in ({}, {"adapters": 1, "depths": (4, 4, 4)}):
        model = _new(0, changes, eyes, decoder)
        batch = collated(from_pictures(make(0, 2, ("general",)), model.prepare))
        sequence = as_read(model, batch)
        assert torch.equal(model.decoder(sequence, features=batch["told"]), decoder(sequence))
        pixels = eyes.prepare([make(0, 1, ("general",))[0].scene.picture()]).values
        assert torch.equal(eyes.model(pixels).last_hidden_state, model.eyes.model(pixels).last_hidden_state)


def test_what_the_tower_is_taught_is_what_is_there():
    scene = make(2, 1, ("general",), (3, 3))[0].scene
    cells, there = _contents(scene)
    assert int(there.sum()) == 3 and int((cells < len(COLOURS) * len(SHAPES)).sum()) == 3
    for thing in scene.things:
        name = list(COLOURS).index(thing.colour) * len(SHAPES) + SHAPES.index(thing.shape)
        assert there[name] == 1 and cells[thing.row * GRID + thing.column] == name
