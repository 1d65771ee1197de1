"""`benchsuite doctor RUN`: it finds what is damaged, changes nothing unasked, and mends what it can."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import shutil
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from made_up_runs import (
    ARTIFACTS,
    DATA,
    DISSECTION,
    HALF,
    LONELY,
    OTHER_DISSECTION,
    PENDING,
    SCORE,
    TRACE,
    TRAIN,
    TRIAL,
    complete,
    make_run,
    rewrite,
    snapshot,
    without_times,
)

from benchsuite import cli
from benchsuite.execution.logs import cap_log
from benchsuite.store.record import TrialRecord
from benchsuite.store.run_directory import Cell, RunDirectory
from benchsuite.store.stages import Facts, Stage, StageDamaged, content_digest
from benchsuite.trials.facts import DissectionFacts, PrunedFacts, ScoreFacts
from benchsuite.upkeep.artifacts import artifacts_of
from benchsuite.upkeep.findings import LONGEST_LOG
from benchsuite.upkeep.stage_state import look_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


SMALL_SUITE = """
[suite]
name = "made-up"
seeds = [0]
sparsities = [0.5]
scorers = ["magnitude-l1"]

[[workload]]
dataset = "digits"
models = ["mlp"]
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "run")


def doctor(run: RunDirectory, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[dict]]:
    """The exit code and the findings."""
    capsys.readouterr()
    code = cli.main(["doctor", str(run.path), "--format", "json", *options])
    return code, json.loads(capsys.readouterr().out)["findings"]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 0x40
    file.write_bytes(content)


