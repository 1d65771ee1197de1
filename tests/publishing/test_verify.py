"""Each fault that a results file can have is found, and a fault-free one passes."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchsuite.errors import UsageError
from benchsuite.publishing.repeated import (
    accuracy_tolerance,
    disagreement,
    loss_tolerance,
    unexpected,
)
from benchsuite.publishing.verify import (
    MEASURED,
    PROVENANCE,
    completeness,
    keys,
    matched,
    names_no_files,
    plausibility,
    provenance,
)
from benchsuite.store.record import TrialRecord

AXES = {
    "scorer": "s",
    "seed": 0,
    "sparsity": 0.5,
    "budget": "macs",
    "scope": "protected",
    "granularity": "unit",
}
METRICS = {
    "accuracy/top1": 0.9,
    "accuracy/top1_dense": 0.95,
    "accuracy/top1_before_recovery": 0.5,
    "accuracy/loss": 0.3,
    "cost/params": 600.0,
    "cost/params_dense": 1000.0,
    "cost/params_nonzero": 600.0,
    "cost/macs": 4900.0,
    "cost/macs_dense": 10000.0,
    "cost/macs_nonzero": 4900.0,
    "cost/flops": 9800.0,
    "sparsity/params": 0.4,
    "sparsity/macs": 0.51,
}
SETTINGS = {"pruning": {"floor": 0.1}}


def record(seed: int = 0, **changes: object) -> TrialRecord:
    facts = dict.fromkeys((*PROVENANCE, *MEASURED), "known")
    found = TrialRecord(
        f"{seed:020x}", AXES | {"seed": seed}, "done", METRICS, facts, SETTINGS, {"train": f"t{seed}"}
    )
    return replace(found, **changes)


def kinds(problems) -> list[str]:
    return [problem.kind for problem in problems]


def trial(seed: int, **shared: object):
    key = f"{seed:020x}"
    stages = {"train": f"t{seed}", "trial": key}
    return SimpleNamespace(key=key, axes=AXES | {"seed": seed}, shared=SETTINGS | shared, stages=stages)


def test_a_good_record_has_no_problem():
    records, trials = [record(0), record(1)], [trial(1), trial(0)]
    assert completeness(records, trials) == []
    assert provenance(records) == plausibility(records) == []
    assert [(t.axes["seed"], r.axes["seed"]) for t, r in matched(records, trials)] == [(0, 0), (1, 1)]


def test_missing_foreign_doubled_and_deviating_cells_are_found():
    trials = [trial(0), trial(1), trial(2, new_setting=3)]
    records = [record(0), record(0, key="f" * 20), record(9), record(2, settings={"pruning": {"floor": 0.2}})]
    found = completeness(records, trials)
    assert sorted(kinds(found)) == [
        "cells of the suite have no record",
        "is no cell of the suite, or stands there twice",
        "is no cell of the suite, or stands there twice",
        "settings are not the suite's: pruning.floor",
    ]
    assert "seed 1" in next(p.detail for p in found if "no record" in p.kind)


def test_keys_that_cannot_be_their_records_are_found():
    planned = [trial(0), trial(1)]
    elsewhere = record(0, key="f" * 20)  # other code, plugins or data
    assert keys([record(0), elsewhere], planned) == []
    swapped = [record(0, key=record(1).key), record(1, key=record(0).key)]
    assert kinds(keys(swapped, planned)) == 2 * ["has the key of another cell of the suite"]
    assert kinds(keys([record(0, stages={"train": "t1"})], planned)) == ["has other stages than its key"]
    zeroed = record(0, key="0" * 19 + "9", stages={"train": "t0", "trial": record(0).key})
    assert kinds(keys([zeroed], planned)) == ["has another key than its trial"]


def test_a_record_must_say_where_it_comes_from():
    bare = record(provenance={"benchsuite": "0.1", "torch": ""})
    assert kinds(provenance([bare])) == [f"provenance lacks torch, python, platform, {', '.join(MEASURED)}"]
    facts = dict.fromkeys(PROVENANCE, "known")
    assert provenance([record(status="unsupported", error="why", provenance=facts, metrics={})]) == []
    assert kinds(provenance([record(status="collapsed", provenance=facts)])) == [
        "is collapsed without a reason"
    ]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"accuracy/top1": 1.01}, "accuracy is no fraction"),
        ({"accuracy/class/cat": -0.1}, "accuracy is no fraction"),
        ({"accuracy/loss": -0.1}, "accuracy/loss is negative"),
        ({"sparsity/units": 1.5}, "sparsity is no fraction"),
        ({"latency/batch1_ms": -1.0}, "latency/batch1_ms is negative"),
        ({"cost/params": 1001.0, "sparsity/params": -0.001}, "cost/params is above the dense network's"),
        ({"cost/macs": 4000.0, "cost/flops": 8000.0}, "sparsity/macs does not fit the costs"),
        ({"cost/flops": 4900.0}, "cost/flops is not twice cost/macs"),
        ({"cost/macs": 3900.0, "cost/flops": 7800.0, "sparsity/macs": 0.61}, "far from the one requested"),
    ],
)
def test_numbers_that_cannot_be_are_found(changes, kind):
    found = kinds(plausibility([record(metrics=METRICS | changes)]))
    assert any(kind in each for each in found), found


def test_a_missing_accuracy_and_a_dense_model_of_two_accuracies_are_found():
    lacking = {name: value for name, value in METRICS.items() if name != "accuracy/top1"}
    assert "accuracy/top1 is missing" in kinds(plausibility([record(metrics=lacking)]))
    stages = {"train": "t0"}
    other = record(1, stages=stages, metrics=METRICS | {"accuracy/top1_dense": 0.96})
    assert kinds(plausibility([record(), other])) == ["accuracy/top1_dense differs on one dense model"]
    assert plausibility([record(), replace(other, stages={"train": "t1"})]) == []


def test_masked_networks_are_judged_by_what_is_not_zero():
    metrics = METRICS | {"cost/params": 1000.0, "cost/macs": 10000.0, "cost/flops": 20000.0}
    assert plausibility([record(axes=AXES | {"granularity": "weight"}, metrics=metrics)]) == []
    assert plausibility([record(metrics=metrics)]) != []


def test_the_tolerance_is_two_standard_errors_of_a_share():
    drawn = random.Random(0)
    shares = [sum(drawn.random() < 0.9 for _ in range(400)) / 400 for _ in range(4000)]
    mean = sum(shares) / len(shares)
    deviation = math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
    assert accuracy_tolerance(0.9, 0.9, 400) == pytest.approx(2 * deviation, rel=0.05)
    assert accuracy_tolerance(1.0, 1.0, 400) > 1 / 400


def test_the_tolerance_of_a_loss_is_two_standard_errors_of_a_mean_over_wrong_samples():
    drawn = random.Random(0)
    losses = [sum(2.5 * (drawn.random() < 0.1) for _ in range(400)) / 400 for _ in range(4000)]
    mean = sum(losses) / len(losses)
    deviation = math.sqrt(sum((loss - mean) ** 2 for loss in losses) / len(losses))
    assert loss_tolerance(0.25, 0.9, 400) == pytest.approx(2 * deviation, rel=0.05)
    assert loss_tolerance(0.25, 0.9, 10_000) == pytest.approx(0.06 * 0.25)
    assert loss_tolerance(0.25, 0.9, 360) == pytest.approx(0.316 * 0.25, rel=0.01)
    for top1 in (0.0, 1.0):
        assert 0 < loss_tolerance(1.0, top1, 400) < math.inf


def test_losses_of_a_trial_run_again_must_agree():
    claimed = record()
    for loss, expected in ((0.3, []), (0.45, []), (0.47, ["accuracy/loss differs"])):
        again = record(metrics=METRICS | {"accuracy/loss": loss})
        assert kinds(disagreement(claimed, again, 200)) == expected, loss
    infinite = {name: value for name, value in METRICS.items() if name != "accuracy/loss"}
    assert kinds(disagreement(claimed, record(metrics=infinite), 200)) == ["accuracy/loss differs"]
    assert kinds(disagreement(record(metrics=infinite), claimed, 200)) == ["accuracy/loss differs"]
    assert disagreement(record(metrics=infinite), record(metrics=infinite), 200) == []


def test_each_value_that_differs_on_the_same_machine_is_named():
    claimed = record(metrics=METRICS | {"accuracy/loss": 0.27, "time/score_s": 3.0})
    (found,) = unexpected([(claimed, record())])
    assert found.kind == "accuracy/loss is not the same"
    assert "seed 0" in found.detail
    assert found.detail.endswith(": 0.27, here 0.3")
    assert unexpected([(record(), record())]) == []
    lacking = {name: value for name, value in METRICS.items() if name != "cost/flops"}
    (gone,) = unexpected([(record(metrics=lacking), record())])
    assert gone.detail.endswith(": none, here 9800.0")


def test_elsewhere_it_is_named_where_another_trial_comes_out_exactly():
    claimed = record(metrics=METRICS | {"accuracy/loss": 0.27})
    exact = record(1)
    failed = record(2, status="collapsed", metrics={}, error="why")
    facts = claimed.provenance
    machines = [record(provenance=facts | {name: "other"}) for name in ("device", "torch", "threads")]
    for again in (record(key="f" * 20), *machines):
        assert unexpected([(claimed, again), (failed, failed)]) == []
        assert kinds(unexpected([(claimed, again), (exact, exact)])) == ["accuracy/loss is not the same"]


def test_a_trial_run_again_must_agree():
    claimed = record()
    assert disagreement(claimed, record(), 400) == []
    near = record(metrics=METRICS | {"accuracy/top1": 0.925})
    far = record(metrics=METRICS | {"accuracy/top1": 0.94})
    assert disagreement(claimed, near, 400) == []
    assert kinds(disagreement(claimed, far, 400)) == ["accuracy/top1 differs"]
    assert kinds(disagreement(claimed, record(status="collapsed"), 400)) == ["ends otherwise"]
    moved = record(provenance=claimed.provenance | {"data_digest": "other"})
    assert kinds(disagreement(claimed, moved, 400)) == ["was made with other data"]


def test_all_accuracies_of_guesses_must_agree():
    for name in ("accuracy/top1_before_recovery", "accuracy/top1_recalibrated", "accuracy/top5"):
        ours, theirs = record(metrics=METRICS | {name: 0.5}), record(metrics=METRICS | {name: 0.7})
        assert kinds(disagreement(theirs, ours, 400)) == [f"{name} differs"]
        absent = record(metrics={n: v for n, v in METRICS.items() if n != name})
        assert kinds(disagreement(ours, absent, 400)) == [f"{name} differs"]


def test_recalls_must_agree_where_the_numbers_should_be_the_same():
    facts = record().provenance | {"test_samples": {"cat": 100, "dog": 100, "cow": 0}}
    recalls = {"accuracy/class/cat": 0.9, "accuracy/class/dog": 0.2}
    ours = record(metrics=METRICS | recalls, provenance=facts)
    assert disagreement(ours, ours, 400) == []
    swapped = METRICS | {"accuracy/class/cat": 0.2, "accuracy/class/dog": 0.9}
    theirs = record(metrics=swapped, provenance=facts)
    assert kinds(disagreement(theirs, ours, 400)) == 2 * ["recalls differ"]
    close = record(metrics=METRICS | recalls | {"accuracy/class/cat": 0.85}, provenance=facts)
    assert disagreement(close, ours, 400) == []
    without = record(metrics=METRICS, provenance=facts)
    assert kinds(disagreement(without, ours, 400)) == 2 * ["recalls differ"]
    elsewhere = record(metrics=swapped, provenance=facts | {"device": "other"})
    assert disagreement(elsewhere, ours, 400) == []


def test_costs_are_exact_unless_another_machine_s_dense_model_chose_the_units():
    claimed = record()
    metrics = METRICS | {"cost/macs": 4950.0, "cost/macs_nonzero": 4950.0}
    again = record(metrics=metrics)
    assert kinds(disagreement(claimed, again, 400)) == ["cost/macs differs", "cost/macs_nonzero differs"]
    elsewhere = record(metrics=metrics, provenance=claimed.provenance | {"device": "another"})
    assert disagreement(claimed, elsewhere, 400) == []
    by_layer = AXES | {"scope": "layer"}
    assert disagreement(replace(claimed, axes=by_layer), replace(elsewhere, axes=by_layer), 400) != []


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "~/x", "../x", "a/../../b", "C:\\x", "..\\x", "\\\\host\\x", "a\0"]
)
def test_a_suite_of_a_stranger_names_no_file_of_this_machine(text):
    with pytest.raises(UsageError, match="names a file on its author's machine"):
        names_no_files({"workload": [{"dataset": {"name": "npz", "file": text}}]})


def test_names_with_slashes_are_no_such_files():
    names_no_files({"suite": {"name": "a", "description": "~2 points"}, "reference": [{"note": "/s less"}]})
    names_no_files({"workload": [{"models": ["timm/resnet18", "a..b"], "dataset": "cifar10"}], "seeds": [1]})
