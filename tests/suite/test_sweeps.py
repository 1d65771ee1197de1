"""A list of values of a parameter stands for as many scorers, `thresholds` for amounts equally spaced."""

from __future__ import annotations

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from benchsuite.errors import UsageError
from benchsuite.plan.matrix import build_plan
from benchsuite.pruning.threshold import threshold_of
from benchsuite.registry.discovery import discover
from benchsuite.suite import load_suite
from benchsuite.suite.amounts import SparsityEntry

TEXT = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.5]
scorers = [
    "magnitude-l1",
    { name = "shapley", sweep = { permutations = [2, 8, 200] } },
]

[[workload]]
dataset = "digits"
models = ["mlp"]
"""
SWEEP = "{ permutations = [2, 8, 200] }"


@pytest.fixture(scope="module")
def registry():
    return discover()[0]


@pytest.fixture
def loaded(tmp_path, registry):
    def load(text=TEXT):
        path = tmp_path / "suite.toml"
        path.write_text(text)
        return load_suite(path, registry)

    return load


def test_a_sweep_stands_for_the_scorers_that_it_lists(loaded, registry, tmp_path):
    listed = TEXT.replace(
        f'{{ name = "shapley", sweep = {SWEEP} }}',
        ", ".join(f'{{ name = "shapley", permutations = {n} }}' for n in (2, 8, 200)),
    )
    swept, one_by_one = loaded(), loaded(listed)
    labels = ["magnitude-l1", "shapley(permutations=2)", "shapley(permutations=8)", "shapley"]
    assert [ref.label for ref in swept.suite.scorers] == labels
    plans = [build_plan(suite, registry, tmp_path) for suite in (swept, one_by_one)]
    assert [(t.key, t.axes) for t in plans[0]] == [(t.key, t.axes) for t in plans[1]]
    # The value of a default is known where the suite sweeps it.
    known = [t.score.scorer.all_parameters["permutations"] for t in plans[0] if t.score.scorer.swept]
    assert known == [2, 8, 200]
    assert not any(t.score.scorer.swept for t in plans[1])


def test_the_suite_of_a_run_directory_says_the_same(loaded, registry, tmp_path):
    suite = loaded(TEXT.replace("sweep =", 'off = "removed", draws = 2, sweep ='))
    again = loaded(tomli_w.dumps(suite.model_dump(mode="json", exclude_none=True)))
    plans = [build_plan(each, registry, tmp_path) for each in (suite, again)]
    facts = [[(t.key, t.axes, t.score.scorer.swept) for t in plan] for plan in plans]
    assert facts[0] == facts[1]
    assert sum(swept for _, _, swept in facts[0]) == 6


def test_several_parameters_are_combined(loaded):
    suite = loaded(TEXT.replace(SWEEP, '{ permutations = [2, 8], off = ["zeroed", "removed"] }'))
    assert len(suite.suite.scorers) == 5


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("permutations =", "permutation =", 8, "no parameter 'permutation'; did you mean 'permutations'"),
        ("[2, 8, 200]", "[]", 8, "sweep.permutations has no value"),
        ("[2, 8, 200]", "2", 8, "sweep.permutations is a list of values, not 2"),
        ("[2, 8, 200]", "[2, 8, 2]", 8, "sweep lists permutations = 2 twice"),
        ("[2, 8, 200]", "[2, 1]", 8, "greater than or equal to 2"),
        ('"shapley"', '"all"', 8, 'not for "all"'),
        ("sweep =", "parameters = 3, sweep =", 8, "parameters is a table"),
        (SWEEP, "{}", 8, "sweep = { bins = [4, 8, 16] }"),
        (SWEEP, "[2, 8]", 8, "sweep = { bins = [4, 8, 16] }"),
        ("sweep =", "permutations = 3, sweep =", 8, "permutations stands beside sweep and in it"),
        ("permutations =", "draws =", 8, "sweep.draws is no parameter"),
        ("[2, 8, 200]", f"{list(range(2, 10_004))}", 8, "more than 10000"),
        ('"magnitude-l1"', '{ name = "shapley", permutations = 8 }', 2, "twice"),
        ("[0.5]", "[{ thresholds = { from = 0.1, to = 0.5 } }]", 5, "thresholds = { from = 0.001"),
        ("[0.5]", "[{ thresholds = { from = 0.5, to = 0.1, count = 3 } }]", 5, "is below the last"),
        ("[0.5]", "[{ thresholds = { from = 0.1, to = 0.5, count = 1 } }]", 5, "from 2 to 10000, not 1"),
        ("[0.5]", "[{ thresholds = { from = 0.1, to = inf, count = 3 } }]", 5, "a threshold is a number"),
        ("[0.5]", "[{ thresholds = { from = 0, to = 1, count = 10001 } }]", 5, "from 2 to 10000"),
        (
            *("[0.5]", "[{ threshold = 0.5 }, { thresholds = { from = 0, to = 1, count = 3 } }]"),
            *(2, "lists 'threshold=0.5' twice"),
        ),
    ],
)
def test_each_error_names_its_line_and_what_would_be_right(loaded, old, new, line, message):
    with pytest.raises(UsageError) as caught:
        loaded(TEXT.replace(old, new))
    found = str(caught.value).splitlines()
    assert any(message in text for text in found), found
    assert any(f"suite.toml:{line}: " in text for text in found) or message == "twice", found


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 40))
def test_thresholds_are_equally_spaced_with_both_ends(low, span, count):
    ends = {"from": low, "to": low + span, "count": count}
    found = TypeAdapter(SparsityEntry).validate_python({"thresholds": ends})
    values = [threshold_of(each) for each in found]
    assert (values[0], values[-1]) == (low, low + span)
    np.testing.assert_allclose(values, np.linspace(low, low + span, count), rtol=1e-11, atol=1e-11 * span)


def test_thresholds_have_names_of_few_digits(loaded):
    suite = loaded(TEXT.replace("[0.5]", "[0.5, { thresholds = { from = 0, to = 1, count = 11 } }]"))
    assert suite.suite.sparsities[:5] == [0.5, "threshold=0", *(f"threshold=0.{n}" for n in (1, 2, 3))]
    assert len(suite.suite.sparsities) == 12
