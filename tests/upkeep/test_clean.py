"""`benchsuite clean`: frees what can be made again, says what that costs, and keeps the rest."""

from __future__ import annotations

import io
import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from made_up_runs import (
    ARTIFACTS,
    DATA,
    DISSECTION,
    HALF,
    LONELY,
    PENDING,
    SCORE,
    SCORERS,
    TRACE,
    TRAIN,
    TRIAL,
    axes,
    make_run,
    rewrite,
    snapshot,
)

from benchsuite import cli
from benchsuite.store.run_directory import Cell, RunDirectory
from benchsuite.upkeep.freeing import CHECKPOINTS, SCORES, free, freeable, renew_freed
from benchsuite.upkeep.inspection import freed_of, inspect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ALL = ("--checkpoints", "--scores", "--superseded")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "run")


def clean(run: RunDirectory, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert cli.main(["clean", str(run.path), *options]) == 0
    return capsys.readouterr().out


def gone(before: dict[bytes, tuple], run: RunDirectory) -> set[str]:
    """Files of before that are not there now; the others are as they were."""
    after = snapshot(run.path)
    files = {path: what for path, what in before.items() if what[3] is not None}
    assert all(after[path] == what for path, what in files.items() if path in after)
    return {os.fsdecode(path).removeprefix(f"{run.path}/stages/") for path in files.keys() - after.keys()}


def junk(run: RunDirectory) -> set[str]:
    """Fill the run with what nobody needs, and return its files."""
    shutil.copytree(run.stage(TRIAL["first"]), run.stage(LONELY))
    rewrite(run.stage(LONELY), key=LONELY)
    run.stage(HALF).mkdir()
    (run.stage(HALF) / "model.safetensors").write_bytes(b"x" * 100)
    (run.stage(TRAIN) / ".stage.json.55").write_bytes(b"x" * 100)
    (run.stage(TRIAL["first"]) / "round.pt").write_bytes(b"x" * 100)
    lonely = {f"{LONELY}/{file.name}" for file in run.stage(LONELY).iterdir()}
    rest = {f"{HALF}/model.safetensors", f"{TRAIN}/.stage.json.55", f"{TRIAL['first']}/round.pt"}
    return {*lonely, *rest, f"{TRAIN}/tables/abc.npy"}


def test_without_options_only_what_nobody_needs_goes(run, capsys) -> None:
    unneeded = junk(run)
    before = snapshot(run.path)
    out = clean(run, capsys, "--dry-run")
    assert snapshot(run.path) == before
    for line in (
        "stages that nothing refers to (1)",
        "stages that were never completed (1)",
        "5.0 kB  dense",
    ):
        assert line in out
    assert "stages with files left over while they were written (2)" in out
    done = clean(run, capsys)
    assert done.startswith(out)
    assert gone(before, run) == unneeded
    total = out.splitlines()[-1].partition(" in all")[0]
    assert done.splitlines()[-1] == f"freed {total}"
    assert clean(run, capsys) == f"nothing is to be freed in {run.path}\n"
    assert cli.main(["doctor", str(run.path)]) == 0


WEIGHTS = {
    f"{TRAIN}/model.safetensors",
    *(f"{TRIAL[scorer]}/{name}.safetensors" for scorer in SCORERS for name in ("model", "outputs")),
}


def whole(run: RunDirectory, *keys: str) -> set[str]:
    return {f"{key}/{file.name}" for key in keys for file in run.stage(key).iterdir()}


@pytest.mark.parametrize("options", [("--checkpoints",), ("--scores",), ("--checkpoints", "--scores")])
def test_weights_and_scores_go_where_they_are_named(options, run, capsys) -> None:
    before = snapshot(run.path)
    expected = {f"{TRAIN}/tables/abc.npy"}
    if "--checkpoints" in options:
        expected |= WEIGHTS | whole(run, DATA, TRACE, DISSECTION)
    if "--scores" in options:
        expected |= whole(run, *(SCORE[scorer] for scorer in SCORERS))
    out = clean(run, capsys, *options)
    assert gone(before, run) == expected
    assert ("will train 1 dense model again" in out) == ("--checkpoints" in options)
    announced = re.search(r"^(.*) in all can be freed", out, re.MULTILINE)
    assert announced is not None
    assert f"\nfreed {announced[1]}\n" in out
    # Pages, MLflow and the comparison of criteria still have what they show.
    for scorer in SCORERS:
        assert {*ARTIFACTS, "stage.json", "worker.log"} <= {
            f.name for f in run.stage(TRIAL[scorer]).iterdir()
        }
    assert {"stage.json", "training.json"} <= {f.name for f in run.stage(TRAIN).iterdir()}
    assert cli.main(["doctor", str(run.path)]) == 0
    assert clean(run, capsys, *options) == f"nothing is to be freed in {run.path}\n"


def test_what_was_freed_is_told_from_what_is_lost(run, capsys) -> None:
    (run.stage(TRIAL["first"]) / "outputs.safetensors").unlink()
    clean(run, capsys, "--checkpoints")
    assert cli.main(["doctor", str(run.path)]) == 0
    assert "weights of 3 networks were freed with clean" in capsys.readouterr().out
    shutil.rmtree(run.stage(TRIAL["second"]))
    assert cli.main(["doctor", str(run.path)]) == 1
    assert "its folder is gone" in capsys.readouterr().out


def test_weights_that_are_there_again_are_no_longer_noted_as_freed(run, capsys) -> None:
    files = {name: (run.path / "stages" / name).read_bytes() for name in WEIGHTS}
    clean(run, capsys, "--checkpoints")
    assert freed_of(run.path) == {TRAIN, TRIAL["first"], TRIAL["second"]}
    for name, content in files.items():
        if not name.startswith(TRIAL["second"]):
            (run.path / "stages" / name).write_bytes(content)
    renew_freed(run.path)
    assert freed_of(run.path) == {TRIAL["second"]}
    (run.stage(TRIAL["first"]) / "model.safetensors").unlink()
    assert cli.main(["doctor", str(run.path)]) == 1
    clean(run, capsys, "--checkpoints")
    assert freed_of(run.path) == {TRAIN, TRIAL["first"], TRIAL["second"]}


def test_tables_stay_while_a_scoring_is_still_to_come(tmp_path, capsys) -> None:
    run = make_run(tmp_path / "run", pending=True)
    assert "nothing is to be freed" in clean(run, capsys)
    out = clean(run, capsys, "--checkpoints")
    assert "the run of 1 cell without an outcome yet" in out
    assert not (run.stage(TRAIN) / "tables").exists()


def test_where_references_may_be_unknown_orphans_and_tables_stay(run, capsys) -> None:
    junk(run)
    run.write_plan([Cell(PENDING, {})])
    out = clean(run, capsys)
    assert "stages that nothing refers to are kept: plan.json does not say" in out
    assert run.stage(LONELY).is_dir()
    assert (run.stage(TRAIN) / "tables/abc.npy").is_file()
    assert not run.stage(HALF).exists()


def test_what_an_earlier_form_of_the_suite_left_goes_only_where_that_is_asked_for(run, capsys) -> None:
    run.write_plan(
        [Cell(TRIAL["first"], axes("first"), {"data": DATA, "train": TRAIN, "score": SCORE["first"]})]
    )
    before = snapshot(run.path)
    clean(run, capsys, "--checkpoints", "--scores")
    there = gone(before, run)
    assert f"{TRIAL['first']}/model.safetensors" in there
    assert f"{SCORE['first']}/scores.safetensors" in there
    assert not any(name.startswith((TRIAL["second"], SCORE["second"])) for name in there)
    out = clean(run, capsys, "--superseded")
    assert "weights of pruned networks of an earlier form of the suite" in out
    assert gone(before, run) - there == {
        f"{TRIAL['second']}/model.safetensors",
        f"{TRIAL['second']}/outputs.safetensors",
        *(f"{SCORE['second']}/{name}" for name in ("stage.json", "scores.safetensors", ".lock")),
    }
    assert set(run.records()[0]) == {TRIAL["first"], TRIAL["second"]}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "options", "freed"),
    [("y\n", (), True), ("n\n", (), False), ("\n", (), False), ("", ("--yes",), True)],
)
def test_on_a_terminal_it_asks(answer, options, freed, run, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    out = clean(run, capsys, *options)
    assert ("free it? [y/N]" in out) == (not options)
    assert ("nothing was freed" in out) == (not freed)
    assert (run.stage(TRAIN) / "tables").exists() == (not freed)


def test_what_cannot_be_deleted_is_told(run, capsys, monkeypatch) -> None:
    from benchsuite.upkeep import freeing

    def refuse(folder: Path, names: Sequence[str]) -> int:
        raise PermissionError(1, "Operation not permitted", str(folder))

    monkeypatch.setattr(freeing, "remove_files", refuse)
    assert cli.main(["clean", str(run.path), "--checkpoints"]) == 1
    assert f"not deleted: stages/{TRAIN}: Operation not permitted" in capsys.readouterr().out


def test_what_records_and_stages_call_by_different_kinds_stays(run) -> None:
    """A record may come from anywhere: a stage that it calls scores and that is a network is neither."""
    shutil.rmtree(run.stage(SCORE["first"]))
    shutil.copytree(run.stage(TRIAL["first"]), run.stage(SCORE["first"]))
    rewrite(run.stage(SCORE["first"]), key=SCORE["first"])
    keys = {
        key
        for group in freeable(inspect(run.path, check=False), (*CHECKPOINTS, *SCORES))
        for key in group.keys
    }
    assert SCORE["second"] in keys
    assert SCORE["first"] not in keys


def test_weights_are_noted_as_freed_before_they_go(run, monkeypatch) -> None:
    from benchsuite.upkeep import freeing

    noted: list[frozenset[str]] = []
    original = freeing.remove_files

    def watched(folder: Path, names: Sequence[str]) -> int:
        noted.append(freed_of(run.path))
        return original(folder, names)

    monkeypatch.setattr(freeing, "remove_files", watched)
    seen = inspect(run.path, check=False)
    free(seen, freeable(seen, CHECKPOINTS))
    assert set(noted) == {frozenset({TRAIN, TRIAL["first"], TRIAL["second"]})}
