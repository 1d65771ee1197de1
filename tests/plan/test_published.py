"""Published values find their cells in the plan before any work, and change nothing in it."""

from __future__ import annotations

import pytest

from benchsuite.errors import UsageError
from benchsuite.plan.matrix import build_plan
from benchsuite.plan.published import _Matrix, with_cells
from benchsuite.registry.discovery import discover
from benchsuite.suite import load_suite

TEXT = """
[suite]
name = "small"
seeds = [0, 1]
sparsities = [0.3, { threshold = 0.05 }, "layers"]
scorers = ["all", { name = "shapley", permutations = 2 }]
controls = ["random", { name = "reversed", of = ["magnitude-l1"] }]

[[workload]]
dataset = "digits"
models = ["mlp", { name = "mlp", hidden = [20] }]

[[workload]]
dataset = { name = "shapes", size = 16 }
models = ["small-resnet"]

[pruning]
granularity = ["unit", "weight"]
schedule = ["one-shot", "rewind"]
scope = ["layer", "global"]

[[pruning.layers]]
pattern = "a*"
target = 0.5

[[pruning.layers]]
pattern = "b*"
target = 0.5
granularity = "weight"

[recovery]
epochs = [0, 1]
"""
AXES = (
    *("dataset", "model", "scorer", "sparsity"),
    *("granularity", "scope", "budget", "schedule", "recovery_epochs"),
)


@pytest.fixture(scope="module")
def registry():
    return discover()[0]


@pytest.fixture
def matched(tmp_path, registry):
    """The first published value of a suite, matched with its cells."""

    def match(lines: str, text: str = TEXT, head: str = 'metric = "accuracy/top1"'):
        path = tmp_path / "suite.toml"
        path.write_text(f'{text}\n[[reference]]\nvalue = 0.5\nsource = "A 2018"\n{head}\n{lines}')
        return with_cells(load_suite(path, registry), registry, path).reference[0]

    return match


ONE = 'dataset = "digits"\nmodel = "mlp"\nscorer = "magnitude-l1"\nsparsity = 0.3\n'


def test_the_cells_are_those_of_the_plan(tmp_path, registry):
    path = tmp_path / "suite.toml"
    path.write_text(TEXT)
    suite = load_suite(path, registry)
    planned = {tuple(map(trial.axes.get, AXES)) for trial in build_plan(suite, registry, tmp_path)}
    found = {tuple(map(cell.get, AXES)) for cell in _Matrix(suite, registry)._cells({})}
    assert found == planned


def test_what_a_reference_leaves_out_is_what_the_suite_has(matched):
    found = matched(ONE + 'schedule = "one-shot"\nrecovery_epochs = 1\nseed = 1')
    assert (found.budget, found.seed, found.recovery_epochs) == ("macs", 1, 1)
    # The suite has several of these, and the board of each shows its cell.
    assert (found.granularity, found.scope) == (None, None)


def test_a_name_alone_stands_for_the_only_setting_of_a_plugin(matched):
    found = matched('dataset = "shapes"\nscorer = "shapley"\nsparsity = 0.3\ngranularity = "unit"')
    assert (found.dataset, found.model, found.scorer) == (
        *("shapes(size=16)", "small-resnet"),
        "shapley(permutations=2)",
    )


def test_a_table_of_defaults_is_not_another_setting(matched):
    cell = 'dataset = "shapes"\nsparsity = 0.3\nscorer = { name = "shapley", permutations = %d }'
    assert matched(cell % 2).scorer == "shapley(permutations=2)"
    with pytest.raises(UsageError, match="no scorer 'shapley'; did you mean"):
        matched(cell % 200)


def test_thresholds_and_controls_are_cells_too(matched):
    found = matched('dataset = "shapes"\nscorer = "reversed(magnitude-l1)"\nsparsity = { threshold = 0.05 }')
    assert found.sparsity == "threshold=0.05"


def test_a_line_of_its_own_needs_a_data_set_alone(matched):
    found = matched('name = "decision tree"\ndataset = "digits"')
    assert (found.name, found.dataset, found.model) == ("decision tree", "digits", None)
    assert matched('name = "tree"\ndataset = "shapes"').model == "small-resnet"


