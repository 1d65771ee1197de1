"""The agreement of criteria in a run directory, computed from stored scores."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.stats import kendalltau

from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.stages import Stage
from benchsuite.suite import load_suite
from benchsuite.trials.agreement import stored_agreements, update_agreement
from benchsuite.trials.facts import SCORES, ScoreFacts

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.plan.trial import Trial

SUITE = """
[suite]
name = "small"
seeds = [0, 1]
sparsities = [0.3, 0.6]
scorers = ["magnitude-l1", "taylor-weight", "bn-scale"]
controls = ["random", { name = "reversed", of = ["magnitude-l1"] }]

[[workload]]
dataset = "digits"
models = ["mlp"]

[pruning]
granularity = ["unit", "weight"]
schedule = ["one-shot", "at-init"]
"""

Run = tuple[RunDirectory, list["Trial"]]


def write_scores(
    run: RunDirectory,
    key: str,
    values: dict[str, np.ndarray],
    removable: dict[str, tuple[int, ...]] | None = None,
) -> None:
    folder = run.stage(key)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"score/{name}": v.astype(np.float32) for name, v in values.items()}, folder / "scores.safetensors"
    )
    facts = ScoreFacts(seconds=1, peak_memory_mb=0, ties=0, skipped={}, merges={}, removable=removable or {})
    Stage(folder, ScoreFacts, [SCORES]).complete(facts)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Every scoring has made-up scores except that of bn-scale, which can score no network here."""
    path = tmp_path / "suite.toml"
    path.write_text(SUITE)
    registry = discover()[0]
    trials = build_plan(load_suite(path, registry), registry, tmp_path)
    directory = RunDirectory(tmp_path / "run")
    for trial in trials:
        if trial.score.scorer.name != "bn-scale":
            rng = np.random.default_rng(int(trial.score.key, 16) % 2**32)
            write_scores(directory, trial.score.key, {"0": rng.normal(size=20), "2": rng.normal(size=240)})
    return directory, trials


def scores_of(run: Run, scorer: str, seed: int = 0) -> dict[str, np.ndarray]:
    directory, trials = run
    key = next(
        t.score.key
        for t in trials
        if (t.score.scorer.name, t.dense.seed, t.draw) == (scorer, seed, 0)
        and t.axes["granularity"] == "unit"
        and t.axes["schedule"] == "one-shot"
    )
    from safetensors.numpy import load_file

    return load_file(directory.stage(key) / "scores.safetensors")


def test_trained_networks_are_compared_by_the_units_first_draw(run: Run) -> None:
    directory, trials = run
    update_agreement(*run)
    keys = dict.fromkeys(t.dense.key for t in trials)
    found = stored_agreements([directory.path], keys)
    assert [(each.dataset, each.model, each.seed) for each in found] == [
        ("digits", "mlp", 0),
        ("digits", "mlp", 1),
    ]
    for network in found:
        assert network.criteria == ("magnitude-l1", "taylor-weight", "random")
        one, other = (scores_of(run, name, network.seed) for name in ("magnitude-l1", "random"))
        expected = np.mean([kendalltau(one[layer], other[layer]).statistic for layer in one])
        assert network.tau[0][2] == network.tau[2][0] == pytest.approx(expected, abs=1e-4)
        assert network.chance[0][2] == pytest.approx((5 / 20 + 10 / 240) / 2, abs=1e-4)


def test_units_that_cannot_be_removed_are_not_compared(run: Run) -> None:
    """Their scores decide nothing; a criterion may give all of them the same."""
    directory, trials = run
    rng = np.random.default_rng(0)
    removable = tuple(range(4, 20))
    given: dict[str, np.ndarray] = {}
    for trial in trials:
        if trial.score.scorer.name != "bn-scale" and trial.score.key not in given:
            values = rng.normal(size=20)
            values[:4] = 0
            given[trial.score.key] = values
            write_scores(directory, trial.score.key, {"0": values}, {"0": removable})
    update_agreement(*run)
    (network,) = stored_agreements([directory.path], [trials[0].dense.key])
    one, other = (scores_of(run, name)["score/0"][4:] for name in ("magnitude-l1", "random"))
    assert network.tau[0][2] == pytest.approx(kendalltau(one, other).statistic, abs=1e-4)
    assert network.chance[0][2] == pytest.approx(5 / 16, abs=1e-4)


