"""What criteria say of units in a run directory, against a few lines of numpy on the stored scores."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.stages import Stage
from benchsuite.suite import load_suite
from benchsuite.trials.agreement import stored_layers, update_agreement
from benchsuite.trials.description import MOST_LAYERS, MOST_UNITS, shown_units
from benchsuite.trials.facts import SCORES, ScoreFacts
from benchsuite.trials.ranking import (
    CriterionRanking,
    LayerRanking,
    NetworkRanking,
    ranking_folder,
    stored_ranking,
    update_rankings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.plan.trial import Trial

SUITE = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.5]
scorers = ["magnitude-l1", "taylor-weight"]
controls = ["random"]
[[workload]]
dataset = "digits"
models = ["mlp"]
[pruning]
schedule = ["one-shot", "at-init"]
"""
REMOVABLE = tuple(range(3, 30))
WIDE = 600


class Run:
    """A run directory whose scorings have made-up scores of three layers, in 'few' with ties."""

    def __init__(self, folder: Path) -> None:
        (folder / "suite.toml").write_text(SUITE)
        registry = discover()[0]
        suite = load_suite(folder / "suite.toml", registry)
        self.trials: list[Trial] = build_plan(suite, registry, folder)
        self.directory = RunDirectory(folder / "run")
        self.dense = self.trials[0].dense.key
        self.scores: dict[str, dict[str, np.ndarray]] = {}
        for seed, trial in enumerate(self.trials):
            rng = np.random.default_rng(seed)
            few = rng.integers(-2, 3, size=8)
            values = {"few": few, "some": rng.normal(size=30), "wide": rng.normal(size=WIDE)}
            self.write(trial, values)
            # The key of another draw or schedule is another stage.
            if trial.draw == 0 and not trial.score.at_init:
                self.scores[trial.score.scorer.label] = values

    def write(self, trial: Trial, values: dict[str, np.ndarray]) -> None:
        folder = self.directory.stage(trial.score.key)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({f"score/{n}": v.astype(np.float32) for n, v in values.items()}, folder / SCORES)
        facts = ScoreFacts(
            seconds=1, peak_memory_mb=0, ties=0, skipped={}, merges={}, removable={"some": REMOVABLE}
        )
        Stage(folder, ScoreFacts, [SCORES]).complete(facts)

    def updated(self) -> NetworkRanking:
        update_rankings(self.directory, self.trials)
        found = stored_ranking(self.directory.path, self.dense)
        assert found is not None
        return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_each_layer_has_every_criterions_first_and_last_units(run: Run) -> None:
    found = run.updated()
    assert (found.dataset, found.model, found.seed) == ("digits", "mlp", 0)
    assert found.criteria == tuple(run.scores) == ("magnitude-l1", "taylor-weight", "random")
    few, some, _ = found.layers
    assert [(each.layer, each.units, each.k) for each in found.layers] == [
        ("few", 8, 4),
        ("some", 27, 5),
        ("wide", WIDE, 10),
    ]
    for label, values in run.scores.items():
        order = sorted(REMOVABLE, key=lambda unit: -values["some"][unit])
        each = some.criteria[label]
        assert [unit for unit, _ in each.top] == order[:5]
        assert [unit for unit, _ in each.bottom] == order[:-6:-1]
        for unit, score in (*each.top, *each.bottom):
            assert score == pytest.approx(values["some"][unit], rel=1e-4)
        assert each.scores == pytest.approx(values["some"][list(REMOVABLE)].tolist(), rel=1e-4)
        # Equal scores come in order of the units, and those that are not listed are counted.
        each, tied = few.criteria[label], values["few"].tolist()
        assert [unit for unit, _ in each.top] == sorted(range(8), key=lambda unit: (-tied[unit], unit))[:4]
        unlisted = [tied[unit] for unit in range(8) if unit not in dict(each.top)]
        assert each.tied_top == unlisted.count(each.top[-1][1])
    assert few.numbers is None
    assert some.numbers == REMOVABLE


def test_of_a_wide_layer_some_of_the_sorted_scores_are_kept(run: Run) -> None:
    wide = run.updated().layers[2]
    assert wide.sorted
    values = np.sort(run.scores["random"]["wide"])[::-1]
    kept = wide.criteria["random"].scores
    assert len(kept) == 100
    assert list(kept) == sorted(kept, reverse=True)
    assert (kept[0], kept[-1]) == pytest.approx((values[0], values[-1]), rel=1e-4)
    assert [unit for unit, _ in wide.criteria["random"].top] == np.argsort(-run.scores["random"]["wide"])[
        :10
    ].tolist()


