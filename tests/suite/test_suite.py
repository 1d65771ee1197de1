"""Suite files: valid ones are read, errors are reported with their line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.errors import UsageError
from benchsuite.registry.discovery import discover
from benchsuite.suite import load_suite
from benchsuite.suite.missing import HINT
from benchsuite.suite.toml_source import read_toml

if TYPE_CHECKING:
    from pathlib import Path

SMALL = """
[suite]
name = "small"
seeds = [0, 1]
sparsities = [0.5]
scorers = ["magnitude-l1"]

[[workload]]
dataset = "digits"
models = ["mlp"]
"""


@pytest.fixture(scope="module")
def registry():
    return discover()[0]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "suite.toml"
    path.write_text(text)
    return path


def errors_of(tmp_path: Path, text: str, registry) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_suite(write(tmp_path, text), registry)
    return [line for line in str(caught.value).splitlines() if line != HINT]


def test_defaults_are_filled_in(tmp_path, registry):
    suite = load_suite(write(tmp_path, SMALL), registry)
    assert suite.pruning.scope == ["protected"]
    assert suite.recovery.epochs == [1.0]
    assert suite.metrics.latency is not None
    assert suite.metrics.latency.batch_sizes == [1, 128]
    assert suite.metrics.latency.threads == [1]


def test_anything_that_can_be_listed_is_an_axis(tmp_path, registry):
    text = SMALL + '[pruning]\nscope = ["layer", "global"]\nbudget = "params"\n[recovery]\nepochs = [0, 1]\n'
    suite = load_suite(write(tmp_path, text), registry)
    assert suite.pruning.scope == ["layer", "global"]
    assert suite.pruning.budget == ["params"]
    assert suite.recovery.epochs == [0, 1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["magnitude-l1"]', '["mine"]'),
        ('["magnitude-l1"]', '["all", { name = "mine", draws = 2 }]'),
        ("scorers =", 'controls = [{ name = "reversed", of = ["mine"] }]\nscorers ='),
        ('["mlp"]', '["mine"]'),
        ('"digits"', '"mine"'),
    ],
)
def test_a_name_that_no_plugin_has_may_be_that_of_a_plugin_file(tmp_path, registry, old, new):
    with pytest.raises(UsageError) as caught:
        load_suite(write(tmp_path, SMALL.replace(old, new)), registry)
    said = str(caught.value).splitlines()
    assert said[1:] == ["what a plugin file registers is known with --plugin FILE"]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("[0.5]", "[0.5, 1.0]", 5, "a fraction in [0, 1)"),
        ("[0.5]", "[-0.1]", 5, "a fraction in [0, 1)"),
        ("[0.5]", "[]", 5, "must not be empty"),
        ("[0.5]", "[0.5, 0.5]", 3, "twice"),
        ("[0, 1]", '["a"]', 4, "valid integer"),
        ("[0, 1]", "[]", 4, "must not be empty"),
        ("magnitude-l1", "magnitud-l1", 6, "did you mean 'magnitude-l1'"),
        ('"digits"', '"digist"', 9, "did you mean 'digits'"),
        ('["mlp"]', '["torchvision/resnet81"]', 10, "did you mean 'resnet"),
        ('["mlp"]', '["timmm/resnet18"]', 10, "did you mean 'timm'"),
        (
            '["magnitude-l1"]',
            '[{ name = "random", draw = 5 }]',
            6,
            "did you mean 'draws', which is a key of the suite",
        ),
        ("[[workload]]", "[workload]", 8, "write [[workload]] instead of [workload]"),
        ('["mlp"]', '[{ name = "mlp", hiden = [3] }]', 10, "no parameter 'hiden'; did you mean 'hidden'"),
        ('["mlp"]', '[{ name = "mlp", activation = "gelu" }]', 10, "activation: input should be"),
        ('["mlp"]', "[3]", 10, "a name or a table with a name"),
        ('name = "small"', 'name = "../small"', 3, "letters, digits"),
        ('name = "small"', 'nam = "small"', 3, "did you mean 'name'"),
        ("[suite]", "[siute]", 2, "did you mean 'suite'"),
    ],
)
def test_each_error_names_its_line_and_what_would_be_right(tmp_path, registry, old, new, line, message):
    found = errors_of(tmp_path, SMALL.replace(old, new), registry)
    place = f"suite.toml:{line}: "
    assert any(place in text and message in text for text in found) or (
        # A repeated value is reported for its table, whose line is that of the header.
        message == "twice" and any(message in text for text in found)
    ), found


@pytest.mark.parametrize(
    ("section", "line", "message"),
    [
        ("[pruning]", 'granularity = "units"', "'units' is not one of unit, weight; did you mean 'unit'?"),
        ("[pruning]", 'scope = "gobal"', "did you mean 'global'?"),
        ("[pruning]", 'budget = "flops"', "'flops' is not one of units, params, macs"),
        ("[pruning]", 'schedule = ["one-shot", "oneshot"]', "did you mean 'one-shot'?"),
        ("[pruning]", "rounds = 1", "greater than or equal to 2 (got 1)"),
        ("[pruning]", "rewind_share = 1.0", "less than 1 (got 1.0)"),
        ("[pruning]", "rewind_to = -0.1", "greater than or equal to 0 (got -0.1)"),
        ("[pruning]", "floor = 1", "less than 1 (got 1)"),
        ("[pruning]", 'aggregate = "median"', "'median' is not one of declared, mean, sum, max"),
        ("[pruning]", 'normalise = "l1"', "'l1' is not one of declared, mean, max, l2, none"),
        ("[pruning]", 'normalize = "l2"', "unknown key; did you mean 'normalise'?"),
        ("[recovery]", "epochs = -1", "greater than or equal to 0 (got -1)"),
        ("[recovery]", "learning_rate = 0", "greater than 0 (got 0)"),
        ("[recovery]", "recalibrate = 1", "0 (not measured) or at least 2"),
        ("[recovery]", "recalibrate = true", "should be a valid integer"),
        ("[recovery]", "recalibrate = false", "should be a valid integer"),
        ("[metrics]", "dissection = { layers = [] }", "a list of names"),
        ("[metrics]", "dissection = { layers = [1] }", "a list of names"),
        ("[scoring]", "samples = 0", 'a whole number of at least 1, or "all" for the whole split, not 0'),
        ("[scoring]", 'samples = "al"', "or \"all\" for the whole split, not 'al'"),
        ("[scoring]", "samples = true", 'or "all" for the whole split, not True'),
        ("[scoring]", 'split = "test"', "'test' is not one of train, validation"),
        ("[metrics]", "latency = { batch_sizes = [0] }", "greater than or equal to 1 (got 0)"),
        ("[metrics]", "latency = { threads = [1, 0] }", "greater than or equal to 1 (got 0)"),
        ("[metrics]", "latency = { threads = [2, 2] }", "threads lists 2 twice"),
        ("[metrics]", 'dissection = { concepts = "shaps" }', "did you mean 'shapes'?"),
        ("[metrics]", "dissection = { concepts = 'shapes', detector = 0.1 }", "unknown key"),
    ],
)
def test_each_bad_value_of_an_axis_or_setting_gets_its_message(tmp_path, registry, section, line, message):
    (found,) = errors_of(tmp_path, f"{SMALL}{section}\n{line}\n", registry)
    assert f"suite.toml:{len(SMALL.splitlines()) + 2}: " in found
    assert message in found


def test_a_resolved_suite_of_rewinding_is_valid_again(tmp_path, registry):
    """It has every default written out, those of a recovery that nothing uses among them."""
    text = f'{SMALL}[pruning]\nschedule = "rewind"\n[recovery]\nepochs = [1.0]\n'
    assert load_suite(write(tmp_path, text), registry).recovery.epochs == [1.0]


@pytest.mark.parametrize("field", ["epochs = 3", "learning_rate = 0.1", "augment = false"])
@pytest.mark.parametrize("schedules", ['"at-init"', '"rewind"', '["at-init", "rewind"]'])
def test_a_recovery_that_no_schedule_uses_is_refused(tmp_path, registry, field, schedules):
    text = f"{SMALL}[pruning]\nschedule = {schedules}\n[recovery]\n"
    (found,) = errors_of(tmp_path, f"{text}{field}\n", registry)
    assert f"suite.toml:{len(text.splitlines())}: recovery: {field.split()[0]} would do nothing" in found
    assert "under [training]" in found
    assert load_suite(write(tmp_path, f"{text}recalibrate = 64\n"), registry).recovery.recalibrate == 64
    mixed = f'{SMALL}[pruning]\nschedule = ["one-shot", "at-init"]\n[recovery]\n{field}\n'
    assert load_suite(write(tmp_path, mixed), registry).recovery.model_fields_set


def test_all_errors_are_reported_at_once(tmp_path, registry):
    text = SMALL.replace("[0.5]", "[2]").replace("mlp", "mpl").replace("digits", "didgets") + "[prunig]\n"
    found = errors_of(tmp_path, text, registry)
    assert len(found) == 4
    assert [int(text.split("suite.toml:")[1].split(":")[0]) for text in found] == [5, 9, 10, 11]


def test_what_is_no_toml_is_located(tmp_path):
    with pytest.raises(UsageError, match=r"suite.toml:2:\d+: not valid TOML"):
        read_toml(write(tmp_path, "[suite]\nname = \n"))


def test_a_suite_that_is_no_text_is_a_sentence_without_codecs(tmp_path):
    file = tmp_path / "suite.toml"
    file.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(UsageError, match=r"suite\.toml is no text file \(in UTF-8\), and a suite is one$"):
        read_toml(file)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="there is no suite file"):
        read_toml(tmp_path / "none.toml")


def test_controls_are_checked(tmp_path, registry):
    text = SMALL.replace(
        'scorers = ["magnitude-l1"]', 'scorers = ["all"]\ncontrols = [{ name = "random", of = ["bn-scale"] }]'
    )
    assert any("varies no scorer" in line for line in errors_of(tmp_path, text, registry))


@given(st.text(max_size=60))
def test_any_text_is_toml_or_a_usage_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "suite.toml"
    path.write_text(text, encoding="utf-8")
    try:
        source = read_toml(path)
    except UsageError as error:
        message = str(error)
    else:
        message = f"{path}:{source.line_of(('suite', 'name'))}"
    assert str(path) in message


ANY = """
from typing import Any
import benchsuite

class Mine(benchsuite.Scorer):
    name = "mine"
    value: Any = 0
    def score(self, context):
        return {}

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Mine)
"""


@pytest.mark.parametrize("value", ["nan", "[inf]", "2026-01-01", "{ at = 12:30:00 }"])
def test_parameters_that_records_cannot_hold_are_refused(tmp_path, value):
    (tmp_path / "mine.py").write_text(ANY)
    registry, _ = discover([tmp_path / "mine.py"])
    text = SMALL.replace('"magnitude-l1"', f'{{ name = "mine", value = {value} }}')
    (found,) = errors_of(tmp_path, text, registry)
    assert "mine: parameters are finite numbers, texts" in found
    load_suite(write(tmp_path, text.replace(value, "[1.5, { a = true }]")), registry)


def test_a_sparsity_that_a_program_added_up_is_the_one_that_it_means(tmp_path, registry):
    found = load_suite(
        write(tmp_path, SMALL.replace("[0.5]", "[0.30000000000000004, 0.123456789]")), registry
    )
    assert found.suite.sparsities == [0.3, 0.123456789]
