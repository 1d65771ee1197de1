"""Two layers with one weight and bias are scored as one layer that is used twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from grouped import grouped
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import tiny_trace
from benchsuite_scorers.importance_switch import ImportanceSwitch
from benchsuite_scorers.registration import SCORERS

if TYPE_CHECKING:
    import benchsuite


class Twice(nn.Module):
    """A layer that is used twice, or two layers with the same parameters."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.first, self.one = nn.Linear(16, 8), nn.Linear(8, 8)
        self.other = nn.Linear(8, 8) if shared else None
        if self.other is not None:
            self.other.weight, self.other.bias = self.one.weight, self.one.bias
        self.behind, self.head = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.one(torch.relu(self.first(x.flatten(1)))))
        x = torch.relu((self.one if self.other is None else self.other)(x))
        scores: Tensor = self.head(torch.relu(self.behind(x)))
        return scores


def scored(scorer: type[benchsuite.Scorer], *, shared: bool) -> dict[str, Tensor] | str:
    """The scores, or why there are none."""
    torch.manual_seed(3)
    plain, model = Twice(shared=False), Twice(shared=shared).eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    inputs = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(4))
    labels = torch.arange(24) % 3
    trace = tiny_trace(model) if scorer.needs_training_trace else None
    target = 0.4 if scorer.needs_target else None
    context, _ = grouped(model, inputs, labels, trace=trace, target=target)
    try:
        return run_scorer(scorer(), context).scores
    except Unsupported as error:
        return str(error)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_a_shared_weight_is_scored_as_one_layer_that_is_used_twice(
    scorer: type[benchsuite.Scorer],
) -> None:
    apart, twice = scored(scorer, shared=True), scored(scorer, shared=False)
    if isinstance(apart, str) or isinstance(twice, str):
        assert apart == twice
        return
    assert apart.keys() == twice.keys()
    for name, score in apart.items():
        torch.testing.assert_close(score, twice[name])


def test_what_gates_members_refuses_a_shared_weight_behind_which_a_normalisation_follows() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Conv2d(1, 6, 3), nn.Conv2d(1, 6, 3)
            self.other.weight = self.one.weight
            self.norm, self.behind, self.head = nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.norm(self.one(x))) + torch.relu(self.other(x))
            scores: Tensor = self.head(torch.relu(self.behind(x)).mean((2, 3)))
            return scores

    inputs = torch.randn(12, 1, 4, 4, generator=torch.Generator().manual_seed(4))
    context, _ = grouped(Branches().eval(), inputs, torch.arange(12) % 3)
    found = run_scorer(ImportanceSwitch(), context)
    assert found.skipped == {"one": "other has the weight of one, which a normalisation follows"}
    assert found.scores.keys() == {"behind"}
