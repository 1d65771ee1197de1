"""Plausibility: silent on what was measured, and every number that can be caught is caught.

`honest.jsonl.gz` is a results file as `benchsuite submit` made it; its header has its suite.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchsuite.metrics import latency
from benchsuite.metrics.median_interval import median_interval
from benchsuite.publishing.plausibility import times
from benchsuite.publishing.plausibility.accuracies import accuracies
from benchsuite.publishing.plausibility.ranges import ranges
from benchsuite.publishing.results_file import read_published
from benchsuite.publishing.verify import plausibility
from benchsuite.store.record import TrialRecord

HONEST = read_published(Path(__file__).with_name("honest.jsonl.gz")).records
DOCUMENTED = (Path(__file__).parents[2] / "docs/publishing.md").read_text()
NAMES = sorted({name for record in HONEST for name in record.metrics})
FREE = re.compile(
    r"accuracy/(loss|top1_before_recovery|top1_recalibrated)|memory/.*|time/.*|surgery/.*|selection/ties"
    r"|interpretability/(null_.*|median_images_with|mean_best_iou|iou_correlation|same_concept|still_interpretable)"
    r"|sparsity/units"
    r"|cost/(params|macs)_nonzero"
)
"""What a plausible other value of is not caught in the honest file; the documentation says so too."""
EXACT = [name for name in NAMES if not FREE.fullmatch(name)]
"""Of these any other value is caught, as several trials share them or others follow from them."""


SETTINGS = settings(deadline=None, derandomize="BENCHSUITE_FUZZ" not in os.environ)


def forged(record: TrialRecord, name: str, value: float) -> TrialRecord:
    return replace(record, metrics=record.metrics | {name: value})


def caught(place: int, name: str, value: float) -> bool:
    records = list(HONEST)
    records[place] = forged(records[place], name, value)
    return plausibility(records) != []


def test_what_was_measured_is_plausible() -> None:
    assert len(HONEST) == 12
    assert plausibility(HONEST) == []
    for record in HONEST:
        assert plausibility([record]) == []
        # Files from before test samples were counted.
        facts = {n: v for n, v in record.provenance.items() if n != "test_samples"}
        assert plausibility([replace(record, provenance=facts)]) == []


CHANGES = st.one_of(
    st.floats(-1e12, 1e12).map(lambda new: lambda old: new),
    st.floats(0.5, 2).map(lambda factor: lambda old: old * factor),
    st.floats(-0.1, 0.1).map(lambda more: lambda old: old + more),
    st.integers(-3, 3).map(lambda more: lambda old: old + more),
    st.sampled_from(
        [lambda old: -old, lambda old: 1 - old, lambda old: 0.0, lambda old: 1.0, lambda old: 1e308]
    ),
    st.sampled_from(NAMES).flatmap(
        lambda name: st.sampled_from([r.metrics[name] for r in HONEST if name in r.metrics]).map(
            lambda other: lambda old: other
        )
    ),
)


@SETTINGS
@given(st.integers(0, len(HONEST) - 1), st.sampled_from(EXACT), CHANGES)
def test_any_other_number_is_caught(place: int, name: str, change) -> None:
    old = HONEST[place].metrics.get(name)
    assume(old is not None)
    new = float(change(old))
    assume(abs(new - old) > 1e-6 * max(1.0, abs(old)))
    assert caught(place, name, new), f"{name} was {old} and is {new}"


@SETTINGS
@given(st.integers(0, len(HONEST) - 1), st.sampled_from(NAMES), st.floats(1e13, 1e300), st.booleans())
def test_a_number_beyond_all_measure_is_caught(place: int, name: str, value: float, negative: bool) -> None:
    assume(name in HONEST[place].metrics)
    open_above = re.compile(r"time/(train|score|trial)_s|memory/.*|surgery/.*|accuracy/loss|.*(images_with)")
    assume(negative or not open_above.fullmatch(name))
    assert caught(place, name, -value if negative else value), name


def other_values(record: TrialRecord, name: str) -> list[float]:
    """Those next to a number that a forger would think of: of the same kind."""
    value, samples = record.metrics[name], sum(record.provenance["test_samples"].values())
    if name.startswith("accuracy/top"):
        return [value + step / samples for step in (-1, 1) if 0 <= value + step / samples <= 1]
    if name == "interpretability/still_interpretable":
        return [value + step / record.metrics["interpretability/detectors_dense"] for step in (-1, 1)]
    if name.endswith("_wide"):
        return [1 - value]
    if value == int(value) and not name.startswith(("accuracy/", "sparsity/", "interpretability/null")):
        return [value + 1, max(0.0, value - 1)] if value else [1.0]
    return [value * 1.01, value * 0.99] if value else [0.01]


def missed(together: bool) -> set[str]:
    """The metrics of which some other value is caught in no way."""
    found = set()
    # One record of each scorer and granularity.
    for record in {(r.axes["granularity"], r.axes["scorer"]): r for r in HONEST}.values():
        for name in record.metrics:
            values = other_values(record, name)
            rest = [each for each in HONEST if each is not record]
            changed = [forged(record, name, value) for value in values]
            found |= {name for each in changed if not plausibility([each, *rest] if together else [each])}
    return found


def documented(heading: str) -> list[str]:
    """The names in code of the paragraph that begins with these words, `<n>` and `…` as patterns."""
    paragraph = re.search(rf"{re.escape(heading)}(.*?)\n\n", DOCUMENTED, re.DOTALL)
    assert paragraph is not None, heading
    names = re.findall(r"`([a-z_]+/[^`]+)`", paragraph[1])
    return [
        re.escape(n).replace("<n>", r"\d+").replace("…", ".*").replace("<category>", "[^/]+") for n in names
    ]


@pytest.mark.parametrize(
    ("together", "heading"),
    [
        (True, "None of these catches a plausible other value of"),
        (False, "Where no other trial of the file shares them"),
    ],
)
def test_what_no_check_catches_is_documented(together: bool, heading: str) -> None:
    patterns = documented(heading) + (
        [] if together else documented("None of these catches a plausible other value of")
    )
    names = missed(together)
    assert not together or all(FREE.fullmatch(name) for name in names)
    undocumented = {name for name in names if not any(re.fullmatch(p, name) for p in patterns)}
    assert undocumented == set()
    unfounded = [p for p in documented(heading) if not any(re.fullmatch(p, name) for name in names)]
    assert unfounded == ([] if together else ["energy/.*"])  # a CPU counts no energy


# Accuracies and losses, against confusion matrices and outputs.


@st.composite
def confusions(draw: st.DrawFn) -> np.ndarray:
    classes = draw(st.integers(1, 6))
    cells = draw(st.lists(st.integers(0, 40), min_size=classes**2, max_size=classes**2))
    assume(sum(cells))
    return np.array(cells).reshape(classes, classes)


def evaluated(confusion: np.ndarray) -> TrialRecord:
    """A record as `evaluation_metrics` makes it."""
    names = [f"class {n}" for n in range(len(confusion))]
    counts = {name: int(n) for name, n in zip(names, confusion.sum(1), strict=True)}
    recalls = {
        f"accuracy/class/{name}": confusion[n, n] / counts[name]
        for n, name in enumerate(names)
        if counts[name]
    }
    metrics = {"accuracy/top1": confusion.trace() / confusion.sum(), **recalls}
    return TrialRecord("a" * 20, {}, "done", metrics, {"test_samples": counts})


@SETTINGS
@given(confusions(), st.booleans())
def test_accuracies_of_any_confusion_are_plausible(confusion: np.ndarray, told: bool) -> None:
    record = evaluated(confusion)
    if not told:
        record = replace(record, provenance={})
    assert list(accuracies(record, record.metrics)) == []


@SETTINGS
@given(confusions(), st.data())
def test_one_sample_more_or_less_in_one_recall_is_caught(confusion: np.ndarray, data: st.DataObject) -> None:
    record = evaluated(confusion)
    name = data.draw(st.sampled_from([n for n in record.metrics if n.startswith("accuracy/class/")]))
    samples = record.provenance["test_samples"][name.removeprefix("accuracy/class/")]
    value = record.metrics[name] + data.draw(st.sampled_from([-1, 1])) / samples
    changed = forged(record, name, value)
    assert list(accuracies(changed, changed.metrics)) != []


@SETTINGS
@given(st.integers(2, 9), st.integers(1, 60), st.floats(0.01, 30), st.integers(0, 2**32 - 1))
def test_losses_of_any_outputs_are_plausible(classes: int, samples: int, scale: float, seed: int) -> None:
    chance = np.random.default_rng(seed)
    outputs = (chance.normal(size=(samples, classes)) * scale).astype(np.float32)
    labels = np.where(chance.random(samples) < 0.5, outputs.argmax(1), chance.integers(classes, size=samples))
    logs = outputs.astype(float) - np.logaddexp.reduce(outputs.astype(float), axis=1, keepdims=True)
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (labels, outputs.argmax(1)), 1)
    record = evaluated(confusion)
    loss = float(-logs[np.arange(samples), labels].mean())
    record = forged(record, "accuracy/loss", loss)
    assert list(accuracies(record, record.metrics)) == []
    wrong = 1 - record.metrics["accuracy/top1"]
    if wrong:
        record = forged(record, "accuracy/loss", 0.99 * wrong * math.log(2))
        (oddity,) = accuracies(record, record.metrics)
        assert oddity.kind == "accuracy/loss is less than the wrong samples cost"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"accuracy/top5": 0.5}, "accuracy/top5 is below top1"),
        ({"accuracy/top5_dense": 0.5, "accuracy/top1_dense": 0.75}, "accuracy/top5_dense is below top1"),
        ({"accuracy/top10": 0.8, "accuracy/top5": 0.9}, "accuracy/top10 is below top5"),
        ({"accuracy/loss": 0.1}, "accuracy/loss is less than the wrong samples cost"),
        ({"accuracy/top1": 0.9}, "accuracy/top1 is no mean of the recalls"),
    ],
)
def test_accuracies_that_cannot_be_beside_each_other_are_caught(changes, kind) -> None:
    metrics = {"accuracy/top1": 0.75, "accuracy/class/a": 0.7, "accuracy/class/b": 0.8, **changes}
    record = TrialRecord("a" * 20, {}, "done", metrics)
    assert kind in [oddity.kind for oddity in accuracies(record, metrics)]


def test_a_wrong_sample_may_cost_as_little_as_the_logarithm_of_two() -> None:
    # Half are wrong by a hair, with half of the probability; the others are right beyond doubt.
    record = evaluated(np.array([[4, 4], [0, 0]]))
    for loss, odd in ((0.5 * math.log(2), False), (0.499 * math.log(2), True)):
        record = forged(record, "accuracy/loss", loss)
        assert bool(list(accuracies(record, record.metrics))) == odd


def test_two_recalls_whose_changes_cancel_out_are_still_no_shares_of_samples() -> None:
    record = evaluated(np.array([[5, 5], [3, 7]]))
    changed = {"accuracy/class/class 0": 0.55, "accuracy/class/class 1": 0.65}
    record = replace(record, metrics=record.metrics | changed)
    assert {oddity.kind for oddity in accuracies(record, record.metrics)} == {
        "a recall is no share of its class's samples"
    }


def test_all_right_cannot_cost_more_than_an_even_choice() -> None:
    record = evaluated(np.diag([3, 4]))
    for loss, odd in ((math.log(2), False), (math.log(2) + 0.01, True)):
        record = forged(record, "accuracy/loss", loss)
        assert bool(list(accuracies(record, record.metrics))) == odd


@pytest.mark.parametrize(
    "told", [3, [], {}, {"a": -1}, {"a": 1.5}, {"a": True}, {"a": 0}, {"a": 10**400}, "x"]
)
def test_counts_that_are_none_are_told(told) -> None:
    metrics = {"accuracy/top1": 0.5, "accuracy/class/a": 0.5}
    record = TrialRecord("a" * 20, {}, "done", metrics, {"test_samples": told})
    (oddity,) = accuracies(record, metrics)
    assert oddity.kind == "provenance.test_samples are no counts"


def test_without_recovery_nothing_changes() -> None:
    metrics = {"accuracy/top1": 0.5, "accuracy/top1_before_recovery": 0.25}
    for axes, odd in (
        ({"recovery_epochs": 0, "schedule": "one-shot"}, True),
        ({"recovery_epochs": 0, "schedule": "rewind"}, False),
        ({"recovery_epochs": 0.5, "schedule": "one-shot"}, False),
    ):
        record = TrialRecord("a" * 20, axes, "done", metrics)
        assert bool(list(accuracies(record, metrics))) == odd


# Latencies and energies.


def timed(dense: list[float], pruned: list[float]) -> dict[str, float]:
    """The metrics of rounds in which both networks were timed, in ten blocks of pairs."""
    pairs = [
        math.sqrt(dense[n] * dense[n + 1]) / math.sqrt(pruned[n] * pruned[n + 1])
        for n in range(0, len(dense), 2)
    ]
    size = len(pairs) // 10
    ratio = median_interval([statistics.median(pairs[n : n + size]) for n in range(0, len(pairs), size)])
    lower, median, upper = statistics.quantiles(pruned, n=4, method="inclusive")
    return {
        "latency/batch1_ms": median,
        "latency/batch1_lower_ms": lower,
        "latency/batch1_upper_ms": upper,
        "latency/batch1_dense_ms": statistics.median(dense),
        "latency/batch1_speedup": ratio.median,
        "latency/batch1_speedup_low": ratio.low,
        "latency/batch1_speedup_high": ratio.high,
        "latency/batch1_speedup_wide": float(ratio.width > latency.WIDEST),
    }


def test_latencies_of_a_machine_that_changes_between_speeds_are_plausible() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        slow, noise, ratio = chance.uniform(1, 3), chance.uniform(0, 0.3), chance.uniform(0.5, 4)
        share = chance.random()
        speeds = [slow if chance.random() < share else 1.0 for _ in range(200) for _ in range(2)]
        dense = [speed * chance.lognormvariate(0, noise) for speed in speeds]
        pruned = [speed / ratio * chance.lognormvariate(0, noise) for speed in speeds]
        assert list(times.times(timed(dense, pruned))) == [], seed


@pytest.mark.parametrize(("dense", "odd"), [(1.55, True), (1.65, False), (2.8, False), (2.9, True)])
def test_the_dense_median_may_be_off_by_a_quarter(dense: float, odd: bool) -> None:
    # The speedup's interval times the pruned quartiles: from 2.0 to 2.255.
    metrics = timed([2.0] * 40, [1.0] * 40) | {
        "latency/batch1_upper_ms": 1.1,
        "latency/batch1_speedup_high": 2.05,
        "latency/batch1_dense_ms": dense,
    }
    assert bool(list(times.times(metrics))) == odd
    assert list(times.times(metrics | {"latency/batch1_speedup_wide": 1.0})) == []


def test_what_a_settled_speedup_is_the_measurement_says() -> None:
    assert times.WIDEST == latency.WIDEST


SETTLED = {f"latency/batch{n}_speedup_wide": 0.0 for n in (1, 8)}
BATCHES = {"latency/batch1_ms": 1.0, "latency/batch8_ms": 5.0, "latency/batch8_dense_ms": 10.0} | SETTLED


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"latency/batch8_ms": 0.4}, "two batch sizes"),
        ({"latency/batch8_ms": 81.0}, "two batch sizes"),
        ({"energy/batch8_mj": 0.00005}, "energy/batch8_mj does not fit the latency"),
        ({"energy/batch8_dense_mj": 13_000.0}, "energy/batch8_dense_mj does not fit the latency"),
        (
            {"time/trial_s": 1.0, "time/prune_s": 0.6, "time/recover_s": 0.5},
            "time/trial_s is less than its parts",
        ),
    ],
)
def test_times_and_energies_that_cannot_be_beside_each_other_are_caught(changes, kind) -> None:
    assert list(times.times(BATCHES)) == []
    (oddity,) = times.times(BATCHES | changes)
    assert kind in oddity.kind


def test_what_other_programs_held_up_is_not_judged() -> None:
    # As measured with two threads on two cores that other programs used.
    metrics = BATCHES | {"latency/batch8_ms": 72.4, "energy/batch8_dense_mj": 13_000.0}
    assert len(list(times.times(metrics | {"latency/batch8_ms": 81.0}))) == 2
    assert list(times.times(metrics | {"latency/batch8_speedup_wide": 1.0, "latency/batch8_ms": 810.0})) == []


def test_batches_are_compared_with_equal_threads_and_kernels_only() -> None:
    metrics = {
        "latency/batch8_ms": 9.0,
        "latency/batch16_threads4_ms": 1.0,
        "latency/sparse_half/batch16_ms": 1.0,
    }
    settled = {re.sub("_ms$", "_speedup_wide", name): 0.0 for name in metrics}
    assert list(times.times(metrics | settled)) == []


def test_energies_of_a_gpu_are_plausible() -> None:
    # 300 W for 2 ms, 32 samples a batch.
    metrics = {
        "latency/batch32_speedup_wide": 0.0,
        "latency/batch32_ms": 2.0,
        "energy/batch32_mj": 300 * 2 / 32,
        "energy/batch32_dense_mj": 25.0,
    }
    assert list(times.times(metrics)) == []


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("energy/batch1_mj", -1.0, "is negative"),
        ("memory/score_peak_mb", -1.0, "is negative"),
        ("time/score_s", -0.1, "is negative"),
        ("surgery/max_difference", -1e-9, "is negative"),
        ("latency/batch1_ms", 0.0, "is zero"),
        ("latency/batch1_speedup_wide", 0.5, "is neither 0 nor 1"),
        ("latency/threads", 2.0, "is not 1"),
        ("scoring/ties", 1.5, "is no whole number"),
        ("interpretability/color/detectors", 0.1, "is no whole number"),
        ("scoring/stability", 1.1, "is not between -1 and 1"),
        ("interpretability/iou_correlation", -1.1, "is not between -1 and 1"),
        ("interpretability/null_detectors_share", 1.1, "is no fraction"),
    ],
)
def test_each_number_has_its_range(name, value, kind) -> None:
    (oddity,) = ranges({name: value})
    assert kind in oddity.kind


def test_metrics_of_others_are_not_judged() -> None:
    assert list(ranges({"calibration/ece": -3.5, "interpretability/theirs": -1.0})) == []


# Numbers that trials share.


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("accuracy/top1_dense", "one dense model"),
        ("interpretability/mean_best_iou_dense", "one dense model"),
        ("scoring/ties", "one scoring"),
        ("cost/activation_peak_bytes", "one architecture"),
        ("sparsity/units", "one architecture"),
        ("latency/batch1_ms", "one architecture"),
    ],
)
def test_numbers_that_were_computed_once_are_the_same_everywhere(name, what) -> None:
    place = next(n for n, r in enumerate(HONEST) if r.axes["granularity"] == "unit")
    value = HONEST[place].metrics[name]
    records = [*HONEST[:place], forged(HONEST[place], name, value * 1.001 + 1e-4), *HONEST[place + 1 :]]
    assert f"{name} differs on {what}" in [problem.kind for problem in plausibility(records)]


def test_latencies_of_other_conditions_may_differ() -> None:
    changed = forged(
        HONEST[0], "latency/batch1_speedup_high", HONEST[0].metrics["latency/batch1_speedup_high"] * 1.001
    )
    assert plausibility([changed, *HONEST[1:]]) != []
    conditions = changed.provenance["latency"] | {"host": "another"}
    changed = replace(changed, provenance=changed.provenance | {"latency": conditions})
    assert plausibility([changed, *HONEST[1:]]) == []


def test_counts_of_other_samples_on_the_same_data_are_caught() -> None:
    (name, count), *_ = HONEST[0].provenance["test_samples"].items()
    counts = HONEST[0].provenance["test_samples"] | {name: count + 1}
    changed = replace(HONEST[0], provenance=HONEST[0].provenance | {"test_samples": counts})
    assert "provenance.test_samples differ on the same data" in [
        problem.kind for problem in plausibility([changed, *HONEST[1:]])
    ]


def test_no_record_whatever_it_holds_is_more_than_implausible() -> None:
    values = [
        None,
        True,
        0,
        -1,
        2.5,
        1e308,
        -1e308,
        10**300,
        "",
        "x",
        "\x1b",
        [],
        {},
        [[]],
        {"a": 1},
        [{"units": "x"}],
    ]
    judged = 0
    for seed in range(int(os.environ.get("BENCHSUITE_FUZZ", "150"))):
        chance = random.Random(seed)
        records = []
        for record in HONEST:
            plain = json.loads(record.to_json())
            for _ in range(chance.randint(0, 3)):
                part = plain[chance.choice(["metrics", "provenance", "stages", "axes", "settings"])]
                if part:
                    part[chance.choice(sorted(part))] = chance.choice(values)
            try:
                records.append(TrialRecord.from_json(json.dumps(plain)))
            except ValueError:
                continue
        assert all(problem.kind and problem.detail for problem in plausibility(records))
        judged += len(records)
    assert judged > 300
