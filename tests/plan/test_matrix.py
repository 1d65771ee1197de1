"""The plan: which trials there are, what they share, and what a content key depends on."""

from __future__ import annotations

import pytest

from benchsuite.commands.loading import select
from benchsuite.errors import UsageError
from benchsuite.plan.matrix import build_plan, count_by_axis
from benchsuite.registry.discovery import discover
from benchsuite.store.keys import derived_seed
from benchsuite.suite import load_suite

TEXT = """
[suite]
name = "small"
seeds = [0, 1]
sparsities = [0.3, 0.6]
scorers = ["magnitude-l1", "taylor-weight"]
controls = ["random", { name = "reversed", of = ["magnitude-l1"] }, "shuffled"]

[[workload]]
dataset = "digits"
models = ["mlp", { name = "mlp", hidden = [20] }]
"""


@pytest.fixture(scope="module")
def registry():
    return discover()[0]


@pytest.fixture
def plan(tmp_path, registry):
    def make(text=TEXT):
        path = tmp_path / "suite.toml"
        path.write_text(text)
        return build_plan(load_suite(path, registry), registry, tmp_path)

    return make


def test_the_matrix_is_the_product_of_its_axes(plan):
    trials = plan()
    # Two scorers, three draws of random, one reversed, two shuffled; two models, two seeds, two sparsities.
    assert len(trials) == (2 + 3 + 1 + 2) * 2 * 2 * 2
    assert len({t.key for t in trials}) == len(trials)
    counts = count_by_axis(trials)
    assert counts["scorer"]["random"] == 24
    assert counts["scorer"]["reversed(magnitude-l1)"] == 8
    assert counts["model"] == {"mlp": 32, "mlp(hidden=[20])": 32}


def test_scorers_share_dense_models_and_variants_share_scores(plan):
    trials = plan()
    assert len({t.dense.key for t in trials}) == 4
    by_scorer = {}
    for trial in trials:
        by_scorer.setdefault(trial.scorer_label, set()).add(trial.score.key)
    assert (
        by_scorer["reversed(magnitude-l1)"]
        == by_scorer["magnitude-l1"]
        == by_scorer["shuffled(magnitude-l1)"]
    )
    assert len(by_scorer["random"]) == 12
    assert by_scorer["magnitude-l1"].isdisjoint(by_scorer["taylor-weight"])


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_all_means_every_scorer_that_serves_the_granularity_once(plan, registry, granularity):
    text = TEXT.replace('["magnitude-l1", "taylor-weight"]', '["all", "magnitude-l1"]')
    trials = plan(text + f'[pruning]\ngranularity = "{granularity}"\n')
    plain = {t.scorer_label for t in trials if t.variant is None}
    classes = {name: registry.get("scorer", name) for name in registry.names("scorer")}
    if granularity == "weight":
        assert plain == {name for name, cls in classes.items() if cls.granularity != "unit"}
    else:
        assert plain == {name for name, c in classes.items() if c.granularity != "weight" or c.sums_to_units}
    left_out = classes.keys() - plain
    assert {"wanda", "lamp", "mean-threshold"} <= left_out or granularity == "weight"
    varied = {t.scorer_label for t in trials if t.variant == "shuffled"}
    assert varied == {f"shuffled({name})" for name in plain - {"random"}}


def test_a_criterion_of_weights_that_is_named_is_used_for_units_too(plan):
    trials = plan(TEXT.replace('"taylor-weight"]', '"wanda", "all"]'))
    assert {"wanda", "magnitude-l2"} <= {t.scorer_label for t in trials}
    assert "lamp" not in {t.scorer_label for t in trials}


def test_with_both_granularities_all_serves_each(plan):
    trials = plan(
        TEXT.replace('["magnitude-l1", "taylor-weight"]', '["all"]')
        + '[pruning]\ngranularity = ["unit", "weight"]\n'
    )
    found = {(t.scorer_label, t.score.granularity) for t in trials if t.variant is None}
    assert ("lamp", "weight") in found
    assert ("lamp", "unit") not in found
    assert ("fpgm", "unit") in found
    assert ("fpgm", "weight") not in found


def test_scores_are_put_together_as_each_criterion_declares_unless_the_suite_says_how(plan):
    text = TEXT.replace('"taylor-weight"]', '"synflow", "snip"]')

    def settings(extra=""):
        return {t.scorer_label: (t.settings.normalise, t.settings.aggregate) for t in plan(text + extra)}

    declared = settings()
    assert declared["magnitude-l1"] == declared["reversed(magnitude-l1)"] == ("mean", "mean")
    assert declared["snip"] == declared["shuffled(snip)"] == ("none", "sum")
    # Its scores are already those of coupled units.
    assert declared["synflow"] == ("none", "mean")
    every = settings('[pruning]\nnormalise = "max"\naggregate = "sum"\n')
    assert set(every.values()) == {("max", "sum"), ("max", "mean")}
    assert every["synflow"] == ("max", "mean")


