"""The first numbers of a run, against sums that are written out here."""

from __future__ import annotations

import json
from typing import Any

from tracked import key, shown, track

from benchsuite.store.record import TrialRecord
from benchsuite.tracking.headline import headline
from benchsuite.tracking.run_list import list_view


def trial(scorer: str, sparsity: Any, seed: int, top1: float, **changes: Any) -> TrialRecord:
    axes = {
        "dataset": "digits",
        "model": "mlp",
        "seed": seed,
        "scorer": scorer,
        "sparsity": sparsity,
        "draw": 0,
    }
    metrics = {"accuracy/top1": top1, "accuracy/top1_dense": 0.9 + seed / 100, "cost/macs": 1.0}
    name = json.dumps([scorer, sparsity, seed, *changes.values()])
    return TrialRecord(key(name), {**axes, **changes}, "done", metrics=metrics)


def found(*records: TrialRecord) -> dict[tuple[str, int], float]:
    return {(p.name, p.step): round(p.value, 6) for p in headline(records).points}


WHERE = "accuracy/mlp on digits"


def test_the_best_mean_over_seeds_counts_at_each_sparsity():
    records = [
        *(trial("a", 0.5, seed, top1) for seed, top1 in ((0, 0.8), (1, 0.6))),
        *(trial("b", 0.5, seed, top1) for seed, top1 in ((0, 0.9), (1, 0.4))),
        *(trial("a", 0.9, seed, 0.1) for seed in (0, 1)),
        *(trial("b", 0.9, seed, 0.2) for seed in (0, 1)),
        *(trial("random", 0.5, seed, 0.3, draw=draw) for seed in (0, 1) for draw in (0, 1)),
        *(trial("shuffled(a)", 0.5, seed, 1.0) for seed in (0, 1)),
    ]
    assert found(*records) == {
        (f"{WHERE}/best criterion", 50): 0.7,
        (f"{WHERE}/best criterion", 90): 0.2,
        (f"{WHERE}/random", 50): 0.3,
        (f"{WHERE}/dense", 50): 0.905,
        (f"{WHERE}/dense", 90): 0.905,
    }
    assert headline(records).params == {"best criterion/mlp on digits": "0.5: a, 0.9: b"}


def test_a_criterion_without_a_result_for_a_seed_does_not_count():
    full = [trial("a", 0.5, seed, 0.5) for seed in (0, 1)]
    assert found(*full, trial("b", 0.5, 0, 0.99))[f"{WHERE}/best criterion", 50] == 0.5


def test_what_has_no_number_is_left_out():
    failed = TrialRecord(key("f"), {"dataset": "digits", "model": "mlp"}, "failed", error="no")
    assert found(failed, trial("a", "native", 0, 0.5)) == {}
    assert found() == {}


def test_the_parent_run_has_the_accuracies_as_curves(tmp_path):
    track(tmp_path, trial("a", 0.3, 0, 0.8), trial("a", 0.5, 0, 0.7), trial("random", 0.5, 0, 0.6))
    view = shown(tmp_path)
    (parent,) = view.parents
    assert view.curve(parent, f"{WHERE}/best criterion") == [(30, 0.8), (50, 0.7)]
    assert sorted(parent.data.metrics)[0].startswith("accuracy/")
    assert parent.data.params == {"best criterion/mlp on digits": "0.3: a, 0.5: a"}


def test_the_list_has_the_axes_that_vary_and_one_speedup():
    one = trial("a", 0.5, 0, 0.5, budget="macs")
    one.metrics.update({f"latency/batch{n}_speedup": 1.0 for n in (1, 128)})
    columns = json.loads(list_view([one, trial("a", 0.5, 0, 0.5, budget="units")]))["selectedColumns"]
    assert [name for name in columns if name.startswith("metrics.")] == [
        "metrics.`accuracy/top1`",
        "metrics.`accuracy/top1_before_recovery`",
        "metrics.`sparsity/macs`",
        "metrics.`cost/macs`",
        "metrics.`latency/batch1_speedup`",
    ]
    assert [name for name in columns if name.startswith("params.")] == [
        "params.`scorer`",
        "params.`sparsity`",
        "params.`budget`",
        "params.`seed`",
    ]