def test_the_stored_overlap_of_a_layer_is_that_of_the_listed_units(run: Run) -> None:
    found = run.updated()
    update_agreement(run.directory, run.trials)
    layers = {each.layer: each for each in stored_layers(run.directory.path, run.dense)}
    with (run.directory.path / "agreement" / f"{run.dense}.pairs.csv").open() as file:
        table = {(row["layer"], row["criterion"], row["other"]): row for row in csv.DictReader(file)}
    for layer in found.layers[1:]:  # the first has ties, which are shared out
        stored = layers[layer.layer]
        assert (stored.units, stored.k) == (layer.units, layer.k)
        for i, one in enumerate(stored.criteria):
            for j, other in enumerate(stored.criteria[:i]):
                sets = [{unit for unit, _ in layer.criteria[label].top} for label in (one, other)]
                common = len(set.intersection(*sets))
                assert stored.overlap[i][j] == pytest.approx(common / layer.k, abs=1e-4)
                row = table[layer.layer, other, one]
                assert float(row["in_common"]) == common
                assert float(row["by_chance"]) == pytest.approx(layer.k**2 / layer.units, abs=1e-4)


def test_the_table_has_the_units_place_by_place(run: Run) -> None:
    found = run.updated()
    with (ranking_folder(run.directory.path, run.dense) / "first-and-last.csv").open() as file:
        rows = [
            row for row in csv.DictReader(file) if row["layer"] == "some" and row["criterion"] == "random"
        ]
    some = found.layers[1].criteria["random"]
    assert [int(row["first"]) for row in rows] == [unit for unit, _ in some.top]
    assert [int(row["last"]) for row in rows] == [unit for unit, _ in some.bottom]
    assert [int(row["place"]) for row in rows] == [1, 2, 3, 4, 5]


def test_what_is_up_to_date_is_left_and_new_scores_are_taken(run: Run) -> None:
    run.updated()
    path = ranking_folder(run.directory.path, run.dense) / "scores.json"
    before = path.stat().st_mtime_ns
    run.updated()
    assert path.stat().st_mtime_ns == before
    changed = next(
        t for t in run.trials if t.score.scorer.name == "random" and t.draw == 0 and not t.score.at_init
    )
    run.write(changed, {"few": np.arange(8)})
    (few, *_) = run.updated().layers
    assert [unit for unit, _ in few.criteria["random"].top] == [7, 6, 5, 4]


def test_damaged_scores_are_told_of_and_left_out(run: Run) -> None:
    damaged = next(t for t in run.trials if t.score.scorer.name == "taylor-weight" and not t.score.at_init)
    file = run.directory.stage(damaged.score.key) / SCORES
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    told: list[str] = []
    update_rankings(run.directory, run.trials, told.append)
    (sentence,) = told
    assert "taylor-weight is left out of the ranking of units" in sentence
    found = stored_ranking(run.directory.path, run.dense)
    assert found is not None
    assert found.criteria == ("magnitude-l1", "random")
    assert found.key == "", "with whole scores it is made anew"


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["layers"][0].update(k=99),
        lambda d: d["layers"][0].update(units=3),
        lambda d: d["layers"][1]["numbers"].pop(),
        lambda d: d["layers"][0]["criteria"]["random"]["top"][0].__setitem__(0, -1),
        lambda d: d["layers"][0]["criteria"]["random"]["top"][0].__setitem__(0, 10**9),
        lambda d: d["layers"][0]["criteria"]["random"]["top"].__setitem__(
            1, d["layers"][0]["criteria"]["random"]["top"][0]
        ),
        lambda d: d["layers"][1].update(numbers=[1] * d["layers"][1]["units"]),
        lambda d: d["layers"][0]["criteria"]["random"]["scores"].__setitem__(0, float("nan")),
        lambda d: d.update(layers="none"),
        lambda d: d["criteria"].pop(),
        lambda d: d["layers"][0]["criteria"].clear(),
    ],
)
def test_a_file_that_does_not_fit_together_is_not_shown(run: Run, edit) -> None:
    run.updated()
    path = ranking_folder(run.directory.path, run.dense) / "scores.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    assert stored_ranking(run.directory.path, run.dense) is None
    assert run.updated().layers, "the next run makes it anew"


def test_a_key_from_outside_is_no_path(run: Run) -> None:
    assert stored_ranking(run.directory.path, "../run") is None


def test_the_units_to_draw_are_those_that_criteria_place_outermost_up_to_a_limit() -> None:
    def layer(number: int, criteria: int) -> LayerRanking:
        def of(shift: int) -> CriterionRanking:
            places = [((unit + 7 * shift) % 100, 0.0) for unit in range(100)]
            return CriterionRanking((0.0,) * 100, tuple(places[:10]), tuple(places[:-11:-1]), 0, 0)

        return LayerRanking(f"l{number}", 100, 10, False, None, {f"c{i}": of(i) for i in range(criteria)})

    few = shown_units(NetworkRanking("", "d", "m", 0, (), (layer(0, 1),)))
    assert few == (("l0", (*range(10), *range(90, 100))),)
    many = shown_units(NetworkRanking("", "d", "m", 0, (), tuple(layer(n, 12) for n in range(50))))
    assert len(many) == MOST_LAYERS
    assert (many[0][0], many[-1][0]) == ("l0", "l49")
    for _, units in many:
        assert len(set(units)) == len(units) == MOST_UNITS
        assert {7 * i for i in range(12)} <= set(units), "the first unit of each criterion"