def test_files_hold_the_matrix_and_each_layers_sorted_shares(run: Run) -> None:
    directory, trials = run
    update_agreement(*run)
    base = directory.path / "agreement" / trials[0].dense.key
    with base.with_suffix(".csv").open() as file:
        rows = list(csv.reader(file))
    (network,) = stored_agreements([directory.path], [trials[0].dense.key])
    assert rows[0][1:] == [row[0] for row in rows[1:]] == list(network.criteria)
    assert [[float(x) for x in row[1:]] for row in rows[1:]] == [list(row) for row in network.tau]
    first, second = json.loads(base.with_suffix(".layers.json").read_text())
    assert [(each["layer"], each["units"], each["k"]) for each in (first, second)] == [
        ("0", 20, 5),
        ("2", 240, 10),
    ]
    values = np.sort(scores_of(run, "random")["score/0"].astype(float))[::-1]
    assert first["shares"]["random"] == pytest.approx((values / np.abs(values).sum()).tolist(), rel=1e-3)
    wide = second["shares"]["random"]
    assert len(wide) == 100
    assert wide == sorted(wide, reverse=True)


def test_what_is_up_to_date_is_left_and_what_changed_is_made_anew(run: Run) -> None:
    directory, trials = run
    update_agreement(*run)
    folder = directory.path / "agreement"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 8
    update_agreement(*run)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    late = next(t for t in trials if t.score.scorer.name == "bn-scale" and t.dense.seed == 1)
    assert late.axes["granularity"] == "unit"
    write_scores(directory, late.score.key, {"0": np.arange(20.0)})
    update_agreement(*run)
    changed = {
        path.name.split(".")[0] for path in folder.iterdir() if path.stat().st_mtime_ns != before[path.name]
    }
    assert changed == {late.dense.key}
    (network,) = stored_agreements([directory.path], [late.dense.key])
    assert "bn-scale" in network.criteria


def test_a_torn_file_is_made_anew_and_damaged_scores_are_named(run: Run) -> None:
    directory, trials = run
    update_agreement(*run)
    key = trials[0].dense.key
    path = directory.path / "agreement" / f"{key}.json"
    whole = path.read_text()
    path.write_text(whole[:50])
    assert stored_agreements([directory.path], [key]) == []
    update_agreement(*run)
    assert path.read_text() == whole
    path.unlink()
    (directory.stage(trials[0].score.key) / "scores.safetensors").write_bytes(b"torn")
    told: list[str] = []
    update_agreement(*run, told.append)
    (line,) = told
    assert "scores.safetensors is damaged (its checksum is another); magnitude-l1 is left out" in line
    (network,) = stored_agreements([directory.path], [key])
    assert network.criteria == ("taylor-weight", "random")


def test_of_several_runs_the_one_with_more_criteria_counts(run: Run, tmp_path: Path) -> None:
    directory, trials = run
    fewer = RunDirectory(tmp_path / "fewer")
    (tmp_path / "fewer").mkdir()
    (fewer.path / "stages").symlink_to(directory.path / "stages")
    update_agreement(fewer, [t for t in trials if t.score.scorer.name != "random"])
    update_agreement(*run)
    key = trials[0].dense.key
    for order in ([fewer.path, directory.path], [directory.path, fewer.path]):
        (network,) = stored_agreements([*order, tmp_path / "results.jsonl"], [key])
        assert len(network.criteria) == 3


def test_networks_with_one_scored_criterion_have_no_agreement(run: Run) -> None:
    directory, trials = run
    update_agreement(directory, [t for t in trials if t.score.scorer.name == "random"])
    assert not (directory.path / "agreement").exists()


def test_torch_is_not_loaded() -> None:
    code = (
        "import sys, numpy as np; from benchsuite.trials.agreement import update_agreement; "
        "from benchsuite.metrics.agreement import compare_criteria; "
        "compare_criteria({'a': {'x': np.arange(9.0)}, 'b': {'x': np.arange(9.0)}}); "
        "print([m for m in ('torch', 'scipy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "change",
    [
        {"tau": 5},
        {"tau": [5]},
        {"tau": [[1.0]]},
        {"tau": [[1.0, 0.0], [0.0, 1.0]]},
        {"overlap": [["x", "y"], ["z", "w"]]},
        {"chance": None},
        {"criteria": "ab"},
        {"criteria": 3},
        {"seed": "one"},
        {"dataset": None},
    ],
)
def test_an_edited_file_is_refused_and_made_anew(run: Run, change: dict[str, object]) -> None:
    directory, trials = run
    update_agreement(*run)
    key = trials[0].dense.key
    path = directory.path / "agreement" / f"{key}.json"
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | change))
    assert stored_agreements([directory.path], [key]) == []
    update_agreement(*run)
    assert path.read_text() == whole


@pytest.mark.parametrize("number", [1e308, -1.1, 1.01, float("nan"), float("inf")])
@pytest.mark.parametrize("table", ["tau", "overlap", "chance"])
def test_numbers_that_no_comparison_gives_are_refused(run: Run, table: str, number: float) -> None:
    directory, trials = run
    update_agreement(*run)
    key = trials[0].dense.key
    path = directory.path / "agreement" / f"{key}.json"
    content = json.loads(path.read_text())
    content[table][0][1] = number
    path.write_text(json.dumps(content))
    assert stored_agreements([directory.path], [key]) == []
