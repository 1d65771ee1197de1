"""Merging several sources: the first counts, and every disagreement is reported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchsuite.errors import UsageError
from benchsuite.publishing.merge import merge, title
from benchsuite.publishing.results_file import Header, write_published
from benchsuite.store.record import TrialRecord
from benchsuite.store.run_directory import Cell, RunDirectory


def record(
    number: int, top1: float | None = 0.9, *, seed: int | None = None, **metrics: float
) -> TrialRecord:
    axes = {"scorer": "s", "seed": number if seed is None else seed, "sparsity": 0.5}
    found = {} if top1 is None else {"accuracy/top1": top1, "time/score_s": number / 7, **metrics}
    error = None if found else "it broke"
    status = "done" if found else "failed"
    return TrialRecord(f"{number:020x}", axes, status, found, {"host": "there"}, {"floor": 0.1}, {}, error)


def run(path, *records: TrialRecord):
    path.mkdir()
    for one in records:
        RunDirectory(path).append(one)
    return path


def published(path, *records: TrialRecord, cells: int | None = None):
    write_published(path, Header(name="x", suite="", cells=cells or len(records), versions={}), records)
    return path


def test_runs_and_files_become_one_with_everything_as_it_was(tmp_path):
    here = run(tmp_path / "run", record(1), record(2))
    there = published(tmp_path / "there.jsonl.gz", record(3), record(2), cells=4)
    merged = merge([here, there])
    assert merged.records == (record(1), record(2), record(3))
    assert merged.pending == 2
    assert merged.notes == ()


def test_of_different_results_the_first_is_shown_and_it_is_said(tmp_path):
    here = run(tmp_path / "run", record(1), record(2, 0.8))
    there = published(tmp_path / "there.jsonl", record(1, 0.7), record(2, 0.8), record(3))
    merged = merge([here, there])
    assert merged.records == (record(1), record(2, 0.8), record(3))
    (note,) = merged.notes
    assert note == (
        f"{here} and {there} disagree on the trial seed 1 · s · sparsity 0.5 (key 00000000): accuracy/top1. "
        f"Which of them is right is not known; {here} is shown, as it was named first"
    )
    assert merge([there, here]).records[0] == record(1, 0.7)


def test_of_many_disagreements_one_is_named_with_its_values(tmp_path):
    metrics = dict.fromkeys(("cost/a", "cost/b", "cost/c", "cost/d"), 1.0)
    here = run(tmp_path / "run", record(1), record(2))
    there = run(tmp_path / "there", record(1, **metrics), record(2, **metrics))
    (note,) = merge([here, there]).notes
    assert note.startswith(f"{here} and {there} disagree on 2 trials, such as seed 1 · s")
    assert ": cost/a, cost/b, cost/c and 1 more values. Which" in note


def test_a_title_says_what_its_numbers_are_and_has_the_key_however_long_it_is():
    axes = {"dataset": "digits", "model": "mlp", "seed": 0, "scorer": "snip", "sparsity": 0.5, "draw": 1}
    found = TrialRecord("0123456789abcdef0123", {**axes, "recovery_epochs": 2, "scope": "layer"}, "done")
    words = "digits · mlp · seed 0 · snip · sparsity 0.5 · draw 1 · recovery epochs 2"
    assert title(found) == f"{words} (key 01234567)"
    assert title(found, ["scope"]) == f"{words} · scope layer (key 01234567)"
    long = title(replace(found, axes={**axes, "model": "m\n" * 300}))
    assert len(long) == 200
    assert long.endswith("… (key 01234567)")
    assert long.isprintable()


def test_times_and_latencies_are_those_of_a_machine_and_no_conflict(tmp_path):
    slow = replace(record(1), metrics={**record(1).metrics, "time/score_s": 99.0, "latency/batch1_ms": 3.0})
    merged = merge([run(tmp_path / "a", record(1)), run(tmp_path / "b", slow)])
    assert (merged.records, merged.notes) == ((record(1),), ())


def test_another_cost_or_class_accuracy_is_a_conflict(tmp_path):
    first, second = record(1, **{"cost/macs": 5.0}), record(1, **{"cost/macs": 6.0})
    assert len(merge([run(tmp_path / "a", first), run(tmp_path / "b", second)]).notes) == 1


def test_a_cell_computed_with_other_code_does_not_count_twice(tmp_path):
    newer = [record(number + 100, seed=number) for number in (1, 2)]
    merged = merge([run(tmp_path / "a", record(1), record(2)), run(tmp_path / "b", *newer, record(3))])
    assert merged.records == (record(1), record(2), record(3))
    (note,) = merged.notes
    assert "each of 2 trials" in note
    assert "other code, plugins or data" in note


def test_cells_that_one_suite_tells_apart_stay_apart(tmp_path):
    alike = [record(1, seed=0), record(2, seed=0)]
    assert merge([run(tmp_path / "a", *alike)]).records == tuple(alike)


def test_an_outcome_replaces_a_failure_and_it_is_said(tmp_path):
    here, there = run(tmp_path / "a", record(1, None)), run(tmp_path / "b", record(1))
    merged = merge([here, there])
    assert merged.records == (record(1),)
    assert "has an outcome that" in merged.notes[0]
    assert merge([there, here]).records == (record(1),)


def test_unreadable_lines_are_told_and_of_very_many_the_first(tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(record(1).to_json() + "\n" + "nonsense\n" * 15)
    merged = merge([bad])
    assert merged.records == (record(1),)
    assert len(merged.notes) == 11
    assert merged.notes[0].startswith(f"{bad}:2: ")
    assert merged.notes[-1] == "… and 5 more lines that could not be read"


@pytest.mark.parametrize("top1", [55.0, 1.7e308, -0.1])
def test_a_record_with_an_impossible_number_is_left_out_and_that_is_said(tmp_path, top1):
    here = run(tmp_path / "run", record(1), record(2, top1))
    merged = merge([here])
    assert merged.records == (record(1),)
    assert merged.notes == (
        f"{here}: 1 record is left out for a number that cannot be "
        f"(accuracy is no fraction: accuracy/top1 is {top1})",
    )


def test_what_is_no_source_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no run directory and no results file"):
        merge([tmp_path / "absent"])
    with pytest.raises(UsageError, match="not a run directory"):
        merge([tmp_path])


def test_a_cell_that_one_of_two_sources_of_a_suite_has_is_not_pending(tmp_path):
    halves = []
    for number in (1, 2):
        half = RunDirectory(run(tmp_path / str(number), record(number)))
        half.write_plan([Cell(record(n).key, record(n).axes) for n in (1, 2, 3)])
        half.suite_file.write_text("[suite]")
        halves.append(half.path)
    assert [merge([path]).pending for path in halves] == [2, 2]
    assert merge(halves).pending == 1
    assert merge([halves[0], halves[0]]).pending == 2
    header = Header(name="x", suite="[suite]", cells=3, versions={})
    write_published(tmp_path / "third.jsonl", header, [record(3)])
    assert merge([*halves, tmp_path / "third.jsonl"]).pending == 0
    assert merge([halves[0], published(tmp_path / "other.jsonl", record(9), cells=2)]).pending == 3
