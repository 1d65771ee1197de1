"""The run directory: append-only, one writer, torn lines dropped, nothing lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from benchsuite.errors import UsageError
from benchsuite.store.files import StorageError, append_durably
from benchsuite.store.record import TrialRecord, read_records
from benchsuite.store.run_directory import Cell, RunDirectory


def key(letter: str) -> str:
    return letter * 20


def record(letter="a", status="done", **metrics):
    return TrialRecord(key(letter), {"scorer": "s", "sparsity": 0.5}, status, metrics=metrics)


def test_a_record_survives_the_round_trip():
    written = TrialRecord(
        key("1"), {"scorer": "ä<b>"}, "failed", {"accuracy/top1": 0.5}, {"torch": "2"}, {}, {}, "line\nbreak"
    )
    line = written.to_json()
    assert "\n" not in line
    assert TrialRecord.from_json(line) == written


def test_the_rounds_of_a_trial_survive_the_round_trip_and_others_have_none():
    points = ({"accuracy/top1": 0.75, "cost/params": 3.0}, {"accuracy/top1": 0.5})
    written = TrialRecord(key("1"), {"scorer": "s"}, "done", dict(points[-1]), rounds=points)
    assert TrialRecord.from_json(written.to_json()) == written
    without = TrialRecord(key("1"), {"scorer": "s"}, "done", dict(points[-1]))
    assert "rounds" not in json.loads(without.to_json())
    assert TrialRecord.from_json(without.to_json()) == without


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ({"1": {}}, "rounds has the wrong type"),
        (None, "rounds has the wrong type"),
        ([{}, 3], "round 2 of rounds is no table of metrics"),
        ([{"accuracy/top1": "0.5"}], "accuracy/top1 of round 1 are not numbers"),
        ([{"accuracy/top1": True}], "accuracy/top1 of round 1 are not numbers"),
        ([{"accuracy/top1": 10**400}], "accuracy/top1 of round 1 are not numbers"),
    ],
)
def test_rounds_that_are_none_are_refused(rounds, said):
    line = json.dumps(json.loads(record().to_json()) | {"rounds": rounds})
    with pytest.raises(ValueError, match=said):
        TrialRecord.from_json(line)


def test_half_a_surrogate_pair_becomes_text_that_can_be_written():
    line = record().to_json().replace('"s"', r'"\ud800 \ud83d\ude00"')
    assert TrialRecord.from_json(line).axes["scorer"] == "\ufffd \N{GRINNING FACE}"


def test_the_last_line_of_a_key_wins(tmp_path):
    run = RunDirectory(tmp_path)
    run.append(record(one=1.0))
    run.append(record("b"))
    run.append(record(one=2.0))
    records, problems = run.records()
    assert records[key("a")].metrics == {"one": 2.0}
    assert list(records) == [key("a"), key("b")]
    assert problems == []


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "device", "empty"])
def test_whatever_stands_in_place_of_the_plan_is_no_plan_and_not_its_absence(kind, tmp_path):
    """Without the plan, records of earlier forms of the suite would count as its own."""
    run = RunDirectory(tmp_path)
    run.append(record())
    run.append(record("b"))
    run.write_plan([Cell(key("b"), {})])
    assert [each.key for each in run.results().records] == [key("b")]
    run.plan_file.unlink()
    make = {
        "folder": run.plan_file.mkdir,
        "pipe": lambda: os.mkfifo(run.plan_file),
        "link": lambda: run.plan_file.symlink_to(tmp_path / "gone"),
        "device": lambda: run.plan_file.symlink_to("/dev/zero"),
        "empty": run.plan_file.touch,
    }
    make[kind]()
    with pytest.raises(UsageError, match=r"plan\.json is damaged \(.+\); run the suite again to rewrite it"):
        run.results()


def test_a_torn_last_line_is_dropped_and_the_next_append_is_whole(tmp_path):
    run = RunDirectory(tmp_path)
    run.append(record())
    with run.results_file.open("a") as handle:
        handle.write(record("b").to_json()[:30])
    assert list(run.records()[0]) == [key("a")]
    with run.locked():
        run.append(record("c"))
    records, problems = run.records()
    assert list(records) == [key("a"), key("c")]
    assert problems == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "Expecting value"),
        ("[]", "JSON object"),
        ('{"schema_version": 99}', "schema_version is 99"),
        ('{"schema_version": 1, "key": "a", "axes": {}}', "status is missing"),
        ('{"schema_version": 1, "key": 3, "axes": {}, "status": "done"}', "key has the wrong type"),
        ('{"schema_version": 1, "key": "a", "axes": {}, "status": "fine"}', "status is 'fine'"),
        ('{"schema_version": 1, "key": "abc", "axes": {}, "status": "done"}', "'abc' is no content key"),
        (record().to_json().replace('"metrics": {}', '"metrics": {"x": "1"}'), "not numbers"),
    ],
)
def test_a_damaged_line_is_reported_with_its_number(tmp_path, line, message):
    path = tmp_path / "results.jsonl"
    path.write_text(record().to_json() + "\n" + line + "\n" + record("b").to_json() + "\n")
    records, problems = read_records(path)
    assert list(records) == [key("a"), key("b")]
    assert len(problems) == 1
    assert f"{path}:2: " in problems[0]
    assert message in problems[0]


def test_results_follow_the_plan_and_set_superseded_records_apart(tmp_path):
    run = RunDirectory(tmp_path)
    for letter in "0ba":
        run.append(record(letter))
    run.write_plan([Cell(key(letter), {}) for letter in "abc"])
    results = run.results()
    assert [r.key for r in results.records] == [key("a"), key("b")]
    assert [r.key for r in results.superseded] == [key("0")]
    assert results.pending == 1


def test_a_folder_that_is_no_run_directory_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a run directory"):
        RunDirectory(tmp_path).results()


def test_a_second_writer_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path):
    script = (
        "import sys, time; from pathlib import Path\n"
        "from benchsuite.store.run_directory import Cell, RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])).locked():\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another run"), RunDirectory(tmp_path).locked():
            pass
        other.kill()
    with RunDirectory(tmp_path).locked():
        pass


def test_numbers_that_json_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        record(bad=float("nan")).to_json()


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_lock_that_is_no_file_is_named(tmp_path, kind):
    lock = tmp_path / ".lock"
    os.mkfifo(lock) if kind == "pipe" else lock.symlink_to(os.devnull)
    what = "not a regular file" if kind == "pipe" else "is a link"
    with pytest.raises(OSError, match=what) as raised, RunDirectory(tmp_path).locked():
        pass
    assert raised.value.filename == str(lock)


def test_a_line_that_somebody_left_unfinished_costs_no_record(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.append(record())
    with directory.results_file.open("a") as file:
        file.write('{"torn')
    directory.append(record("b"))
    found, problems = directory.records()
    assert list(found) == [key("a"), key("b")]
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("harm", "message", "left"),
    [
        (
            lambda run: run.results_file.unlink(),
            r"results.jsonl.*removed it while the run worked; it is written back",
            "ab",
        ),
        (
            lambda run: (run.results_file.unlink(), run.results_file.write_text("forged\n")),
            r"results.jsonl.*replaced it while.*; what the run had written is in .*results.of-run.jsonl",
            None,
        ),
        (
            lambda run: append_durably(run.results_file, record("f").to_json()),
            r"results.jsonl.*changed",
            "abf",
        ),
        (lambda run: os.truncate(run.results_file, 10), r"results.jsonl.*changed", None),
        (lambda run: run.plan_file.unlink(), r"plan.json.*another program removed", "ab"),
        (lambda run: run.suite_file.unlink(), r"suite.toml.*another program removed", "ab"),
        (
            lambda run: shutil.rmtree(run.path),
            r"results.jsonl.*removed it while the run worked; it is written back",
            "ab",
        ),
    ],
    ids=["removed", "replaced", "added", "cut", "plan", "suite", "folder"],
)
def test_what_another_program_does_to_a_run_at_work_is_noticed_and_no_record_is_lost(
    tmp_path, harm, message, left
):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.append(record("a"))
    with run.locked():
        run.write_plan([Cell(key("a"), {})])
        run.suite_file.write_text("")
        run.append(record("b"))
        run.check_kept()
        harm(run)
        for check in (lambda: run.append(record("c")), run.check_kept)[: 1 if left == "ab" else 2]:
            with pytest.raises(StorageError) as caught:
                check()
            assert re.search(message, f"{caught.value.filename}: {caught.value.strerror}")
    if left is None:
        beside = tmp_path / "run" / "results.of-run.jsonl"
        assert not beside.exists() or [*read_records(beside)[0]] == [key("a"), key("b")]
    else:
        assert [*run.records()[0]] == [key(letter) for letter in left]
