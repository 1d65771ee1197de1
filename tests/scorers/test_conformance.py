from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch

import benchsuite
from benchsuite.errors import PluginError
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import (
    CHECKS,
    TinyResidual,
    context_for,
    tiny_convnet,
    tiny_narrow,
    tiny_samples,
    tiny_trace,
)
from benchsuite_scorers.registration import SCORERS, MagnitudeL1, MeanThreshold, benchsuite_register_scorers


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_scorer_conforms(scorer: type[benchsuite.Scorer], check: str) -> None:
    CHECKS[check](scorer())


def test_a_criterion_that_needs_a_target_gets_one_in_every_check() -> None:
    asked = []

    class Cautious(benchsuite.Scorer):
        """Keeps the largest weights, and looks at the target."""

        name = "cautious"
        needs_target = True

        def score(self, context: benchsuite.ScoringContext) -> dict[str, torch.Tensor]:
            asked.append(context.target)
            return {layer.name: layer.weight.flatten(1).abs().sum(1) for layer in context.layers}

    for check in CHECKS.values():
        check(Cautious())
    assert set(asked) == {0.5}
    Cautious.needs_target = False
    CHECKS["networks"](Cautious())
    assert asked[-1] is None
    assert context_for(tiny_convnet(), *tiny_samples(), target=0.3).target == 0.3


def test_every_criterion_is_registered_under_its_own_name() -> None:
    found: list[type[benchsuite.Scorer]] = []
    benchsuite_register_scorers(found.append)
    names = [scorer.name for scorer in found]
    assert names == sorted(names)
    assert set(names) == {
        *(
            "activation-std",
            "apoz",
            "bn-scale",
            "chip",
            "distinctiveness",
            "fisher",
            "fpgm",
            "grasp",
            "hrank",
        ),
        *("importance-switch", "karnin", "lamp", "magnitude-l1", "magnitude-l2", "mean-activation"),
        *("mean-threshold", "obd", "random", "shapley", "snip", "synflow", "taylor-activation"),
        *("taylor-weight", "thinet", "tree-gain", "wanda", "weight-sum", "whc", "xgboost-gain"),
    }
    assert [scorer.name for scorer in found if scorer.draws > 1] == ["random"]


def test_what_scores_mean_over_layers_and_groups() -> None:
    """What each source says; the docstrings argue it."""

    def named(attribute: str, wanted: object) -> set[str]:
        return {scorer.name for scorer in SCORERS if getattr(scorer, attribute) == wanted}

    elsewhere = {"synflow", "shapley", "importance-switch", "thinet"}
    assert named("scale", "network") - elsewhere == {
        *("bn-scale", "fisher", "grasp", "lamp", "obd", "snip", "taylor-activation", "taylor-weight")
    }
    coupled = {"bn-scale", "fisher", "taylor-activation", "taylor-weight"}
    assert named("coupled", True) - elsewhere == coupled
    assert named("sums_to_units", True) - elsewhere == {"karnin"}
    assert named("absolute", True) - elsewhere == {
        *("apoz", "distinctiveness", "fisher", "karnin", "obd", "random", "taylor-weight")
    }
    for scorer in SCORERS:
        if scorer.scale == "network" and scorer.name not in elsewhere:
            assert re.search(
                r"compared (as they are|over\s+layers as it is)", " ".join(scorer.__doc__.split())
            )


def test_mean_threshold_of_units_is_magnitude_l1_to_the_bit() -> None:
    first, other = (
        run_scorer(scorer(), context_for(tiny_convnet(), *tiny_samples())).scores
        for scorer in (MeanThreshold, MagnitudeL1)
    )
    assert all(torch.equal(score, other[name]) for name, score in first.items())


def test_contexts_for_tests_have_the_groups_and_readers_of_a_suite() -> None:
    groups = {group.name: group for group in context_for(TinyResidual(), *tiny_samples()).groups}
    assert {reader.layer for reader in groups["stem"].readers} == {"branch", "shortcut"}
    assert {m.layer for m in groups["branch"].members} == {"branch", "shortcut", "depthwise", "bare"}
    narrow = context_for(tiny_narrow(), *tiny_samples())  # none of its groups can be removed
    assert [(len(group.members), group.readers) for group in narrow.groups] == [(1, ())] * len(narrow.layers)


def test_registration_does_not_import_heavy_libraries() -> None:
    heavy = ["torch", "sklearn", "xgboost", "scipy"]
    code = f"import benchsuite_scorers, sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_a_criterion_reads_samples_unless_it_says_that_it_is_data_free(
    scorer: type[benchsuite.Scorer],
) -> None:
    model = tiny_convnet()
    trace = tiny_trace(model)
    first, other = (
        run_scorer(scorer(), context_for(model, *tiny_samples(20, seed=seed), trace=trace)).scores
        for seed in (1, 5)
    )
    differs = any(not torch.equal(score, other[name]) for name, score in first.items())
    assert differs is not scorer.data_free


class Wrong(benchsuite.Scorer):
    name = "wrong"

    def score(self, context: benchsuite.ScoringContext) -> dict[str, object]:
        if self.how == "position":
            return {layer.name: torch.arange(layer.units) * 1.0 for layer in context.layers}
        return {layer.name: -layer.weight.flatten(1).norm(dim=1) for layer in context.layers}

    how: str = "position"


@pytest.mark.parametrize(
    ("check", "how", "message"),
    [
        ("permutation", "position", "layer 0: scores moved by 3.0"),
        ("dead unit", "turned", "layer 0: the unit that is always zero"),
    ],
)
def test_checks_can_fail(check: str, how: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        CHECKS[check](Wrong(how=how))


def test_global_randomness_fails_the_checks() -> None:
    class Unseeded(benchsuite.Scorer):
        name = "unseeded"

        def score(self, context: benchsuite.ScoringContext) -> dict[str, object]:
            return {layer.name: torch.rand(layer.units) for layer in context.layers}

    with pytest.raises(PluginError, match="global generator of torch"):
        CHECKS["determinism"](Unseeded())