def test_a_metric_of_the_dense_network_is_of_data_set_and_model(matched):
    found = matched('dataset = "shapes"', head='metric = "accuracy/top1_dense"')
    assert (found.model, found.scorer, found.sparsity) == ("small-resnet", None, None)


PLUGIN = '''
import benchsuite


class Purity(benchsuite.Metric):
    """The purity of units."""

    name = "purity"
    quantities = {"without_least": benchsuite.Quantity("accuracy without the least")}  # noqa: RUF012

    def measure(self, context):
        return {"without_least": 0.5}


@benchsuite.hookimpl
def benchsuite_register_metrics(register):
    register(Purity)
'''


def test_quantities_of_metric_plugins_are_those_that_the_suite_measures(tmp_path):
    (tmp_path / "purity_plugin.py").write_text(PLUGIN)
    registry, _ = discover([tmp_path / "purity_plugin.py"])

    def matched(lines: str, text: str, head: str):
        path = tmp_path / "suite.toml"
        path.write_text(f'{text}\n[[reference]]\nvalue = 0.5\nsource = "A 2018"\n{head}\n{lines}')
        return with_cells(load_suite(path, registry), registry, path).reference[0]

    text = f'{TEXT}\n[metrics]\nplugins = [{{ name = "purity", called = "trees" }}]\n'
    data = 'name = "theirs"\ndataset = "digits"\nunit = "%"'
    found = matched(data, text, 'metric = "measured/trees/without_least/fc1"').metric
    assert found == "measured/trees/without_least/fc1"
    assert matched('dataset = "shapes"', text, 'metric = "measured/trees/without_least/fc1_dense"').is_dense
    for metric, message in (
        ("measured/tree/without_least", "this suite measures no 'tree'; did you mean 'trees'?"),
        ("measured/trees/without_last", "did you mean 'without_least'"),
    ):
        with pytest.raises(UsageError) as caught:
            matched(data, text, f'metric = "{metric}"')
        assert message in str(caught.value)
        assert "suite.toml:40: reference[0].metric" in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        (ONE.replace("digits", "digist"), 38, "this suite has no dataset 'digist'; did you mean 'digits'?"),
        (ONE.replace("magnitude-l1", "magnitude-l3"), 40, "did you mean 'magnitude-l"),
        (
            ONE.replace("0.3", "0.4"),
            41,
            "this suite has no sparsity 0.4; there are: 0.3, threshold=0.05, layers",
        ),
        (ONE + "seed = 7", 42, "this suite has no seed 7; there are: 0, 1"),
        (ONE + 'scope = "protected"', 42, "this suite has no scope 'protected'; there are: global, layer"),
        (ONE + "recovery_epochs = 2", 42, "this suite has no recovery_epochs 2.0"),
        (ONE.replace('"mlp"', '"small-resnet"'), 34, "each of dataset = digits, model = small-resnet"),
        (ONE.replace('model = "mlp"\n', ""), 34, "say of which model the value is"),
        (ONE.replace("sparsity = 0.3\n", ""), 34, "say of which sparsity the value is"),
        ('name = "tree"', 34, "say of which dataset the value is"),
        ('name = "tree"\ndataset = "digits"\nsparsity = 0.4', 40, "this suite has no sparsity 0.4"),
    ],
)
def test_a_reference_without_a_cell_is_refused_with_its_line(matched, lines, line, message):
    with pytest.raises(UsageError) as caught:
        matched(lines)
    assert f"suite.toml:{line}: reference[0]" in str(caught.value)
    assert message in str(caught.value)


def test_a_reference_is_in_no_key_and_in_no_record(tmp_path, registry):
    path = tmp_path / "suite.toml"
    text = TEXT.replace('["all",', '["magnitude-l1",')
    plans = []
    for more in ("", f'[[reference]]\nvalue = 0.5\nmetric = "accuracy/top1"\nsource = "A"\n{ONE}'):
        path.write_text(f"{text}\n{more}")
        suite = with_cells(load_suite(path, registry), registry, path)
        plans.append([(t.key, t.axes, t.shared, t.stages) for t in build_plan(suite, registry, tmp_path)])
    assert plans[0] == plans[1]