def test_a_whole_run_is_well_and_stays_as_it_is(run, capsys) -> None:
    before = snapshot(run.path)
    assert cli.main(["doctor", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert "2 records, 8 stages" in out
    assert out.splitlines()[-1] == "all is well"
    assert doctor(run, capsys) == (0, [])
    assert snapshot(run.path) == before


def weights(run: RunDirectory) -> None:
    flip(run.stage(TRAIN) / "model.safetensors")


def scores(run: RunDirectory) -> None:
    (run.stage(SCORE["first"]) / "scores.safetensors").unlink()


def facts(run: RunDirectory) -> None:
    (run.stage(DATA) / "stage.json").write_text("{}")


def copied(run: RunDirectory) -> None:
    shutil.rmtree(run.stage(TRACE))
    shutil.copytree(run.stage(TRAIN), run.stage(TRACE))


def stale(run: RunDirectory) -> None:
    rewrite(run.stage(SCORE["second"]), made_from="another")


def no_checksum(run: RunDirectory) -> None:
    rewrite(run.stage(TRAIN), files={})


def wrong_facts(run: RunDirectory) -> None:
    rewrite(run.stage(TRAIN), facts={"train_seconds": "long"})


def deep(run: RunDirectory) -> None:
    (run.stage(TRAIN) / "stage.json").write_text("[" * 100_000)


def dissection(run: RunDirectory) -> None:
    flip(run.stage(DISSECTION) / "dissection.npz")


def half_made(run: RunDirectory) -> None:
    run.stage(HALF).mkdir()
    (run.stage(HALF) / "model.safetensors").write_bytes(b"some")
    (run.stage(HALF) / "worker.log").write_text("killed")


def temporary(run: RunDirectory) -> None:
    (run.stage(TRAIN) / ".model.safetensors.4711").write_bytes(b"some")
    (run.stage(TRAIN) / "tables/abc.4711.part").write_bytes(b"some")
    (run.stage(TRIAL["first"]) / "round.pt").write_bytes(b"some")


def temporary_in_the_run(run: RunDirectory) -> None:
    (run.path / ".plan.json.4711").write_bytes(b"some")
    (run.path / ".mlflow.db.4711").write_bytes(b"some")
    (run.path / ".mlflow.db.4711-journal").write_bytes(b"some")
    (run.path / ".a-user-s-file.1").write_bytes(b"stays")


def long_log(run: RunDirectory) -> None:
    with (run.stage(TRIAL["first"]) / "worker.log").open("wb") as log:
        log.truncate(LONGEST_LOG + 100_000)
        log.seek(0)
        log.write(b"x" * (LONGEST_LOG + 100_000))


def bad_line(run: RunDirectory) -> None:
    with run.results_file.open("ab") as file:
        file.write(
            b'not a record \xff\n\n{"key": "../x", "axes": {}, "status": "done", "schema_version": 1}\n'
        )


def torn_line(run: RunDirectory) -> None:
    with run.results_file.open("ab") as file:
        file.write(b'{"key": "abc')


LEFT_OVER = re.compile(rb"4711|round\.pt")
MENDED: list[tuple[Callable[[RunDirectory], None], str, str, int]] = [
    (weights, "stage", TRAIN, 1),
    (scores, "stage", SCORE["first"], 1),
    (facts, "stage", DATA, 1),
    (copied, "stage", TRACE, 1),
    (stale, "stage", SCORE["second"], 1),
    (no_checksum, "stage", TRAIN, 1),
    (wrong_facts, "stage", TRAIN, 1),
    (deep, "stage", TRAIN, 1),
    (dissection, "stage", DISSECTION, 1),
    (half_made, "half-made", HALF, 1),
    (temporary, "temporary", "", 3),
    (temporary_in_the_run, "temporary", "", 3),
    (long_log, "log", TRIAL["first"], 1),
    (bad_line, "line", "", 2),
    (torn_line, "torn line", "", 1),
]


@pytest.mark.parametrize(
    ("damage", "subject", "key", "count"), MENDED, ids=[case[0].__name__ for case in MENDED]
)
def test_what_can_be_mended_is_found_and_mended(damage, subject, key, count, run, capsys) -> None:
    damage(run)
    before = snapshot(run.path)
    code, found = doctor(run, capsys)
    wrong = [finding for finding in found if finding["wrong"]]
    assert code == 1
    assert [finding["subject"] for finding in wrong] == [subject] * count
    assert all(finding["mends"] and finding["state"] == "wrong" for finding in wrong)
    assert not key or {finding["key"] for finding in wrong} == {key}
    assert snapshot(run.path) == before
    code, found = doctor(run, capsys, "--repair")
    assert code == 0
    assert [f["state"] for f in found if f["wrong"]] == ["mended"] * count
    code, found = doctor(run, capsys)
    assert (code, [f for f in found if f["wrong"]]) == (0, [])
    # What was whole is as it was.
    after = snapshot(run.path)
    touched = [os.fsencode(run.stage(key))] if key else [os.fsencode(run.results_file)]
    for path, what in before.items():
        if not stat.S_ISDIR(what[0]) and not path.startswith(*touched) and not LEFT_OVER.search(path):
            assert after[path] == what, path


def test_a_removed_stage_leaves_what_its_worker_said(run, capsys) -> None:
    half_made(run)
    assert doctor(run, capsys, "--repair")[0] == 0
    assert [file.name for file in run.stage(HALF).iterdir()] == ["worker.log"]


def test_lines_that_are_no_records_are_moved_and_the_others_are_as_they_were(run, capsys) -> None:
    good = run.results_file.read_bytes()
    bad_line(run)
    bad = run.results_file.read_bytes()[len(good) :]
    torn_line(run)
    assert doctor(run, capsys, "--repair")[0] == 0
    assert run.results_file.read_bytes() == good + b"\n"  # the empty line is no damage
    assert (run.path / "results.damaged.jsonl").read_bytes() == bad.replace(b"\n\n", b"\n")
    bad_line(run)
    assert doctor(run, capsys, "--repair")[0] == 0
    assert len((run.path / "results.damaged.jsonl").read_bytes().splitlines()) == 4


def test_once_damaged_lines_are_moved_it_is_known_what_nothing_refers_to(run, capsys) -> None:
    complete(run.stage(LONELY), Facts(), ())
    bad_line(run)
    code, found = doctor(run, capsys, "--repair")
    (finding,) = (f for f in found if f["subject"] == "orphan")
    assert (code, finding["key"], finding["where"]) == (0, LONELY, f"stages/{LONELY}")
    assert {f["state"] for f in found if f["subject"] == "line"} == {"mended"}


def test_the_command_that_runs_a_trial_again_names_its_plugin_files(run, tmp_path, capsys) -> None:
    damaged_network(run)
    plugin = tmp_path / "my plugin.py"
    plugin.write_text("")
    run.suite_file.write_text(SMALL_SUITE)
    assert cli.main(["doctor", str(run.path), "--plugin", str(plugin)]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("run again: "))
    assert f"--output {run.path} --plugin '{plugin}' --again {TRIAL['first'][:8]}" in line
    assert "(and" not in line
    run.suite_file.write_text(SMALL_SUITE.replace("magnitude-l1", "of-a-file"))
    assert cli.main(["doctor", str(run.path)]) == 1
    assert "(and --plugin with each plugin file that the run was given)" in capsys.readouterr().out


def test_a_line_that_no_memory_should_hold_is_moved(run, capsys, monkeypatch) -> None:
    from benchsuite.upkeep import results_lines

    monkeypatch.setattr(results_lines, "_LONGEST", 1 << 12)
    good = run.results_file.read_bytes()
    long = b"x" * 50_000 + b"\n"
    run.results_file.write_bytes(long + good)
    assert doctor(run, capsys)[1][0]["what"].startswith("line 1 is no record: it is longer than")
    assert doctor(run, capsys, "--repair")[0] == 0
    assert run.results_file.read_bytes() == good
    assert (run.path / "results.damaged.jsonl").read_bytes() == long


def damaged_network(run: RunDirectory) -> None:
    flip(run.stage(TRIAL["first"]) / "model.safetensors")


def lost_network(run: RunDirectory) -> None:
    (run.stage(TRIAL["first"]) / "outputs.safetensors").unlink()


def lost_facts(run: RunDirectory) -> None:
    (run.stage(TRIAL["first"]) / "stage.json").unlink()


def lost_folder(run: RunDirectory) -> None:
    shutil.rmtree(run.stage(TRIAL["first"]))


def lost_artifact(run: RunDirectory) -> None:
    (run.stage(TRIAL["first"]) / "confusion.csv").unlink()


@pytest.mark.parametrize(
    ("damage", "subject"),
    [
        (damaged_network, "network"),
        (lost_network, "network"),
        (lost_facts, "network"),
        (lost_folder, "network"),
        (lost_artifact, "artifact"),
    ],
)
def test_what_only_running_again_brings_back_is_named_and_nothing_is_taken(
    damage, subject, run, capsys
) -> None:
    damage(run)
    before = snapshot(run.path)
    code, found = doctor(run, capsys, "--repair")
    assert code == 1
    assert [(f["subject"], f["key"], f["state"]) for f in found] == [(subject, TRIAL["first"], "wrong")]
    assert without_times(snapshot(run.path)) == without_times(before)
    assert cli.main(["doctor", str(run.path)]) == 1
    command = f"benchsuite run {run.suite_file} --output {run.path} --again {TRIAL['first'][:8]}"
    assert command in capsys.readouterr().out


def test_a_record_made_from_other_numbers_than_there_are_is_told(run, capsys) -> None:
    record = run.records()[0][TRIAL["first"]]
    changed = {**record.stages, "train_content": "0" * 20}
    run.append(TrialRecord(record.key, record.axes, "done", record.metrics, stages=changed))
    code, found = doctor(run, capsys, "--repair")
    assert code == 1
    assert [(f["subject"], f["state"]) for f in found] == [("other numbers", "wrong")]


def test_that_mlflow_has_no_database_is_told(run, capsys, monkeypatch) -> None:
    (run.path / "mlflow.db").unlink()
    code, (finding,) = doctor(run, capsys)
    assert (code, finding["subject"], finding["what"]) == (0, "mlflow", "is not there")
    assert "mlflow-sync" in finding["cure"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert doctor(run, capsys) == (0, [])


@pytest.mark.parametrize("name", ["plan.json", "suite.toml"])
@pytest.mark.parametrize("text", ["", "[" * 100_000, "\x00", '{"cells": [{"key": "../x"}]}', '{"cells": 3}'])
def test_a_damaged_plan_or_suite_is_told(name, text, run, capsys) -> None:
    (run.path / name).write_text(text)
    code, found = doctor(run, capsys, "--repair")
    assert code == 1
    assert [f["where"] for f in found if f["wrong"]] == [name]


def test_stages_that_nothing_refers_to_cost_room_and_are_not_wrong(run, capsys) -> None:
    shutil.copytree(run.stage(DISSECTION), run.stage(OTHER_DISSECTION))
    rewrite(run.stage(OTHER_DISSECTION), key=OTHER_DISSECTION, made_from="no dense model of this run")
    complete(
        run.stage(LONELY), PrunedFacts(axes={}, removed={}), ("model.safetensors", "outputs.safetensors")
    )
    code, found = doctor(run, capsys, "--repair")
    assert code == 0
    assert {f["key"] for f in found if f["subject"] == "orphan"} == {LONELY, OTHER_DISSECTION}
    assert all(f["bytes"] > 1000 for f in found)
    assert run.stage(LONELY).is_dir()


def test_that_a_network_has_no_dissection_is_no_orphan(run, capsys) -> None:
    dense = content_digest(run.stage(TRAIN)) or ""
    complete(run.stage(OTHER_DISSECTION), DissectionFacts(unsupported="no layers"), (), dense)
    assert doctor(run, capsys) == (0, [])


def test_what_a_cell_without_an_outcome_stands_on_is_no_orphan(run, capsys) -> None:
    dense = content_digest(run.stage(TRAIN)) or ""
    facts = ScoreFacts(seconds=1.0, peak_memory_mb=1.0, ties=0, skipped={}, merges={})
    complete(run.stage(SCORE["third"]), facts, ("scores.safetensors",), dense)
    assert [f["key"] for f in doctor(run, capsys)[1]] == [SCORE["third"]]
    run.write_plan([Cell(PENDING, {}, {"score": SCORE["third"], "train": TRAIN})])
    code, found = doctor(run, capsys)
    assert [f["subject"] for f in found] == ["superseded"]
    assert code == 0


def test_where_references_may_be_unknown_nothing_is_called_an_orphan(run, capsys) -> None:
    complete(run.stage(LONELY), Facts(), ())
    run.write_plan([Cell(PENDING, {})])  # as older plans have it
    (finding,) = (f for f in doctor(run, capsys)[1] if f["subject"] == "orphan")
    assert "plan.json does not say" in finding["what"]
    bad_line(run)
    (finding,) = (f for f in doctor(run, capsys)[1] if f["subject"] == "orphan")
    assert "damaged lines" in finding["what"]


def test_a_failed_trials_log_is_no_damage(run, capsys) -> None:
    run.append(TrialRecord(PENDING, {}, "failed", error="it raised"))
    run.stage(PENDING).mkdir()
    (run.stage(PENDING) / "worker.log").write_text("Traceback")
    (run.stage(PENDING) / "system.csv").write_text("seconds\n")
    code, found = doctor(run, capsys, "--repair")
    assert (code, [f for f in found if f["wrong"]]) == (0, [])
    assert len(list(run.stage(PENDING).iterdir())) == 2


def test_where_a_run_is_at_work_nothing_is_repaired(run, capsys) -> None:
    half_made(run)
    weights(run)
    before = snapshot(run.path)
    with (run.path / ".lock").open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        code = cli.main(["doctor", str(run.path), "--repair"])
        out = capsys.readouterr().out
        assert cli.main(["clean", str(run.path), "--yes"]) == 4
    assert "another process is at work here" in out
    assert f"nothing was repaired: {run.path} is being written by another run" in out
    assert "never completed" not in out  # it may be in work
    assert code == 1
    assert snapshot(run.path) == before


def test_what_is_no_run_directory_is_refused(tmp_path, capsys) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        for command in (["doctor"], ["doctor", "--repair"], ["clean"]):
            assert cli.main([command[0], str(path), *command[1:]]) == 4
            assert "is not a run directory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert cli.main(["doctor", "--repair"]) == 4
    assert "needs a run directory" in capsys.readouterr().err


def test_stages_from_before_checksums_are_left_alone(run, capsys) -> None:
    for key in (TRAIN, TRIAL["first"]):
        stored = json.loads((run.stage(key) / "stage.json").read_text())["facts"]
        (run.stage(key) / "stage.json").unlink()
        name = "pruning.json" if "removed" in stored else "stage.json"
        (run.stage(key) / name).write_text(json.dumps(stored))
    before = snapshot(run.path)
    code, found = doctor(run, capsys, "--repair")
    assert (code, [f["subject"] for f in found]) == (0, ["old form"])
    assert without_times(snapshot(run.path)) == without_times(before)


def test_many_findings_of_one_kind_are_counted(run, capsys) -> None:
    for number in range(50):
        (run.stage(TRAIN) / f".model.safetensors.{number}").touch()
    assert cli.main(["doctor", str(run.path)]) == 1
    out = capsys.readouterr().out
    assert out.count("was left over") == 20
    assert "and 30 more about: temporary" in out
    assert "50 wrong; 50 of them can be mended" in out


def test_a_log_that_was_cut_is_no_finding(run, capsys) -> None:
    long_log(run)
    cap_log(run.stage(TRIAL["first"]) / "worker.log", LONGEST_LOG)
    assert doctor(run, capsys) == (0, [])


@pytest.mark.parametrize("seed", range(40))
def test_it_calls_whole_what_a_run_would_take(seed, tmp_path) -> None:
    """Against the check that runs make themselves."""
    chance = random.Random(seed)
    folder, names = tmp_path / "stage", ("model.safetensors", "outputs.safetensors")
    complete(folder, PrunedFacts(axes={"a": [1.5, None]}, removed={"b": (1, 2)}), names)
    file = folder / chance.choice(["stage.json", *names])
    content = bytearray(file.read_bytes())
    at = chance.randrange(len(content))
    match chance.choice(["flip", "cut", "space", "grow", "nothing"]):
        case "flip":
            content[at] ^= 1 << chance.randrange(7)
        case "cut":
            del content[at:]
        case "space":
            content[at:at] = b" "
        case "grow":
            content += b"\n"
    file.write_bytes(content)
    try:
        usable = Stage(folder, PrunedFacts, names).read() is not None
    except StageDamaged:
        usable = False
    assert look_at(folder).is_whole == usable


def test_a_stage_of_another_key_does_not_stand_for_this_one(run) -> None:
    shutil.copytree(run.stage(TRAIN), run.stage("copy"))
    assert look_at(run.stage("copy")).fault == f"stage.json is that of another stage, '{TRAIN}'"


def test_facts_that_were_edited_are_damage(run) -> None:
    file = run.stage(TRAIN) / "stage.json"
    file.write_text(file.read_text().replace('"top1": 0.9', '"top1": 0.8'))
    assert look_at(run.stage(TRAIN)).fault == "stage.json is damaged (its checksum is another)"


def test_which_files_a_trial_leaves_depends_on_its_schedule_and_its_dissection(run) -> None:
    record = run.records()[0][TRIAL["first"]]
    assert set(artifacts_of(record)) == set(ARTIFACTS)
    settings = {"pruning": {"rounds": 3, "rewind_share": 0.2}}
    for schedule, sparsity, rounds in (
        ("iterative", 0.5, True),
        ("rewind", 0.5, True),
        ("rewind", 0.1, False),  # less than one round takes
        ("one-shot", 0.5, False),
        ("at-init", 0.5, False),
        ("iterative", "native", False),
        ("iterative", 1e999, False),
    ):
        axes = {**record.axes, "schedule": schedule, "sparsity": sparsity}
        assert ("rounds.json" in artifacts_of(replace(record, axes=axes, settings=settings))) == rounds
    for notes, dissected in (({"layers": []}, True), ({"unsupported": "why"}, False), ([], False)):
        found = artifacts_of(replace(record, provenance={"dissection": notes}))
        assert ("dissection.npz" in found) == dissected
