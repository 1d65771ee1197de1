"""A rule or a threshold that leaves less than a hundredth of a layer ends as collapsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from benchsuite.errors import Collapsed
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.collapse import LEAST_LEFT, nearly_empty
from benchsuite.pruning.layer_targets import TargetedLayers
from benchsuite.pruning.masked import MaskedNetwork
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.smaller import SmallerNetwork
from benchsuite.pruning.targets import Threshold
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from benchsuite.pruning.base import PrunedNetwork

AS_THEY_ARE = PruningSettings(scope="layer", budget="params", normalise="none")
UNITS = 700


def keeping(number: int, *shape: int) -> Tensor:
    """True for the first of them."""
    return (torch.arange(UNITS) < number).reshape(shape)


def cut_to(number: int, of: type[PrunedNetwork], how: str) -> PrunedNetwork:
    """A network of which so many of 700 units, or of the 700 weights of its first layer, are kept."""
    of_units = of is SmallerNetwork
    network = nn.Sequential(nn.Linear(4, UNITS) if of_units else nn.Linear(7, 100), nn.ReLU())
    network.append(nn.Linear(UNITS if of_units else 100, 2))
    inputs = torch.rand(2, 4 if of_units else 7)
    cut = of(network, trace(network, inputs), measure_cost(network, inputs[:1]), AS_THEY_ARE, 0, inputs)
    keep = keeping(number, UNITS) if of_units else keeping(number, 100, 7)
    if how == "rule":
        cut.cut_by_rule({"0": keep}, {})
    elif how == "threshold":
        others = {} if of_units else {"2": torch.ones(2, 100)}
        cut.cut_below({"0": keep.double(), **others}, 0.5, dict)
    else:
        target = "native" if how == "rule of some layers" else Threshold(0.5)
        cut.cut_layers(
            [TargetedLayers(("0",), target, AS_THEY_ARE, {"0": keep.double()}, {"0": keep}, {}, dict)]
        )
    return cut


WAYS = ["rule", "threshold", "rule of some layers", "threshold of some layers"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("of", [SmallerNetwork, MaskedNetwork])
def test_a_hundredth_is_enough_and_less_has_collapsed(of: type[PrunedNetwork], how: str) -> None:
    cut = cut_to(7, of, how)
    weight = cut.model.get_submodule("0").get_parameter("weight")
    assert (len(weight) if of is SmallerNetwork else int((weight != 0).sum())) == 7
    for few, said in ((6, r"6 of 700 (unit|weight)s of 0 \(less than 1%\)"), (0, "no (unit|weight) of 0")):
        with pytest.raises(Collapsed, match=said):
            cut_to(few, of, how)


@pytest.mark.parametrize("size", [1, 3, 99, 100, 101, 300, 700, 1900])
def test_the_limit_is_exact(size: int) -> None:
    for kept in range(min(size, 25) + 1):
        mask = torch.arange(size) < kept
        assert nearly_empty({"layer": mask}) == (["layer"] if 100 * kept < size else [])
    assert LEAST_LEFT == 0.01
