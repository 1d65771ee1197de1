from __future__ import annotations

import pytest
from tracked import record

from benchsuite.store.record import TrialRecord
from benchsuite.tracking.model_choice import chosen_models


def trial(scorer: str, sparsity: float, seed: int, top1: float, macs: float, **axes: object) -> TrialRecord:
    named = {"dataset": "d", "model": "m", "seed": seed, "scorer": scorer, "sparsity": sparsity, "draw": 0}
    metrics = {
        "accuracy/top1": top1,
        "accuracy/top1_dense": 0.9,
        "cost/macs": macs,
        "cost/params_nonzero": 1.0,
    }
    key = "-".join(str(part) for part in (*named.values(), *axes.values()))
    stages = {"train": f"train {axes.get('model', 'm')} {seed}", "trial": key}
    return TrialRecord(key, {**named, **axes}, "done", metrics=metrics, stages=stages)


def both(
    scorer: str, sparsity: float, top1: tuple[float, float], macs: float, **axes: object
) -> list[TrialRecord]:
    return [trial(scorer, sparsity, seed, top1[seed], macs, **axes) for seed in (1, 0)]


def pruned(records: list[TrialRecord]) -> list[str]:
    return [choice.key for choice in chosen_models(records) if choice.kind == "pruned"]


def test_the_smallest_network_within_a_point_in_the_mean_is_chosen_and_its_first_seed_taken():
    records = [
        *both("a", 0.3, (0.90, 0.90), 70),
        *both("a", 0.5, (0.88, 0.905), 50),  # 0.75 points below in the mean, 2 with the first seed
        *both("a", 0.7, (0.90, 0.87), 30),  # 1.5 points below in the mean, none with the first seed
    ]
    dense, best = chosen_models(records)
    assert (dense.kind, dense.key, dense.name) == ("dense", "train m 0", "m on d, dense")
    assert (best.key, best.name) == ("d-m-0-a-0.5-0", "m on d, best pruned")
    assert "fewest MACs" in best.reason
    assert "a at sparsity 0.5, 89.25% against 90.00%" in best.reason
    assert "in the mean over 2 seeds" in best.reason
    assert "chosen by test accuracy" in best.reason


def test_where_none_is_within_a_point_the_most_accurate_is_chosen_and_said_so():
    records = [*both("a", 0.3, (0.80, 0.80), 70), *both("b", 0.5, (0.85, 0.85), 50)]
    _, best = chosen_models(records)
    assert best.key == "d-m-0-b-0.5-0"
    assert "none stays within 1 percentage point" in best.reason


@pytest.mark.parametrize("control", ["random", "reversed(a)", "shuffled(a)", "scratch(a)", "random(x=1)"])
def test_controls_do_not_compete(control):
    assert pruned([*both(control, 0.9, (0.9, 0.9), 1), *both("a", 0.3, (0.8, 0.8), 70)]) == ["d-m-0-a-0.3-0"]
    assert [choice.kind for choice in chosen_models(both(control, 0.9, (0.9, 0.9), 1))] == ["dense"]


def test_a_criterion_without_a_result_for_some_seed_does_not_compete():
    lucky = trial("b", 0.9, 0, 0.9, 1)
    assert pruned([lucky, *both("a", 0.3, (0.8, 0.8), 70)]) == ["d-m-0-a-0.3-0"]


def test_schedules_and_parameters_are_told_apart_and_draws_are_not():
    records = [
        *both("a", 0.5, (0.9, 0.9), 50, schedule="one-shot"),
        *both("a", 0.5, (0.7, 0.7), 40, schedule="iterative"),
        *both("a", 0.5, (0.9, 0.9), 45, schedule="rewind", draw=0),
        *both("a", 0.5, (0.5, 0.5), 45, schedule="rewind", draw=1),
    ]
    assert pruned(records) == ["d-m-0-a-0.5-0-one-shot"]


def test_every_data_set_and_model_has_its_two():
    records = both("a", 0.3, (0.9, 0.9), 70) + both("a", 0.3, (0.9, 0.9), 70, model="timm/n:1")
    assert [choice.name for choice in chosen_models(records)] == [
        "m on d, dense",
        "m on d, best pruned",
        "timm-n-1 on d, dense",
        "timm-n-1 on d, best pruned",
    ]


def test_what_is_not_done_or_says_too_little_is_left_out():
    assert chosen_models([record(), record("b", "failed"), TrialRecord("c", {}, "killed")]) == []