def test_what_is_said_is_one_result_with_the_same_that_is_declared(plan):
    keys = {t.key for t in plan() if t.scorer_label == "magnitude-l1"}
    said = plan(TEXT + '[pruning]\nnormalise = "mean"\naggregate = "mean"\n')
    assert {t.key for t in said if t.scorer_label == "magnitude-l1"} == keys


def test_only_a_criterion_that_needs_the_target_is_scored_for_each(plan):
    trials = plan(
        TEXT.replace('"taylor-weight"]', '"synflow"]')
        + '[pruning]\nschedule = ["one-shot", "iterative"]\nrounds = 2\n'
    )
    targets, keys = {}, {}
    for trial in trials:
        targets.setdefault(trial.scorer_label, set()).add(trial.score.target)
        keys.setdefault(trial.scorer_label, set()).add(trial.score.key)
    assert targets["magnitude-l1"] == {None}
    # The first of two rounds removes 1 - sqrt(1 - sparsity).
    assert sorted(targets["synflow"]) == pytest.approx(sorted([0.3, 0.6, *(1 - 0.7**0.5, 1 - 0.4**0.5)]))
    assert len(keys["synflow"]) == 4 * len(keys["magnitude-l1"])


@pytest.mark.parametrize(
    "change",
    [
        ("seeds = [0, 1]", "seeds = [0, 2]"),
        ('models = ["mlp",', 'models = [{ name = "mlp", activation = "relu" },'),
        ('dataset = "digits"', 'dataset = { name = "digits", size = 16 }'),
        ("[[workload]]", "[training]\nepochs = 3\n[[workload]]"),
    ],
)
def test_a_change_of_training_changes_every_key_it_touches(plan, change):
    before = {t.key for t in plan()}
    after = {t.key for t in plan(TEXT.replace(*change))}
    assert before != after
    if "seeds" in change[0]:
        assert len(before & after) == len(before) // 2


@pytest.mark.parametrize(
    "section", ["[recovery]\nepochs = 2", '[pruning]\nscope = "layer"', "[metrics]\ndissection = true"]
)
def test_what_comes_after_scoring_leaves_the_scores_cached(plan, section):
    before, after = plan(), plan(TEXT + section + "\n")
    assert {t.score.key for t in before} == {t.score.key for t in after}
    assert {t.key for t in before}.isdisjoint({t.key for t in after})


@pytest.mark.parametrize("latency", ["false", "{ batch_sizes = 4 }", "{ threads = 2 }"])
def test_how_latency_is_measured_has_a_key_of_its_own(plan, latency):
    before, after = plan(), plan(TEXT + f"[metrics]\nlatency = {latency}\n")
    assert {t.key for t in before} == {t.key for t in after}
    assert {t.latency_key for t in before}.isdisjoint({t.latency_key for t in after})


def test_the_suite_s_name_and_order_do_not_change_keys(plan):
    before = {t.key for t in plan()}
    text = TEXT.replace('"small"', '"large"').replace("[0.3, 0.6]", "[0.6, 0.3]")
    assert {t.key for t in plan(text)} == before


def test_criteria_share_the_seeds_that_pair_them(plan):
    trials = plan()
    same = [t for t in trials if t.dense.seed == 0 and t.axes["model"] == "mlp"]
    assert len({t.seed_for("recover") for t in same}) == 1
    assert same[0].seed_for("recover") != same[0].seed_for("ties")
    assert len({t.seed_for("recover") for t in trials}) == 4


def test_derived_seeds_are_the_same_everywhere():
    assert derived_seed("train", "digits", "mlp", 0) == derived_seed("train", "digits", "mlp", 0)
    assert 0 <= derived_seed("x") < 2**63


def test_filters_join_axes_by_and_and_values_by_or(plan):
    trials = plan()
    assert {t.scorer_label for t in select(trials, ["scorer=random,model=mlp"])} == {"random"}
    assert {t.axes["sparsity"] for t in select(trials, ["sparsity=0.30"])} == {0.3}
    assert {t.scorer_label for t in select(trials, ["scorer=random", "scorer=taylor*"])} == {
        "random",
        "taylor-weight",
    }
    assert {t.axes["model"] for t in select(trials, ["model=mlp(hidden=[20])"])} == {"mlp(hidden=[20])"}
    assert select(trials, ["scorer=nothing"]) == ()


def test_an_unknown_axis_gets_a_suggestion(plan):
    with pytest.raises(UsageError, match="did you mean 'scorer'"):
        select(plan(), ["scorrer=random"])
