import pytest
from torch import nn

from serval.adapters.replace import replace_modules
from serval.refusal import Refusal


def model():
    def layer():
        return nn.ModuleDict({"q_proj": nn.Linear(2, 2), "mlp": nn.Sequential(nn.Linear(2, 2)), "norm": nn.LayerNorm(2)})

    return nn.ModuleDict({"layers": nn.ModuleList([layer(), layer()]), "lm_head": nn.Linear(2, 2)})


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        ("all-linear", ["layers.0.q_proj", "layers.0.mlp.0", "layers.1.q_proj", "layers.1.mlp.0"]),
        (["q_proj", "layers.1.norm"], ["layers.0.q_proj", "layers.1.q_proj", "layers.1.norm"]),
        (["proj", "head", "lm_head"], ["lm_head"]),  # whole parts of names, not their ends
        (r"layers\.1\..*", ["layers.1.q_proj", "layers.1.mlp", "layers.1.norm"]),  # not what is within mlp
        (r"layers\.\d+\.mlp", ["layers.0.mlp", "layers.1.mlp"]),
    ],
)
def test_modules_are_found_by_name_and_replaced(targets, names):
    tree, seen = model(), []
    taken = replace_modules(tree, targets, lambda module: seen.append(module) or nn.Identity())
    assert taken == names
    assert all(isinstance(tree.get_submodule(name), nn.Identity) for name in names)
    assert len(seen) == len(names) and not any(isinstance(module, nn.Identity) for module in seen)


def test_a_kind_may_be_asked_for_and_kinds_left_alone():
    assert replace_modules(model(), r".*", lambda _: nn.Identity(), kind=nn.LayerNorm) == ["layers.0.norm", "layers.1.norm"]
    taken = replace_modules(model(), "all-linear", lambda _: nn.Identity(), closed=(nn.Sequential,))
    assert taken == ["layers.0.q_proj", "layers.1.q_proj"]


def test_targets_that_mean_nothing_are_refused():
    with pytest.raises(Refusal, match=r"k_proj, v_proj: no part of the model has such a name; its parts are .*q_proj"):
        replace_modules(model(), ["k_proj", "v_proj"], lambda module: module)
    with pytest.raises(Refusal, match="not a regular expression"):
        replace_modules(model(), "(", lambda module: module)
